"""Frames on a byte line: where a packet begins, where it ends, and whether it arrived whole.

A frame is COBS(payload + CRC) between 0x00 bytes (docs/wire-format.md). COBS keeps 0x00 out of
the frame, so a reader that has lost its place finds it again at the very next delimiter.

Sources: Cheshire and Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Trans. Networking 7(2),
1999; CRC-16/CCITT-FALSE (also named CRC-16/IBM-3740), check value 0x29B1.
"""

import binascii
from typing import Final

from cobs import cobs

from fewbeats.firmware_bridge.stats import StreamStats

DELIMITER: Final = b"\x00"
CRC_BYTES: Final = 2
MAX_PAYLOAD_BYTES: Final = 1024
"""Longest payload, CRC not counted, that any version of the format may send."""
MAX_FRAME_BYTES: Final = MAX_PAYLOAD_BYTES + CRC_BYTES + (MAX_PAYLOAD_BYTES + CRC_BYTES) // 254 + 1
"""Longest frame between two delimiters: COBS adds one byte for every 254 begun."""


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected, no final XOR."""
    return binascii.crc_hqx(data, 0xFFFF)


def frame(payload: bytes) -> bytes:
    """The payload as it goes on the line, with a delimiter on either side.

    The one in front costs a byte and saves a packet: noise on the line between two frames cannot
    grow into the second one.

    Raises:
        ValueError: a payload beyond MAX_PAYLOAD_BYTES.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(
            f"A payload holds at most {MAX_PAYLOAD_BYTES} bytes, this one has {len(payload)}."
        )
    # High byte first, unlike every other field: so the CRC of payload and CRC together is zero,
    # and every burst of up to 16 bits is found, also one that reaches into the CRC itself.
    checked = payload + crc16(payload).to_bytes(CRC_BYTES, "big")
    encoded: bytes = cobs.encode(checked)
    return DELIMITER + encoded + DELIMITER


class FrameReader:
    """Cuts a stream of bytes into payloads whose checksum is right, and counts the rest.

    How the stream is cut into ``feed`` calls makes no difference, to payloads or to counters.
    """

    def __init__(self, stats: StreamStats) -> None:
        self._stats = stats
        self._partial = b""
        self._overlong = False

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads, without their CRC, of the frames that ``data`` completes."""
        *complete, rest = (self._partial + data).split(DELIMITER)
        self._partial = b""
        payloads = []
        for piece in complete:
            if self._overlong:
                self._stats.discarded_bytes += len(piece)
                self._overlong = False
            elif piece:
                payload = self._unpack(piece)
                if payload is None:
                    self.reject(piece)
                else:
                    payloads.append(payload)
        if self._overlong:
            self._stats.discarded_bytes += len(rest)
        elif len(rest) > MAX_FRAME_BYTES:
            # No frame is that long: let go of it now, so that rubbish never fills the memory.
            self.reject(rest)
            self._overlong = True
        else:
            self._partial = rest
        return payloads

    def reject(self, data: bytes) -> None:
        """Count one frame, or a payload that came out of one, as corrupt."""
        self._stats.corrupt_packets += 1
        self._stats.discarded_bytes += len(data)

    def finish(self) -> None:
        """Count an unfinished last frame as discarded; nothing more will arrive."""
        self._stats.discarded_bytes += len(self._partial)
        self._partial = b""

    @staticmethod
    def _unpack(piece: bytes) -> bytes | None:
        if len(piece) > MAX_FRAME_BYTES:
            return None
        try:
            checked: bytes = cobs.decode(piece)
        except cobs.DecodeError:
            return None
        if len(checked) <= CRC_BYTES or crc16(checked) != 0:
            return None
        return checked[:-CRC_BYTES]

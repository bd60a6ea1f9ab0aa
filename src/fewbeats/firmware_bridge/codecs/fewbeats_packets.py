"""Packets of the fewbeats wire format, version 1: how each is written and read, byte by byte.

The layout is docs/wire-format.md; this file is its reference implementation. What a packet means
after the one before it (loss, repeats, restarts) is the decoder's business, in ``fewbeats.py``.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import SignalError
from fewbeats.firmware_bridge.codecs.framing import frame
from fewbeats.firmware_bridge.samples import EcgChunk

VERSION: Final = 1
MAX_SAMPLES: Final = 255
"""Most samples one ECG packet carries: the count is one byte."""
MIN_RATE_MHZ: Final = 1_000
MAX_RATE_MHZ: Final = 16_000_000
"""Sampling rates that a packet may name, in millihertz: 1 Hz to 16 kHz."""
MAX_TIME_US: Final = 1 << 48
"""A sensor's clock stays below this: almost nine years of running."""

_HEAD: Final = struct.Struct("<BB")
_ECG: Final = struct.Struct("<BBHQIIBBBB")
_INFO: Final = struct.Struct("<BBIB")
_STOPPED: Final = struct.Struct("<BBBBH")

_FLAG_24_BIT: Final = 0x01
_FLAG_VALIDITY: Final = 0x02
_FLAG_LEAD_OFF: Final = 0x04
_FLAGS: Final = _FLAG_24_BIT | _FLAG_VALIDITY | _FLAG_LEAD_OFF
_BATTERY_UNKNOWN: Final = 255
_MAX_TEXT_BYTES: Final = 63


class PacketType(IntEnum):
    """What a packet from the sensor is."""

    ECG = 0x01
    INFO = 0x02
    STOPPED = 0x03


class Command(IntEnum):
    """What a host asks of a sensor."""

    START = 0x81
    STOP = 0x82
    GET_INFO = 0x83


class StopReason(IntEnum):
    """Why a sensor ended its stream on purpose."""

    UNKNOWN = 0
    """It gave no reason, or one that this version does not know."""
    HOST_ASKED = 1
    SWITCHED_OFF = 2
    BATTERY_EMPTY = 3
    END_OF_RECORDING = 4


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a sensor writes a voltage as a whole number.

    Attributes:
        bits: 16 or 24, the width of a sample on the line.
        scale_pv: picovolts per count; 22352 for an ADS1299 at gain 24, 1 000 000 for 1 uV.

    Raises:
        SignalError: a width or a scale that the format cannot carry.
    """

    bits: int = 16
    scale_pv: int = 1_000_000

    def __post_init__(self) -> None:
        if self.bits not in (16, 24):
            raise SignalError(f"Samples are 16 or 24 bits wide on the line, got {self.bits}.")
        if not 0 < self.scale_pv < 1 << 32:
            raise SignalError(
                f"A scale is 1 to {(1 << 32) - 1} picovolts per count, got {self.scale_pv}."
            )

    @property
    def no_measurement(self) -> int:
        """The count that says "nothing was measured here": the most negative one."""
        return -(1 << (self.bits - 1))


@dataclass(frozen=True, slots=True)
class Info:
    """What a sensor says of itself."""

    name: str
    firmware: str
    lead: str
    rate_hz: float
    bits: int
    """Resolution of its converter, which may be less than the width on the line."""


def encode_ecg(
    chunk: EcgChunk,
    resolution: Resolution,
    *,
    boot: int = 0,
    validity_bitmap: bool = False,
) -> bytes:
    """One ECG packet as a frame; ``chunk.start_ns`` is the sensor's own clock here.

    Invalid samples become the count for "no measurement", and so do voltages that the width
    cannot hold: a sample is sent as it is or not at all. The sequence is sent modulo 65536.

    Raises:
        SignalError: no samples, more than MAX_SAMPLES, or a clock, rate or battery out of range.
    """
    time_us, rate_mhz = chunk.start_ns // 1000, round(chunk.rate_hz * 1000)
    if not 0 < len(chunk) <= MAX_SAMPLES:
        raise SignalError(f"A packet carries 1 to {MAX_SAMPLES} samples, got {len(chunk)}.")
    if not (MIN_RATE_MHZ <= rate_mhz <= MAX_RATE_MHZ and 0 <= time_us < MAX_TIME_US):
        raise SignalError(
            f"A packet takes rates from 1 Hz to 16 kHz and a sensor clock from 0 up to 2^48 us, "
            f"got {chunk.rate_hz} Hz and {time_us} us."
        )
    if chunk.battery_percent is not None and not 0 <= chunk.battery_percent <= 100:
        raise SignalError(f"A battery holds 0 to 100 %, got {chunk.battery_percent}.")
    flags = _FLAG_24_BIT if resolution.bits == 24 else 0
    flags |= _FLAG_LEAD_OFF if chunk.lead_off else 0
    flags |= _FLAG_VALIDITY if validity_bitmap else 0
    battery = _BATTERY_UNKNOWN if chunk.battery_percent is None else chunk.battery_percent
    head = _ECG.pack(
        VERSION,
        PacketType.ECG,
        chunk.sequence & 0xFFFF,
        time_us,
        rate_mhz,
        resolution.scale_pv,
        len(chunk),
        flags,
        battery,
        boot,
    )
    lowest = resolution.no_measurement
    # In double precision: a 24-bit count uses up all the digits that a float32 has.
    scaled = np.rint(chunk.samples_uv.astype(np.float64) * (1e6 / resolution.scale_pv))
    fits = chunk.valid & (scaled > lowest) & (scaled < -lowest)
    counts = np.where(fits, scaled, lowest).astype("<i4")
    if resolution.bits == 16:
        body = counts.astype("<i2").tobytes()
    else:
        body = counts.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    if validity_bitmap:
        body += np.packbits(fits, bitorder="little").tobytes()
    return frame(head + body)


def encode_info(info: Info) -> bytes:
    """An INFO packet as a frame; texts are cut at 63 bytes of UTF-8."""
    payload = _INFO.pack(VERSION, PacketType.INFO, round(info.rate_hz * 1000), info.bits)
    for text in (info.name, info.firmware, info.lead):
        cut = text.encode()[:_MAX_TEXT_BYTES].decode(errors="ignore").encode()
        payload += bytes([len(cut)]) + cut
    return frame(payload)


def encode_stopped(reason: StopReason, *, next_sequence: int, boot: int = 0) -> bytes:
    """A STOPPED packet as a frame; ``next_sequence`` lets the host count losses at the end."""
    return frame(_STOPPED.pack(VERSION, PacketType.STOPPED, reason, boot, next_sequence & 0xFFFF))


def encode_command(command: Command) -> bytes:
    """A command as a frame."""
    return frame(_HEAD.pack(VERSION, command))


@dataclass(frozen=True, slots=True, eq=False)
class EcgPacket:
    """An ECG packet as it arrived: the sensor's own clock, the sequence still modulo 65536."""

    sequence: int
    time_us: int
    boot: int
    rate_hz: float
    samples_uv: NDArray[np.float32]
    valid: NDArray[np.bool_]
    lead_off: bool
    battery_percent: int | None


def parse_ecg(payload: bytes) -> EcgPacket | None:
    """The ECG packet in a payload of its type, or None where a field breaks the format."""
    if len(payload) < _ECG.size:
        return None
    (_, _, sequence, time_us, rate_mhz, scale_pv, count, flags, battery, boot) = _ECG.unpack_from(
        payload
    )
    width = 3 if flags & _FLAG_24_BIT else 2
    bitmap_at = _ECG.size + count * width
    bitmap_bytes = (count + 7) // 8 if flags & _FLAG_VALIDITY else 0
    if (
        flags & ~_FLAGS
        or not count
        or not scale_pv
        or not MIN_RATE_MHZ <= rate_mhz <= MAX_RATE_MHZ
        or time_us >= MAX_TIME_US
        or len(payload) != bitmap_at + bitmap_bytes
    ):
        return None
    counts: NDArray[np.signedinteger]
    if width == 2:
        counts = np.frombuffer(payload, "<i2", count, _ECG.size)
        valid = counts != -(1 << 15)
    else:
        # Into the upper three bytes of a word, then down again with the sign.
        words = np.zeros((count, 4), np.uint8)
        words[:, 1:] = np.frombuffer(payload, np.uint8, 3 * count, _ECG.size).reshape(-1, 3)
        counts = words.view("<i4")[:, 0] >> 8
        valid = counts != -(1 << 23)
    if bitmap_bytes:
        bitmap = np.frombuffer(payload, np.uint8, bitmap_bytes, bitmap_at)
        valid &= np.unpackbits(bitmap, count=count, bitorder="little").view(np.bool_)
    lead_off = bool(flags & _FLAG_LEAD_OFF)
    if lead_off:
        valid[:] = False
    samples_uv = (counts * (scale_pv / 1e6)).astype(np.float32)
    samples_uv[~valid] = np.nan
    return EcgPacket(
        sequence,
        time_us,
        boot,
        rate_mhz / 1000,
        samples_uv,
        valid,
        lead_off,
        battery if battery <= 100 else None,
    )


def parse_info(payload: bytes) -> Info | None:
    """The INFO packet in a payload of its type, or None; bytes after the texts are ignored."""
    if len(payload) < _INFO.size:
        return None
    _, _, rate_mhz, bits = _INFO.unpack_from(payload)
    texts, at = [], _INFO.size
    for _ in range(3):
        size = payload[at] if at < len(payload) else _MAX_TEXT_BYTES + 1
        if size > _MAX_TEXT_BYTES or at + 1 + size > len(payload):
            return None
        text = payload[at + 1 : at + 1 + size].decode(errors="replace")
        # These texts reach terminals and pages: no control characters.
        texts.append("".join(c for c in text if c.isprintable()))
        at += 1 + size
    name, firmware, lead = texts
    return Info(name, firmware, lead, rate_mhz / 1000, bits)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A sensor's last word."""

    reason: StopReason
    boot: int
    next_sequence: int
    """The number that the next ECG packet would have had, modulo 65536."""


def parse_stopped(payload: bytes) -> Stopped | None:
    """The STOPPED packet in a payload of its type, or None if its length is wrong."""
    if len(payload) != _STOPPED.size:
        return None
    _, _, reason, boot, next_sequence = _STOPPED.unpack(payload)
    known = reason in set(StopReason)
    return Stopped(StopReason(reason) if known else StopReason.UNKNOWN, boot, next_sequence)


def parse_command(payload: bytes) -> Command | None:
    """The command in a payload, or None if it is none of this version."""
    if len(payload) != _HEAD.size or payload[0] != VERSION or payload[1] not in set(Command):
        return None
    return Command(payload[1])

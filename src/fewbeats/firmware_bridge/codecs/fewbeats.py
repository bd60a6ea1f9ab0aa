"""The fewbeats wire format, decoded: from the bytes of a sensor to chunks, and back to commands.

Everything here is pure: bytes in, values out. Ports and clocks are other files' business.
"""

from fewbeats.firmware_bridge.codecs.fewbeats_packets import (
    VERSION,
    Command,
    EcgPacket,
    Info,
    PacketType,
    StopReason,
    parse_command,
    parse_ecg,
    parse_info,
    parse_stopped,
)
from fewbeats.firmware_bridge.codecs.framing import FrameReader
from fewbeats.firmware_bridge.codecs.sequence import SequenceTracker
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.firmware_bridge.stats import StreamStats


class FewbeatsDecoder:
    """From the bytes of a sensor to chunks on the sensor's own clock.

    ``start_ns`` of a chunk counts from the start of the sensor, not from 1970: which moment that
    was is known only to whoever saw the bytes arrive (``clock.SensorClock``).
    """

    def __init__(self) -> None:
        self.stats = StreamStats()
        self.info: Info | None = None
        """What the sensor last said of itself."""
        self.stopped: StopReason | None = None
        """Why the sensor stopped, until it sends ECG again."""
        self.heard = False
        """Whether any good packet of this version has arrived."""
        self.unsupported_version: int | None = None
        """The last other version that a whole frame named."""
        self._frames = FrameReader(self.stats)
        self._sequence = SequenceTracker(self.stats)

    def feed(self, data: bytes) -> list[EcgChunk]:
        """Chunks of all packets that ``data`` completes, in order of arrival."""
        chunks = []
        for payload in self._frames.feed(data):
            if payload[0] != VERSION:
                self.unsupported_version = payload[0]
                self._frames.reject(payload)
            elif payload[1:2] == bytes([PacketType.ECG]) and (packet := parse_ecg(payload)):
                self.heard = True
                chunk = self._place(packet)
                if chunk is not None:
                    chunks.append(chunk)
            elif self._understand(payload):
                self.heard = True
            else:
                self._frames.reject(payload)
        return chunks

    def finish(self) -> None:
        """Count a last frame that never ended; call it when no more bytes can come."""
        self._frames.finish()

    def _place(self, packet: EcgPacket) -> EcgChunk | None:
        self.stopped = None
        sequence = self._sequence.accept(packet.sequence, packet.time_us, packet.boot)
        if sequence is None:
            return None
        self.stats.packets += 1
        self.stats.samples += len(packet.samples_uv)
        return EcgChunk(
            packet.samples_uv,
            packet.valid,
            packet.rate_hz,
            packet.time_us * 1000,
            sequence,
            lead_off=packet.lead_off,
            battery_percent=packet.battery_percent,
        )

    def _understand(self, payload: bytes) -> bool:
        """Take in a packet that is not ECG; False if it breaks the format."""
        kind = payload[1] if len(payload) > 1 else None
        if kind == PacketType.INFO:
            info = parse_info(payload)
            self.info = info or self.info
            return info is not None
        if kind == PacketType.STOPPED:
            stopped = parse_stopped(payload)
            if stopped:
                self.stopped = stopped.reason
                self._sequence.close_at(stopped.next_sequence, stopped.boot)
            return stopped is not None
        # Any other type is a later firmware's business: a good frame, but nothing to this host.
        return kind is not None and kind != PacketType.ECG


class CommandDecoder:
    """The sensor's ear: from the bytes of a host to its commands."""

    def __init__(self) -> None:
        self.stats = StreamStats()
        self._frames = FrameReader(self.stats)

    def feed(self, data: bytes) -> list[Command]:
        """Commands that ``data`` completes, in order; what is none is counted and left out."""
        commands = []
        for payload in self._frames.feed(data):
            command = parse_command(payload)
            if command is None:
                self._frames.reject(payload)
            else:
                commands.append(command)
                self.stats.packets += 1
        return commands

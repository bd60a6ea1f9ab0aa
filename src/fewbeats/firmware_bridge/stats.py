"""What a stream has cost so far: every byte and packet that did not become a sample."""

from dataclasses import dataclass


@dataclass(slots=True)
class StreamStats:
    """Counters that only ever grow; a decoder keeps them, people and logs read them."""

    packets: int = 0
    """Packets decoded and passed on."""
    samples: int = 0
    """Samples passed on, invalid ones included."""
    corrupt_packets: int = 0
    """Frames whose checksum, length or version was wrong."""
    discarded_bytes: int = 0
    """Bytes that belong to no good frame: noise on the line, half frames, corrupt ones."""
    lost_packets: int = 0
    """Packets that the sequence says were sent and that never arrived."""
    duplicate_packets: int = 0
    """Packets that arrived a second time, or late, and were dropped."""

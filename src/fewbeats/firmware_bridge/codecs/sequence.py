"""Sequence numbers made whole: what was lost, what came twice, and when the sensor began anew."""

from typing import Final

from fewbeats.firmware_bridge.stats import StreamStats

RESTART_US: Final = 1_000_000
"""A sensor clock this far behind the packet before is a new start, not a late packet.

No byte line delays a packet by a second. A late packet that were taken for a new start would
replay old samples; a new start taken for late packets would silence the sensor.
"""

JITTER_US: Final = 40_000
"""How far stamps of packets in a row may fall back without a gap between them."""


class SequenceTracker:
    """Unwraps the 16-bit sequence of one sensor into a running number that never goes back.

    The running number rises by one from packet to packet exactly where nothing was lost between
    them; ``lost_packets`` is the sum of what it rose beyond that.
    """

    def __init__(self, stats: StreamStats) -> None:
        self._stats = stats
        self._running: int | None = None
        self._raw = 0
        self._time_us = 0
        self._boot = 0

    def accept(self, raw: int, time_us: int, boot: int) -> int | None:
        """The running number of a packet, or None if it came before or came late.

        Args:
            raw: the packet's 16-bit sequence number.
            time_us: the sensor's clock at its first sample, microseconds.
            boot: which start of the sensor it belongs to.
        """
        if self._running is None:
            self._running = raw
        elif boot != self._boot or time_us < self._time_us - RESTART_US:
            # How many packets died with the old start nobody knows: the gap counts as one.
            self._running += 2
            self._stats.lost_packets += 1
        else:
            # The same number at a later time: the counter went round once in between.
            step = (raw - self._raw) % 0x10000 or 0x10000
            if step >= 0x8000 and time_us <= self._time_us:
                self._stats.duplicate_packets += 1
                return None
            if time_us < self._time_us - JITTER_US:
                step += 1  # the next number and an earlier time: what lies between is not known
            self._running += step
            self._stats.lost_packets += step - 1
        self._raw, self._time_us, self._boot = raw, time_us, boot
        return self._running

    def close_at(self, raw: int, boot: int) -> None:
        """Count what is missing at the end: ``raw`` is the number the next packet would have."""
        missing = (raw - self._raw - 1) % 0x10000
        if self._running is not None and boot == self._boot and missing < 0x8000:
            self._running += missing
            self._stats.lost_packets += missing
            self._raw = (raw - 1) % 0x10000

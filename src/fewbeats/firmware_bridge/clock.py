"""From a sensor's own clock to UTC."""

from dataclasses import replace

from fewbeats.firmware_bridge.samples import EcgChunk

MOST_AHEAD_NS = 3_600_000_000_000
"""How far ahead of the wall clock a stream may be and still be continued behind a gap."""
MOST_LATE_NS = 60_000_000_000
"""No line holds a packet back for so long: its sensor was off meanwhile, and its clock with it."""


class SensorClock:
    """Places the chunks of one sensor on the UTC time line.

    A packet's moment of arrival jitters by tens of milliseconds; its stamp by the sensor's own
    clock does not. So the arrival of the first packet fixes one offset, and from there on the
    sensor's clock alone decides: contiguous samples stay contiguous, and a sensor that is
    simulated faster than real time keeps the pace of its own clock. The price is drift: a crystal
    that is 50 ppm off shifts the stamps by four seconds a day.
    """

    def __init__(self) -> None:
        self._offset_ns = 0
        self._last: EcgChunk | None = None
        """The chunk before, already in UTC."""

    def stamp(self, chunk: EcgChunk, arrival_ns: int) -> EcgChunk:
        """The same chunk with ``start_ns`` in UTC.

        Args:
            chunk: ``start_ns`` is the sensor's clock.
            arrival_ns: when its last byte arrived, nanoseconds UTC.
        """
        last = self._last
        just_now_ns = arrival_ns - chunk.end_ns  # the offset if its last sample was taken now
        if last is None:
            self._offset_ns = just_now_ns
        elif chunk.sequence != last.sequence + 1 and self._began_anew(chunk, last, just_now_ns):
            # Time does not run backwards, even if a simulated sensor was ahead of the wall; but
            # one stamp far in the future must not take all that follow along.
            onward_ns = last.end_ns - chunk.start_ns
            onward = onward_ns < just_now_ns + MOST_AHEAD_NS
            self._offset_ns = max(just_now_ns, onward_ns) if onward else just_now_ns
        self._last = replace(chunk, start_ns=chunk.start_ns + self._offset_ns)
        return self._last

    def _began_anew(self, chunk: EcgChunk, last: EcgChunk, just_now_ns: int) -> bool:
        """Whether the clock behind a gap is another one: it fell back, or is far too late."""
        fell_back = chunk.start_ns + self._offset_ns < last.start_ns
        return fell_back or just_now_ns - self._offset_ns > MOST_LATE_NS

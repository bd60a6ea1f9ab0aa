"""From a sensor's own clock to UTC."""

from dataclasses import replace

from fewbeats.firmware_bridge.samples import EcgChunk


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
        # A first packet, or a sensor that began anew: its last sample was taken just now.
        if last is None:
            self._offset_ns = arrival_ns - chunk.end_ns
        elif chunk.start_ns + self._offset_ns < last.start_ns:
            # Time never runs backwards, however far a simulated sensor was ahead of the wall.
            self._offset_ns = max(arrival_ns - chunk.end_ns, last.end_ns - chunk.start_ns)
        self._last = replace(chunk, start_ns=chunk.start_ns + self._offset_ns)
        return self._last

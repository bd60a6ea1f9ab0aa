"""A source and a monitor, joined: the loop that never looks away."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fewbeats.device.monitor import UNJUDGED_NS, Event, Monitor
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.firmware_bridge.source import Source

CLOCK_DRIFT = 1e-3
"""How much faster than the sensor's clock the gateway's may run without anything being late."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A chunk, or the news that none came.

    Attributes:
        chunk: None if nothing arrived for a while.
        late_ns: how much later than measured the chunk arrived, beyond the least delay seen so
            far; or how long nothing has arrived.
    """

    chunk: EcgChunk | None
    late_ns: int


class Lateness:
    """How far a stream has fallen behind the wall clock.

    A sensor's delay is not known, its growth is: lateness is counted from the least delay seen.
    A stream that is played faster than real time is never late until it stalls.
    """

    def __init__(self) -> None:
        self._least_s = float("inf")
        self._last_s = 0.0

    def of(self, chunk: EcgChunk, now_s: float) -> int:
        """Nanoseconds by which a chunk that arrived at ``now_s`` is late."""
        delay_s = now_s - chunk.end_ns / 1e9
        drifted_s = self._least_s + CLOCK_DRIFT * (now_s - self._last_s)
        self._least_s = min(delay_s, drifted_s)
        self._last_s = now_s
        return round((delay_s - self._least_s) * 1e9)


async def attend(source: Source) -> AsyncGenerator[Arrival]:
    """A source's chunks as they arrive, and the news when none does.

    Raises:
        SourceError: whatever the source raises when it is lost.
    """
    chunks = aiter(source)
    lateness = Lateness()
    pending: asyncio.Task[EcgChunk] | None = None
    heard_s = time.monotonic()
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(chunks))
            await asyncio.wait({pending}, timeout=UNJUDGED_NS / 4e9)
            if not pending.done():
                yield Arrival(None, round((time.monotonic() - heard_s) * 1e9))
                continue
            task, pending = pending, None
            try:
                chunk = task.result()
            except StopAsyncIteration:
                return
            heard_s = time.monotonic()
            yield Arrival(chunk, lateness.of(chunk, heard_s))
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)


async def watch(
    source: Source, monitor: Monitor, duration_s: float | None = None
) -> AsyncGenerator[tuple[EcgChunk | None, list[Event]]]:
    """Feed a source's chunks to a monitor and give each with the events that it caused.

    A source that falls silent or behind is noticed by the wall clock: the events then say that
    nothing can be judged, and without a new chunk the chunk is None. After the last chunk, or
    ``duration_s`` of signal, the monitor is finished.

    Raises:
        SourceError: whatever the source raises when it is lost.
    """
    arrivals = attend(source)
    try:
        async for arrival in arrivals:
            chunk = arrival.chunk
            if chunk is None:
                yield None, monitor.silence(arrival.late_ns)
                continue
            over = False
            if duration_s is not None:
                begin_ns = chunk.start_ns if monitor.start_ns is None else monitor.start_ns
                left_s = duration_s - (chunk.start_ns - begin_ns) / 1e9
                over = left_s * chunk.rate_hz <= len(chunk)
                if over:
                    chunk = chunk.part(0, max(0, round(left_s * chunk.rate_hz)))
            yield chunk, monitor.feed(chunk, arrival.late_ns)
            if over:
                break
        yield None, monitor.finish()
    finally:
        await arrivals.aclose()

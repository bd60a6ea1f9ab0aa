"""A source and a monitor, joined: the loop that never looks away."""

import asyncio
import time
from collections.abc import AsyncGenerator

from fewbeats.device.monitor import ANNOUNCE_AFTER_S, Event, Monitor
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.firmware_bridge.source import Source


async def watch(
    source: Source, monitor: Monitor, duration_s: float | None = None
) -> AsyncGenerator[tuple[EcgChunk | None, list[Event]]]:
    """Feed a source's chunks to a monitor and give each with the events that it caused.

    A source that falls silent is noticed by the wall clock: then the chunk is None and the
    events say that nothing can be judged. After the last chunk, or ``duration_s`` of signal,
    the monitor is finished.

    Raises:
        SourceError: whatever the source raises when it is lost.
    """
    chunks = aiter(source)
    pending: asyncio.Task[EcgChunk] | None = None
    arrived = time.monotonic()
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(chunks))
            done, _ = await asyncio.wait({pending}, timeout=ANNOUNCE_AFTER_S / 4)
            if not done:
                quiet_ns = round((time.monotonic() - arrived) * 1e9)
                if quiet_ns > ANNOUNCE_AFTER_S * 1e9:
                    yield None, monitor.silence((monitor.end_ns or time.time_ns()) + quiet_ns)
                continue
            try:
                chunk = pending.result()
            except StopAsyncIteration:
                yield None, monitor.finish()
                return
            finally:
                pending = None
            arrived = time.monotonic()
            over = False
            if duration_s is not None:
                begin_ns = chunk.start_ns if monitor.start_ns is None else monitor.start_ns
                left_s = duration_s - (chunk.start_ns - begin_ns) / 1e9
                over = left_s * chunk.rate_hz <= len(chunk)
                chunk = chunk.part(0, max(0, round(left_s * chunk.rate_hz))) if over else chunk
            yield chunk, monitor.feed(chunk)
            if over:
                yield None, monitor.finish()
                return
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)

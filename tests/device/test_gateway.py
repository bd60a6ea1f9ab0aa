"""The loop that joins a source and a monitor."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.device.gateway import Lateness, watch
from fewbeats.device.monitor import Blindness, CannotJudge, JudgingAgain, Monitor
from fewbeats.errors import SourceLostError
from fewbeats.firmware_bridge.samples import EcgChunk, SensorInfo, chunk_of
from fewbeats.firmware_bridge.stats import StreamStats


class StallingSource:
    """Sends, falls silent, sends again; or is lost."""

    info = SensorInfo("stalling", "none", "test:")
    stats = StreamStats()

    def __init__(self, pause_s: float, *, lost: bool = False) -> None:
        self.pause_s = pause_s
        self.lost = lost
        self.closed = False

    async def __aenter__(self) -> "StallingSource":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    async def __aiter__(self) -> AsyncIterator[EcgChunk]:
        t_s = np.arange(250) / 250
        for second in range(10):
            if second == 5:
                await asyncio.sleep(self.pause_s)
                if self.lost:
                    raise SourceLostError("the cable was pulled")
            yield chunk_of(600 * np.sin(2 * np.pi * 1.2 * t_s) ** 15, 250.0, second * 10**9, second)


async def collect(source: StallingSource, monitor: Monitor) -> list[object]:
    seen: list[object] = []
    async with source, aclosing(watch(source, monitor)) as stream:
        async for _, events in stream:
            seen += events
    return seen


def test_a_long_silence_makes_the_monitor_say_so(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("gateway", "monitor"):
        monkeypatch.setattr(f"fewbeats.device.{module}.UNJUDGED_NS", 1_000_000_000)
    seen = asyncio.run(collect(StallingSource(2.5), Monitor(tiny_bundle)))
    states = [event for event in seen if isinstance(event, CannotJudge | JudgingAgain)]
    reasons = [event.reason for event in states if isinstance(event, CannotJudge)]
    assert Blindness.NO_DATA in reasons and isinstance(states[-1], JudgingAgain)


def test_lateness_is_the_growth_of_the_delay() -> None:
    def late_s(arrivals: list[tuple[float, float]]) -> list[float]:
        """(wall clock, signal's end) in seconds, to lateness."""
        lateness = Lateness()
        chunk = chunk_of(np.zeros(25), 250.0)
        ends = ((w, replace(chunk, start_ns=round((e - 0.1) * 1e9))) for w, e in arrivals)
        return [lateness.of(c, wall) / 1e9 for wall, c in ends]

    steady = [(1000 + t + 0.3 * (t % 2), t) for t in range(60)]
    assert max(late_s(steady)) < 0.5
    trickle = [(1000 + 10 * t, t) for t in range(10)]
    assert late_s(trickle)[1] > 4
    accelerated = [(1000 + t / 20, t) for t in range(60)]
    assert max(late_s(accelerated)) < 0.01
    drifting = [(1000 + t * 1.0002, t) for t in range(0, 100_000, 10)]
    assert max(late_s(drifting)) < 0.5
    overloaded = [(1000 + 1.1 * t, t) for t in range(100)]
    assert late_s(overloaded)[-1] > 9


def test_data_that_trickle_in_are_told(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("gateway", "monitor"):
        monkeypatch.setattr(f"fewbeats.device.{module}.UNJUDGED_NS", 300_000_000)

    class Trickle(StallingSource):
        async def __aiter__(self) -> AsyncIterator[EcgChunk]:
            for number in range(10):
                yield chunk_of(np.ones(5), 250.0, number * 20_000_000, number)
                await asyncio.sleep(0.15)

    seen = asyncio.run(collect(Trickle(0), Monitor(tiny_bundle)))
    reasons = [event.reason for event in seen if isinstance(event, CannotJudge)]
    assert Blindness.LATE in reasons


def test_a_lost_source_is_an_error_and_is_closed(tiny_bundle: Bundle) -> None:
    source = StallingSource(0.0, lost=True)
    with pytest.raises(SourceLostError, match="cable"):
        asyncio.run(collect(source, Monitor(tiny_bundle)))
    assert source.closed


def test_whoever_stops_watching_leaves_nothing_running(tiny_bundle: Bundle) -> None:
    async def stop_early() -> None:
        source = StallingSource(60.0)
        async with source, aclosing(watch(source, Monitor(tiny_bundle))) as stream:
            count = 0
            async for _ in stream:
                count += 1
                if count == 5:
                    break
        assert source.closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(stop_early())

"""The loop that joins a source and a monitor."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest

from fewbeats.device import gateway
from fewbeats.device.bundle import Bundle
from fewbeats.device.gateway import watch
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
    monkeypatch.setattr(gateway, "ANNOUNCE_AFTER_S", 0.05)
    monkeypatch.setattr("fewbeats.device.monitor.ANNOUNCE_AFTER_S", 2.5)
    seen = asyncio.run(collect(StallingSource(2.5), Monitor(tiny_bundle)))
    kinds = [type(event) for event in seen]
    assert CannotJudge in kinds and JudgingAgain in kinds[kinds.index(CannotJudge) :]
    blind = seen[kinds.index(CannotJudge)]
    assert isinstance(blind, CannotJudge) and blind.reason is Blindness.NO_DATA


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

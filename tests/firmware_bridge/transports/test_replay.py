import asyncio
import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fewbeats.errors import AddressError, RecordError, SourceError
from fewbeats.firmware_bridge.codecs.wfdb_signals import FORMATS
from fewbeats.firmware_bridge.records import open_record
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.firmware_bridge.source import Source
from fewbeats.firmware_bridge.transports.replay import ReplaySource


def written(folder: Path, seconds: float, rate_hz: float = 128.0) -> Path:
    """A record of two leads, of which the second is not measured in its tenth second."""
    samples = round(seconds * rate_hz)
    digital = np.random.default_rng(1).integers(-2000, 2000, (samples, 2)).astype("<i2")
    digital[round(9 * rate_hz) : round(10 * rate_hz), 1] = FORMATS[16].invalid
    (folder / "r.dat").write_bytes(digital.tobytes())
    lines = "".join(f"r.dat 16 200 16 0 0 0 0 {lead}\n" for lead in ("I", "II"))
    path = folder / "r.hea"
    path.write_text(f"r 2 {rate_hz!r} {samples} 12:00:00 01/02/2023\n{lines}")
    return path


async def collected(source: Source) -> list[EcgChunk]:
    async with source:
        return [chunk async for chunk in source]


def assert_no_gap(chunks: Sequence[EcgChunk]) -> None:
    assert all(later.follows(earlier) for earlier, later in itertools.pairwise(chunks))


@pytest.mark.parametrize("rate_hz", [128.0, 250.0, 333.333, 0.7])
def test_chunks_are_the_record(tmp_path: Path, rate_hz: float) -> None:
    path = written(tmp_path, 200.5, rate_hz)
    record = open_record(path)
    source = ReplaySource(path, speed=0, lead="II")
    chunks = asyncio.run(collected(source))
    assert_no_gap(chunks)
    assert len(chunks) == 4
    samples_uv = np.concatenate([chunk.samples_uv for chunk in chunks])
    np.testing.assert_array_equal(samples_uv, record.read(lead=1))
    valid = np.concatenate([chunk.valid for chunk in chunks])
    assert 0 < (~valid).sum() < len(valid)
    np.testing.assert_array_equal(valid, ~np.isnan(samples_uv))
    assert chunks[0].start_ns == record.start_ns
    at = 0
    for number, chunk in enumerate(chunks):
        assert chunk.sequence == number
        assert chunk.start_ns == record.time_ns(at)
        at += len(chunk)
    assert (source.stats.packets, source.stats.samples) == (4, record.length)


def test_info_is_complete_once_opened(tmp_path: Path) -> None:
    path = written(tmp_path, 2)

    async def info() -> None:
        source = ReplaySource(path.with_suffix(""))
        assert (source.info.name, source.info.rate_hz, source.info.lead) == ("r", None, None)
        async with source:
            assert (source.info.rate_hz, source.info.lead) == (128, "I")
            assert (source.info.codec, source.info.address) == ("wfdb", str(tmp_path / "r"))

    asyncio.run(info())


def test_a_stretch(tmp_path: Path) -> None:
    path = written(tmp_path, 20)
    record = open_record(path)
    chunks = asyncio.run(collected(ReplaySource(path, speed=1e6, start_s=3.5, duration_s=4.25)))
    assert_no_gap(chunks)
    assert [len(chunk) for chunk in chunks] == [128, 128, 128, 128, 32]
    assert chunks[0].start_ns == record.start_ns + 3_500_000_000
    samples_uv = np.concatenate([chunk.samples_uv for chunk in chunks])
    np.testing.assert_array_equal(samples_uv, record.read(448, 448 + 544))
    beyond = asyncio.run(collected(ReplaySource(path, speed=0, start_s=19, duration_s=1e9)))
    assert sum(len(chunk) for chunk in beyond) == 128
    assert asyncio.run(collected(ReplaySource(path, duration_s=0))) == []


def test_a_start_beyond_the_end(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="lasts 2 s; a replay cannot start at 2 s"):
        asyncio.run(collected(ReplaySource(written(tmp_path, 2), start_s=2)))


def test_it_keeps_time(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    seen_s: list[float] = []

    async def watch() -> None:
        async with ReplaySource(path, speed=20) as source:
            begin_s = time.monotonic()
            async for _ in source:
                seen_s.append(time.monotonic() - begin_s)
                await asyncio.sleep(0.02)  # a slow reader does not shift the later deadlines

    asyncio.run(watch())
    assert seen_s == sorted(seen_s)
    for seconds, seen in enumerate(seen_s, start=1):
        assert seen >= 0.9 * seconds / 20


def test_other_tasks_run_between_chunks(tmp_path: Path) -> None:
    path = written(tmp_path, 600)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def replay() -> int:
        other = asyncio.create_task(tick())
        chunks = await collected(ReplaySource(path, speed=0))
        other.cancel()
        return len(chunks)

    assert asyncio.run(replay()) <= ticks


def test_a_cancelled_wait_loses_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, 3)

    async def replay() -> list[EcgChunk]:
        async with ReplaySource(path, speed=10) as source:
            first = [chunk async for chunk in _until(source, 1)]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(source)
            return first + [chunk async for chunk in source]

    chunks = asyncio.run(replay())
    assert_no_gap(chunks)
    assert sum(len(chunk) for chunk in chunks) == 3 * 128


async def _until(source: ReplaySource, count: int):
    for _ in range(count):
        yield await anext(source)


def test_cancelling_the_task_closes_the_source(tmp_path: Path) -> None:
    path = written(tmp_path, 600)
    source = ReplaySource(path)

    async def replay() -> None:
        task = asyncio.create_task(collected(source))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(replay())
    with pytest.raises(SourceError, match="is not open"):
        asyncio.run(anext(source))


def test_a_record_that_is_cut(tmp_path: Path) -> None:
    path = written(tmp_path, 300)
    data = (tmp_path / "r.dat").read_bytes()

    async def replay() -> None:
        async with ReplaySource(path, speed=0) as source:
            assert len(await anext(source)) == 60 * 128
            (tmp_path / "r.dat").write_bytes(data[: len(data) // 2])
            chunks = 1
            with pytest.raises(RecordError, match="was cut"):
                async for _ in source:
                    chunks += 1
            assert chunks == 2

    asyncio.run(replay())
    with pytest.raises(RecordError, match="was cut"):
        asyncio.run(collected(ReplaySource(path)))


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["speed", "start_s", "duration_s"])
def test_what_is_no_speed_or_time(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(AddressError, match=rf"must be a number from 0 to 1e\+09, got {value}"):
        ReplaySource(tmp_path / "r", **{name: value})


def test_missing_records_and_leads(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="looked for"):
        asyncio.run(collected(ReplaySource(tmp_path / "none")))
    with pytest.raises(RecordError, match=r"no lead 'V5'.*0 I, 1 II"):
        asyncio.run(collected(ReplaySource(written(tmp_path, 1), lead="V5")))


def test_real_record_with_invalid_samples(data_dir: Path) -> None:
    path = data_dir / "cudb" / "cu26.hea"
    if not path.exists():
        pytest.skip(f"{path} is not among the records")
    chunks = asyncio.run(collected(ReplaySource(path, speed=0)))
    assert_no_gap(chunks)
    assert sum(len(chunk) for chunk in chunks) == 127_232
    assert any(not chunk.valid.all() for chunk in chunks)

"""A recording that streams as if its sensor were still on the chest."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from fewbeats.errors import AddressError, RecordError, SourceError
from fewbeats.firmware_bridge.records import Record, open_record
from fewbeats.firmware_bridge.samples import EcgChunk, SensorInfo
from fewbeats.firmware_bridge.stats import StreamStats

PACED_CHUNK_S = 1.0
"""Seconds of ECG in a chunk when the replay keeps time."""

UNPACED_CHUNK_S = 60.0
"""Seconds of ECG in a chunk when it does not: fewer, larger reads."""

MOST_SAMPLES = 1_000_000
"""In a chunk, whatever sampling rate a header gives."""

MOST = 1e9
"""Of speed, start and duration: thirty years in seconds."""


class ReplaySource:
    """A Source over a WFDB record, in bounded memory.

    Reads happen in a worker thread, so that a slow disk does not hold up other sources. A chunk
    appears when its last sample would have been measured, as a sensor's packet does; deadlines
    are counted from the first one, so a replay of a day does not drift.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        speed: float = 1.0,
        lead: int | str | None = None,
        start_s: float = 0.0,
        duration_s: float | None = None,
    ) -> None:
        """Note what to replay; nothing is opened yet.

        Args:
            path: the record's header, with or without ``.hea``.
            speed: 1 is real time, 10 ten times as fast, 0 as fast as the reader takes it.
            lead: number or name; None is the first.
            start_s: seconds of the record to leave out at its beginning.
            duration_s: seconds to replay; None is up to the end.

        Raises:
            AddressError: a speed, start or duration that is negative or no number.
        """
        for what, value in (("speed", speed), ("start", start_s), ("duration", duration_s or 0)):
            if not 0 <= value <= MOST:
                raise AddressError(
                    f"The {what} of a replay must be a number from 0 to {MOST:g}, got {value}."
                )
        self._path = path
        self._speed = speed
        self._lead = lead
        self._start_s = start_s
        self._duration_s = duration_s
        self._record: Record | None = None
        self._first = self._next = self._stop = 0
        self._begun_s: float | None = None
        self._info = SensorInfo(name=Path(path).stem, codec="wfdb", address=str(path))
        self._stats = StreamStats()

    @property
    def info(self) -> SensorInfo:
        """The record's name, rate and lead; the last two once opened."""
        return self._info

    @property
    def stats(self) -> StreamStats:
        """Chunks and samples given so far."""
        return self._stats

    async def __aenter__(self) -> Self:
        """Open the record.

        Raises:
            RecordError: it is missing or damaged, has no such lead, or ends before the start.
            MissingExtraError: a layout that only the wfdb package reads, without that package.
        """
        record = await asyncio.to_thread(open_record, self._path)
        number = record.lead_number(self._lead)
        first = round(self._start_s * record.rate_hz)
        if first > 0 and first >= record.length:
            raise RecordError(
                f"Record {record.name} lasts {record.length / record.rate_hz:g} s; "
                f"a replay cannot start at {self._start_s:g} s."
            )
        stop = record.length
        if self._duration_s is not None:
            stop = min(stop, first + round(self._duration_s * record.rate_hz))
        self._first, self._next, self._stop = first, first, stop
        self._begun_s = None
        self._info = SensorInfo(
            name=record.name,
            codec="wfdb",
            address=str(self._path),
            rate_hz=record.rate_hz,
            lead=record.leads[number],
        )
        self._lead = number
        self._record = record
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget the record; every read has closed its file already."""
        self._record = None

    def __aiter__(self) -> Self:
        """The source itself: a second loop goes on where the first one left."""
        return self

    async def __anext__(self) -> EcgChunk:
        """The next chunk, when it is due.

        Raises:
            RecordError: the record's files changed or were cut under the replay.
            SourceError: the source is not open.
        """
        record = self._record
        if record is None:
            raise SourceError(f"The replay of {self._path} is not open; use 'async with' on it.")
        if self._next >= self._stop:
            raise StopAsyncIteration
        start = self._next
        chunk_s = PACED_CHUNK_S if self._speed else UNPACED_CHUNK_S
        samples_wanted = max(1, min(MOST_SAMPLES, round(chunk_s * record.rate_hz)))
        stop = min(self._stop, start + samples_wanted)
        clock = asyncio.get_running_loop().time
        if self._begun_s is None:
            self._begun_s = clock()
        samples = await asyncio.to_thread(record.read, start, stop, self._lead)
        if self._speed:
            due_s = self._begun_s + (stop - self._first) / record.rate_hz / self._speed
            await asyncio.sleep(max(0.0, due_s - clock()))
        chunk = EcgChunk(
            samples,
            np.isfinite(samples),
            record.rate_hz,
            record.time_ns(start),
            self._stats.packets,
        )
        # Only now: whoever cancels the wait gets the same chunk next time, and loses none.
        self._next = stop
        self._stats.packets += 1
        self._stats.samples += len(chunk)
        return chunk

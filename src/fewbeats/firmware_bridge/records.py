"""WFDB records: a header in text and signals in binary files beside it, read as microvolts.

They are read in bounded memory, so that a gateway replays a day of ECG without the wfdb package;
only leads in difference or compressed formats need that package. Source of the header's fields
and defaults: PhysioNet WFDB, header(5).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import MissingExtraError, RecordError
from fewbeats.firmware_bridge.codecs.wfdb_signals import FORMATS, SignalFormat

LEFT_TO_WFDB = frozenset({8, 508, 516, 524})
"""Formats that the wfdb package reads for us: differences, and FLAC."""

BLOCK_SAMPLES = 1 << 17
"""Samples decoded at a time, all leads together: it bounds the memory that a read takes."""

MICROVOLTS = {"nv": 1e-3, "uv": 1.0, "µv": 1.0, "μv": 1.0, "mv": 1e3, "v": 1e6}
"""Units of a potential, in lower case, and what one of them is in microvolts."""

_RECORD_LINE = re.compile(
    r"(?P<name>[^\s/]+)(?:/(?P<segments>\d{1,9}))?"
    r"\s+(?P<leads>\d{1,9})"
    r"(?:\s+(?P<rate>\d+\.?\d*(?:e[+-]?\d+)?)(?:/-?\d+\.?\d*(?:\(-?\d+\.?\d*\))?)?"
    r"(?:\s+(?P<length>\d{1,15})"
    r"(?:\s+(?P<time>\d{1,2}(?::\d{1,2}){0,2}(?:\.\d+)?)"
    r"(?:\s+(?P<day>\d{1,2})/(?P<month>\d{1,2})/(?P<year>\d{1,4}))?)?)?)?",
    re.IGNORECASE,
)

_SIGNAL_LINE = re.compile(
    r"(?P<file>[^\s/\\\0]+)"
    r"\s+(?P<format>\d{1,9})(?:x(?P<per_frame>\d{1,9}))?"
    r"(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,15}))?"
    r"(?:\s+(?P<gain>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
    r"(?:\((?P<baseline>[+-]?\d{1,10})\))?(?:/(?P<units>\S+))?"
    r"(?:\s+\d+(?:\s+(?P<zero>[+-]?\d{1,10})"  # resolution of the converter, its zero
    r"(?:\s+[+-]?\d+(?:\s+[+-]?\d+(?:\s+[+-]?\d+"  # first value, checksum, block size
    r"(?:\s+(?P<lead>.+))?)?)?)?)?)?)?",
    re.IGNORECASE,
)

_SEGMENT_LINE = re.compile(r"(?P<name>[^\s/\\\0]+)\s+(?P<length>\d{1,15})")


@dataclass(frozen=True, slots=True)
class Signal:
    """What a header says of one lead: where its samples lie, and what they mean."""

    lead: str
    file: Path
    format: int
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    units: str


@dataclass(frozen=True, slots=True)
class Record:
    """A recording, of which any stretch can be read.

    Attributes:
        name: what the header calls it.
        path: the header.
        rate_hz: frames a second. A lead with several samples in a frame is averaged to one.
        length: samples of each lead.
        leads: their names, in the header's order. Two may have one name: then only the number
            tells them apart.
        start_ns: time of the first sample, nanoseconds UTC (headers know no time zone); 0 where
            the header gives no date.
        comments: the header's free text, line by line.
    """

    name: str
    path: Path
    rate_hz: float
    length: int
    leads: tuple[str, ...]
    start_ns: int
    comments: tuple[str, ...]
    _signals: tuple[Signal, ...] = field(repr=False)
    # For a record in segments: each of them, None for a gap, and its length. Else empty.
    _segments: "tuple[tuple[Record | None, int], ...]" = field(repr=False)

    def time_ns(self, sample: int) -> int:
        """When ``sample`` was taken, nanoseconds UTC: exact, however long the record."""
        return self.start_ns + round(Fraction(sample * 10**9) / Fraction(self.rate_hz))

    def lead_number(self, lead: int | str | None) -> int:
        """Number of the lead of that name, or number (also as text); None is the first.

        Raises:
            RecordError: no such lead, or several of that name.
        """
        if isinstance(lead, str) and self.leads.count(lead) == 1:
            return self.leads.index(lead)
        known = ", ".join(f"{number} {name}" for number, name in enumerate(self.leads))
        if isinstance(lead, str) and lead in self.leads:
            raise RecordError(
                f"Record {self.name} has several leads named {lead!r}; choose by number: {known}."
            )
        number = int(lead) if isinstance(lead, str) and lead.isdecimal() else lead or 0
        if isinstance(number, str) or not 0 <= number < len(self.leads):
            raise RecordError(
                f"Record {self.name} has no lead {lead!r}; its leads are: {known or 'none'}."
            )
        return number

    def read(
        self, start: int = 0, stop: int | None = None, lead: int | str | None = 0
    ) -> NDArray[np.float32]:
        """Samples ``start`` to ``stop`` (excluded; None is the end) of one lead, in microvolts.

        Returns:
            float32 (stop - start,); NaN where the record holds no measurement.

        Raises:
            RecordError: no such lead or stretch, a lead that is no potential, or files that
                do not hold what the header says.
        """
        number = self.lead_number(lead)
        stop = self.length if stop is None else stop
        if not 0 <= start <= stop <= self.length:
            raise RecordError(
                f"Record {self.name} has samples 0 to {self.length}, not {start} to {stop}."
            )
        samples = np.full(stop - start, np.nan, dtype=np.float32)
        blocks = self._segment_blocks if self._segments else self._signal_blocks
        for at, block_uv in blocks(number, start, stop):
            samples[at - start : at - start + len(block_uv)] = block_uv
        return samples

    def _segment_blocks(
        self, number: int, start: int, stop: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Sample number and microvolts of what the segments have of the lead."""
        # A first segment without samples means that each of the others has leads of its own.
        by_name = self._segments[0][1] == 0
        lead = self.leads[number] if by_name else number
        begin = 0
        for segment, length in self._segments:
            low, high = max(start - begin, 0), min(stop - begin, length)
            if segment and low < high and (not by_name or lead in segment.leads):
                yield begin + low, segment.read(low, high, lead)
            begin += length

    def _signal_blocks(
        self, number: int, start: int, stop: int
    ) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Sample number and microvolts of block after block."""
        signal = self._signals[number]
        to_microvolts = MICROVOLTS.get(signal.units.lower())
        if to_microvolts is None:
            raise RecordError(
                f"Lead {number} {signal.lead} of record {self.name} is in {signal.units!r}, "
                f"which is no potential; choose another lead."
            )
        if signal.format in LEFT_TO_WFDB and start < stop:
            yield start, _physical_by_wfdb(self, number, start, stop) * to_microvolts
            return
        # The lead's first sample is ``skew`` frames late; for its last ones there are no frames.
        stop = min(stop, self.length - signal.skew)
        frames = max(1, BLOCK_SAMPLES // sum(other.per_frame for other in self._signals))
        for first in range(start, stop, frames):
            last = min(first + frames, stop)
            physical = _physical(self._signals, number, first + signal.skew, last + signal.skew)
            yield first, physical * to_microvolts


def open_record(path: Path | str) -> Record:
    """Read a record's header, and check that its signal files can hold what it promises.

    ``path`` is that of the header, with or without ``.hea``.

    Raises:
        RecordError: a file is missing, too short or unreadable.
        MissingExtraError: a format that only the wfdb package reads, without that package.
    """
    path = Path(path)
    header = path if path.suffix == ".hea" else path.parent / f"{path.name}.hea"
    lines, comments = _lines(header)
    fields = _match(_RECORD_LINE, lines, 0, header, "record")
    rate_hz, length = float(fields["rate"] or 250), int(fields["length"] or 0)
    if not 1e-3 <= rate_hz <= 1e6:
        raise RecordError(f"The header {header} gives a sampling rate of {rate_hz:g} Hz.")
    segments: tuple[tuple[Record | None, int], ...] = ()
    if fields["segments"]:
        signals, segments = _segments(header, lines, rate_hz)
        total = sum(part for _, part in segments)
        if length not in (0, total):
            raise RecordError(f"{header} promises {length} samples, its segments {total}.")
        length = total
    else:
        signals = _signals(header, lines)
        length = _checked_length(header, signals, length)
    leads = tuple(signal.lead for signal in signals)
    start_ns = _start_ns(fields, header)
    return Record(
        fields["name"], header, rate_hz, length, leads, start_ns, comments, signals, segments
    )


def _lines(header: Path) -> tuple[list[str], tuple[str, ...]]:
    """The header's lines that say something, and its comments."""
    try:
        text = header.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise RecordError(f"No record here: looked for its header at {header}.") from error
    except OSError as error:
        raise RecordError(f"The header {header} cannot be read: {error.strerror}.") from error
    stripped = [line.strip() for line in text.splitlines()]
    comments = tuple(line.lstrip("# \t") for line in stripped if line.startswith("#"))
    return [line for line in stripped if line and not line.startswith("#")], comments


def _match(
    pattern: re.Pattern[str], lines: list[str], number: int, header: Path, kind: str
) -> dict[str, str]:
    """The named fields of one line; those that are not there are None."""
    if number >= len(lines):
        raise RecordError(f"The header {header} ends before its {kind} line {number}.")
    match = pattern.fullmatch(lines[number])
    if match is None:
        raise RecordError(
            f"The header {header} has {lines[number][:80]!r} for its {kind} line {number}; "
            f"is it a WFDB header?"
        )
    return match.groupdict()


def _signals(header: Path, lines: list[str]) -> tuple[Signal, ...]:
    """The leads, from the signal lines that follow the record line."""
    count = int(_match(_RECORD_LINE, lines, 0, header, "record")["leads"])
    signals = []
    for number in range(1, count + 1):
        fields = _match(_SIGNAL_LINE, lines, number, header, "signal")
        gain = float(fields["gain"] or 0) or 200.0
        if not 1e-12 < abs(gain) < 1e12:
            raise RecordError(f"The header {header} gives a gain of {gain:g}, which is none.")
        signals.append(
            Signal(
                lead=fields["lead"] or f"signal {number - 1}",
                file=header.parent / fields["file"],
                format=int(fields["format"]),
                per_frame=int(fields["per_frame"] or 1) or 1,
                skew=int(fields["skew"] or 0),
                offset=int(fields["offset"] or 0),
                gain=gain,
                baseline=int(fields["baseline"] or fields["zero"] or 0),
                units=fields["units"] or "mV",
            )
        )
    return tuple(signals)


def _segments(
    header: Path, lines: list[str], rate_hz: float
) -> tuple[tuple[Signal, ...], tuple[tuple[Record | None, int], ...]]:
    """The leads that the first segment names, and all segments; those named ``~`` are gaps."""
    count = int(_match(_RECORD_LINE, lines, 0, header, "record")["segments"])
    signals: tuple[Signal, ...] = ()
    segments: list[tuple[Record | None, int]] = []
    for number in range(1, count + 1):
        name, text = _match(_SEGMENT_LINE, lines, number, header, "segment").values()
        length, part = int(text), header.parent / f"{name}.hea"
        if name != "~" and not signals:
            signals = _signals(part, _lines(part)[0])
        if name == "~" or length == 0:
            segments.append((None, length))
            continue
        if _match(_RECORD_LINE, _lines(part)[0], 0, part, "record")["segments"]:
            raise RecordError(f"{part} is a segment of {header}, but has segments itself.")
        segment = open_record(part)
        if segment.rate_hz != rate_hz or segment.length != length:
            raise RecordError(
                f"{header} promises {length} samples at {rate_hz:g} Hz in {part}, which has "
                f"{segment.length} at {segment.rate_hz:g} Hz."
            )
        segments.append((segment, length))
    if segments and segments[0][1]:
        # Without a layout the leads go by number, and a swap would join two of them to one.
        names = tuple(signal.lead for signal in signals)
        for segment in (piece for piece, _ in segments if piece and piece.leads != names):
            raise RecordError(
                f"{segment.path} has the leads {', '.join(segment.leads)}, the first segment of "
                f"{header} {', '.join(names)}: they cannot be joined."
            )
    return signals, tuple(segments)


def _start_ns(fields: dict[str, str], header: Path) -> int:
    """Nanoseconds UTC of the header's date and time, 0 without a date."""
    if fields["day"] is None:
        return 0
    whole, _, fraction = fields["time"].partition(".")
    hour, minute, second = [0, 0, *(int(part) for part in whole.split(":"))][-3:]
    year, month, day = (int(fields[name]) for name in ("year", "month", "day"))
    try:
        start = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise RecordError(f"The header {header} gives a date that is none: {error}.") from error
    return int(start.timestamp()) * 10**9 + int(fraction[:9].ljust(9, "0"))


def _interleaved(signals: tuple[Signal, ...], file: Path) -> tuple[SignalFormat, int, int]:
    """Format of one signal file, its first byte of samples, and the samples in a frame."""
    group = [signal for signal in signals if signal.file == file]
    if len({(signal.format, signal.offset) for signal in group}) > 1:
        raise RecordError(f"The header gives the leads in {file} different formats or offsets.")
    return FORMATS[group[0].format], group[0].offset, sum(signal.per_frame for signal in group)


def _checked_length(header: Path, signals: tuple[Signal, ...], promised: int) -> int:
    """Frames of the record, from the files' sizes where the header promises none."""
    lengths = []
    for file, code in {signal.file: signal.format for signal in signals}.items():
        if code not in FORMATS and code not in LEFT_TO_WFDB:
            raise RecordError(f"{header} names format {code} for {file}, which nobody reads.")
        try:
            size = file.stat().st_size
        except OSError as error:
            raise RecordError(f"No signals here: looked for {file} ({error.strerror}).") from error
        if code in LEFT_TO_WFDB:
            _wfdb(header)
            continue
        layout, offset, in_frame = _interleaved(signals, file)
        needed = offset + layout.bytes_for(promised * in_frame)
        if size < needed:
            raise RecordError(
                f"{file} was cut: it has {size} bytes of the {needed} that {promised} frames of "
                f"{in_frame} samples in format {code} take. Fetch it again."
            )
        lengths.append(layout.samples_in(size - offset) // in_frame)
    if not promised and not lengths:
        raise RecordError(f"{header} does not say how many samples its leads have.")
    return promised or min(lengths)


def _physical(
    signals: tuple[Signal, ...], number: int, first: int, last: int
) -> NDArray[np.float64]:
    """A lead in its own units from frame ``first`` to ``last``, NaN where it is invalid."""
    signal = signals[number]
    layout, offset, in_frame = _interleaved(signals, signal.file)
    column = sum(other.per_frame for other in signals[:number] if other.file == signal.file)
    # Only whole groups can be decoded: begin with the one that holds the first sample.
    group, early = divmod(first * in_frame, layout.group_samples)
    begin, end = group * layout.group_bytes, layout.bytes_for(last * in_frame)
    try:
        with signal.file.open("rb") as file:
            file.seek(offset + begin)
            data = file.read(end - begin)
    except OSError as error:
        raise RecordError(f"{signal.file} cannot be read: {error.strerror}.") from error
    if len(data) < end - begin:
        raise RecordError(
            f"{signal.file} was cut while it was read: it ends at byte "
            f"{offset + begin + len(data)}, sample {last - 1} at {offset + end}."
        )
    digital = layout.decode(data, early + (last - first) * in_frame)[early:]
    digital = digital.reshape(-1, in_frame)[:, column : column + signal.per_frame]
    physical = (digital.astype(np.float64) - signal.baseline) / signal.gain
    physical[digital == layout.invalid] = np.nan
    return physical[:, 0] if signal.per_frame == 1 else physical.mean(axis=1)


def _wfdb(header: Path) -> Any:  # noqa: ANN401 - the package is untyped
    """The wfdb package, which reads the formats that this module does not."""
    try:
        import wfdb
    except ImportError as error:
        raise MissingExtraError("wfdb", f"The signal format of {header}") from error
    return wfdb


def _physical_by_wfdb(record: Record, number: int, start: int, stop: int) -> NDArray[np.float64]:
    """The same by way of the wfdb package."""
    # Differences only add up from the beginning: the package would begin anywhere with the
    # header's first value. And frames are averaged here, not there, because it would average
    # the digital value of an invalid sample with its neighbours into a number that looks valid.
    first = 0 if record._signals[number].format == 8 else start
    name = str(record.path.with_suffix(""))
    try:
        part = _wfdb(record.path).rdrecord(
            name, sampfrom=first, sampto=stop, channels=[number], smooth_frames=False
        )
        frames = np.asarray(part.e_p_signal[0], dtype=np.float64).reshape(stop - first, -1)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise RecordError(
            f"Record {record.name} cannot be read, not by the wfdb package either: {error}"
        ) from error
    physical: NDArray[np.float64] = frames.mean(axis=1)[start - first :]
    return physical

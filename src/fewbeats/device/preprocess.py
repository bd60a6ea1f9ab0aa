"""From chunks to windows: the one definition that training and the device share.

A window is resampled, low-passed, freed of its baseline and standardised. Everything up to the
last division is exact integer arithmetic (see ``resample``), and no state outlives a gap: a
window depends on its own samples and on nothing before them, however they were cut into chunks.
"""

from collections import deque
from dataclasses import asdict, dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.quality import Quality, assess
from fewbeats.device.resample import Resampler
from fewbeats.errors import SignalError
from fewbeats.firmware_bridge.samples import CONTIGUITY_TOLERANCE_NS, EcgChunk, chunk_of

COUNTS_PER_UV = 16
LIMIT_UV = 1_000_000.0
"""Beyond one volt a sample is no ECG but a broken measurement: it counts as invalid."""
FLOOR_UV = 10.0
"""Windows are scaled to unit variance, but never by more than one over this."""
MAX_WINDOW_S = 30.0
MAX_RATE_HZ = 1000
CLOCK_TOLERANCE = 0.02
"""How far a sensor's sampling may stray from the rate it declares."""
_BASIS_SCALE = 2**20


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """What a window is; a bundle carries the one its backbone was trained on.

    Attributes:
        rate_hz: rate of the window's samples.
        window_s: length of a window.
        hop_s: from one window's start to the next one's.
        low_hz: baseline components up to this frequency are taken out.
        high_hz: cut-off of the low-pass.

    Raises:
        SignalError: lengths that are no whole number of samples, or a band that is empty.
    """

    rate_hz: int = 125
    window_s: float = 2.0
    hop_s: float = 1.0
    low_hz: float = 0.5
    high_hz: float = 40.0

    def __post_init__(self) -> None:
        for name in ("window_s", "hop_s"):
            samples = getattr(self, name) * self.rate_hz
            if not 1 <= samples < np.inf or samples != int(samples):
                raise SignalError(
                    f"{name} = {getattr(self, name)} is no whole number of samples at "
                    f"{self.rate_hz} Hz; choose a multiple of 1/{self.rate_hz} s."
                )
        if not (self.hop_s <= self.window_s <= MAX_WINDOW_S and self.rate_hz <= MAX_RATE_HZ):
            raise SignalError(
                f"Windows must overlap or touch, and have at most {MAX_WINDOW_S:g} s and "
                f"{MAX_RATE_HZ} Hz; got a hop of {self.hop_s} s, {self.window_s} s and "
                f"{self.rate_hz} Hz."
            )
        if not 0 <= self.low_hz < self.high_hz < self.rate_hz / 2:
            raise SignalError(
                f"A band of {self.low_hz}-{self.high_hz} Hz does not fit under half the rate, "
                f"{self.rate_hz / 2} Hz."
            )

    @property
    def samples(self) -> int:
        """Samples in a window."""
        return int(self.window_s * self.rate_hz)

    @property
    def hop_samples(self) -> int:
        """Samples from one window's start to the next one's."""
        return int(self.hop_s * self.rate_hz)

    def as_dict(self) -> dict[str, float]:
        """The plain numbers, for a manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows in the order of time.

    Attributes:
        samples: float32 (windows, 1, samples), zero mean and unit variance.
        start_ns: int64 (windows,), time of each window's first sample.
        segment: int64 (windows,), number of the unbroken stretch that each lies in.
        quality: uint8 (windows,), values of ``Quality``.
        rms_uv: float32 (windows,), size of the signal before standardising.
        duration_ns: length of a window.
    """

    samples: NDArray[np.float32]
    start_ns: NDArray[np.int64]
    segment: NDArray[np.int64]
    quality: NDArray[np.uint8]
    rms_uv: NDArray[np.float32]
    duration_ns: int

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """bool (windows,): good enough to be judged."""
        return np.equal(self.quality, int(Quality.GOOD))

    def __getitem__(self, index: slice | NDArray[np.bool_] | NDArray[np.int64]) -> "Windows":
        return Windows(
            self.samples[index],
            self.start_ns[index],
            self.segment[index],
            self.quality[index],
            self.rms_uv[index],
            self.duration_ns,
        )


class Preprocessor:
    """Chunks in, windows out, in bounded memory.

    A segment is a run of valid samples without a gap. Its first window starts as soon as the
    low-pass has its inputs; no window ever reaches across the end of a segment.
    """

    def __init__(self, spec: WindowSpec) -> None:
        self.spec = spec
        self.segment = -1
        """Number of the current segment, from 0; -1 before the first valid sample."""
        self._basis = baseline_basis(spec)
        self._none = Windows(
            np.empty((0, 1, spec.samples), dtype=np.float32),
            np.empty(0, dtype=np.int64),
            np.empty(0, dtype=np.int64),
            np.empty(0, dtype=np.uint8),
            np.empty(0, dtype=np.float32),
            self._duration_ns,
        )
        self._resampler: Resampler | None = None
        self._rate_hz = 0.0
        self._previous: EcgChunk | None = None
        self._open = False
        self._reset()

    def feed(self, chunk: EcgChunk) -> Windows:
        """Take one chunk and return the windows that it completes, often none.

        Raises:
            RateError: the chunk's rate cannot be resampled.
        """
        if self._resampler is None or chunk.rate_hz != self._rate_hz:
            self._resampler = Resampler(chunk.rate_hz, self.spec.rate_hz, self.spec.high_hz)
            self._rate_hz = chunk.rate_hz
            self._open = False
        if self._previous is not None and not (
            chunk.follows(self._previous) and self._on_time(chunk)
        ):
            self._open = False
        self._previous = chunk
        with np.errstate(invalid="ignore"):
            valid = chunk.valid & (np.abs(chunk.samples_uv) <= LIMIT_UV)
        if valid.all():
            runs = [(0, len(chunk))] if len(chunk) else []
        else:
            edges = np.flatnonzero(np.diff(valid, prepend=False, append=False))
            runs = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
            if not runs:
                self._open = False
        ready = []
        for start, stop in runs:
            if not (self._open and start == 0):
                self._reset()
                self.segment += 1
            self._append(chunk, start, stop)
            self._open = stop == len(chunk)
            ready.append(self._take(self._resampler))
        return _joined(ready) if ready else self._none

    def _reset(self) -> None:
        self._pieces: list[NDArray[np.float64]] = []
        self._inputs = 0  # valid samples of the segment so far
        self._begun_ns = 0  # time of the first of them
        self._base = 0  # index of the first input still kept
        self._anchors: deque[tuple[int, int]] = deque()  # (input index, its time in ns)
        self._filtered = np.empty(0)
        self._filtered_from = -1  # output index of _filtered[0]; -1: not started
        self._wake = 0  # inputs needed before the next window can be complete

    def _on_time(self, chunk: EcgChunk) -> bool:
        """Whether a chunk comes when its segment's samples are due.

        Each of many chunks may be a little late, within what ``follows`` forgives, and samples
        be missing all the same.
        """
        if not self._open:
            return True
        elapsed_ns = self._inputs * 1e9 / self._rate_hz
        error_ns = abs(chunk.start_ns - self._begun_ns - elapsed_ns)
        return error_ns <= CONTIGUITY_TOLERANCE_NS + CLOCK_TOLERANCE * elapsed_ns

    def _append(self, chunk: EcgChunk, start: int, stop: int) -> None:
        time_ns = chunk.start_ns + round(start * 1e9 / chunk.rate_hz)
        if self._inputs == 0:
            self._begun_ns = time_ns
        self._anchors.append((self._inputs, time_ns))
        counts = chunk.samples_uv[start:stop].astype(np.float64)
        counts *= COUNTS_PER_UV
        self._pieces.append(np.rint(counts, out=counts))
        self._inputs += stop - start

    def _take(self, resampler: Resampler) -> Windows:
        spec = self.spec
        if self._filtered_from < 0:
            self._filtered_from = resampler.first
            self._set_wake(resampler, self._filtered_from + spec.samples)
        if self._inputs < self._wake:
            return self._none
        inputs = np.concatenate(self._pieces)
        done = self._filtered_from + len(self._filtered)
        ready = resampler.ready(self._inputs)
        fresh = resampler.outputs(inputs, self._base, done, ready)
        filtered = np.concatenate([self._filtered, fresh])
        count = (len(filtered) - spec.samples) // spec.hop_samples + 1
        views = np.lib.stride_tricks.sliding_window_view(filtered, spec.samples)
        outputs = self._filtered_from + np.arange(count) * spec.hop_samples
        windows = self._finish(views[: count * spec.hop_samples : spec.hop_samples], outputs)
        keep = count * spec.hop_samples
        self._filtered = filtered[keep:].copy()
        self._filtered_from += keep
        oldest = max(resampler.oldest_input(self._filtered_from + len(self._filtered)), self._base)
        # Outputs already filtered still need their own time, so their anchors stay.
        position = int(self._filtered_from * resampler.ratio)
        while len(self._anchors) > 1 and self._anchors[1][0] <= position:
            self._anchors.popleft()
        self._pieces = [inputs[oldest - self._base :].copy()]
        self._base = oldest
        self._set_wake(resampler, self._filtered_from + spec.samples)
        return windows

    def _set_wake(self, resampler: Resampler, outputs: int) -> None:
        self._wake = int((outputs - 1) * resampler.ratio) + resampler.reach + 1

    def _finish(self, views: NDArray[np.float64], outputs: NDArray[np.int64]) -> Windows:
        """Take out the baseline and standardise; ``views`` is (windows, samples), counts."""
        start_ns = self._times_ns(outputs)
        samples = np.empty((len(views), 1, self.spec.samples), dtype=np.float32)
        quality = np.empty(len(views), dtype=np.uint8)
        rms_uv = np.empty(len(views), dtype=np.float32)
        for low in range(0, len(views), 4096):
            block = views[low : low + 4096]
            block = block - block[:, :1]  # an electrode's offset is gone, to the last bit
            part = slice(low, low + len(block))
            coefficients = block @ self._basis.T  # exact: integers below 2**53
            residual = block.copy()
            for component, basis in zip(coefficients.T, self._basis, strict=True):
                residual -= component[:, None] * (basis / float(_BASIS_SCALE**2))
            residual = np.rint(residual)
            counts = residual.astype(np.int64)
            energy = np.einsum("ij,ij->i", counts, counts)
            rms = np.sqrt(energy / self.spec.samples) / COUNTS_PER_UV
            scale = COUNTS_PER_UV * np.maximum(rms, FLOOR_UV)
            samples[part, 0] = residual / scale[:, None]
            quality[part] = assess(block, rms)
            rms_uv[part] = rms
        segment = np.full(len(views), self.segment, dtype=np.int64)
        return Windows(samples, start_ns, segment, quality, rms_uv, self._duration_ns)

    def _times_ns(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Time of each output, by the chunk that it lies in: sensor clocks drift over hours."""
        ratio = float(self._resampler.ratio) if self._resampler else 1.0
        positions = outputs * ratio
        first = np.array([index for index, _ in self._anchors])
        time_ns = np.array([ns for _, ns in self._anchors], dtype=np.int64)
        chunk = np.searchsorted(first, positions, side="right") - 1
        since = np.rint((positions - first[chunk]) * (1e9 / self._rate_hz)).astype(np.int64)
        return np.asarray(time_ns[chunk] + since, dtype=np.int64)

    @property
    def _duration_ns(self) -> int:
        return round(self.spec.window_s * 1e9)


def windows_of(samples_uv: NDArray[np.floating], rate_hz: float, spec: WindowSpec) -> Windows:
    """All windows of a recording, as the device would see them; NaN breaks segments."""
    return Preprocessor(spec).feed(chunk_of(samples_uv, rate_hz))


def baseline_basis(spec: WindowSpec) -> NDArray[np.float64]:
    """(components, samples): the slow cosines of a window, as integers in float64.

    DCT-II functions of frequency up to ``low_hz``; projecting them out is a high-pass that
    needs no past and leaves no transient behind (a 0.5-Hz recursive filter needs seconds of
    both, after every gap).
    """
    components = floor(2 * spec.window_s * spec.low_hz) + 1
    angle = np.pi * (np.arange(spec.samples) + 0.5) / spec.samples
    basis = np.cos(np.arange(components)[:, None] * angle)
    basis /= np.sqrt((basis**2).sum(axis=1, keepdims=True))
    return np.asarray(np.rint(basis * _BASIS_SCALE))


def _joined(parts: list[Windows]) -> Windows:
    if len(parts) == 1:
        return parts[0]
    return Windows(
        np.concatenate([p.samples for p in parts]),
        np.concatenate([p.start_ns for p in parts]),
        np.concatenate([p.segment for p in parts]),
        np.concatenate([p.quality for p in parts]),
        np.concatenate([p.rms_uv for p in parts]),
        parts[0].duration_ns,
    )

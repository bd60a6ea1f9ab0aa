"""The one value that crosses from the bridge into the device: time-stamped microvolts."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import RateError, SignalError

CONTIGUITY_TOLERANCE_NS = 40_000_000
"""How far a chunk's start may lie from its predecessor's end before it counts as a gap.

Sensors stamp packets with some jitter; less than half a QRS complex can hide in 40 ms.
"""


@dataclass(frozen=True, slots=True)
class SensorInfo:
    """What is known of the sensor behind a source before its first sample."""

    name: str
    codec: str
    address: str
    rate_hz: float | None = None
    lead: str | None = None
    firmware: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EcgChunk:
    """A run of consecutive samples of one lead.

    Attributes:
        samples_uv: float32 (samples,), microvolts. Where ``valid`` is False the value means
            nothing; it is NaN, never 0 uV.
        valid: bool (samples,). False where the sensor had no contact or no measurement.
        rate_hz: sampling rate.
        start_ns: time of the first sample, nanoseconds UTC.
        sequence: running number of the sensor's packet, unwrapped. One more than the chunk
            before, or samples are missing between the two.
        lead_off: the sensor said that an electrode has no contact. Then nothing is valid.
        battery_percent: what the sensor said of its battery, if it did.

    Raises:
        SignalError: shapes that do not fit, or valid samples that are not finite.
        RateError: a rate that is not a positive number.
    """

    samples_uv: NDArray[np.float32]
    valid: NDArray[np.bool_]
    rate_hz: float
    start_ns: int
    sequence: int
    lead_off: bool = field(default=False, kw_only=True)
    battery_percent: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.samples_uv.ndim != 1 or self.samples_uv.shape != self.valid.shape:
            raise SignalError(
                f"A chunk needs samples and validity of one equal length, got shapes "
                f"{self.samples_uv.shape} and {self.valid.shape}."
            )
        if self.samples_uv.dtype != np.float32 or self.valid.dtype != np.bool_:
            raise SignalError(
                f"A chunk holds float32 samples and bool validity, got "
                f"{self.samples_uv.dtype} and {self.valid.dtype}."
            )
        if not (np.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise RateError(f"A sampling rate must be a positive number, got {self.rate_hz} Hz.")
        if not np.isfinite(self.samples_uv[self.valid]).all():
            raise SignalError(
                f"Chunk {self.sequence} calls samples valid that are not finite numbers; "
                f"mark them invalid instead."
            )
        if self.lead_off and self.valid.any():
            raise SignalError(
                f"Chunk {self.sequence} is marked lead-off but calls samples valid; "
                f"without contact nothing was measured."
            )

    def __len__(self) -> int:
        return len(self.samples_uv)

    @property
    def end_ns(self) -> int:
        """Time at which the sample after the last one is due, nanoseconds UTC."""
        return self.start_ns + round(len(self) * 1e9 / self.rate_hz)

    def part(self, start: int, stop: int) -> "EcgChunk":
        """Samples ``start`` to ``stop`` (excluded) as a chunk of their own, with its own time."""
        start_ns = self.start_ns + round(start * 1e9 / self.rate_hz)
        return replace(
            self,
            samples_uv=self.samples_uv[start:stop],
            valid=self.valid[start:stop],
            start_ns=start_ns,
        )

    def follows(self, previous: "EcgChunk") -> bool:
        """Whether no sample lies, or may lie, unseen between ``previous`` and this chunk."""
        return (
            self.sequence == previous.sequence + 1
            and self.rate_hz == previous.rate_hz
            and abs(self.start_ns - previous.end_ns) <= CONTIGUITY_TOLERANCE_NS
        )


def chunk_of(
    samples_uv: NDArray[np.floating],
    rate_hz: float,
    start_ns: int = 0,
    sequence: int = 0,
) -> EcgChunk:
    """A chunk in which every finite sample is valid; NaN and infinities become invalid."""
    samples = np.array(samples_uv, dtype=np.float32)
    valid = np.isfinite(samples)
    samples[~valid] = np.nan
    return EcgChunk(samples, valid, rate_hz, start_ns, sequence)

"""The rhythms that labels name: one vocabulary for simulated and recorded ECG."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Rhythm(IntEnum):
    """What the heart does at one sample. Noise and lead-off are masks over it, not rhythms."""

    UNLABELLED = 0
    """Nobody knows, or the annotations cannot be trusted here: neither trained on nor scored."""
    SINUS = 1
    OTHER = 2
    """Any rhythm that is neither sinus nor VA: AF, bigeminy, block, paced, idioventricular..."""
    PVC = 3
    """Inside a single premature ventricular beat; under three in a row are no VA."""
    VT = 4
    VFL = 5
    VF = 6
    ASYSTOLE = 7

    @property
    def is_va(self) -> bool:
        """Whether this is a ventricular arrhythmia: tachycardia, flutter or fibrillation."""
        return self in VA_RHYTHMS


VA_RHYTHMS = frozenset({Rhythm.VT, Rhythm.VFL, Rhythm.VF})


@dataclass(frozen=True, slots=True, eq=False)
class RhythmLabels:
    """The truth about a stretch of ECG, sample by sample.

    Attributes:
        rhythms: uint8 (samples,), values of ``Rhythm``.
        noise: bool (samples,), where noise hides the rhythm.
        rate_hz: sampling rate of both.
    """

    rhythms: NDArray[np.uint8]
    noise: NDArray[np.bool_]
    rate_hz: float

    def __len__(self) -> int:
        return len(self.rhythms)

    @property
    def va(self) -> NDArray[np.bool_]:
        """bool (samples,): the rhythm is a ventricular arrhythmia."""
        return np.isin(self.rhythms, [int(r) for r in VA_RHYTHMS])

    def va_episodes_s(self) -> list[tuple[float, float]]:
        """(onset, end) of every run of VA, in seconds from the first sample."""
        edges = np.flatnonzero(np.diff(self.va, prepend=False, append=False))
        return [(a / self.rate_hz, b / self.rate_hz) for a, b in edges.reshape(-1, 2).tolist()]

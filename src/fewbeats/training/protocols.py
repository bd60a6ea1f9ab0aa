"""Who is scored, what a judge may learn from, and what it is scored on. NumPy alone.

Rules, the same for every way of calibrating:

* A subject is scored if it has at least ``shots + fewest_scored`` windows of each class. One
  with a single class has no AUC and is left out; it is not counted as perfect.
* Windows lie end to end. None that is scored overlaps a support window of its record, or lies
  within ``gap_s`` of one.
* ``first`` takes the first windows of each class in time order, and scores of each class only
  what comes later than its last support window, as at a real onboarding.
* A subject's draws, figures and strips depend on its name and the seed, never on which other
  subjects there are.
* A made-up person may help to train and is never scored.
"""

from dataclasses import dataclass
from enum import StrEnum
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import DataError
from fewbeats.training.datasets import Subject

SHOTS = (1, 5, 10)
"""Support windows a class of the standard protocols."""


class Support(StrEnum):
    """What a judge may learn from before it is scored."""

    NONE = "none"
    """Nothing."""
    NORMALS = "normals"
    """The first non-VA windows; the judge itself stands in for the other class."""
    FIRST = "first"
    """The first windows of each class in time order."""
    RANDOM = "random"
    """Windows of each class drawn at random; the mean over several draws."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How subjects are calibrated and scored.

    Attributes:
        support: what may be learned from.
        shots: support windows a class.
        draws: how often ``random`` draws.
        seed: of the draws.
        fewest_scored: windows of a class, beside the support, that a subject needs.
        fewest_windows: windows of a class that a subject needs in any case. The same for all
            protocols that are to be compared: then they score the same subjects.
        gap_s: least time between a scored window and a support window.
    """

    support: Support = Support.FIRST
    shots: int = 10
    draws: int = 5
    seed: int = 0
    fewest_scored: int = 5
    fewest_windows: int = 0
    gap_s: float = 2.0

    def __post_init__(self) -> None:
        least = min(self.shots, self.draws, self.fewest_scored)
        if least < 1 or self.fewest_windows < 0 or not self.gap_s >= 0:
            raise DataError(
                f"Scoring needs at least 1 shot, 1 draw, 1 scored window a class and a gap of "
                f"0 s or more, got {self}."
            )

    @property
    def needed(self) -> int:
        """Windows of a class that a subject needs to be scored."""
        return max(self.shots + self.fewest_scored, self.fewest_windows)


def standard_protocols() -> list[Protocol]:
    """Every support, with 1, 5 and 10 shots where it takes any, on the same subjects."""
    most = Protocol(shots=max(SHOTS)).needed
    none = Protocol(Support.NONE, max(SHOTS), fewest_windows=most)
    others = (support for support in Support if support is not Support.NONE)
    return [none, *(Protocol(s, shots, fewest_windows=most) for s in others for shots in SHOTS)]


def support_of(subject: Subject, protocol: Protocol, draw: int = 0) -> NDArray[np.int64]:
    """Indices of a subject's support windows."""
    normals, va = np.flatnonzero(~subject.va), np.flatnonzero(subject.va)
    if protocol.support is Support.NONE:
        return np.empty(0, dtype=np.int64)
    if protocol.support is Support.NORMALS:
        return normals[: protocol.shots]
    if protocol.support is Support.FIRST:
        return np.concatenate([normals[: protocol.shots], va[: protocol.shots]])
    rng = np.random.default_rng([protocol.seed, crc32(subject.name.encode()), draw])
    return np.concatenate(
        [rng.choice(of_class, protocol.shots, replace=False) for of_class in (normals, va)]
    )


def scored_windows(
    subject: Subject, protocol: Protocol, support: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which windows, bool (windows,), may be scored after a calibration to the support."""
    scored = _far_from(subject, support, protocol.gap_s)
    if protocol.support is Support.FIRST:
        position = np.arange(len(subject.va))
        for positive in (False, True):
            last = support[subject.va[support] == positive].max()
            scored &= (subject.va != positive) | (position > last)
    return scored


def _far_from(subject: Subject, support: NDArray[np.int64], gap_s: float) -> NDArray[np.bool_]:
    """Windows that neither overlap a support window of their record nor lie close to one."""
    far = np.ones(len(subject.va), dtype=np.bool_)
    least_s = subject.window_s + gap_s - 1e-6  # from start to start
    for index in support:
        same = subject.record == subject.record[index]
        far &= ~same | (np.abs(subject.start_s - subject.start_s[index]) >= least_s)
    return far

"""The rule that a network must beat: count the peaks of a window.

Two parameters: how high a peak must rise, and how many of them make ventricular arrhythmia (VA).
In the TinyML Design Contest 2022 (ICCAD) a rule of this kind came third among networks. Here it
is the baseline that every figure is to be read beside. NumPy alone.

Peaks are counted upward and downward, and the fewer are taken: VA swings both ways, a QRS complex
mostly one, and a swapped electrode changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import CalibrationError, DataError
from fewbeats.training.datasets import Subject
from fewbeats.training.evaluate import Judged, Support

REFRACTORY_S = 0.2
"""Least time between two peaks, as QRS detectors have it (Pan and Tompkins, IEEE TBME 32, 1985)."""
MOST_RAISED = 2
"""Peaks by which a calibration from normals alone may raise the threshold: no calibration may
put VA out of reach."""
_HEIGHTS = np.linspace(0.4, 2.4, 21)


@dataclass(frozen=True, slots=True)
class PeakRule:
    """A window with many peaks is VA.

    Attributes:
        height: how far a peak must rise, in standard deviations of the window.
        peaks: a window with so many of them, or more, counts as VA.
        window_s: length of the windows that it was fitted to: a count depends on it.
    """

    height: float
    peaks: int
    window_s: float

    def judge(self, subject: Subject, support: NDArray[np.int64], kind: Support) -> Judged:
        """Count each window's peaks.

        The log-odds are how far the count lies over the middle between "enough" and one less.
        They rank windows by their count, with many ties, and are no odds beyond that.

        Raises:
            DataError: windows of another length than the rule was fitted to, or damaged ones.
            CalibrationError: a support that lacks the windows it should have.
        """
        if subject.window_s != self.window_s:
            raise DataError(
                f"The rule was fitted to windows of {self.window_s:g} s; those of "
                f"{subject.name} have {subject.window_s:g} s."
            )
        counts = _counts(subject, self.height)
        peaks = self._personal(counts[support], subject.va[support], kind)
        return Judged(counts.astype(np.float64) - (peaks - 0.5), 0.0)

    def _personal(self, counts: NDArray[np.int64], va: NDArray[np.bool_], kind: Support) -> int:
        """The threshold after a calibration."""
        if kind is Support.NONE:
            return self.peaks
        if va.all() or (kind is not Support.NORMALS and not va.any()):
            raise CalibrationError(
                f"A support of {int(va.sum())} VA and {int((~va).sum())} other windows cannot "
                f"move the rule's threshold under {kind}."
            )
        if kind is Support.NORMALS:
            over_normals = int(counts[~va].max()) + 1
            return min(max(self.peaks, over_normals), self.peaks + MOST_RAISED)
        most = max(self.peaks, int(counts.max())) + 1
        right = _shares(counts[va], most) + 1 - _shares(counts[~va], most)
        best = 1 + np.flatnonzero(right >= right.max() - 1e-9)
        # The nearest to the trained one; of two as near, the lower: it misses less.
        return int(best[np.abs(best - self.peaks).argmin()])


def fit_peak_rule(subjects: Iterable[Subject]) -> PeakRule:
    """Choose height and count by balanced accuracy on training subjects.

    Every subject weighs the same: sensitivity is the mean over those with VA windows,
    specificity over those with others. Of equal pairs the lowest height, then count, is taken.

    Raises:
        DataError: nobody, windows of several lengths, or one class only.
    """
    people = sorted(subjects, key=lambda subject: subject.name)
    lengths_s = {subject.window_s for subject in people}
    if len(lengths_s) != 1:
        raise DataError(f"The rule is fitted to windows of one length, got {sorted(lengths_s)} s.")
    (window_s,) = lengths_s
    most = int(window_s / REFRACTORY_S) + 1
    shares: dict[bool, list[NDArray[np.float64]]] = {False: [], True: []}
    for subject in people:
        counts = [_counts(subject, height) for height in _HEIGHTS]
        for of_class, of_subjects in shares.items():
            chosen = subject.va == of_class
            if chosen.any():
                of_subjects.append(np.stack([_shares(c[chosen], most) for c in counts]))
    if not (shares[False] and shares[True]):
        raise DataError("The rule is fitted to windows of both classes; one is missing.")
    sensitivity = np.mean(shares[True], axis=0)  # (heights, counts)
    false_positives = np.mean(shares[False], axis=0)
    best = int((sensitivity - false_positives).argmax())
    height, peaks = divmod(best, most)
    return PeakRule(float(_HEIGHTS[height]), peaks + 1, window_s)


def count_peaks(windows: NDArray[np.floating], height: float, refractory: int) -> NDArray[np.int64]:
    """Peaks of each window, (n,), of windows (n, samples).

    A peak is a sample over ``height`` standard deviations, higher than the one before and not
    lower than the one after it. The first counts, and each that lies ``refractory`` samples or
    more after the last that counted.

    Raises:
        DataError: samples that are not finite numbers; they must not pass for "no peaks".
    """
    if not np.isfinite(windows).all():
        raise DataError("Peaks cannot be counted in windows with samples that are not finite.")
    over = windows > height * windows.std(axis=1, keepdims=True)
    turns = (windows[:, 1:-1] > windows[:, :-2]) & (windows[:, 1:-1] >= windows[:, 2:])
    counts = np.zeros(len(windows), dtype=np.int64)
    free_from = np.zeros(len(windows), dtype=np.int64)
    for time, peak in enumerate(np.ascontiguousarray((turns & over[:, 1:-1]).T)):
        counted = peak & (free_from <= time)
        counts += counted
        np.copyto(free_from, time + refractory, where=counted)
    return counts


def _counts(subject: Subject, height: float) -> NDArray[np.int64]:
    windows = subject.windows[:, 0]
    rate_hz = windows.shape[1] / subject.window_s
    refractory = max(1, round(REFRACTORY_S * rate_hz))
    up, down = (count_peaks(sign * windows, height, refractory) for sign in (1, -1))
    return np.minimum(up, down)


def _shares(counts: NDArray[np.int64], most: int) -> NDArray[np.float64]:
    """Share of the windows with at least 1, 2, ... ``most`` peaks."""
    return np.asarray((counts[:, None] >= np.arange(1, most + 1)).mean(axis=0))

"""Figures for scores against the truth. NumPy alone."""

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import DataError

FALSE_POSITIVE_RATES = np.concatenate(
    [np.linspace(0, 0.01, 11), np.linspace(0.02, 0.1, 9), np.linspace(0.15, 1, 18)]
)
"""Where ROC curves are read off: most densely where a wearer's false alarms lie."""


def roc_auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the receiver operating characteristic.

    It is the chance that a positive scores above a negative, ties counting half: the
    Mann-Whitney statistic, from mid-ranks (Hanley and McNeil, Radiology 143, 1982).

    Raises:
        DataError: one class is missing. An AUC of one class does not exist; it is not 1.
    """
    _check(scores, positive)
    _, index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mid_rank = np.cumsum(counts) - (counts - 1) / 2
    positives = int(positive.sum())
    negatives = len(positive) - positives
    rank_sum = float(mid_rank[index][positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def roc_curve(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sensitivity at each of ``FALSE_POSITIVE_RATES``, so that subjects' curves can be averaged.

    Between two thresholds the curve is a straight line, as ``roc_auc`` has it: equal scores are
    one threshold (Fawcett, Pattern Recognition Letters 27, 2006).

    Raises:
        DataError: one class is missing.
    """
    _check(scores, positive)
    _, index = np.unique(-scores, return_inverse=True)
    found = np.concatenate([[0.0], np.cumsum(np.bincount(index, weights=positive))])
    called = np.concatenate([[0.0], np.cumsum(np.bincount(index))])
    found_rate = found / found[-1]
    false_rate = (called - found) / (called[-1] - found[-1])
    # The last point at or left of each rate: where the curve rises steeply, its upper end.
    left = np.searchsorted(false_rate, FALSE_POSITIVE_RATES, side="right") - 1
    right = np.minimum(left + 1, len(false_rate) - 1)
    step = false_rate[right] - false_rate[left]
    part = np.divide(FALSE_POSITIVE_RATES - false_rate[left], step, where=step > 0, out=step)
    return np.asarray(found_rate[left] + part * (found_rate[right] - found_rate[left]))


def average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Mean precision over the positives, in the order of falling score.

    Equal scores are one threshold: their order in the input decides nothing.

    Raises:
        DataError: one class is missing.
    """
    _check(scores, positive)
    _, index = np.unique(-scores, return_inverse=True)
    found = np.cumsum(np.bincount(index, weights=positive.astype(np.float64)))
    called = np.cumsum(np.bincount(index))
    gained = np.diff(found, prepend=0.0)
    return float((found / called * gained).sum() / found[-1])


def f1_score(called: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    """Harmonic mean of sensitivity and precision; 0 where nothing was found."""
    found = int((called & positive).sum())
    total = int(called.sum()) + int(positive.sum())
    return 2 * found / total if total else 0.0


def sensitivity(called: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    """Share of the positives that were called."""
    return float(called[positive].mean())


def specificity(called: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    """Share of the negatives that were not called."""
    return float((~called[~positive]).mean())


def _check(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> None:
    if scores.shape != positive.shape or scores.ndim != 1:
        raise DataError(f"Scores {scores.shape} and classes {positive.shape} do not fit.")
    if not np.isfinite(scores).all():
        raise DataError("Scores that are not finite numbers cannot be ranked.")
    if positive.all() or not positive.any():
        raise DataError("Windows of both classes are needed to rank them; one is missing.")

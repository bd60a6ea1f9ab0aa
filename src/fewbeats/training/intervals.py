"""How sure a figure is: intervals over subjects, and limits of a share. NumPy alone."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from fewbeats.errors import DataError

CONFIDENCE = 0.95
"""Of the interval of a mean over subjects."""
RESAMPLES = 2000
_SEED = 20251  # any constant: the same values must always give the same interval


def mean_interval(values: ArrayLike) -> tuple[float, float] | None:
    """95 % interval of a mean over subjects, by the bootstrap.

    Subjects are drawn anew, never windows: those of one person are much alike, and an interval
    over windows would be far too narrow. The bootstrap is the bias-corrected and accelerated one
    (BCa; Efron, JASA 82(397), 1987), since AUCs crowd under 1 and have one long tail.

    Args:
        values: (subjects,), one figure of each, in any order.

    Returns:
        (low, high), or None for fewer than two subjects: one says nothing about others.

    Raises:
        DataError: a value is not a finite number.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))  # their order must decide nothing
    if not np.isfinite(ordered).all():
        raise DataError("A figure that is not a finite number has no interval.")
    count = len(ordered)
    if count < 2:
        return None
    if ordered[0] == ordered[-1]:
        return float(ordered[0]), float(ordered[0])
    chosen = np.random.default_rng(_SEED).integers(count, size=(RESAMPLES, count))
    means = ordered[chosen].mean(axis=1)
    middle = ordered.mean()
    normal = NormalDist()
    spread = ordered[-1] - ordered[0]
    ties = np.abs(means - middle) <= 1e-12 * spread
    below = float(((means < middle) & ~ties).mean() + ties.mean() / 2)
    bias = normal.inv_cdf(min(max(below, 1 / RESAMPLES), 1 - 1 / RESAMPLES))
    apart = (ordered - middle) / spread  # for a mean, the jackknife's deviations but for a factor
    acceleration = float((apart**3).sum() / (6 * (apart**2).sum() ** 1.5))
    levels = []
    for level in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        z = bias + normal.inv_cdf(level)
        levels.append(normal.cdf(bias + z / (1 - acceleration * z)))
    low, high = np.quantile(means, levels)
    return float(low), float(high)


def lower_limit(right: int, n: int, confidence: float = 0.90) -> float:
    """One-sided exact lower confidence limit of a share (Clopper and Pearson, Biometrika 26, 1934).

    The share for which ``right`` or more of ``n`` would still happen with a chance of
    ``1 - confidence``. Goals for AEDs set such a limit beside the share itself (AHA, Circulation
    95(6), 1997). The ``n`` count as independent of each other.

    Raises:
        DataError: no trials, more right than there are, or a confidence outside (0, 1).
    """
    if not (0 <= right <= n and n > 0 and 0 < confidence < 1):
        raise DataError(
            f"A lower limit needs 0 <= right <= n, n > 0 and a confidence between 0 and 1, got "
            f"{right} of {n} at {confidence}."
        )
    if right == 0:
        return 0.0
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    hits = np.arange(right, n + 1)
    log_ways = log_factorial[n] - log_factorial[hits] - log_factorial[n - hits]
    wanted = np.log1p(-confidence)
    low, high = 0.0, 1.0
    while low < (share := (low + high) / 2) < high:
        terms = log_ways + hits * np.log(share) + (n - hits) * np.log1p(-share)
        most = terms.max()
        if most + np.log(np.exp(terms - most).sum()) > wanted:
            high = share
        else:
            low = share
    return low

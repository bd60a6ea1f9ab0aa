"""Fitting the head to a patient: pre-fine-tuning, fine-tuning, operating point.

Only the head moves; the backbone is frozen, so that a calibration is logistic regression on a
handful of embeddings: milliseconds in NumPy. The method is that of MetaVA (PLOS Digital Health
4(10): e0001037, 2025) with its inner and outer steps restricted to the head.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.head import Head, log_odds, sigmoid
from fewbeats.errors import CalibrationError

MOST_STEPS = 1000
MOST_MOVE = 2.0
"""How far, in log-odds, a calibration may move the operating point."""


@dataclass(frozen=True, slots=True)
class AdaptConfig:
    """How far and how fast the head may move; a bundle carries the one it was trained for.

    Attributes:
        rounds: rounds of pre-fine-tuning.
        inner_step: step size of the look-ahead, beta1.
        outer_step: step size of the move by the future loss, beta2.
        steps: steps of fine-tuning.
        step: step size of fine-tuning.
        pull: weight of the L2 term that ties the head to its meta-learned start.
        follow: how much of the way the operating point follows the middle between the two
            classes' scores, in log-odds.
    """

    rounds: int = 3
    inner_step: float = 0.5
    outer_step: float = 0.5
    steps: int = 6
    step: float = 0.5
    pull: float = 0.1
    follow: float = 0.5

    def __post_init__(self) -> None:
        sizes = (self.inner_step, self.outer_step, self.step, self.pull, self.follow)
        counts = (self.rounds, self.steps)
        if not all(0 <= n <= MOST_STEPS for n in counts) or not all(0 <= v <= 10 for v in sizes):
            raise CalibrationError(
                f"Adaptation needs 0 to {MOST_STEPS} rounds and steps, and step sizes from 0 to "
                f"10, got {self}."
            )

    def as_dict(self) -> dict[str, float]:
        """The plain numbers, for a manifest."""
        return asdict(self)


def adapt(
    start: Head,
    embeddings: NDArray[np.floating],
    va: NDArray[np.bool_],
    config: AdaptConfig,
) -> Head:
    """Fit the head to a support set.

    Args:
        start: the meta-learned head.
        embeddings: (windows, features), the support set; for a calibration from normals alone,
            the bundle's VA prototypes stand in for the class that is missing.
        va: (windows,), True for ventricular arrhythmia.
        config: step sizes and counts.

    Raises:
        CalibrationError: a class is missing, or an embedding is not finite.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    if not np.isfinite(x).all():
        raise CalibrationError("The support set holds embeddings that are not finite numbers.")
    if va.all() or not va.any():
        missing = "non-VA" if va.all() else "VA"
        raise CalibrationError(
            f"The support set of {len(va)} windows has no {missing} window; "
            f"add some, or use the bundle's prototypes."
        )
    y = va.astype(np.float64)
    share = np.where(va, 0.5 / va.sum(), 0.5 / (~va).sum())  # both classes weigh the same
    w = np.append(start.weights, start.bias)
    x1 = np.column_stack([x, np.ones(len(x))])
    for _ in range(config.rounds):
        ahead = w - config.inner_step * gradient(w, x1, y, share)
        w = ahead - config.outer_step * gradient(ahead, x1, y, share)
    anchor = np.append(start.weights, start.bias)
    for _ in range(config.steps):
        w = w - config.step * (gradient(w, x1, y, share) + config.pull * (w - anchor))
    scores = x1 @ w
    return replace(
        start,
        weights=w[:-1],
        bias=float(w[-1]),
        threshold=moved_threshold(start.threshold, scores, va, config.follow),
    )


def moved_threshold(
    start: float, scores: NDArray[np.float64], va: NDArray[np.bool_], follow: float
) -> float:
    """The start's operating point, moved toward the middle between the patient's own classes.

    Twenty scores are too few to set a threshold by, and enough to see that all of them lie
    high or low. The move is bounded: no calibration may put VA out of reach.
    """
    middle = (scores[va].mean() + scores[~va].mean()) / 2
    move = np.clip(follow * middle, -MOST_MOVE, MOST_MOVE)
    return float(sigmoid(np.asarray(log_odds(start) + move)))


def gradient(
    w: NDArray[np.float64],
    x1: NDArray[np.float64],
    y: NDArray[np.float64],
    share: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Gradient of the weighted mean cross-entropy of a logistic model.

    Args:
        w: (features + 1,), the bias last.
        x1: (windows, features + 1), the last column ones.
        y: (windows,), 0 or 1.
        share: (windows,), weights that sum to one.
    """
    return np.asarray(x1.T @ (share * (sigmoid(x1 @ w) - y)))

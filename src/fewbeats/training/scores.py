"""A subject's figures, and all subjects' together. NumPy alone."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import DataError
from fewbeats.training.intervals import mean_interval
from fewbeats.training.metrics import (
    FALSE_POSITIVE_RATES,
    average_precision,
    f1_score,
    roc_auc,
    sensitivity,
    specificity,
)
from fewbeats.training.protocols import Protocol

SET_ASIDE = ("mixed", "noisy", "unlabelled", "unusable")
"""Why a window can be scored by nobody."""
TRAINED_ON = "the model was trained on this subject"
MOST_STRIPS = 12
"""Wrongly judged windows that a report shows."""
_FIGURES = ("auc", "average_precision", "f1", "sensitivity", "specificity")


@dataclass(frozen=True, slots=True)
class Score:
    """One subject's figures; for ``random`` the mean over the draws."""

    auc: float
    average_precision: float
    f1: float
    sensitivity: float
    specificity: float
    va_windows: float
    non_va_windows: float

    @classmethod
    def of(cls, scores: NDArray[np.float64], edge: float, va: NDArray[np.bool_]) -> "Score":
        """The figures of (windows,) scores that count as VA from ``edge`` on."""
        called = scores >= edge
        return cls(
            auc=roc_auc(scores, va),
            average_precision=average_precision(scores, va),
            f1=f1_score(called, va),
            sensitivity=sensitivity(called, va),
            specificity=specificity(called, va),
            va_windows=float(va.sum()),
            non_va_windows=float((~va).sum()),
        )


@dataclass(frozen=True, slots=True)
class Strip:
    """A window that was judged wrongly.

    Attributes:
        subject: whose.
        start_s: from its record's first sample.
        va: what it is.
        probability: of VA, as judged.
        beyond: how far beyond the operating point it was judged, in log-odds.
        samples: the window, rounded to 3 decimals.
    """

    subject: str
    start_s: float
    va: bool
    probability: float
    beyond: float
    samples: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report."""
        names = ("subject", "start_s", "va", "probability")
        return {name: getattr(self, name) for name in names} | {"samples": list(self.samples)}


_SUMMARY = (
    *("count", "mean", "interval", "percentile_10", "worst", "subjects", "non_va_only"),
    "window_s",
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All subjects' figures under one protocol.

    Attributes:
        protocol: the rules.
        window_s: length of the windows, 0 where there is nobody.
        subjects: scores by name.
        roc: each scored subject's sensitivity at each of ``FALSE_POSITIVE_RATES``.
        strips: each subject's most wrongly judged windows; for ``random``, of the first draw.
        excluded: why a subject has none.
        false_positives: of subjects without VA, (windows over the threshold, windows); only
            where the calibration needs no VA either.
        set_aside: windows that nobody can score, by reason, of all subjects.
    """

    protocol: Protocol
    window_s: float = 0.0
    subjects: dict[str, Score] = field(default_factory=dict)
    roc: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    strips: dict[str, tuple[Strip, ...]] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    false_positives: dict[str, tuple[int, int]] = field(default_factory=dict)
    set_aside: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SET_ASIDE, 0))

    def figure(self, name: str) -> list[float]:
        """A figure of every scored subject, in order of names.

        Raises:
            DataError: no subject could be scored.
        """
        if not self.subjects:
            some = "; ".join(f"{k}: {v}" for k, v in list(self.excluded.items())[:3])
            raise DataError(f"No subject could be scored. {some}")
        return [getattr(self.subjects[subject], name) for subject in sorted(self.subjects)]

    def mean(self, figure: str) -> float:
        """Mean of a figure over the subjects.

        Raises:
            DataError: no subject could be scored.
        """
        return _mean(self.figure(figure))

    @property
    def worst(self) -> str:
        """The subject with the lowest AUC, the first of equals in order of names.

        Raises:
            DataError: no subject could be scored.
        """
        return sorted(self.subjects)[int(np.argmin(self.figure("auc")))]

    def merged(self, other: "Evaluation") -> "Evaluation":
        """Both together: another fold's subjects under the same protocol.

        Raises:
            DataError: other rules or windows, or a subject that both have scored.
        """
        lengths_s = {self.window_s, other.window_s} - {0.0}
        if self.protocol != other.protocol or len(lengths_s) > 1:
            raise DataError(
                f"Figures under {self.protocol} on windows of {self.window_s} s cannot be joined "
                f"with those under {other.protocol} on windows of {other.window_s} s."
            )
        seen, seen_too = ({*e.subjects, *e.false_positives} for e in (self, other))
        if seen & seen_too:
            raise DataError(f"Subjects would count twice: {', '.join(sorted(seen & seen_too))}.")
        # Whom one fold's model was trained on, another fold may have judged.
        excluded = dict(self.excluded)
        for name, reason in other.excluded.items():
            if excluded.get(name, TRAINED_ON) == TRAINED_ON:
                excluded[name] = reason
        subjects = self.subjects | other.subjects
        return Evaluation(
            self.protocol,
            max(lengths_s, default=0.0),
            dict(sorted(subjects.items())),
            self.roc | other.roc,
            dict(sorted((self.strips | other.strips).items())),
            {name: why for name, why in sorted(excluded.items()) if name not in subjects},
            dict(sorted((self.false_positives | other.false_positives).items())),
            {k: self.set_aside[k] + other.set_aside[k] for k in SET_ASIDE},
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report or a JSON file; null for a figure that does not exist."""
        return {
            "protocol": asdict(self.protocol),
            "window_s": self.window_s,
            "count": len(self.subjects),
            "subjects": {name: asdict(score) for name, score in self.subjects.items()},
            "mean": self._each_figure(_mean),
            "interval": self._each_figure(_interval),
            "percentile_10": self._each_figure(_percentile_10),
            "worst": self._worst(),
            "roc": self._mean_roc(),
            "strips": self._worst_strips(),
            "non_va_only": self._without_va(),
            "set_aside": self.set_aside,
            "excluded": self.excluded,
        }

    def summary(self) -> dict[str, Any]:
        """The figures alone, for a card or a training's story: no curve, no strip."""
        content = self.as_dict()
        return {name: content[name] for name in _SUMMARY}

    def _each_figure(self, how: Callable[[list[float]], object]) -> dict[str, object]:
        return {name: how(self.figure(name)) if self.subjects else None for name in _FIGURES}

    def _worst(self) -> dict[str, object] | None:
        if not self.subjects:
            return None
        return {"subject": self.worst, "auc": self.subjects[self.worst].auc}

    def _mean_roc(self) -> dict[str, list[float]] | None:
        if not self.subjects:
            return None
        mean = np.mean([self.roc[name] for name in sorted(self.roc)], axis=0)
        return {
            "false_positive_rate": FALSE_POSITIVE_RATES.tolist(),
            "sensitivity": mean.tolist(),
        }

    def _worst_strips(self) -> list[dict[str, Any]]:
        strips = [strip for of_one in self.strips.values() for strip in of_one]
        strips.sort(key=lambda strip: (-strip.beyond, strip.subject, strip.start_s))
        return [strip.as_dict() for strip in strips[:MOST_STRIPS]]

    def _without_va(self) -> dict[str, Any]:
        over = sum(count for count, _ in self.false_positives.values())
        windows = sum(count for _, count in self.false_positives.values())
        return {
            "subjects": {
                name: {"windows": n, "false_positive_rate": count / n}
                for name, (count, n) in self.false_positives.items()
            },
            "windows": windows,
            "false_positive_rate": over / windows if windows else None,
        }


def _mean(values: list[float]) -> float:
    return fsum(values) / len(values)


def _interval(values: list[float]) -> list[float] | None:
    interval = mean_interval(values)
    return list(interval) if interval else None


def _percentile_10(values: list[float]) -> float:
    return float(np.percentile(values, 10))

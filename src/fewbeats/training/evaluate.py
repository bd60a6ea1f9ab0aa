"""What a detector is worth on subjects that it has never seen. NumPy alone.

Rules, the same for every way of calibrating:

* A subject is scored if it has at least ``shots + fewest_scored`` windows of each class. One
  with a single class has no AUC and is left out; it is not counted as perfect.
* Windows lie end to end. None that is scored overlaps a support window of its record, or lies
  within ``gap_s`` of one.
* ``first`` takes the first windows of each class in time order, and scores of each class only
  what comes later than its last support window, as at a real onboarding.
* A subject's draws depend on its name and the seed, never on which other subjects there are.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.adapt import AdaptConfig, adapt
from fewbeats.device.head import Head
from fewbeats.errors import DataError
from fewbeats.training.datasets import Subject
from fewbeats.training.metrics import average_precision, f1_score, roc_auc, sensitivity, specificity


class Support(StrEnum):
    """What the head is fitted to before it is scored."""

    NONE = "none"
    """Nothing: the start as it is."""
    NORMALS = "normals"
    """The first non-VA windows, with the model's VA prototypes for the other class."""
    FIRST = "first"
    """The first windows of each class in time order."""
    RANDOM = "random"
    """Windows of each class drawn at random; the mean over several draws."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How subjects are calibrated and scored.

    Attributes:
        support: what the head is fitted to.
        shots: support windows a class.
        draws: how often ``random`` draws.
        seed: of the draws.
        fewest_scored: windows of a class, beside the support, that a subject needs.
        gap_s: least time between a scored window and a support window.
    """

    support: Support = Support.FIRST
    shots: int = 10
    draws: int = 5
    seed: int = 0
    fewest_scored: int = 5
    gap_s: float = 2.0

    def __post_init__(self) -> None:
        if self.shots < 1 or self.draws < 1 or self.fewest_scored < 1 or self.gap_s < 0:
            raise DataError(
                f"Scoring needs at least 1 shot, 1 draw, 1 scored window a class and a gap of "
                f"0 s or more, got {self}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What is scored.

    Attributes:
        embed: float32 windows (n, 1, samples) to embeddings (n, features).
        start: the head before calibration.
        adapt: how it is fitted.
        prototypes: (prototypes, features), embeddings of VA.
    """

    embed: Callable[[NDArray[np.float32]], NDArray[np.floating]]
    start: Head
    adapt: AdaptConfig
    prototypes: NDArray[np.floating]


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


_FIGURES = ("auc", "average_precision", "f1", "sensitivity", "specificity")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All subjects' figures under one protocol.

    Attributes:
        protocol: the rules.
        subjects: scores by name.
        excluded: why a subject has none.
        false_positives: of subjects without VA, (windows over the threshold, windows); only
            where the calibration needs no VA either.
        set_aside: windows that nobody can score, by reason, of all subjects.
    """

    protocol: Protocol
    subjects: dict[str, Score] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    false_positives: dict[str, tuple[int, int]] = field(default_factory=dict)
    set_aside: dict[str, int] = field(default_factory=dict)

    def mean(self, figure: str) -> float:
        """Mean of a figure over the subjects.

        Raises:
            DataError: no subject could be scored.
        """
        if not self.subjects:
            some = "; ".join(f"{k}: {v}" for k, v in list(self.excluded.items())[:3])
            raise DataError(f"No subject could be scored. {some}")
        return float(np.mean([getattr(score, figure) for score in self.subjects.values()]))

    @property
    def worst(self) -> str:
        """The subject with the lowest AUC, the first of equals in order of names."""
        return min(sorted(self.subjects), key=lambda name: self.subjects[name].auc)

    def merged(self, other: "Evaluation") -> "Evaluation":
        """Both together: another fold's subjects under the same protocol."""
        return Evaluation(
            self.protocol,
            dict(sorted((self.subjects | other.subjects).items())),
            dict(sorted((self.excluded | other.excluded).items())),
            dict(sorted((self.false_positives | other.false_positives).items())),
            {k: self.set_aside.get(k, 0) + other.set_aside.get(k, 0) for k in _SET_ASIDE},
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report or a JSON file."""
        over = sum(count for count, _ in self.false_positives.values())
        windows = sum(count for _, count in self.false_positives.values())
        return {
            "protocol": asdict(self.protocol),
            "subjects": {name: asdict(score) for name, score in self.subjects.items()},
            "mean": {figure: self.mean(figure) for figure in _FIGURES},
            "worst": {"subject": self.worst, "auc": self.subjects[self.worst].auc},
            "count": len(self.subjects),
            "non_va_only": {
                "subjects": {
                    name: {"windows": n, "false_positive_rate": count / n}
                    for name, (count, n) in self.false_positives.items()
                },
                "windows": windows,
                "false_positive_rate": over / windows if windows else None,
            },
            "set_aside": self.set_aside,
            "excluded": self.excluded,
        }


_SET_ASIDE = ("mixed", "noisy", "unlabelled", "unusable")


def evaluate(
    subjects: Mapping[str, Subject] | Iterable[Subject],
    model: Model,
    protocol: Protocol,
    training: Collection[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Score every subject that can be scored, and say why the others cannot.

    Args:
        subjects: whom to score.
        model: what is scored.
        protocol: the rules.
        training: names that the model was trained on: never scored.
        progress: called before each subject with (done, total, name).
    """
    people = list(subjects.values() if isinstance(subjects, Mapping) else subjects)
    result = Evaluation(protocol, set_aside=dict.fromkeys(_SET_ASIDE, 0))
    for done, subject in enumerate(people):
        if progress:
            progress(done, len(people), subject.name)
        if subject.name in training:
            result.excluded[subject.name] = "the model was trained on this subject"
            continue
        for reason in _SET_ASIDE:
            result.set_aside[reason] += getattr(subject.counts, reason)
        _evaluate_one(subject, model, protocol, result)
    if progress:
        progress(len(people), len(people), "")
    return result


def evaluate_supports(subjects: Mapping[str, Subject], model: Model) -> dict[str, Any]:
    """Evaluations as plain values, under every support that at least one subject allows."""
    done = (evaluate(subjects, model, Protocol(support)) for support in Support)
    return {str(e.protocol.support): e.as_dict() for e in done if e.subjects}


def _evaluate_one(subject: Subject, model: Model, protocol: Protocol, result: Evaluation) -> None:
    needed = protocol.shots + protocol.fewest_scored
    va, other = int(subject.va.sum()), int((~subject.va).sum())
    if va == 0 and other >= needed and protocol.support in (Support.NONE, Support.NORMALS):
        embeddings = model.embed(subject.windows)
        head, scored = _calibrated(subject, embeddings, model, protocol, 0)
        over = head.probability(embeddings[scored]) >= head.threshold
        result.false_positives[subject.name] = (int(over.sum()), len(over))
    if min(va, other) < needed:
        result.excluded[subject.name] = (
            f"has {va} VA and {other} other windows; {needed} of each are needed"
        )
        return
    embeddings = model.embed(subject.windows)
    draws = protocol.draws if protocol.support is Support.RANDOM else 1
    scores = []
    for draw in range(draws):
        head, scored = _calibrated(subject, embeddings, model, protocol, draw)
        truth = subject.va[scored]
        if min(truth.sum(), (~truth).sum()) >= protocol.fewest_scored:
            scores.append(_score(head, embeddings[scored], truth))
    if scores:
        result.subjects[subject.name] = Score(
            *(float(np.mean([getattr(s, f.name) for s in scores])) for f in fields(Score))
        )
    else:
        result.excluded[subject.name] = (
            f"fewer than {protocol.fewest_scored} windows of a class are left to score, far "
            f"enough from the support"
        )


def _calibrated(
    subject: Subject, embeddings: NDArray[np.floating], model: Model, protocol: Protocol, draw: int
) -> tuple[Head, NDArray[np.bool_]]:
    """The head fitted to the subject's support, and which windows may be scored."""
    support = support_of(subject, protocol, draw)
    scored = _far_from(subject, support, protocol.gap_s)
    if protocol.support is Support.FIRST:
        position = np.arange(len(subject.va))
        for positive in (False, True):
            last = support[subject.va[support] == positive].max()
            scored &= (subject.va != positive) | (position > last)
    if protocol.support is Support.NONE:
        return model.start, scored
    x, va = embeddings[support], subject.va[support]
    if protocol.support is Support.NORMALS:
        x = np.concatenate([x, model.prototypes])
        va = np.concatenate([va, np.ones(len(model.prototypes), dtype=np.bool_)])
    return adapt(model.start, x, va, model.adapt), scored


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


def _far_from(subject: Subject, support: NDArray[np.int64], gap_s: float) -> NDArray[np.bool_]:
    """Windows that neither overlap a support window of their record nor lie close to one."""
    far = np.ones(len(subject.va), dtype=np.bool_)
    least_s = subject.window_s + gap_s - 1e-6  # from start to start
    for index in support:
        same = subject.record == subject.record[index]
        far &= ~same | (np.abs(subject.start_s - subject.start_s[index]) >= least_s)
    return far


def _score(head: Head, embeddings: NDArray[np.floating], va: NDArray[np.bool_]) -> Score:
    logits = head.logits(embeddings)
    called = head.probability(embeddings) >= head.threshold
    return Score(
        auc=roc_auc(logits, va),
        average_precision=average_precision(logits, va),
        f1=f1_score(called, va),
        sensitivity=sensitivity(called, va),
        specificity=specificity(called, va),
        va_windows=float(va.sum()),
        non_va_windows=float((~va).sum()),
    )

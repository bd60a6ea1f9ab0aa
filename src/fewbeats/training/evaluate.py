"""What a detector is worth on subjects that it has never seen. NumPy alone.

``protocols`` has the rules, ``scores`` the figures; here they meet a judge.
"""

import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.adapt import AdaptConfig, adapt
from fewbeats.device.head import Head, log_odds, sigmoid
from fewbeats.errors import DataError
from fewbeats.training.datasets import Subject
from fewbeats.training.metrics import roc_curve
from fewbeats.training.protocols import (
    Protocol,
    Support,
    scored_windows,
    standard_protocols,
    support_of,
)
from fewbeats.training.scores import SET_ASIDE, TRAINED_ON, Evaluation, Score, Strip

__all__ = [
    "Evaluation",
    "Judge",
    "Judged",
    "Model",
    "Protocol",
    "Score",
    "Strip",
    "Support",
    "evaluate",
    "evaluate_all",
    "evaluate_supports",
    "standard_protocols",
    "support_of",
]

MOST_STRIPS_EACH = 2
"""Wrongly judged windows of a subject that are kept to look at."""
_WITHOUT_VA = (Support.NONE, Support.NORMALS)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What a judge says of all of a subject's windows.

    Attributes:
        log_odds: float64 (windows,), of VA. For a judge that knows no probabilities, anything
            that ranks the windows.
        edge: log-odds from which a window counts as VA: the operating point.
    """

    log_odds: NDArray[np.float64]
    edge: float


class Judge(typing.Protocol):
    """What is scored: anything that can be calibrated to a subject and then judge windows."""

    def judge(self, subject: Subject, support: NDArray[np.int64], kind: Support) -> Judged:
        """Calibrate to the support, then judge every window of the subject.

        Args:
            subject: who is judged. The classes of windows outside the support are not to be
                looked at.
            support: indices of the support windows, empty for ``none``. Of a ``normals``
                support the judge itself makes up the class that is missing.
            kind: which support it is.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A judge that keeps its backbone and fits its head.

    Attributes:
        embed: float32 windows (n, 1, samples) to embeddings (n, features), always the same.
        start: the head before calibration.
        adapt: how it is fitted.
        prototypes: (prototypes, features), embeddings of VA.
    """

    embed: Callable[[NDArray[np.float32]], NDArray[np.floating]]
    start: Head
    adapt: AdaptConfig
    prototypes: NDArray[np.floating]
    _last: list[tuple[Subject, NDArray[np.floating]]] = field(
        default_factory=list, init=False, repr=False
    )
    """The subject embedded last: many protocols need the same embeddings one after another."""

    def judge(self, subject: Subject, support: NDArray[np.int64], kind: Support) -> Judged:
        """The head's log-odds after it was fitted to the support.

        Raises:
            CalibrationError: a class is missing, or an embedding is not finite.
        """
        if not self._last or self._last[0][0] is not subject:
            self._last[:] = [(subject, self.embed(subject.windows))]
        embeddings = self._last[0][1]
        head = self.start
        if kind is not Support.NONE:
            x, va = embeddings[support], subject.va[support]
            if kind is Support.NORMALS:
                x = np.concatenate([x, self.prototypes])
                va = np.concatenate([va, np.ones(len(self.prototypes), dtype=np.bool_)])
            head = adapt(head, x, va, self.adapt)
        return Judged(head.logits(embeddings), log_odds(head.threshold))


def evaluate(
    subjects: Mapping[str, Subject] | Iterable[Subject],
    judge: Judge,
    protocol: Protocol,
    training: Collection[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Score every subject under one protocol; see ``evaluate_all``."""
    return evaluate_all(subjects, judge, [protocol], training, progress)[0]


def evaluate_all(
    subjects: Mapping[str, Subject] | Iterable[Subject],
    judge: Judge,
    protocols: Sequence[Protocol],
    training: Collection[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Evaluation]:
    """Score every subject that can be scored, and say why the others cannot.

    Subject by subject, all protocols of one after another, so that a judge needs to embed each
    subject only once.

    Args:
        subjects: whom to score.
        judge: what is scored.
        protocols: the rules.
        training: names that the judge was trained on: never scored.
        progress: called before each subject with (done, total, name).

    Returns:
        One evaluation a protocol, in their order.

    Raises:
        DataError: a judge whose answers cannot be ranked, or subjects that do not go together.
    """
    everybody = subjects.values() if isinstance(subjects, Mapping) else subjects
    people = sorted(everybody, key=lambda subject: subject.name)
    if len({subject.name for subject in people}) < len(people):
        raise DataError("Two subjects have the same name; one would hide the other.")
    lengths_s = {subject.window_s for subject in people}
    if len(lengths_s) > 1:
        raise DataError(f"Windows of {sorted(lengths_s)} s cannot be scored as one.")
    results = [Evaluation(protocol, max(lengths_s, default=0.0)) for protocol in protocols]
    for done, subject in enumerate(people):
        if progress:
            progress(done, len(people), subject.name)
        for result in results:
            if subject.name in training:
                result.excluded[subject.name] = TRAINED_ON
            elif subject.synthetic:
                result.excluded[subject.name] = "is a made-up person"
            else:
                _evaluate_one(subject, judge, result)
    if progress:
        progress(len(people), len(people), "")
    return results


def evaluate_supports(subjects: Mapping[str, Subject], judge: Judge) -> dict[str, Any]:
    """Summaries of 10 shots under every support that at least one subject allows."""
    done = evaluate_all(subjects, judge, [Protocol(support) for support in Support])
    return {str(e.protocol.support): e.summary() for e in done if e.subjects}


def _evaluate_one(subject: Subject, judge: Judge, result: Evaluation) -> None:
    protocol, name = result.protocol, subject.name
    for reason in SET_ASIDE:
        result.set_aside[reason] += getattr(subject.counts, reason)
    va, other = int(subject.va.sum()), int((~subject.va).sum())
    if min(va, other) < protocol.needed:
        result.excluded[name] = (
            f"has {va} VA and {other} other windows; {protocol.needed} of each are needed"
        )
        if va or other < protocol.needed or protocol.support not in _WITHOUT_VA:
            return
        judged, scored = _judged(subject, judge, protocol, 0)
        if scored.any():
            over = judged.log_odds[scored] >= judged.edge
            result.false_positives[name] = (int(over.sum()), len(over))
            result.strips[name] = _most_wrong(subject, judged, scored)
        return
    scores: list[Score] = []
    curves: list[NDArray[np.float64]] = []
    for draw in range(protocol.draws if protocol.support is Support.RANDOM else 1):
        judged, scored = _judged(subject, judge, protocol, draw)
        truth = subject.va[scored]
        if min(truth.sum(), (~truth).sum()) < protocol.fewest_scored:
            continue
        if not scores:
            result.strips[name] = _most_wrong(subject, judged, scored)
        scores.append(Score.of(judged.log_odds[scored], judged.edge, truth))
        curves.append(roc_curve(judged.log_odds[scored], truth))
    if scores:
        result.roc[name] = np.mean(curves, axis=0)
        result.subjects[name] = Score(
            *(float(np.mean([getattr(s, f.name) for s in scores])) for f in fields(Score))
        )
    else:
        result.excluded[name] = (
            f"fewer than {protocol.fewest_scored} windows of a class are left to score, far "
            f"enough from the support"
        )


def _judged(
    subject: Subject, judge: Judge, protocol: Protocol, draw: int
) -> tuple[Judged, NDArray[np.bool_]]:
    """What the judge says, and which windows may be scored."""
    support = support_of(subject, protocol, draw)
    judged = judge.judge(subject, support, protocol.support)
    finite = np.isfinite(judged.log_odds).all() and np.isfinite(judged.edge)
    if judged.log_odds.shape != subject.va.shape or not finite:
        raise DataError(
            f"The judge's answer on {subject.name} (support {protocol.support}) cannot be "
            f"scored: {judged.log_odds.shape} log-odds for {len(subject.va)} windows, "
            f"{'all' if finite else 'not all of them'} finite. Leaving the subject out would "
            f"flatter the judge; look for what diverged."
        )
    return judged, scored_windows(subject, protocol, support)


def _most_wrong(subject: Subject, judged: Judged, scored: NDArray[np.bool_]) -> tuple[Strip, ...]:
    """The windows on the wrong side of the operating point, the farthest from it first."""
    beyond = np.abs(judged.log_odds - judged.edge)
    wrong = np.flatnonzero(scored & ((judged.log_odds >= judged.edge) != subject.va))
    chosen = wrong[np.argsort(-beyond[wrong], kind="stable")][:MOST_STRIPS_EACH]
    probability = sigmoid(judged.log_odds[chosen])
    return tuple(
        Strip(
            subject.name,
            float(subject.start_s[index]),
            bool(subject.va[index]),
            float(p),
            float(beyond[index]),
            tuple(np.round(subject.windows[index, 0].astype(np.float64), 3).tolist()),
        )
        for index, p in zip(chosen, probability, strict=True)
    )

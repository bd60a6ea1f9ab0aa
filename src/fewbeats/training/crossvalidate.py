"""The yardstick: every subject scored by a network that never saw it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fewbeats.errors import DataError
from fewbeats.training.config import Recipe
from fewbeats.training.datasets import Subject
from fewbeats.training.evaluate import Evaluation, Protocol, Support, evaluate
from fewbeats.training.pretrain import Progress, Trained, pretrain

_SCORABLE = 15  # VA windows from which a subject weighs on the figures


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Figures of all folds together.

    Attributes:
        folds: fold of each subject.
        evaluations: by support.
    """

    folds: dict[str, int]
    evaluations: dict[Support, Evaluation]


def assign_folds(subjects: Mapping[str, Subject], folds: int = 5, seed: int = 0) -> dict[str, int]:
    """Deal the subjects out, so that each fold has its share of every database and of VA.

    Raises:
        DataError: fewer subjects than folds.
    """
    if not 2 <= folds <= len(subjects):
        raise DataError(f"{len(subjects)} subjects cannot be dealt out to {folds} folds.")
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, bool], list[str]] = {}
    for name, subject in sorted(subjects.items()):
        database = name.partition("/")[0]
        groups.setdefault((database, int(subject.va.sum()) >= _SCORABLE), []).append(name)
    order = [name for _, group in sorted(groups.items()) for name in rng.permutation(group)]
    return dict(sorted((str(name), place % folds) for place, name in enumerate(order)))


def train_fold(
    recipe: Recipe,
    subjects: Mapping[str, Subject],
    folds: Mapping[str, int],
    fold: int,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train on all folds but one; that one is held back and scored."""
    held_back = [name for name, number in folds.items() if number == fold]
    return pretrain(recipe, subjects, held_back, seed, progress)


def score_fold(
    trained: Trained, subjects: Mapping[str, Subject], shots: int = 10
) -> dict[Support, Evaluation]:
    """Score the subjects that were held back, under every support."""
    held_back = {name: subjects[name] for name in trained.validation}
    return {
        support: evaluate(held_back, trained.model, Protocol(support, shots), trained.training)
        for support in Support
    }


def cross_validate(
    recipe: Recipe,
    subjects: Mapping[str, Subject],
    folds: int = 5,
    shots: int = 10,
    seed: int = 0,
    progress: Callable[[int, Progress], None] | None = None,
) -> CrossValidation:
    """Train as often as there are folds, and score everybody once.

    Args:
        recipe: how.
        subjects: everybody, loaded with stretches.
        folds: how many.
        shots: support windows a class.
        seed: of folds and training.
        progress: called with the fold after each of its steps.
    """
    assigned = assign_folds(subjects, folds, seed)
    total: dict[Support, Evaluation] = {}
    for fold in range(folds):
        report = (lambda now, fold=fold: progress(fold, now)) if progress else None
        trained = train_fold(recipe, subjects, assigned, fold, seed, report)
        for support, evaluation in score_fold(trained, subjects, shots).items():
            total[support] = total[support].merged(evaluation) if fold else evaluation
    return CrossValidation(assigned, total)

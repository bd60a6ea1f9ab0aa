"""Who is trained on, who chooses, who is scored: by subject, and with a share of every kind.

A kind is a database together with whether the subject has VA enough to be scored.
"""

from collections.abc import Mapping

import numpy as np

from fewbeats.errors import DataError
from fewbeats.training.datasets import Subject

_SCORABLE = 15  # VA windows from which a subject weighs on the figures


def assign_folds(subjects: Mapping[str, Subject], folds: int = 5, seed: int = 0) -> dict[str, int]:
    """Deal the subjects out, so that each fold has its share of every kind.

    Raises:
        DataError: fewer subjects than folds.
    """
    if not 2 <= folds <= len(subjects):
        raise DataError(f"{len(subjects)} subjects cannot be dealt out to {folds} folds.")
    order = _dealt(subjects, np.random.default_rng(seed))
    return dict(sorted((name, place % folds) for place, name in enumerate(order)))


def choose_validation(subjects: Mapping[str, Subject], share: float, seed: int) -> tuple[str, ...]:
    """Subjects for meta-validation: this share of every kind, as nearly as can be."""
    order = _dealt(subjects, np.random.default_rng([seed, 1]))
    taken = [n for i, n in enumerate(order) if int((i + 1) * share) > int(i * share)]
    return tuple(sorted(taken))


def _dealt(subjects: Mapping[str, Subject], rng: np.random.Generator) -> list[str]:
    """All names, kind after kind, at random within each."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for name, subject in sorted(subjects.items()):
        database = name.partition("/")[0]
        groups.setdefault((database, int(subject.va.sum()) >= _SCORABLE), []).append(name)
    return [str(name) for _, group in sorted(groups.items()) for name in rng.permutation(group)]

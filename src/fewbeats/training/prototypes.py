"""VA windows that stand for all, where a wearer has none of his own to calibrate with."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import DataError
from fewbeats.training.datasets import Subject

_CANDIDATES_EACH = 12  # VA windows a subject puts up, so that none rules them
_ROUNDS = 20


def choose_prototypes(
    embed: Callable[[NDArray[np.float32]], NDArray[np.floating]],
    subjects: Mapping[str, Subject],
    count: int,
    seed: int,
) -> NDArray[np.float32]:
    """The medoids of the subjects' VA embeddings.

    Each subject puts up a few windows, spread over its time. Clusters are found by alternating
    assignment and medoid (Park and Jun, Expert Systems with Applications 36(2), 2009).

    Returns:
        float32 (at most count, 1, samples).

    Raises:
        DataError: no subject has a VA window.
    """
    offered = []
    for _, subject in sorted(subjects.items()):
        va = np.flatnonzero(subject.va)
        if len(va):
            spread = np.linspace(0, len(va) - 1, min(_CANDIDATES_EACH, len(va)))
            offered.append(subject.windows[va[np.rint(spread).astype(np.int64)]])
    if not offered:
        raise DataError("No training subject has a VA window to make a prototype of.")
    windows = np.concatenate(offered)
    if len(windows) <= count:
        return windows
    embeddings = embed(windows).astype(np.float64)
    squares = (embeddings**2).sum(axis=1)
    distance = squares[:, None] + squares - 2 * embeddings @ embeddings.T
    medoids = np.sort(np.random.default_rng(seed).choice(len(windows), count, replace=False))
    for _ in range(_ROUNDS):
        nearest = distance[:, medoids].argmin(axis=1)
        moved = medoids.copy()
        for cluster in range(count):
            members = np.flatnonzero(nearest == cluster)
            if len(members):
                within = distance[np.ix_(members, members)].sum(axis=1)
                moved[cluster] = members[within.argmin()]
        if (moved == medoids).all():
            break
        medoids = moved
    return windows[np.sort(medoids)]

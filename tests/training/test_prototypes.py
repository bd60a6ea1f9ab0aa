"""Windows that stand for all VA."""

import numpy as np
import pytest

from fewbeats.errors import DataError
from fewbeats.training.prototypes import choose_prototypes


def embed(windows: np.ndarray) -> np.ndarray:
    """Two numbers that a window is told by."""
    flat = windows[:, 0].astype(np.float64)
    return np.stack([flat[:, ::2].sum(axis=1), np.abs(np.diff(flat)).sum(axis=1)], axis=1)


def test_they_are_va_windows_of_the_subjects(made_subjects):
    few = choose_prototypes(embed, made_subjects, 5, seed=0)
    assert few.shape == (5, 1, 250) and few.dtype == np.float32
    assert np.array_equal(few, choose_prototypes(embed, made_subjects, 5, seed=0))
    backwards = dict(reversed(made_subjects.items()))
    assert np.array_equal(few, choose_prototypes(embed, backwards, 5, seed=0))
    va = np.concatenate([s.windows[s.va] for s in made_subjects.values()])
    assert all((va == window).all(axis=(1, 2)).any() for window in few)


def test_every_cluster_has_one(make_subject):
    subject = make_subject("made/0", 12, 3)
    # Three rhythms of four windows each, far apart, a different one in the middle of each.
    places = np.array([0, 1, 3, 1.1, 100, 101, 103, 101.1, 200, 201, 203, 201.1])

    def spread(windows: np.ndarray) -> np.ndarray:
        assert len(windows) == 12
        return places[:, None]

    chosen = choose_prototypes(spread, {"made/0": subject}, 3, seed=1)
    va = subject.windows[subject.va]
    found = {int(np.flatnonzero((va == w).all(axis=(1, 2)))[0]) for w in chosen}
    # The medoid of 0, 1, 3, 1.1 by squared distances is 1.1.
    assert found == {3, 7, 11}


def test_nobody_rules_them(make_subject):
    many, few = make_subject("made/0", 500, 3), make_subject("made/1", 2, 3)
    chosen = choose_prototypes(embed, {"made/0": many, "made/1": few}, 100, seed=0)
    assert len(chosen) == 12 + 2, "where there are fewer than wanted, all that are put up"
    spread = np.rint(np.linspace(0, 499, 12)).astype(int)
    assert np.array_equal(chosen[:12], many.windows[many.va][spread])


def test_no_va_is_an_error(made_subjects):
    calm = {name: s for name, s in made_subjects.items() if name.startswith("calm")}
    with pytest.raises(DataError, match="VA window"):
        choose_prototypes(embed, calm, 5, seed=0)

"""Folds and validation subjects: by subject, with a share of every kind."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbeats.errors import DataError
from fewbeats.training.splits import assign_folds, choose_validation


def kind(name: str) -> str:
    return name.partition("/")[0]


def test_folds_part_the_subjects(made_subjects):
    folds = assign_folds(made_subjects, 3, seed=0)
    assert set(folds) == set(made_subjects)
    for fold in range(3):
        members = Counter(kind(name) for name, number in folds.items() if number == fold)
        assert members == {"made": 2, "calm": 1}
    backwards = dict(reversed(made_subjects.items()))
    assert assign_folds(backwards, 3, seed=0) == folds
    assert assign_folds(made_subjects, 3, seed=1) != folds
    for count in (1, 10):
        with pytest.raises(DataError, match="9 subjects"):
            assign_folds(made_subjects, count)


@given(st.integers(2, 7), st.integers(0, 100))
@settings(max_examples=20)
def test_folds_differ_by_one_subject_a_kind_at_most(make_subject, count, seed):
    people = [make_subject(f"{db}/{i}", va, 2) for db in "ab" for i in range(6) for va in (0,)]
    people += [make_subject(f"b/va{i}", 15, 2) for i in range(5)]
    subjects = {subject.name: subject for subject in people}
    folds = assign_folds(subjects, count, seed)
    for group in ("a/", "b/0", "b/va"):
        sizes = Counter(fold for name, fold in folds.items() if name.startswith(group))
        assert max(sizes.values()) - min(sizes.get(f, 0) for f in range(count)) <= 1


@given(st.floats(0.01, 0.99), st.integers(0, 1000))
@settings(max_examples=50)
def test_validation_takes_its_share_of_every_kind(made_subjects, share, seed):
    chosen = choose_validation(made_subjects, share, seed)
    assert chosen == tuple(sorted(set(chosen)))
    assert set(chosen) <= set(made_subjects)
    assert len(chosen) == int(9 * share)
    taken = Counter(kind(name) for name in chosen)
    assert abs(taken["made"] - 6 * share) < 1
    assert abs(taken["calm"] - 3 * share) < 1
    backwards = dict(reversed(made_subjects.items()))
    assert choose_validation(backwards, share, seed) == chosen


def test_other_seeds_choose_others_and_no_share_nobody(made_subjects):
    assert len({choose_validation(made_subjects, 0.34, seed) for seed in range(10)}) > 3
    assert choose_validation(made_subjects, 0.0, 0) == ()

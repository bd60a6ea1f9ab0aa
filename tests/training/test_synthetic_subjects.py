"""Made-up people: the same for a seed, different from one another, labelled like anybody."""

import numpy as np
import pytest

from fewbeats.device.preprocess import WindowSpec
from fewbeats.errors import DataError
from fewbeats.training.datasets import sha256_of
from fewbeats.training.synthetic_subjects import synthetic_dataset

SPEC = WindowSpec()


def test_a_seed_makes_the_same_people_again_and_another_makes_others():
    one, again, other = (synthetic_dataset(SPEC, 3, seed) for seed in (1, 1, 2))
    assert sha256_of(one.subjects.values()) == sha256_of(again.subjects.values())
    assert sha256_of(one.subjects.values()) != sha256_of(other.subjects.values())
    for name, subject in one.subjects.items():
        twin = again.subjects[name].stretches
        assert subject.stretches is not None and twin is not None
        assert np.array_equal(subject.stretches.samples, twin.samples)


def test_more_people_leave_the_first_ones_as_they_were():
    few, more = synthetic_dataset(SPEC, 3), synthetic_dataset(SPEC, 4)
    assert sha256_of(few.subjects.values()) == sha256_of(more.only(few.subjects).values())


def test_what_training_needs_is_there():
    seen = []
    dataset = synthetic_dataset(SPEC, 6, progress=lambda *now: seen.append(now))
    assert dataset.synthetic and all(s.synthetic for s in dataset.subjects.values())
    assert list(dataset.subjects) == [f"synthetic/{n:02d}" for n in range(6)]
    assert "nobody" in dataset.licences["synthetic"]
    assert seen[0] == (0, 6, "synthetic/00") and seen[-1] == (6, 6, "")
    for number, subject in enumerate(dataset.subjects.values()):
        assert (~subject.va).sum() >= 60
        assert subject.va.sum() == 0 if number % 3 == 2 else subject.va.sum() >= 20
        assert np.isfinite(subject.windows).all()
        assert subject.stretches is not None
        assert subject.stretches.va.any() == subject.va.any()
        assert subject.stretches.samples.shape[1] == 350
    assert any(s.counts.noisy for s in dataset.subjects.values())


def test_other_windows_and_no_stretches():
    dataset = synthetic_dataset(WindowSpec(window_s=4.0), 3, stretches=False)
    assert all(s.stretches is None for s in dataset.subjects.values())
    assert next(iter(dataset.subjects.values())).windows.shape[2] == 500


@pytest.mark.parametrize(("count", "seed"), [(2, 0), (24, -1)])
def test_too_few_people_or_no_seed(count, seed):
    with pytest.raises(DataError, match="at least 3 people"):
        synthetic_dataset(SPEC, count, seed)

"""The CL-selector: the easy ones first, everybody in the end, nobody again and again."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.training.config import CurriculumConfig
from fewbeats.training.curriculum import Curriculum

WITH_VA = tuple(f"va/{i:02}" for i in range(10))
WITHOUT = tuple(f"calm/{i:02}" for i in range(10))
EASY_FIRST = {name: float(i) for names in (WITH_VA, WITHOUT) for i, name in enumerate(names)}


def curriculum(steps: int = 100, seed: int = 0, **config) -> Curriculum:
    return Curriculum(
        CurriculumConfig(**({"enabled": True} | config)), WITH_VA, WITHOUT, steps, seed
    )


@given(st.floats(0.01, 1), st.just(0.0) | st.floats(0.01, 1), st.integers(1, 500))
def test_the_open_share_rises_from_start_to_all(start, ramp, steps):
    one = curriculum(steps, start=start, ramp=ramp)
    shares = [one.open_share(step) for step in range(1, steps + 1)]
    assert all(0 < share <= 1 for share in shares)
    assert shares == sorted(shares)
    if ramp * steps > 0:
        assert shares[0] == pytest.approx(start)
    else:
        assert shares[0] == 1
    assert one.open_share(int(np.ceil(ramp * steps)) + 1) == pytest.approx(1)
    middle = 1 + ramp * steps / 2
    assert one.open_share(middle) == pytest.approx((1 + start) / 2 if ramp else 1)


def test_only_the_easiest_are_drawn_until_more_are_open():
    one = curriculum(steps=100, start=0.3, ramp=0.5)
    one.difficulty = dict(EASY_FIRST)
    seen: set[str] = set()
    for step in range(1, 101):
        share = one.open_share(step)
        allowed = {n for names in (WITH_VA, WITHOUT) for n in names[: int(np.ceil(share * 10))]}
        chosen = one.choose(step, 2, 3)
        assert set(chosen) <= allowed
        seen |= set(chosen)
    assert seen == {*WITH_VA, *WITHOUT}


def test_a_step_never_lacks_subjects():
    one = curriculum(start=0.1)
    one.difficulty = dict(EASY_FIRST)
    assert set(one.choose(1, 8, 9)) == {*WITH_VA[:8], *WITHOUT[:9]}


def test_the_reserved_share_comes_first_and_nobody_twice():
    one = curriculum()
    for step in range(1, 50):
        chosen = one.choose(step, 4, 3)
        assert set(chosen[:4]) <= set(WITH_VA) and set(chosen[4:]) <= set(WITHOUT)
        assert len(set(chosen)) == 7
    assert len(one.choose(50, 10, 0)) == 10


def test_draws_are_balanced_by_how_often_one_was_drawn():
    """The weights of a step's draw are max(0, 1 - t / i), t being the draws of i steps."""
    one = curriculum(steps=1)  # everybody is open
    one.draws = {WITH_VA[0]: 90, WITH_VA[1]: 50}
    found: Counter[str] = Counter()
    for seed in range(4000):
        fresh = curriculum(steps=1, seed=seed)
        fresh.draws = dict(one.draws)
        found[fresh.choose(100, 1, 0)[0]] += 1
    total = 0.1 + 0.5 + 8
    for name, weight in ((WITH_VA[0], 0.1), (WITH_VA[1], 0.5), (WITH_VA[2], 1.0)):
        expected = weight / total
        assert found[name] / 4000 == pytest.approx(expected, abs=4 * np.sqrt(expected / 4000))


def test_draws_even_out_over_a_training():
    one, plain = curriculum(steps=400, ramp=0), curriculum(steps=400, enabled=False)
    for step in range(1, 401):
        one.choose(step, 3, 0)
        plain.choose(step, 3, 0)
    assert sum(one.draws.values()) == sum(plain.draws.values()) == 1200
    spread = np.ptp([one.draws[name] for name in WITH_VA])
    assert spread < np.ptp([plain.draws[name] for name in WITH_VA])


def test_a_subject_drawn_at_every_step_can_still_fill_one():
    one = curriculum(start=0.1)
    one.difficulty = dict(EASY_FIRST)
    one.draws = dict.fromkeys(WITH_VA, 5)
    assert len(one.choose(5, 10, 0)) == 10


def test_a_step_is_drawn_by_its_number_the_seed_and_the_story_alone():
    one, again, other = curriculum(), curriculum(), curriculum(seed=1)
    story = [c.choose(step, 3, 2) for c in (one, again, other) for step in range(1, 20)]
    assert story[:19] == story[19:38] != story[38:]


def test_a_training_goes_on_from_its_state():
    one, other = curriculum(), curriculum()
    for step in range(1, 30):
        one.choose(step, 3, 2)
    one.difficulty = dict(EASY_FIRST)
    kept = one.state()
    later = [one.choose(step, 3, 2) for step in range(30, 60)]
    other.restore(kept)
    assert [other.choose(step, 3, 2) for step in range(30, 60)] == later
    assert other.state() == one.state()
    assert kept != one.state(), "the state is a copy"


def test_without_a_curriculum_all_are_as_likely():
    one = curriculum(enabled=False, start=0.1)
    one.difficulty = dict(EASY_FIRST)
    one.draws = {WITH_VA[0]: 1000}
    found = Counter(name for step in range(1, 2001) for name in one.choose(step, 2, 0))
    assert all(abs(found[name] - 400) < 4 * np.sqrt(400) for name in WITH_VA)
    assert {one.open_share(step) for step in range(1, 101)} == {1.0}
    assert not any(one.measure_due(step) for step in range(1, 101))


def test_difficulties_are_measured_now_and_then_but_never_of_random_weights():
    one = curriculum(every=40)
    assert [step for step in range(1, 201) if one.measure_due(step)] == [41, 81, 121, 161]
    assert [step for step in range(1, 5) if curriculum(every=1).measure_due(step)] == [2, 3, 4]


def test_normalised_difficulties_are_a_softmax():
    one = curriculum()
    assert one.normalised() == {}
    one.difficulty = {"a": 1000.0, "b": 1000.0 + np.log(3)}
    assert one.normalised() == pytest.approx({"a": 0.25, "b": 0.75})

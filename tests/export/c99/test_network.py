"""The arithmetic of a mean: which sums float32 cannot decide."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbeats.export.c99.network import Mean, Steps


def mean_of(length: int, before: float, after: float, zero: int = 0) -> Mean:
    return Mean(length, 1, Steps(np.float32(before), 0), Steps(np.float32(after), zero))


def test_exact_ties_are_undecided() -> None:
    assert mean_of(2, 1, 1).undecided == tuple(range(1, 510, 2))


def test_beyond_saturation_nothing_is_undecided() -> None:
    # A sum of 2 n steps is a mean of 2 n: only sums below 128 can fall between two steps.
    undecided = mean_of(2, 2, 0.5).undecided
    assert undecided == ()
    assert max(mean_of(2, 1, 0.25, zero=200).undecided, default=0) <= 2 * 55


def test_a_sum_just_off_a_tie_is_decided() -> None:
    assert mean_of(2, 1, 1 + 1e-3).undecided == ()


@settings(deadline=None, max_examples=50)
@given(
    steps=st.lists(st.integers(0, 255), min_size=1, max_size=40),
    before=st.floats(2**-10, 8, width=32),
    ratio=st.floats(0.2, 1.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_decided_sum_rounds_alike_in_any_order_of_additions(
    steps: list[int], before: float, ratio: float, seed: int
) -> None:
    mean = mean_of(len(steps), before, before * ratio)
    ours = np.rint(np.float32(sum(steps)) * mean.factor)
    if sum(steps) in mean.undecided:
        return
    values = (np.array(steps, dtype=np.float32) * mean.before.scale).tolist()
    rng = np.random.default_rng(seed)
    for _ in range(5):
        rng.shuffle(values)
        total = np.float32(0)
        for value in values:
            total += np.float32(value)
        theirs = np.rint(total / np.float32(len(steps)) / mean.after.scale)
        assert min(theirs, 255) == min(ours, 255)

"""Intervals over subjects, and exact limits against tables and identities."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fewbeats.errors import DataError
from fewbeats.training.intervals import lower_limit, mean_interval

figures = st.lists(st.floats(0, 1), min_size=2, max_size=30)


@given(figures, st.randoms())
def test_the_order_of_subjects_decides_nothing(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    assert mean_interval(shuffled) == mean_interval(values)


@given(figures)
def test_an_interval_lies_between_the_lowest_and_the_highest(values):
    low, high = mean_interval(values)
    slack = 1e-12
    assert min(values) - slack <= low <= high <= max(values) + slack


@given(figures, st.sampled_from([0.25, 2.0, 64.0]), st.integers(-3, 3))
def test_an_interval_moves_with_its_values(values, scale, shift):
    assume(np.ptp(values) > 1e-6)
    moved = mean_interval(scale * np.array(values) + shift)
    assert moved == pytest.approx(
        [scale * edge + shift for edge in mean_interval(values)], abs=1e-6 * scale
    )


def test_an_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        low, high = mean_interval(rng.beta(8, 2, 40))
        covered += low <= 0.8 <= high
    assert 0.90 <= covered / 300 <= 0.99


def test_a_long_tail_reaches_further_down_than_up():
    values = [0.99] * 20 + [0.98] * 18 + [0.7, 0.5]
    low, high = mean_interval(values)
    mean = float(np.mean(values))
    assert mean - low > 1.5 * (high - mean) > 0


def test_one_subject_has_no_interval_and_equal_ones_have_a_point():
    assert mean_interval([0.9]) is None
    assert mean_interval([]) is None
    assert mean_interval([0.9, 0.9, 0.9]) == (0.9, 0.9)
    with pytest.raises(DataError, match="not a finite number"):
        mean_interval([0.9, float("nan")])


@pytest.mark.parametrize(
    ("right", "n", "confidence", "limit"),
    [
        (682, 925, 0.975, 0.7076683),  # the example of R's binom.test, Mendel's peas
        (8, 10, 0.975, 0.4439045),
        # Two-sided 95 % limits printed in the ZOLL AED Plus administrator's guide.
        (521, 535, 0.975, 0.9565),  # coarse VF
        (76, 83, 0.975, 0.8339),  # rapid VT
    ],
)
def test_limits_from_tables(right, n, confidence, limit):
    assert lower_limit(right, n, confidence) == pytest.approx(limit, abs=5e-5)


@given(st.integers(1, 400), st.floats(0.5, 0.999))
def test_all_or_one_or_none_right(n, confidence):
    # With all right, or at least one, the binomial tail is a single power.
    assert lower_limit(n, n, confidence) == pytest.approx((1 - confidence) ** (1 / n))
    assert lower_limit(1, n, confidence) == pytest.approx(1 - confidence ** (1 / n))
    assert lower_limit(0, n, confidence) == 0


@given(st.integers(2, 200).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n))))
def test_a_limit_is_under_the_share_and_rises_with_it(pair):
    right, n = pair
    limit = lower_limit(right, n)
    assert limit < right / n
    assert limit < lower_limit(right + 1, n)
    assert lower_limit(right, n, 0.95) < limit < lower_limit(10 * right, 10 * n)


@pytest.mark.parametrize(
    ("right", "n", "confidence"), [(1, 0, 0.9), (0, 0, 0.9), (-1, 5, 0.9), (6, 5, 0.9), (1, 5, 1.0)]
)
def test_impossible_shares_are_refused(right, n, confidence):
    with pytest.raises(DataError, match="lower limit needs"):
        lower_limit(right, n, confidence)

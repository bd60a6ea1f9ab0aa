"""Metrics against their definitions, spelled out."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import DataError
from fewbeats.training.metrics import (
    FALSE_POSITIVE_RATES,
    average_precision,
    f1_score,
    roc_auc,
    roc_curve,
    sensitivity,
    specificity,
)

scored = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30).filter(
    lambda pairs: len({positive for _, positive in pairs}) == 2
)


def arrays(pairs):
    scores, positive = zip(*pairs, strict=True)
    return np.array(scores, dtype=np.float64), np.array(positive)


@given(scored)
def test_auc_is_the_share_of_pairs_in_order(pairs):
    scores, positive = arrays(pairs)
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in scores[positive]
        for n in scores[~positive]
    ]
    assert roc_auc(scores, positive) == pytest.approx(np.mean(wins))


@given(scored)
def test_average_precision_is_a_sum_over_thresholds(pairs):
    scores, positive = arrays(pairs)
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        recall = (called & positive).sum() / positive.sum()
        total += (recall - recall_before) * positive[called].mean()
        recall_before = recall
    assert average_precision(scores, positive) == pytest.approx(total)


@given(scored, st.randoms())
def test_order_decides_nothing(pairs, random):
    before = [metric(*arrays(pairs)) for metric in (roc_auc, average_precision)]
    random.shuffle(pairs)
    assert [metric(*arrays(pairs)) for metric in (roc_auc, average_precision)] == before


@given(scored)
def test_the_roc_curve_is_the_best_mixture_of_two_neighbouring_thresholds(pairs):
    scores, positive = arrays(pairs)
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    points = [((scores >= t)[~positive].mean(), (scores >= t)[positive].mean()) for t in thresholds]
    for rate, got in zip(FALSE_POSITIVE_RATES, roc_curve(scores, positive), strict=True):
        found = [high for at, high in points if at == rate]
        for (x0, y0), (x1, y1) in pairwise(points):
            if x0 < rate < x1:
                found.append(y0 + (y1 - y0) * (rate - x0) / (x1 - x0))
        assert got == pytest.approx(max(found))


def test_the_roc_curve_encloses_the_auc():
    rng = np.random.default_rng(0)
    positive = rng.random(4000) < 0.4
    scores = rng.standard_normal(4000) + 1.5 * positive
    curve = roc_curve(scores, positive)
    area = np.sum(np.diff(FALSE_POSITIVE_RATES) * (curve[1:] + curve[:-1]) / 2)
    assert area == pytest.approx(roc_auc(scores, positive), abs=2e-3)
    assert (np.diff(curve) >= 0).all()


def test_constant_scores_are_worth_a_coin():
    positive = np.array([True, True, False, False, False])
    same = np.zeros(5)
    assert roc_auc(same, positive) == 0.5
    assert average_precision(same, positive) == pytest.approx(2 / 5)
    assert roc_curve(same, positive) == pytest.approx(FALSE_POSITIVE_RATES)


def test_false_positive_rates_are_read_off_densely_near_zero():
    assert FALSE_POSITIVE_RATES[0] == 0
    assert FALSE_POSITIVE_RATES[-1] == 1
    steps = np.diff(FALSE_POSITIVE_RATES)
    assert (steps > 0).all()
    assert steps[0] < steps[-1] / 10


@given(scored, st.sampled_from([np.exp, np.arctan, lambda x: 3 * x - 7]))
def test_only_the_ranks_of_scores_count(pairs, monotone):
    scores, positive = arrays(pairs)
    for metric in (roc_auc, average_precision):
        assert metric(monotone(scores), positive) == metric(scores, positive)


@given(scored)
def test_turning_scores_round_turns_the_auc_round(pairs):
    scores, positive = arrays(pairs)
    assert roc_auc(-scores, positive) == pytest.approx(1 - roc_auc(scores, positive))


def test_counts_at_a_threshold():
    positive = np.array([True, True, True, False, False])
    called = np.array([True, True, False, True, False])
    assert f1_score(called, positive) == pytest.approx(2 / 3)
    assert sensitivity(called, positive) == pytest.approx(2 / 3)
    assert specificity(called, positive) == pytest.approx(1 / 2)
    assert f1_score(np.zeros(5, dtype=bool), positive) == 0


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_one_class_has_no_auc(positive):
    for metric in (roc_auc, average_precision, roc_curve):
        with pytest.raises(DataError, match="one is missing"):
            metric(np.array([1.0, 2.0]), np.array(positive))


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="finite"):
        roc_auc(np.array([np.nan, 1.0]), np.array([True, False]))
    with pytest.raises(DataError, match="do not fit"):
        roc_auc(np.array([1.0, 1.0]), np.array([True, False, True]))

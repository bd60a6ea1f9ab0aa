"""Metrics against their definitions, spelled out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import DataError
from fewbeats.training.metrics import average_precision, f1_score, roc_auc, sensitivity, specificity

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


def test_counts_at_a_threshold():
    positive = np.array([True, True, True, False, False])
    called = np.array([True, True, False, True, False])
    assert f1_score(called, positive) == pytest.approx(2 / 3)
    assert sensitivity(called, positive) == pytest.approx(2 / 3)
    assert specificity(called, positive) == pytest.approx(1 / 2)
    assert f1_score(np.zeros(5, dtype=bool), positive) == 0


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_one_class_has_no_auc(positive):
    with pytest.raises(DataError, match="one is missing"):
        roc_auc(np.array([1.0, 2.0]), np.array(positive))


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="finite"):
        roc_auc(np.array([np.nan, 1.0]), np.array([True, False]))
    with pytest.raises(DataError, match="do not fit"):
        roc_auc(np.array([1.0, 1.0]), np.array([True, False, True]))

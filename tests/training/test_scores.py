"""Figures of several subjects together."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fewbeats.errors import DataError
from fewbeats.training.metrics import FALSE_POSITIVE_RATES
from fewbeats.training.protocols import Protocol, Support
from fewbeats.training.scores import TRAINED_ON, Evaluation, Score, Strip

FIGURES = ("auc", "average_precision", "f1", "sensitivity", "specificity")
VA = np.arange(20) >= 12


def score(seed):
    rng = np.random.default_rng(seed)
    return Score.of(rng.standard_normal(20) + VA, 0.5, VA)


def strip(name, beyond, start_s=0.0):
    return Strip(name, start_s, False, 0.9, beyond, (0.125, -1.5))


def scored(*names, **more):
    return Evaluation(
        Protocol(Support.NONE),
        2.0,
        {name: score(i) for i, name in enumerate(names)},
        {name: np.linspace(0.5, 1, len(FALSE_POSITIVE_RATES)) for name in names},
        **more,
    )


def test_figures_at_the_operating_point():
    scores = np.where(VA, 1.0, 0.0)
    scores[0], scores[-1] = 2.0, -1.0
    figures = Score.of(scores, 1.0, VA)  # the edge itself counts as VA
    assert figures.sensitivity == pytest.approx(7 / 8)
    assert figures.specificity == pytest.approx(11 / 12)
    assert (figures.va_windows, figures.non_va_windows) == (8, 12)


def test_the_summary_over_subjects():
    result = scored("a/1", "a/2", "b/1")
    summary = json.loads(json.dumps(result.as_dict()))
    for figure in FIGURES:
        values = [summary["subjects"][name][figure] for name in ("a/1", "a/2", "b/1")]
        low, high = summary["interval"][figure]
        assert summary["mean"][figure] == pytest.approx(np.mean(values))
        assert min(values) <= low <= high <= max(values)
        assert summary["percentile_10"][figure] == pytest.approx(np.percentile(values, 10))
    aucs = {name: figures["auc"] for name, figures in summary["subjects"].items()}
    assert summary["worst"] == {"subject": min(aucs, key=aucs.get), "auc": min(aucs.values())}
    assert summary["count"] == 3
    assert summary["window_s"] == 2.0
    assert summary["roc"]["false_positive_rate"] == FALSE_POSITIVE_RATES.tolist()
    assert summary["roc"]["sensitivity"][0] == 0.5


def test_figures_that_do_not_exist_are_null():
    alone, nobody = scored("a/1").as_dict(), scored(excluded={"a/1": "has 0 VA"}).as_dict()
    assert alone["interval"] == dict.fromkeys(FIGURES)
    assert alone["percentile_10"]["auc"] == alone["mean"]["auc"]
    for key in ("mean", "interval", "percentile_10"):
        assert nobody[key] == dict.fromkeys(FIGURES)
    assert nobody["worst"] is None
    assert nobody["roc"] is None
    assert nobody["count"] == 0
    assert nobody["non_va_only"]["false_positive_rate"] is None


def test_nobody_scored_is_an_error_that_says_why():
    nobody = scored(excluded={"a/1": "has 0 VA and 9 other windows"})
    with pytest.raises(DataError, match="a/1: has 0 VA"):
        nobody.mean("auc")
    with pytest.raises(DataError, match="No subject"):
        _ = nobody.worst


def test_the_worst_strips_of_all_come_first():
    strips = {f"a/{i:02}": (strip(f"a/{i:02}", 100 - i), strip(f"a/{i:02}", 1)) for i in range(15)}
    shown = scored(strips=strips).as_dict()["strips"]
    assert [s["subject"] for s in shown] == [f"a/{i:02}" for i in range(12)]
    assert list(shown[0]) == ["subject", "start_s", "va", "probability", "samples"]
    assert shown[0]["samples"] == [0.125, -1.5]


def test_folds_are_joined_as_if_they_were_one():
    one = scored("a/1", strips={"a/1": (strip("a/1", 1),)}, false_positives={"c/1": (1, 9)})
    two = scored("b/1", excluded={"b/2": "has 0 VA"}, false_positives={"d/1": (2, 4)})
    joined = one.merged(two)
    assert joined.as_dict() == two.merged(one).as_dict()
    assert list(joined.subjects) == ["a/1", "b/1"]
    assert joined.excluded == {"b/2": "has 0 VA"}
    assert joined.as_dict()["non_va_only"]["false_positive_rate"] == pytest.approx(3 / 13)
    assert scored().merged(one).as_dict() == one.as_dict()


def test_whom_one_fold_trained_on_another_may_have_judged():
    one = scored("a/1", excluded={"a/2": TRAINED_ON, "a/3": TRAINED_ON, "a/4": TRAINED_ON})
    two = scored("a/2", excluded={"a/1": TRAINED_ON, "a/3": "has 0 VA", "a/4": TRAINED_ON})
    assert one.merged(two).excluded == {"a/3": "has 0 VA", "a/4": TRAINED_ON}
    assert two.merged(one).excluded == one.merged(two).excluded


def test_what_does_not_belong_together_is_not_joined():
    one = scored("a/1", false_positives={"c/1": (1, 9)})
    for other, message in [
        (replace(scored("b/1"), protocol=Protocol(Support.FIRST)), "cannot be joined"),
        (replace(scored("b/1"), window_s=3.0), "cannot be joined"),
        (scored("a/1"), "count twice: a/1"),
        (scored("b/1", false_positives={"c/1": (1, 9)}), "count twice: c/1"),
    ]:
        with pytest.raises(DataError, match=message):
            one.merged(other)

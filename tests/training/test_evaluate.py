"""Subjects before a judge, on made subjects."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.head import Head
from fewbeats.errors import DataError
from fewbeats.training.evaluate import (
    Judged,
    Model,
    Protocol,
    Score,
    Support,
    evaluate,
    evaluate_all,
    evaluate_supports,
    standard_protocols,
    support_of,
)
from fewbeats.training.protocols import scored_windows


def embed(windows):
    """Two plain features: how often the signal turns, and how spiky it is."""
    turns = np.abs(np.diff(np.sign(windows[:, 0]), axis=1)).mean(axis=1) * 10
    return np.stack([turns, windows[:, 0].max(axis=1)], axis=1).astype(np.float32)


@pytest.fixture
def model(made_subjects):
    some = next(iter(made_subjects.values()))
    start = Head(np.array([0.2, -0.5]), 0.0, 0.5, "made")
    return Model(embed, start, AdaptConfig(), embed(some.windows[some.va][:8]))


class Fixed:
    """A judge that says of every subject what it was told to."""

    def __init__(self, log_odds, edge=0.0):
        self.answer = Judged(np.asarray(log_odds, dtype=np.float64), edge)
        self.asked = []

    def judge(self, subject, support, kind):
        self.asked.append((subject.name, kind, len(support)))
        return self.answer


@pytest.mark.parametrize("support", list(Support))
def test_no_figure_depends_on_the_other_subjects(made_subjects, model, support):
    everybody = evaluate(made_subjects, model, Protocol(support))
    backwards = evaluate(list(made_subjects.values())[::-1], model, Protocol(support))
    assert len(everybody.subjects) == 6
    assert set(everybody.excluded) == {"calm/0", "calm/1", "calm/2"}
    assert json.dumps(backwards.as_dict()) == json.dumps(everybody.as_dict())
    for left_out in ("made/3", "calm/1"):
        rest = {name: s for name, s in made_subjects.items() if name != left_out}
        without = evaluate(rest, model, Protocol(support))
        for kept in ("subjects", "strips", "false_positives", "excluded"):
            expected = {k: v for k, v in getattr(everybody, kept).items() if k != left_out}
            assert getattr(without, kept) == expected
        assert without.roc.keys() == without.subjects.keys()
        assert all((without.roc[name] == everybody.roc[name]).all() for name in without.roc)


def test_all_protocols_at_once_are_each_of_them_alone(made_subjects, model):
    protocols = standard_protocols()
    together = evaluate_all(made_subjects, model, protocols)
    for protocol, result in zip(protocols, together, strict=True):
        assert result.as_dict() == evaluate(made_subjects, model, protocol).as_dict()


def test_the_standard_protocols_score_the_same_subjects(make_subject, model):
    few, many = make_subject("made/few", 14, 40), make_subject("made/many", 40, 40)
    for result in evaluate_all([few, many], model, standard_protocols()):
        assert list(result.subjects) == ["made/many"]
        assert "15 of each" in result.excluded["made/few"]
    assert "made/few" in evaluate([few], model, Protocol(Support.RANDOM, shots=1)).subjects


def test_a_model_embeds_each_subject_once(made_subjects, model):
    embedded = []

    def counting(windows):
        embedded.append(len(windows))
        return embed(windows)

    evaluate_all(made_subjects, replace(model, embed=counting), standard_protocols())
    assert embedded == [len(s.va) for _, s in sorted(made_subjects.items())]


def test_a_model_does_not_mistake_one_subject_for_another_of_its_name(make_subject, model):
    one, two = make_subject("made/9", 20, 20), make_subject("made/9", 20, 20, seed=1)
    nobody = np.empty(0, dtype=np.int64)
    before, other, again = (model.judge(s, nobody, Support.NONE).log_odds for s in (one, two, one))
    assert (before == again).all()
    assert (before != other).any()


def test_a_calibration_moves_the_head_and_no_support_leaves_it(make_subject, model):
    subject = make_subject("made/9", 20, 20)
    some = np.array([0, 1, 20, 21])
    start = model.judge(subject, some[:0], Support.NONE)
    assert start.log_odds == pytest.approx(model.start.logits(embed(subject.windows)))
    assert start.edge == pytest.approx(0.0)
    for kind, support in ((Support.FIRST, some), (Support.NORMALS, some[:2])):
        assert (model.judge(subject, support, kind).log_odds != start.log_odds).any()


def test_a_judge_gets_the_support_that_the_protocol_names(made_subjects):
    fixed = Fixed(np.zeros(65))
    person = made_subjects["made/1"]
    evaluate_all([person], fixed, [Protocol(support, 3, draws=2) for support in Support])
    assert fixed.asked == [
        ("made/1", Support.NONE, 0),
        ("made/1", Support.NORMALS, 3),
        ("made/1", Support.FIRST, 6),
        ("made/1", Support.RANDOM, 6),
        ("made/1", Support.RANDOM, 6),
    ]


def test_random_is_the_mean_over_its_draws(make_subject):
    subject = make_subject("made/9", 30, 30)
    noise = np.random.default_rng(0).standard_normal(60)
    protocol = Protocol(Support.RANDOM, 3, draws=4)
    result = evaluate([subject], Fixed(noise, 0.5), protocol)
    each = []
    for draw in range(4):
        scored = scored_windows(subject, protocol, support_of(subject, protocol, draw))
        each.append(Score.of(noise[scored], 0.5, subject.va[scored]))
    assert len({score.auc for score in each}) > 1
    for figure in ("auc", "average_precision", "f1", "sensitivity", "specificity", "va_windows"):
        mean = np.mean([getattr(score, figure) for score in each])
        assert getattr(result.subjects["made/9"], figure) == pytest.approx(mean)


@pytest.mark.parametrize("support", [Support.FIRST, Support.NORMALS, Support.RANDOM])
def test_only_windows_away_from_the_support_are_counted(make_subject, model, support):
    subject = make_subject("made/9", 80, 80)
    score = evaluate([subject], model, Protocol(support, draws=1)).subjects["made/9"]
    # 10 support windows a class; each lies within 2 s of its two neighbours.
    assert 80 - 30 <= score.non_va_windows <= 80 - 11
    assert score.va_windows == 80 if support is Support.NORMALS else 50 <= score.va_windows <= 69


def test_too_few_windows_training_subjects_and_made_up_people_are_excluded_with_the_reason(
    make_subject, made_subjects, model
):
    people = [
        make_subject("made/scarce", 14, 40),
        replace(made_subjects["made/0"], synthetic=True),
        made_subjects["made/1"],
        made_subjects["made/2"],
    ]
    result = evaluate(people, model, Protocol(Support.NONE), training=["made/1"])
    assert set(result.subjects) == {"made/2"}
    assert "14 VA" in result.excluded["made/scarce"]
    assert "made-up" in result.excluded["made/0"]
    assert "trained" in result.excluded["made/1"]
    # Two subjects were looked at: the scarce one and the scored one.
    assert result.set_aside == {"mixed": 2, "noisy": 4, "unlabelled": 6, "unusable": 8}


@pytest.mark.parametrize(("va", "other"), [(0, 40), (40, 0)])
def test_one_class_alone_has_no_auc(make_subject, model, va, other):
    result = evaluate([make_subject("made/one", va, other)], model, Protocol(Support.NONE))
    assert not result.subjects
    assert f"has {va} VA and {other} other" in result.excluded["made/one"]


def test_false_positives_of_those_without_va(made_subjects, model):
    trigger_happy = replace(model, start=replace(model.start, bias=100.0))
    result = evaluate(made_subjects, trigger_happy, Protocol(Support.NONE))
    assert result.false_positives == {f"calm/{i}": (40, 40) for i in range(3)}
    assert result.as_dict()["non_va_only"]["false_positive_rate"] == 1.0
    assert len(result.strips["calm/1"]) == 2
    assert not evaluate(made_subjects, model, Protocol(Support.FIRST)).false_positives


def test_those_without_va_and_without_a_window_to_score_have_no_rate(made_subjects, model):
    far = Protocol(Support.NORMALS, gap_s=1e6)
    assert not evaluate([made_subjects["calm/0"]], model, far).false_positives


def test_too_few_windows_left_after_the_support(make_subject, model):
    tight = make_subject("made/tight", 15, 40)
    result = evaluate([tight], model, Protocol(Support.FIRST))
    assert "left to score" in result.excluded["made/tight"]
    assert not result.strips
    assert not result.roc


def test_strips_are_the_windows_farthest_on_the_wrong_side(make_subject):
    subject = make_subject("made/9", 20, 20)
    log_odds = np.where(subject.va, 3.0, 0.0)
    log_odds[[5, 7, 9]] = 2.0, 6.0, 4.0  # called VA: 9 and 7 by most
    log_odds[25] = 0.5  # VA missed by little
    strips = evaluate([subject], Fixed(log_odds, 1.0), Protocol(Support.NONE)).strips["made/9"]
    assert [(s.start_s, s.va, s.beyond) for s in strips] == [(14.0, False, 5.0), (18.0, False, 3.0)]
    assert strips[0].probability == pytest.approx(1 / (1 + np.exp(-6)))
    assert strips[0].samples == pytest.approx(subject.windows[7, 0], abs=5.1e-4)
    assert all(round(sample, 3) == sample for sample in strips[0].samples)


def test_a_judge_that_is_always_right_leaves_no_strip(make_subject):
    subject = make_subject("made/9", 20, 20)
    right = np.where(subject.va, 1.0, -1.0)
    result = evaluate([subject], Fixed(right), Protocol(Support.NONE))
    assert result.strips == {"made/9": ()}
    assert result.mean("auc") == result.mean("f1") == 1.0


def test_a_judge_that_says_one_thing_of_all_is_worth_a_coin(make_subject):
    subject = make_subject("made/9", 20, 20)
    result = evaluate([subject], Fixed(np.full(40, 7.0)), Protocol(Support.NONE))
    assert result.mean("auc") == 0.5
    assert result.mean("specificity") == 0.0


@pytest.mark.parametrize(
    ("log_odds", "edge"),
    [(np.full(40, np.nan), 0.0), (np.full(40, np.inf), 0.0), (np.zeros(40), np.nan)],
)
def test_answers_that_are_no_numbers_are_an_error_not_an_exclusion(make_subject, log_odds, edge):
    subject = make_subject("made/9", 20, 20)
    with pytest.raises(DataError, match=r"made/9 \(support none\) cannot be scored"):
        evaluate([subject], Fixed(log_odds, edge), Protocol(Support.NONE))


def test_an_answer_for_every_window_is_needed(make_subject):
    subject = make_subject("made/9", 20, 20)
    with pytest.raises(DataError, match="log-odds for 40 windows"):
        evaluate([subject], Fixed(np.zeros(39)), Protocol(Support.NONE))


def test_subjects_that_do_not_go_together_are_refused(make_subject, model):
    one = make_subject("made/9", 20, 20)
    with pytest.raises(DataError, match="same name"):
        evaluate([one, one], model, Protocol(Support.NONE))
    with pytest.raises(DataError, match="cannot be scored as one"):
        evaluate([one, replace(one, name="made/8", window_s=3.0)], model, Protocol(Support.NONE))


def test_supports_that_nobody_allows_are_left_out(make_subject, made_subjects, model):
    assert list(evaluate_supports(made_subjects, model)) == ["none", "normals", "first", "random"]
    tight = make_subject("made/tight", 15, 40)
    assert list(evaluate_supports({"made/tight": tight}, model)) == ["none", "normals"]
    assert evaluate_supports({}, model) == {}


def test_progress_is_told_of_each_subject(made_subjects, model):
    told = []
    two = [made_subjects["made/1"], made_subjects["calm/0"]]
    evaluate_all(two, model, standard_protocols(), progress=lambda *now: told.append(now))
    assert told == [(0, 2, "calm/0"), (1, 2, "made/1"), (2, 2, "")]


def test_scoring_runs_where_torch_is_not_installed():
    code = (
        "import sys; import fewbeats.training.evaluate, fewbeats.training.peak_rule;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'scipy', 'wfdb', 'onnx')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

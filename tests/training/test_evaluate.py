"""The rules of scoring, on made subjects and a made model."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.head import Head
from fewbeats.errors import DataError
from fewbeats.training.evaluate import Model, Protocol, Support, evaluate, support_of


def embed(windows):
    """Two plain features: how often the signal turns, and how spiky it is."""
    turns = np.abs(np.diff(np.sign(windows[:, 0]), axis=1)).mean(axis=1) * 10
    return np.stack([turns, windows[:, 0].max(axis=1)], axis=1).astype(np.float32)


@pytest.fixture
def model(made_subjects):
    some = next(iter(made_subjects.values()))
    start = Head(np.array([0.2, -0.5]), 0.0, 0.5, "made")
    return Model(embed, start, AdaptConfig(), embed(some.windows[some.va][:8]))


@pytest.mark.parametrize("support", list(Support))
def test_no_figure_depends_on_the_other_subjects(made_subjects, model, support):
    everybody = evaluate(made_subjects, model, Protocol(support))
    backwards = evaluate(list(made_subjects.values())[::-1], model, Protocol(support))
    alone = evaluate([made_subjects["made/3"]], model, Protocol(support))
    assert everybody.subjects == backwards.subjects
    assert alone.subjects["made/3"] == everybody.subjects["made/3"]
    assert len(everybody.subjects) == 6
    assert set(everybody.excluded) == {"calm/0", "calm/1", "calm/2"}


@pytest.mark.parametrize("support", [Support.FIRST, Support.NORMALS, Support.RANDOM])
def test_scored_windows_keep_away_from_the_support(make_subject, model, support):
    subject = make_subject("made/9", 80, 80)
    scored = []
    result = evaluate([subject], model, Protocol(support, draws=1))
    chosen = support_of(subject, Protocol(support, draws=1))
    for index in range(len(subject.va)):
        near = np.abs(subject.start_s[index] - subject.start_s[chosen]).min() < 4
        later = True
        if support is Support.FIRST:
            later = index > chosen[subject.va[chosen] == subject.va[index]].max()
        if not near and later:
            scored.append(index)
    score = result.subjects[subject.name]
    assert score.va_windows == subject.va[scored].sum()
    assert score.non_va_windows == (~subject.va[scored]).sum()


def test_another_record_of_the_subject_is_never_near(make_subject, model):
    subject = make_subject("made/9", 30, 30)
    two = replace(subject, record=np.arange(60) % 2)
    one_record = evaluate([subject], model, Protocol(Support.NORMALS)).subjects["made/9"]
    two_records = evaluate([two], model, Protocol(Support.NORMALS)).subjects["made/9"]
    assert two_records.non_va_windows >= one_record.non_va_windows


def test_first_takes_the_first_of_each_class(make_subject):
    subject = make_subject("made/9", 20, 30)
    assert support_of(subject, Protocol(Support.FIRST, shots=3)).tolist() == [0, 1, 2, 30, 31, 32]
    assert support_of(subject, Protocol(Support.NORMALS, shots=3)).tolist() == [0, 1, 2]
    assert support_of(subject, Protocol(Support.NONE)).tolist() == []


def test_random_draws_by_name_and_seed(make_subject):
    subject = make_subject("made/9", 30, 30)
    protocol = Protocol(Support.RANDOM)
    one, again, next_draw = (support_of(subject, protocol, draw) for draw in (0, 0, 1))
    renamed = support_of(replace(subject, name="made/8"), protocol, 0)
    reseeded = support_of(subject, replace(protocol, seed=1), 0)
    assert (one == again).all()
    for other in (next_draw, renamed, reseeded):
        assert (one != other).any()
    assert subject.va[one].sum() == 10


def test_too_few_windows_and_training_subjects_are_excluded_with_the_reason(
    make_subject, made_subjects, model
):
    scarce = make_subject("made/scarce", 14, 40)
    people = [scarce, made_subjects["made/1"], made_subjects["made/2"]]
    result = evaluate(people, model, Protocol(Support.NONE), training=["made/1"])
    assert set(result.subjects) == {"made/2"}
    assert "14 VA" in result.excluded["made/scarce"]
    assert "trained" in result.excluded["made/1"]


def test_false_positives_of_those_without_va(made_subjects, model):
    trigger_happy = replace(model, start=replace(model.start, bias=100.0))
    result = evaluate(made_subjects, trigger_happy, Protocol(Support.NONE))
    assert result.false_positives == {f"calm/{i}": (40, 40) for i in range(3)}
    assert result.as_dict()["non_va_only"]["false_positive_rate"] == 1.0
    assert not evaluate(made_subjects, model, Protocol(Support.FIRST)).false_positives


def test_the_summary(made_subjects, model):
    result = evaluate(made_subjects, model, Protocol(Support.FIRST))
    summary = result.as_dict()
    aucs = {name: score["auc"] for name, score in summary["subjects"].items()}
    assert summary["mean"]["auc"] == pytest.approx(np.mean(list(aucs.values())))
    assert summary["worst"]["auc"] == min(aucs.values())
    assert summary["set_aside"] == {"mixed": 9, "noisy": 18, "unlabelled": 27, "unusable": 36}


def test_nobody_scored_is_an_error_that_says_why(make_subject, model):
    result = evaluate([make_subject("calm/0", 0, 40)], model, Protocol())
    with pytest.raises(DataError, match="calm/0: has 0 VA"):
        result.mean("auc")


def test_impossible_protocols_are_refused():
    with pytest.raises(DataError, match="at least 1 shot"):
        Protocol(shots=0)


def test_scoring_runs_where_torch_is_not_installed():
    code = (
        "import sys; import fewbeats.training.evaluate, fewbeats.training.datasets;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'scipy', 'wfdb', 'onnx')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""Tuning of every weight: of a copy, by the support alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewbeats.device.head import log_odds
from fewbeats.training import full_tuning
from fewbeats.training.config import FinishConfig, ValidationConfig
from fewbeats.training.evaluate import Protocol, Support, evaluate, support_of
from fewbeats.training.full_tuning import FullTuning
from fewbeats.training.pretrain import pretrain
from fewbeats.training.trained import Trained

SUPPORTS = (Support.NORMALS, Support.FIRST, Support.RANDOM)


@pytest.fixture(scope="module")
def subject(make_subject):
    return make_subject("new/0", 30, 30, seed=5)


@pytest.fixture(scope="module")
def trained(small, made_subjects) -> Trained:
    recipe = replace(small, validation=ValidationConfig(share=0), finish=FinishConfig(steps=0))
    return pretrain(recipe, made_subjects, seed=2)


@pytest.fixture(scope="module")
def ranges(made_subjects):
    return np.concatenate([s.windows for s in made_subjects.values()])


def judge(judged_by, subject, support):
    return judged_by.judge(subject, support_of(subject, Protocol(support, 10)), support)


def test_without_a_support_it_is_the_start(trained, subject):
    judged = judge(FullTuning(trained), subject, Support.NONE)
    expected = trained.start.logits(trained.embed(subject.windows))
    np.testing.assert_allclose(judged.log_odds, expected, atol=1e-5)
    assert judged.edge == log_odds(trained.start.threshold)


@pytest.mark.parametrize("support", SUPPORTS)
def test_it_moves_every_weight_and_leaves_the_original_alone(
    trained, subject, support, monkeypatch
):
    tuned = []
    real = full_tuning.embed_windows
    monkeypatch.setattr(
        full_tuning, "embed_windows", lambda network, x: tuned.append(network) or real(network, x)
    )
    before, head = trained.network_sha256, trained.weights.copy()
    weights = {name: value.clone() for name, value in trained.network.state_dict().items()}
    judged = judge(FullTuning(trained), subject, support)
    moved = tuned[0].state_dict()
    assert all(not torch.equal(moved[name], value) for name, value in weights.items())
    again = trained.network.state_dict()
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    assert replace(trained).network_sha256 == before
    assert np.array_equal(trained.weights, head)
    start = judge(FullTuning(trained), subject, Support.NONE)
    assert not np.allclose(judged.log_odds, start.log_odds, atol=1e-3)


def test_every_subject_starts_from_the_same_weights(trained, subject, make_subject):
    fresh = judge(FullTuning(trained), subject, Support.FIRST)
    used = FullTuning(trained)
    judge(used, make_subject("other/1", 30, 30, seed=9), Support.FIRST)
    assert np.array_equal(judge(used, subject, Support.FIRST).log_odds, fresh.log_odds)


def test_it_looks_at_no_class_outside_the_support(trained, subject):
    support = support_of(subject, Protocol(Support.FIRST, 10))
    hidden = np.ones(len(subject.va), dtype=np.bool_)
    hidden[support] = subject.va[support]
    blind = replace(subject, va=hidden)
    judged = [FullTuning(trained).judge(s, support, Support.FIRST) for s in (subject, blind)]
    assert np.array_equal(judged[0].log_odds, judged[1].log_odds)


def test_it_lowers_the_loss_of_what_it_is_tuned_to(trained, subject):
    support = support_of(subject, Protocol(Support.FIRST, 10))
    va = subject.va[support]

    def loss(log_odds_found):
        z = np.where(va, 1, -1) * log_odds_found[support]
        return float(np.log1p(np.exp(-z)).mean())

    start = judge(FullTuning(trained), subject, Support.NONE)
    tuned = judge(FullTuning(trained), subject, Support.FIRST)
    assert loss(tuned.log_odds) < loss(start.log_odds)


@pytest.mark.parametrize("support", [Support.NONE, Support.FIRST])
def test_its_int8_form_is_near_and_not_the_same(trained, subject, ranges, support):
    fp32, int8 = (
        judge(judged_by, subject, support).log_odds
        for judged_by in (FullTuning(trained), FullTuning(trained, ranges))
    )
    assert not np.array_equal(fp32, int8)
    assert np.corrcoef(fp32, int8)[0, 1] > 0.99


def test_it_can_be_scored_like_any_judge(trained, subject):
    done = evaluate({subject.name: subject}, FullTuning(trained), Protocol(Support.FIRST, 10))
    assert done.subjects[subject.name].auc > 0.9

"""Adaptation, with PyTorch as its oracle."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbeats.device.adapt import MOST_MOVE, AdaptConfig, adapt, gradient
from fewbeats.device.head import Head
from fewbeats.errors import CalibrationError

SHA = "00" * 32


def support(seed: int, normals: int = 10, arrhythmias: int = 10, features: int = 8):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    va = np.arange(normals + arrhythmias) >= normals
    x = rng.normal(size=(len(va), features)) + va[:, None]
    return x.astype(np.float32), va, Head(rng.normal(size=features), 0.3, 0.5, SHA)


def loss_of(w: torch.Tensor, x: torch.Tensor, y: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    logits = x @ w[:-1] + w[-1]
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
    return (each * share).sum()


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_gradient_equals_autograd(seed: int, normals: int, arrhythmias: int) -> None:
    x, va, head = support(seed, normals, arrhythmias)
    share = np.where(va, 0.5 / arrhythmias, 0.5 / normals)
    w = np.append(head.weights, head.bias)
    x1 = np.column_stack([x.astype(np.float64), np.ones(len(x))])
    tensor = torch.tensor(w, requires_grad=True)
    loss = loss_of(
        tensor, torch.tensor(x1[:, :-1]), torch.tensor(va, dtype=torch.float64), torch.tensor(share)
    )
    (expected,) = torch.autograd.grad(loss, tensor)
    np.testing.assert_allclose(gradient(w, x1, va.astype(float), share), expected, atol=1e-12)


def test_adaptation_is_the_published_two_stages_step_by_step() -> None:
    """Pre-fine-tuning by the future loss, then fine-tuning, each step by autograd."""
    x, va, head = support(3, 10, 6)
    config = AdaptConfig()
    share = torch.tensor(np.where(va, 0.5 / va.sum(), 0.5 / (~va).sum()))
    tx, ty = torch.tensor(x.astype(np.float64)), torch.tensor(va, dtype=torch.float64)

    def step(w: torch.Tensor, size: float, pull: float = 0.0) -> torch.Tensor:
        w = w.detach().requires_grad_()
        loss = loss_of(w, tx, ty, share) + pull / 2 * ((w - start) ** 2).sum()
        (g,) = torch.autograd.grad(loss, w)
        return w.detach() - size * g

    start = torch.tensor(np.append(head.weights, head.bias))
    w = start.clone()
    for _ in range(config.rounds):
        w = step(step(w, config.inner_step), config.outer_step)
    for _ in range(config.steps):
        w = step(w, config.step, config.pull)
    fitted = adapt(head, x, va, config)
    np.testing.assert_allclose(np.append(fitted.weights, fitted.bias), w, atol=1e-6)


def test_adaptation_separates_the_support_set_better() -> None:
    x, va, head = support(7)
    fitted = adapt(head, x, va, AdaptConfig())
    before, after = head.logits(x), fitted.logits(x)
    assert after[va].mean() - after[~va].mean() > before[va].mean() - before[~va].mean()
    assert fitted.backbone_sha256 == head.backbone_sha256


def test_the_order_of_the_support_set_does_not_matter() -> None:
    x, va, head = support(11)
    order = np.random.default_rng(0).permutation(len(va))
    one, other = adapt(head, x, va, AdaptConfig()), adapt(head, x[order], va[order], AdaptConfig())
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-12)
    assert np.isclose(one.threshold, other.threshold)


def test_a_missing_class_and_nonsense_are_refused() -> None:
    x, va, head = support(1)
    with pytest.raises(CalibrationError, match="no VA window"):
        adapt(head, x[~va], va[~va], AdaptConfig())
    with pytest.raises(CalibrationError, match="no non-VA window"):
        adapt(head, x[va], va[va], AdaptConfig())
    x[0, 0] = np.nan
    with pytest.raises(CalibrationError, match="not finite"):
        adapt(head, x, va, AdaptConfig())


def test_the_operating_point_follows_the_patients_scores_within_bounds() -> None:
    rng = np.random.default_rng(5)
    va = np.arange(20) >= 10
    x = np.where(va, 1.0, -1.0)[:, None] + rng.normal(size=(20, 1)) / 10
    still = AdaptConfig(rounds=0, steps=0)

    def log_odds(bias: float, config: AdaptConfig = still) -> float:
        threshold = adapt(Head(np.array([3.0]), bias, 0.7, "b"), x, va, config).threshold
        return float(np.log(threshold / (1 - threshold)))

    start = np.log(0.7 / 0.3)
    middle = 3 * (x[va].mean() + x[~va].mean()) / 2
    assert np.isclose(log_odds(1.0), start + still.follow * (middle + 1.0))
    assert np.isclose(log_odds(1.0, AdaptConfig(rounds=0, steps=0, follow=0.0)), start)
    assert np.isclose(log_odds(50.0), start + MOST_MOVE)
    assert np.isclose(log_odds(-50.0), start - MOST_MOVE)

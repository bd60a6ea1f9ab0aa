"""The inner loop of the head: equal to the device's, and differentiable twice."""

import numpy as np
import pytest
import torch

from fewbeats.device.adapt import AdaptConfig, adapt, gradient
from fewbeats.device.head import Head
from fewbeats.training.maml import (
    STEP_NAMES,
    Losses,
    adapt_heads,
    embedded,
    head_only_losses,
    supervised_losses,
    task_difficulties,
)
from fewbeats.training.network import seeded_backbone

CONFIG = AdaptConfig(rounds=3, inner_step=0.3, outer_step=0.2, steps=4, step=0.4, pull=0.2)
SIZES = {name: getattr(CONFIG, name) for name in STEP_NAMES}
NAMES = ["made/1", "made/4", "calm/0", "calm/2"]


def support(seed: int, tasks: int, features: int):
    """(tasks, 11, features + 1) with a column of ones, and the classes of the 11."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tasks, 11, features))
    y = np.arange(11) >= 4
    x[:, y] += 1
    return np.concatenate([x, np.ones((tasks, 11, 1))], axis=2), y


def test_it_takes_the_steps_that_the_device_takes():
    x1, y = support(0, tasks=3, features=5)
    rng = np.random.default_rng(1)
    start = Head(rng.normal(size=5), 0.3, 0.5, "b")
    heads = adapt_heads(
        torch.tensor(np.append(start.weights, start.bias)).expand(3, -1),
        torch.tensor(x1),
        torch.tensor(y.astype(np.float64)),
        CONFIG,
        SIZES,
    ).numpy()
    for task in range(3):
        fitted = adapt(start, x1[task, :, :-1], y, CONFIG)
        np.testing.assert_allclose(heads[task, :-1], fitted.weights, rtol=1e-12)
        assert heads[task, -1] == pytest.approx(fitted.bias, rel=1e-12)


def leaves(seed: int = 1):
    """Head, features and step sizes, all in double precision and all to be differentiated."""
    x1, y = support(seed, tasks=2, features=3)
    rng = np.random.default_rng(seed)
    return (
        torch.tensor(rng.normal(size=4), requires_grad=True),
        torch.tensor(x1, requires_grad=True),
        torch.tensor([0.7, 0.5, 0.6, 0.1], dtype=torch.float64, requires_grad=True),
        torch.tensor(y.astype(np.float64)),
    )


def outer(start, x1, sizes, y, order: int = 2) -> torch.Tensor:
    query = torch.tensor(np.random.default_rng(2).normal(size=4))
    config = AdaptConfig(rounds=2, steps=3)
    named = dict(zip(STEP_NAMES, sizes, strict=True))
    heads = adapt_heads(start.expand(2, -1), x1, y, config, named, order)
    return torch.nn.functional.softplus(heads @ query).sum()


def test_its_gradient_is_second_order():
    """Against central differences, through the inner steps, to head, features and step sizes."""
    start, x1, sizes, y = leaves()
    assert torch.autograd.gradcheck(
        lambda *parts: outer(*parts, y), (start, x1, sizes), eps=1e-6, atol=1e-7
    )


def test_its_first_order_gradient_is_the_one_derived_by_hand():
    """With inner gradients g constant, dh/dh0 = 1, and the sizes' derivatives are sums of g.

    A step h <- h - s (g + p (h - h0)) shrinks what a derivative was before by 1 - s p.
    """
    start, x1, sizes, y = leaves()
    first, second = (
        torch.autograd.grad(outer(start, x1, sizes, y, order), [start, sizes]) for order in (1, 2)
    )
    inner, outside, step, pull = sizes.tolist()
    query = np.random.default_rng(2).normal(size=4)
    va = y.numpy()
    share = np.where(va > 0.5, 0.5 / va.sum(), 0.5 / (1 - va).sum())
    expected_start, expected_sizes = np.zeros(4), np.zeros(4)
    for task in range(2):
        x, h0 = x1[task].detach().numpy(), start.detach().numpy()
        h, moved = h0, np.zeros((4, 4))  # dh / d(inner, outside, step, pull)
        for _ in range(2):
            g = gradient(h, x, va, share)
            ahead = h - inner * g
            after = gradient(ahead, x, va, share)
            h = ahead - outside * after
            moved[0] -= g
            moved[1] -= after
        for _ in range(3):
            g = gradient(h, x, va, share)
            moved *= 1 - step * pull
            moved[2] -= g + pull * (h - h0)
            moved[3] -= step * (h - h0)
            h = h - step * (g + pull * (h - h0))
        slope = query / (1 + np.exp(-h @ query))
        expected_start += slope
        expected_sizes += moved @ slope
    np.testing.assert_allclose(first[0], expected_start, rtol=1e-10)
    np.testing.assert_allclose(first[1], expected_sizes, rtol=1e-10)
    assert not torch.allclose(first[0], second[0], rtol=0.05), "second order is another one"
    whole = outer(start, x1, sizes, y, order=1)
    (none,) = torch.autograd.grad(whole, [x1], allow_unused=True)
    assert none is None, "features are reached through inner gradients alone"


def cross_entropy(logits: np.ndarray, va: np.ndarray) -> float:
    return float(np.logaddexp(0, np.where(va, -logits, logits)).mean())


def test_losses_are_those_of_the_devices_own_adaptation(small, make_sampler):
    """Each task calibrated by ``device.adapt``, NumPy throughout, and scored on its query."""
    batch = make_sampler(small).draw(3, NAMES)
    network = seeded_backbone(small.network, 0).eval()
    rng = np.random.default_rng(5)
    weights, bias = rng.normal(size=6), 0.2
    head = torch.tensor(np.append(weights, bias)).float()
    start = Head(head[:-1].double().numpy(), float(head[-1]), 0.5, "b")
    shots = small.meta.shots
    with torch.no_grad():
        found = head_only_losses(network, head, batch, shots, CONFIG, SIZES)
        plain = supervised_losses(network, head, batch)
        hard = task_difficulties(network, head, batch, shots, CONFIG, SIZES)
        normals, va, prototypes = (
            part[..., :-1].double().numpy() for part in embedded(network, batch)
        )
    none, both, one_sided, everything = [], [], [], []
    for task in range(4):
        query = np.concatenate([normals[task, shots:], va[task, shots:]])
        y = np.arange(10) >= 5
        none.append(cross_entropy(start.logits(query), y))
        everything.append(
            cross_entropy(
                start.logits(np.concatenate([normals[task], va[task]])), np.arange(18) >= 9
            )
        )
        mine = np.concatenate([normals[task, :shots], prototypes])
        fitted = adapt(start, mine, np.arange(6) >= 4, CONFIG)
        one_sided.append(cross_entropy(fitted.logits(query), y))
        if task < 2:
            mine = np.concatenate([normals[task, :shots], va[task, :shots]])
            fitted = adapt(start, mine, np.arange(8) >= 4, CONFIG)
            both.append(cross_entropy(fitted.logits(query), y))
    assert float(found.none) == pytest.approx(np.mean(none), abs=1e-5)
    assert float(found.both_classes) == pytest.approx(np.mean(both), abs=1e-5)
    assert float(found.normals) == pytest.approx(np.mean(one_sided), abs=1e-5)
    assert float(found.total) == pytest.approx(
        np.mean(none) + np.mean(both) + np.mean(one_sided), abs=1e-5
    )
    assert float(plain.total) == pytest.approx(np.mean(everything), abs=1e-5)
    np.testing.assert_allclose(hard, [*both, *one_sided[2:]], atol=1e-5)


def test_an_objective_that_is_not_asked_for_is_not_counted():
    parts = Losses(torch.tensor(1.0), None, torch.tensor(2.0))
    assert float(parts.total) == 3


def test_gradients_reach_backbone_head_and_sizes(small, make_sampler):
    batch = make_sampler(small).draw(1, NAMES)
    network = seeded_backbone(small.network, 0).train()
    head = torch.zeros(7, requires_grad=True)
    sizes = {name: torch.tensor(0.3, requires_grad=True) for name in STEP_NAMES}
    total = head_only_losses(network, head, batch, 4, CONFIG, sizes).total
    reached = torch.autograd.grad(total, [*network.parameters(), head, *sizes.values()])
    assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in reached)

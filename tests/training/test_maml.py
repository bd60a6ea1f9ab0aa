"""The inner loop: equal to the device's, and differentiable twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewbeats.device.adapt import AdaptConfig, adapt
from fewbeats.device.head import Head
from fewbeats.errors import DataError
from fewbeats.training.config import AugmentConfig, MetaConfig, NetworkConfig, Recipe
from fewbeats.training.maml import MetaTrainer, adapt_heads
from fewbeats.training.tasks import TaskSampler

SMALL = Recipe(
    network=NetworkConfig(channels=(4, 8), kernels=(9, 5), strides=(4, 3), features=6),
    meta=MetaConfig(steps=20, tasks=4, va_tasks=3, shots=4, query=5, prototypes=6),
)


def sampler(subjects, recipe: Recipe = SMALL, seed: int = 0) -> TaskSampler:
    return TaskSampler(subjects, recipe.window, recipe.meta, recipe.augment, seed)


def support(rng: np.random.Generator, tasks: int = 3, features: int = 5):
    x = rng.normal(size=(tasks, 11, features))
    y = np.arange(11) >= 4
    x[:, y] += 1
    return x, y


def test_it_takes_the_steps_that_the_device_takes():
    rng = np.random.default_rng(0)
    x, y = support(rng)
    config = AdaptConfig(rounds=3, inner_step=0.3, outer_step=0.2, steps=4, step=0.4, pull=0.2)
    start = Head(rng.normal(size=5), 0.3, 0.5, "b")
    heads = adapt_heads(
        torch.tensor(np.append(start.weights, start.bias)).expand(3, -1),
        torch.tensor(np.concatenate([x, np.ones((3, 11, 1))], axis=2)),
        torch.tensor(y.astype(np.float64)),
        config,
    ).numpy()
    for task in range(3):
        fitted = adapt(start, x[task], y, config)
        np.testing.assert_allclose(heads[task, :-1], fitted.weights, rtol=1e-12)
        assert heads[task, -1] == pytest.approx(fitted.bias, rel=1e-12)


def test_its_gradient_is_second_order():
    """Against central differences, through the inner steps, to the head and to the features."""
    rng = np.random.default_rng(1)
    x, y = support(rng, tasks=2, features=3)
    x1 = torch.tensor(np.concatenate([x, np.ones((2, 11, 1))], axis=2), requires_grad=True)
    start = torch.tensor(rng.normal(size=4), requires_grad=True)
    query = torch.tensor(rng.normal(size=4))
    config = AdaptConfig(rounds=2, inner_step=0.7, outer_step=0.5, steps=3, step=0.6, pull=0.1)
    targets = torch.tensor(y.astype(np.float64))

    def loss(start: torch.Tensor, x1: torch.Tensor) -> torch.Tensor:
        heads = adapt_heads(start.expand(2, -1), x1, targets, config)
        return torch.nn.functional.softplus(heads @ query).sum()

    assert torch.autograd.gradcheck(loss, (start, x1), eps=1e-6, atol=1e-6)
    (whole,) = torch.autograd.grad(loss(start, x1), start)
    cut = adapt_heads(start.expand(2, -1).detach(), x1.detach(), targets, config)
    error = torch.sigmoid(cut @ query)
    first_order = (error[:, None] * query).sum(dim=0)
    assert not torch.allclose(whole, first_order, rtol=0.05), "first order would be this"


def test_the_same_seed_trains_the_same(made_subjects):
    def trained(seed: int) -> dict[str, torch.Tensor]:
        trainer = MetaTrainer(SMALL, sampler(made_subjects, seed=seed), seed)
        for _ in range(5):
            trainer.step()
        network, head = trainer.result()
        return network.state_dict() | {"head": head}

    one, same, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["head"], other["head"])


def test_the_order_of_subjects_decides_nothing_about_who_has_va(made_subjects):
    batch = sampler(made_subjects).draw()
    assert batch.normals.shape == (4, 9, 250)
    assert batch.va.shape == (3, 9, 250)
    assert batch.prototypes.shape == (6, 250)
    assert batch.others_va.shape == (1, 5, 250)


def test_windows_are_standardised_as_on_the_device(made_subjects):
    batch = sampler(made_subjects).draw()
    windows = batch.va.reshape(-1, 250)
    assert torch.allclose(windows.mean(dim=1), torch.zeros(len(windows)), atol=1e-5)
    assert torch.allclose(windows.square().mean(dim=1), torch.ones(len(windows)), atol=1e-4)


def test_without_disturbance_a_window_is_a_piece_of_its_stretch():
    recipe = replace(SMALL, augment=AugmentConfig(stretch=0, flip=0, noise=0, wander=0, clip=0))
    from fewbeats.training.tasks import Augmenter

    augmenter = Augmenter(recipe.window, recipe.augment)
    stretch = torch.sin(torch.arange(350) / 5.0).expand(3, -1)
    windows = augmenter(stretch, torch.Generator().manual_seed(0))
    for window in windows:
        fits = [
            torch.dot(window, augmenter.standardise(stretch[:1, i : i + 250])[0]) / 250
            for i in range(100)
        ]
        assert max(fits) > 0.99


def test_too_few_subjects_are_refused(made_subjects):
    few = {name: s for name, s in made_subjects.items() if name in ("made/0", "calm/0")}
    with pytest.raises(DataError, match="both VA and other"):
        sampler(few)
    ill = {name: s for name, s in made_subjects.items() if name.startswith("made")}
    with pytest.raises(DataError, match=r"lower meta\.tasks"):
        sampler(ill)
    bare = {"x/1": replace(next(iter(made_subjects.values())), stretches=None)}
    with pytest.raises(DataError, match="without stretches"):
        sampler(bare)

"""Full MAML: each task's own weights, and a gradient through the steps that made them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call
from torch.nn.functional import batch_norm, conv1d, relu

from fewbeats.training.config import NetworkConfig
from fewbeats.training.full_maml import HEAD, embed_each, full_losses
from fewbeats.training.maml import query_losses
from fewbeats.training.network import seeded_backbone
from fewbeats.training.tasks import Batch

TINY = NetworkConfig(channels=(3, 4), kernels=(5, 3), strides=(3, 2), features=3)
SHOTS = 3
layers = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from([1, 3, 5]), st.integers(1, 3)),
    min_size=1,
    max_size=3,
)


def batch_of(tasks: int, own: int, seed: int = 0) -> Batch:
    """Made windows in double precision: SHOTS support and four query windows a class."""
    rng = torch.Generator().manual_seed(seed)

    def windows(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, 40, generator=rng, dtype=torch.float64)

    return Batch(
        windows(tasks, SHOTS + 4), windows(tasks, SHOTS + 4) + 0.5, own, windows(2),
        tasks, own, 2,
    )  # fmt: skip


def model(seed: int = 0):
    """A tiny backbone, a head and step sizes, in double precision."""
    network = seeded_backbone(TINY, seed).double().train()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
            parameter.add_(0.1 * noise)
    head = torch.randn(4, generator=rng, dtype=torch.float64).requires_grad_()
    names = [*(name for name, _ in network.named_parameters()), HEAD]
    sizes = {
        name: torch.tensor(0.1 + 0.02 * i, dtype=torch.float64, requires_grad=True)
        for i, name in enumerate(names)
    }
    return network, head, sizes


@pytest.mark.parametrize(("tasks", "own"), [(3, 2), (2, 2), (2, 0)])
def test_its_second_order_gradient_is_that_of_central_differences(tasks, own):
    """To every weight, the head and the step sizes, through two inner steps of all of them."""
    batch = batch_of(tasks, own)
    network, head, sizes = model()
    points = [*network.parameters(), head, *sizes.values()]

    def loss(order: int = 2) -> torch.Tensor:
        return full_losses(network, head, batch, SHOTS, sizes, 2, order).total

    exact = torch.autograd.grad(loss(), points)
    rng = torch.Generator().manual_seed(3)
    eps = 1e-6
    for tensor, slope in zip(points, exact, strict=True):
        # A random direction a tensor: any wrong entry shows. In double precision the rounding
        # of a difference is about 1e-16 / eps = 1e-10; no kink of a ReLU lies within eps here.
        way = torch.randn(tensor.shape, generator=rng, dtype=torch.float64)
        with torch.no_grad():
            tensor.add_(eps * way)
        above = loss().item()
        with torch.no_grad():
            tensor.sub_(2 * eps * way)
        below = loss().item()
        with torch.no_grad():
            tensor.add_(eps * way)
        measured = (above - below) / (2 * eps)
        assert (slope * way).sum().item() == pytest.approx(measured, rel=1e-5, abs=1e-7)
    cut = torch.autograd.grad(loss(order=1), points)
    assert loss(order=1).item() == pytest.approx(loss().item(), rel=1e-12)
    weights = len(points) - len(sizes)
    one, other = (torch.cat([g.flatten() for g in found[:weights]]) for found in (cut, exact))
    assert not torch.allclose(one, other, rtol=0.05)


def by_hand(network, head, batch: Batch, sizes, inner_steps: int, order: int) -> torch.Tensor:
    """One task with PyTorch's own layers: its pooled statistics are its own."""
    names = [name for name, _ in network.named_parameters()]
    weights = dict(network.named_parameters()) | {HEAD: head}

    def loss(weights, normals, va):
        both = torch.cat([normals, va]).unsqueeze(1)
        embeddings = functional_call(network, {name: weights[name] for name in names}, (both,))
        logits = embeddings @ weights[HEAD][:-1] + weights[HEAD][-1]
        y = torch.cat([torch.zeros(len(normals)), torch.ones(len(va))]).double()
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, y)

    for _ in range(inner_steps):
        inner = loss(weights, batch.normals[0, :SHOTS], batch.va[0, :SHOTS])
        slopes = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
        slopes = slopes if order == 2 else [slope.detach() for slope in slopes]
        weights = {
            name: value - sizes[name] * slope
            for (name, value), slope in zip(weights.items(), slopes, strict=True)
        }
    return loss(weights, batch.normals[0, SHOTS:], batch.va[0, SHOTS:])


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_one_task_goes_the_way_of_the_textbook(order, inner_steps):
    batch = batch_of(1, 1)
    network, head, sizes = model(1)
    points = [*network.parameters(), head, *sizes.values()]
    mine = full_losses(network, head, batch, SHOTS, sizes, inner_steps, order).total
    theirs = by_hand(network, head, batch, sizes, inner_steps, order)
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-10)
    for one, other in zip(
        torch.autograd.grad(mine, points), torch.autograd.grad(theirs, points), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_who_has_no_va_is_adapted_from_prototypes():
    """One such task is one with VA of its own whose support is the prototypes, again and again."""
    network, head, sizes = model(2)
    calm = batch_of(1, 0)
    support = calm.prototypes[torch.tensor([0, 1, 0])]
    own = replace(
        calm, va=torch.cat([support[None], calm.va[:, SHOTS:]], dim=1), own_va=1, own_va_in_all=1
    )
    one, other = (
        full_losses(network, head, batch, SHOTS, sizes, 2).total.item() for batch in (calm, own)
    )
    assert one == pytest.approx(other, rel=1e-12)


def each_by_hand(network, weights, windows):
    """Task after task with PyTorch's functions; BatchNorm over the windows of all."""
    values = [task.unsqueeze(1) for task in windows]

    def normalised(values, name):
        sizes = [len(v) for v in values]
        flat = batch_norm(torch.cat(values), None, None, training=True)
        shape = (-1, *[1] * (flat.ndim - 2))
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return [
            v * scale[t].reshape(shape) + shift[t].reshape(shape)
            for t, v in enumerate(flat.split(sizes))
        ]

    for number, layer in enumerate(network.convolutions):
        name = f"convolutions.{number}"
        if isinstance(layer, torch.nn.Conv1d):
            kernel = weights[f"{name}.weight"]
            values = [
                conv1d(v, kernel[t], None, layer.stride, layer.padding, groups=layer.groups)
                for t, v in enumerate(values)
            ]
        elif isinstance(layer, torch.nn.BatchNorm1d):
            values = normalised(values, name)
        else:
            values = [relu(v) for v in values]
    projected = [v.mean(dim=2) @ weights["project.weight"][t].T for t, v in enumerate(values)]
    return torch.stack(normalised(projected, "scale"))


@given(layers, st.integers(1, 3), st.booleans())
@settings(deadline=None, max_examples=40)
def test_embedding_each_task_with_its_own_weights_is_embedding_them_one_by_one(rows, tasks, alike):
    """For any channels, kernels and strides; with equal weights it is the network's own pass."""
    channels, kernels, strides = zip(*rows, strict=True)
    config = NetworkConfig(channels=channels, kernels=kernels, strides=strides, features=3)
    network = seeded_backbone(config, 0).double().train()
    twin = seeded_backbone(config, 0).double().train()
    rng = torch.Generator().manual_seed(1)
    windows = torch.randn(tasks, 4, 30, generator=rng, dtype=torch.float64)
    weights = {
        name: value.detach()
        + (0 if alike else 1) * torch.randn(tasks, *value.shape, generator=rng, dtype=torch.float64)
        for name, value in network.named_parameters()
    }
    found = embed_each(network, weights, windows, track=True)
    assert (found[..., -1] == 1).all()
    expected = each_by_hand(network, weights, windows)
    torch.testing.assert_close(found[..., :-1], expected, rtol=1e-6, atol=1e-8)
    if alike:
        own = twin(windows.reshape(-1, 1, 30)).reshape(tasks, 4, 3)
        torch.testing.assert_close(found[..., :-1], own, rtol=1e-6, atol=1e-8)
        for name, value in twin.named_buffers():
            if value.is_floating_point():
                torch.testing.assert_close(network.get_buffer(name), value, rtol=1e-9, atol=1e-12)


def test_running_statistics_are_of_the_start_weights_support_alone():
    """Deployment embeds with the start's weights; adapted ones would leave other traces."""
    batch, (network, head, sizes) = batch_of(2, 2), model()
    twin, _, _ = model()
    full_losses(network, head, batch, SHOTS, sizes, 3).total.backward()
    both = torch.cat([batch.normals[:, :SHOTS], batch.va[:, :SHOTS]], dim=1)
    twin(both.reshape(-1, 1, 40))
    for name, value in twin.named_buffers():
        if value.is_floating_point():
            torch.testing.assert_close(network.get_buffer(name), value)
    before = {name: value.clone() for name, value in network.named_buffers()}
    weights = {name: value.expand(2, *value.shape) for name, value in network.named_parameters()}
    embed_each(network, weights, both, track=False)
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())


def test_inner_steps_help_on_their_own_support():
    batch, (network, head, sizes) = batch_of(3, 3), model()
    repeated = replace(
        batch,
        normals=batch.normals[:, :SHOTS].repeat(1, 2, 1),
        va=batch.va[:, :SHOTS].repeat(1, 2, 1),
    )
    after = [
        full_losses(network, head, repeated, SHOTS, sizes, steps).total.item() for steps in (1, 4)
    ]
    weights = {name: value.expand(3, *value.shape) for name, value in network.named_parameters()}
    both = torch.cat([repeated.normals[:, :SHOTS], repeated.va[:, :SHOTS]], dim=1)
    x1 = embed_each(network, weights, both, track=False)
    before = query_losses(head.expand(3, -1), x1[:, :SHOTS], x1[:, SHOTS:]).mean()
    assert after[1] < after[0] < before.item()

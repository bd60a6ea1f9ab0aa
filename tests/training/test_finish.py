"""Quantisation-aware finishing: on int8's grid, and better there than before."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from fewbeats.errors import DataError
from fewbeats.export.onnx import export_onnx
from fewbeats.export.quantize import quantize
from fewbeats.training.config import FinishConfig, NetworkConfig
from fewbeats.training.finish import RoundedBackbone, finish
from fewbeats.training.maml import STEP_NAMES, head_only_losses
from fewbeats.training.network import seeded_backbone
from fewbeats.training.parallel import Place
from fewbeats.training.trainer import MetaTrainer

NAMES = ["made/1", "made/4", "calm/0", "calm/2"]


@pytest.fixture(scope="module")
def met(small, make_sampler, made_subjects):
    """A short training's folded network, head and adaptation; the windows that set ranges."""
    recipe = replace(small, meta=replace(small.meta, steps=30))
    trainer = MetaTrainer(recipe, make_sampler(recipe), 0)
    for _ in range(30):
        trainer.step()
    network, head, adapt = trainer.result()
    windows = np.concatenate([s.windows for s in made_subjects.values()])
    return network.folded(), head, adapt, torch.from_numpy(windows)


def finished(met, recipe, make_sampler, report=lambda step, loss: None):
    network, head, adapt, windows = met
    return finish(network, head, adapt, recipe, make_sampler(recipe), windows, 0, Place(), report)


def test_rounded_values_lie_on_a_grid(met):
    network, _, _, windows = met
    rounded = RoundedBackbone(network, windows)
    with torch.no_grad():
        out = rounded(windows)
    levels = torch.unique(out)
    assert 20 < len(levels) <= 256
    step = (levels[1:] - levels[:-1]).min()
    places = levels / step  # zero is on the grid
    torch.testing.assert_close(places, places.round(), rtol=0, atol=0.02)
    plain = network(windows)
    assert 0 < (out - plain).abs().max() < 0.1 * (plain.max() - plain.min())


def test_every_weight_and_activation_is_rounded(met):
    """With the rounded weights put in, the layers' inputs are what int8 would hold: 256 levels."""
    network, _, _, windows = met
    rounded = RoundedBackbone(network, windows)
    seen = []
    original = torch.nn.functional.conv1d
    linear = torch.nn.functional.linear

    def watching(function):
        def call(values, weight, *rest):
            seen.append((values.detach(), weight.detach()))
            return function(values, weight, *rest)

        return call

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch.nn.functional, "conv1d", watching(original))
        patch.setattr(torch.nn.functional, "linear", watching(linear))
        rounded(windows)
    assert len(seen) == 4
    for values, weight in seen:
        assert len(torch.unique(values)) <= 256
        for channel in weight.flatten(1):
            scale = channel.abs().max() / 64
            places = channel / scale
            torch.testing.assert_close(places, places.round(), rtol=0, atol=1e-3)
            assert len(torch.unique(channel)) <= 129


def test_it_computes_what_the_exported_int8_graph_computes(met):
    """But for a value here and there that lies between two levels, and is rounded to the other."""
    network, _, _, windows = met
    graph = quantize(export_onnx(network, windows.shape[2]), windows.numpy())
    exported = InferenceSession(graph, providers=["CPUExecutionProvider"]).run(
        None, {"windows": windows.numpy()}
    )[0]
    with torch.no_grad():
        rounded = RoundedBackbone(network, windows)(windows).numpy()
        plain = network(windows).numpy()
    level = np.ptp(plain) / 255
    apart, before = np.abs(rounded - exported), np.abs(plain - exported)
    assert (apart < level / 2).mean() > 0.9
    assert apart.max() < 3 * level
    assert apart.mean() < before.mean() / 3


def test_the_gradient_passes_as_if_nothing_were_rounded(met):
    network, _, _, windows = met
    plain, rounded = deepcopy(network), RoundedBackbone(network, windows)
    for model in (plain, rounded):
        model(windows[:60]).square().mean().backward()
    for one, other in zip(plain.parameters(), rounded.inner.parameters(), strict=True):
        assert torch.cosine_similarity(one.grad.flatten(), other.grad.flatten(), dim=0) > 0.95


def test_the_network_that_was_handed_in_stays_as_it_was(met, small, make_sampler):
    before = deepcopy(met[0].state_dict()), met[1].clone()
    network, head = finished(met, small, make_sampler)
    assert all(torch.equal(v, before[0][k]) for k, v in met[0].state_dict().items())
    assert torch.equal(met[1], before[1])
    assert any(not torch.equal(v, before[0][k]) for k, v in network.state_dict().items())
    assert not head.requires_grad and not network.training


@pytest.mark.parametrize("method", ["anil", "supervised", "maml"])
def test_rounding_costs_less_afterwards(met, small, make_sampler, method):
    recipe = replace(
        small,
        meta=replace(small.meta, method=method),
        finish=FinishConfig(steps=30, learning_rate=0.003),
    )
    told = []
    network, head = finished(met, recipe, make_sampler, lambda *now: told.append(now))
    assert [step for step, _ in told] == list(range(1, 31))
    sampler = make_sampler(small, seed=9)

    def rounded_loss(network, head) -> float:
        model = RoundedBackbone(network, met[3])
        sizes = {name: getattr(met[2], name) for name in STEP_NAMES}
        with torch.no_grad():
            losses = [
                head_only_losses(model, head, sampler.draw(n, NAMES), 4, met[2], sizes)
                for n in range(8)
            ]
        parts = ("none",) if method == "supervised" else ("none", "both_classes", "normals")
        return float(np.mean([float(getattr(x, part)) for x in losses for part in parts]))

    assert rounded_loss(network, head) < rounded_loss(met[0], met[1])


def test_the_same_seed_finishes_the_same(met, small, make_sampler):
    one, again = finished(met, small, make_sampler), finished(met, small, make_sampler)
    assert torch.equal(one[1], again[1])
    other = one[0].state_dict()
    assert all(torch.equal(v, other[k]) for k, v in again[0].state_dict().items())


def test_finishing_that_diverges_is_an_error(met, small, make_sampler):
    network, head, *rest = met
    broken = head.clone()
    broken[0] = float("inf")
    with pytest.raises(DataError, match=r"lower finish\.learning_rate"):
        finished((network, broken, *rest), small, make_sampler)


def test_ranges_hold_zero_and_a_dead_layer_is_no_harm():
    config = NetworkConfig(channels=(3, 4), kernels=(5, 3), strides=(3, 2), features=3)
    network = seeded_backbone(config, 0).folded()
    with torch.no_grad():
        for convolution in network.convolutions:
            convolution.bias.fill_(-100.0)
    windows = torch.randn(5, 1, 250, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(RoundedBackbone(network, windows)(windows)).all()

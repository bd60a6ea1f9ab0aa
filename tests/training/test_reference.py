"""The published network: its size, its cost, and that it can be scored like ours."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewbeats.errors import DataError
from fewbeats.training.config import NetworkConfig, Recipe
from fewbeats.training.network import cost, finished_backbone, seeded_backbone
from fewbeats.training.reference import ReferenceBackbone

CONFIG = NetworkConfig(kind="reference", features=64, dropout=0.1)


def test_it_is_as_large_as_the_published_one():
    """The released code of MetaVA with widths of 64: 315 202 parameters are used, 130 of them in
    its two-class head. Its cost is given for 2 s at 200 Hz; of the 17.42 M multiply-accumulates
    there, 128 are the head's.
    """
    parameters, macs = cost(finished_backbone(CONFIG), 400)
    assert parameters == 315_202 - 130
    assert macs + 128 == 17_415_296


@pytest.mark.parametrize("samples", [250, 400])
def test_windows_become_embeddings(samples):
    network = seeded_backbone(CONFIG, 1)
    assert isinstance(network, ReferenceBackbone) and network.training
    windows = torch.from_numpy(
        np.random.default_rng(0).standard_normal((5, 1, samples)).astype(np.float32)
    )
    found = network.eval()(windows)
    assert found.shape == (5, 64) and torch.isfinite(found).all()
    torch.testing.assert_close(found[2:3], network(windows[2:3]), rtol=1e-4, atol=1e-5)


def test_its_finished_form_is_a_copy_that_no_longer_learns_statistics_or_drops_anything():
    network = seeded_backbone(CONFIG, 1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    finished = network.folded()
    assert network.training and not any(module.training for module in finished.modules())
    windows = torch.randn(8, 1, 250, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(finished(windows), finished(windows))
        for value in finished.parameters():
            value.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_depend_on_the_seed_alone():
    one, same, other = (seeded_backbone(CONFIG, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["mix.weight"], other["mix.weight"])


def test_it_is_not_trained_by_full_maml():
    recipe = replace(Recipe(), network=CONFIG)
    with pytest.raises(DataError, match="separable"):
        replace(recipe, meta=replace(recipe.meta, method="maml"))

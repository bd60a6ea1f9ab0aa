"""The backbone: what it costs, what it becomes, and that its seed decides it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbeats.training.config import NetworkConfig
from fewbeats.training.network import cost, finished_backbone, seeded_backbone

SMALL = NetworkConfig(channels=(4, 8), kernels=(9, 5), strides=(4, 3), features=6)
layers = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from([1, 3, 5, 9]), st.integers(1, 3)),
    min_size=1,
    max_size=3,
)


def used(config: NetworkConfig):
    """A backbone whose statistics are those of some data, so that folding has work to do."""
    network = seeded_backbone(config, 1).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.3).add_(0.05)
        for seed in range(3):
            windows = torch.randn(9, 1, 60, generator=torch.Generator().manual_seed(seed))
            network(3 * windows + 1)
    return network


@given(layers, st.integers(1, 4))
@settings(deadline=None, max_examples=25)
def test_folding_changes_nothing(rows, features):
    channels, kernels, strides = zip(*rows, strict=True)
    config = NetworkConfig(channels=channels, kernels=kernels, strides=strides, features=features)
    network = used(config)
    windows = torch.randn(7, 1, 60, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        expected = network.eval()(windows)
        folded = network.folded()
        torch.testing.assert_close(folded(windows), expected, rtol=1e-5, atol=1e-5)
    assert all(parameter.requires_grad for parameter in folded.parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in folded.modules())
    shaped = finished_backbone(config)
    assert {k: v.shape for k, v in shaped.state_dict().items()} == {
        k: v.shape for k, v in folded.state_dict().items()
    }


def test_what_a_window_costs():
    # 250 samples leave the first convolution as 63, the second as 21.
    first, filters, mixing, last = 4 * 63 * 9, 4 * 21 * 5, 8 * 21 * 4, 6 * 8
    network = seeded_backbone(SMALL, 0)
    weights = 4 * 9 + 4 * 5 + 8 * 4 + 6 * 8
    norms = 2 * (4 + 4 + 8 + 6)
    assert cost(network.eval(), 250) == (weights + norms, first + filters + mixing + last)
    biases = 4 + 4 + 8 + 6
    assert cost(network.folded(), 250) == (weights + biases, first + filters + mixing + last)
    assert not network.project._forward_hooks


def test_the_default_is_small_enough_for_a_microcontroller():
    parameters, macs = cost(seeded_backbone(NetworkConfig(), 0).eval(), 250)
    assert parameters < 20_000
    assert macs < 1_000_000


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(5)
    one = seeded_backbone(SMALL, 3).state_dict()
    after = torch.rand(1)
    torch.manual_seed(6)
    again = seeded_backbone(SMALL, 3).state_dict()
    other = seeded_backbone(SMALL, 4).state_dict()
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["project.weight"], other["project.weight"])
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after), "and it leaves other draws as they were"


@pytest.mark.parametrize("samples", [1, 2, 250])
def test_windows_of_any_length_become_as_many_features(samples):
    network = seeded_backbone(SMALL, 0).eval()
    assert network(torch.zeros(3, 1, samples)).shape == (3, 6)

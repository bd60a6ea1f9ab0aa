"""The backbone: a depthwise-separable 1-D CNN from one window to one embedding.

It is built of what folds and quantises without loss of rank: convolutions with BatchNorm and
ReLU, a mean over time, one linear layer. After the first convolution each one filters its
channels one by one and then mixes them (Howard et al., MobileNets, arXiv 1704.04861, 2017).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from fewbeats.training.config import NetworkConfig
from fewbeats.training.parallel import PooledBatchNorm
from fewbeats.training.reference import ReferenceBackbone


class Backbone(nn.Module):
    """(windows, 1, samples) to (windows, features), in training."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for channels, kernel, stride in zip(
            config.channels, config.kernels, config.strides, strict=True
        ):
            # One channel in: filtering and mixing are the same thing.
            filters = channels if before == 1 else before
            layers += [
                nn.Conv1d(before, filters, kernel, stride, kernel // 2, groups=before, bias=False),
                PooledBatchNorm(filters),
                nn.ReLU(),
            ]
            if before > 1:
                layers += [
                    nn.Conv1d(before, channels, 1, bias=False),
                    PooledBatchNorm(channels),
                    nn.ReLU(),
                ]
            before = channels
        self.convolutions = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(before, config.features, bias=False)
        # Features of unit variance suit one step size of the head, whatever the subject.
        self.scale = PooledBatchNorm(config.features)

    def forward(self, windows: Tensor) -> Tensor:
        """Embed windows."""
        pooled = self.convolutions(windows).mean(dim=2)
        embeddings: Tensor = self.scale(self.project(self.dropout(pooled)))
        return embeddings

    def folded(self) -> "FoldedBackbone":
        """What this network computes in evaluation mode, its BatchNorms folded into weights."""
        return FoldedBackbone.of(self)


class FoldedBackbone(nn.Module):
    """A finished backbone: convolutions with bias, ReLU, mean, one linear layer.

    This is what is embedded with, exported and fine-tuned; it has no statistics that a few
    windows could disturb.
    """

    def __init__(self, convolutions: list[nn.Conv1d], project: nn.Linear) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.project = project

    @classmethod
    def of(cls, network: Backbone) -> "FoldedBackbone":
        """Fold a trained network."""
        with torch.no_grad():
            ready = network.eval()
            layers: list[Any] = list(ready.convolutions)
            folded: list[Any] = [
                fuse_conv_bn_eval(conv, norm)
                for conv, norm in zip(layers[::3], layers[1::3], strict=True)
            ]
            project: Any = fuse_linear_bn_eval(ready.project, ready.scale)
        # Biases that come of folding alone are made as constants; finishing moves them too.
        return cls(folded, project).requires_grad_().eval()

    def forward(self, windows: Tensor) -> Tensor:
        """Embed windows."""
        for convolution in self.convolutions:
            windows = torch.relu(convolution(windows))
        embeddings: Tensor = self.project(windows.mean(dim=2))
        return embeddings


def seeded_backbone(config: NetworkConfig, seed: int) -> Backbone | ReferenceBackbone:
    """A new backbone whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.kind == "reference":
            return ReferenceBackbone(config.features, config.dropout)
        return Backbone(config)


def finished_backbone(config: NetworkConfig) -> FoldedBackbone | ReferenceBackbone:
    """One of the shape that a training ends with, whose weights mean nothing yet."""
    return seeded_backbone(config, 0).folded()


def cost(network: nn.Module, samples: int) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one window.

    Counted are convolutions, linear layers and the projections of attention, as the published
    figures count them; not the products of queries, keys and values.
    """
    macs = 0

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv1d):
            each = layer.in_channels // layer.groups * layer.kernel_size[0]
            macs += output[0].numel() * each
        elif isinstance(layer, nn.Linear):
            macs += output[0].numel() * layer.in_features
        elif isinstance(layer, nn.MultiheadAttention):
            macs += 4 * output[0][0].numel() * layer.embed_dim

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.no_grad():
        network(torch.zeros(1, 1, samples))
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for p in network.parameters()), macs

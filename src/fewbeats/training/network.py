"""The backbone: a depthwise-separable 1-D CNN from one window to one embedding.

It is built of what folds and quantises without loss of rank: convolutions with BatchNorm and
ReLU, a mean over time, one linear layer. After the first convolution each one filters its
channels one by one and then mixes them (Howard et al., MobileNets, arXiv 1704.04861, 2017).
"""

import torch
from torch import Tensor, nn

from fewbeats.training.config import NetworkConfig


class Backbone(nn.Module):
    """(windows, 1, samples) to (windows, features)."""

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
                nn.BatchNorm1d(filters),
                nn.ReLU(),
            ]
            if before > 1:
                layers += [
                    nn.Conv1d(before, channels, 1, bias=False),
                    nn.BatchNorm1d(channels),
                    nn.ReLU(),
                ]
            before = channels
        self.convolutions = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(before, config.features, bias=False)
        # Features of unit variance suit one step size of the head, whatever the subject.
        self.scale = nn.BatchNorm1d(config.features)

    def forward(self, windows: Tensor) -> Tensor:
        """Embed windows."""
        pooled = self.convolutions(windows).mean(dim=2)
        embeddings: Tensor = self.scale(self.project(self.dropout(pooled)))
        return embeddings


def seeded_backbone(config: NetworkConfig, seed: int) -> Backbone:
    """A new backbone whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(config)

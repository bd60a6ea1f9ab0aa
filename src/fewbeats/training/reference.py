"""The published network, as a yardstick: convolutions and one transformer layer.

As the paper and its code describe it (MetaVA, PLOS Digital Health 4(10): e0001037, 2025): two
convolutions of different width side by side, averaged; pooling; a third convolution; a mean
down to 50 steps; one transformer encoder layer with PyTorch's default feed-forward width of
2048; a mean over time. The second, unused copy of that layer is left out, and so is the
two-class head: our head takes its place.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from fewbeats.training.parallel import PooledBatchNorm

_WIDTH = 64  # channels after the first convolutions
_STEPS = 50  # of time that the transformer sees
_HEADS = 4


class ReferenceBackbone(nn.Module):
    """(windows, 1, samples) to (windows, features)."""

    def __init__(self, features: int, dropout: float) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(1, _WIDTH, 5, stride=2, padding=2, bias=False)
        self.wide = nn.Conv1d(1, _WIDTH, 9, stride=2, padding=4, bias=False)
        self.norm = PooledBatchNorm(_WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.mix = nn.Conv1d(_WIDTH, features, 8, padding=4, bias=False)
        self.mix_norm = PooledBatchNorm(features)
        self.encoder = nn.TransformerEncoderLayer(features, _HEADS, batch_first=True)

    def forward(self, windows: Tensor) -> Tensor:
        """Embed windows."""
        both = (self.narrow(windows) + self.wide(windows)) / 2
        pooled = nn.functional.max_pool1d(torch.relu(self.norm(both)), 2)
        mixed = torch.relu(self.mix_norm(self.mix(self.dropout(pooled))))
        steps = nn.functional.adaptive_avg_pool1d(mixed, _STEPS)
        embeddings: Tensor = self.encoder(steps.transpose(1, 2)).mean(dim=1)
        return embeddings

    def folded(self) -> "ReferenceBackbone":
        """A copy in evaluation mode; this one is compared, not exported."""
        return deepcopy(self).eval()

"""Fine-tuning of every weight to a subject: what the device does not do, for comparison."""

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fewbeats.device.adapt import moved_threshold
from fewbeats.device.head import log_odds
from fewbeats.training.datasets import Subject
from fewbeats.training.evaluate import Judged, Support
from fewbeats.training.finish import RoundedBackbone
from fewbeats.training.maml import class_share
from fewbeats.training.network import FoldedBackbone
from fewbeats.training.trained import Trained, embed_windows

STEPS = 40
LEARNING_RATE = 5e-4
WEIGHT_DECAY = 1e-4


class FullTuning:
    """A judge that fits a copy of backbone and head to each support.

    Adam with the step size and decay of the published code (MetaVA); a fixed number of steps
    stands for its early stopping, which spends as many labelled windows again. BatchNorms, where
    there are any, keep their statistics.
    """

    def __init__(self, trained: Trained, range_windows: NDArray[np.float32] | None = None) -> None:
        """Tune copies of a trained network.

        Args:
            trained: backbone, head and prototypes.
            range_windows: (windows, 1, samples) of training subjects; given, the tuned network
                is judged as its int8 form would be, by imitation.
        """
        self._trained = trained
        self._ranges = None if range_windows is None else torch.from_numpy(range_windows)

    def judge(self, subject: Subject, support: NDArray[np.int64], kind: Support) -> Judged:
        """Fine-tune on the support, then judge every window."""
        trained = self._trained
        network = deepcopy(trained.network).eval()
        head = torch.tensor(np.append(trained.weights, trained.bias), dtype=torch.float32)
        windows, va = subject.windows[support], subject.va[support]
        if kind is not Support.NONE:
            if kind is Support.NORMALS:
                windows = np.concatenate([windows, trained.prototype_windows])
                va = np.concatenate([va, np.ones(len(trained.prototype_windows), dtype=np.bool_)])
            head = _tuned(network, head, windows, va)
        if self._ranges is not None and isinstance(network, FoldedBackbone):
            network = RoundedBackbone(network, self._ranges).eval()
        threshold = trained.start.threshold
        if kind is not Support.NONE:
            # The operating point follows the patient as it does on the device.
            threshold = moved_threshold(
                threshold, _scores(network, head, windows), va, trained.adapt.follow
            )
        return Judged(_scores(network, head, subject.windows), log_odds(threshold))


def _scores(
    network: nn.Module, head: torch.Tensor, windows: NDArray[np.float32]
) -> NDArray[np.float64]:
    embeddings = embed_windows(network, windows).astype(np.float64)
    return embeddings @ head[:-1].numpy().astype(np.float64) + float(head[-1])


def _tuned(
    network: nn.Module, head: torch.Tensor, windows: NDArray[np.float32], va: NDArray[np.bool_]
) -> torch.Tensor:
    x, y = torch.from_numpy(windows), torch.from_numpy(va.astype(np.float32))
    share = class_share(y)
    head = head.clone().requires_grad_()
    optimizer = torch.optim.Adam(
        [*network.parameters(), head], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    for _ in range(STEPS):
        logits = network(x) @ head[:-1] + head[-1]
        losses = nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
        optimizer.zero_grad()
        (share * losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return head.detach()

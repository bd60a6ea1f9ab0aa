"""Second-order meta-training in which only the head adapts (ANIL).

Deployment freezes the backbone and fits the head, so the inner loop does just that, with the
very steps of ``device.adapt``, unrolled; the outer step moves backbone and head start through
them (Finn et al., ICML 2017; Raghu et al., ICLR 2020; the look-ahead of pre-fine-tuning is
MetaVA's, PLOS Digital Health 4(10): e0001037, 2025).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fewbeats.device.adapt import AdaptConfig
from fewbeats.training.config import Recipe
from fewbeats.training.network import Backbone, seeded_backbone
from fewbeats.training.tasks import Batch, TaskSampler

_WARM_UP = 0.1  # share of the steps in which the learning rate rises
_HEAD_DECAY = 1e-3
_CLIP_NORM = 5.0


def adapt_heads(start: Tensor, x1: Tensor, y: Tensor, config: AdaptConfig) -> Tensor:
    """``device.adapt.adapt`` for many tasks at once, and differentiable.

    Args:
        start: (tasks, features + 1), the bias last.
        x1: (tasks, windows, features + 1), the last column ones.
        y: (windows,) 0 or 1, the same for all tasks.
        config: step sizes and counts.

    Returns:
        (tasks, features + 1); its graph reaches ``start`` and ``x1``.
    """
    share = class_share(y)

    def gradient(heads: Tensor) -> Tensor:
        error = share * (torch.sigmoid(torch.einsum("tnf,tf->tn", x1, heads)) - y)
        return torch.einsum("tnf,tn->tf", x1, error)

    heads = start
    for _ in range(config.rounds):
        ahead = heads - config.inner_step * gradient(heads)
        heads = ahead - config.outer_step * gradient(ahead)
    for _ in range(config.steps):
        heads = heads - config.step * (gradient(heads) + config.pull * (heads - start))
    return heads


def class_share(y: Tensor) -> Tensor:
    """Weights that sum to one, half of it for each class."""
    return torch.where(y > 0.5, 0.5 / y.sum(), 0.5 / (1 - y).sum())


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean query losses of one step, by what the support held."""

    none: float
    both_classes: float
    normals: float

    @property
    def total(self) -> float:
        """What the step went down on."""
        return self.none + self.both_classes + self.normals


class MetaTrainer:
    """A backbone and a head start in training, and the running mean of both."""

    def __init__(self, recipe: Recipe, sampler: TaskSampler, seed: int) -> None:
        self._recipe = recipe
        self._sampler = sampler
        self._network = seeded_backbone(recipe.network, seed)
        self._head = torch.zeros(recipe.network.features + 1, requires_grad=True)
        meta = recipe.meta
        self._optimizer = torch.optim.AdamW(
            [
                {"params": self._network.parameters(), "weight_decay": meta.weight_decay},
                {"params": [self._head], "weight_decay": _HEAD_DECAY},
            ],
            lr=meta.learning_rate,
        )
        # The schedule counts one step more than is taken: it starts before the first.
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, meta.learning_rate, total_steps=meta.steps + 1, pct_start=_WARM_UP
        )
        self._mean = seeded_backbone(recipe.network, seed).eval()
        self._mean_head = torch.zeros_like(self._head, requires_grad=False)
        self.steps_done = 0

    def step(self) -> Losses:
        """One outer step."""
        self._network.train()
        batch = self._sampler.draw()
        none, both, normals = self._losses(batch)
        self._optimizer.zero_grad()
        (none + both + normals).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP_NORM)
        self._optimizer.step()
        self._schedule.step()
        self.steps_done += 1
        self._average()
        return Losses(none.item(), both.item(), normals.item())

    def result(self) -> tuple[Backbone, Tensor]:
        """The running means so far: the backbone, in evaluation mode, and the head's start."""
        return self._mean, self._mean_head

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        shots, config = self._recipe.meta.shots, self._recipe.adapt
        normals, va, prototypes, others_va = self._embedded(batch)
        tasks, own = len(normals), len(va)
        start = self._head.expand(tasks, -1)

        both = torch.cat([normals[:own, :shots], va[:, :shots]], dim=1)
        heads = adapt_heads(start[:own], both, _classes(shots, shots), config)
        query_own = torch.cat([normals[:own, shots:], va[:, shots:]], dim=1)
        loss_both = _balanced_loss(heads, query_own)

        shared = prototypes.expand(tasks, -1, -1)
        one_sided = torch.cat([normals[:, :shots], shared], dim=1)
        heads = adapt_heads(start, one_sided, _classes(shots, len(prototypes)), config)
        query_va = torch.cat([va[:, shots:], others_va])
        query_all = torch.cat([normals[:, shots:], query_va], dim=1)
        return _balanced_loss(start, query_all), loss_both, _balanced_loss(heads, query_all)

    def _embedded(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The parts of a batch as embeddings with a column of ones, from one forward pass."""
        parts = (batch.normals, batch.va, batch.prototypes, batch.others_va)
        rows = [part.reshape(-1, part.shape[-1]) for part in parts]
        embeddings = self._network(torch.cat(rows).unsqueeze(1))
        ones = torch.ones(len(embeddings), 1)
        split = torch.split(torch.cat([embeddings, ones], dim=1), [len(row) for row in rows])
        normals, va, prototypes, others_va = (
            piece.reshape(*part.shape[:-1], piece.shape[-1])
            for piece, part in zip(split, parts, strict=True)
        )
        return normals, va, prototypes, others_va

    def _average(self) -> None:
        """Move the running means; early on they follow faster, to forget the random start."""
        keep = min(self._recipe.meta.average, self.steps_done / (self.steps_done + 9))
        with torch.no_grad():
            now = self._network.state_dict()
            for name, value in self._mean.state_dict().items():
                if value.is_floating_point():
                    value.mul_(keep).add_(now[name], alpha=1 - keep)
                else:
                    value.copy_(now[name])
            self._mean_head.mul_(keep).add_(self._head.detach(), alpha=1 - keep)


def _classes(normals: int, va: int) -> Tensor:
    return torch.cat([torch.zeros(normals), torch.ones(va)])


def _balanced_loss(heads: Tensor, query: Tensor) -> Tensor:
    """Mean cross-entropy over tasks; the first half of each query is non-VA, the rest VA."""
    logits = torch.einsum("tnf,tf->tn", query, heads)
    y = _classes(query.shape[1] // 2, query.shape[1] // 2)
    return binary_cross_entropy_with_logits(logits, y.expand_as(logits))

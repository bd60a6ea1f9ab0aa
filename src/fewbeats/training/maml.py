"""What an outer step goes down on: the three objectives, all tasks of a step at once.

* ANIL: the inner loop moves the head alone, by the very steps of ``device.adapt``, unrolled; the
  outer step moves backbone, head start and step sizes through them. Deployment freezes the
  backbone, so this is what is shipped (Raghu et al., ICLR 2020; the look-ahead of
  pre-fine-tuning is MetaVA's, PLOS Digital Health 4(10): e0001037, 2025).
* MAML: the inner loop moves every weight (Finn et al., ICML 2017). See ``full_maml``.
* Supervised: no inner loop; the yardstick for both.

A loss is the sum over this process's tasks divided by the number of tasks of all processes, so
that gradients add up to those of one process with all tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fewbeats.device.adapt import AdaptConfig
from fewbeats.training.parallel import gathered
from fewbeats.training.tasks import Batch

STEP_NAMES = ("inner_step", "outer_step", "step", "pull")
"""The sizes of ``AdaptConfig`` that can be learned."""


def adapt_heads(
    start: Tensor,
    x1: Tensor,
    y: Tensor,
    config: AdaptConfig,
    sizes: Mapping[str, Tensor | float],
    order: int = 2,
) -> Tensor:
    """``device.adapt.adapt`` for many tasks at once, and differentiable.

    Args:
        start: (tasks, features + 1), the bias last.
        x1: (tasks, windows, features + 1), the last column ones.
        y: (windows,) 0 or 1, the same for all tasks.
        config: counts of steps.
        sizes: step sizes by ``STEP_NAMES``, numbers or learned scalars.
        order: with 1 the inner gradients count as constants.

    Returns:
        (tasks, features + 1); its graph reaches ``start``, ``sizes`` and, at order 2, ``x1``.
    """
    share = class_share(y)

    def gradient(heads: Tensor) -> Tensor:
        error = share * (torch.sigmoid(torch.einsum("tnf,tf->tn", x1, heads)) - y)
        slope = torch.einsum("tnf,tn->tf", x1, error)
        return slope if order == 2 else slope.detach()

    heads = start
    for _ in range(config.rounds):
        ahead = heads - sizes["inner_step"] * gradient(heads)
        heads = ahead - sizes["outer_step"] * gradient(ahead)
    for _ in range(config.steps):
        heads = heads - sizes["step"] * (gradient(heads) + sizes["pull"] * (heads - start))
    return heads


def class_share(y: Tensor) -> Tensor:
    """Weights that sum to one, half of it for each class."""
    return torch.where(y > 0.5, 0.5 / y.sum(), 0.5 / (1 - y).sum())


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean query losses of one step, by what the support held; None where it is not asked for."""

    none: Tensor | None
    both_classes: Tensor | None
    normals: Tensor | None

    @property
    def total(self) -> Tensor:
        """What the step goes down on."""
        parts = [p for p in (self.none, self.both_classes, self.normals) if p is not None]
        return torch.stack(parts).sum()


def head_only_losses(
    network: nn.Module,
    head: Tensor,
    batch: Batch,
    shots: int,
    config: AdaptConfig,
    sizes: Mapping[str, Tensor | float],
    order: int = 2,
) -> Losses:
    """ANIL: before adaptation, after one from both classes, after one from normals alone."""
    normals, va, prototypes = embedded(network, batch)
    tasks, own = len(normals), batch.own_va
    start = head.expand(tasks, -1)

    both = torch.cat([normals[:own, :shots], va[:own, :shots]], dim=1)
    heads = adapt_heads(start[:own], both, classes(both, shots), config, sizes, order)
    loss_both = query_losses(heads, normals[:own, shots:], va[:own, shots:])

    shared = prototypes.expand(tasks, -1, -1)
    one_sided = torch.cat([normals[:, :shots], shared], dim=1)
    heads = adapt_heads(start, one_sided, classes(one_sided, shots), config, sizes, order)
    loss_normals = query_losses(heads, normals[:, shots:], va[:, shots:])
    loss_none = query_losses(start, normals[:, shots:], va[:, shots:])
    return Losses(
        loss_none.sum() / batch.tasks_in_all,
        loss_both.sum() / batch.own_va_in_all,
        loss_normals.sum() / batch.tasks_in_all,
    )


def supervised_losses(network: nn.Module, head: Tensor, batch: Batch) -> Losses:
    """No adaptation: one head for everybody, on the support windows as on the query windows."""
    normals, va, _ = embedded(network, batch)
    start = head.expand(len(normals), -1)
    return Losses(query_losses(start, normals, va).sum() / batch.tasks_in_all, None, None)


def task_difficulties(
    network: nn.Module,
    head: Tensor,
    batch: Batch,
    shots: int,
    config: AdaptConfig,
    sizes: Mapping[str, Tensor | float],
) -> Tensor:
    """Each task's mean query loss after a K-shot adaptation of the head: (tasks,).

    Tasks without VA of their own are adapted from their normals and prototypes.
    """
    with torch.no_grad():
        normals, va, prototypes = embedded(network, batch)
        own, start = batch.own_va, head.expand(len(normals), -1)
        both = torch.cat([normals[:own, :shots], va[:own, :shots]], dim=1)
        shared = prototypes.expand(len(normals) - own, -1, -1)
        one_sided = torch.cat([normals[own:, :shots], shared], dim=1)
        heads = torch.cat(
            [
                adapt_heads(start[:own], both, classes(both, shots), config, sizes),
                adapt_heads(start[own:], one_sided, classes(one_sided, shots), config, sizes),
            ]
        )
        return query_losses(heads, normals[:, shots:], va[:, shots:])


def embedded(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The parts of a batch as embeddings with a column of ones, from one forward pass.

    The prototypes are those of all processes.
    """
    parts = (batch.normals, batch.va, batch.prototypes)
    rows = [part.reshape(-1, part.shape[-1]) for part in parts]
    embeddings = network(torch.cat(rows).unsqueeze(1))
    x1 = torch.cat([embeddings, embeddings.new_ones(len(embeddings), 1)], dim=1)
    pieces = torch.split(x1, [len(row) for row in rows])
    normals, va, prototypes = (
        piece.reshape(*part.shape[:-1], -1) for piece, part in zip(pieces, parts, strict=True)
    )
    return normals, va, gathered(prototypes, batch.prototypes_in_all)


def classes(support: Tensor, normals: int) -> Tensor:
    """(windows,) 0 and 1 for a support of so many normals, followed by VA."""
    return (torch.arange(support.shape[1], device=support.device) >= normals).to(support.dtype)


def query_losses(heads: Tensor, normals: Tensor, va: Tensor) -> Tensor:
    """(tasks,) mean cross-entropies of heads on as many normal as VA windows."""
    logits = torch.einsum("tnf,tf->tn", torch.cat([normals, va], dim=1), heads)
    y = classes(logits, normals.shape[1])
    each = binary_cross_entropy_with_logits(logits, y.expand_as(logits), reduction="none")
    return each.mean(dim=1)

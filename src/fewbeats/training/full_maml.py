"""Full MAML: the inner loop moves every weight, for all tasks of a step in one batch.

Each task has its own copy of the weights, as a leading dimension. BatchNorm normalises with the
statistics of the whole step, as the running statistics of deployment are nobody's own; a task
feels the others through them a little.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fewbeats.training.maml import Losses, query_losses
from fewbeats.training.network import Backbone
from fewbeats.training.parallel import PooledBatchNorm, gathered
from fewbeats.training.tasks import Batch

HEAD = "head"


def full_losses(
    network: Backbone,
    head: Tensor,
    batch: Batch,
    shots: int,
    sizes: Mapping[str, Tensor],
    inner_steps: int,
    order: int = 2,
) -> Losses:
    """The paper's objective: query loss after inner steps of all weights.

    Tasks with VA of their own are adapted from both classes, the others from their normals and
    the step's prototypes.

    Args:
        network: backbone, in training mode.
        head: (features + 1,), the bias last.
        batch: the tasks.
        shots: support windows a class.
        sizes: an inner step size for each tensor of weights, and for the head.
        inner_steps: how many.
        order: with 1 the inner gradients count as constants.
    """
    own, tasks = batch.own_va, len(batch.normals)
    weights = dict(network.named_parameters()) | {HEAD: head}
    start = {name: value.expand(tasks, *value.shape) for name, value in weights.items()}
    prototypes = gathered(batch.prototypes, batch.prototypes_in_all)
    shared = _repeated(prototypes, shots).expand(tasks - own, -1, -1)
    support_va = torch.cat([batch.va[:own, :shots], shared])
    support = torch.cat([batch.normals[:, :shots], support_va], dim=1)
    heads = start
    for step in range(inner_steps):
        x1 = embed_each(network, heads, support, track=step == 0)
        loss = query_losses(heads[HEAD], x1[:, :shots], x1[:, shots:]).sum()
        gradients = torch.autograd.grad(loss, list(heads.values()), create_graph=order == 2)
        heads = {
            name: value - sizes[name] * gradient
            for (name, value), gradient in zip(heads.items(), gradients, strict=True)
        }
    query = torch.cat([batch.normals[:, shots:], batch.va[:, shots:]], dim=1)
    x1 = embed_each(network, heads, query, track=False)
    half = query.shape[1] // 2
    losses = query_losses(heads[HEAD], x1[:, :half], x1[:, half:])
    return Losses(None, losses.sum() / batch.tasks_in_all, None)


def embed_each(
    network: Backbone, weights: Mapping[str, Tensor], windows: Tensor, track: bool
) -> Tensor:
    """Embed each task's windows with its own weights.

    Args:
        network: gives the layers' shapes and takes the running statistics.
        weights: (tasks, ...) by the network's parameter names.
        windows: (tasks, windows, samples).
        track: whether the running statistics take part in it.

    Returns:
        (tasks, windows, features + 1), the last column ones.
    """
    values = windows.unsqueeze(2)
    for name, layer in network.convolutions.named_children():
        full = f"convolutions.{name}"
        if isinstance(layer, nn.Conv1d):
            values = _convolved(values, weights[f"{full}.weight"], layer)
        elif isinstance(layer, PooledBatchNorm):
            values = layer.normalised(
                values, weights[f"{full}.weight"], weights[f"{full}.bias"], track
            )
        else:
            values = layer(values)
    pooled = network.dropout(values.mean(dim=3))
    projected = torch.einsum("tnc,tfc->tnf", pooled, weights["project.weight"])
    embeddings = network.scale.normalised(
        projected, weights["scale.weight"], weights["scale.bias"], track
    )
    ones = embeddings.new_ones(*embeddings.shape[:2], 1)
    return torch.cat([embeddings, ones], dim=2)


def _convolved(values: Tensor, weight: Tensor, layer: nn.Conv1d) -> Tensor:
    """(tasks, windows, channels, samples) with (tasks, out, channels / groups, kernel)."""
    kernel, stride, around = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    if kernel == 1 and stride == 1 and layer.groups == 1:
        return torch.einsum("tncl,toc->tnol", values, weight.squeeze(3))
    pieces = pad(values, (around, around)).unfold(3, kernel, stride)
    if layer.groups == 1:
        return torch.einsum("tnclk,tock->tnol", pieces, weight)
    return torch.einsum("tnclk,tck->tncl", pieces, weight.squeeze(2))


def _repeated(prototypes: Tensor, count: int) -> Tensor:
    """So many of the prototypes, from the start again where they are too few."""
    return prototypes[torch.arange(count, device=prototypes.device) % len(prototypes)]

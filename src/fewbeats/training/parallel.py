"""One training on several processes: each takes its share of a step's tasks.

Started by ``torchrun``, which names the processes' places in the environment; started alone,
everything here does nothing. What a step computes does not depend on the number of processes:
statistics and gradients are sums over all tasks, wherever those lie.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from fewbeats.errors import DataError


@dataclass(frozen=True, slots=True)
class Place:
    """Which process this is.

    Attributes:
        rank: its number, from 0. The first one reports and writes.
        world: how many there are.
        device: where it computes.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0


@contextmanager
def joined(device: str = "auto") -> Iterator[Place]:
    """Join the processes that torchrun started, if it did: NCCL on GPUs, gloo on processors.

    Args:
        device: "cpu", "cuda", or "auto": a GPU where there is one.

    Raises:
        DataError: a GPU is asked for and there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise DataError(f"There is no device {device!r}: choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise DataError("PyTorch sees no GPU here; train with --device cpu.")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if world == 1:
        yield Place(device="cuda" if on_gpu else "cpu")
        return
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Place(rank, world, "cuda" if on_gpu else "cpu")
    finally:
        distributed.destroy_process_group()


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


class _Summed(torch.autograd.Function):
    """The sum over all processes; every process's loss feels every process's part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        total = part.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        # Itself a function with a gradient: full MAML differentiates twice.
        total: Tensor = _Summed.apply(gradient.contiguous())  # type: ignore[no-untyped-call]
        return total


def summed(part: Tensor) -> Tensor:
    """The sum of all processes' tensors, differentiable."""
    if world_size() == 1:
        return part
    total: Tensor = _Summed.apply(part.contiguous())  # type: ignore[no-untyped-call]
    return total


def gathered(own: Tensor, count: int) -> Tensor:
    """Rows of all processes in one order, differentiable; process r brings rows r, r + world, ...

    Args:
        own: (rows of this process, ...).
        count: rows in all.
    """
    world = world_size()
    if world == 1:
        return own
    rows = torch.arange(distributed.get_rank(), count, world, device=own.device)
    return summed(own.new_zeros(count, *own.shape[1:]).index_copy(0, rows, own))


def add_up_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its sum over the processes."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)


def moments(values: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance over ``dims`` of all processes' values, and how many they were."""
    count = values.new_tensor(float(values.numel() // max(1, values.shape[_kept(values, dims)])))
    if world_size() > 1:
        distributed.all_reduce(count)
    mean = summed(values.sum(dims)) / count
    shape = [1] * values.ndim
    shape[_kept(values, dims)] = -1
    variance = summed((values - mean.reshape(shape)).square().sum(dims)) / count
    return mean, variance, int(count)


def _kept(values: Tensor, dims: tuple[int, ...]) -> int:
    return next(dim for dim in range(values.ndim) if dim not in dims)


class PooledBatchNorm(nn.BatchNorm1d):
    """BatchNorm whose statistics are those of all processes' windows."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Normalise (windows, channels) or (windows, channels, samples)."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        return self.normalised(input, self.weight, self.bias, track=True)

    def normalised(self, values: Tensor, weight: Tensor, bias: Tensor, track: bool) -> Tensor:
        """Normalise with the batch's own statistics and with other weights than this layer's.

        Args:
            values: (windows, channels, ...), or (tasks, windows, channels, ...) where the
                weights are (tasks, channels).
            weight: (channels,) or (tasks, channels).
            bias: alike.
            track: whether the running statistics take part in it.
        """
        channel = weight.ndim
        mean, variance, count = moments(
            values, tuple(dim for dim in range(values.ndim) if dim != channel)
        )
        if track and self.running_mean is not None and self.running_var is not None:
            rate = self.momentum or 0.0
            unbiased = variance.detach() * (count / max(1, count - 1))
            with torch.no_grad():
                self.running_mean.lerp_(mean.detach(), rate)
                self.running_var.lerp_(unbiased, rate)
        shape = [1] * values.ndim
        shape[channel] = -1
        scaled = (values - mean.reshape(shape)) * torch.rsqrt(variance + self.eps).reshape(shape)
        if weight.ndim == 1:
            return scaled * weight.reshape(shape) + bias.reshape(shape)
        shape[0] = len(weight)
        return scaled * weight.reshape(shape) + bias.reshape(shape)

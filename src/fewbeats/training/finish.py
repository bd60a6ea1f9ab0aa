"""Quantisation-aware finishing: a folded backbone learns to live with int8.

The rounding of export is imitated on weights and activations while the gradient passes through
it unchanged (Jacob et al., CVPR 2018): weights in 7 bits, one scale a channel, activations in 8
bits between the lowest and the highest value seen. That is the grid of ``export.quantize``.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from fewbeats.device.adapt import AdaptConfig
from fewbeats.errors import DataError
from fewbeats.training.config import Recipe
from fewbeats.training.curriculum import Curriculum
from fewbeats.training.maml import STEP_NAMES, head_only_losses, supervised_losses
from fewbeats.training.network import FoldedBackbone
from fewbeats.training.parallel import Place, add_up_gradients, gathered
from fewbeats.training.tasks import TaskSampler

_WEIGHT_LEVELS = 64
_ACTIVATION_LEVELS = 255
_CLIP_NORM = 5.0
_DRAWS = 1 << 30  # step numbers of the draws, beyond those of the outer loop


def finish(
    network: FoldedBackbone,
    head: Tensor,
    adapt: AdaptConfig,
    recipe: Recipe,
    sampler: TaskSampler,
    range_windows: Tensor,
    seed: int,
    place: Place,
    report: Callable[[int, float], None],
) -> tuple[FoldedBackbone, Tensor]:
    """Train the last steps with rounded weights and activations.

    Args:
        network: the folded backbone.
        head: (features + 1,), its head's start.
        adapt: how the head is adapted; the step sizes stay as they are.
        recipe: how many steps, and which objective; full MAML is finished as ANIL, since the
            device adapts the head alone.
        sampler: the tasks.
        range_windows: (windows, 1, samples) of training subjects, for the activations' ranges.
        seed: of the draws.
        place: this process, and its device.
        report: called with (step, loss).

    Returns:
        The backbone and the head, in full precision, near to what int8 can hold.

    Raises:
        DataError: it diverged.
    """
    meta, config = recipe.meta, recipe.finish
    rounded = RoundedBackbone(network.to(place.device), range_windows.to(place.device))
    moving = head.to(place.device).clone().requires_grad_()
    parameters = [*rounded.inner.parameters(), moving]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    curriculum = Curriculum(
        recipe.curriculum, sampler.with_va, sampler.without_va, meta.steps, seed
    )
    sizes: dict[str, Tensor | float] = {name: getattr(adapt, name) for name in STEP_NAMES}
    for step in range(1, config.steps + 1):
        names = curriculum.choose(meta.steps + step, meta.va_tasks, meta.tasks - meta.va_tasks)
        batch = sampler.draw(_DRAWS + step, names)
        if meta.method == "supervised":
            loss = supervised_losses(rounded, moving, batch).total
        else:
            loss = head_only_losses(rounded, moving, batch, meta.shots, adapt, sizes).total
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        add_up_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, _CLIP_NORM)
        optimizer.step()
        schedule.step()
        report(step, float(gathered(loss.detach().reshape(1), place.world).sum()))
    if not all(bool(value.isfinite().all()) for value in parameters):
        raise DataError(f"Finishing diverged: lower finish.learning_rate = {config.learning_rate}.")
    return rounded.inner.cpu().eval(), moving.detach().cpu()


class RoundedBackbone(nn.Module):
    """A folded backbone that computes as its int8 form will, and can be trained so."""

    def __init__(self, network: FoldedBackbone, windows: Tensor) -> None:
        """Round a copy of a network.

        Args:
            network: the folded backbone.
            windows: (windows, 1, samples) that fix the activations' ranges.
        """
        super().__init__()
        self.inner = deepcopy(network)
        self._ranges: list[tuple[float, float]] = []
        with torch.no_grad():
            seen: list[Tensor] = []
            # Of the network as it is, since that is what export takes the ranges from.
            self._embed(windows, lambda values: _kept(seen, values), lambda weight: weight)
            self._ranges = [(min(0.0, float(v.min())), max(0.0, float(v.max()))) for v in seen]

    def forward(self, windows: Tensor) -> Tensor:
        """Embed windows, rounding wherever int8 would."""
        ranges = iter(self._ranges)
        return self._embed(windows, lambda values: _rounded(values, *next(ranges)), _rounded_weight)

    def _embed(
        self,
        windows: Tensor,
        at: Callable[[Tensor], Tensor],
        weigh: Callable[[Tensor], Tensor],
    ) -> Tensor:
        values = at(windows)
        for layer in self.inner.convolutions:
            assert isinstance(layer, nn.Conv1d)  # noqa: S101  # built so
            values = nn.functional.conv1d(
                values,
                weigh(layer.weight),
                layer.bias,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
            )
            values = at(torch.relu(values))
        pooled = at(values.mean(dim=2))
        project = self.inner.project
        return at(nn.functional.linear(pooled, weigh(project.weight), project.bias))


def _kept(seen: list[Tensor], values: Tensor) -> Tensor:
    seen.append(values)
    return values


def _rounded(values: Tensor, low: float, high: float) -> Tensor:
    """To 256 levels from ``low`` to ``high``; the gradient passes inside and stops outside."""
    scale = max(high - low, 1e-8) / _ACTIVATION_LEVELS
    rounded: Tensor = torch.fake_quantize_per_tensor_affine(
        values, scale, round(-low / scale), 0, _ACTIVATION_LEVELS
    )
    return rounded


def _rounded_weight(weight: Tensor) -> Tensor:
    """To 129 levels around zero, one scale for each output channel."""
    highest = weight.detach().abs().flatten(1).amax(dim=1).clamp(min=1e-8)
    zero = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    rounded: Tensor = torch.fake_quantize_per_channel_affine(
        weight, highest / _WEIGHT_LEVELS, zero, 0, -_WEIGHT_LEVELS, _WEIGHT_LEVELS
    )
    return rounded

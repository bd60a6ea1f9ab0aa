"""The outer loop: weights in training, the running mean of them, and where they stand."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from fewbeats.device.adapt import AdaptConfig
from fewbeats.training.config import Recipe
from fewbeats.training.curriculum import Curriculum
from fewbeats.training.full_maml import HEAD, full_losses
from fewbeats.training.maml import (
    STEP_NAMES,
    Losses,
    head_only_losses,
    supervised_losses,
    task_difficulties,
)
from fewbeats.training.network import Backbone, seeded_backbone
from fewbeats.training.parallel import Place, add_up_gradients, gathered
from fewbeats.training.reference import ReferenceBackbone
from fewbeats.training.tasks import TaskSampler

_WARM_UP = 0.1  # share of the steps in which the learning rate rises
_LARGEST_SIZE = 10.0  # step size that ``AdaptConfig`` takes
_HEAD_DECAY = 1e-3
_CLIP_NORM = 5.0
_DIFFICULTY_DRAW = 1 << 40  # step numbers from here on are draws to measure difficulties by


class MetaTrainer:
    """A backbone, a head start and step sizes in training, and the running mean of all."""

    def __init__(
        self,
        recipe: Recipe,
        sampler: TaskSampler,
        seed: int,
        place: Place | None = None,
    ) -> None:
        """Start from seeded weights.

        Args:
            recipe: how to train.
            sampler: the tasks.
            seed: of the weights and the curriculum.
            place: this process, and its device.
        """
        self.recipe = recipe
        self.steps_done = 0
        self._sampler = sampler
        self._place = place or Place()
        meta, device = recipe.meta, self._place.device
        self.curriculum = Curriculum(
            recipe.curriculum, sampler.with_va, sampler.without_va, meta.steps, seed
        )
        self._network = seeded_backbone(recipe.network, seed)
        self._network.to(device)
        self._head = torch.zeros(recipe.network.features + 1, device=device, requires_grad=True)
        self._sizes = self._first_sizes()
        self._optimizer = torch.optim.AdamW(
            [
                {"params": list(self._network.parameters()), "weight_decay": meta.weight_decay},
                {"params": [self._head], "weight_decay": _HEAD_DECAY},
                {"params": list(self._sizes.values()), "weight_decay": 0.0},
            ],
            lr=meta.learning_rate,
        )
        # The schedule counts one step more than is taken: it starts before the first. Its rise
        # takes one step at least.
        total = meta.steps + 1
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            meta.learning_rate,
            total_steps=total,
            pct_start=max(_WARM_UP, 2 / total),
        )
        self._mean = {name: value.detach().clone() for name, value in self._weights()}

    def step(self) -> float:
        """One outer step; gives its loss, over all processes."""
        self._network.train()
        step, meta = self.steps_done + 1, self.recipe.meta
        if self.curriculum.measure_due(step):
            self.curriculum.difficulty = self._difficulties(step)
        names = self.curriculum.choose(step, meta.va_tasks, meta.tasks - meta.va_tasks)
        # Dropout draws from the global generator: a step's draws are its own there too.
        torch.manual_seed((self.curriculum.seed << 20) + step)
        loss = self._losses(names, step).total
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        add_up_gradients(p for group in self._optimizer.param_groups for p in group["params"])
        nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP_NORM)
        self._optimizer.step()
        with torch.no_grad():
            for size in self._sizes.values():
                size.clamp_(max=log(_LARGEST_SIZE))
        self._schedule.step()
        self.steps_done = step
        self._average()
        return float(gathered(loss.detach().reshape(1), self._place.world).sum())

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self._schedule.get_last_lr()[0])

    def result(self) -> tuple[Backbone | ReferenceBackbone, Tensor, AdaptConfig]:
        """The running means so far, on the processor.

        Returns:
            The backbone in evaluation mode, the head's start, and the adaptation with the step
            sizes that were learned.
        """
        head = self._mean[HEAD].cpu().clone()  # the mean itself moves on
        found: dict[str, Any] = {
            name: min(_LARGEST_SIZE, round(float(size), 6))
            for name, size in self._mean_sizes().items()
        }
        return self._mean_network().cpu(), head, replace(self.recipe.adapt, **found)

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers still: one that is none spoils all, and for good."""
        return all(bool(value.isfinite().all()) for _, value in self._weights())

    def state(self) -> dict[str, Any]:
        """All that a training needs to go on, as tensors and plain values."""
        return {
            "steps_done": self.steps_done,
            "weights": {name: value.detach().cpu() for name, value in self._weights()},
            "mean": {name: value.cpu() for name, value in self._mean.items()},
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "curriculum": self.curriculum.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            KeyError, RuntimeError, ValueError: it is not one of this recipe's.
        """
        with torch.no_grad():
            for name, value in self._weights():
                value.copy_(state["weights"][name])
                self._mean[name].copy_(state["mean"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.curriculum.restore(state["curriculum"])
        self.steps_done = int(state["steps_done"])

    def _losses(self, names: list[str], step: int) -> Losses:
        meta = self.recipe.meta
        batch = self._sampler.draw(step, names)
        if meta.method == "supervised":
            return supervised_losses(self._network, self._head, batch)
        sizes = {name: value.exp() for name, value in self._sizes.items()}
        if meta.method == "maml":
            assert isinstance(self._network, Backbone)  # noqa: S101  # the recipe saw to it
            return full_losses(
                self._network, self._head, batch, meta.shots, sizes, meta.inner_steps, meta.order
            )
        return head_only_losses(
            self._network, self._head, batch, meta.shots, self.recipe.adapt, sizes, meta.order
        )

    def _first_sizes(self) -> dict[str, Tensor]:
        """Logarithms of the inner step sizes; learned unless the recipe says otherwise."""
        recipe, meta = self.recipe, self.recipe.meta
        if meta.method == "maml":
            first = {name: meta.inner_step for name, _ in self._network.named_parameters()}
            first[HEAD] = meta.inner_step
        else:
            first = {name: max(1e-6, getattr(recipe.adapt, name)) for name in STEP_NAMES}
        learned = meta.learn_steps and meta.method != "supervised"
        return {
            name: torch.tensor(value, device=self._place.device).log().requires_grad_(learned)
            for name, value in first.items()
        }

    def _difficulties(self, step: int) -> dict[str, float]:
        """Each subject's difficulty for the weights of now, by the running mean of them."""
        meta = self.recipe.meta
        network = self._mean_network()
        head, config = self._mean[HEAD], self.recipe.adapt
        sizes: dict[str, Tensor | float] = {name: getattr(config, name) for name in STEP_NAMES}
        sizes |= self._mean_sizes()
        found: dict[str, float] = {}
        everybody = [*self._sampler.with_va, *self._sampler.without_va]
        for low in range(0, len(everybody), meta.tasks):
            names = everybody[low : low + meta.tasks]
            # Shares of the processes must be alike: the last one is measured again if need be.
            padded = names + names[-1:] * (-len(names) % self._place.world)
            batch = self._sampler.draw(_DIFFICULTY_DRAW + step * 1000 + low, padded)
            losses = task_difficulties(network, head, batch, meta.shots, config, sizes)
            measured = gathered(losses, len(padded)).tolist()
            found |= dict(zip(names, measured[: len(names)], strict=True))
        return found

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that is averaged and kept: weights, statistics, head, step sizes."""
        yield from self._network.state_dict().items()
        yield HEAD, self._head
        yield from ((f"size/{name}", value) for name, value in self._sizes.items())

    def _average(self) -> None:
        """Move the running means; early on they follow faster, to forget the random start."""
        keep = min(self.recipe.meta.average, self.steps_done / (self.steps_done + 9))
        with torch.no_grad():
            for name, value in self._weights():
                if value.is_floating_point():
                    self._mean[name].mul_(keep).add_(value, alpha=1 - keep)
                else:
                    self._mean[name].copy_(value)

    def _mean_network(self) -> Backbone | ReferenceBackbone:
        """A copy of the network with the running means for weights, in evaluation mode."""
        network = deepcopy(self._network)
        network.load_state_dict({name: self._mean[name] for name in network.state_dict()})
        return network.eval()

    def _mean_sizes(self) -> dict[str, Tensor]:
        if self.recipe.meta.method != "anil":
            return {}
        return {name: self._mean[f"size/{name}"].exp().cpu() for name in self._sizes}

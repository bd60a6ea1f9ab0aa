"""The CL-selector: which subjects an outer step draws, the easy ones first.

After MetaVA (PLOS Digital Health 4(10): e0001037, 2025), with three changes that make it do what
it is meant to. Difficulties are measured again and again, since those of random weights mean
nothing. The threshold rises over the ranks of the difficulties instead of over their softmax:
with N subjects that is about 1/N for each, so that a threshold that moves toward 1 opens
everything at once. And the share reserved for subjects with VA is drawn by the same rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbeats.training.config import CurriculumConfig


@dataclass(slots=True)
class Curriculum:
    """Draws the subjects of each step, and keeps the story of it.

    Attributes:
        config: how.
        with_va: subjects that have VA.
        without_va: subjects that have none.
        steps: outer steps in all.
        seed: of the draws.
        difficulty: mean query loss after adaptation, by subject; empty until it is measured.
        draws: how often each subject was drawn.
    """

    config: CurriculumConfig
    with_va: tuple[str, ...]
    without_va: tuple[str, ...]
    steps: int
    seed: int
    difficulty: dict[str, float] = field(default_factory=dict)
    draws: dict[str, int] = field(default_factory=dict)

    def open_share(self, step: int) -> float:
        """Share of the subjects, from the easiest on, that a step may draw."""
        config = self.config
        ramp = config.ramp * self.steps
        if not config.enabled or ramp == 0:
            return 1.0
        return float(min(1.0, config.start + (1 - config.start) * (step - 1) / ramp))

    def measure_due(self, step: int) -> bool:
        """Whether the difficulties should be measured before a step."""
        # The first measurement waits until the weights mean something.
        return self.config.enabled and step > 1 and (step - 1) % self.config.every == 0

    def choose(self, step: int, with_va: int, without_va: int) -> list[str]:
        """Draw the subjects of a step, from 1 on; those with VA come first."""
        rng = np.random.default_rng([self.seed, step])
        chosen = [
            *self._draw(self.with_va, with_va, step, rng),
            *self._draw(self.without_va, without_va, step, rng),
        ]
        for name in chosen:
            self.draws[name] = self.draws.get(name, 0) + 1
        return chosen

    def _draw(
        self, names: Sequence[str], count: int, step: int, rng: np.random.Generator
    ) -> list[str]:
        if count == 0:
            return []
        if not self.config.enabled:
            return [str(name) for name in rng.choice(names, count, replace=False)]
        candidates = self._candidates(names, count, step)
        drawn = np.array([self.draws.get(name, 0) for name in candidates])
        # Who was drawn at every step so far has had his turn; a little is left to everybody, so
        # that there are always enough to draw.
        weight = np.maximum(0.0, 1 - drawn / step) + 1e-3
        return [
            str(n) for n in rng.choice(candidates, count, replace=False, p=weight / weight.sum())
        ]

    def _candidates(self, names: Sequence[str], count: int, step: int) -> list[str]:
        """The easiest subjects, as many as are open by now, and at least ``count``."""
        ranked = sorted(names, key=lambda name: (self.difficulty.get(name, 0.0), name))
        if not self.difficulty:
            return ranked  # nothing is known yet: all
        return ranked[: max(count, ceil(self.open_share(step) * len(ranked)))]

    def normalised(self) -> dict[str, float]:
        """Difficulties as the method has them: the softmax over subjects of their losses."""
        names = sorted(self.difficulty)
        losses = np.array([self.difficulty[name] for name in names])
        if not len(losses):
            return {}
        share: NDArray[np.float64] = np.exp(losses - losses.max())
        return dict(zip(names, (share / share.sum()).tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"difficulty": dict(self.difficulty), "draws": dict(self.draws)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.difficulty = {str(k): float(v) for k, v in state["difficulty"].items()}
        self.draws = {str(k): int(v) for k, v in state["draws"].items()}

"""Tasks of meta-training: subjects, drawn and varied.

A task is one subject. Its windows are cut from longer stretches at a random place and at a
slightly changed pace, disturbed, and then treated as the device treats any window: baseline
out, unit variance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

import numpy as np
import torch
from torch import Tensor

from fewbeats.device.preprocess import WindowSpec
from fewbeats.errors import DataError
from fewbeats.training.config import AugmentConfig, MetaConfig
from fewbeats.training.datasets import Subject

_FEWEST = 4
"""Stretches of a class that make a subject worth drawing for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One step's tasks, the first ``va_tasks`` of which have VA of their own.

    Attributes:
        normals: (tasks, shots + query, samples).
        va: (va_tasks, shots + query, samples).
        prototypes: (prototypes, samples), VA of any subjects, for supports without VA.
        others_va: (tasks - va_tasks, query, samples), VA of any subjects, for queries of
            subjects that have none.
    """

    normals: Tensor
    va: Tensor
    prototypes: Tensor
    others_va: Tensor


class TaskSampler:
    """Draws tasks from training subjects; the same seed draws the same."""

    def __init__(
        self,
        subjects: Mapping[str, Subject],
        window: WindowSpec,
        meta: MetaConfig,
        augment: AugmentConfig,
        seed: int,
    ) -> None:
        """Prepare the subjects' stretches.

        Raises:
            DataError: too few subjects for the tasks of a step.
        """
        self._meta = meta
        self._augment = Augmenter(window, augment)
        self._subject_rng = np.random.default_rng(seed)
        self._rng = torch.Generator().manual_seed(seed)
        normals: dict[str, Tensor] = {}
        va: dict[str, Tensor] = {}
        for name, subject in subjects.items():
            if subject.stretches is None:
                raise DataError(f"Subject {name} was loaded without stretches to train on.")
            for pool, chosen in ((normals, ~subject.stretches.va), (va, subject.stretches.va)):
                if chosen.sum() >= _FEWEST:
                    pool[name] = torch.from_numpy(subject.stretches.samples[chosen])
        self._with_va = [(normals[name], va[name]) for name in normals if name in va]
        self._without_va = [normals[name] for name in normals if name not in va]
        self._all_va = list(va.values())
        plain = meta.tasks - meta.va_tasks
        if len(self._with_va) < 2 or len(self._with_va) < meta.va_tasks:
            raise DataError(
                f"{len(self._with_va)} training subjects have both VA and other rhythms; a step "
                f"of meta.va_tasks = {meta.va_tasks} needs as many, and at least 2."
            )
        if len(self._without_va) < plain:
            raise DataError(
                f"{len(self._without_va)} training subjects have no VA, but a step draws {plain} "
                f"of them: lower meta.tasks to meta.va_tasks = {meta.va_tasks}, or add records."
            )

    def draw(self) -> Batch:
        """The next step's tasks."""
        meta, rng = self._meta, self._subject_rng
        each = meta.shots + meta.query
        plain = meta.tasks - meta.va_tasks
        with_va = rng.choice(len(self._with_va), meta.va_tasks, replace=False)
        without = rng.permutation(len(self._without_va))[:plain]
        others = rng.integers(len(self._all_va), size=meta.prototypes + plain * meta.query)
        drawn = [self._pick(self._with_va[index][0], each) for index in with_va]
        drawn += [self._pick(self._without_va[index], each) for index in without]
        drawn += [self._pick(self._with_va[index][1], each) for index in with_va]
        drawn += [self._pick(self._all_va[index], 1) for index in others]
        windows = self._augment(torch.cat(drawn).float(), self._rng)
        counts = [meta.tasks * each, meta.va_tasks * each, meta.prototypes, plain * meta.query]
        normals, va, prototypes, others_va = torch.split(windows, counts)
        length = windows.shape[1]
        return Batch(
            normals.reshape(meta.tasks, each, length),
            va.reshape(meta.va_tasks, each, length),
            prototypes,
            others_va.reshape(plain, meta.query, length),
        )

    def _pick(self, pool: Tensor, count: int) -> Tensor:
        return pool[torch.randint(len(pool), (count,), generator=self._rng)]


class Augmenter:
    """Cuts windows from stretches and varies them."""

    def __init__(self, window: WindowSpec, config: AugmentConfig) -> None:
        self._config = config
        self._samples = window.samples
        self._time = torch.arange(window.samples)
        self._rate_hz = window.rate_hz
        # The slow cosines that the device takes out of a window as well.
        components = floor(2 * window.window_s * window.low_hz) + 1
        angle = torch.pi * (self._time + 0.5) / window.samples
        basis = torch.cos(torch.arange(components)[:, None] * angle)
        self._basis = basis / basis.norm(dim=1, keepdim=True)

    def __call__(self, stretches: Tensor, rng: torch.Generator) -> Tensor:
        """(n, samples of a stretch) to (n, samples of a window)."""
        config, count = self._config, len(stretches)

        def uniform() -> Tensor:
            return torch.rand(count, 1, generator=rng)

        windows = self.standardise(self._warped(stretches, uniform(), uniform()))
        noise = torch.randn(count, self._samples, generator=rng)
        noise = (noise + noise.roll(1, dims=1)) / 2**0.5  # little above the low-pass
        windows = windows + (uniform() < 0.5) * uniform() * config.noise * noise
        phase = 2 * torch.pi * ((0.5 + 2 * uniform()) * self._time / self._rate_hz + uniform())
        windows = windows + (uniform() < 0.3) * uniform() * config.wander * phase.sin()
        rail = 1.5 + 1.5 * uniform()
        clipped = torch.minimum(torch.maximum(windows, -rail), rail)
        windows = torch.where(uniform() < config.clip, clipped, windows)
        windows = torch.where(uniform() < config.flip, -windows, windows)
        return self.standardise(windows)

    def standardise(self, windows: Tensor) -> Tensor:
        """Baseline out, unit variance: what ``preprocess`` does, in floating point."""
        flat: Tensor = windows - (windows @ self._basis.T) @ self._basis
        scale = flat.square().mean(dim=1, keepdim=True).sqrt() + 1e-6
        return flat / scale

    def _warped(self, stretches: Tensor, pace: Tensor, place: Tensor) -> Tensor:
        """A window at a random place of each stretch, its time axis scaled."""
        last = stretches.shape[1] - 1
        step = torch.exp((2 * pace - 1) * self._config.stretch)
        step = step.clamp(max=(last - 1) / self._samples)
        position = place * (last - step * self._samples) + step * self._time
        below = position.long().clamp(0, last - 1)
        part = position - below
        left, right = stretches.gather(1, below), stretches.gather(1, below + 1)
        windows: Tensor = torch.lerp(left, right, part)
        return windows

"""Tasks of meta-training: subjects, and the windows that each brings to an outer step.

Every step is drawn from its own number and the seed, never from what was drawn before: a
training that was killed goes on with the very tasks that it would have had, and each of several
processes draws its share alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fewbeats.device.preprocess import WindowSpec
from fewbeats.errors import DataError
from fewbeats.training.augment import Augmenter
from fewbeats.training.config import AugmentConfig, MetaConfig
from fewbeats.training.datasets import Subject
from fewbeats.training.parallel import Place

_FEWEST = 4
"""Stretches of a class that make a subject worth drawing for it."""
_PROTOTYPES = 1_000_003  # the slot of the prototypes, beside those of the tasks


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The tasks that one process holds of one step, those with VA of their own first.

    Attributes:
        normals: (tasks, shots + query, samples).
        va: (tasks, shots + query, samples); of other subjects where the task has none.
        own_va: how many tasks have VA of their own.
        prototypes: (this process's prototypes, samples), VA of any subjects, for supports
            without VA.
        tasks_in_all: of all processes.
        own_va_in_all: of all processes.
        prototypes_in_all: of all processes.
    """

    normals: Tensor
    va: Tensor
    own_va: int
    prototypes: Tensor
    tasks_in_all: int
    own_va_in_all: int
    prototypes_in_all: int


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """Stretches of one class of one subject, each with the same moment in another lead."""

    stretches: Tensor
    partners: Tensor

    @classmethod
    def of(cls, subject: Subject, va: bool, device: str) -> "_Pool | None":
        if subject.stretches is None:
            raise DataError(f"Subject {subject.name} was loaded without stretches to train on.")
        chosen = np.flatnonzero(subject.stretches.va == va)
        if len(chosen) < _FEWEST:
            return None
        samples, partner = subject.stretches.samples, subject.stretches.partner
        return cls(
            torch.from_numpy(samples[chosen]).to(device),
            torch.from_numpy(samples[partner[chosen]]).to(device),
        )


class TaskSampler:
    """Draws the windows of tasks from training subjects; the same seed draws the same."""

    def __init__(
        self,
        subjects: Mapping[str, Subject],
        window: WindowSpec,
        meta: MetaConfig,
        augment: AugmentConfig,
        seed: int,
        place: Place | None = None,
    ) -> None:
        """Prepare the subjects' stretches.

        Raises:
            DataError: too few subjects for the tasks of a step, or tasks that cannot be shared
                out to the processes.
        """
        self._meta = meta
        self._seed = seed
        self._place = place or Place()
        self._augment = Augmenter(window, augment, self._place.device)
        self._normals: dict[str, _Pool] = {}
        self._va: dict[str, _Pool] = {}
        for name, subject in sorted(subjects.items()):
            for pools, va in ((self._normals, False), (self._va, True)):
                if pool := _Pool.of(subject, va, self._place.device):
                    pools[name] = pool
        self.with_va = tuple(name for name in self._normals if name in self._va)
        """Subjects that have both classes."""
        self.without_va = tuple(name for name in self._normals if name not in self._va)
        """Subjects without VA."""
        plain = meta.tasks - meta.va_tasks
        if len(self.with_va) < 2 or len(self.with_va) < meta.va_tasks:
            raise DataError(
                f"{len(self.with_va)} training subjects have both VA and other rhythms; a step "
                f"of meta.va_tasks = {meta.va_tasks} needs as many, and at least 2."
            )
        if len(self.without_va) < plain:
            raise DataError(
                f"{len(self.without_va)} training subjects have no VA, but a step draws {plain} "
                f"of them: lower meta.tasks to meta.va_tasks = {meta.va_tasks}, or add records."
            )
        world = self._place.world
        if meta.va_tasks % world or plain % world or meta.prototypes % world:
            raise DataError(
                f"{meta.va_tasks} tasks with VA, {plain} without and {meta.prototypes} prototypes "
                f"cannot be shared out to {world} processes; change [meta] or the number of "
                f"processes."
            )

    def draw(self, step: int, names: Sequence[str]) -> Batch:
        """The windows of a step's tasks, those of this process.

        Args:
            step: its number; with the seed it decides every draw.
            names: one subject a task, those with VA first.
        """
        place, meta = self._place, self._meta
        own = sum(name in self._va for name in names)
        slots = range(place.rank, len(names), place.world)
        drawn = [self._task(step, slot, names[slot]) for slot in slots]
        prototypes = [
            self._others(self._generator(step, _PROTOTYPES + slot), 1)
            for slot in range(place.rank, meta.prototypes, place.world)
        ]
        return Batch(
            torch.stack([normals for normals, _ in drawn]),
            torch.stack([va for _, va in drawn]),
            sum(names[slot] in self._va for slot in slots),
            torch.cat(prototypes),
            len(names),
            own,
            meta.prototypes,
        )

    def _task(self, step: int, slot: int, name: str) -> tuple[Tensor, Tensor]:
        rng, each = self._generator(step, slot), self._meta.shots + self._meta.query
        normals = self._cut(self._normals[name], each, rng)
        if name in self._va:
            return normals, self._cut(self._va[name], each, rng)
        return normals, self._others(rng, each)

    def _others(self, rng: torch.Generator, count: int) -> Tensor:
        """VA windows, each of a subject drawn at random."""
        pools = list(self._va.values())
        chosen = [pools[i] for i in torch.randint(len(pools), (count,), generator=rng)]
        places = [int(torch.randint(len(p.stretches), (1,), generator=rng)) for p in chosen]
        return self._augment(
            torch.stack([p.stretches[i] for p, i in zip(chosen, places, strict=True)]).float(),
            torch.stack([p.partners[i] for p, i in zip(chosen, places, strict=True)]).float(),
            rng,
        )

    def _cut(self, pool: _Pool, count: int, rng: torch.Generator) -> Tensor:
        chosen = torch.randint(len(pool.stretches), (count,), generator=rng)
        chosen = chosen.to(pool.stretches.device)
        return self._augment(pool.stretches[chosen].float(), pool.partners[chosen].float(), rng)

    def _generator(self, step: int, slot: int) -> torch.Generator:
        seed = np.random.SeedSequence([self._seed, step, slot]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed) >> 1)

"""Made subjects for training, on one thread, and a recipe that is done with them in a second."""

from collections.abc import Callable

import pytest
import torch

from fewbeats.device.adapt import AdaptConfig
from fewbeats.training.config import (
    CurriculumConfig,
    FinishConfig,
    MetaConfig,
    NetworkConfig,
    Recipe,
    ValidationConfig,
)
from fewbeats.training.datasets import Subject
from fewbeats.training.parallel import Place
from fewbeats.training.tasks import TaskSampler


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small only lose time on several threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made_subjects(make_subject: Callable[..., Subject]) -> dict[str, Subject]:
    """Six subjects with VA and three without."""
    made = [make_subject(f"made/{i}", 25, 40) for i in range(6)]
    made += [make_subject(f"calm/{i}", 0, 40) for i in range(3)]
    return {subject.name: subject for subject in made}


@pytest.fixture(scope="session")
def small() -> Recipe:
    """Twelve outer steps of a tiny network; validations and difficulties now and then."""
    return Recipe(
        network=NetworkConfig(channels=(4, 8), kernels=(9, 5), strides=(4, 3), features=6),
        meta=MetaConfig(
            steps=12,
            tasks=4,
            va_tasks=2,
            shots=4,
            query=5,
            prototypes=2,
            learning_rate=0.02,
            average=0.9,
            inner_steps=2,
        ),
        curriculum=CurriculumConfig(enabled=True, every=5),
        validation=ValidationConfig(share=0.34, every=3),
        finish=FinishConfig(steps=4),
        adapt=AdaptConfig(rounds=1, steps=2),
    )


@pytest.fixture(scope="session")
def make_sampler(made_subjects: dict[str, Subject]) -> Callable[..., TaskSampler]:
    """``make_sampler(recipe, seed=0, place=None, subjects=made_subjects)``."""

    def make(
        recipe: Recipe,
        seed: int = 0,
        place: Place | None = None,
        subjects: dict[str, Subject] = made_subjects,
    ) -> TaskSampler:
        return TaskSampler(subjects, recipe.window, recipe.meta, recipe.augment, seed, place)

    return make

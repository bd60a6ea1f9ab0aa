"""A training of a few steps on made subjects: real in every part, trained in seconds."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fewbeats.training.config import Recipe
from fewbeats.training.datasets import Subject
from fewbeats.training.pretrain import Trained, pretrain


@pytest.fixture(scope="session")
def subjects(make_subject: Callable[..., Subject]) -> dict[str, Subject]:
    return {f"made/{n}": make_subject(f"made/{n}", 40, 40) for n in range(8)}


@pytest.fixture(scope="session")
def trained(subjects: dict[str, Subject]) -> Trained:
    torch.set_num_threads(1)
    recipe = Recipe()
    few = replace(recipe.meta, steps=25, tasks=4, va_tasks=4)
    return pretrain(replace(recipe, meta=few), subjects, ["made/6", "made/7"], seed=1)

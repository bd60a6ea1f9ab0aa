"""Made subjects for training, on one thread."""

from collections.abc import Callable

import pytest
import torch

from fewbeats.training.datasets import Subject


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

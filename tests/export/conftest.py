"""Two trainings of a few steps on made subjects: real in every part, done in seconds."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fewbeats.device.adapt import AdaptConfig
from fewbeats.export.onnx import export_onnx
from fewbeats.export.pack import Packed, Release, pack
from fewbeats.training.config import FinishConfig, NetworkConfig, Recipe, ValidationConfig
from fewbeats.training.datasets import Dataset, Subject
from fewbeats.training.pretrain import pretrain
from fewbeats.training.trained import Trained

HELD_BACK = ("made/6", "made/7")
HAS_COMPILER = any(map(shutil.which, ("cc", "gcc", "clang")))


@pytest.fixture(scope="session")
def dataset(make_subject: Callable[..., Subject]) -> Dataset:
    subjects = {f"made/{n}": make_subject(f"made/{n}", 40, 40) for n in range(8)}
    return Dataset(subjects, licences={"made": "Made for tests"}, citations={"made": "Nobody"})


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    torch.set_num_threads(1)
    recipe = Recipe()
    meta = replace(
        recipe.meta, steps=25, tasks=4, va_tasks=4, shots=5, query=8, prototypes=8, average=0.9
    )
    return replace(
        recipe,
        network=NetworkConfig(channels=(8, 16), kernels=(9, 5), strides=(3, 3), features=8),
        meta=meta,
        adapt=AdaptConfig(rounds=1, steps=2),
        validation=ValidationConfig(share=0.34, every=10, refit=False),
        finish=FinishConfig(steps=5),
    )


@pytest.fixture(scope="session")
def trained(recipe: Recipe, dataset: Dataset) -> Trained:
    """Two of six subjects chose when to stop, and two were held back."""
    return pretrain(recipe, dataset.subjects, HELD_BACK, seed=1)


@pytest.fixture(scope="session")
def of_everybody(recipe: Recipe, dataset: Dataset) -> Trained:
    """Nobody was held back."""
    without = replace(recipe, validation=ValidationConfig(share=0))
    return pretrain(without, dataset.subjects, seed=1)


@pytest.fixture(scope="session")
def fp32(trained: Trained) -> bytes:
    """The network as an ONNX file in full precision; making it takes seconds."""
    return export_onnx(trained.network, 250)


@pytest.fixture(scope="session")
def released(
    trained: Trained, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Packed, Release]:
    """A bundle for gateways with all that can come of it; LiteRT's converter is slow to load."""
    pytest.importorskip("litert_torch", reason="litert-torch is not installed")
    folder = tmp_path_factory.mktemp("released") / "new" / "b.parity"
    release = Release("1.2.0", litert=True, c99=HAS_COMPILER, report=folder)
    return pack(trained, dataset, "the command", release=release), release

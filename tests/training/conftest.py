"""Made subjects: two kinds of waves that a network can tell apart within seconds."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fewbeats.training.datasets import STRETCH_S, Stretches, Subject
from fewbeats.training.labels import WindowCounts

RATE_HZ = 125
SAMPLES = 2 * RATE_HZ
STRETCH = round(STRETCH_S * RATE_HZ)


def waves(rng: np.random.Generator, count: int, samples: int, va: bool) -> np.ndarray:
    """(count, samples): fast sines for VA, slow spikes for the rest."""
    time = np.arange(samples) / RATE_HZ
    rate = rng.uniform(3.5, 5.5, (count, 1)) if va else rng.uniform(1.0, 1.6, (count, 1))
    phase = 2 * np.pi * (rate * time + rng.random((count, 1)))
    wave = np.sin(phase) if va else np.exp(8 * (np.cos(phase) - 1))
    wave = wave + 0.1 * rng.standard_normal(wave.shape)
    wave -= wave.mean(axis=1, keepdims=True)
    return wave / wave.std(axis=1, keepdims=True)


def made_subject(name: str, va: int, other: int, seed: int = 0) -> Subject:
    """A subject of so many windows: normals first, VA after them."""
    rng = np.random.default_rng([seed, sum(name.encode())])
    windows = np.concatenate([waves(rng, other, SAMPLES, False), waves(rng, va, SAMPLES, True)])
    stretches = np.concatenate([waves(rng, other, STRETCH, False), waves(rng, va, STRETCH, True)])
    is_va = np.arange(va + other) >= other
    return Subject(
        name=name,
        windows=windows[:, None].astype(np.float32),
        va=is_va,
        record=np.zeros(va + other, dtype=np.int64),
        start_s=2.0 * np.arange(va + other),
        window_s=2.0,
        counts=WindowCounts(va, other, 1, 2, 3, 4),
        stretches=Stretches(stretches.astype(np.float16), is_va),
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small only lose time on several threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_subject() -> Callable[..., Subject]:
    """``make_subject(name, va, other, seed=0)``."""
    return made_subject


@pytest.fixture(scope="session")
def made_subjects() -> dict[str, Subject]:
    """Six subjects with VA and three without."""
    made = [made_subject(f"made/{i}", 25, 40) for i in range(6)]
    made += [made_subject(f"calm/{i}", 0, 40) for i in range(3)]
    return {subject.name: subject for subject in made}

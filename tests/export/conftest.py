"""A training of a few steps on made subjects: real in every part, trained in seconds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewbeats.training.config import Recipe
from fewbeats.training.datasets import STRETCH_S, Stretches, Subject
from fewbeats.training.labels import WindowCounts
from fewbeats.training.pretrain import Trained, pretrain

RATE_HZ = 125


def waves(rng: np.random.Generator, count: int, samples: int, va: bool) -> np.ndarray:
    """(count, samples): fast sines for VA, slow spikes for the rest."""
    t_s = np.arange(samples) / RATE_HZ
    rate_hz = rng.uniform(3.5, 5.5, (count, 1)) if va else rng.uniform(1.0, 1.6, (count, 1))
    phase = 2 * np.pi * (rate_hz * t_s + rng.random((count, 1)))
    wave = np.sin(phase) if va else np.exp(8 * (np.cos(phase) - 1))
    wave = wave + 0.2 * rng.standard_normal(wave.shape)
    wave -= wave.mean(axis=1, keepdims=True)
    return wave / wave.std(axis=1, keepdims=True)


def subject(name: str, seed: int) -> Subject:
    rng = np.random.default_rng(seed)
    samples, stretch = 2 * RATE_HZ, round(STRETCH_S * RATE_HZ)
    va = np.arange(80) >= 40
    both = [np.concatenate([waves(rng, 40, n, False), waves(rng, 40, n, True)])
            for n in (samples, stretch)]  # fmt: skip
    return Subject(
        name=name,
        windows=both[0][:, None].astype(np.float32),
        va=va,
        record=np.zeros(80, dtype=np.int64),
        start_s=2.0 * np.arange(80),
        window_s=2.0,
        counts=WindowCounts(40, 40, 0, 0, 0, 0),
        stretches=Stretches(both[1].astype(np.float16), va),
    )


@pytest.fixture(scope="session")
def subjects() -> dict[str, Subject]:
    return {f"made/{number}": subject(f"made/{number}", number) for number in range(8)}


@pytest.fixture(scope="session")
def trained(subjects: dict[str, Subject]) -> Trained:
    torch.set_num_threads(1)
    recipe = Recipe()
    few = replace(recipe.meta, steps=25, tasks=4, va_tasks=4)
    return pretrain(replace(recipe, meta=few), subjects, ["made/6", "made/7"], seed=1)

"""Fixtures that all tests share: real records where there are some, and made subjects."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fewbeats.device.preprocess import WindowSpec
from fewbeats.training.datasets import Subject
from fewbeats.training.labels import WindowCounts
from fewbeats.training.stretches import Stretches, stretch_spec

RATE_HZ = 125
SAMPLES = 2 * RATE_HZ
STRETCH = stretch_spec(WindowSpec()).samples


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
        stretches=Stretches(stretches.astype(np.float16), is_va, np.arange(va + other)),
    )


@pytest.fixture(scope="session", autouse=True)
def _nobodys_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The keys that whoever runs the tests has of his own must not matter, nor be touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWBEATS_KEYS", str(tmp_path_factory.mktemp("keys")))
        yield


@pytest.fixture(scope="session")
def make_subject() -> Callable[..., Subject]:
    """``make_subject(name, va, other, seed=0)``: waves that a network can tell apart in seconds."""
    return made_subject


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real records, or a skip that says why."""
    folder = os.environ.get("FEWBEATS_DATA")
    if not folder:
        pytest.skip("FEWBEATS_DATA is not set: no real records to test on")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.skip(f"FEWBEATS_DATA names {path}, which is no folder")
    return path

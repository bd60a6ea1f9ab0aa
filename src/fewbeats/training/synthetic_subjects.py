"""Made-up people to train on where there is no database yet.

They let ``fewbeats train`` run on a fresh machine, and show that the whole way works. A model of
them has seen no patient: a bundle says so of itself.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fewbeats.device.preprocess import WindowSpec
from fewbeats.errors import DataError
from fewbeats.firmware_bridge.simulate.scenario import (
    Disturbance,
    Scenario,
    Segment,
    SimulatedRhythm,
)
from fewbeats.firmware_bridge.simulate.synthetic import synthetic_ecg
from fewbeats.training.datasets import Dataset, Recording, Subject, subject_of

DATABASE = "synthetic"
RATE_HZ = 250.0
_CALM_EVERY = 3  # so many people of whom one has no VA
_FEWEST = 3

_CALM = (
    SimulatedRhythm.SINUS,
    SimulatedRhythm.PVC,
    SimulatedRhythm.TACHYCARDIA,
    SimulatedRhythm.BRADYCARDIA,
    SimulatedRhythm.AF,
    SimulatedRhythm.SVT,
)
_VA = (SimulatedRhythm.VT, SimulatedRhythm.VFL, SimulatedRhythm.VF)
_CALM_S = (40.0, 70.0)
_VA_S = (25.0, 50.0)
_MILD = (Disturbance.WANDER, Disturbance.MAINS)  # they spoil the signal and seldom hide it
_HIDING = (Disturbance.MUSCLE, Disturbance.MOTION)


def synthetic_dataset(
    spec: WindowSpec,
    count: int = 24,
    seed: int = 0,
    stretches: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> Dataset:
    """Make people up, each with a heart and a day of their own; one in three has no VA.

    Args:
        spec: what a window is.
        count: how many people.
        seed: which people; the same seed makes the same.
        stretches: whether to cut training stretches too.
        progress: called before each person with (done, total, name).

    Raises:
        DataError: fewer people than training needs, or a negative seed.
    """
    if count < _FEWEST or seed < 0:
        raise DataError(
            f"Synthetic data need at least {_FEWEST} people and a seed from 0; got {count} and "
            f"{seed}."
        )
    subjects = {}
    for number in range(count):
        name = f"{DATABASE}/{number:02d}"
        if progress:
            progress(number, count, name)
        subjects[name] = _person(name, number, seed, spec, stretches)
    if progress:
        progress(count, count, "")
    return Dataset(
        subjects=subjects,
        licences={DATABASE: "made by the simulator of fewbeats: nobody's data, Apache-2.0"},
        synthetic=True,
    )


def _person(name: str, number: int, seed: int, spec: WindowSpec, stretches: bool) -> Subject:
    rng = np.random.default_rng([seed, number])
    has_va = number % _CALM_EVERY != _CALM_EVERY - 1
    heart = int(rng.integers(1 << 31))
    ecg = synthetic_ecg(_day(rng, has_va), RATE_HZ, heart)
    recording = Recording((ecg.samples_uv,), ecg.labels)
    return replace(subject_of(name, [recording], spec, stretches), synthetic=True)


def _day(rng: np.random.Generator, has_va: bool) -> Scenario:
    """A few minutes in which calm rhythms and, for those who have it, VA take turns."""
    calm = [SimulatedRhythm.SINUS, *rng.permutation(list(_CALM[1:]))[: 3 if has_va else 5]]
    va = list(rng.permutation(list(_VA))) if has_va else []
    segments = []
    for turn, rhythm in enumerate(calm):
        segments += _spell(SimulatedRhythm(rhythm), _CALM_S, rng)
        if turn < len(va):
            segments += _spell(SimulatedRhythm(va[turn]), _VA_S, rng)
    return Scenario(tuple(segments))


def _spell(
    rhythm: SimulatedRhythm, length_s: tuple[float, float], rng: np.random.Generator
) -> list[Segment]:
    """One rhythm: most of it clean, some of it under a disturbance."""
    total_s = round(rng.uniform(*length_s), 1)
    spoilt_s = round(total_s * rng.uniform(0.15, 0.3), 1)
    pool = _MILD if rng.uniform() < 0.7 else _HIDING
    disturbance = pool[int(rng.integers(len(pool)))]
    gain = round(rng.uniform(0.6, 1.3), 2)
    return [
        Segment(rhythm, total_s - spoilt_s, gain=gain),
        Segment(rhythm, spoilt_s, (disturbance,), gain),
    ]

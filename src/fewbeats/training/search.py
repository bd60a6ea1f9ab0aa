"""Network shapes tried at random, and which of them nobody beats at their cost.

Random search, with the cheap trials weeded out early (successive halving; Jamieson and
Talwalkar, AISTATS 2016). A shape is judged by meta-validation subjects alone, on several splits
of the training subjects; subjects to report on must be held back by whoever searches.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewbeats.device.files import write_atomically
from fewbeats.errors import DataError
from fewbeats.training.config import NetworkConfig, Recipe
from fewbeats.training.crossvalidate import Report, train_runs
from fewbeats.training.datasets import Subject
from fewbeats.training.network import cost, finished_backbone

SPLITS = 3
MOST_PARAMETERS = 90_000
"""An int8 backbone has about as many bytes; 100 KB are the limit."""
SEARCH_FILE = "search.json"
_SHORT = 0.25  # share of the steps in the first round, in which every shape takes part
_KEPT = 0.34  # share of the shapes that go on to the second


@dataclass(frozen=True, slots=True)
class Trial:
    """One shape and what it came to.

    Attributes:
        network: the shape.
        parameters: of the backbone.
        macs: multiply-accumulates of one window.
        score: mean AUC of meta-validation over supports and splits.
        steps: outer steps that it was trained for.
    """

    network: NetworkConfig
    parameters: int
    macs: int
    score: float
    steps: int


def draw_shapes(
    count: int, seed: int, samples: int, first: NetworkConfig | None = None
) -> list[NetworkConfig]:
    """Different shapes within the limits, ``first`` or the default before the others."""
    rng = np.random.default_rng(seed)
    shapes = [first or NetworkConfig()]
    while len(shapes) < count:
        layers = int(rng.integers(2, 5))
        width = int(rng.choice([8, 12, 16, 24, 32, 48]))
        growth = float(rng.choice([1.0, 1.5, 2.0]))
        shape = NetworkConfig(
            channels=tuple(8 * max(1, round(width * growth**i / 8)) for i in range(layers)),
            kernels=tuple(int(rng.choice([5, 7, 9, 15, 21])) for _ in range(layers)),
            strides=tuple(int(rng.integers(1, 4)) for _ in range(layers)),
            features=int(rng.choice([16, 24, 32, 48, 64])),
            dropout=float(rng.choice([0.0, 0.1, 0.2])),
        )
        parameters, _ = cost(finished_backbone(shape), samples)
        if parameters <= MOST_PARAMETERS and shape not in shapes:
            shapes.append(shape)
    return shapes


def search(
    recipe: Recipe,
    subjects: Mapping[str, Subject],
    folder: Path,
    trials: int = 16,
    seed: int = 0,
    report: Report | None = None,
    workers: int = 1,
    told: Callable[[str], None] | None = None,
) -> list[Trial]:
    """Try shapes, and write what they came to.

    Every split sets other subjects aside as validation subjects; nobody is scored twice by the
    same network, and no subject is trained on and scored in one split.

    Args:
        recipe: everything but the shape.
        subjects: everybody, loaded with stretches.
        folder: of the trials; what is finished is not done again.
        trials: shapes in the first round.
        seed: of the shapes and trainings.
        report: of progress.
        workers: processes that share the trials.
        told: called with a line after each round.

    Returns:
        The trials of the last round, the best first.

    Raises:
        DataError: too few subjects, or the folder cannot be written.
    """
    shapes = draw_shapes(trials, seed, recipe.window.samples, recipe.network)
    short = max(1, round(_SHORT * recipe.meta.steps))
    first = _round(recipe, shapes, short, subjects, folder, seed, report, workers)
    kept = [trial.network for trial in first[: max(1, round(_KEPT * len(first)))]]
    if told:
        told(f"{len(first)} shapes tried for {short} steps; {len(kept)} go on")
    best = _round(recipe, kept, recipe.meta.steps, subjects, folder, seed, report, workers)
    _save(folder, first, best)
    return best


def undominated(trials: list[Trial]) -> list[Trial]:
    """Those that no other trial beats in score at the same cost or less, cheapest first."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (t.macs, -t.score)):
        if not front or trial.score > front[-1].score:
            front.append(trial)
    return front


def _round(
    recipe: Recipe,
    shapes: list[NetworkConfig],
    steps: int,
    subjects: Mapping[str, Subject],
    folder: Path,
    seed: int,
    report: Report | None,
    workers: int,
) -> list[Trial]:
    jobs = {}
    for index, shape in enumerate(shapes):
        changed = replace(
            recipe,
            network=shape,
            meta=replace(recipe.meta, steps=steps),
            validation=replace(recipe.validation, share=0.0),
            finish=replace(recipe.finish, steps=0),
        )
        for split in range(SPLITS):
            name = f"{steps} steps, shape {index + 1}, split {split + 1}"
            jobs[name] = (changed, folder / f"{steps}" / _name(shape) / f"split-{split}", split)
    runs = train_runs(jobs, subjects, seed, SPLITS, report, workers)
    trials = []
    for index, shape in enumerate(shapes):
        own = runs[index * SPLITS : (index + 1) * SPLITS]
        scores = [
            figures["mean"]["auc"]
            for run in own
            for support, figures in run.metrics.items()
            if support != "random"
        ]
        if not scores:
            raise DataError("No validation subject of the search could be scored; add records.")
        parameters, macs = cost(finished_backbone(shape), recipe.window.samples)
        trials.append(Trial(shape, parameters, macs, float(np.mean(scores)), steps))
    return sorted(trials, key=lambda trial: (-trial.score, trial.macs))


def _name(shape: NetworkConfig) -> str:
    parts = (shape.channels, shape.kernels, shape.strides, (shape.features,))
    return "_".join("-".join(map(str, part)) for part in parts) + f"_{shape.dropout:g}"


def _save(folder: Path, *rounds: list[Trial]) -> None:
    content: list[list[dict[str, Any]]] = [[asdict(trial) for trial in r] for r in rounds]
    try:
        write_atomically(folder / SEARCH_FILE, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise DataError(f"Cannot write to {folder}: {error.strerror}.") from error

"""What each part of the method is worth: every way of training, with every way of adapting.

All train with the same budget, on the same folds, without meta-validation and finishing: the last
weights are kept, and int8 is what calibration alone makes of them. A shorter training shortens
the curriculum's measurements alike. Subjects without VA have no AUC and are left out of the
scoring. Beside them stand the published architecture, trained by the same code with the same
learning rate on 125-Hz windows, and a rule that counts peaks.

Every arm is adapted in the same ways, whatever its own inner loop was: the head by the device's
code, with the step sizes that ANIL learned or the recipe's for the others; or all weights by
``full_tuning``. Fine-tuning without pre-fine-tuning takes as many gradient steps as with it.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fewbeats.device.files import write_atomically
from fewbeats.errors import DataError
from fewbeats.training.config import METHODS, Recipe
from fewbeats.training.crossvalidate import FOLDS, Report, fold_folder, train_runs
from fewbeats.training.datasets import Subject
from fewbeats.training.evaluate import Evaluation, Judge, Model, Protocol, Support, evaluate_all
from fewbeats.training.full_tuning import FullTuning
from fewbeats.training.network import cost, finished_backbone
from fewbeats.training.peak_rule import fit_peak_rule
from fewbeats.training.splits import assign_folds
from fewbeats.training.trained import Trained
from fewbeats.training.workers import all_or_none

SHOTS = 10
DRAWS = 1
SUPPORTS = (Support.NORMALS, Support.FIRST, Support.RANDOM)
ABLATION_FILE = "ablation.json"
_REFERENCE_FEATURES = 64
_REFERENCE_DROPOUT = 0.1
_RANGE_WINDOWS = 1024

Embed = Callable[[NDArray[np.float32]], NDArray[np.floating]]
Quantise = Callable[[Trained, Mapping[str, Subject]], Embed]
"""Makes the int8 form of a trained backbone; export is a floor above this one."""
Scores = dict[tuple[str, str], list[Evaluation]]
"""Evaluations by adaptation and precision, one a protocol."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of training.

    Attributes:
        method: "supervised", "maml", "anil" or "reference".
        curriculum: whether the easy subjects come first.
        recipe: how it is trained.
    """

    method: str
    curriculum: bool
    recipe: Recipe

    @property
    def folder(self) -> str:
        """Its runs' place."""
        return f"{self.method}{'-curriculum' if self.curriculum else ''}"


def arms_of(recipe: Recipe, steps: int | None = None) -> list[Arm]:
    """Every way of training that is compared, from one recipe, with as many outer steps each."""
    plain = replace(
        recipe,
        meta=replace(recipe.meta, steps=steps or recipe.meta.steps),
        validation=replace(recipe.validation, share=0.0),
        finish=replace(recipe.finish, steps=0),
    )
    shorter = plain.meta.steps / recipe.meta.steps
    every = max(1, round(recipe.curriculum.every * shorter))
    arms = []
    for method in METHODS:
        for curriculum in (True, False):
            changed = replace(
                plain,
                meta=replace(plain.meta, method=method),
                curriculum=replace(plain.curriculum, enabled=curriculum, every=every),
            )
            arms.append(Arm(method, curriculum, changed))
    reference = replace(
        plain,
        network=replace(
            plain.network,
            kind="reference",
            features=_REFERENCE_FEATURES,
            dropout=_REFERENCE_DROPOUT,
        ),
        curriculum=replace(plain.curriculum, enabled=False),
    )
    return [*arms, Arm("reference", False, reference)]


def train_arms(
    arms: list[Arm],
    subjects: Mapping[str, Subject],
    folder: Path,
    seed: int = 0,
    report: Report | None = None,
    workers: int = 1,
) -> dict[str, list[Trained]]:
    """Train every arm on every fold; what is finished is read back.

    Returns:
        The folds' runs, by the arm's folder.
    """
    jobs = {
        f"{arm.folder}, fold {fold + 1}": (arm.recipe, fold_folder(folder / arm.folder, fold), fold)
        for arm in arms
        for fold in range(FOLDS)
    }
    runs = train_runs(jobs, subjects, seed, FOLDS, report, workers)
    return {arm.folder: runs[i * FOLDS : (i + 1) * FOLDS] for i, arm in enumerate(arms)}


def score_arms(
    arms: list[Arm],
    runs: Mapping[str, list[Trained]],
    subjects: Mapping[str, Subject],
    quantise: Quantise,
    seed: int = 0,
    workers: int = 1,
    told: Callable[[int, int, str], None] | None = None,
) -> list[dict[str, Any]]:
    """Score every arm, and the peak-counting rule: results as a report has them.

    Args:
        arms: the ways of training.
        runs: each arm's folds.
        subjects: everybody.
        quantise: makes int8 forms; a function of a module, since other processes call it.
        seed: of the folds.
        workers: processes that share the runs; the result is the same with any number.
        told: called with (done, in all, what) after each run, and in the end.
    """
    # Stretches are for training; without them everybody fits into another process.
    people = {name: replace(subject, stretches=None) for name, subject in subjects.items()}
    # The dear ones first, so that no process is left with one of them alone.
    order = sorted(arms, key=lambda arm: arm.recipe.network.kind == "separable")
    jobs = [(arm.folder, trained) for arm in order for trained in runs[arm.folder]]
    scored: dict[str, Scores] = {}

    def take(done: int, name: str, found: Scores) -> None:
        scored[name] = _joined(scored.get(name, {}), found)
        if told:
            told(done + 1, len(jobs) + 1, name)

    if workers > 1:
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _one_thread)
        with all_or_none(pool):
            rule = pool.submit(score_peak_rule, people, seed)
            waiting = [pool.submit(score_run, run, people, quantise) for _, run in jobs]
            for done, ((name, _), future) in enumerate(zip(jobs, waiting, strict=True)):
                take(done, name, future.result())
            peaks = rule.result()
    else:
        for done, (name, trained) in enumerate(jobs):
            take(done, name, score_run(trained, people, quantise))
        peaks = score_peak_rule(people, seed)
    if told:
        told(len(jobs) + 1, len(jobs) + 1, "")
    results: list[dict[str, Any]] = []
    for arm in arms:
        results += _results(
            arm.method,
            arm.curriculum,
            scored[arm.folder],
            *cost(finished_backbone(arm.recipe.network), arm.recipe.window.samples),
        )
    return results + _results("peaks", False, peaks, 2, 0)


def score_run(trained: Trained, subjects: Mapping[str, Subject], quantise: Quantise) -> Scores:
    """Score one network on those it held back, with every adaptation, in fp32 and in int8."""
    held_back = {n: subjects[n] for n in trained.held_back if subjects[n].va.any()}
    return {
        (adaptation, precision): evaluate_all(
            held_back, judge, _protocols(adaptation), trained.seen
        )
        for (adaptation, precision), judge in _judges(trained, subjects, quantise).items()
    }


def score_peak_rule(subjects: Mapping[str, Subject], seed: int = 0) -> Scores:
    """The peak-counting rule, fitted to the training subjects of each fold."""
    assigned = assign_folds(subjects, FOLDS, seed)
    scored: Scores = {}
    for fold in range(FOLDS):
        training = [s for name, s in subjects.items() if assigned[name] != fold]
        held_back = {n: s for n, s in subjects.items() if assigned[n] == fold and s.va.any()}
        rule = fit_peak_rule(training)
        found: Scores = {
            (adaptation, "fp32"): evaluate_all(held_back, rule, _protocols(adaptation))
            for adaptation in ("none", "fine-tuning")
        }
        scored = _joined(scored, found)
    return scored


def _joined(before: Scores, found: Scores) -> Scores:
    """The scores of one more fold added to those of the others."""
    if not before:
        return found
    return {
        way: [old.merged(new) for old, new in zip(before[way], evaluations, strict=True)]
        for way, evaluations in found.items()
    }


def _results(
    method: str, curriculum: bool, scored: Scores, parameters: int, macs: int
) -> list[dict[str, Any]]:
    return [
        _result(method, curriculum, adaptation, precision, evaluation, parameters, macs)
        for (adaptation, precision), evaluations in scored.items()
        for evaluation in evaluations
    ]


def _one_thread() -> None:
    torch.set_num_threads(1)


def save_ablation(folder: Path, results: list[dict[str, Any]]) -> None:
    """Write the results, to be joined with a report.

    Raises:
        DataError: they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(results, indent=1) + "\n"
        write_atomically(folder / ABLATION_FILE, text.encode())
    except OSError as error:
        raise DataError(f"Cannot write to {folder}: {error.strerror}.") from error


def load_ablation(path: Path) -> list[Any]:
    """The results that ``save_ablation`` wrote; what they hold is checked with the report.

    Raises:
        DataError: they cannot be read.
    """
    file = path / ABLATION_FILE if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read the ablation {file}: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{file} is no JSON: {error}.") from error
    if not isinstance(content, list):
        raise DataError(f"{file} is no list of an ablation's results.")
    return content


def _judges(
    trained: Trained, subjects: Mapping[str, Subject], quantise: Quantise
) -> dict[tuple[str, str], Judge]:
    """What is scored of one network, by adaptation and precision."""
    windows = np.concatenate([subjects[name].windows for name in trained.training])
    count = min(_RANGE_WINDOWS, len(windows))
    chosen = np.random.default_rng(trained.seed).choice(len(windows), count, replace=False)
    judges: dict[tuple[str, str], Judge] = {
        ("full", "fp32"): FullTuning(trained),
    }
    embeds: dict[str, Embed] = {"fp32": trained.embed}
    if trained.recipe.network.kind == "separable":
        embeds["int8"] = quantise(trained, subjects)
        judges["full", "int8"] = FullTuning(trained, windows[np.sort(chosen)])
    ways = {
        "none": trained.adapt,
        "fine-tuning": replace(
            trained.adapt, rounds=0, steps=trained.adapt.steps + 2 * trained.adapt.rounds
        ),
        "pre-fine-tuning": trained.adapt,
    }
    for precision, embed in embeds.items():
        prototypes = embed(trained.prototype_windows)
        for adaptation, config in ways.items():
            judges[adaptation, precision] = Model(embed, trained.start, config, prototypes)
    return judges


def _protocols(adaptation: str) -> list[Protocol]:
    """The supports that an adaptation is scored with; all weights need the wearer's own VA."""
    if adaptation == "none":
        return [Protocol(Support.NONE, SHOTS)]
    supports = SUPPORTS if adaptation != "full" else SUPPORTS[1:]
    return [Protocol(support, SHOTS, draws=DRAWS) for support in supports]


def _result(
    method: str,
    curriculum: bool,
    adaptation: str,
    precision: str,
    evaluation: Evaluation,
    parameters: int,
    macs: int,
) -> dict[str, Any]:
    content = evaluation.as_dict()
    low_high = {name: content["interval"][name] or (None, None) for name in ("auc", "f1")}
    return {
        "method": method,
        "curriculum": curriculum,
        "adaptation": adaptation,
        "precision": precision,
        "support": content["protocol"]["support"],
        "shots": content["protocol"]["shots"],
        "subjects": content["count"],
        **{
            name: {"mean": content["mean"][name], "low": low, "high": high}
            for name, (low, high) in low_high.items()
        },
        "worst": content["worst"],
        "parameters": parameters,
        "macs": macs,
    }

"""Five folds: every subject is scored by a network that had no part of it.

The runs lie in folders of their own and are kept, so that an interrupted cross-validation goes
on, and what is measured later is measured on the very same networks.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty

import torch

from fewbeats.errors import DataError
from fewbeats.training.config import Recipe
from fewbeats.training.datasets import Subject
from fewbeats.training.pretrain import Progress, pretrain
from fewbeats.training.splits import assign_folds
from fewbeats.training.trained import Trained, is_trained, load_trained
from fewbeats.training.workers import all_or_none

FOLDS = 5
_LOOK_S = 0.5  # how often finished and failed processes are looked for

Report = Callable[[str, Progress], None]
"""Called with a fold's name after each of its steps."""


def fold_folder(folder: Path, fold: int) -> Path:
    """Where the run of a fold lies."""
    return folder / f"fold-{fold}"


def train_folds(
    recipe: Recipe,
    subjects: Mapping[str, Subject],
    folder: Path,
    seed: int = 0,
    folds: int = FOLDS,
    report: Report | None = None,
    workers: int = 1,
) -> list[Trained]:
    """Train as often as there are folds, each time with one fold held back.

    Args:
        recipe: how.
        subjects: everybody, loaded with stretches.
        folder: where the runs go; finished ones are read back, interrupted ones go on.
        seed: of folds and training.
        folds: how many.
        report: of progress.
        workers: processes that share the folds; the result is the same with any number.

    Raises:
        DataError: fewer subjects than folds, or a folder with runs of another recipe, seed or
            data.
    """
    jobs = {
        f"fold {fold + 1} of {folds}": (recipe, fold_folder(folder, fold), fold)
        for fold in range(folds)
    }
    return train_runs(jobs, subjects, seed, folds, report, workers)


def train_runs(
    jobs: Mapping[str, tuple[Recipe, Path, int]],
    subjects: Mapping[str, Subject],
    seed: int = 0,
    folds: int = FOLDS,
    report: Report | None = None,
    workers: int = 1,
) -> list[Trained]:
    """Train named runs, (recipe, folder, fold held back) each, on as many processes."""
    assigned = assign_folds(subjects, folds, seed)
    if workers <= 1 or len(jobs) == 1:
        return [
            _train(subjects, assigned, job, seed, _telling(report, name))
            for name, job in jobs.items()
        ]
    context = get_context("spawn")
    told: Queue[tuple[str, Progress]] = context.Queue()
    pool = ProcessPoolExecutor(
        workers, context, initializer=_prepare, initargs=(dict(subjects), assigned, seed, told)
    )
    with all_or_none(pool):
        futures = [pool.submit(_train_apart, name, job) for name, job in jobs.items()]
        waiting = set(futures)
        while waiting:
            with suppress(Empty):
                news = told.get(timeout=_LOOK_S)
                if report:
                    report(*news)
            for future in [f for f in waiting if f.done()]:
                future.result()  # the first failure ends them all
                waiting.remove(future)
    return [load_trained(folder) for _, folder, _ in jobs.values()]


def load_folds(folder: Path) -> list[Trained]:
    """The finished runs of a cross-validation.

    Raises:
        DataError: one is missing, they do not go together, or a subject was held back twice.
    """
    folders: Iterator[Path] = iter(sorted(folder.glob("fold-*")))
    runs = [load_trained(path) for path in folders if is_trained(path)]
    if len(runs) < 2 or len(runs) != len(list(folder.glob("fold-*"))):
        raise DataError(
            f"{folder} holds {len(runs)} finished folds of a cross-validation; make them with "
            f"fewbeats train --folds."
        )
    kinds = {(str(run.recipe.as_dict()), run.seed) for run in runs}
    if len(kinds) > 1:
        raise DataError(f"The folds in {folder} are of different recipes or seeds.")
    names = [name for run in runs for name in run.held_back]
    if len(set(names)) < len(names):
        raise DataError(f"The folds in {folder} hold a subject back twice.")
    if never := sorted({name for run in runs for name in run.seen} - set(names)):
        raise DataError(
            f"No fold in {folder} holds back {', '.join(never[:5])}{' ...' if never[5:] else ''}: "
            f"a fold is missing; make it again with fewbeats train --folds."
        )
    return runs


def _train(
    subjects: Mapping[str, Subject],
    assigned: Mapping[str, int],
    job: tuple[Recipe, Path, int],
    seed: int,
    progress: Callable[[Progress], None] | None,
) -> Trained:
    recipe, folder, fold = job
    held_back = [name for name, number in assigned.items() if number == fold]
    return pretrain(recipe, subjects, held_back, seed, progress, folder)


def _telling(report: Report | None, name: str) -> Callable[[Progress], None] | None:
    return (lambda now: report(name, now)) if report else None


class _Worker:
    """What a process of the pool is given once, at its start."""

    subjects: Mapping[str, Subject]
    assigned: Mapping[str, int]
    seed: int
    told: "Queue[tuple[str, Progress]]"


def _prepare(
    subjects: Mapping[str, Subject],
    assigned: Mapping[str, int],
    seed: int,
    told: "Queue[tuple[str, Progress]]",
) -> None:
    torch.set_num_threads(1)
    _Worker.subjects, _Worker.assigned = subjects, assigned
    _Worker.seed, _Worker.told = seed, told
    told.cancel_join_thread()  # news that nobody reads must not keep a process alive


def _train_apart(name: str, job: tuple[Recipe, Path, int]) -> None:
    def progress(now: Progress) -> None:
        if now.step % 5 == 0 or now.step == now.steps:
            _Worker.told.put((name, now))

    _train(_Worker.subjects, _Worker.assigned, job, _Worker.seed, progress)

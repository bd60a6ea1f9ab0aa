"""``fewbeats ablate``: what each part of the method is worth."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fewbeats.cli.extras import needing
from fewbeats.cli.progress import progress_bar, progress_bars

if TYPE_CHECKING:
    from fewbeats.training.ablation import Embed
    from fewbeats.training.datasets import Subject
    from fewbeats.training.pretrain import Progress
    from fewbeats.training.trained import Trained


def run_ablation(
    data: Path, out: Path, config: Path | None, steps: int | None, seed: int, workers: int
) -> None:
    """Train every arm on every fold, score them, and write the results.

    Raises:
        MissingExtraError: torch or onnx are not installed.
        DataError: records, recipe or folder cannot be used, or training diverged.
    """
    with needing("export", "An ablation"):
        import onnxscript  # noqa: F401  # the exporter fails late without it
        import torch

        from fewbeats.cli.subjects import read_subjects
        from fewbeats.training.ablation import (
            arms_of,
            save_ablation,
            score_arms,
            train_arms,
        )
        from fewbeats.training.config import load_recipe
    torch.set_num_threads(1)
    recipe = load_recipe(config)
    dataset = read_subjects(data, recipe.window, stretches=True)
    arms = arms_of(recipe, steps)
    with progress_bars() as bars:

        def on_step(name: str, now: "Progress") -> None:
            bars(name, now.step, now.steps, f"loss {now.loss:.3f}")

        runs = train_arms(arms, dataset.subjects, out, seed, on_step, workers)
    with progress_bar("scoring") as report:
        results = score_arms(arms, runs, dataset.subjects, _quantised, seed, workers, report)
    save_ablation(out, results)
    typer.echo(
        f"written to {out}: {len(results)} results; put them on a page with: fewbeats evaluate "
        f"--data DATA --folds RUNS --ablation {out} --report FOLDER"
    )


def _quantised(trained: "Trained", subjects: "Mapping[str, Subject]") -> "Embed":
    from fewbeats.device.backbone import OnnxBackbone
    from fewbeats.export.pack import int8_model, range_windows

    return OnnxBackbone(int8_model(trained, range_windows(trained, subjects))).embed

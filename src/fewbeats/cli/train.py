"""``fewbeats train``: meta-train a backbone, or cross-validate the recipe."""

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from fewbeats.cli.extras import needing
from fewbeats.cli.progress import progress_bar
from fewbeats.errors import DataError

SHIPPED_FOLD = 3
"""Of five: its subjects are held back from a training that names none itself."""


def train_network(
    data: Path,
    out: Path,
    config: Path | None,
    seed: int,
    hold_back: str | None,
    folds: bool,
) -> None:
    """Train on every subject but those held back, and write the run's folder.

    Raises:
        MissingExtraError: torch is not installed.
        DataError: records, recipe or folder cannot be used, or training diverged.
    """
    with needing("training", "Training"):
        import torch

        from fewbeats.training.config import load_recipe
        from fewbeats.training.crossvalidate import assign_folds, cross_validate
        from fewbeats.training.datasets import load_dataset
        from fewbeats.training.pretrain import Progress, pretrain
    torch.set_num_threads(1)  # sums in another order are other weights; and small nets lose none
    recipe = load_recipe(config)
    with progress_bar("reading records") as report:
        dataset = load_dataset(data, recipe.window, stretches=True, progress=report)
    for name, reason in dataset.excluded.items():
        typer.echo(f"left out: {name}: {reason}", err=True)

    if folds:
        with progress_bar("training folds") as report:

            def on_fold(fold: int, now: Progress) -> None:
                text = f"fold {fold + 1} of 5, loss {now.loss:.3f}"
                report(fold * now.steps + now.step, 5 * now.steps, text)

            result = cross_validate(recipe, dataset.subjects, seed=seed, progress=on_fold)
        content = {str(k): evaluation.as_dict() for k, evaluation in result.evaluations.items()}
        _write(out, {"recipe": recipe.as_dict(), "seed": seed, "supports": content})
        _print(content)
        return

    if hold_back is None:
        assigned = assign_folds(dataset.subjects, seed=seed)
        held_back = [name for name, fold in assigned.items() if fold == SHIPPED_FOLD]
    else:
        held_back = [name.strip() for name in hold_back.split(",") if name.strip()]
    with progress_bar("meta-training") as report:

        def on_step(now: Progress) -> None:
            auc = "" if now.validation_auc is None else f", AUC held back {now.validation_auc:.4f}"
            report(now.step, now.steps, f"loss {now.loss:.3f}{auc}")

        trained = pretrain(recipe, dataset.subjects, held_back, seed, on_step)
    trained.save(out)
    typer.echo(
        f"written to {out}; {len(trained.training)} subjects trained on, "
        f"{len(trained.validation)} held back"
    )
    _print(trained.metrics)


def _write(out: Path, content: object) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=1) + "\n"
        (out / "crossvalidation.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"Cannot write to {out}: {error.strerror}.") from error


def _print(supports: dict[str, Any]) -> None:
    table = Table(title="subjects never seen, 10 windows a class")
    for name in ("support", "subjects", "AUC", "worst AUC", "F1", "sensitivity", "specificity"):
        table.add_column(name, justify="left" if name == "support" else "right")
    for support, figures in supports.items():
        mean, worst = figures["mean"], figures["worst"]
        table.add_row(
            support,
            str(figures["count"]),
            f"{mean['auc']:.4f}",
            f"{worst['auc']:.3f} {worst['subject']}",
            *(f"{mean[name]:.3f}" for name in ("f1", "sensitivity", "specificity")),
        )
    Console(highlight=False).print(table)

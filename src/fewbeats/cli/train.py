"""``fewbeats train``: meta-train a backbone, or one for each fold of a cross-validation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from fewbeats.cli.extras import needing
from fewbeats.cli.progress import progress_bar, progress_bars

if TYPE_CHECKING:
    from fewbeats.training.config import Recipe
    from fewbeats.training.pretrain import Progress


def train_network(
    data: Path | None,
    out: Path,
    config: Path | None,
    seed: int,
    hold_back: str,
    folds: bool,
    workers: int,
    device: str,
) -> None:
    """Train on every subject but those held back, and write the run's folder.

    Raises:
        MissingExtraError: torch is not installed.
        DataError: records, recipe or folder cannot be used, or training diverged.
    """
    with needing("training", "Training"):
        import torch

        from fewbeats.cli.subjects import read_subjects
        from fewbeats.training.config import load_recipe
        from fewbeats.training.parallel import joined
        from fewbeats.training.pretrain import pretrain
    torch.set_num_threads(1)  # sums in another order are other weights; and small nets lose none
    recipe = load_recipe(config)
    if folds:
        _train_folds(data, out, recipe, seed, workers)
        return
    with joined(device) as place:
        dataset = read_subjects(data, recipe.window, stretches=True, quiet=not place.first)
        names = [name.strip() for name in hold_back.split(",") if name.strip()]
        with progress_bar("meta-training", quiet=not place.first) as report:

            def on_step(now: "Progress") -> None:
                report(now.step, now.steps, _told(now))

            trained = pretrain(recipe, dataset.subjects, names, seed, on_step, out, place)
        if not place.first:
            return
    _draw(out)
    typer.echo(
        f"written to {out}: {len(trained.training)} subjects trained on, "
        f"{len(trained.held_back)} held back, the weights of step {trained.kept_step} kept"
    )
    if trained.synthetic:
        typer.echo("the subjects were made up: this network is fit for nobody")
    print_supports(trained.metrics)


def _train_folds(data: Path | None, out: Path, recipe: "Recipe", seed: int, workers: int) -> None:
    from fewbeats.cli.subjects import read_subjects
    from fewbeats.training.crossvalidate import fold_folder, train_folds

    dataset = read_subjects(data, recipe.window, stretches=True)
    with progress_bars() as report:

        def on_step(fold: str, now: "Progress") -> None:
            report(fold, now.step, now.steps, _told(now))

        runs = train_folds(recipe, dataset.subjects, out, seed, report=on_step, workers=workers)
    for fold, run in enumerate(runs):
        folder = fold_folder(out, fold)
        _draw(folder)
        typer.echo(f"{folder}: {len(run.held_back)} subjects held back, step {run.kept_step} kept")
    typer.echo(f"score them with: fewbeats evaluate --data DATA --folds {out}")


def _told(now: "Progress") -> str:
    auc = "" if now.validation_auc is None else f", validation AUC {now.validation_auc:.4f}"
    return f"{now.phase}: loss {now.loss:.3f}{auc}"


def _draw(folder: Path) -> None:
    from fewbeats.training.history import load_history
    from fewbeats.training.report.run_figures import draw_run

    draw_run(folder, load_history(folder))


def print_supports(supports: dict[str, Any]) -> None:
    """Figures by support, as ``evaluate_supports`` has them, as a table."""
    if not supports:
        return
    table = Table(title="subjects never seen, 10 windows a class, fp32")
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

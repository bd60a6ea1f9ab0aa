"""``fewbeats search``: network shapes, by accuracy at their cost."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from fewbeats.cli.extras import needing
from fewbeats.cli.progress import progress_bars
from fewbeats.errors import DataError

if TYPE_CHECKING:
    from fewbeats.training.pretrain import Progress


def search_networks(
    data: Path,
    out: Path,
    config: Path | None,
    trials: int,
    seed: int,
    hold_back: str,
    workers: int,
) -> None:
    """Try shapes and print those that nobody beats at their cost.

    Raises:
        MissingExtraError: torch is not installed.
        DataError: records, recipe or folder cannot be used.
    """
    with needing("training", "Searching networks"):
        import torch

        from fewbeats.cli.subjects import read_subjects
        from fewbeats.training.config import load_recipe
        from fewbeats.training.search import search, undominated
    torch.set_num_threads(1)
    recipe = load_recipe(config)
    dataset = read_subjects(data, recipe.window, stretches=True)
    apart = {name.strip() for name in hold_back.split(",") if name.strip()}
    if unknown := apart - set(dataset.subjects):
        raise DataError(f"Subjects to hold back are not in the data: {', '.join(sorted(unknown))}.")
    subjects = {name: s for name, s in dataset.subjects.items() if name not in apart}
    with progress_bars() as bars:

        def on_step(name: str, now: "Progress") -> None:
            bars(name, now.step, now.steps, f"loss {now.loss:.3f}")

        found = search(
            recipe,
            subjects,
            out,
            trials,
            seed,
            on_step,
            workers,
            lambda line: typer.echo(line, err=True),
        )
    best = undominated(found)
    table = Table(title="shapes by meta-validation; * nothing cheaper is better")
    for name in ("", "channels", "kernels", "strides", "features", "dropout"):
        table.add_column(name)
    for name in ("parameters", "MACs", "AUC"):
        table.add_column(name, justify="right")
    for trial in found:
        shape = trial.network
        lists = (" ".join(map(str, v)) for v in (shape.channels, shape.kernels, shape.strides))
        table.add_row(
            "*" if trial in best else "",
            *lists,
            str(shape.features),
            f"{shape.dropout:g}",
            f"{trial.parameters}",
            f"{trial.macs}",
            f"{trial.score:.4f}",
        )
    Console(highlight=False).print(table)
    typer.echo("score the one you choose on subjects that the search never saw")

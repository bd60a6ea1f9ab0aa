"""The subjects that a verb works on: a folder of records, or made-up people without one."""

from pathlib import Path

import typer

from fewbeats.cli.progress import progress_bar
from fewbeats.device.preprocess import WindowSpec
from fewbeats.training.datasets import Dataset, load_dataset
from fewbeats.training.synthetic_subjects import synthetic_dataset


def read_subjects(
    data: Path | None, spec: WindowSpec, stretches: bool = False, quiet: bool = False
) -> Dataset:
    """Read a folder, and say who is left out; without a folder, make people up.

    Raises:
        DataError: no record, or none that can be used.
    """
    if data is None:
        if not quiet:
            typer.echo("no --data: training on made-up people, which is fit for nobody", err=True)
        with progress_bar("making people up", quiet) as report:
            return synthetic_dataset(spec, stretches=stretches, progress=report)
    with progress_bar("reading records", quiet) as report:
        dataset = load_dataset(data, spec, stretches=stretches, progress=report)
    if not quiet:
        for name, reason in dataset.excluded.items():
            typer.echo(f"left out: {name}: {reason}", err=True)
    return dataset

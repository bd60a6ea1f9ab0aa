"""``fewbeats data``: databases from PhysioNet, and what a folder of records holds."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from fewbeats.cli.extras import needing
from fewbeats.cli.progress import progress_bar
from fewbeats.device.preprocess import WindowSpec
from fewbeats.firmware_bridge.records import open_record
from fewbeats.training.datasets import Dataset, find_subjects, load_dataset
from fewbeats.training.labels import WindowCounts


def fetch_databases(databases: list[str], out: Path, mirror: str | None, as_json: bool) -> None:
    """Bring databases and say under which terms.

    Raises:
        MissingExtraError: the wfdb package is not installed.
        DataError: one of them cannot be brought; those before it are whole.
    """
    with needing("wfdb", "Fetching databases"):
        from wfdb import set_db_index_url

        from fewbeats.training.fetch import fetch_database
    if mirror:
        set_db_index_url(mirror)
    fetched = []
    for name in dict.fromkeys(databases):
        with progress_bar(f"fetching {name}") as report:
            fetched.append(fetch_database(name, out, report))
    if as_json:
        rows = [asdict(one) | {"folder": str(one.folder)} for one in fetched]
        typer.echo(json.dumps({"databases": rows}, indent=1))
        return
    for one in fetched:
        typer.echo(
            f"{one.folder}: {one.database} {one.version}, {one.files} files, {one.loaded} of them "
            f"loaded now ({one.loaded_bytes / 1e6:.1f} MB)\n"
            f"  licence: {one.licence}\n  cite: {one.citation}"
        )


@dataclass(slots=True)
class Holding:
    """What one database contributes; windows lie end to end."""

    subjects: int = 0
    with_va: int = 0
    records: int = 0
    hours: float = 0.0
    va: int = 0
    non_va: int = 0
    mixed: int = 0
    noisy: int = 0
    unlabelled: int = 0
    unusable: int = 0
    excluded: int = 0
    licence: str = ""
    citation: str = ""

    def add(self, counts: WindowCounts) -> None:
        """Count one subject."""
        self.subjects += 1
        self.with_va += counts.va > 0
        for name, value in asdict(counts).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(slots=True)
class Survey:
    """What a folder holds."""

    databases: dict[str, Holding] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)


def list_data(folder: Path, as_json: bool) -> None:
    """Print what a folder of databases holds, and what is left out, and why.

    Raises:
        DataError: there is no record in it, or none that can be used.
    """
    spec = WindowSpec()
    with progress_bar("reading records") as report:
        survey = survey_of(folder, load_dataset(folder, spec, progress=report))
    if as_json:
        content = {"window_s": spec.window_s, **asdict(survey)}
        typer.echo(json.dumps(content, indent=1))
    else:
        _print(Console(highlight=False), survey, spec)


def survey_of(folder: Path, dataset: Dataset) -> Survey:
    """Count what was read, database by database.

    Args:
        folder: the records.
        dataset: what was read of them.
    """
    survey = Survey(excluded=dict(dataset.excluded))
    for name, headers in find_subjects(folder).items():
        database = name.partition("/")[0]
        holding = survey.databases.setdefault(database, Holding())
        if name not in dataset.subjects:
            holding.excluded += 1
            continue
        holding.add(dataset.subjects[name].counts)
        holding.licence = dataset.licences[database]
        holding.citation = dataset.citations.get(database, "")
        for header in headers:
            record = open_record(header)
            holding.records += 1
            holding.hours += record.length / record.rate_hz / 3600
    return survey


def _print(console: Console, survey: Survey, spec: WindowSpec) -> None:
    table = Table(title=f"windows of {spec.window_s:g} s, end to end")
    table.add_column("database")
    for column in ("subjects", "with VA", "hours", "VA", "other", "set aside", "excluded"):
        table.add_column(column, justify="right")
    for name, held in survey.databases.items():
        aside = held.mixed + held.noisy + held.unlabelled + held.unusable
        numbers = (held.va, held.non_va, aside, held.excluded)
        table.add_row(
            name,
            str(held.subjects),
            str(held.with_va),
            f"{held.hours:.1f}",
            *(str(number) for number in numbers),
        )
    console.print(table)
    all_of = survey.databases.values()
    console.print(
        f"set aside: {sum(held.unlabelled for held in all_of)} unlabelled, "
        f"{sum(held.noisy for held in all_of)} noisy, {sum(held.mixed for held in all_of)} part "
        f"VA, {sum(held.unusable for held in all_of)} flat, clipped or implausible",
        style="dim",
    )
    for name, held in survey.databases.items():
        if held.licence:
            console.print(f"{name}: {held.licence}. {held.citation}", style="dim", soft_wrap=True)
    for subject, reason in survey.excluded.items():
        console.print(f"left out: {subject}: {reason}", markup=False, soft_wrap=True)

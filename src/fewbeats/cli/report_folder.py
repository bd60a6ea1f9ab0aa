"""``fewbeats report``: a report.json as a page with figures."""

import shlex
from pathlib import Path

import typer

from fewbeats.cli.extras import needing


def draw_report(report: Path, out: Path | None, docs: Path | None) -> None:
    """Write the page and its figures beside the report, or where they are asked for.

    Args:
        report: ``report.json``, or the folder that holds it.
        out: folder for ``report.md`` and ``figures/``; None for the report's own, unless only
            a page of documentation is asked for.
        docs: page of documentation, whose figures go into a folder beside it.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataError: the report cannot be read, or something cannot be written.
    """
    with needing("training", "Drawing a report"):
        from fewbeats.training.report.content import load_report
        from fewbeats.training.report.folder import write_page, write_report
    content = load_report(report)
    if out or not docs:
        folder = out or (report if report.is_dir() else report.parent)
        typer.echo(f"written: {write_report(folder, content)}")
    if docs:
        typer.echo(f"written: {write_page(docs, content, _command(report, docs))}")


def _command(report: Path, docs: Path) -> str:
    """What to type for the page again; of a full path only its end, which is not of one machine."""
    return shlex.join(["fewbeats", "report", _end(report), "--docs", _end(docs)])


def _end(path: Path) -> str:
    return str(Path(*path.parts[-2:])) if path.is_absolute() else str(path)

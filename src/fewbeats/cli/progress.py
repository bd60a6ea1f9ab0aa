"""Progress bars on standard error, so that standard output stays data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Report = Callable[[int, int, str], None]


@contextmanager
def progress_bar(title: str, quiet: bool = False) -> Iterator[Report]:
    """A bar for (done, total, what) reports."""
    with progress_bars(quiet) as report:
        yield lambda done, total, what: report(title, done, total, what)


@contextmanager
def progress_bars(quiet: bool = False) -> Iterator[Callable[[str, int, int, str], None]]:
    """Bars for work in several parts, for (part, done, total, what) reports.

    A part's bar appears with its first report and goes when it is done, if there are others.
    """
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
        console=Console(stderr=True),
        disable=quiet,
    )
    rows: dict[str, object] = {}
    with bars:

        def report(part: str, done: int, total: int, what: str) -> None:
            if part not in rows:
                for row in list(bars.tasks):
                    if row.finished:
                        row.visible = False
                rows[part] = bars.add_task(part, total=None, what="")
            bars.update(rows[part], completed=done, total=total, what=what)  # type: ignore[arg-type]

        yield report

"""A report as files: the Markdown, and a folder of figures that it shows by relative links."""

from pathlib import Path

from fewbeats.device.files import write_atomically
from fewbeats.errors import DataError
from fewbeats.training.report.content import Report
from fewbeats.training.report.figures import draw_figures
from fewbeats.training.report.markdown import report_markdown

PAGE_NAME = "report.md"
FIGURES_NAME = "figures"


def write_report(folder: Path, content: Report) -> Path:
    """Write ``report.md`` and ``figures/`` into a folder; give the page's path.

    Raises:
        DataError: something cannot be written.
    """
    return _write(folder / PAGE_NAME, folder / FIGURES_NAME, content, "")


def write_page(page: Path, content: Report, drawn_by: str) -> Path:
    """Write a page with its figures in a folder beside it that has the page's name.

    Args:
        page: such as ``docs/results.md``, whose figures go to ``docs/results/``.
        content: what ``load_report`` gives.
        drawn_by: the command that makes the page of the content, shown at its head.

    Raises:
        DataError: something cannot be written.
    """
    if not page.suffix:
        raise DataError(f"{page} is no name of a page: give it an ending, such as {page}.md.")
    return _write(page, page.with_suffix(""), content, drawn_by)


def _write(page: Path, figures: Path, content: Report, drawn_by: str) -> Path:
    files = draw_figures(figures, content)
    links = {name: f"{figures.name}/{file.name}" for name, file in files.items()}
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(page, report_markdown(content, links, drawn_by).encode())
    except OSError as error:
        raise DataError(f"Cannot write {page}: {error.strerror or error}.") from error
    return page

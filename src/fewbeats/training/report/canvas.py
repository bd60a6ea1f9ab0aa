"""The look that all figures share, and their bytes: the same content gives the same file."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fewbeats.device.files import write_atomically
from fewbeats.errors import DataError

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Told apart by colour-blind people (Okabe and Ito, "Color Universal Design", 2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P")
INK = "#222222"
FAINT = "#b8b8b8"
MOST_ROWS = 60
"""Subjects that one figure names; more would be no figure but a list."""
_DPI = 150
_STYLE = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.titlesize": 11,
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with this module's settings, whatever matplotlibrc the machine has."""
    with style.context(["default", _STYLE]):
        yield


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure that arranges its parts itself, bound to no window system."""
    figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG without time or program, so that equal content gives equal bytes.

    Raises:
        DataError: it cannot be written.
    """
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data.getvalue())
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror or error}.") from error


def legend_above(axes: Axes, columns: int) -> None:
    """The legend over the axes, where it hides no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.2)

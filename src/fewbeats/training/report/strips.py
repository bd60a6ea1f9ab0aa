"""Wrongly judged windows on ECG paper, for eyes that can tell what they show."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from fewbeats.training.report.canvas import INK, new_figure
from fewbeats.training.report.cells import share
from fewbeats.training.report.content import Evaluation, Strip, named

SMALL_BOX_S = 0.04
LARGE_BOX_S = 0.2
_PAPER, _SMALL, _LARGE = "#fff7f4", "#f8dcd5", "#eeb3a6"
_COLUMNS = 2


def strips_figure(evaluation: Evaluation) -> Figure:
    """All strips of an evaluation, two in a row, on one scale of amplitude.

    Windows are standardised one by one before they are judged, so amplitude is in standard
    deviations: how large a wave was in millivolts is not to be seen here.
    """
    strips = evaluation["strips"]
    finite = [s for strip in strips for s in strip["samples"] if s is not None] or [0.0]
    low, high = 2 * math.floor(min(finite) / 2), 2 * math.ceil(max(finite) / 2)
    rows = -(-len(strips) // _COLUMNS)
    figure = new_figure(10, 0.8 + 1.65 * rows)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, strip in zip(panels, strips, strict=False):
        _paper(axes, evaluation["window_s"], min(low, -2), max(high, 2))
        _draw(axes, strip, evaluation["window_s"])
    for axes in panels[len(strips) :]:
        axes.set_axis_off()
    protocol = evaluation["protocol"]
    which = named(protocol["support"], protocol["shots"])
    figure.suptitle(
        f"Most wrongly judged windows, {which}; small box {SMALL_BOX_S:g} s, amplitude in SD "
        f"of the window"
    )
    return figure


def _paper(axes: Axes, window_s: float, low: int, high: int) -> None:
    # Lines of its own, since a grid of ticks this fine takes seconds to arrange.
    for every_s, every, colour, width in (
        (SMALL_BOX_S, 0.5, _SMALL, 0.4),
        (LARGE_BOX_S, 2, _LARGE, 0.7),
    ):
        axes.vlines(np.arange(0, window_s, every_s), low, high, color=colour, lw=width, zorder=0)
        axes.hlines(np.arange(low, high, every), 0, window_s, color=colour, lw=width, zorder=0)
    axes.grid(visible=False)
    axes.set_facecolor(_PAPER)
    axes.set_xlim(0, window_s)
    axes.set_ylim(low, high)
    axes.set_xticks([])
    axes.yaxis.set_major_locator(MultipleLocator(2))
    axes.tick_params(length=0, labelsize=7)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw(axes: Axes, strip: Strip, window_s: float) -> None:
    # A sample that was not measured is a gap in the line.
    samples = np.array([math.nan if s is None else s for s in strip["samples"]], dtype=np.float64)
    time_s = np.arange(len(samples)) * window_s / max(len(samples), 1)
    axes.plot(time_s, samples, color=INK, lw=0.9)
    minutes, tenths = divmod(round(10 * strip["start_s"]), 600)
    at = f"{minutes}:{tenths / 10:04.1f}"
    truth = "VA" if strip["va"] else "no VA"
    axes.set_title(
        f"{strip['subject']} at {at} min: truth {truth}, probability {share(strip['probability'])}",
        fontsize=9,
    )

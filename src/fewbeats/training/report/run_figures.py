"""The figures of one training, drawn beside it from its history."""

from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from fewbeats.errors import DataError
from fewbeats.training.report.canvas import (
    COLOURS,
    FAINT,
    INK,
    house_style,
    legend_above,
    new_figure,
    save_figure,
)
from fewbeats.training.report.content import SUPPORTS, Amount, Share
from fewbeats.training.report.schema import checked

_SMOOTHED_OVER = 20
"""Steps that the smoothed loss looks back on."""
_VA_MARK = "● "


class Validation(TypedDict):
    """One meta-validation: mean AUC over supports, and that of each support."""

    step: int
    auc: NotRequired[Share]
    none: NotRequired[Share]
    normals: NotRequired[Share]
    first: NotRequired[Share]
    random: NotRequired[Share]


class Difficulty(TypedDict):
    """Query loss of each subject after adaptation, at each measurement."""

    steps: list[int]
    subjects: list[str]
    values: NotRequired[list[list[float | None]]]
    with_va: NotRequired[list[str]]


class Draws(TypedDict):
    """How often each subject had been drawn, at each measurement."""

    steps: list[int]
    subjects: list[str]
    counts: NotRequired[list[list[Amount]]]


class History(TypedDict, total=False):
    """What a training kept of itself; what is missing is not drawn."""

    loss: list[tuple[int, float]]
    learning_rate: list[tuple[int, float]]
    threshold: list[tuple[int, Share]]
    validation: list[Validation]
    difficulty: Difficulty
    draws: Draws
    kept_step: int | None


def draw_run(folder: Path, history: object) -> dict[str, Path]:
    """Draw ``learning.png``, ``difficulty.png`` and ``draws.png`` into a folder.

    Args:
        folder: where to; made if it is missing.
        history: plain values, as ``history.json`` holds them.

    Returns:
        The files by name; a figure without values is left out.

    Raises:
        DataError: the history is not what it should be, or a file cannot be written.
    """
    run: History = checked(history, History, "history")
    difficulty, draws = run.get("difficulty"), run.get("draws")
    measured = _table(difficulty, difficulty.get("values"), "difficulty") if difficulty else None
    counted = _table(draws, draws.get("counts"), "draws") if draws else None
    figures: dict[str, Figure] = {}
    with house_style():
        if run.get("loss"):
            figures["learning"] = _learning(run)
        order = None
        if difficulty and measured is not None:
            # Who was never measured sorts last.
            last = np.nan_to_num(measured[-1], nan=-np.inf)
            names = difficulty["subjects"]
            order = [names[i] for i in np.lexsort((names, -last))]
            marked = frozenset(difficulty.get("with_va", ()))
            figures["difficulty"] = _difficulties(difficulty, measured, order, marked)
        if draws and counted is not None:
            marked = frozenset(difficulty.get("with_va", ())) if difficulty else frozenset()
            if order is None or set(order) != set(draws["subjects"]):
                order = sorted(draws["subjects"])
            figures["draws"] = _drawn(run, draws, counted, order, marked)
        files = {name: folder / f"{name}.png" for name in figures}
        for name, figure in figures.items():
            save_figure(figure, files[name])
    return files


def _table(
    series: Difficulty | Draws, rows: list[list[float | None]] | list[list[float]] | None, name: str
) -> NDArray[np.float64] | None:
    """(steps, subjects), NaN where nothing was measured; None where there is nothing at all."""
    steps, subjects = series["steps"], series["subjects"]
    if not rows or not subjects:
        return None
    if len(rows) != len(steps) or any(len(row) != len(subjects) for row in rows):
        raise DataError(
            f"history.{name} needs a value for each of {len(steps)} steps and {len(subjects)} "
            f"subjects; it has {len(rows)} rows of {sorted({len(row) for row in rows})}."
        )
    if steps != sorted(set(steps)):
        raise DataError(f"history.{name}.steps do not rise: {steps[:20]}.")
    return np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=np.float64)


def _learning(run: History) -> Figure:
    rates, shares = run.get("learning_rate"), run.get("threshold")
    validation = [v for v in run.get("validation", []) if "auc" in v]
    heights = {"loss": 3.0, "auc": 3.0 if validation else 0.0}
    heights |= {"rate": 1.0 if rates else 0.0, "share": 1.0 if shares else 0.0}
    shown = {name: height for name, height in heights.items() if height}
    figure = new_figure(7.2, 0.9 + 0.75 * sum(shown.values()))
    grid = figure.subplots(
        len(shown), 1, sharex=True, squeeze=False, height_ratios=list(shown.values())
    )
    panels = dict(zip(shown, grid[:, 0], strict=True))
    _loss(panels["loss"], np.array(run["loss"], dtype=np.float64))
    if validation:
        _validation(panels["auc"], validation)
    if rates:
        panels["rate"].plot(*zip(*rates, strict=True), color=COLOURS[2], lw=1.2)
        panels["rate"].set_ylabel("learning\nrate")
        panels["rate"].set_ylim(0, None)
    if shares:
        panels["share"].plot(*zip(*shares, strict=True), color=COLOURS[3], lw=1.2)
        panels["share"].set_ylabel("subjects\nopen")
        panels["share"].set_ylim(0, 1.05)
        panels["share"].yaxis.set_major_formatter(PercentFormatter(1.0))
    kept = run.get("kept_step")
    for name, axes in panels.items():
        if kept is not None:
            label = f"kept: step {kept}" if name == "loss" else None
            axes.axvline(kept, color=INK, ls="--", lw=1, label=label)
    legend_above(panels["loss"], columns=3)
    figure.align_ylabels()
    grid[-1, 0].set_xlabel("outer step")
    return figure


def _loss(axes: Axes, loss: NDArray[np.float64]) -> None:
    steps, values = loss.T
    axes.plot(steps, values, color=FAINT, lw=0.7, label="each step")
    if len(values) > 2 * _SMOOTHED_OVER:
        total = np.cumsum(np.insert(values, 0, 0.0))
        smooth = (total[_SMOOTHED_OVER:] - total[:-_SMOOTHED_OVER]) / _SMOOTHED_OVER
        label = f"mean of {_SMOOTHED_OVER} steps"
        axes.plot(steps[_SMOOTHED_OVER - 1 :], smooth, color=COLOURS[0], lw=1.6, label=label)
    # One early spike must not flatten all that follows.
    axes.set_ylim(0, 1.3 * float(np.quantile(values, 0.99)) or None)
    axes.set_ylabel("query loss")


def _validation(axes: Axes, validation: list[Validation]) -> None:
    for colour, support in zip(COLOURS, SUPPORTS, strict=False):
        points = [(v["step"], dict(v)[support]) for v in validation if support in v]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, lw=0.9, label=support)
    steps, aucs = zip(*((v["step"], v["auc"]) for v in validation), strict=True)
    axes.plot(steps, aucs, "o-", color=INK, ms=3, lw=1.5, label="mean")
    axes.set_ylabel("validation AUC")
    legend_above(axes, columns=5)


def _difficulties(
    series: Difficulty, values: NDArray[np.float64], order: list[str], marked: frozenset[str]
) -> Figure:
    figure = new_figure(7.6, 1.4 + 0.135 * len(order))
    axes = figure.add_subplot()
    _heat_map(figure, axes, series, values, order, marked, "loss after adaptation, nats", "viridis")
    axes.set_title("Difficulty of each subject, the hardest in the end on top")
    return figure


def _drawn(
    run: History,
    series: Draws,
    counts: NDArray[np.float64],
    order: list[str],
    marked: frozenset[str],
) -> Figure:
    shares = run.get("threshold")
    figure = new_figure(7.6, (2.4 if shares else 1.4) + 0.135 * len(order))
    if shares:
        ratios = [1.0, 0.135 * len(order) + 0.4]
        above, axes = figure.subplots(2, 1, sharex=True, height_ratios=ratios)
        above.plot(*zip(*shares, strict=True), color=COLOURS[3], lw=1.4)
        above.set_ylim(0, 1.05)
        above.yaxis.set_major_formatter(PercentFormatter(1.0))
        above.set_ylabel("subjects open")
        above.set_title("Subjects that the curriculum drew, between two measurements")
    else:
        axes = figure.add_subplot()
        axes.set_title("Subjects that the curriculum drew, between two measurements")
    between = np.diff(counts, axis=0, prepend=0.0)
    _heat_map(figure, axes, series, between, order, marked, "times drawn", "Blues", from_start=True)
    return figure


def _heat_map(
    figure: Figure,
    axes: Axes,
    series: Difficulty | Draws,
    values: NDArray[np.float64],
    order: list[str],
    marked: frozenset[str],
    label: str,
    colours: str,
    from_start: bool = False,
) -> None:
    """One row a subject, one column a measurement, as wide as the steps that it stands for."""
    column = {name: i for i, name in enumerate(series["subjects"])}
    rows = values[:, [column[name] for name in order]].T
    steps = np.array(series["steps"], dtype=np.float64)
    gap = float(np.diff(steps)[-1]) if len(steps) > 1 else max(float(steps[-1]), 1.0)
    # Draws were made before the step at which they were counted; a difficulty holds from it on.
    edges = np.insert(steps, 0, 0.0) if from_start else np.append(steps, steps[-1] + gap)
    high = float(np.nanquantile(rows, 0.98)) if np.isfinite(rows).any() else 1.0
    mesh = axes.pcolormesh(
        edges,
        np.arange(len(order) + 1) - 0.5,
        np.ma.masked_invalid(rows),
        cmap=colours,
        vmin=0,
        vmax=high or 1.0,
    )
    axes.set_xlim(edges[0], edges[-1])
    axes.set_facecolor(FAINT)
    axes.grid(visible=False)
    size = 6.5 if len(order) <= 120 else 4
    names = [f"{_VA_MARK if name in marked else ''}{name}" for name in order]
    axes.set_yticks(range(len(order)), names, fontsize=size)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(order) - 0.5, -0.5)
    note = f" ({_VA_MARK.strip()} subject with VA)" if marked else ""
    axes.set_xlabel(f"outer step{note}")
    extend: Literal["max", "neither"] = "max" if (rows > high).any() else "neither"
    figure.colorbar(mesh, ax=axes, label=label, shrink=0.5, aspect=30, extend=extend)

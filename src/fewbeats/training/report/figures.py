"""The figures of a report, one file each. ``draw_figures`` draws what the content has."""

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fewbeats.training.report.ablation_figure import ablation_figure
from fewbeats.training.report.ablation_section import ablation_groups
from fewbeats.training.report.canvas import (
    COLOURS,
    INK,
    MARKERS,
    MOST_ROWS,
    house_style,
    legend_above,
    new_figure,
    save_figure,
)
from fewbeats.training.report.cells import amount, share
from fewbeats.training.report.content import (
    SUPPORTS,
    Evaluation,
    Report,
    StreamingEvaluation,
    SupportName,
    most_shots,
    named,
    watched_in_order,
)
from fewbeats.training.report.strips import strips_figure

_MOST_BINS = 40
_BIN_WIDTHS_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


def draw_figures(folder: Path, content: Report) -> dict[str, Path]:
    """Draw every figure that the content has values for.

    Returns:
        Their files by name, in the order of the report: ``roc``, ``subjects``,
        ``worst-SUPPORT``, ``delay``, ``false-alarms``, ``ablation-SUPPORT-K``.

    Raises:
        DataError: a file cannot be written.
    """
    files = {}
    with house_style():
        for name, draw in _planned(content).items():
            files[name] = folder / f"{name}.png"
            save_figure(draw(), files[name])
    return files


def _planned(content: Report) -> dict[str, Callable[[], Figure]]:
    evaluations = [e for e in most_shots(content.get("windows", [])) if e["subjects"]]
    watched = watched_in_order(content)
    planned: dict[str, Callable[[], Figure]] = {}
    if any(e["roc"] for e in evaluations):
        planned["roc"] = partial(_roc, evaluations)
    if evaluations:
        planned["subjects"] = partial(_subjects, evaluations)
    for evaluation in most_shots(content.get("windows", [])):
        if evaluation["strips"]:
            name = f"worst-{evaluation['protocol']['support']}"
            planned[name] = partial(strips_figure, evaluation)
    if any(e["total"]["delay_s"]["values"] for e in watched):
        planned["delay"] = partial(_delay, watched)
    if watched:
        planned["false-alarms"] = partial(_false_alarms, watched)
    for (support, shots), results in ablation_groups(content).items():
        name = f"ablation-{support}-{shots}"
        planned[name] = partial(ablation_figure, results, support, shots)
    return planned


def _look(support: SupportName) -> tuple[str, str]:
    """Colour and marker of a support: the same in every figure."""
    rank = SUPPORTS.index(support)
    return COLOURS[rank], MARKERS[rank]


def _label(evaluation: Evaluation) -> str:
    protocol = evaluation["protocol"]
    return named(protocol["support"], protocol["shots"])


def _roc(evaluations: list[Evaluation]) -> Figure:
    figure = new_figure(5.4, 4.6)
    axes = figure.add_subplot()
    lowest = 1.0
    for evaluation in evaluations:
        roc = evaluation["roc"]
        if roc is None:
            continue
        colour, _ = _look(evaluation["protocol"]["support"])
        label = f"{_label(evaluation)}: AUC {share(evaluation['mean']['auc'])}"
        axes.plot(roc["false_positive_rate"], roc["sensitivity"], color=colour, label=label, lw=1.6)
        lowest = min(lowest, *roc["sensitivity"][1:])
    # Linear up to 1 %, where a wearable has to be, logarithmic beyond.
    axes.set_xscale("symlog", linthresh=0.01, linscale=0.7)
    ticks = [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
    axes.set_xticks(ticks, [f"{100 * t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(np.floor(lowest * 10) / 10, 1.005)
    axes.set_xlabel("false positive rate, % of windows without VA (linear to 1, then logarithmic)")
    axes.set_ylabel("sensitivity")
    axes.set_title("Mean over subjects never seen")
    axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")
    return figure


def _subjects(evaluations: list[Evaluation]) -> Figure:
    lowest: dict[str, float] = {}
    for name, figures in chain.from_iterable(e["subjects"].items() for e in evaluations):
        if figures["auc"] is not None:
            lowest[name] = min(figures["auc"], lowest.get(name, 1.0))
    names = sorted(lowest, key=lambda name: (lowest[name], name))
    shown = names[:MOST_ROWS]
    figure = new_figure(8.4, 1.5 + 0.22 * len(shown))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, title in zip(panels, ("auc", "f1"), ("AUC", "F1"), strict=True):
        least = 1.0
        for i, evaluation in enumerate(evaluations):
            # A little apart, so that equal figures of two supports are both seen.
            offset = 0.75 * ((i + 0.5) / len(evaluations) - 0.5)
            points = [
                (value, row + offset)
                for row, name in enumerate(shown)
                if name in evaluation["subjects"]
                for value in [dict(evaluation["subjects"][name])[key]]
                if isinstance(value, float)
            ]
            colour, marker = _look(evaluation["protocol"]["support"])
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(
                x,
                y,
                marker,
                color=colour,
                ms=4.4 + (marker == "^"),
                mec="white",
                mew=0.4,
                label=_label(evaluation),
            )
            least = min(least, *x) if x else least
        margin = 0.03 * (1 - least) + 1e-3
        axes.set_xlim(least - margin, 1 + margin)
        axes.set_xlabel(title)
        axes.set_ylim(len(shown) - 0.5, -0.5)
    panels[0].set_yticks(range(len(shown)), shown)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(evaluations))
    which = f"the {len(shown)} lowest of {len(names)}" if names != shown else f"{len(names)}"
    panels[0].set_title(f"Subjects never seen: {which}, by lowest AUC")
    return figure


def _delay(watched: list[StreamingEvaluation]) -> Figure:
    timed = [e for e in watched if e["total"]["delay_s"]["values"]]
    values = [e["total"]["delay_s"]["values"] for e in timed]
    low, high = min(0.0, *map(min, values)), max(map(max, values))
    fitting = (w for w in _BIN_WIDTHS_S if (high - low) / w <= _MOST_BINS)
    width = next(fitting, (high - low) / _MOST_BINS)
    edges = np.arange(np.floor(low / width), np.floor(high / width) + 2) * width
    figure = new_figure(6.4, 0.7 + 1.6 * len(timed))
    panels = figure.subplots(len(timed), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, evaluation in zip(panels, timed, strict=True):
        delay, total = evaluation["total"]["delay_s"], evaluation["total"]
        colour, _ = _look(evaluation["support"])
        axes.hist(delay["values"], bins=list(edges), color=colour, edgecolor="white", lw=0.5)
        for value, text, dashes in (
            (delay["median"], "median", "-"),
            (delay["p90"], "90 % within", "--"),
        ):
            if value is not None:
                label = f"{text} {value:.1f} s"
                axes.axvline(value, color=INK, ls=dashes, lw=1, label=label)
        which = named(evaluation["support"], evaluation["shots"])
        axes.set_title(f"{which}: {total['found']} of {total['episodes']} episodes found")
        axes.legend(loc="upper right")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylabel("episodes")
    panels[-1].xaxis.set_major_locator(MaxNLocator(12, integer=True))
    panels[-1].set_xlabel(f"onset to alarm, s (bins of {width:g} s)")
    return figure


def _false_alarms(watched: list[StreamingEvaluation]) -> Figure:
    databases = sorted({name for e in watched for name in e["databases"]})
    rows = [*databases, "total"]
    figure = new_figure(7.2, 1.0 + (0.22 * len(watched) + 0.15) * len(rows))
    axes = figure.add_subplot()
    height = 0.8 / len(watched)
    most = 0.0
    for i, evaluation in enumerate(watched):
        colour, _ = _look(evaluation["support"])
        for row, name in enumerate(rows):
            of = evaluation["total"] if name == "total" else evaluation["databases"].get(name)
            if of is None:
                continue
            rate, y = of["false_alarms_per_hour"], row - 0.4 + (i + 0.5) * height
            text = f"{of['false_alarms']} in {amount(of['hours_outside_va'])} h"
            label = named(evaluation["support"], evaluation["shots"]) if name == "total" else None
            axes.barh(y, rate or 0.0, 0.85 * height, color=colour, label=label)
            most = max(most, rate or 0.0)
            axes.annotate(
                text if rate is not None else f"n/a ({text})",
                (rate or 0.0, y),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
            )
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.22 * most or 1.0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("false alarms an hour outside VA")
    legend_above(axes, columns=len(SUPPORTS))
    return figure

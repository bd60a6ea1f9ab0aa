"""The ablation as a forest plot: every way of training and adapting with its interval."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fewbeats.training.report.ablation_section import (
    adaptation_name,
    adaptations_of,
    method_name,
)
from fewbeats.training.report.canvas import COLOURS, FAINT, MARKERS, new_figure
from fewbeats.training.report.content import AblationResult


def ablation_figure(results: list[AblationResult], support: str, shots: int) -> Figure:
    """AUC and F1 of every result, grouped by the way of pre-training.

    Colour and marker tell the way of adapting; int8 is filled, fp32 hollow.
    """
    adaptations = adaptations_of(results)
    groups = list(dict.fromkeys(method_name(r) for r in results))
    rows: list[float] = []
    centres: list[float] = []
    edges: list[float] = []
    y = 0.0
    for group in groups:
        count = sum(method_name(r) == group for r in results)
        rows += [y + i for i in range(count)]
        centres.append(y + (count - 1) / 2)
        edges.append(y + count)
        y += count + 1
    figure = new_figure(8.4, 1.4 + 0.17 * y)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, title in zip(panels, ("auc", "f1"), ("AUC", "F1"), strict=True):
        for row, result in zip(rows, results, strict=True):
            figures = result["auc"] if key == "auc" else result["f1"]
            if figures["mean"] is None:
                continue
            look = adaptations.index(result["adaptation"]) % len(COLOURS)
            colour = COLOURS[look]
            if figures["low"] is not None and figures["high"] is not None:
                axes.plot([figures["low"], figures["high"]], [row, row], color=colour, lw=1.3)
            face = colour if result["precision"] == "int8" else "white"
            axes.plot(figures["mean"], row, MARKERS[look], color=colour, mfc=face, ms=5)
        for edge in edges[:-1]:
            axes.axhline(edge, color=FAINT, lw=0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{title}, mean over subjects and its 95 % interval")
    panels[0].set_yticks(centres, groups)
    panels[0].set_ylim(y - 0.5, -1)
    handles = [
        Line2D([], [], color=COLOURS[i % 6], marker=MARKERS[i % 6], ms=5, label=adaptation_name(a))
        for i, a in enumerate(adaptations)
    ]
    if len({r["precision"] for r in results}) > 1:
        handles.append(Line2D([], [], color=FAINT, marker="o", ls="", label="int8"))
        hollow = Line2D([], [], color=FAINT, marker="o", ls="", mfc="white", label="fp32")
        handles.append(hollow)
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    panels[0].set_title(f"Support {support}, K = {shots}")
    return figure

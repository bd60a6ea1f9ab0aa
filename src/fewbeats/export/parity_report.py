"""What parity looks like: a page, its numbers as JSON, and two figures for each form."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from fewbeats.device.bundle import NOTICE
from fewbeats.device.files import write_atomically
from fewbeats.device.head import Head, log_odds
from fewbeats.errors import ExportError
from fewbeats.export.parity import Parity
from fewbeats.export.windows import ProofWindows
from fewbeats.training.report.canvas import (
    COLOURS,
    INK,
    house_style,
    legend_above,
    new_figure,
    save_figure,
)
from fewbeats.training.report.cells import image, plain, table, whole

FORMAT = 1
PAGE_NAME, JSON_NAME = "parity.md", "parity.json"
_TITLES = {
    "onnx-int8": "ONNX Runtime, int8",
    "litert-int8": "LiteRT, int8",
    "onnx-fp32": "ONNX Runtime, fp32",
    "c99": "C99, int8",
}


def write_parity_report(
    folder: Path,
    proof: ProofWindows,
    head: Head,
    network: NDArray[np.float64],
    forms: dict[str, NDArray[np.float64]],
    parities: dict[str, Parity],
) -> Path:
    """Write ``parity.md``, ``parity.json`` and the figures into a folder; give the page's path.

    Args:
        folder: made where it is missing.
        proof: the windows that were compared.
        head: with which they were judged.
        network: (windows,), log-odds by the network in full precision.
        forms: (windows,), log-odds by each form.
        parities: how each form compares.

    Raises:
        ExportError: it cannot be written.
        DataError: a figure cannot be written.
    """
    edge = log_odds(head.threshold)
    worst = {name: _worst(parity, proof, network, forms[name]) for name, parity in parities.items()}
    content = {
        "format": FORMAT,
        "notice": NOTICE,
        "on": proof.told,
        "windows": len(proof.va),
        "va": int(proof.va.sum()),
        "threshold_log_odds": edge,
        "forms": [
            parity.as_dict()
            | {
                "limits": asdict(parity.limits),
                "faults": parity.faults(),
                "worst": worst[name],
            }
            for name, parity in parities.items()
        ],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write_atomically(folder / JSON_NAME, text.encode())
        page = "\n".join(_page(content, parities, worst))
        write_atomically(folder / PAGE_NAME, page.encode())
    except OSError as error:
        raise ExportError(f"Cannot write {folder}: {error.strerror or error}.") from error
    with house_style():
        for name, parity in parities.items():
            scatter = _scatter(name, network, forms[name], proof.va, edge)
            save_figure(scatter, folder / f"{name}-log-odds.png")
            drawn = _worst_figure(name, proof, parity.worst_window, worst[name])
            save_figure(drawn, folder / f"{name}-worst.png")
    return folder / PAGE_NAME


def _worst(
    parity: Parity,
    proof: ProofWindows,
    network: NDArray[np.float64],
    form: NDArray[np.float64],
) -> dict[str, Any]:
    """Where the window lies that differs most, and how both judge it."""
    index = parity.worst_window
    return {
        "subject": str(proof.subject[index]),
        "record": int(proof.record[index]),
        "start_s": float(proof.start_s[index]),
        "va": bool(proof.va[index]),
        "log_odds_fp32": float(network[index]),
        "log_odds_form": float(form[index]),
    }


def _page(
    content: dict[str, Any], parities: dict[str, Parity], worst: dict[str, dict[str, Any]]
) -> list[str]:
    passed = all(not parity.faults() for parity in parities.values())
    verdict = "Every form may be exported." if passed else "**Nothing is exported.**"
    head = (
        *("form", "passes", "correlation", "same decision", "AUC fp32", "AUC form"),
        *("sensitivity falls by", "specificity falls by", "int8 steps from ONNX int8"),
    )
    rows = [_row(name, parity) for name, parity in parities.items()]
    lines = [
        "# Exported forms against the trained network",
        "",
        NOTICE,
        "",
        f"{verdict} Proven on {whole(content['windows'])} windows, {whole(content['va'])} of them "
        f"VA: {content['on']}. No range was fitted to them. Limits in brackets; a sensitivity or "
        f"specificity below zero means that the form finds more than the network.",
        "",
        *table(head, rows, texts=2),
    ]
    for name, parity in parities.items():
        of = worst[name]
        lines += [f"## {_TITLES[name]}", ""]
        lines += [f"- **refused**: {fault}" for fault in parity.faults()]
        lines += [""] if parity.faults() else []
        lines += [
            f"The worst window is of {plain(of['subject'])}, {_at(of)}: log-odds of VA "
            f"{of['log_odds_fp32']:.3f} in fp32 and {of['log_odds_form']:.3f} in this form.",
            "",
        ]
        lines += image(f"{name}-log-odds.png", f"Log-odds of VA, {_TITLES[name]} against fp32.")
        lines += image(f"{name}-worst.png", f"The window that {_TITLES[name]} judges worst.")
    return lines


def _row(name: str, parity: Parity) -> list[str]:
    limits = parity.limits
    steps = "n/a" if parity.steps is None else f"{parity.steps:.2f} [{limits.steps:g}]"
    return [
        _TITLES[name],
        "no" if parity.faults() else "yes",
        f"{parity.correlation:.7f} [{limits.correlation:g}]",
        f"{parity.agreement:.5f} [{limits.agreement:g}]",
        f"{parity.auc_fp32:.6f}",
        f"{parity.auc_form:.6f} [±{limits.auc:g}]",
        f"{parity.sensitivity_loss:.5f} [{limits.loss:g}]",
        f"{parity.specificity_loss:.5f} [{limits.loss:g}]",
        steps,
    ]


def _scatter(
    name: str,
    network: NDArray[np.float64],
    form: NDArray[np.float64],
    va: NDArray[np.bool_],
    edge: float,
) -> Figure:
    figure = new_figure(5.4, 5.0)
    axes = figure.add_subplot()
    apart = (network >= edge) != (form >= edge)
    for chosen, colour, marker, label in (
        (~va & ~apart, COLOURS[0], ".", "no VA"),
        (va & ~apart, COLOURS[1], ".", "VA"),
        (apart, COLOURS[5], "x", "judged otherwise than in fp32"),
    ):
        count = f"{label}: {whole(float(chosen.sum()))}"
        axes.plot(network[chosen], form[chosen], marker, color=colour, ms=3, ls="", label=count)
    low = min(float(network.min()), float(form.min()))
    high = max(float(network.max()), float(form.max()))
    axes.plot([low, high], [low, high], color=INK, lw=0.6)
    axes.axvline(edge, color=INK, ls="--", lw=0.8)
    axes.axhline(edge, color=INK, ls="--", lw=0.8)
    axes.set_xlabel("log-odds of VA, network in fp32 (dashed: threshold)")
    axes.set_ylabel(f"log-odds of VA, {_TITLES[name]}")
    legend_above(axes, columns=2)
    return figure


def _worst_figure(name: str, proof: ProofWindows, index: int, of: dict[str, Any]) -> Figure:
    samples = proof.windows[index, 0]
    figure = new_figure(6.4, 2.4)
    axes = figure.add_subplot()
    axes.plot(np.arange(len(samples)) * proof.window_s / len(samples), samples, color=INK, lw=1)
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    axes.set_xlim(0, proof.window_s)
    axes.set_xlabel("s")
    axes.set_ylabel("SD of the window")
    axes.set_title(
        f"{_TITLES[name]}, worst window: {of['subject']}, {_at(of)}\n"
        f"log-odds {of['log_odds_fp32']:.3f} in fp32, {of['log_odds_form']:.3f} in this form",
        fontsize=9,
    )
    return figure


def _at(of: dict[str, Any]) -> str:
    """Where a window lies, and the truth about it."""
    minutes, seconds = divmod(math.floor(10 * of["start_s"]) / 10, 60)
    return (
        f"record {of['record'] + 1} at {minutes:.0f}:{seconds:04.1f} min "
        f"({'VA' if of['va'] else 'no VA'})"
    )

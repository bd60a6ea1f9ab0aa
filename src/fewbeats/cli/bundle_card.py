"""The model card on a terminal: what it was trained on, what it was measured at, where it ends.

A card is whatever its signer wrote. What has the expected form is shown in tables, anything else
as it stands.
"""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from fewbeats.cli.plain_text import plain

_FIGURES = ("auc", "f1", "sensitivity", "specificity")
_MOST = 400
_HUGE = 1e12


def print_card(console: Console, card: Mapping[str, Any]) -> None:
    """Print a card."""
    table = Table(title="model card", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("intended use", _text(card.get("intended_use", "the card does not say")))
    for limit in _items(card.get("limits", "the card names none")):
        table.add_row("limit", _text(limit))
    data = card.get("data", "the card does not say")
    if isinstance(data, Mapping) and isinstance(data.get("databases"), Mapping):
        for name, licence in data["databases"].items():
            table.add_row("data", f"{_text(name)}: {_text(licence)}")
        for citation in _items(data.get("citations", [])):
            table.add_row("cite", _text(citation))
        table.add_row("data, SHA-256", _text(data.get("sha256", "unknown")))
    else:
        table.add_row("data", _text(data))
    subjects = card.get("subjects")
    if isinstance(subjects, Mapping):
        for name in ("training", "held_back"):
            count = len(_items(subjects.get(name, [])))
            table.add_row(f"subjects, {name.replace('_', ' ')}", str(count))
    made_by = card.get("made_by")
    if isinstance(made_by, Mapping):
        table.add_row("made by", _text(made_by.get("command", made_by)))
        table.add_row("seed, versions", _text([made_by.get("seed"), made_by.get("versions")]))
    for name, value in card.items():
        if name.startswith("parity"):
            table.add_row(plain(name).replace("_", " "), _text(value))
    console.print(table)
    measured = card.get("metrics_cross_validated")
    if isinstance(measured, Mapping):
        _print_windows(console, "cross-validated, window by window", measured.get("windows"))
        _print_records(console, measured.get("whole_records"))
    _print_windows(console, "on subjects held back", card.get("metrics_held_back_int8"))
    if not any(name.startswith("metrics") for name in card):
        console.print("the card names no figures: nobody has said how good this is", style="bold")


def _print_windows(console: Console, title: str, protocols: object) -> None:
    """Figures by protocol: the mean over subjects, with its interval of 95 %."""
    if not isinstance(protocols, Mapping):
        return
    table = Table(title=f"{title}; mean over subjects [95 % interval]")
    table.add_column("calibrated from")
    for name in ("subjects", "AUC", "F1", "sensitivity", "specificity"):
        table.add_column(name, justify="right")
    for name, summary in protocols.items():
        found = summary if isinstance(summary, Mapping) else {}
        figures = [_figure(found.get("mean"), found.get("interval"), key) for key in _FIGURES]
        table.add_row(_text(name), _text(found.get("count", "?")), *figures)
    console.print(table)


def _print_records(console: Console, supports: object) -> None:
    if not isinstance(supports, Mapping):
        return
    table = Table(title="cross-validated, whole records")
    table.add_column("calibrated from")
    for name in ("episodes found", "of 5 s and more", "median delay, s", "false alarms an hour"):
        table.add_column(name, justify="right")
    for name, summary in supports.items():
        found = summary if isinstance(summary, Mapping) else {}
        table.add_row(
            _text(name),
            f"{_text(found.get('found', '?'))} of {_text(found.get('episodes', '?'))}",
            f"{_text(found.get('found_5s', '?'))} of {_text(found.get('episodes_5s', '?'))}",
            _number(found.get("median_delay_s"), ".1f"),
            _number(found.get("false_alarms_per_hour"), ".2f"),
        )
    console.print(table)


def _figure(means: object, intervals: object, key: str) -> str:
    mean = means.get(key) if isinstance(means, Mapping) else None
    text = _number(mean, ".3f")
    match intervals.get(key) if isinstance(intervals, Mapping) else None:
        case [low, high]:
            text += f" [{_number(low, '.3f')}, {_number(high, '.3f')}]"
    return text


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) and abs(value) < _HUGE else "?"


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: object) -> str:
    text = plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"

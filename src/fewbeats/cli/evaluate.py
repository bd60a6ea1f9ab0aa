"""``fewbeats evaluate``: what a bundle is worth on subjects it has never seen."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from fewbeats.cli.progress import progress_bar
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import DataError
from fewbeats.training.datasets import load_dataset
from fewbeats.training.evaluate import Evaluation, Model, Protocol, Support, evaluate


def evaluate_bundle(
    data: Path, bundle_path: Path | None, support: str, shots: int, json_file: Path | None
) -> None:
    """Score a bundle on every subject of a folder but those it was trained on.

    Raises:
        DataError: no records, or nobody who can be scored.
        BundleError: the bundle cannot be used.
    """
    bundle = load_bundle(bundle_path)
    backbone = bundle.backbone
    with progress_bar("reading records") as report:
        dataset = load_dataset(data, bundle.window, progress=report)
    model = Model(backbone.embed, bundle.start, bundle.adapt, bundle.prototypes)
    protocol = Protocol(Support(support), shots)
    with progress_bar("scoring subjects") as report:
        result = evaluate(dataset.subjects, model, protocol, bundle.trained_on, report)
    result.excluded.update(dataset.excluded)
    content = {
        **result.as_dict(),
        "excluded": dict(sorted(result.excluded.items())),
        "bundle": {"name": bundle.name, "version": bundle.version, "backbone": backbone.sha256},
    }
    text = json.dumps(content, indent=1)
    if json_file == Path("-"):
        typer.echo(text)
        return
    if json_file:
        try:
            json_file.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"Cannot write {json_file}: {error.strerror}.") from error
    _print(Console(highlight=False), result)


def _print(console: Console, result: Evaluation) -> None:
    protocol = result.protocol
    table = Table(title=f"support: {protocol.support}, {protocol.shots} windows a class")
    figures = ("auc", "f1", "sensitivity", "specificity")
    table.add_column("subject")
    for name in (*figures, "VA windows", "others"):
        table.add_column(name, justify="right")
    for subject, score in result.subjects.items():
        values = asdict(score)
        cells = [f"{values[f]:.3f}" for f in figures]
        table.add_row(subject, *cells, f"{score.va_windows:.0f}", f"{score.non_va_windows:.0f}")
    table.add_section()
    table.add_row("mean", *(f"{result.mean(f):.3f}" for f in figures), "", "", style="bold")
    console.print(table)
    worst = result.subjects[result.worst]
    console.print(f"worst AUC: {result.worst}, {worst.auc:.3f}")
    alarms = result.false_positives.values()
    if alarms:
        over, windows = (sum(values) for values in zip(*alarms, strict=True))
        console.print(f"{len(alarms)} subjects without VA: {over} of {windows} windows over")
    reasons: dict[str, int] = {}
    for reason in result.excluded.values():
        kind = re.sub(r"\d+", "n", reason)
        reasons[kind] = reasons.get(kind, 0) + 1
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        console.print(f"not scored: {count} x {reason}", style="dim")

"""``fewbeats export``: from a finished training to a bundle, and its card for people."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fewbeats.cli.extras import needing
from fewbeats.errors import ExportError

if TYPE_CHECKING:
    from fewbeats.training.trained import Trained


def export_bundle(run_folder: Path, data: Path | None, out: Path, report_path: Path | None) -> None:
    """Quantise, prove parity on windows that the ranges were not fitted to, pack, write.

    Raises:
        MissingExtraError: torch or onnx are not installed.
        ExportError: the network cannot be exported, or strays from what was trained.
        DataError: the run, the records or the report cannot be read.
    """
    with needing("export", "Exporting a network"):
        from fewbeats.cli.subjects import read_subjects
        from fewbeats.export.pack import pack
        from fewbeats.training.trained import load_trained
    trained = load_trained(run_folder)
    if trained.synthetic and data is not None:
        raise ExportError(f"{run_folder} was trained on made-up people: export it without --data.")
    measured = _measured(report_path, trained) if report_path else None
    dataset = read_subjects(data, trained.recipe.window)
    packed = pack(trained, dataset, _command(trained), measured)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        packed.bundle.save(out)
        card = json.dumps(packed.bundle.card, indent=1) + "\n"
        out.with_suffix(".card.json").write_text(card, encoding="utf-8")
    except OSError as error:
        raise ExportError(f"Cannot write {out}: {error.strerror}.") from error
    parity = packed.parity
    typer.echo(
        f"{out}: {out.stat().st_size} bytes, of them backbone {len(packed.bundle.model)}\n"
        f"parity on {parity.windows} windows: correlation {parity.correlation:.5f}, "
        f"same decision {parity.agreement:.4f}, AUC {parity.auc_fp32:.4f} fp32, "
        f"{parity.auc_int8:.4f} int8"
    )
    for support, figures in packed.bundle.card.get("metrics_held_back_int8", {}).items():
        mean, worst = figures["mean"], figures["worst"]
        typer.echo(
            f"{support:>8}: AUC {mean['auc']:.3f}, worst {worst['auc']:.3f} "
            f"({worst['subject']}), F1 {mean['f1']:.3f}, {figures['count']} subjects"
        )


def _command(trained: "Trained") -> str:
    """What people type to make the bundle again; the card holds the recipe."""
    from fewbeats.training.config import load_recipe

    data = "" if trained.synthetic else " --data DATA"
    hold_back = f" --hold-back {','.join(trained.held_back)}" if trained.held_back else ""
    config = "" if trained.recipe == load_recipe() else " --config recipe.toml"
    return (
        f"fewbeats train{data} --out RUN{config} --seed {trained.seed}{hold_back} && "
        f"fewbeats export RUN{data} --out BUNDLE"
    )


def _measured(path: Path, trained: "Trained") -> dict[str, Any]:
    """The cross-validated figures of a report, for the card.

    Raises:
        ExportError: it is no cross-validation of the recipe and data of the training.
    """
    from fewbeats.training.report.content import load_report

    content = load_report(path)
    if content["recipe"] is None:
        raise ExportError(f"{path} tells of a finished bundle, not of a cross-validation.")
    # As JSON has them: tuples are lists there.
    recipe = json.loads(json.dumps(trained.recipe.as_dict()))
    if content["recipe"] != recipe:
        parts = [name for name, value in recipe.items() if content["recipe"].get(name) != value]
        raise ExportError(
            f"{path} tells of another recipe: [{'], ['.join(parts)}] differ. Cross-validate this "
            f"one with train --folds and evaluate --folds."
        )
    if not trained.held_back and content["data"]["sha256"] != trained.data_sha256:
        raise ExportError(f"{path} tells of other data than {trained.data_sha256[:12]}...")
    kept = ("count", "mean", "interval", "percentile_10", "worst")
    streaming = {
        s["support"]: {k: v for k, v in s["total"].items() if k != "delay_s"}
        | {"median_delay_s": s["total"]["delay_s"]["median"]}
        for s in content.get("streaming", [])
    }
    return {
        "command": content["made_by"]["command"],
        "data_sha256": content["data"]["sha256"],
        "windows": {
            f"{e['protocol']['support']}, K = {e['protocol']['shots']}": {
                k: v for k, v in e.items() if k in kept
            }
            for e in content.get("windows", [])
        },
        "whole_records": streaming,
        "by_rhythm": {s["support"]: s["by_rhythm"] for s in content.get("streaming", [])},
    }

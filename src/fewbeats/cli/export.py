"""``fewbeats export``: from a finished training to a bundle, and its card for people."""

import json
from pathlib import Path

import typer

from fewbeats.cli.extras import needing
from fewbeats.cli.progress import progress_bar
from fewbeats.errors import ExportError


def export_bundle(run_folder: Path, data: Path, out: Path) -> None:
    """Quantise, prove parity on the held-back subjects, pack, write.

    Raises:
        MissingExtraError: torch or onnx are not installed.
        ExportError: the network cannot be exported, or strays from what was trained.
        DataError: the run or the records cannot be read.
    """
    with needing("export", "Exporting a network"):
        from fewbeats.export.pack import pack
        from fewbeats.training.datasets import load_dataset
        from fewbeats.training.pretrain import load_trained
    trained = load_trained(run_folder)
    with progress_bar("reading records") as report:
        dataset = load_dataset(data, trained.recipe.window, progress=report)
    command = (
        f"fewbeats train --data DATA --out RUN --seed {trained.seed} --hold-back "
        f"{','.join(trained.validation)} && fewbeats export RUN --data DATA --out BUNDLE"
    )
    packed = pack(trained, dataset.subjects, command)
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
        f"parity on {parity.windows} held-back windows: correlation {parity.correlation:.5f}, "
        f"same decision {parity.agreement:.4f}, AUC {parity.auc_fp32:.4f} fp32, "
        f"{parity.auc_int8:.4f} int8"
    )
    for support, figures in packed.bundle.card["metrics_held_back_int8"].items():
        mean, worst = figures["mean"], figures["worst"]
        typer.echo(
            f"{support:>8}: AUC {mean['auc']:.3f}, worst {worst['auc']:.3f} "
            f"({worst['subject']}), F1 {mean['f1']:.3f}, {figures['count']} subjects"
        )

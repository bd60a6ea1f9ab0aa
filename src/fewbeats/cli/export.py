"""``fewbeats export``: from a finished training to a bundle, its card, and the proof for people."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fewbeats import __version__
from fewbeats.cli.extras import needing
from fewbeats.cli.keys import open_signing_key, today
from fewbeats.device.bundle import version_of
from fewbeats.device.files import write_atomically
from fewbeats.device.keys import DEVELOPMENT_KEY, SigningKey
from fewbeats.errors import ExportError, KeyFileError

if TYPE_CHECKING:
    from fewbeats.export.pack import Packed
    from fewbeats.export.parity import Parity
    from fewbeats.training.trained import Trained


@dataclass(frozen=True, slots=True)
class Wanted:
    """What else is asked for.

    Attributes:
        report: of a cross-validation, whose figures go on the card.
        key: file of the private key to sign with; None for the development key.
        version: of the model; None for that of fewbeats.
        litert: whether the bundle has the LiteRT form.
        parity: folder for the parity report; None for one beside the bundle.
        fp32: file for the network in full precision.
        c99: folder for the two C files.
    """

    report: Path | None = None
    key: Path | None = None
    version: str | None = None
    litert: bool = True
    parity: Path | None = None
    fp32: Path | None = None
    c99: Path | None = None


def export_bundle(run_folder: Path, data: Path | None, out: Path, wanted: Wanted) -> None:
    """Quantise, prove parity on windows that the ranges were not fitted to, pack, sign, write.

    Raises:
        MissingExtraError: torch, onnx or litert-torch are not installed.
        ExportError: the network cannot be exported, or a form strays from what was trained.
        DataError: the run, the records or the report cannot be read.
        KeyFileError: the key cannot be used.
        BundleError: the version is none.
    """
    with needing("export", "Exporting a network"):
        from fewbeats.cli.subjects import read_subjects
        from fewbeats.export.pack import Release, pack
        from fewbeats.training.trained import load_trained
    version = wanted.version or __version__
    version_of(version)
    key = _key(wanted.key)
    trained = load_trained(run_folder)
    if trained.synthetic and data is not None:
        raise ExportError(f"{run_folder} was trained on made-up people: export it without --data.")
    measured = _measured(wanted.report, trained) if wanted.report else None
    dataset = read_subjects(data, trained.recipe.window)
    parity = wanted.parity or out.with_suffix(".parity")
    release = Release(version, wanted.litert, wanted.c99 is not None, parity)
    packed = pack(trained, dataset, _command(trained), measured, release)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        packed.bundle.save(out, key)
        card = json.dumps(packed.bundle.card, indent=1) + "\n"
        out.with_suffix(".card.json").write_text(card, encoding="utf-8")
        if wanted.fp32:
            wanted.fp32.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(wanted.fp32, packed.fp32)
    except OSError as error:
        where = error.filename or out
        raise ExportError(f"Cannot write {where}: {error.strerror}.") from error
    _tell(out, packed, parity)
    if wanted.fp32:
        typer.echo(f"{wanted.fp32}: fp32 ONNX to compare with, {len(packed.fp32)} bytes")
    if wanted.c99:
        _write_c(wanted.c99, packed)


def _key(path: Path | None) -> SigningKey:
    """The key to sign with, while a mistake costs no time yet."""
    if path is None:
        typer.echo(
            "SIGNED WITH THE DEVELOPMENT KEY: anybody can sign with it, and a gateway in "
            "production refuses this bundle. Sign with a key of yours: --key FILE",
            err=True,
        )
        return DEVELOPMENT_KEY
    key = open_signing_key(path)
    if key.public.expires is not None and today() > key.public.expires:
        raise KeyFileError(
            f"The key {path} expired on {key.public.expires}: gateways refuse what it signs now. "
            f"Make a new one: fewbeats keys new"
        )
    return key


def _tell(out: Path, packed: "Packed", parity: Path) -> None:
    """What was written, how large it is, and how far each form strays."""
    bundle = packed.bundle
    backbones = ", ".join(f"{form.runtime} {len(form.model)}" for form in bundle.forms)
    typer.echo(
        f"{out}: {out.stat().st_size} bytes, of them backbones: {backbones}; "
        f"{bundle.name} {bundle.version}"
    )
    for name, found in packed.parities.items():
        typer.echo(_line(name, found))
    typer.echo(f"parity report: {parity / 'parity.md'}")
    for support, figures in bundle.card.get("metrics_held_back_int8", {}).items():
        mean, worst = figures["mean"], figures["worst"]
        typer.echo(
            f"{support:>8}: AUC {mean['auc']:.3f}, worst {worst['auc']:.3f} "
            f"({worst['subject']}), F1 {mean['f1']:.3f}, {figures['count']} subjects"
        )


def _line(name: str, parity: "Parity") -> str:
    steps = "" if parity.steps is None else f", {parity.steps:.2f} int8 steps from onnx-int8"
    return (
        f"parity of {name} on {parity.windows} windows: correlation {parity.correlation:.5f}, "
        f"same decision {parity.agreement:.4f}, AUC {parity.auc_fp32:.4f} fp32, "
        f"{parity.auc_form:.4f} {name}{steps}"
    )


def _write_c(folder: Path, packed: "Packed") -> None:
    """The C files of the int8 form that was just proven."""
    from fewbeats.export.c_array import write_c

    sources = write_c(folder, packed.bundle.model, window=packed.bundle.window)
    typer.echo(
        f"{folder}: {sources.name}.h and {sources.name}.c, C99; flash {sources.flash_bytes} bytes "
        f"of weights, without the code; RAM {sources.ram_bytes} bytes, static; "
        f"{sources.macs} multiply-adds a window"
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

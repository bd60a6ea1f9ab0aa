"""``fewbeats evaluate``: what a bundle, or the folds of a recipe, are worth on unseen subjects."""

import json
import platform
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import typer
from rich.console import Console
from rich.table import Table

import fewbeats
from fewbeats.cli.extras import needing
from fewbeats.cli.progress import progress_bar
from fewbeats.cli.subjects import read_subjects
from fewbeats.device.bundle import NOTICE, Bundle
from fewbeats.device.files import check_writable, write_atomically
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import DataError
from fewbeats.training.datasets import Dataset, sha256_of, subject_mark
from fewbeats.training.evaluate import (
    Evaluation,
    Model,
    Protocol,
    Support,
    evaluate_all,
    standard_protocols,
)
from fewbeats.training.streaming import StreamingEvaluation, stream_dataset

_STREAMED = (Support.NONE, Support.NORMALS, Support.FIRST)
_STREAMED_SHOTS = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure and where to write it.

    Attributes:
        support: one kind of support, or all.
        shots: one number of support windows a class, or all.
        streaming: whether whole records are watched too.
        json_file: for all figures; "-" for standard output.
        report: folder for a page with figures.
        ablation: results of ``fewbeats ablate`` to put on the page.
        workers: processes that share the watching.
    """

    support: str | None
    shots: int | None
    streaming: bool
    json_file: Path | None
    report: Path | None
    ablation: Path | None
    workers: int

    @property
    def protocols(self) -> list[Protocol]:
        """How windows are scored: all standard protocols, or those that were chosen."""
        support, shots = self.support, self.shots
        if support is not None and shots is not None:
            return [Protocol(Support(support), shots)]
        chosen = [
            protocol
            for protocol in standard_protocols()
            if support in (None, protocol.support)
            and (shots in (None, protocol.shots) or protocol.support is Support.NONE)
        ]
        if shots is None or any(p.shots == shots for p in chosen if p.support is not Support.NONE):
            return chosen
        return [Protocol(Support.NONE), *(Protocol(s, shots) for s in Support if s != "none")]

    def check(self) -> list[Any]:
        """Find out before the work what would spoil its end; gives the ablation's results.

        Raises:
            MissingExtraError: matplotlib is not installed, and a report is asked for.
            DataError: the ablation cannot be read, or a folder cannot be written to.
        """
        results: list[Any] = []
        if self.ablation:
            with needing("training", "Reading an ablation"):
                from fewbeats.training.ablation import load_ablation
            results = load_ablation(self.ablation)
        if self.report:
            with needing("training", "Drawing a report"):
                import matplotlib  # noqa: F401
            _writable(self.report / "report.json")
        if self.json_file and self.json_file != Path("-"):
            _writable(self.json_file)
        return results


def _writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_writable(path)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror}.") from error


def evaluate_bundle(data: Path, bundle_path: Path | None, wanted: Wanted) -> None:
    """Score a bundle on every subject of a folder but those it was trained on.

    Raises:
        DataError: no records, or nobody who can be scored.
        BundleError: the bundle cannot be used.
    """
    ablation = wanted.check()
    bundle = load_bundle(bundle_path)
    dataset = read_subjects(data, bundle.window, quiet=wanted.json_file == Path("-"))
    seen = set(bundle.trained_on) | {
        name
        for name, subject in dataset.subjects.items()
        if subject_mark(subject) in bundle.trained_marks
    }
    with progress_bar("scoring subjects") as report:
        results = evaluate_all(dataset.subjects, _model(bundle), wanted.protocols, seen, report)
    unseen = {name: bundle for name in dataset.subjects if name not in seen}
    streamed = _streamed(data, unseen, wanted)
    content: dict[str, Any] = {
        "title": f"{bundle.name} {bundle.version}",
        "recipe": None,
        "bundle": {
            "name": bundle.name,
            "version": bundle.version,
            "backbone": bundle.backbone.sha256,
        },
        "parity": [],
        "ablation": ablation,
    }
    command = ["fewbeats", "evaluate", "--data", "DATA"]
    if bundle_path:
        command += ["--bundle", bundle_path.name]
    _finish(content, command, 0, dataset, results, streamed, wanted)


def evaluate_folds(data: Path, runs_folder: Path, wanted: Wanted) -> None:
    """Score the int8 form of every fold of a cross-validation on the subjects it held back.

    Raises:
        MissingExtraError: torch or onnx are not installed.
        DataError: a fold is missing, or the records are not those of the training.
        ParityError: an int8 form strays from its network.
    """
    with needing("export", "Scoring folds"):
        from fewbeats.export.pack import pack
        from fewbeats.training.crossvalidate import load_folds
    ablation = wanted.check()
    runs = load_folds(runs_folder)
    dataset = read_subjects(data, runs[0].recipe.window, quiet=wanted.json_file == Path("-"))
    results: list[Evaluation] = []
    bundles: dict[str, Bundle] = {}
    parities = []
    with progress_bar("scoring folds") as report:
        for fold, run in enumerate(runs):
            report(fold, len(runs), f"{len(run.held_back)} subjects held back")
            packed = pack(run, dataset, "cross-validation")
            parities.append({"fold": fold + 1, **packed.parity.as_dict()})
            bundles |= dict.fromkeys(run.held_back, packed.bundle)
            held_back = dataset.only(run.held_back)
            found = evaluate_all(held_back, _model(packed.bundle), wanted.protocols, run.seen)
            results = (
                [old.merged(new) for old, new in zip(results, found, strict=True)]
                if results
                else found
            )
        report(len(runs), len(runs), "")
    for name in sorted(set(dataset.subjects) - set(bundles)):
        dataset.excluded[name] = "belongs to no fold: it was not there at the training"
    content = {
        "title": f"Cross-validation of the recipe {runs[0].recipe.name}",
        "recipe": runs[0].recipe.as_dict(),
        "bundle": None,
        "parity": parities,
        "ablation": ablation,
    }
    command = ["fewbeats", "evaluate", "--data", "DATA", "--folds", runs_folder.name]
    streamed = _streamed(data, bundles, wanted)
    _finish(content, command, runs[0].seed, dataset, results, streamed, wanted)


def _model(bundle: Bundle) -> Model:
    return Model(bundle.backbone.embed, bundle.start, bundle.adapt, bundle.prototypes)


def _streamed(data: Path, bundles: dict[str, Bundle], wanted: Wanted) -> list[StreamingEvaluation]:
    if not wanted.streaming:
        return []
    found = []
    for support in _STREAMED:
        with progress_bar(f"watching whole records, {support}") as report:
            found.append(
                stream_dataset(data, bundles.get, support, _STREAMED_SHOTS, report, wanted.workers)
            )
    return found


def _finish(
    content: dict[str, Any],
    command: list[str],
    seed: int,
    dataset: Dataset,
    results: Sequence[Evaluation],
    streamed: Sequence[StreamingEvaluation],
    wanted: Wanted,
) -> None:
    """Print the figures, and write what is asked for."""
    for result in results:
        result.excluded.update(dataset.excluded)
    if wanted.streaming and not wanted.report:
        command.append("--streaming")
    if wanted.support:
        command += ["--support", wanted.support]
    if wanted.shots:
        command += ["--shots", str(wanted.shots)]
    if wanted.ablation:
        command += ["--ablation", wanted.ablation.name]
    if wanted.report:
        command += ["--report", wanted.report.name]
    databases: dict[str, int] = {}
    for name in dataset.subjects:
        database = name.partition("/")[0]
        databases[database] = databases.get(database, 0) + 1
    whole: Any = {
        "format": 1,
        **content,
        "notice": NOTICE,
        "precision": "int8",
        "made_by": {
            "command": shlex.join(command),
            "seed": seed,
            "versions": {
                "fewbeats": fewbeats.__version__,
                "numpy": np.__version__,
                "onnxruntime": onnxruntime.__version__,
                "python": platform.python_version(),
            },
        },
        "data": {
            "sha256": sha256_of(dataset.subjects.values()),
            "subjects": databases,
            "excluded": dataset.excluded,
        },
        "windows": [result.as_dict() for result in results],
        "streaming": [streaming.as_dict() for streaming in streamed],
    }
    scripted = wanted.json_file == Path("-")
    if scripted:
        typer.echo(json.dumps(whole, indent=1))
    elif wanted.json_file:
        try:
            write_atomically(wanted.json_file, (json.dumps(whole, indent=1) + "\n").encode())
        except OSError as error:
            raise DataError(f"Cannot write {wanted.json_file}: {error.strerror}.") from error
    if wanted.report:
        with needing("training", "Drawing a report"):
            from fewbeats.training.report.content import save_report
            from fewbeats.training.report.folder import write_report
        save_report(wanted.report, whole)
        page = write_report(wanted.report, whole)
        typer.echo(f"written: {page}", err=scripted)
    if scripted:
        return
    console = Console(highlight=False)
    if len(results) == 1:
        _print_subjects(console, results[0])
    else:
        _print_protocols(console, results)
    for streaming in streamed:
        _print_streaming(console, streaming)


def _print_protocols(console: Console, results: Sequence[Evaluation]) -> None:
    table = Table(title="subjects never seen, int8; mean over subjects [95 % interval]")
    for name in ("support", "K", "n", "AUC", "worst AUC", "10 %", "F1", "Se", "Sp"):
        table.add_column(name, justify="left" if name == "support" else "right")
    for result in results:
        shots = "" if result.protocol.support is Support.NONE else str(result.protocol.shots)
        if not result.subjects:
            table.add_row(result.protocol.support, shots, "0", "nobody can be scored")
            continue
        figures = result.as_dict()
        mean, interval, worst = figures["mean"], figures["interval"], figures["worst"]
        auc, f1 = (
            f"{mean[k]:.4f} [{interval[k][0]:.3f}, {interval[k][1]:.3f}]"
            if interval[k]
            else f"{mean[k]:.4f}"
            for k in ("auc", "f1")
        )
        table.add_row(
            result.protocol.support,
            shots,
            str(figures["count"]),
            auc,
            f"{worst['auc']:.3f} {worst['subject']}",
            f"{figures['percentile_10']['auc']:.3f}",
            f1,
            f"{mean['sensitivity']:.3f}",
            f"{mean['specificity']:.3f}",
        )
    console.print(table)


def _print_subjects(console: Console, result: Evaluation) -> None:
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
    if result.excluded:
        console.print(f"{len(result.excluded)} subjects not scored; --json says why", style="dim")


def _print_streaming(console: Console, streaming: StreamingEvaluation) -> None:
    total = streaming.as_dict()["total"]
    median = total["delay_s"]["median"]
    delay = "" if median is None else f", median delay {median:.1f} s"
    console.print(
        f"whole records, {streaming.support}: {total['found']} of {total['episodes']} episodes "
        f"({total['found_5s']} of {total['episodes_5s']} of 5 s and more){delay}, "
        f"{total['false_alarms']} false alarms in {total['hours_outside_va']:.1f} h outside VA"
    )

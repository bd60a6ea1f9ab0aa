"""The verbs of the host: get data, train, export, evaluate, and draw what came out."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

Support = Literal["random", "first", "normals", "none"]
Bundle = Annotated[
    Path | None, typer.Option(help="Bundle to use. [default: the one that comes with fewbeats]")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")]
Data = Annotated[Path, typer.Option(help="Folder of WFDB databases: vfdb/, cudb/, mitdb/, ...")]
TrainingData = Annotated[
    Path | None,
    typer.Option(help="Folder of WFDB databases. [default: none, made-up people]"),
]
Recipe = Annotated[Path | None, typer.Option(help="Recipe in TOML. [default: the built-in one]")]
Workers = Annotated[int, typer.Option(help="Processes that share the work.", min=1)]


def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted one goes on.")],
    data: TrainingData = None,
    config: Recipe = None,
    seed: Annotated[int, typer.Option(help="Of weights, draws and folds.", min=0)] = 0,
    hold_back: Annotated[
        str,
        typer.Option(help="Subjects to keep out of training, with commas: vfdb/418,cudb/cu01."),
    ] = "",
    folds: Annotated[
        bool, typer.Option("--folds", help="Train five times, each with a fifth held back.")
    ] = False,
    workers: Workers = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")] = "cpu",
) -> None:
    """Meta-train a backbone; under torchrun, on several processes at once."""
    from fewbeats.cli.train import train_network

    if folds and (hold_back or device != "cpu" or "WORLD_SIZE" in os.environ):
        raise typer.BadParameter(
            "--folds holds back its own subjects, and trains on processors: it goes with neither "
            "--hold-back nor --device nor torchrun, but with --workers"
        )
    if workers > 1 and not folds:
        raise typer.BadParameter("--workers shares out the --folds; for one training use torchrun")
    train_network(data, out, config, seed, hold_back, folds, workers, device)


def export(
    run_folder: Annotated[Path, typer.Argument(help="Folder that train wrote.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="Bundle to write.")],
    data: TrainingData = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Report of a cross-validation, whose figures go on the model card."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="Private key to sign with; its passphrase comes from FEWBEATS_KEY_PASSPHRASE. "
            "[default: the development key, which production refuses]"
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--model-version", help="Of the model, such as 1.2.0. [default: that of fewbeats]"
        ),
    ] = None,
    litert: Annotated[
        bool, typer.Option("--litert/--no-litert", help="Pack the LiteRT form for 32-bit Arm too.")
    ] = True,
    parity: Annotated[
        Path | None,
        typer.Option(help="Folder for the parity report. [default: beside the bundle]"),
    ] = None,
    fp32: Annotated[
        Path | None, typer.Option(help="ONNX file to write the network in full precision to.")
    ] = None,
    c99: Annotated[
        Path | None, typer.Option("--c", help="Folder for the backbone in C99, two files.")
    ] = None,
) -> None:
    """Quantise a trained backbone, prove every form of it, pack and sign the bundle."""
    from fewbeats.cli.export import Wanted, export_bundle

    wanted = Wanted(report, key, version, litert, parity, fp32, c99)
    export_bundle(run_folder, data, out, wanted)


def evaluate(
    data: Data,
    bundle: Bundle = None,
    folds: Annotated[
        Path | None, typer.Option(help="Score the folds that train --folds wrote to this folder.")
    ] = None,
    support: Annotated[
        Support | None,
        typer.Option(help="Windows that the head is fitted to. [default: all kinds in turn]"),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Support windows a class. [default: 1, 5 and 10]", min=1)
    ] = None,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Watch whole records too, as the device does.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Folder for a page with figures; implies --streaming."),
    ] = None,
    ablation: Annotated[
        Path | None, typer.Option(help="Results of ablate to put on the page.")
    ] = None,
    workers: Workers = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file; - for stdout.")
    ] = None,
) -> None:
    """Score a bundle, or a cross-validation, on subjects that it has never seen."""
    from fewbeats.cli.evaluate import Wanted, evaluate_bundle, evaluate_folds

    if folds and bundle:
        raise typer.BadParameter("choose one of --bundle and --folds")
    watched = streaming or bool(report)
    wanted = Wanted(support, shots, watched, json_file, report, ablation, workers)
    if folds:
        evaluate_folds(data, folds, wanted)
    else:
        evaluate_bundle(data, bundle, wanted)


def ablate(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the runs and results; it can go on.")],
    config: Recipe = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Outer steps of every arm. [default: those of the recipe]", min=1),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, draws and folds.", min=0)] = 0,
    workers: Workers = 1,
) -> None:
    """Measure what each part of the method is worth: hours, unless on many cores."""
    from fewbeats.cli.ablate import run_ablation

    run_ablation(data, out, config, steps, seed, workers)


def search(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the trials; it can go on.")],
    config: Recipe = None,
    trials: Annotated[int, typer.Option(help="Networks to try.", min=1)] = 16,
    seed: Annotated[int, typer.Option(help="Of the networks and trainings.", min=0)] = 0,
    hold_back: Annotated[
        str, typer.Option(help="Subjects to leave out, for an honest score afterwards.")
    ] = "",
    workers: Workers = 1,
) -> None:
    """Search network shapes for accuracy at a given cost, by meta-validation alone."""
    from fewbeats.cli.search import search_networks

    search_networks(data, out, config, trials, seed, hold_back, workers)


data_app = typer.Typer(no_args_is_help=True, help="Get databases of ECG records, and look at them.")


@data_app.command("fetch")
def data_fetch(
    databases: Annotated[
        list[str],
        typer.Argument(
            help="PhysioNet databases: mitdb vfdb cudb nsrdb, or any other.", metavar="NAME..."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of databases to write them to.")],
    mirror: Annotated[
        str | None,
        typer.Option(help="Where to fetch from. [default: https://physionet.org/files/]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring databases from PhysioNet, every file checked; run it again to go on.

    What is here and whole is not loaded again.
    """
    from fewbeats.cli.data import fetch_databases

    fetch_databases(databases, out, mirror, as_json)


@data_app.command("list")
def data_list(
    data: Annotated[Path, typer.Argument(help="Folder of WFDB databases.", metavar="DATA")],
    as_json: Json = False,
) -> None:
    """Say what a folder holds: subjects, hours, windows, and what is left out, and why."""
    from fewbeats.cli.data import list_data

    list_data(data, as_json)


def report(
    report_json: Annotated[
        Path, typer.Argument(help="report.json, or the folder that holds it.", metavar="REPORT")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.md and figures/. [default: the report's own]"),
    ] = None,
    docs: Annotated[
        Path | None,
        typer.Option(help="Page to write, such as docs/results.md; its figures go beside it."),
    ] = None,
) -> None:
    """Draw an evaluation's report.json as a page with tables and figures."""
    from fewbeats.cli.report_folder import draw_report

    draw_report(report_json, out, docs)

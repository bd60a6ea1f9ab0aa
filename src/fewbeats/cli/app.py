"""The verbs, in the order of work.

Exit codes: 0 done; 1 the demo's verdict is bad, or fewbeats failed in a way it has no name for;
2 wrong usage; 3 a missing extra; 4 the source; 5 the signal; 6 the bundle or the head; 7 the
calibration; 8 the data; 9 the export; 130 work that was interrupted (run and simulate are ended
by Ctrl-C, and end with 0).
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from fewbeats import __version__
from fewbeats.errors import FewbeatsError

app = typer.Typer(
    name="fewbeats",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Ventricular-arrhythmia detectors that fit their wearer after a few beats. "
    "Research software, no medical device: it reports, it does not treat.",
)


Support = Literal["random", "first", "normals", "none"]
Bundle = Annotated[
    Path | None, typer.Option(help="Bundle to use. [default: the one that comes with fewbeats]")
]
Source = Annotated[
    str,
    typer.Option(
        help="serial:///dev/ttyUSB0 for a sensor, file:PATH for a WFDB record.", metavar="ADDRESS"
    ),
]
Speed = Annotated[
    float | None,
    typer.Option(help="Times real time for a recording; 0: as fast as possible.", min=0),
]
Duration = Annotated[
    float | None, typer.Option("--duration", help="Stop after so many seconds of signal.", min=0)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")]
Data = Annotated[Path, typer.Option(help="Folder of WFDB databases: vfdb/, cudb/, mitdb/, ...")]
TrainingData = Annotated[
    Path | None,
    typer.Option(help="Folder of WFDB databases. [default: none, made-up people]"),
]
Recipe = Annotated[Path | None, typer.Option(help="Recipe in TOML. [default: the built-in one]")]
Workers = Annotated[int, typer.Option(help="Processes that share the work.", min=1)]
Scenario = Annotated[
    str | None,
    typer.Option(help="What the simulated heart does: 'sinus:60,vt:15,sinus+muscle:20'."),
]
Record = Annotated[Path | None, typer.Option(help="WFDB record to send instead of synthetic ECG.")]
Seed = Annotated[int, typer.Option(help="Which simulated person.", min=0)]


@app.command()
def demo(
    record: Record = None,
    scenario: Scenario = None,
    seed: Seed = 1,
    speed: Annotated[float, typer.Option(help="Times real time.", min=0.1)] = 1.0,
    shots: Annotated[int, typer.Option(help="Windows a class to calibrate from.", min=1)] = 10,
    bundle: Bundle = None,
    as_json: Json = False,
) -> None:
    """Virtual sensor, calibration, watch: the whole way, checked against the truth.

    Exit code 0 only if every planted VT, VFL and VF was reported and nothing else was.
    """
    from fewbeats.cli.demo import demonstrate

    good = demonstrate(record, scenario, seed, speed, shots, bundle, as_json)
    raise typer.Exit(0 if good else 1)


@app.command()
def run(
    source: Source,
    bundle: Bundle = None,
    head: Annotated[
        Path | None, typer.Option(help="The patient's head, as made by calibrate.")
    ] = None,
    speed: Speed = None,
    duration_s: Duration = None,
    as_json: Json = False,
    events: Annotated[
        bool, typer.Option("--events", help="Print each event as a JSON line when it happens.")
    ] = False,
) -> None:
    """Watch a source and report episodes until it ends, or Ctrl-C."""
    from fewbeats.cli.run import watch_source

    watch_source(source, bundle, head, speed, duration_s, as_json, events)


@app.command()
def calibrate(
    source: Source,
    out: Annotated[Path, typer.Option(help="File to write the patient's head to.")],
    shots: Annotated[int, typer.Option(help="Windows a class.", min=1)] = 10,
    labelled: Annotated[
        bool,
        typer.Option(
            "--labelled",
            help="Take windows of both classes by the record's annotations (file: sources). "
            "Otherwise the signal is taken for the patient's own normal rhythm.",
        ),
    ] = False,
    bundle: Bundle = None,
    speed: Speed = None,
    patient: Annotated[str, typer.Option(help="A code to keep with the head; no name.")] = "",
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", help="Give up after so many seconds.")
    ] = None,
    confirmed: Annotated[
        bool,
        typer.Option(
            "--confirmed-normal",
            help="Somebody who can tell has confirmed that the rhythm is no VA, whatever the "
            "bundle makes of it.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit the head to a wearer from the first few good windows of a source."""
    from fewbeats.cli.calibrate import calibrate_head

    calibrate_head(
        source, out, shots, labelled, bundle, speed, patient, timeout_s, confirmed, as_json
    )


@app.command()
def simulate(
    record: Record = None,
    scenario: Scenario = None,
    seed: Seed = 1,
    rate_hz: Annotated[
        float, typer.Option("--rate", help="Samples a second.", min=100, max=1000)
    ] = 250.0,
    speed: Annotated[
        float, typer.Option(help="Times real time; 0: as fast as it is read.", min=0)
    ] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", help="End with the scenario instead of starting over.")
    ] = False,
    autostart: Annotated[
        bool, typer.Option("--autostart", help="Send at once, without waiting for START.")
    ] = False,
    link: Annotated[Path | None, typer.Option(help="Path to give the port.")] = None,
    drop_rate: Annotated[float, typer.Option(help="Share of packets lost.", min=0, max=1)] = 0.0,
    corrupt_rate: Annotated[
        float, typer.Option(help="Share of packets damaged.", min=0, max=1)
    ] = 0.0,
    garbage_rate: Annotated[
        float, typer.Option(help="Share of packets with rubbish before them.", min=0, max=1)
    ] = 0.0,
    tied: Annotated[
        bool, typer.Option("--tied", help="End when standard input closes: for scripts.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Announce the port as a line of JSON.")
    ] = False,
) -> None:
    """Be a sensor: send labelled synthetic ECG, or a record, on a virtual serial port."""
    from fewbeats.cli.simulate import simulate_sensor
    from fewbeats.firmware_bridge.simulate.line_faults import LineFaults

    faults = LineFaults(corrupt_rate, drop_rate, garbage_rate, seed)
    simulate_sensor(
        record, scenario, seed, rate_hz, speed, once, autostart, link, faults, tied, as_json
    )


@app.command()
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


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(help="Folder that train wrote.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="Bundle to write.")],
    data: TrainingData = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Report of a cross-validation, whose figures go on the model card."),
    ] = None,
) -> None:
    """Quantise a trained backbone, prove it against the network, pack the bundle."""
    from fewbeats.cli.export import export_bundle

    export_bundle(run_folder, data, out, report)


@app.command()
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


@app.command()
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


@app.command()
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
app.add_typer(data_app, name="data")


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


@app.command()
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


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fewbeats {__version__}. Research software, no medical device.")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See the list of verbs below."""


def main() -> None:
    """Run the command line; every expected failure is one sentence and its exit code."""
    try:
        if sys.stdout is None:
            raise OSError(None, "standard output is closed: nobody would see what is reported")
        app()
    except FewbeatsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        # The output's reader is gone, or its disk is full: nobody would see what is reported.
        with contextlib.suppress(OSError):
            typer.echo(f"error: {error.strerror or error}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains again at its exit
        sys.exit(1)

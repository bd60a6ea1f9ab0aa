"""The verbs, in the order of work.

Exit codes: 0 done; 1 the demo's verdict is bad, or fewbeats failed in a way it has no name for;
2 wrong usage; 3 a missing extra; 4 the source; 5 the signal; 6 the bundle or the head; 7 the
calibration; 8 the data; 9 the export; 10 a gateway or sensor that is flashed or provisioned; 130
work that was interrupted (run and simulate are ended by Ctrl-C, and end with 0).
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fewbeats import __version__
from fewbeats.cli.bundle_app import bundle_app, keys_app
from fewbeats.cli.deploy_app import deprovision, flash, provision, remote_app
from fewbeats.cli.gateway_app import gateway_app
from fewbeats.cli.plain_text import plain
from fewbeats.cli.training_app import ablate, data_app, evaluate, export, report, search, train
from fewbeats.errors import FewbeatsError

app = typer.Typer(
    name="fewbeats",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Ventricular-arrhythmia detectors that fit their wearer after a few beats. "
    "Research software, no medical device: it reports, it does not treat.",
)


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
    """Fit the head to a wearer from the first few good windows of a source.

    The file holds these windows of the wearer's ECG, to fit the head again after an update: keep
    it as you keep other records of a patient. Its owner alone may read it.
    """
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


for verb in (train, export, evaluate, ablate, search, report):
    app.command()(verb)
app.add_typer(data_app, name="data")
app.add_typer(bundle_app, name="bundle")
app.add_typer(gateway_app, name="gateway")
app.add_typer(keys_app, name="keys")
app.command()(flash)
app.add_typer(remote_app, name="remote")
app.command()(provision)
app.command()(deprovision)


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


def _line(error: object) -> str:
    """An error on one line; what it quotes may come from a file or a machine that means ill."""
    return plain(" ".join(str(error).splitlines()))


def main() -> None:
    """Run the command line; every expected failure is one sentence and its exit code."""
    try:
        if sys.stdout is None:
            raise OSError(None, "standard output is closed: nobody would see what is reported")
        app()
    except FewbeatsError as error:
        typer.echo(f"error: {_line(error)}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        # The output's reader is gone, or its disk is full: nobody would see what is reported.
        with contextlib.suppress(OSError):
            typer.echo(f"error: {_line(error.strerror or error)}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains again at its exit
        sys.exit(1)

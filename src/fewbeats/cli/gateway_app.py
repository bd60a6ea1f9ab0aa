"""The verbs of ``fewbeats gateway``: what is done on the gateway itself."""

from pathlib import Path
from typing import Annotated

import typer

gateway_app = typer.Typer(
    no_args_is_help=True,
    help="On the gateway itself: the service, its bundles, its keys, its patients.",
)

Root = Annotated[
    Path, typer.Option(help="Root of the gateway's files; its card, mounted somewhere else.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
FileOrInput = Annotated[
    str, typer.Argument(help="A file, or - for standard input.", metavar="FILE", allow_dash=True)
]
_ROOT = Path("/")


@gateway_app.command("run")
def gateway_run(
    root: Root = _ROOT,
    as_json: Annotated[  # noqa: ARG001  every verb takes it; this one prints nothing else
        bool, typer.Option("--json", help="One JSON line an event, which it prints in any case.")
    ] = False,
) -> None:
    """Be the service: watch with the current bundle, for ever, a JSON line for each event."""
    from fewbeats.cli.gateway_run import run_service

    run_service(root)


@gateway_app.command("install")
def gateway_install(
    file: FileOrInput,
    length: Annotated[
        int | None, typer.Option("--bytes", help="How many bytes must come.", min=1)
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Of these bytes, in hexadecimal.")] = None,
    allow_downgrade: Annotated[
        bool,
        typer.Option("--allow-downgrade", help="Take one that is older than the last good one."),
    ] = False,
    root: Root = _ROOT,
    as_json: Json = False,
) -> None:
    """Put a bundle on trial; the last good one stays beside it."""
    from fewbeats.cli.gateway_slots import install_bundle

    install_bundle(root, file, length, sha256, allow_downgrade, as_json)


@gateway_app.command("status")
def gateway_status(root: Root = _ROOT, as_json: Json = False) -> None:
    """Say what runs, what it would fall back to, and which patients are to be calibrated."""
    from fewbeats.cli.gateway_slots import print_status

    print_status(root, as_json)


@gateway_app.command("confirm")
def gateway_confirm(root: Root = _ROOT, as_json: Json = False) -> None:
    """Keep the bundle that is on trial."""
    from fewbeats.cli.gateway_slots import confirm_bundle

    confirm_bundle(root, as_json)


@gateway_app.command("fall-back")
def gateway_fall_back(root: Root = _ROOT, as_json: Json = False) -> None:
    """Give the current bundle up for the one before."""
    from fewbeats.cli.gateway_slots import fall_back

    fall_back(root, as_json)


@gateway_app.command("forget-clock")
def gateway_forget_clock(root: Root = _ROOT, as_json: Json = False) -> None:
    """Forget the latest day that an install recorded, after the clock was far ahead then.

    Until then keys that ended before that day stay expired. Set the clock first.
    """
    from fewbeats.cli.gateway_slots import forget_clock

    forget_clock(root, as_json)


@gateway_app.command("keys")
def gateway_keys(root: Root = _ROOT, as_json: Json = False) -> None:
    """List the keys whose bundles are taken."""
    from fewbeats.cli.gateway_keys import list_trusted

    list_trusted(root, as_json)


@gateway_app.command("trust")
def gateway_trust(file: FileOrInput, root: Root = _ROOT, as_json: Json = False) -> None:
    """Take bundles of one more key, given as the .pub file that 'fewbeats keys new' wrote."""
    from fewbeats.cli.gateway_keys import trust_key

    trust_key(root, file, as_json)


@gateway_app.command("revoke")
def gateway_revoke(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Even if the running or the last good bundle will not start again."
        ),
    ] = False,
    root: Root = _ROOT,
    as_json: Json = False,
) -> None:
    """Take no bundle of a key any more."""
    from fewbeats.cli.gateway_keys import revoke_key

    revoke_key(root, name, force, as_json)


@gateway_app.command("calibrate")
def gateway_calibrate(
    patient: Annotated[str, typer.Option(help="The patient's code; no name.")],
    source: Annotated[
        str | None,
        typer.Option(help="Address of the sensor. [default: the gateway's]", metavar="ADDRESS"),
    ] = None,
    shots: Annotated[int, typer.Option(help="Windows a class.", min=1)] = 10,
    speed: Annotated[
        float | None,
        typer.Option(help="Times real time for a recording; 0: as fast as possible.", min=0),
    ] = None,
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
    root: Root = _ROOT,
    as_json: Json = False,
) -> None:
    """Fit the head to a patient from the first few good windows of normal rhythm.

    A sensor on a port speaks to one program at a time: stop the service first. These windows of
    the patient's ECG are kept on the gateway, to fit the head again after an update.
    """
    from fewbeats.cli.gateway_calibrate import calibrate_patient

    calibrate_patient(root, patient, source, shots, speed, timeout_s, confirmed, as_json)

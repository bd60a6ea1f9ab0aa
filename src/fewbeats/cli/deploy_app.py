"""The verbs that reach gateways and sensors: flash, remote, provision, deprovision."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

remote_app = typer.Typer(
    no_args_is_help=True, help="Ask a gateway, or its card, what it runs; keep it or go back."
)

Target = Annotated[
    str,
    typer.Argument(
        help="ssh://[user@]host[:port] for a gateway that runs, dir:/media/pi/rootfs for its card.",
        metavar="TARGET",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List every step and whether it is done; touch nothing.")
]


def flash(
    bundle: Annotated[
        str | None, typer.Argument(help="Bundle to bring.", metavar="BUNDLE", show_default=False)
    ] = None,
    target: Annotated[
        str | None,
        typer.Argument(
            help="ssh://pi@host or dir:/media/pi/rootfs; with --sensor serial:///dev/ttyACM0 or "
            "ble://NAME.",
            metavar="TARGET",
            show_default=False,
        ),
    ] = None,
    sensor: Annotated[
        Path | None,
        typer.Option(help="Bring this firmware image to a sensor instead.", metavar="IMAGE"),
    ] = None,
    allow_downgrade: Annotated[
        bool, typer.Option("--allow-downgrade", help="Take a bundle older than the one it has.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring a bundle to a gateway, on trial; or, with --sensor IMAGE ADDRESS, firmware to a sensor.

    What runs now goes on running until the new one has proven itself, and is kept to go back to.
    """
    if sensor is not None:
        if bundle is None or target is not None or allow_downgrade:
            raise typer.BadParameter("with --sensor IMAGE give one ADDRESS and nothing else")
        from fewbeats.cli.flash_sensor import flash_sensor

        flash_sensor(sensor, bundle, as_json)  # the one argument, then, is the address
        return
    if bundle is None or target is None:
        raise typer.BadParameter("give a BUNDLE and a TARGET, or --sensor IMAGE and an ADDRESS")
    from fewbeats.cli.flash import flash_bundle

    flash_bundle(Path(bundle), target, allow_downgrade, as_json)


def provision(
    target: Annotated[
        str | None,
        typer.Argument(
            help="ssh://[user@]host[:port], or dir:/media/pi/rootfs for a mounted card.",
            metavar="TARGET",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="Public key whose bundles it takes; may be repeated.", metavar="KEY.pub"),
    ] = None,
    development: Annotated[
        bool,
        typer.Option(
            "--development", help="For the bench: trust the development key, which anybody has."
        ),
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(help="First bundle. [default: the one that comes with fewbeats]"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="gateway.toml to write. [default: the one there, else a plain one]"),
    ] = None,
    sensor_usb: Annotated[
        str | None,
        typer.Option(
            help="The sensor's USB device, as lsusb shows it, or 'any' serial port. [default: as "
            "it was named before, else any]",
            metavar="VID:PID[:SERIAL]",
        ),
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="Folder of wheels, for a host without a network.")
    ] = None,
    wheels_only: Annotated[
        Path | None, typer.Option(help="Only gather the wheels in this folder.")
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(help="For --wheels-only without a TARGET.", metavar="aarch64-3.11"),
    ] = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Set a card up at once, where this machine runs its programs."),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Go back to the program before the present one.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a Raspberry Pi OS (64-bit) or Debian a gateway; again: bring it up to date.

    The machine needs no network of its own. Steps that are done stay as they are.
    """
    from fewbeats.cli.provision import gather_wheels, provision_target, undo_program

    given = {
        "--trust": trust,
        "--development": development,
        "--bundle": bundle,
        "--config": config,
        "--sensor-usb": sensor_usb,
        "--wheels": wheels,
        "--now": now,
    }
    if wheels_only is not None:
        _alone("--wheels-only", {**given, "--undo": undo, "--dry-run": dry_run})
        if (target is None) == (machine is None):
            raise typer.BadParameter("--wheels-only needs either a TARGET or a --machine")
        gather_wheels(target, machine, wheels_only, as_json)
        return
    if target is None or machine is not None:
        raise typer.BadParameter("give a TARGET; --machine goes with --wheels-only alone")
    if undo:
        _alone("--undo", given)
        undo_program(target, dry_run, as_json)
        return
    provision_target(
        target,
        trust or [],
        development,
        bundle,
        config,
        sensor_usb,
        wheels,
        now,
        dry_run,
        as_json,
    )


def _alone(option: str, others: Mapping[str, object]) -> None:
    if named := [name for name, value in others.items() if value]:
        raise typer.BadParameter(f"{', '.join(named)} makes no sense with {option}")


def deprovision(
    target: Target,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Remove patients' heads, bundles, keys and settings as well."),
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a gateway an ordinary machine again; patients' data stays unless --purge."""
    from fewbeats.cli.provision import deprovision_target

    deprovision_target(target, purge, yes, dry_run, as_json)


@remote_app.command("status")
def remote_status(target: Target, as_json: Json = False) -> None:
    """Say what it runs, what it would fall back to, and which patients are calibrated."""
    from fewbeats.cli.remote import show_status

    show_status(target, as_json)


@remote_app.command("confirm")
def remote_confirm(target: Target, as_json: Json = False) -> None:
    """Keep the bundle that is on trial, without waiting for it to prove itself."""
    from fewbeats.cli.remote import confirm_bundle

    confirm_bundle(target, as_json)


@remote_app.command("fall-back")
def remote_fall_back(target: Target, as_json: Json = False) -> None:
    """Go back to the bundle before."""
    from fewbeats.cli.remote import fall_back_bundle

    fall_back_bundle(target, as_json)


@remote_app.command("keys")
def remote_keys(target: Target, as_json: Json = False) -> None:
    """List the keys whose bundles it takes."""
    from fewbeats.cli.remote import show_keys

    show_keys(target, as_json)


@remote_app.command("trust")
def remote_trust(
    target: Target,
    key: Annotated[Path, typer.Argument(help="Public key, NAME.pub.", metavar="KEY.pub")],
    as_json: Json = False,
) -> None:
    """Take bundles of one more key."""
    from fewbeats.cli.remote import trust_key

    trust_key(target, key, as_json)


@remote_app.command("revoke")
def remote_revoke(
    target: Target,
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even if a bundle that it needs is signed with it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take no bundle of a key any more."""
    from fewbeats.cli.remote import revoke_key

    revoke_key(target, name, force, as_json)

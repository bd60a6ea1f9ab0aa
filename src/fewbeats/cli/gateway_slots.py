"""``fewbeats gateway install, status, confirm, fall-back``."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import typer

from fewbeats.cli.gateway_owner import become_owner
from fewbeats.cli.plain_text import plain
from fewbeats.device.bundle import NOTICE
from fewbeats.device.container import MAX_BYTES
from fewbeats.device.files import read_bounded
from fewbeats.device.layout import Layout
from fewbeats.device.slots import open_slots
from fewbeats.errors import BundleAlteredError, BundleError, TargetLostError


def install_bundle(
    root: Path,
    file: str,
    length: int | None,
    sha256: str | None,
    allow_downgrade: bool,
    as_json: bool,
) -> None:
    """Install a bundle from a file or standard input.

    Raises:
        TargetLostError: fewer bytes came than were announced.
        BundleError: the bundle is refused; what ran still runs.
    """
    data = _read(file)
    if length is not None and len(data) < length:
        raise TargetLostError(
            f"Only {len(data)} of {length} bytes came: the connection broke. Nothing was changed; "
            f"send the bundle again."
        )
    wrong = sha256 is not None and hashlib.sha256(data).hexdigest() != sha256.lower()
    if wrong or (length is not None and len(data) > length):
        raise BundleAlteredError(
            "Other bytes came than were announced. Nothing was changed; send the bundle again."
        )
    _act_on(root)
    installed = open_slots(root).install(data, allow_downgrade)
    if as_json:
        typer.echo(json.dumps(installed.as_dict()))
        return
    bundle = _named(installed.current)
    if not installed.changed:
        typer.echo(f"{bundle} is the current bundle already; nothing was changed")
        return
    typer.echo(
        f"installed {bundle}, {_state(installed.current)}, in slot {installed.current['slot']}"
    )
    if installed.previous:
        typer.echo(f"it falls back to {_named(installed.previous)}")
    if installed.refitted:
        typer.echo(f"heads fitted to the new backbone: {', '.join(installed.refitted)}")
    for missing in installed.to_be_calibrated:
        typer.echo(f"TO BE CALIBRATED: {missing['patient']} ({plain(missing['reason'])})")


def print_status(root: Path, as_json: bool) -> None:
    """Print what is installed.

    Raises:
        FewbeatsError: there is no gateway, or it may not be read.
    """
    status = open_slots(root).status()
    typer.echo(json.dumps(status) if as_json else "\n".join(_lines(status)))


def confirm_bundle(root: Path, as_json: bool) -> None:
    """Confirm the current bundle, and print the status.

    Raises:
        BundleError: there is none, or it must not run here.
    """
    _act_on(root)
    open_slots(root).confirm()
    print_status(root, as_json)


def fall_back(root: Path, as_json: bool) -> None:
    """Fall back to the bundle before, and print the status.

    Raises:
        SlotError: there is nothing sound to fall back to.
    """
    _act_on(root)
    open_slots(root).fall_back("somebody asked for the one before")
    print_status(root, as_json)


def forget_clock(root: Path, as_json: bool) -> None:
    """Forget the latest known day, and print the status.

    Raises:
        SlotError: it cannot be recorded.
    """
    _act_on(root)
    open_slots(root).forget_clock()
    print_status(root, as_json)


def _act_on(root: Path) -> None:
    """Go on as the gateway's service, if its files are within the root."""
    layout = Layout(root)
    layout.check_inside()
    become_owner(layout.home)


def _read(file: str) -> bytes:
    if file == "-" and sys.stdin is None:
        raise BundleError("Standard input is closed: pipe the bundle into it, or name its file.")
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            data = read_bounded(Path(file), MAX_BYTES)
    except OSError as error:
        raise BundleError(f"Cannot read the bundle {file}: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise BundleError(f"What comes is larger than {MAX_BYTES} bytes, and so is no bundle.")
    return data


def _named(bundle: dict[str, Any]) -> str:
    return f"{plain(bundle['name'])} {bundle['version']}"


def _state(bundle: dict[str, Any]) -> str:
    left = bundle["starts_left"]
    return "confirmed" if left is None else f"on trial ({left} starts left)"


def _lines(status: dict[str, Any]) -> list[str]:
    """A status for people."""
    lines = [NOTICE, f"mode      {status['mode']}"]
    for which in ("current", "running", "previous"):
        bundle = status[which]
        if bundle is None:
            lines.append(f"{which:<9} {'nothing' if which == 'running' else 'none'}")
            continue
        if which == "running":
            elsewhere = "" if bundle["slot"] else ", which comes with fewbeats"
            lines.append(f"running   {_named(bundle)}{elsewhere}")
            continue
        key = f"signed by {bundle['signer']}"
        key += ", WHICH ANYBODY CAN SIGN WITH" if bundle["development"] else ""
        where = f"slot {bundle['slot']}, {bundle['runtime']}"
        lines.append(f"{which:<9} {_named(bundle)}, {_state(bundle)}, {where}, {key}")
    if failed := status["failed"]:
        lines.append(f"failed    {_named(failed)} at {failed['at']}: {plain(failed['reason'])}")
    for patient in status["patients"]:
        state = "calibrated" if patient["calibrated"] else "TO BE CALIBRATED"
        why = f": {plain(patient['reason'])}" if patient["reason"] else ""
        lines.append(f"patient   {patient['patient']}, {state}{why}")
    lines.append(f"clock     keys that ended before {status['clock_floor'][:10]} have expired")
    lines += [f"problem   {plain(problem)}" for problem in status["problems"]]
    return lines

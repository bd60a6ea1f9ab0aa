"""``fewbeats remote``: a gateway's own verbs, from here."""

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from fewbeats.cli.plain_text import plain
from fewbeats.deploy.target import open_target
from fewbeats.device.bundle import NOTICE
from fewbeats.device.keys import DEVELOPMENT_NOTICE, PublicKey


def show_status(address: str, as_json: bool) -> None:
    """Print what a gateway runs; errors are those of ``Target``."""
    _print_status(open_target(address).status(), as_json)


def confirm_bundle(address: str, as_json: bool) -> None:
    """Keep the bundle on trial, and print what runs then; errors are those of ``Target``."""
    _print_status(open_target(address).confirm(), as_json)


def fall_back_bundle(address: str, as_json: bool) -> None:
    """Go back, and print what runs then; errors are those of ``Target``."""
    _print_status(open_target(address).fall_back(), as_json)


def show_keys(address: str, as_json: bool) -> None:
    """Print whom a gateway trusts; errors are those of ``Target``."""
    _print_keys(open_target(address).keys(), as_json)


def trust_key(address: str, path: Path, as_json: bool) -> None:
    """Bring a public key, and print whom the gateway trusts then; errors are those of ``Target``.

    Raises:
        KeyFileError: the file holds no public key.
    """
    key = PublicKey.load(path)
    target = open_target(address)
    target.trust(key)
    _print_keys(target.keys(), as_json)


def revoke_key(address: str, name: str, force: bool, as_json: bool) -> None:
    """Take a key away, and print whom the gateway trusts then; errors are those of ``Target``."""
    target = open_target(address)
    target.revoke(name, force)
    _print_keys(target.keys(), as_json)


def title_of(bundle: dict[str, Any] | None) -> str:
    """A bundle of a status as one line for people."""
    if not bundle:
        return "no bundle"
    state = bundle.get("state")
    if (left := bundle.get("starts_left")) is not None:
        state = f"on trial, {left} start{'' if left == 1 else 's'} left"
    text = (
        f"{bundle.get('name')} {bundle.get('version')} ({str(bundle.get('sha256'))[:12]}), "
        f"signed by {bundle.get('signer')}, {state}, {bundle.get('runtime')}"
    )
    return plain(text)


def _print_status(status: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**status, "notice": NOTICE}))
        return
    console = Console(highlight=False, soft_wrap=True)
    current, failed = status.get("current") or {}, status.get("failed")
    console.print(f"mode:     {plain(status.get('mode'))}", markup=False)
    console.print(f"current:  {title_of(current)}", markup=False)
    running = status.get("running")
    if running and running.get("sha256") != current.get("sha256"):
        console.print(f"running:  {title_of(running)}", style="yellow", markup=False)
    console.print(f"previous: {title_of(status.get('previous'))}", markup=False)
    if failed:
        console.print(
            f"failed:   {plain(failed.get('name'))} {plain(failed.get('version'))}: "
            f"{plain(failed.get('reason'))}",
            style="yellow",
            markup=False,
        )
    for patient in status.get("patients") or ():
        state = "calibrated" if patient.get("calibrated") else "TO BE CALIBRATED"
        reason = f" ({plain(patient['reason'])})" if patient.get("reason") else ""
        console.print(f"patient:  {plain(patient.get('patient'))}: {state}{reason}", markup=False)
    for problem in status.get("problems") or ():
        console.print(f"problem:  {plain(problem)}", style="bold yellow", markup=False)
    if current.get("development"):
        console.print(DEVELOPMENT_NOTICE, style="bold red")
    console.print(NOTICE, style="dim")


def _print_keys(content: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**content, "notice": NOTICE}))
        return
    console = Console(highlight=False, soft_wrap=True)
    keys = content.get("keys") or ()
    for key in keys:
        end = f", until {key['expires']}" if key.get("expires") else ""
        end = ", EXPIRED" if key.get("expired") else end
        end += ", WITH WHICH ANYBODY CAN SIGN" if key.get("development") else ""
        console.print(plain(f"{key.get('name')}  {key.get('fingerprint')}{end}"), markup=False)
    if not keys:
        console.print("no key is trusted")
    console.print(NOTICE, style="dim")

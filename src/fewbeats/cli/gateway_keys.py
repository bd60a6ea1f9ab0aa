"""``fewbeats gateway keys, trust, revoke``."""

import json
import sys
from datetime import date
from pathlib import Path

import typer

from fewbeats.cli.plain_text import plain
from fewbeats.device.keys import DEVELOPMENT_NOTICE, MAX_FILE_BYTES, PublicKey
from fewbeats.device.slots import open_slots
from fewbeats.device.trust import key_row, revoke, trust, trusted
from fewbeats.errors import KeyFileError


def list_trusted(root: Path, as_json: bool) -> None:
    """Print the keys whose bundles the gateway takes.

    Raises:
        FewbeatsError: there is no gateway, or the keys' folder cannot be read.
    """
    found = trusted(open_slots(root))
    rows = found["keys"]
    if as_json:
        typer.echo(json.dumps(found))
        return
    if not rows:
        typer.echo("no key is trusted here: no bundle will be taken")
    for row in rows:
        end = f"until {row['expires']}" if row["expires"] else "without an end"
        end = "EXPIRED" if row["expired"] else end
        note = f"  {DEVELOPMENT_NOTICE}" if row["development"] else ""
        typer.echo(f"{row['name']:<20} {row['fingerprint']}  {end}{note}")
    for problem in found["problems"]:
        typer.echo(f"problem: {plain(problem)}")


def trust_key(root: Path, file: str, as_json: bool) -> None:
    """Trust a key from a file or standard input.

    Raises:
        KeyFileError: it is no key, or must not be trusted here.
    """
    key = _from_input() if file == "-" else PublicKey.load(Path(file))
    slots = open_slots(root)
    trust(slots, key)
    _say("trusted", key, slots.today(), as_json)


def revoke_key(root: Path, name: str, force: bool, as_json: bool) -> None:
    """Trust a key no more.

    Raises:
        KeyFileError: there is no such key, or a bundle needs it.
    """
    slots = open_slots(root)
    _say("revoked", revoke(slots, name, force), slots.today(), as_json)


def _from_input() -> PublicKey:
    if sys.stdin is None:
        raise KeyFileError("Standard input is closed: pipe the .pub file into it, or name it.")
    try:
        return PublicKey.parse(sys.stdin.buffer.read(MAX_FILE_BYTES), "standard input")
    except OSError as error:
        raise KeyFileError(f"Cannot read the key from standard input: {error.strerror}.") from error


def _say(what: str, key: PublicKey, today: date, as_json: bool) -> None:
    row = key_row(key, today)
    typer.echo(json.dumps({what: row}) if as_json else f"{what} {key.name} ({key.fingerprint})")

"""``fewbeats keys``: make the keys that bundles are signed with, and look at them.

No private half is ever printed.
"""

import json
import os
import re
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from fewbeats.cli.plain_text import plain
from fewbeats.device.files import make_folder, read_bounded
from fewbeats.device.keys import (
    DEVELOPMENT_KEY,
    MAX_FILE_BYTES,
    Keyring,
    PublicKey,
    SigningKey,
    own_folder,
)
from fewbeats.errors import KeyFileError

ASKED_OF = "FEWBEATS_KEY_PASSPHRASE"
SUFFIX = ".key"
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")


def today() -> date:
    """The day by which a key's end is judged, in UTC as on every gateway."""
    return datetime.now(UTC).date()


def new_key(name: str, folder: Path | None, expires: str | None, no_passphrase: bool) -> None:
    """Make a key; its private half is for this user's eyes only.

    Raises:
        KeyFileError: there is such a key, the end has passed, or a file cannot be written.
    """
    folder = folder or own_folder()
    key = SigningKey.generate(name, end_of(expires))
    path = folder / f"{name}{SUFFIX}"
    if path.exists() or path.with_suffix(".pub").exists():
        raise KeyFileError(f"{path} exists; a key is never overwritten. Choose another name.")
    passphrase = None if no_passphrase else _passphrase(path, new=True)
    try:
        make_folder(folder, mode=0o700)
    except OSError as error:
        raise KeyFileError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    public = key.save(path, passphrase)
    until = f"until {key.public.expires}" if key.public.expires else "without an end"
    typer.echo(
        f"key {name} ({key.public.fingerprint}), {until}\n"
        f"private half, keep it secret{'' if passphrase else ' (it has no passphrase)'}: {path}\n"
        f"public half, for gateways: {public}\n"
        f"sign with: fewbeats bundle sign FILE --key {path} --out OUT"
    )


def list_keys(folder: Path | None, as_json: bool) -> None:
    """Print the keys that this user trusts, and which of them he can sign with.

    Raises:
        KeyFileError: one of them cannot be read.
    """
    folder = folder or own_folder()
    ring = Keyring.from_folder(folder)
    rows = [
        _row(key) | {"signs": (folder / f"{key.name}{SUFFIX}").is_file()}
        for key in (*ring.keys, DEVELOPMENT_KEY.public)
    ]
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "keys": rows}, indent=1))
        return
    table = Table(title=f"keys in {plain(folder)}")
    for column in ("key", "fingerprint", "expires", "private half", ""):
        table.add_column(column)
    for row in rows:
        note = "anybody can sign with it" if row["development"] else ""
        table.add_row(
            row["name"],
            row["fingerprint"],
            row["expires"] or "never",
            "public knowledge" if row["development"] else ("here" if row["signs"] else ""),
            "EXPIRED" if row["expired"] else note,
            style="red" if row["expired"] or row["development"] else "",
        )
    Console(highlight=False, markup=False).print(table)


def show_key(path: Path, as_json: bool) -> None:
    """Print a public key; of a private key's file, the public half beside it.

    Raises:
        KeyFileError: it cannot be read, or is no key.
    """
    key = PublicKey.load(path.with_suffix(".pub"))
    row = _row(key) | {"key": key.raw.hex()}
    if as_json:
        typer.echo(json.dumps(row, indent=1))
        return
    end = f"{key.expires}{' (EXPIRED)' if row['expired'] else ''}" if key.expires else "never"
    typer.echo(
        f"name         {key.name}\nfingerprint  {key.fingerprint}\nexpires      {end}\n"
        f"public key   {key.raw.hex()}"
    )
    if key.development:
        typer.echo("THIS IS THE DEVELOPMENT KEY: anybody can sign with it; it proves nothing.")


def open_signing_key(path: Path) -> SigningKey:
    """A private key from its file; its passphrase comes from the environment or is asked for.

    Raises:
        KeyFileError: it cannot be read, or the passphrase is wrong.
    """
    try:
        encrypted = b"ENCRYPTED" in read_bounded(path, MAX_FILE_BYTES)
    except OSError as error:
        raise KeyFileError(f"Cannot read the key {path}: {error.strerror}.") from error
    return SigningKey.load(path, _passphrase(path, new=False) if encrypted else None)


def end_of(text: str | None) -> date | None:
    """The last day of a key: a date, or so many days from today as in "365d".

    Raises:
        KeyFileError: it is neither, or has passed.
    """
    if text is None:
        return None
    try:
        days = _DAYS.fullmatch(text)
        end = today() + timedelta(int(days[1])) if days else date.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise KeyFileError(
            f"A key's end is a date such as 2030-12-31, or days such as 365d, not {text!r}."
        ) from error
    if end < today():
        raise KeyFileError(f"A key that ended on {end} signs nothing; choose a later day.")
    return end


def _row(key: PublicKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "fingerprint": key.fingerprint,
        "expires": key.expires.isoformat() if key.expires else None,
        "expired": key.expires is not None and today() > key.expires,
        "development": key.development,
    }


def _passphrase(path: Path, new: bool) -> str:
    given = os.environ.get(ASKED_OF)
    if given is None and sys.stdin.isatty():
        text = f"Passphrase {'for' if new else 'of'} {path.name}"
        given = typer.prompt(text, hide_input=True, confirmation_prompt=new, err=True)
    if not given:
        hint = f"set {ASKED_OF}, or run it on a terminal"
        raise KeyFileError(
            f"The key {path} needs a passphrase: {hint}"
            + (", or say --no-passphrase." if new else ".")
        )
    return given

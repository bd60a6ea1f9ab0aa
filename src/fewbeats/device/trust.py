"""Which keys a gateway trusts: adding one, and taking one away without stopping the watch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from fewbeats.device.files import make_folder, remove, sync_folder
from fewbeats.device.keys import DEVELOPMENT_KEY, PublicKey, key_files
from fewbeats.device.slot_reader import SlotReader
from fewbeats.errors import KeyFileError


def trust(slots: SlotReader, key: PublicKey) -> None:
    """Take bundles of one more key.

    Raises:
        KeyFileError: it is the development key or has expired, another key has its name, or it
            cannot be written.
    """
    _settle(slots)
    if key.development:
        raise KeyFileError(
            "Anybody can sign with the development key: a gateway in production does not trust "
            "it, and one in development does already. Give a key of yours."
        )
    today = slots.today()
    if key.expires is not None and today > key.expires:
        raise KeyFileError(
            f"The key {key.name} expired on {key.expires}, and today is {today}."
            f"{slots.floor_hint(None)}"
        )
    known = next((k for k in slots.keyring.keys if k.name == key.name), None)
    if known is not None and known.raw != key.raw:
        raise KeyFileError(
            f"Another key is trusted under the name {key.name} ({known.fingerprint}, this one is "
            f"{key.fingerprint}). Give the new one another name, or revoke the old one first."
        )
    folder = slots.layout.keys
    with readable_by_all():
        try:
            make_folder(folder)
        except OSError as error:
            raise KeyFileError(f"Cannot make the folder {folder}: {error.strerror}.") from error
        key.save(folder / f"{key.name}.pub")


def revoke(slots: SlotReader, name: str, force: bool = False) -> PublicKey:
    """Take no bundle of a key any more; gives the key.

    Args:
        slots: the gateway's.
        name: of the key.
        force: even if a bundle that the gateway needs would not start any more.

    Raises:
        KeyFileError: no such key, a bundle needs it, or its file cannot be removed.
    """
    _settle(slots)
    key = next((k for k in slots.keyring.keys if k.name == name), None)
    if key is None:
        known = ", ".join(slots.keyring.names) or "none"
        raise KeyFileError(f"No key {name!r} is trusted here; trusted are: {known}.")
    needed_by = slots.signers().get(key.raw)
    if needed_by is not None and not force:
        raise KeyFileError(
            f"The key {name} signed {needed_by}, which would not start again without it. Flash a "
            f"bundle with another signature and let it be confirmed first, or say --force."
        )
    for path in key_files(slots.layout.keys):
        if _holds(path, key):
            try:
                remove(path)
            except OSError as error:
                raise KeyFileError(f"Cannot remove {path}: {error.strerror}.") from error
    return key


def trusted(slots: SlotReader) -> dict[str, Any]:
    """The keys whose bundles a gateway takes, as plain data, and the files that are none."""
    today, ring = slots.today(), slots.keyring
    keys = (*ring.keys, *(() if ring.production else (DEVELOPMENT_KEY.public,)))
    return {
        "production": ring.production,
        "keys": [key_row(key, today) for key in keys],
        "problems": list(ring.skipped),
    }


def key_row(key: PublicKey, today: date) -> dict[str, Any]:
    """One key as plain data."""
    return {
        "name": key.name,
        "fingerprint": key.fingerprint,
        "expires": key.expires.isoformat() if key.expires else None,
        "expired": key.expires is not None and today > key.expires,
        "development": key.development,
    }


def _holds(path: Path, key: PublicKey) -> bool:
    try:
        return PublicKey.load(path).raw == key.raw
    except KeyFileError:  # it counts for nothing as it is
        return False


@contextmanager
def readable_by_all() -> Iterator[None]:
    """Let new files be 0644 and folders 0755: the service, another user, must read them."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _settle(slots: SlotReader) -> None:
    """Make last what a program that was killed had changed and not yet synced."""
    folder = slots.layout.keys
    try:
        if folder.is_dir():
            sync_folder(folder)
    except OSError as error:
        raise KeyFileError(f"Cannot write to {folder}: {error.strerror}.") from error

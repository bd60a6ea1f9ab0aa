"""``fewbeats bundle inspect | diff | sign``: what a bundle holds, and whose signature it bears."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from fewbeats.cli.bundle_card import print_card
from fewbeats.cli.bundle_verify import golden_checks
from fewbeats.cli.keys import open_signing_key, today
from fewbeats.cli.plain_text import plain
from fewbeats.device.bundle import DEVICE_CLASS, NOTICE, Bundle
from fewbeats.device.bundle_diff import BundleDiff, Difference, diff_bundles
from fewbeats.device.container import FORMAT, read_bundle, signed
from fewbeats.device.files import write_atomically
from fewbeats.device.keys import DEVELOPMENT_NOTICE, Keyring, PublicKey, own_keyring
from fewbeats.errors import BundleError, SignatureError

MOST_SHOWN = 60


def open_whole(path: Path) -> tuple[Bundle, bytes, bytes]:
    """A bundle whose every byte is as it was signed, whoever signed it.

    Returns:
        The bundle, its file's bytes, and its signer's public key.

    Raises:
        BundleError: it is damaged, or no bundle.
    """
    data = read_bundle(path)
    _, raw = signed(data, str(path))
    bundle = Bundle.unpack(data, str(path), Keyring((PublicKey("unknown", raw),)))
    return bundle, data, raw


def inspect_bundle(path: Path, as_json: bool) -> None:
    """Print what a bundle holds.

    Raises:
        BundleError: it is damaged, or no bundle.
    """
    bundle, data, raw = open_whole(path)
    signer = _signer(raw)
    if as_json:
        typer.echo(json.dumps(_content(path, data, bundle, signer), indent=1))
        return
    console = Console(highlight=False, markup=False)
    table = Table(title=f"{plain(path)}, {len(data)} bytes", show_header=False)
    table.add_row("name", plain(bundle.name))
    table.add_row("version", bundle.version)
    table.add_row("signed by", _signer_text(signer))
    table.add_row("device class", DEVICE_CLASS)
    window = bundle.window
    table.add_row(
        "window",
        f"{window.window_s:g} s at {window.rate_hz} Hz, every {window.hop_s:g} s, "
        f"{window.low_hz:g}-{window.high_hz:g} Hz",
    )
    table.add_row("detector", _settings(bundle.detector.as_dict()))
    table.add_row("adaptation", _settings(bundle.adapt.as_dict()))
    table.add_row("golden windows", str(len(bundle.golden_windows)))
    table.add_row("operating point", f"{bundle.start.threshold:.4f}")
    console.print(table)
    forms = Table(title="forms, the preferred one first")
    for column in ("runtime", "bytes", "SHA-256", "features", "prototypes", "tolerance"):
        forms.add_column(column, overflow="fold")
    for form in bundle.forms:
        forms.add_row(
            form.runtime,
            str(len(form.model)),
            form.sha256,
            str(form.golden_embeddings.shape[1]),
            str(len(form.prototypes)),
            f"{form.tolerance:g}",
        )
    console.print(forms)
    print_card(console, bundle.card)
    if signer["development"]:
        console.print(DEVELOPMENT_NOTICE, style="bold red", soft_wrap=True)
    elif not signer["trusted"]:
        console.print(f"NOT TRUSTED HERE: {signer['reason']}", style="bold red", soft_wrap=True)
    console.print(NOTICE, style="dim")


def print_diff(before_path: Path, after_path: Path, as_json: bool) -> None:
    """Print what differs between two bundles.

    Raises:
        BundleError: one of them is damaged, or no bundle.
    """
    before, _, before_raw = open_whole(before_path)
    after, _, after_raw = open_whole(after_path)
    signers = [_signer(raw) for raw in (before_raw, after_raw)]
    diff = diff_bundles(before, after)
    if as_json:
        content = {
            "before": str(before_path),
            "after": str(after_path),
            "same": diff.same,
            "signers": signers,
            "differences": [
                {"what": d.what, "before": d.before, "after": d.after} for d in diff.differences
            ],
            "forms": [asdict(form) for form in diff.forms],
            "refit": diff.refit,
            "notice": NOTICE,
        }
        typer.echo(json.dumps(content, indent=1))
        return
    _print_diff(Console(highlight=False, markup=False), diff, signers, before, after)


def sign_bundle(path: Path, key_path: Path, out: Path, from_development: bool) -> None:
    """Sign the same contents with another key.

    Args:
        path: the bundle as it is.
        key_path: the private key.
        out: file to write.
        from_development: take one that bears the development key's signature, which is anybody's.

    Raises:
        SignatureError: nobody who is trusted here has signed it so far, or anybody may have.
        BundleError: it is damaged, fails its golden windows, or cannot be written.
        KeyFileError: the key cannot be used.
    """
    data = read_bundle(path)
    covered, raw = signed(data, str(path))
    before = _signer(raw)
    typer.echo(f"{plain(path)}: signed by {_signer_text(before)} so far")
    bundle = Bundle.unpack(data, str(path))
    if before["development"] and not from_development:
        raise SignatureError(
            f"{path} is signed with the development key: anybody may have made it. If you know "
            f"where it comes from, say --from-development."
        )
    for check in golden_checks(bundle):
        if check.ok is False:
            raise BundleError(f"{path} is not signed: {check.check}: {check.detail}")
        if check.ok is None:
            typer.echo(f"{check.check}: not tried, {check.detail}")
    key = open_signing_key(key_path)
    body = bytes(covered) + key.public.raw
    new = body + key.sign(body)
    Bundle.unpack(new, str(out), Keyring((key.public,)), today())
    try:
        write_atomically(out, new)
    except OSError as error:
        raise BundleError(f"Cannot write the bundle to {out}: {error.strerror}.") from error
    typer.echo(
        f"{plain(out)}: {plain(bundle.name)} {bundle.version}, signed by {key.public.name} "
        f"({key.public.fingerprint})\nSHA-256 {hashlib.sha256(new).hexdigest()}"
    )


def _signer(raw: bytes) -> dict[str, Any]:
    """Who signed a bundle, and what this user's keys make of that."""
    known: PublicKey | None = None
    reason = None
    try:
        known = own_keyring().check(raw)
        own_keyring().check(raw, today())
    except SignatureError as error:
        reason = f"{error}."
    key = known or PublicKey("unknown", raw)
    return {
        "name": known.name if known else None,
        "fingerprint": key.fingerprint,
        "expires": key.expires.isoformat() if key.expires else None,
        "development": key.development,
        "trusted": reason is None,
        "reason": reason,
    }


def _signer_text(signer: dict[str, Any]) -> str:
    name = signer["name"] or "a key that is not known here"
    until = f", until {signer['expires']}" if signer["expires"] else ""
    trusted = "" if signer["trusted"] else ", NOT TRUSTED"
    return f"{name} ({signer['fingerprint']}{until}{trusted})"


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _content(path: Path, data: bytes, bundle: Bundle, signer: dict[str, Any]) -> dict[str, Any]:
    return {
        "file": str(path),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "format": FORMAT,
        "name": bundle.name,
        "version": bundle.version,
        "signer": signer,
        "device_class": DEVICE_CLASS,
        "window": bundle.window.as_dict(),
        "adapt": bundle.adapt.as_dict(),
        "detector": bundle.detector.as_dict(),
        "golden_windows": len(bundle.golden_windows),
        "forms": [
            {
                "runtime": form.runtime,
                "bytes": len(form.model),
                "sha256": form.sha256,
                "features": form.golden_embeddings.shape[1],
                "prototypes": len(form.prototypes),
                "tolerance": form.tolerance,
            }
            for form in bundle.forms
        ],
        "card": bundle.card,
        "notice": NOTICE,
    }


def _print_diff(
    console: Console,
    diff: BundleDiff,
    signers: list[dict[str, Any]],
    before: Bundle,
    after: Bundle,
) -> None:
    names = [f"{plain(bundle.name)} {bundle.version}" for bundle in (before, after)]
    console.print(f"from {names[0]}, signed by {_signer_text(signers[0])}", soft_wrap=True)
    console.print(f"to   {names[1]}, signed by {_signer_text(signers[1])}", soft_wrap=True)
    if diff.same:
        console.print("the contents are the same")
    if diff.differences:
        table = Table()
        for column in ("what", "before", "after"):
            table.add_column(column, overflow="fold")
        for difference in diff.differences[:MOST_SHOWN]:
            table.add_row(*_difference(difference))
        console.print(table)
        if (more := len(diff.differences) - MOST_SHOWN) > 0:
            console.print(f"and {more} more; --json has them all")
    for form in diff.forms:
        if form.same:
            console.print(f"{form.runtime}: the same backbone, {(form.after or '')[:12]}")
            continue
        sizes = f"{form.before_bytes} -> {form.after_bytes} bytes"
        hashes = f"{(form.before or 'none')[:12]} -> {(form.after or 'none')[:12]}"
        far = (
            "golden embeddings cannot be compared"
            if form.golden_difference is None
            else f"golden embeddings differ by up to {form.golden_difference:.4g}"
        )
        console.print(f"{form.runtime}: {hashes}, {sizes}; {far}", soft_wrap=True)
    for runtime, reason in diff.refit.items():
        console.print(f"{runtime}: patients' heads must be re-fitted ({reason})", style="bold")
    if not diff.refit:
        console.print("patients' heads go on: same backbone, same windows")
    console.print(NOTICE, style="dim")


def _difference(difference: Difference) -> tuple[str, str, str]:
    def text(value: object) -> str:
        shown = plain(value)
        return shown if len(shown) <= 200 else f"{shown[:199]}…"

    return plain(difference.what), text(difference.before), text(difference.after)

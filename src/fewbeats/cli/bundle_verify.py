"""``fewbeats bundle verify``: every check that a gateway makes, one line each."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from fewbeats.cli.keys import today
from fewbeats.cli.plain_text import plain
from fewbeats.device.backbone import installed_runtimes
from fewbeats.device.bundle import NOTICE, Bundle, Form
from fewbeats.device.container import FORMAT, read_bundle, signed
from fewbeats.device.keys import DEVELOPMENT_NOTICE, Keyring, PublicKey, own_keyring
from fewbeats.errors import BundleError, SignatureError

_WORDS = {True: ("ok", "green"), False: ("refused", "bold red"), None: ("not tried", "yellow")}


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its outcome.

    Attributes:
        check: what was checked.
        ok: whether it was passed; None: it could not be tried here.
        detail: what was found.
    """

    check: str
    ok: bool | None
    detail: str


def verify_bundle(path: Path, key_paths: list[Path], production: bool, as_json: bool) -> None:
    """Print every check.

    Args:
        path: the bundle.
        key_paths: the public keys to trust; none for this user's own.
        production: refuse the development key.
        as_json: print one document.

    Raises:
        BundleError: the bundle is refused.
        KeyFileError: a key cannot be read.
    """
    if key_paths:
        ring = Keyring(tuple(PublicKey.load(key) for key in key_paths), production)
    else:
        ring = replace(own_keyring(), production=production)
    checks = list(checks_of(read_bundle(path), str(path), ring))
    refused = [check for check in checks if check.ok is False]
    if as_json:
        content = {
            "file": str(path),
            "accepted": not refused,
            "production": production,
            "trusted": list(ring.names),
            "checks": [asdict(check) for check in checks],
            "notice": NOTICE,
        }
        typer.echo(json.dumps(content, indent=1))
    else:
        console = Console(highlight=False, markup=False)
        for check in checks:
            word, style = _WORDS[check.ok]
            line = Text.assemble((f"{word:<10}", style), f"{check.check:<26}", plain(check.detail))
            console.print(line, soft_wrap=True)
        console.print(NOTICE, style="dim")
    if refused:
        raise BundleError(
            f"{path} is refused: {plain(refused[0].check)}: {plain(refused[0].detail)}"
        )


def checks_of(data: bytes, origin: str, ring: Keyring) -> Iterator[Check]:
    """The checks in the order of a gateway, up to the first after which no other makes sense.

    Args:
        data: the bundle's bytes.
        origin: what to call it.
        ring: the keys to trust.
    """
    try:
        _, raw = signed(data, origin)
    except BundleError as error:
        yield Check("signature", False, str(error))
        return
    yield Check("signature", True, f"fits all {len(data)} bytes of format {FORMAT}")
    trusted = False
    try:
        key = ring.check(raw, today())
    except SignatureError as error:
        yield Check("signer", False, f"{error}.")
    else:
        trusted = True
        until = f", until {key.expires}" if key.expires else ""
        loud = f"; {DEVELOPMENT_NOTICE}" if key.development else ""
        yield Check("signer", True, f"{key.name} ({key.fingerprint}{until}){loud}")
    try:
        bundle = Bundle.unpack(data, origin, Keyring((PublicKey("unknown", raw),)))
    except BundleError as error:
        yield Check("contents", False, str(error))
        return
    yield Check(
        "contents", True, f"{bundle.name} {bundle.version}: parts, hashes, shapes, device class"
    )
    if trusted:
        yield from golden_checks(bundle)
        return
    for form in bundle.forms:
        yield Check(_golden(form), None, "the network of a signer who is not trusted is not run")


def golden_checks(bundle: Bundle) -> Iterator[Check]:
    """The golden windows in every runtime that is here; whoever asks trusts the signer."""
    here = installed_runtimes()
    for form in bundle.forms:
        name = _golden(form)
        if form.runtime not in here:
            yield Check(name, None, f"{form.runtime} is not installed here")
            continue
        judged = bundle.on(form.runtime)
        try:
            embeddings = judged.backbone.embed(judged.golden_windows)
        except BundleError as error:
            yield Check(name, False, str(error))
            continue
        error_found = float(np.abs(embeddings - judged.golden_embeddings).max())
        yield Check(
            name,
            True,
            f"{len(embeddings)} of {len(embeddings)}, off by up to {error_found:.3g} of "
            f"{form.tolerance:g} allowed",
        )
    if not any(form.runtime in here for form in bundle.forms):
        yield Check(
            "a form for this machine",
            False,
            f"there is none: it has {', '.join(form.runtime for form in bundle.forms)}, here is "
            f"{', '.join(here) or 'no runtime'}",
        )


def _golden(form: Form) -> str:
    return f"golden windows, {form.runtime}"

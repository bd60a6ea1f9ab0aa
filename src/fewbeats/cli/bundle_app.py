"""The verbs of ``fewbeats bundle`` and ``fewbeats keys``."""

from pathlib import Path
from typing import Annotated

import typer

bundle_app = typer.Typer(
    no_args_is_help=True, help="Look at bundles, check them as a gateway does, sign them."
)
keys_app = typer.Typer(no_args_is_help=True, help="Make and list the keys that sign bundles.")

File = Annotated[Path, typer.Argument(help="A bundle.", metavar="FILE")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Folder = Annotated[
    Path | None,
    typer.Option(help="Folder of keys. [default: $FEWBEATS_KEYS, else ~/.config/fewbeats/keys]"),
]


@bundle_app.command("inspect")
def bundle_inspect(file: File, as_json: Json = False) -> None:
    """Say what a bundle holds, whoever signed it, and whether that signer is trusted here."""
    from fewbeats.cli.bundle import inspect_bundle

    inspect_bundle(file, as_json)


@bundle_app.command("verify")
def bundle_verify(
    file: File,
    key: Annotated[
        list[Path] | None,
        typer.Option(
            help="Trust this public key and no other; may be repeated. [default: your own keys]"
        ),
    ] = None,
    production: Annotated[
        bool,
        typer.Option(
            "--production", help="As a gateway in production, which refuses the development key."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make every check that a gateway makes, the golden windows in each runtime that is here.

    Exit code 6 if the bundle is refused.
    """
    from fewbeats.cli.bundle_verify import verify_bundle

    verify_bundle(file, key or [], production, as_json)


@bundle_app.command("diff")
def bundle_diff(
    before: Annotated[Path, typer.Argument(help="The bundle to compare with.", metavar="A")],
    after: Annotated[Path, typer.Argument(help="The bundle to judge.", metavar="B")],
    as_json: Json = False,
) -> None:
    """Say what differs between two bundles, and whether patients' heads must be re-fitted."""
    from fewbeats.cli.bundle import print_diff

    print_diff(before, after, as_json)


@bundle_app.command("sign")
def bundle_sign(
    file: File,
    key: Annotated[Path, typer.Option(help="Private key, as made by 'fewbeats keys new'.")],
    out: Annotated[Path, typer.Option(help="Bundle to write.")],
    from_development: Annotated[
        bool,
        typer.Option(
            "--from-development",
            help="Sign a bundle that bears the development key's signature, which anybody can "
            "make: you know where it comes from.",
        ),
    ] = False,
) -> None:
    """Put another signature under the same contents; the one it has must be trusted here.

    Its golden windows are proven first, in every runtime that is here.
    """
    from fewbeats.cli.bundle import sign_bundle

    sign_bundle(file, key, out, from_development)


@keys_app.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="Name of the key and of its files.")],
    folder: Folder = None,
    expires: Annotated[
        str | None,
        typer.Option(help="Last day: 2030-12-31, or 365d from today. [default: never]"),
    ] = None,
    no_passphrase: Annotated[
        bool,
        typer.Option(
            "--no-passphrase",
            help="Do not protect the private half. Otherwise a passphrase is asked for, or "
            "taken from FEWBEATS_KEY_PASSPHRASE.",
        ),
    ] = False,
) -> None:
    """Make a key: a private half to sign with, a public half for gateways."""
    from fewbeats.cli.keys import new_key

    new_key(name, folder, expires, no_passphrase)


@keys_app.command("list")
def keys_list(folder: Folder = None, as_json: Json = False) -> None:
    """List the keys that you trust, and those that you can sign with."""
    from fewbeats.cli.keys import list_keys

    list_keys(folder, as_json)


@keys_app.command("show")
def keys_show(
    file: Annotated[Path, typer.Argument(help="A .pub file, or the private key beside it.")],
    as_json: Json = False,
) -> None:
    """Show a public key: name, fingerprint, end."""
    from fewbeats.cli.keys import show_key

    show_key(file, as_json)

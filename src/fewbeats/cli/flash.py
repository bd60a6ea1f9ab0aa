"""``fewbeats flash``: a bundle to a gateway, with a bar and a verdict."""

import json
from pathlib import Path

import typer
from rich.console import Console

from fewbeats.cli.bundle import open_whole
from fewbeats.cli.plain_text import plain
from fewbeats.cli.progress import progress_bar
from fewbeats.cli.remote import title_of
from fewbeats.deploy.target import open_target
from fewbeats.device.bundle import NOTICE
from fewbeats.device.keys import DEVELOPMENT_NOTICE


def flash_bundle(path: Path, address: str, allow_downgrade: bool, as_json: bool) -> None:
    """Look whether a bundle is whole, bring it to a gateway, and say what was done.

    Whom the gateway trusts, it says itself; here a bundle is only refused if it is damaged.

    Raises:
        BundleError: it is damaged, or the gateway refuses it; the old bundle runs on.
        TargetError: the gateway cannot be reached, or is none.
        TargetLostError: the connection broke; the gateway runs what it ran, or the new bundle.
    """
    bundle, data, _ = open_whole(path)
    target = open_target(address)
    before = target.status().get("current")
    with progress_bar(f"{plain(bundle.name)} {bundle.version}", quiet=as_json) as report:

        def sent(done: int, total: int) -> None:
            report(done, total, "bytes" if done < total else "installing")

        installed = target.install(data, allow_downgrade, sent)
    if as_json:
        typer.echo(json.dumps({"target": address, "before": before, **installed, "notice": NOTICE}))
        return
    console = Console(highlight=False, soft_wrap=True)
    current = installed.get("current") or {}
    console.print(f"before: {title_of(before)}", markup=False)
    console.print(f"now:    {title_of(current)}", markup=False)
    if not installed.get("changed", True):
        console.print("It is the current bundle already; nothing was changed.")
    elif current.get("state") == "trial":
        begins = "" if target.running else " from the card's next start on"
        console.print(
            f"It is on trial{begins}: it is kept once it has judged signal for as long as "
            f"trial_judged_s in gateway.toml says (5 minutes, unless changed), or when you say "
            f"fewbeats remote confirm {address}. If it fails, or is started too often without "
            f"that, the gateway goes back by itself.",
            markup=False,
        )
    if refitted := installed.get("refitted"):
        console.print(f"heads fitted anew: {plain(', '.join(refitted))}", markup=False)
    for patient in installed.get("to_be_calibrated") or ():
        console.print(
            f"to be calibrated: {plain(patient['patient'])} ({plain(patient['reason'])})",
            style="bold yellow",
            markup=False,
        )
    if current.get("development"):
        console.print(DEVELOPMENT_NOTICE, style="bold red")
    console.print(NOTICE, style="dim")

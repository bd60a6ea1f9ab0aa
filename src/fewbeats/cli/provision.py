"""``fewbeats provision`` and ``deprovision``: the steps, one line each, as they are done."""

import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fewbeats.cli.plain_text import plain
from fewbeats.cli.progress import progress_bar
from fewbeats.deploy.machine import Machine
from fewbeats.deploy.payload import SensorUsb
from fewbeats.deploy.provision import (
    Plan,
    Request,
    carry_out,
    go_back,
    look_back,
    open_place,
    plan,
)
from fewbeats.deploy.step import Step, Told, script_of
from fewbeats.deploy.steps import GOING_BACK, undoing_steps
from fewbeats.deploy.wheelhouse import wheelhouse_for
from fewbeats.device.bundle import NOTICE
from fewbeats.device.gateway_config import DEVELOPMENT
from fewbeats.device.keys import PublicKey

FORMAT = 1
DEVELOPMENT_MODE = (
    "DEVELOPMENT MODE: this gateway takes bundles that anybody can sign. Not for patients."
)
_WORDS = {
    "already": "already so",
    "todo": "to do",
    "doing": "...",
    "done": "done",
    "failed": "FAILED",
    "later": "at the first start",
}
_STYLES = {"already": "dim", "done": "green", "failed": "bold red", "todo": "yellow"}


def provision_target(
    address: str,
    trust: Sequence[Path],
    development: bool,
    bundle: Path | None,
    config: Path | None,
    sensor_usb: str | None,
    wheels: Path | None,
    now: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a machine a gateway, or say what would be done.

    Raises:
        TargetError: it cannot be reached or provisioned; what was at work before still is.
        TargetLostError: the connection broke; run it again.
        BundleError: the first bundle is one that this gateway would refuse.
        KeyFileError: a key cannot be read.
    """
    console = Console(highlight=False, soft_wrap=True, quiet=as_json)
    request = Request(
        tuple(PublicKey.load(path) for path in trust),
        development,
        bundle,
        config,
        SensorUsb.parse(sensor_usb) if sensor_usb else None,
        wheels,
    )
    planned = plan(open_place(address, now), request, dry_run)
    machine = planned.found.machine
    console.print(f"{address}: {plain(machine.system)}, {machine.tag}", markup=False)
    if planned.mode == DEVELOPMENT:
        Console(stderr=True, soft_wrap=True).print(DEVELOPMENT_MODE, style="bold red")
    ended = list(planned.states)
    if dry_run:
        _print_steps(console, planned.steps, ended, why=True)
        console.print("Nothing was touched.")
    elif planned.done:
        _print_steps(console, planned.steps, ended, why=False)
        console.print("Everything is already so.")
    else:
        ended = _carried_out(console, planned, as_json)
        console.print(_verdict(planned, address), markup=False)
    _print_end(console, address, planned.steps, ended, as_json)


def undo_program(address: str, dry_run: bool, as_json: bool) -> None:
    """Go back to the program before the present one, or say what would be done.

    Raises:
        TargetError: there is none, or the machine cannot be reached.
    """
    console = Console(highlight=False, soft_wrap=True, quiet=as_json)
    place, ended = open_place(address), dict[str, Told]()
    if dry_run:
        ended = {told.name: told for told in look_back(place)}
        _print_steps(console, GOING_BACK, [*ended.values()], why=True)
        console.print("Nothing was touched.")
    else:
        go_back(place, lambda told: ended.update({told.name: told}))
        console.print("The program before the present one is in use again.")
    _print_end(console, address, GOING_BACK, [*ended.values()], as_json)


def deprovision_target(address: str, purge: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Make a gateway an ordinary machine again, or say what would be done.

    Raises:
        TargetError: it cannot be reached, or a step failed.
    """
    console = Console(highlight=False, soft_wrap=True, quiet=as_json)
    place, steps = open_place(address), undoing_steps(purge)
    script = script_of(steps)
    ended = place.look(script)
    if not dry_run and any(told.state == "todo" for told in ended):
        what = "with all patients' data, keys and settings" if purge else "but for patients' data"
        if not yes:
            typer.confirm(f"Remove fewbeats from {address}, {what}?", abort=True, err=True)
        after: dict[str, Told] = {told.name: told for told in ended}
        place.carry_out(script, lambda told: after.update({told.name: told}))
        ended = list(after.values())
    _print_steps(console, steps, ended, why=dry_run)
    if dry_run:
        console.print("Nothing was touched.")
    _print_end(console, address, steps, ended, as_json)


def gather_wheels(address: str | None, tag: str | None, folder: Path, as_json: bool) -> None:
    """Write the wheels that a machine needs to a folder.

    Raises:
        TargetError: they cannot be brought, or the machine cannot be looked at.
    """
    machine = Machine.named(tag) if tag else open_place(address or "").find().machine
    wheelhouse = wheelhouse_for(machine)
    wheelhouse.save(folder)
    if as_json:
        content = {"machine": machine.tag, "folder": str(folder), "wheels": [*wheelhouse.wheels]}
        typer.echo(json.dumps({**content, "release": wheelhouse.release, "notice": NOTICE}))
        return
    typer.echo(
        f"{len(wheelhouse.wheels)} wheels for {machine.tag} are in {folder}; provision without a "
        f"network with: fewbeats provision TARGET --wheels {folder}\n{NOTICE}"
    )


def _carried_out(console: Console, planned: Plan, as_json: bool) -> list[Told]:
    """Do what is planned, a line for each step that changes something."""
    what = {step.name: step.what for step in planned.steps}
    ended = {told.name: told for told in planned.states}
    if planned.place.later:
        ended = {
            name: told if told.state == "already" else Told(name, "later")
            for name, told in ended.items()
        }

    def on_step(told: Told) -> None:
        ended[told.name] = told
        if told.state == "doing" and told.name in what:
            console.print(f"{told.name}: {plain(what[told.name])} ...", markup=False)
        elif told.state == "failed":
            console.print(f"{told.name}: FAILED", style="bold red", markup=False)

    with progress_bar("files", quiet=as_json) as report:
        carry_out(planned, on_step, lambda done, total: report(done, total, "bytes"))
    _print_steps(console, planned.steps, [ended[step.name] for step in planned.steps], why=False)
    return list(ended.values())


def _verdict(planned: Plan, address: str) -> str:
    if planned.place.later:
        return (
            "The card is prepared. At its first start it sets itself up, which takes some minutes "
            "and no network; then it watches. Look with: systemctl status fewbeats"
        )
    return f"The gateway is provisioned. Look with: fewbeats remote status {address}"


def _print_steps(console: Console, steps: Sequence[Step], ended: Sequence[Told], why: bool) -> None:
    states = {told.name: told.state for told in ended}
    title = "what it does, and why" if why else "what it does"
    table = Table("step", "state", title, box=None, pad_edge=False)
    for step in steps:
        state = states[step.name]
        what = Text.assemble(plain(step.what), ("\n" + step.why if why else "", "dim"))
        table.add_row(step.name, Text(_WORDS[state], _STYLES.get(state, "")), what)
    console.print(table)


def _print_end(
    console: Console, address: str, steps: Sequence[Step], ended: Sequence[Told], as_json: bool
) -> None:
    console.print(NOTICE, style="dim")
    if as_json:
        about = {step.name: {"what": step.what, "why": step.why} for step in steps}
        listed = [
            {"name": told.name, "state": told.state, **about.get(told.name, {})} for told in ended
        ]
        content = {"format": FORMAT, "target": address, "steps": listed, "notice": NOTICE}
        typer.echo(json.dumps(content))

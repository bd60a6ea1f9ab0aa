"""``fewbeats gateway run``: the service, whose standard output is the journal."""

import json
from datetime import UTC, datetime
from pathlib import Path

import typer

from fewbeats.cli.gateway_owner import become_owner
from fewbeats.cli.interrupt import run_until_stopped
from fewbeats.device.event_lines import Line
from fewbeats.device.gateway_config import GatewayConfig
from fewbeats.device.layout import Layout
from fewbeats.device.notify import Notifier
from fewbeats.device.service import Service


def run_service(root: Path) -> None:
    """Watch until SIGTERM or Ctrl-C.

    Raises:
        FewbeatsError: there is no gateway, or no bundle that may run here, or it fails.
    """
    layout = Layout(root)
    layout.check_inside()
    become_owner(layout.home)
    config = GatewayConfig.load(layout)
    notifier = Notifier.from_environment()
    try:
        run_until_stopped(Service(layout, config, _print, notifier).run())
    finally:
        notifier.close()


def _print(line: Line) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    typer.echo(json.dumps({"at": at, **line}))

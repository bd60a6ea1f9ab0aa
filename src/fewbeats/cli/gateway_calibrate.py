"""``fewbeats gateway calibrate``: fit the head to a patient, and keep it on the gateway."""

import json
from pathlib import Path

import typer

from fewbeats.cli.calibrate import collect_support, told_of
from fewbeats.cli.gateway_owner import become_owner
from fewbeats.device.calibrate import SupportSet
from fewbeats.device.gateway_config import GatewayConfig
from fewbeats.device.layout import Layout
from fewbeats.device.patients import check_code
from fewbeats.device.slots import open_slots


def calibrate_patient(
    root: Path,
    patient: str,
    source: str | None,
    shots: int,
    speed: float | None,
    timeout_s: float | None,
    confirmed: bool,
    as_json: bool,
) -> None:
    """Collect normal windows with the current bundle, fit the head, and keep it.

    Raises:
        CalibrationError: too few good windows came, or they are not to be fitted to.
        FewbeatsError: the source, the bundle or the disk is not usable.
    """
    layout = Layout(root)
    check_code(patient)
    layout.check_inside()
    become_owner(layout.home)
    address = source or GatewayConfig.load(layout).source
    slots = open_slots(root)
    support = SupportSet(slots.current_bundle(), shots, confirmed=confirmed)
    collect_support(support, address, speed, timeout_s, None, quiet=as_json)
    head = support.fit({"source": address, "patient": patient})
    standing = slots.keep_calibration(patient, head)
    if as_json:
        typer.echo(json.dumps({**standing.as_dict(), **head.calibration}))
        return
    typer.echo(f"patient {patient} is calibrated\n{told_of(head)}")
    if standing.reason is not None:
        typer.echo(f"TO BE CALIBRATED again: {standing.reason}")

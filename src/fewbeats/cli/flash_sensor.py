"""``fewbeats flash --sensor``: new firmware for a sensor, with a bar and a verdict."""

import asyncio
import json
import logging
import time
from pathlib import Path

import typer

from fewbeats.cli.extras import needing
from fewbeats.cli.progress import progress_bars
from fewbeats.device.bundle import NOTICE

FORMAT = 1
"""Of the JSON document."""


def flash_sensor(image: Path, address: str, as_json: bool) -> None:
    """Check an image, bring a sensor to it, and say what was done.

    Args:
        image: MCUboot image, as imgtool signs it.
        address: serial:///dev/ttyACM0 or ble://NAME.
        as_json: print one JSON document instead of sentences and bars.

    Raises:
        MissingExtraError: smpclient, or what it needs, is not installed.
        FirmwareError: the image is none, the sensor refuses it, or it does not come up.
        TargetLostError: the connection broke.
        TargetError: no sensor is there.
    """
    with needing("flash", "Flashing a sensor"):
        from fewbeats.deploy.mcuboot_image import FirmwareImage
        from fewbeats.deploy.sensor_firmware import Outcome, update_sensor
        from fewbeats.deploy.sensor_link import find_address

    # Its own words for what the sentences below say; they would stand in the bars.
    logging.getLogger("smpclient").setLevel(logging.CRITICAL)
    target = find_address(address)
    firmware = FirmwareImage.load(image)
    if not as_json:
        typer.echo(NOTICE, err=True)
    began_s = time.monotonic()
    with progress_bars(quiet=as_json) as bar:
        update = asyncio.run(
            update_sensor(
                target, firmware, lambda stage, done, total: bar(stage.value, done, total, "")
            )
        )
    if as_json:
        document = {
            "format": FORMAT,
            "address": address,
            "outcome": update.outcome.value,
            "image": {
                "file": str(image),
                "version": firmware.version,
                "hash": firmware.hash.hex(),
                "bytes": len(firmware.data),
                "signed": firmware.signed,
            },
            "before": {"version": update.old_version, "hash": update.old_hash.hex()},
            "sent_bytes": update.sent_bytes,
            "took_s": round(time.monotonic() - began_s, 1),
            "notice": NOTICE,
        }
        typer.echo(json.dumps(document))
        return
    said = {
        Outcome.UPDATED: "now runs, and keeps, firmware",
        Outcome.CONFIRMED: "ran it on trial; it now keeps firmware",
        Outcome.UNCHANGED: "runs it already, nothing to do: firmware",
    }[update.outcome]
    typer.echo(f"{address} {said} {firmware.version} ({firmware.hash.hex()[:16]})")
    if update.outcome is not Outcome.UNCHANGED:
        typer.echo(f"before it: {update.old_version} ({update.old_hash.hex()[:16]})")
    if not firmware.signed:
        typer.echo("note: the image carries no signature; its bootloader takes anybody's firmware")

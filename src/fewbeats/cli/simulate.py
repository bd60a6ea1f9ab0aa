"""``fewbeats simulate``: be a sensor on a virtual serial port."""

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import typer

from fewbeats.errors import AddressError, RateError, RecordError
from fewbeats.firmware_bridge.codecs.fewbeats_packets import MAX_SAMPLES
from fewbeats.firmware_bridge.records import Record, open_record
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.firmware_bridge.simulate.line_faults import LineFaults
from fewbeats.firmware_bridge.simulate.scenario import DEMO_SCENARIO, Scenario
from fewbeats.firmware_bridge.simulate.synthetic import synthetic_chunks
from fewbeats.firmware_bridge.simulate.virtual_serial import VirtualSerialSensor

PACKETS_A_SECOND = 10


def simulate_sensor(
    record_path: Path | None,
    scenario_text: str | None,
    seed: int,
    rate_hz: float,
    speed: float,
    once: bool,
    autostart: bool,
    link: Path | None,
    faults: LineFaults,
    tied: bool,
    as_json: bool,
) -> None:
    """Send until the recording is over, Ctrl-C, or SIGTERM.

    Raises:
        AddressError: a scenario that cannot be read, or both a scenario and a record.
        RecordError: a record that cannot be read.
    """
    if record_path and scenario_text:
        raise AddressError("Name a --record or a --scenario to simulate, not both.")
    if record_path:
        record = open_record(record_path)
        feeder, name, rate_hz = record_chunks(record, once), record.name, record.rate_hz
    else:
        if not math.isfinite(rate_hz):
            raise RateError(f"A rate of {rate_hz} Hz means nothing; use one such as 250.")
        scenario = Scenario.parse(scenario_text) if scenario_text else DEMO_SCENARIO
        feeder = synthetic_chunks(scenario, _packet_samples(rate_hz), rate_hz, seed, loop=not once)
        name = f"synthetic person {seed}"
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if tied:
        threading.Thread(target=_stop_with_stdin, args=(stop,), daemon=True).start()
    sensor = VirtualSerialSensor(
        feeder,
        name=name,
        packet_samples=_packet_samples(rate_hz),
        speed=speed,
        autostart=autostart,
        link=link,
        faults=faults,
    )
    with sensor:
        address = f"serial://{sensor.port}"
        if as_json:
            typer.echo(json.dumps({"address": address, "name": name, "rate_hz": rate_hz}))
        else:
            typer.echo(
                f"{name}, {rate_hz:g} Hz, at {address}\n"
                f"watch it with: fewbeats run --source {address}\n"
                f"Ctrl-C ends it."
            )
        reason = sensor.run(stop)
    if not as_json:
        typer.echo(f"ended: {reason.name.lower().replace('_', ' ')}")


def _packet_samples(rate_hz: float) -> int:
    return min(MAX_SAMPLES, max(1, round(rate_hz / PACKETS_A_SECOND)))


def _stop_with_stdin(stop: threading.Event) -> None:
    """Whoever started this sensor is gone once its end of the pipe closes."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()


def record_chunks(record: Record, once: bool = True) -> Iterator[EcgChunk]:
    """A record as the chunks of a sensor that plays it, over and over unless ``once``.

    Raises:
        RecordError: the record is empty, or its files are not what the header says.
    """
    if record.length == 0:
        raise RecordError(f"Record {record.name} holds no samples to send.")
    step = max(1, round(record.rate_hz))
    sequence = 0
    for turn in count():
        for start in range(0, record.length, step):
            samples = record.read(start, min(start + step, record.length))
            valid = np.isfinite(samples)
            time_ns = record.time_ns(turn * record.length + start)
            yield EcgChunk(samples, valid, record.rate_hz, time_ns, sequence)
            sequence += 1
        if once:
            return

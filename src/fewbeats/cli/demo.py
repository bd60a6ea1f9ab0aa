"""``fewbeats demo``: the whole way, checked against the truth that the sensor was built from."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from fewbeats.cli.interrupt import run_until_stopped
from fewbeats.cli.screen import Screen
from fewbeats.cli.verdict import Watch, print_verdict
from fewbeats.device.bundle import NOTICE
from fewbeats.device.calibrate import SupportSet
from fewbeats.device.gateway import attend
from fewbeats.device.preprocess import Preprocessor, WindowSpec
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import AddressError, SourceError
from fewbeats.firmware_bridge.records import open_record
from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels
from fewbeats.firmware_bridge.simulate.scenario import DEMO_SCENARIO, Scenario
from fewbeats.firmware_bridge.simulate.synthetic import synthetic_ecg
from fewbeats.firmware_bridge.source import open_source
from fewbeats.training.datasets import read_labels

SENSOR_RATE_HZ = 250.0
ENDS_WITHIN_S = 5.0
GIVE_UP_NS = 15_000_000_000


def demonstrate(
    record_path: Path | None,
    scenario_text: str | None,
    seed: int,
    speed: float,
    shots: int,
    bundle_path: Path | None,
    as_json: bool,
) -> bool:
    """Run the demo and say whether every planted VA, and nothing else, was reported.

    Raises:
        FewbeatsError: the record, the scenario, the bundle or the virtual sensor fails.
    """
    bundle = load_bundle(bundle_path)
    if record_path and scenario_text:
        raise AddressError("Name a --record or a --scenario to demonstrate, not both.")
    if record_path:
        labels = read_labels(open_record(record_path))
        what = ["--record", str(record_path)]
    else:
        scenario = Scenario.parse(scenario_text) if scenario_text else DEMO_SCENARIO
        labels = synthetic_ecg(scenario, SENSOR_RATE_HZ, seed).labels
        what = ["--scenario", str(scenario), "--rate", str(SENSOR_RATE_HZ), "--seed", str(seed)]
    watches = [
        Watch(f"{shots} a class", SupportSet(bundle, shots, normals_only=False), labels),
        Watch(f"{shots} normals", SupportSet(bundle, shots, confirmed=True), labels),
    ]
    console = Console(quiet=as_json, highlight=False)
    with _sensor([*what, "--speed", str(speed)]) as sensor, Screen(console) as screen:
        screen.greet(bundle)
        screen.log(f"sensor: {sensor['name']} at {sensor['address']}, {speed:g} x real time")
        watching = _watch(sensor["address"], bundle.window, labels, watches, screen)
        if not run_until_stopped(watching):
            raise KeyboardInterrupt
    verdicts = [watch.verdict() for watch in watches]
    scores = [verdict.score for verdict in verdicts if verdict.score]
    # A demo in which nothing was there to find has shown nothing.
    good = any(score.episodes for score in scores) and all(score.perfect for score in scores)
    if as_json:
        content = {
            "verdict": "pass" if good else "fail",
            "bundle": {"name": bundle.name, "version": bundle.version},
            "sensor": sensor,
            "speed": speed,
            "duration_s": len(labels) / labels.rate_hz,
            "watches": [verdict.as_dict() for verdict in verdicts],
            "notice": NOTICE,
        }
        typer.echo(json.dumps(content))
    else:
        print_verdict(console, verdicts, good)
    return good


async def _watch(
    address: str,
    window: WindowSpec,
    labels: RhythmLabels,
    watches: list[Watch],
    screen: Screen,
) -> None:
    preprocessor = Preprocessor(window)
    start_ns: int | None = None
    async with open_source(address) as source, aclosing(attend(source)) as news:
        async for arrival in news:
            chunk = arrival.chunk
            if chunk is None:
                if arrival.late_ns > GIVE_UP_NS:
                    raise SourceError("The virtual sensor has fallen silent; run the demo again.")
                continue
            start_ns = chunk.start_ns if start_ns is None else start_ns
            windows = preprocessor.feed(chunk)
            for watch in watches:
                for text, style in watch.feed(chunk, windows, start_ns):
                    screen.log(f"{watch.name:<12}{text}", style)
            at = min(round((chunk.end_ns - start_ns) / 1e9 * labels.rate_hz), len(labels)) - 1
            truth = Rhythm(labels.rhythms[at]).name
            noisy = " under noise or without contact" if labels.noise[at] else ""
            status = {watch.name: watch.status() for watch in watches}
            screen.show(chunk, {"truth": (truth + noisy, "bold"), **status})
        for watch in watches:
            for text, style in watch.finish():
                screen.log(f"{watch.name:<12}{text}", style)


@contextmanager
def _sensor(options: list[str]) -> Iterator[dict[str, Any]]:
    """A virtual sensor in a process of its own; gives what it announces of itself."""
    command = [sys.executable, "-m", "fewbeats", "simulate", "--once", "--tied", "--json"]
    with subprocess.Popen(
        [*command, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the demo alone, which then ends its sensor
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise SourceError(
                    f"The virtual sensor ended before it began (exit code {process.wait()}); "
                    f"run it alone to see why: fewbeats simulate {' '.join(options)}"
                )
            yield json.loads(line)
        finally:
            process.terminate()
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()

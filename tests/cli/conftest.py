"""The command line as its users run it: in processes of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fewbeats.firmware_bridge.simulate.scenario import Scenario
from fewbeats.firmware_bridge.simulate.synthetic import SyntheticEcg, synthetic_ecg

Fewbeats = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def fewbeats() -> Fewbeats:
    def run(*arguments: object, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fewbeats", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a verb in the background; whatever still runs at the end of the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "fewbeats", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def sensor(
    start: Callable[..., subprocess.Popen[str]],
) -> Callable[..., tuple[str, subprocess.Popen[str]]]:
    """A virtual sensor; gives its address and its process."""

    def begin(*options: object) -> tuple[str, subprocess.Popen[str]]:
        process = start("simulate", "--tied", "--json", *options)
        assert process.stdout
        return json.loads(process.stdout.readline())["address"], process

    return begin


def write_record(folder: Path, name: str, ecg: SyntheticEcg) -> Path:
    """A WFDB record (format 16) of synthetic ECG, with its rhythms annotated."""
    counts = np.where(ecg.valid, np.rint(ecg.samples_uv), -32768).astype("<i2")
    (folder / f"{name}.dat").write_bytes(counts.tobytes())
    rate_hz = f"{ecg.rate_hz:g}"
    header = f"{name} 1 {rate_hz} {len(counts)}\n{name}.dat 16 1000(0)/mV 16 0 0 0 0 I\n"
    (folder / f"{name}.hea").write_text(header)
    return folder / name


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic record: a minute of sinus rhythm, then fibrillation, then sinus again."""
    ecg = synthetic_ecg(Scenario.parse("sinus:60,vf:25,sinus:35"), 250.0, seed=3)
    return write_record(tmp_path_factory.mktemp("records"), "synth1", ecg)

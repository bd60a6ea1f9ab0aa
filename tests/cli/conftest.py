"""The command line as its users run it: in processes of its own."""

import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
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


@pytest.fixture(scope="session")
def fewbeats_here() -> Fewbeats:
    """As ``fewbeats``, but in this process: PyTorch is loaded once for all that need it."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        from fewbeats.cli import main

        command, before = ["fewbeats", *map(str, arguments)], sys.argv
        out, err, code = io.StringIO(), io.StringIO(), 0
        sys.argv = command
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        finally:
            sys.argv = before
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

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
            env=os.environ | {"OMP_NUM_THREADS": "1"},
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


_RHYTHM_STRINGS = {"sinus": b"(N", "vfl": b"(VFL", "vf": b"(VF"}


def write_labelled(folder: Path, name: str, scenario: str, seed: int) -> None:
    """A record of a scenario, with its rhythms as WFDB annotations (annot(5))."""
    parsed = Scenario.parse(scenario)
    ecg = synthetic_ecg(parsed, 250.0, seed)
    write_record(folder, name, ecg)
    start, before, data = 0.0, 0, b""
    for segment in parsed.segments:
        at = round(start * ecg.rate_hz)
        high, low = divmod(at - before, 1 << 16)
        text = _RHYTHM_STRINGS[segment.rhythm]
        data += struct.pack("<HHH", 59 << 10, high, low)  # SKIP, a PDP-11 long
        data += struct.pack("<HH", 28 << 10, 63 << 10 | len(text)) + text  # rhythm change, AUX
        data += b"\0" * (len(text) % 2)
        start, before = start + segment.duration_s, at
    (folder / f"{name}.atr").write_bytes(data + b"\0\0")


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of ten people with VA and five without, of whom nothing says they are made up."""
    folder = tmp_path_factory.mktemp("ward")
    (folder / "ward").mkdir()
    for number in range(10):
        va = ("vf", "vfl")[number % 2]
        write_labelled(folder / "ward", f"p{number}", f"sinus:60,{va}:80,sinus:20", number)
    for number in range(10, 15):
        write_labelled(folder / "ward", f"p{number}", "sinus:90", number)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that is done in a second."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(_TINY)
    return path


@pytest.fixture(scope="session")
def made_up_run(
    fewbeats: Fewbeats, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a training on made-up people, and what the command said."""
    folder = tmp_path_factory.mktemp("made-up") / "run"
    return folder, fewbeats("train", "--out", folder, "--config", tiny, timeout_s=110)


_TINY = """
name = "tiny"
[network]
channels = [8, 16]
kernels = [9, 5]
strides = [3, 3]
features = 8
[meta]
steps = 12
tasks = 4
va_tasks = 2
shots = 5
query = 6
prototypes = 4
learning_rate = 0.02
average = 0.8
[validation]
share = 0.2
every = 4
[finish]
steps = 4
[adapt]
rounds = 1
steps = 2
"""

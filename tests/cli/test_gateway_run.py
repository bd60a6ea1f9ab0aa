"""The service as systemd runs it: a process of its own, on a sensor that may go away."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fewbeats.device.shipped import SHIPPED
from fewbeats.device.slots import Slots, open_slots
from made_bundles import made_config, packed

Line = dict[str, Any]
DEADLINE_S = 60.0


class Running:
    """The service in a process, and the lines that it has told so far."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.lines: list[Line] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fewbeats", "gateway", "run", "--root", str(root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )
        assert self.process.stdout
        self._out, self._rest = self.process.stdout, b""

    def until(self, event: str) -> Line:
        """Wait for the next line of an event."""
        until_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < until_s:
            *whole, self._rest = self._rest.split(b"\n")
            for index, text in enumerate(whole):
                self.lines.append(json.loads(text))
                if self.lines[-1]["event"] == event:
                    self._rest = b"\n".join([*whole[index + 1 :], self._rest])
                    return self.lines[-1]
            if select.select([self._out], [], [], 1)[0]:
                data = os.read(self._out.fileno(), 65536)
                assert data, f"it ended without {event}: {self.lines}"
                self._rest += data
        raise AssertionError(f"no {event} in {DEADLINE_S} s: {self.lines}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        self.lines += [json.loads(text) for text in (self._rest + out).splitlines()]
        assert b"Traceback" not in err, err
        return self.process.returncode


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(root: Path, **environment: str) -> Running:
        started.append(Running(root, **environment))
        return started[-1]

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a socket such as systemd's, and what was said to it so far."""
    address, said = str(tmp_path / "notify"), []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address)

        def listen() -> None:
            while data := heard.recv(4096):
                said.append(data.decode())

        thread = threading.Thread(target=listen)
        thread.start()
        yield address, said
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", address)
        thread.join()


@pytest.fixture
def gateway(tmp_path: Path) -> Slots:
    """A gateway in development whose sensor is at a link of its own."""
    made_config(
        tmp_path / "root",
        source=f"serial://{tmp_path}/sensor",
        patient="anna",
        trial_judged_s=40.0,
    )
    return open_slots(tmp_path / "root")


@pytest.fixture
def plug(
    sensor: Callable[..., tuple[str, subprocess.Popen[str]]], tmp_path: Path
) -> Callable[..., subprocess.Popen[str]]:
    """Plug a sensor in; the process is it."""

    def begin(scenario: str, speed: float = 10) -> subprocess.Popen[str]:
        link = tmp_path / "sensor"
        link.unlink(missing_ok=True)
        return sensor("--scenario", scenario, "--speed", speed, "--link", link)[1]

    return begin


def test_a_service_from_start_to_stop(run, plug, gateway: Slots, systemd) -> None:
    gateway.install(SHIPPED.read_bytes())
    plug("sinus:30,vf:20,sinus:60")
    address, said = systemd
    service = run(gateway.layout.root, NOTIFY_SOCKET=address, WATCHDOG_USEC="2000000")
    start = service.until("start")
    assert start["bundle"]["state"] == "trial" and start["warning"]
    assert start["at"].endswith("+00:00") and not start["calibrated"]
    assert service.until("to-be-calibrated")["patient"] == "anna"
    alarm = service.until("alarm")
    service.until("episode-ended")
    service.until("trial-confirmed")
    assert service.end() == 0
    assert alarm["peak_probability"] > 0.5
    assert service.lines[-1]["event"] == "stop"
    assert said[0].startswith("STATUS=") and "READY=1" in said[:2]
    assert said.count("WATCHDOG=1") >= 2
    assert "STOPPING=1" in said[said.index("WATCHDOG=1") :]
    assert any("VENTRICULAR ARRHYTHMIA" in text for text in said)
    assert gateway.status()["current"]["state"] == "confirmed"


def test_killed_again_and_again_it_falls_back_by_itself(run, plug, gateway: Slots) -> None:
    gateway.install(packed(1))
    gateway.confirm()
    gateway.install(packed(2))
    plug("sinus:600", speed=1)
    for left in (2, 1, 0):
        service = run(gateway.layout.root)
        assert service.until("start")["bundle"]["starts_left"] == left
        assert service.end(signal.SIGKILL) == -signal.SIGKILL
    service = run(gateway.layout.root)
    assert service.until("start")["bundle"]["name"] == "made-1"
    assert "3 times" in service.until("fell-back")["reason"]
    assert service.end() == 0
    assert gateway.status()["failed"]["name"] == "made-2"


def test_a_pulled_cable_does_not_end_the_service(run, plug, gateway: Slots) -> None:
    gateway.install(SHIPPED.read_bytes())
    sensor = plug("sinus:600")
    service = run(gateway.layout.root)
    service.until("start")
    time.sleep(2)
    sensor.kill()
    sensor.wait(10)
    assert service.until("source-lost")["reason"]
    assert service.until("cannot-judge")["reason"] == "no-data"
    plug("sinus:600")
    service.until("source-back")
    service.until("judging-again")
    assert service.end() == 0
    assert gateway.status()["current"]["starts_left"] in (None, 3)


def test_an_install_takes_over_under_it(run, plug, fewbeats, gateway: Slots, tmp_path) -> None:  # type: ignore[no-untyped-def]
    gateway.install(SHIPPED.read_bytes())
    gateway.confirm()
    plug("sinus:600")
    service = run(gateway.layout.root)
    assert service.until("start")["bundle"]["name"] == "fewbeats-default"
    (tmp_path / "new.fewbeats").write_bytes(packed(3))
    done = fewbeats("gateway", "install", tmp_path / "new.fewbeats", "--root", gateway.layout.root)
    assert done.returncode == 0, done.stderr
    service.until("changing-over")
    assert service.until("start")["bundle"]["name"] == "made-3"
    assert service.end() == 0
    status = gateway.status()
    assert status["current"]["state"] == "trial" and status["current"]["starts_left"] == 3
    assert status["previous"]["name"] == "fewbeats-default"


def test_without_a_bundle_production_says_so_and_ends(fewbeats, gateway: Slots) -> None:
    made_config(gateway.layout.root, mode="production")
    done = fewbeats("gateway", "run", "--root", gateway.layout.root)
    assert done.returncode == 6
    assert done.stderr == "error: No bundle is installed on this gateway: flash one.\n"
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["event"] == "cannot-judge"


def test_a_source_that_is_none(fewbeats, gateway: Slots) -> None:
    made_config(gateway.layout.root, source="pigeon:coop7")
    done = fewbeats("gateway", "run", "--root", gateway.layout.root)
    assert done.returncode == 4 and "pigeon" in done.stderr and done.stdout == ""

"""Word to systemd, heard by a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewbeats.device.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = f"@fewbeats-test-{os.getpid()}"
    if request.param == "path":
        name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + name[1:] if name[0] == "@" else name)
        heard.settimeout(5)
        yield heard, name


def test_what_systemd_hears(listener: tuple[socket.socket, str]) -> None:
    heard, name = listener
    notifier = Notifier(name, watchdog_s=1000)
    notifier.ready()
    notifier.status("cannot judge:\nno data " + 300 * "x")
    notifier.alive()
    notifier.alive()  # not as often as it is asked to
    notifier.stopping()
    notifier.close()
    said = [heard.recv(4096).decode() for _ in range(4)]
    assert said[0] == "READY=1" and said[2:] == ["WATCHDOG=1", "STOPPING=1"]
    assert said[1].startswith("STATUS=cannot judge: no data xx") and len(said[1]) < 250


def test_the_environment_of_a_service(listener: tuple[socket.socket, str]) -> None:
    heard, name = listener
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "4000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier.from_environment(environment)
    notifier.alive()
    assert heard.recv(100) == b"WATCHDOG=1"
    notifier.close()
    for no_watchdog in ({"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}):
        notifier = Notifier.from_environment(environment | no_watchdog)
        notifier.alive()
        notifier.ready()
        assert heard.recv(100) == b"READY=1"
        notifier.close()


def test_nobody_listens(tmp_path: Path) -> None:
    for address in (None, "", "vsock:2:1", str(tmp_path / "nobody"), "@fewbeats-nobody"):
        notifier = Notifier(address, watchdog_s=1)
        notifier.ready()
        notifier.alive()
        notifier.close()


def test_a_listener_that_hangs_does_not_hold_up_the_watch(
    listener: tuple[socket.socket, str],
) -> None:
    notifier = Notifier(listener[1])
    for number in range(10_000):
        notifier.status(f"{number} " + 150 * "x")
    notifier.close()


def test_a_text_that_is_none_in_utf_8(listener: tuple[socket.socket, str]) -> None:
    notifier = Notifier(listener[1])
    notifier.status("cannot judge: \ud800")
    notifier.close()
    assert listener[0].recv(100) == b"STATUS=cannot judge: ?"

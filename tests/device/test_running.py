"""What the service says that it runs is believed only while it lives."""

import os
from pathlib import Path

import pytest

from fewbeats.device.running import SIZE_BYTES, Running, running_now


def test_it_is_believed_only_while_the_service_lives(tmp_path: Path) -> None:
    path = tmp_path / "running"
    assert running_now(path) is None
    service = Running(path)
    service.say({"name": "a"})
    assert running_now(path) == {"name": "a"} and running_now(path) == {"name": "a"}
    service.say({"name": "b"})
    assert running_now(path) == {"name": "b"}
    service.close()
    assert path.exists() and running_now(path) is None


def test_it_ends_with_the_process_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "running"
    child = os.fork()
    if child == 0:
        Running(path).say({"name": "a"})
        os._exit(1)
    os.waitpid(child, 0)
    assert path.stat().st_size == SIZE_BYTES and running_now(path) is None


def test_what_cannot_be_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Running(tmp_path / "none" / "running").say({})
    (tmp_path / "running").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        Running(tmp_path / "running").say({})
    assert running_now(tmp_path / "running") is None


def test_rubbish_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "running"
    service = Running(path)
    service.say({"name": "a"})
    for rubbish in (b"\xff", b"[]", b"{", b""):
        path.write_bytes(rubbish)
        assert running_now(path) is None
    service.close()

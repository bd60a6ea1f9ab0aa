"""What is written is whole, private where it must be, and leaves nothing half-made behind."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fewbeats.device import files
from fewbeats.device.files import (
    make_folder,
    only_one,
    read_bounded,
    remove,
    replace_link,
    write_atomically,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two" * 100_000)
    assert path.read_bytes() == b"two" * 100_000
    assert names(tmp_path) == ["state.json"]


def test_a_secret_is_never_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "key"
    left = tmp_path / "key.partial"  # of somebody who hoped to read along
    left.touch(mode=0o666)
    write_atomically(path, b"secret", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_left_in_its_way_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"untouched")
    (tmp_path / "state.partial").symlink_to(other)
    write_atomically(tmp_path / "state", b"new")
    assert other.read_bytes() == b"untouched"


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "state"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, full)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["state"]


def test_short_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(files.os, "write", lambda file, data: real(file, data[:7]))
    write_atomically(tmp_path / "long", bytes(range(256)))
    assert (tmp_path / "long").read_bytes() == bytes(range(256))


def test_a_link_is_switched(tmp_path: Path) -> None:
    link = tmp_path / "current"
    for slot in ("a", "b"):
        replace_link(link, f"slots/{slot}")
        assert str(link.readlink()) == f"slots/{slot}"
    assert names(tmp_path) == ["current"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="no link"):
        replace_link(tmp_path / "file", "slots/a")


def test_folders_and_removal(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    file = tmp_path / "a" / "file"
    file.touch()
    remove(file)
    remove(file)
    assert not file.exists()
    with pytest.raises(OSError, match="Not a directory"):
        (tmp_path / "plain").touch()
        make_folder(tmp_path / "plain" / "sub")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from fewbeats.device.files import only_one\n"
        "with only_one(Path(sys.argv[1])): print('has it', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(BlockingIOError), only_one(lock):
            pass
        other.kill()  # without a chance to tidy up
        other.wait()
        with only_one(lock):
            pass


def test_reading_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4"):
        read_bounded(path, 4)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no ordinary file"):
        read_bounded(tmp_path / "pipe", 5)
    with pytest.raises(OSError, match="no ordinary file"):
        read_bounded(Path("/dev/zero"), 5)

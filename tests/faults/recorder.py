"""Stands between the gateway's code and the disk: records each change, and may make one fail.

Everything durable goes through ``fewbeats.device.files``, which changes files by ``os`` alone. A
recorder takes the place of that ``os``: it does what is asked, and keeps a list of it.
"""

# It stands in for `os`, and calls what it stands for.
# ruff: noqa: PTH102, PTH105, PTH108, PTH211

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.disk import Call, MakeFolder, Move, Open, Point, Remove, Sync, Write
from fewbeats.device import files

_READING = {"access", "fspath", "fstat", "listdir", "lstat", "readlink", "stat", "strerror"}
_TAKING_SPACE = (Open, Write, Sync, Move, Point, MakeFolder)


@dataclass(frozen=True, slots=True)
class Failure:
    """What the disk answers from some call on.

    Attributes:
        at: number of the first change that fails.
        errno: with which error.
        lasting: whether all later ones fail too, as on a disk that is full or went read-only.
        frees: whether removing still works, as on a full disk.
        short: whether a write that fails takes half of its data first.
    """

    at: int
    errno: int = errno.ENOSPC
    lasting: bool = True
    frees: bool = True
    short: bool = False


class Recorder:
    """Does what the ``os`` module does, for the calls that change files below a root."""

    def __init__(self, root: Path, failure: Failure | None = None) -> None:
        self.calls: list[Call] = []
        self.failed = 0
        self._root = root
        self._failure = failure
        self._shortened = False
        self._changes = 0
        self._empty_at_first: dict[int, bool] = {}

    def __getattr__(self, name: str) -> object:
        value = getattr(os, name)
        assert not callable(value) or name in _READING, f"os.{name} is not modelled"
        return value

    def open(self, path: str | Path, flags: int, mode: int = 0o777) -> int:
        """Open a file or a folder; making or emptying a file is a change."""
        makes = bool(flags & os.O_CREAT) and not Path(path).exists()
        emptied = bool(flags & os.O_TRUNC)
        assert not flags & os.O_APPEND, "appending is not modelled"
        if makes or emptied:
            self._may_fail(Open(-1, "", emptied))
        fd = os.open(path, flags, mode)
        self._empty_at_first[fd] = makes or emptied
        self.calls.append(Open(fd, self._name(path), emptied))
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Add data to a file, perhaps less than all."""
        assert self._empty_at_first[fd], "overwriting a part of a file is not modelled"
        failure = self._failure
        if failure and failure.short and not self._shortened and self._changes >= failure.at:
            self._shortened = True
            data = data[: max(1, len(data) // 2)]
        else:
            self._may_fail(Write(fd, b""))
        done = os.write(fd, data)
        self.calls.append(Write(fd, bytes(data[:done])))
        return done

    def fsync(self, fd: int) -> None:
        """Make a file or a folder last."""
        self._may_fail(Sync(fd))
        os.fsync(fd)
        self.calls.append(Sync(fd))

    def close(self, fd: int) -> None:
        """Close a file; its data is no safer for that."""
        os.close(fd)
        del self._empty_at_first[fd]

    def replace(self, path: str | Path, to: str | Path) -> None:
        """Move a file or link over another."""
        call = Move(self._name(path), self._name(to))
        self._may_fail(call)
        os.replace(path, to)
        self.calls.append(call)

    def symlink(self, target: str | Path, path: str | Path) -> None:
        """Make a symbolic link."""
        call = Point(self._name(path), str(target))
        self._may_fail(call)
        os.symlink(target, path)
        self.calls.append(call)

    def mkdir(self, path: str | Path, mode: int = 0o777) -> None:
        """Make a folder."""
        call = MakeFolder(self._name(path))
        self._may_fail(call)
        os.mkdir(path, mode)
        self.calls.append(call)

    def unlink(self, path: str | Path) -> None:
        """Remove a file or a link; trying to remove what is missing changes nothing."""
        if os.path.lexists(path):
            self._may_fail(Remove(self._name(path)))
        os.unlink(path)
        self.calls.append(Remove(self._name(path)))

    def _name(self, path: str | Path) -> str:
        return str(Path(path).relative_to(self._root))

    def _may_fail(self, call: Call) -> None:
        number, failure = self._changes, self._failure
        self._changes += 1
        if failure is None or number < failure.at or (number > failure.at and not failure.lasting):
            return
        if failure.frees and not isinstance(call, _TAKING_SPACE):
            return
        self.failed += 1
        raise OSError(failure.errno, os.strerror(failure.errno))

    @property
    def changes(self) -> int:
        """How many changes were asked for."""
        return self._changes


@contextmanager
def recording(root: Path, failure: Failure | None = None) -> Iterator[Recorder]:
    """Let a recorder stand in for ``os`` in the module that changes the gateway's files."""
    recorder = Recorder(root, failure)
    before = files.os
    files.os = recorder  # type: ignore[assignment]
    try:
        yield recorder
    finally:
        files.os = before

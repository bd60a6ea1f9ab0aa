"""What the service really runs, which need not be what the slots say should run.

The service holds a lock on a small file for as long as it lives, and writes into it. Whoever reads
it believes it only while it is locked: nothing that it says outlives the process, or a power cut,
and so none of it is synced.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

SIZE_BYTES = 4096
"""Always this long, so that a full disk has room for what replaces it."""
_TRIES = 20
_TRY_EVERY_S = 0.02


class Running:
    """The service's side of the file."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self._path = path
        self._file: int | None = None

    def say(self, what: Mapping[str, Any]) -> None:
        """Say what runs from now on.

        Raises:
            OSError: it cannot be written, or another service is alive; then nothing is said.
        """
        try:
            if self._file is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o644)
                self._lock(self._file)
            os.pwrite(self._file, json.dumps(dict(what)).encode().ljust(SIZE_BYTES), 0)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Nothing runs any more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @staticmethod
    def _lock(file: int) -> None:
        for _ in range(_TRIES):  # a reader holds it for an instant
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            time.sleep(_TRY_EVERY_S)
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def running_now(path: Path) -> dict[str, Any] | None:
    """What the service says that it runs; None where none is alive, or it says nothing."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _said(file) if _is_held(file) else None
    except (OSError, ValueError, RecursionError):
        return None
    finally:
        os.close(file)


def _is_held(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _said(file: int) -> dict[str, Any] | None:
    content = json.loads(os.pread(file, SIZE_BYTES, 0))
    return content if isinstance(content, dict) else None

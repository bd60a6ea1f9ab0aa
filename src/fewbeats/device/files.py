"""Files of the gateway: written wholly or not at all, read within bounds.

Everything on the gateway that must outlive a power cut is changed through this module. A file or
a link is made under a name of its own, synced, and moved to its place, and the folder is synced:
after a cut the place holds what was there before or what was meant, nothing between.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PARTIAL = ".partial"
_DEFAULT_MODE = 0o666


def write_atomically(path: Path, data: bytes, mode: int = _DEFAULT_MODE) -> None:
    """Write a file beside its place, make it durable, and move it there.

    Args:
        path: its place.
        data: all of it.
        mode: permissions of a new file, less the process' umask.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    check_writable(path)
    partial = path.with_name(path.name + _PARTIAL)
    with suppress(FileNotFoundError):
        os.unlink(partial)  # of an earlier try, perhaps with other permissions
    try:
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            os.unlink(partial)
        raise
    sync_folder(path.parent)


def replace_link(link: Path, target: str) -> None:
    """Make a symbolic link point elsewhere, in one step.

    Args:
        link: its place; what is there must be a link too.
        target: what it says, best relative to its folder.

    Raises:
        OSError: it cannot be made; what was there before is untouched.
    """
    if link.exists() and not link.is_symlink():
        raise OSError(errno.EEXIST, "it exists and is no link")
    partial = link.with_name(link.name + _PARTIAL)
    with suppress(FileNotFoundError):
        os.unlink(partial)
    try:
        os.symlink(target, partial)
        os.replace(partial, link)
    except OSError:
        with suppress(OSError):
            os.unlink(partial)
        raise
    sync_folder(link.parent)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it that are missing, durably.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    make_folder(path.parent, mode)
    with suppress(FileExistsError):
        os.mkdir(path, mode)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file or a link for good; one that is missing is removed already.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: the folder cannot be opened.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a lock that one process has at a time; it ends with the process, however that ends.

    Args:
        path: the lock's file, made where it is missing.

    Raises:
        BlockingIOError: another process has it.
        OSError: the file cannot be opened.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o660)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(file)


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read an ordinary file that may have at most so many bytes.

    Raises:
        OSError: it cannot be read, is no ordinary file, or is larger.
    """
    if path.exists() and not path.is_file():
        raise OSError(None, "it is no ordinary file")
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(None, f"it is larger than {most_bytes} bytes")
    return data


def check_writable(path: Path) -> None:
    """See to it that a file could be written, before the work that it is to hold.

    Raises:
        OSError: its folder is missing or may not be written to, or it is no ordinary file.
    """
    if path.exists() and not path.is_file():
        raise OSError(None, "it exists and is no ordinary file")
    if not path.parent.is_dir():
        raise OSError(None, f"there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OSError(None, f"the folder {path.parent} may not be written to")

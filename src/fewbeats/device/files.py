"""Files of the gateway: written wholly or not at all, read within bounds."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place, make it durable, and move it there.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    check_writable(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read an ordinary file that may have at most so many bytes.

    Raises:
        OSError: it cannot be read, is no ordinary file, or is larger.
    """
    if path.exists() and not path.is_file():
        raise OSError(None, "it is no ordinary file")
    if path.stat().st_size > most_bytes:
        raise OSError(None, f"it is larger than {most_bytes} bytes")
    return path.read_bytes()


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

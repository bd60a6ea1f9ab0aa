"""Where a training stands, so that a killed one goes on as if it had not been.

A file is the SHA-256 of what follows, and that is what ``torch.save`` writes: a flipped bit is
noticed before anything is read.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

import fewbeats
from fewbeats.device.files import write_atomically
from fewbeats.errors import DataError

FORMAT = 1
CHECKPOINT_FILE = "checkpoint.bin"
_DIGEST_BYTES = 32
_DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    UnpicklingError,
    LookupError,
    TypeError,
    ValueError,
)
"""What reading a file that is no checkpoint raises."""


def save_checkpoint(folder: Path, identity: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Write a checkpoint; a power cut leaves the old or the new one, never half of one.

    Args:
        folder: of the run.
        identity: what must be the same for a training to go on: recipe, seed, data.
        content: tensors and plain values.

    Raises:
        DataError: it cannot be written.
    """
    path = folder / CHECKPOINT_FILE
    whole = {
        "format": FORMAT,
        "version": fewbeats.__version__,
        "identity": dict(identity),
        "content": dict(content),
    }
    try:
        buffer = io.BytesIO()
        torch.save(whole, buffer)
        data = buffer.getvalue()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, hashlib.sha256(data).digest() + data)
    except OSError as error:
        raise DataError(f"Cannot write the checkpoint {path}: {error.strerror}.") from error


def load_checkpoint(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of a run's checkpoint; None where there is none.

    Tensors and plain values alone are read: a checkpoint cannot run code.

    Raises:
        DataError: it is damaged, of another version, or of a training with another recipe,
            seed or data.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    again = f"Delete {path} to start over, or name another folder with --out."
    try:
        whole = _read(path)
        found = (whole["format"], whole["version"])
        stored, content = dict(whole["identity"]), dict(whole["content"])
    except _DAMAGED as error:
        raise DataError(f"The checkpoint {path} is damaged ({error}). {again}") from error
    if found != (FORMAT, fewbeats.__version__):
        raise DataError(
            f"The checkpoint {path} is of format {found[0]} and fewbeats {found[1]}, this is "
            f"format {FORMAT} and fewbeats {fewbeats.__version__}. {again}"
        )
    differing = [name for name, value in identity.items() if stored.get(name) != value]
    if differing:
        raise DataError(
            f"The checkpoint {path} is of a training with another {', '.join(differing)}. {again}"
        )
    return content


def _read(path: Path) -> Any:  # noqa: ANN401
    data = path.read_bytes()
    digest, data = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError("its bytes are not the ones that were written")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def drop_checkpoint(folder: Path) -> None:
    """The training is finished and kept elsewhere."""
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)

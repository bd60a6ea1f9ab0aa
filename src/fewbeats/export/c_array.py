"""The backbone as dependency-free C99, for the sensor's own microcontroller.

Two files, no heap, no library: the int8 ONNX model's integer arithmetic written out, with its
weights as constants. ``CompiledBackbone`` runs the very text on the host, so that an export can
prove it on every window before anybody flashes it.
"""

import hashlib
from pathlib import Path

from fewbeats.device.preprocess import WindowSpec
from fewbeats.errors import ExportError
from fewbeats.export.c99.compiled import CompiledBackbone, write_sources
from fewbeats.export.c99.graph import read_network
from fewbeats.export.c99.sources import CSources, render

__all__ = ["NAME", "CSources", "CompiledBackbone", "c_sources", "write_c"]

NAME = "fewbeats_backbone"


def c_sources(model: bytes, name: str = NAME, window: WindowSpec | None = None) -> CSources:
    """The C text of an int8 ONNX backbone.

    Args:
        model: bytes of the ONNX file; its SHA-256 goes into the header.
        name: of the files, and what their public names begin with.
        window: what the backbone was trained on, for the header; None: the default window.

    Raises:
        ExportError: the graph holds what the C code cannot do, the window does not fit it, or
            the name is none for C.
    """
    sha256 = hashlib.sha256(model).hexdigest()
    return render(read_network(model), sha256, name, window or WindowSpec())


def write_c(
    folder: Path, model: bytes, name: str = NAME, window: WindowSpec | None = None
) -> CSources:
    """Write ``<name>.h`` and ``<name>.c`` into a folder, which is made where there is none.

    Raises:
        ExportError: as ``c_sources``; or the folder cannot be written to.
    """
    sources = c_sources(model, name, window)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"The folder {folder} cannot be made: {error}") from error
    write_sources(folder, sources)
    return sources

"""The C backbone on this machine: what its text computes is proven, not the text looked at."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import ExportError
from fewbeats.export.c99.sources import CSources

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC")
MOST_SECONDS = 120


class CompiledBackbone:
    """A backbone in C, compiled by the host's compiler and called in this process."""

    def __init__(self, sources: CSources) -> None:
        """Compile and load.

        Raises:
            ExportError: there is no C compiler, or it cannot compile the sources.
        """
        self.sha256 = sources.sha256
        self.samples = sources.samples
        self.features = sources.features
        compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
        if compiler is None:
            raise ExportError(
                f"The C backbone is proven by compiling it, and none of {', '.join(COMPILERS)} is "
                f"installed: install one (Debian: sudo apt install gcc libc6-dev)."
            )
        with tempfile.TemporaryDirectory() as folder:
            write_sources(Path(folder), sources)
            library = Path(folder) / "backbone.so"
            command = [compiler, *FLAGS, f"{sources.name}.c", "-o", library.name]
            try:
                done = subprocess.run(
                    command,
                    cwd=folder,
                    capture_output=True,
                    text=True,
                    timeout=MOST_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ExportError(f"{compiler} does not compile: {error}") from error
            if done.returncode != 0:
                raise ExportError(f"{compiler} cannot compile the backbone: {done.stderr.strip()}")
            try:
                # A PyDLL keeps Python's lock while it runs: the C has static buffers. A loaded
                # library outlives its file.
                embed = ctypes.PyDLL(str(library))[f"{sources.name}_embed"]
            except (OSError, AttributeError) as error:
                raise ExportError(f"The compiled backbone cannot be loaded: {error}") from error
        embed.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        embed.restype = None
        self._embed = embed

    def embed(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, features) of windows (n, 1, samples).

        Raises:
            ExportError: the windows have another shape.
        """
        if windows.ndim != 3 or windows.shape[1:] != (1, self.samples):
            raise ExportError(
                f"The backbone takes windows (n, 1, {self.samples}), not {windows.shape}."
            )
        rows = np.ascontiguousarray(windows, dtype=np.float32)
        embeddings = np.empty((len(rows), self.features), dtype=np.float32)
        for window, embedding in zip(rows, embeddings, strict=True):
            self._embed(window.ctypes.data, embedding.ctypes.data)
        return embeddings


def write_sources(folder: Path, sources: CSources) -> None:
    """Write ``<name>.h`` and ``<name>.c`` into a folder.

    Raises:
        ExportError: the folder cannot be written to.
    """
    try:
        for suffix, text in ((".h", sources.header), (".c", sources.source)):
            # The same bytes on every system, whatever its line ends.
            (folder / f"{sources.name}{suffix}").write_bytes(text.encode("ascii"))
    except OSError as error:
        raise ExportError(f"The C files cannot be written to {folder}: {error}") from error

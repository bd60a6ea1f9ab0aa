"""An ECG strip drawn with the dots of Braille characters."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bit of each dot in a Braille cell, four rows by two columns (Unicode block U+2800)."""


def draw_strip(samples_uv: NDArray[np.floating], columns: int, rows: int) -> list[str]:
    """Draw samples as ``rows`` lines of ``columns`` characters, scaled to fit.

    Columns without a valid sample stay empty: nothing is drawn that was not measured.

    Args:
        samples_uv: (samples,), NaN where nothing was measured.
        columns: characters a line.
        rows: lines.
    """
    width, height = columns * 2, rows * 4
    cells = np.zeros((rows, columns), dtype=np.int64)
    finite = samples_uv[np.isfinite(samples_uv)]
    if len(finite):
        low = float(finite.min())
        span = max(float(finite.max()) - low, 200.0)  # noise alone must not look like a rhythm
        edges = np.linspace(0, len(samples_uv), width + 1).astype(int)
        last: int | None = None
        for x, (start, stop) in enumerate(pairwise(edges.tolist())):
            piece = samples_uv[start : max(stop, start + 1)]
            piece = piece[np.isfinite(piece)]
            if not len(piece):
                last = None
                continue
            top, bottom = (
                int((height - 1) * (1 - (float(v) - low) / span))
                for v in (piece.max(), piece.min())
            )
            if last is not None:  # join to the column before
                top, bottom = min(top, last), max(bottom, last)
            for y in range(top, bottom + 1):
                cells[y // 4, x // 2] |= _DOTS[y % 4, x % 2]
            last = int((height - 1) * (1 - (float(piece[-1]) - low) / span))
    return ["".join(chr(0x2800 + int(cell)) for cell in row) for row in cells]

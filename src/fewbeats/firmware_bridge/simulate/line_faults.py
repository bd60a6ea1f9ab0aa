"""A bad line, on purpose: what tests and demonstrations let happen to a sensor's frames."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LineFaults:
    """What the line does to packets, as rates from 0 to 1 a packet.

    Attributes:
        corrupt_rate: one byte of the frame is changed.
        drop_rate: the frame does not arrive.
        garbage_rate: up to 32 random bytes arrive before the frame.
        seed: the same seed makes the same faults.
    """

    corrupt_rate: float = 0.0
    drop_rate: float = 0.0
    garbage_rate: float = 0.0
    seed: int = 0

    def line(self) -> "FaultyLine":
        """A line with these faults, at its beginning."""
        return FaultyLine(self)


class FaultyLine:
    """Passes frames on, some of them damaged."""

    def __init__(self, faults: LineFaults) -> None:
        self._faults = faults
        self._random = np.random.default_rng(faults.seed)

    def carry(self, frame: bytes) -> bytes:
        """What arrives of a frame."""
        drop, corrupt, garbage = self._random.random(3)
        arrived = bytearray(frame)
        if drop < self._faults.drop_rate:
            arrived.clear()
        elif corrupt < self._faults.corrupt_rate:
            # Between the delimiters: a changed delimiter alone would cost nothing.
            arrived[self._random.integers(1, len(frame) - 1)] ^= self._random.integers(1, 256)
        if garbage < self._faults.garbage_rate:
            arrived[:0] = self._random.bytes(int(self._random.integers(1, 33)))
        return bytes(arrived)

"""Slow randomness in closed form: the same at every sampling rate and in every block.

A sum of sinusoids with random frequencies and phases approaches a Gaussian process with the
spectrum that the frequencies were drawn from (S. O. Rice, Bell System Technical Journal 23, 1944).
It has a value at every time, so nothing has to be carried from one block to the next.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BandProcess:
    """A random process of zero mean and unit variance whose power lies in one band.

    Attributes:
        angular_rad_s: angular frequencies.
        phases: radians.
    """

    angular_rad_s: Floats
    phases: Floats

    @classmethod
    def draw(
        cls, rng: np.random.Generator, low_hz: float, high_hz: float, components: int = 4
    ) -> Self:
        """One realisation: one frequency in each of ``components`` equal parts of the band."""
        parts = np.arange(components) + rng.uniform(size=components)
        hz = low_hz + (high_hz - low_hz) * parts / components
        return cls(2 * math.pi * hz, rng.uniform(0, 2 * math.pi, components))

    def at(self, t_s: Floats) -> Floats:
        """Values at the times ``t_s``, seconds."""
        total = np.zeros_like(t_s)
        for w, phase in zip(self.angular_rad_s.tolist(), self.phases.tolist(), strict=True):
            total += np.cos(w * t_s + phase)
        return total * math.sqrt(2 / len(self.phases))

    def integral(self, t_s: Floats) -> Floats:
        """An antiderivative, by which a frequency that varies like this becomes a phase."""
        total = np.zeros_like(t_s)
        for w, phase in zip(self.angular_rad_s.tolist(), self.phases.tolist(), strict=True):
            total += np.sin(w * t_s + phase) / w
        return total * math.sqrt(2 / len(self.phases))


def ramp(t_s: Floats, start_s: float, end_s: float, rise_s: float, fall_s: float) -> Floats:
    """0 outside ``start_s`` to ``end_s``, 1 inside, with smooth flanks inside the two."""
    rise = np.clip((t_s - start_s) / rise_s, 0, 1)
    fall = np.clip((end_s - t_s) / fall_s, 0, 1)
    smooth: Floats = rise**2 * (3 - 2 * rise) * fall**2 * (3 - 2 * fall)
    return smooth

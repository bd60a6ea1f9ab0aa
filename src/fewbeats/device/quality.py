"""Whether a window can be judged at all, and if not, why."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FLAT_UV = 10.0
"""Root mean square under which nothing of a heartbeat is left to see."""

IMPLAUSIBLE_UV = 10_000.0
"""Root mean square that no surface ECG reaches: an amplifier swinging, a cable whipping."""

STUCK_FRACTION = 0.05
"""Share of a window that may stand still away from its median: an amplifier at its rail."""


class Quality(IntEnum):
    """Why a window can, or cannot, be judged."""

    GOOD = 0
    FLAT = 1
    """No deflection: asystole, or an electrode that measures nothing. Not to be told apart
    from the signal alone."""
    CLIPPED = 2
    """The amplifier sits at its rail for part of the window."""
    IMPLAUSIBLE = 3
    """Deflections larger than any heart makes at the skin."""

    @property
    def reason(self) -> str:
        """The sentence that people read."""
        return _REASONS[self]


_REASONS = {
    Quality.GOOD: "signal good",
    Quality.FLAT: "flat line: asystole, or an electrode without signal",
    Quality.CLIPPED: "signal clipped: the amplifier is saturated",
    Quality.IMPLAUSIBLE: "implausible amplitude: motion or interference",
}


def assess(filtered: NDArray[np.float64], rms_uv: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Judge windows by their filtered samples, before the baseline is taken out.

    A rail shows as samples that stand still far from the window's median. The anti-alias filter
    keeps a constant exactly constant, so "stands still" is an equality, not a tolerance.

    Args:
        filtered: (windows, samples), any linear unit.
        rms_uv: (windows,) root mean square after baseline removal, microvolts.

    Returns:
        uint8 (windows,), values of ``Quality``.
    """
    quality = np.full(len(filtered), int(Quality.GOOD), dtype=np.uint8)
    still = np.diff(filtered, axis=1) == 0
    for window in np.flatnonzero(still.mean(axis=1) > STUCK_FRACTION):
        samples = filtered[window]
        away = np.abs(samples[1:] - np.median(samples)) > 0.25 * np.ptp(samples)
        if (still[window] & away).mean() > STUCK_FRACTION:
            quality[window] = Quality.CLIPPED
    quality[rms_uv > IMPLAUSIBLE_UV] = Quality.IMPLAUSIBLE
    quality[rms_uv < FLAT_UV] = Quality.FLAT
    return quality

"""Beats as sums of Gaussian waves, in the manner of McSharry et al., IEEE TBME 50:289, 2003.

Every wave has its own widths before and after its peak: a T wave rises slower than it falls.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewbeats.firmware_bridge.simulate.processes import Floats
from fewbeats.firmware_bridge.simulate.subject import ConductedBeat, VentricularBeat

BEFORE_PEAK_S = 0.4
"""No wave of a beat begins earlier than this before its QRS peak."""
AFTER_PEAK_S = 1.0
"""No wave of a beat ends later than this after its QRS peak."""
Q_TO_PEAK_S = 0.04
"""From the onset of a narrow QRS complex to its peak."""

Waves: TypeAlias = NDArray[np.float64]
"""(waves, 4): peak after the QRS peak (s), width before and after the peak (s), height (uV)."""


class BeatKind(StrEnum):
    """Kinds of beats, by their codes in PhysioNet's WFDB annotations."""

    NORMAL = "N"
    SUPRAVENTRICULAR = "S"
    VENTRICULAR = "V"
    ATRIAL = "p"
    """A P wave that no QRS complex follows; no beat of the ventricles."""


@dataclass(frozen=True, slots=True, eq=False)
class Beat:
    """One beat: when its QRS complex peaks, what kind it is, and its waves."""

    peak_s: float
    kind: BeatKind
    waves: Waves

    def render_onto(self, signal_uv: Floats, t_s: Floats) -> None:
        """Add the beat's waves to ``signal_uv`` where ``t_s`` (rising, seconds) reaches them."""
        first, last = np.searchsorted(
            t_s, (self.peak_s - BEFORE_PEAK_S, self.peak_s + AFTER_PEAK_S)
        ).tolist()
        centre, before, after, height = self.waves.T[:, :, np.newaxis]
        x = t_s[first:last] - self.peak_s - centre
        x /= np.where(x < 0, before, after)
        signal_uv[first:last] += (height * np.exp(-0.5 * x * x)).sum(axis=0)


def render(beats: Iterable[Beat], t_s: Floats) -> Floats:
    """Microvolts of all ``beats`` at the times ``t_s``."""
    signal_uv = np.zeros_like(t_s)
    for beat in beats:
        beat.render_onto(signal_uv, t_s)
    return signal_uv


def pr_interval_s(shape: ConductedBeat, cycle_s: float) -> float:
    """PR interval at a cycle length: shorter when the heart is faster."""
    return float(shape.pr_s * np.clip(cycle_s, 0.3, 1.2) ** 0.3)


def p_wave(shape: ConductedBeat, cycle_s: float) -> Waves:
    """The P wave that precedes a QRS complex at time 0."""
    peak = 0.05 - pr_interval_s(shape, cycle_s) - Q_TO_PEAK_S
    return np.array([[peak, 0.019, 0.021, shape.p_uv]])


def qrst_waves(shape: ConductedBeat, cycle_s: float) -> Waves:
    """QRS complex and T wave of a conducted beat.

    The QT interval follows the cycle length by Fridericia's cube root (Acta Med Scand 53:469,
    1920), so the T wave nears the QRS complex as the heart speeds up.
    """
    qt_s = shape.qtc_s * float(np.clip(cycle_s, 0.25, 1.6)) ** (1 / 3)
    t_before, t_after = 0.14 * qt_s, 0.09 * qt_s
    t_peak = qt_s - Q_TO_PEAK_S - 2.3 * t_after
    w = shape.r_width_s
    if abs(shape.s_uv) > shape.r_uv:  # time 0 is the larger deflection
        r_peak, s_peak, s_width = -2.9 * w, 0.0, 1.3 * w
    else:
        r_peak, s_peak, s_width = 0.0, 2.8 * w, w
    return np.array(
        [
            [r_peak - 2.6 * w, 0.8 * w, 0.8 * w, shape.q_uv],
            [r_peak, w, w, shape.r_uv],
            [s_peak, s_width, s_width, shape.s_uv],
            [0.45 * t_peak, 0.16 * t_peak, 0.22 * t_peak, shape.st_uv],
            [t_peak, t_before, t_after, shape.t_uv],
        ]
    )


def ventricular_waves(shape: VentricularBeat, cycle_s: float) -> Waves:
    """A wide QRS complex and a T wave against it; in a fast cycle they run into the next beat."""
    d = shape.qrs_s
    t_peak = min(0.31, 0.62 * cycle_s)
    t_before, t_after = min(0.085, 0.17 * cycle_s), min(0.065, 0.13 * cycle_s)
    heights = shape.qrs_uv * np.array(
        [-shape.onset_fraction, 1.0, shape.shoulder_fraction, -0.4 * shape.t_fraction,
         -shape.t_fraction]
    )  # fmt: skip
    peaks = np.array([-0.30 * d, 0.0, 0.38 * d, 0.62 * t_peak, t_peak])
    before = np.array([0.09 * d, 0.14 * d, 0.11 * d, 0.7 * t_before, t_before])
    after = np.array([0.09 * d, 0.16 * d, 0.16 * d, t_after, t_after])
    return np.column_stack((peaks, before, after, heights))


def ventricular_onset_s(shape: VentricularBeat) -> float:
    """From the onset of a ventricular QRS complex to its peak."""
    return 0.6 * shape.qrs_s


def scaled(waves: Waves, factor: float) -> Waves:
    """The same waves, ``factor`` times as high."""
    return waves * (1.0, 1.0, 1.0, factor)

"""The person behind a simulated ECG: a seed draws one heart, and it keeps its own shapes.

The ranges are those of ordinary ECG teaching: 55-90 beats a minute, PR 120-190 ms, QRS 80-110 ms,
QTc 380-430 ms, ventricular beats 120-190 ms wide with a T wave against their QRS.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from fewbeats.firmware_bridge.simulate.processes import BandProcess, Floats

MAYER_HZ = 0.1
"""Blood-pressure waves that the heart rate follows (Task Force of the ESC and NASPE, 1996)."""


@dataclass(frozen=True, slots=True)
class ConductedBeat:
    """How a beat that came through the atrioventricular node looks; microvolts and seconds."""

    p_uv: float
    q_uv: float
    r_uv: float
    s_uv: float
    st_uv: float
    t_uv: float
    pr_s: float
    """From P onset to the onset of the QRS complex, at rest."""
    r_width_s: float
    """Standard deviation of the R wave's Gaussian; the QRS complex is about nine of them long."""
    qtc_s: float
    """QT interval at 60 beats a minute."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """One of the leads one sees: mostly upright, one in five mostly negative (as in V1)."""
        upright = rng.uniform() < 0.8
        t_sign = -1.0 if rng.uniform() < 0.12 else 1.0
        return cls(
            p_uv=rng.uniform(70, 170),
            q_uv=-rng.uniform(0, 140) if upright else 0.0,
            r_uv=rng.uniform(800, 2000) if upright else rng.uniform(120, 350),
            s_uv=-rng.uniform(50, 400) if upright else -rng.uniform(700, 1600),
            st_uv=rng.uniform(-50, 60),
            t_uv=t_sign * rng.uniform(130, 420),
            pr_s=rng.uniform(0.12, 0.19),
            r_width_s=rng.uniform(0.009, 0.0125),
            qtc_s=rng.uniform(0.38, 0.43),
        )


@dataclass(frozen=True, slots=True)
class VentricularBeat:
    """How a beat from one focus in the ventricles looks; fractions are of ``qrs_uv``."""

    qrs_uv: float
    """Signed height of the main deflection."""
    qrs_s: float
    onset_fraction: float
    """Of the small deflection before the main one, against it."""
    shoulder_fraction: float
    """Of the notch or shoulder on the far flank, with it."""
    t_fraction: float
    """Of the T wave, against it."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """One focus."""
        sign = 1.0 if rng.uniform() < 0.55 else -1.0
        return cls(
            qrs_uv=sign * rng.uniform(800, 1900),
            qrs_s=rng.uniform(0.12, 0.165),
            onset_fraction=rng.uniform(0, 0.3),
            shoulder_fraction=rng.uniform(0.05, 0.6),
            t_fraction=rng.uniform(0.25, 0.5),
        )


@dataclass(frozen=True, slots=True, eq=False)
class HeartRateVariability:
    """How the sinus node's rate sways: with the breath, with blood pressure, and slowly."""

    breath_hz: float
    breath_phase: float
    breath_fraction: float
    mayer_phase: float
    mayer_fraction: float
    slow: BandProcess
    slow_fraction: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """One autonomic nervous system."""
        return cls(
            breath_hz=rng.uniform(0.2, 0.3),
            breath_phase=rng.uniform(0, 2 * math.pi),
            breath_fraction=rng.uniform(0.012, 0.05),
            mayer_phase=rng.uniform(0, 2 * math.pi),
            mayer_fraction=rng.uniform(0.01, 0.03),
            slow=BandProcess.draw(rng, 0.003, 0.04),
            slow_fraction=rng.uniform(0.01, 0.025),
        )

    def breath(self, t_s: float) -> float:
        """Depth of the breath at a time, -1 to 1."""
        return math.cos(2 * math.pi * self.breath_hz * t_s + self.breath_phase)

    def factor(self, t_s: float) -> float:
        """What the mean cycle length is multiplied by at a time."""
        mayer = math.cos(2 * math.pi * MAYER_HZ * t_s + self.mayer_phase)
        slow = float(self.slow.at(np.array([t_s]))[0])
        return (
            1.0
            + self.breath_fraction * self.breath(t_s)
            + self.mayer_fraction * mayer
            + self.slow_fraction * slow
        )


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One simulated person: everything that stays the same while rhythms come and go."""

    conducted: ConductedBeat
    pvc: VentricularBeat
    vt: VentricularBeat
    variability: HeartRateVariability
    heart_rate_bpm: float
    bradycardia_bpm: float
    tachycardia_bpm: float
    af_bpm: float
    svt_bpm: float
    vt_bpm: float
    vfl_hz: float
    vfl_uv: float
    vf_hz: float
    vf_uv: float
    breath_gain: float
    """By how much the breath changes the heights of the waves, as a fraction."""
    wander_uv: float
    """Root mean square of the mild wander that no electrode is free of."""
    drift: BandProcess
    sensor_noise_uv: float
    mains_hz: float

    @classmethod
    def draw(cls, seed: int) -> Self:
        """The person that ``seed`` stands for."""
        rng = np.random.default_rng([seed, 0])
        return cls(
            conducted=ConductedBeat.draw(rng),
            pvc=VentricularBeat.draw(rng),
            vt=VentricularBeat.draw(rng),
            variability=HeartRateVariability.draw(rng),
            heart_rate_bpm=rng.uniform(55, 90),
            bradycardia_bpm=rng.uniform(38, 50),
            tachycardia_bpm=rng.uniform(105, 140),
            af_bpm=rng.uniform(75, 130),
            svt_bpm=rng.uniform(150, 210),
            vt_bpm=rng.uniform(140, 220),
            vfl_hz=rng.uniform(200, 300) / 60,
            vfl_uv=rng.uniform(600, 1500),
            vf_hz=rng.uniform(4.2, 6.6),
            vf_uv=rng.uniform(350, 1100),
            breath_gain=rng.uniform(0.02, 0.08),
            wander_uv=rng.uniform(10, 40),
            drift=BandProcess.draw(rng, 0.03, 0.35, components=6),
            sensor_noise_uv=rng.uniform(3, 9),
            mains_hz=50.0 if rng.uniform() < 0.5 else 60.0,
        )

    def baseline_uv(self, t_s: Floats) -> Floats:
        """The mild wander of the baseline that is always there."""
        return self.wander_uv * self.drift.at(t_s)

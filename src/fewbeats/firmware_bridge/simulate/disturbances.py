"""What electrodes add to the heart's signal, and how much of the rhythm it can hide."""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from fewbeats.firmware_bridge.simulate.processes import BandProcess, Floats, ramp
from fewbeats.firmware_bridge.simulate.scenario import Disturbance, Segment
from fewbeats.firmware_bridge.simulate.subject import Subject

TAPER_S = 0.5
"""A disturbance comes and goes this smoothly at the borders of its segment."""
MUSCLE_BAND_HZ = (20.0, 120.0)
USABLE_SHARE_OF_RATE = 0.45
"""A sensor's anti-aliasing filter lets nothing through above this share of its sampling rate."""
JOLT_LASTS_S = 5.0
"""After this long less than 1 uV is left of the slowest jolt."""


class Interference(Protocol):
    """One disturbance during one segment."""

    def at(self, t_s: Floats) -> Floats:
        """Microvolts that it adds at the times ``t_s``, one block after the other."""
        ...

    def strength_uv(self, t_s: Floats) -> Floats:
        """Height of what remains of it inside the band that rhythms are read from."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Wander:
    """Slow baseline wander; any reader filters it out, so it hides nothing."""

    height_uv: float
    process: BandProcess

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Wander of 250-500 uV root mean square, 0.05-0.6 Hz."""
        return cls(rng.uniform(250, 500), BandProcess.draw(rng, 0.05, 0.6, components=6))

    def at(self, t_s: Floats) -> Floats:
        """Microvolts at the times ``t_s``."""
        return self.height_uv * self.process.at(t_s)

    def strength_uv(self, t_s: Floats) -> Floats:
        """Zero."""
        return np.zeros_like(t_s)


@dataclass(frozen=True, slots=True, eq=False)
class Muscle:
    """Noise of contracting muscle that swells and fades, 20-150 uV root mean square."""

    rate_hz: float
    effort: BandProcess
    rng: np.random.Generator

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: float) -> Self:
        """One pattern of effort."""
        return cls(rate_hz, BandProcess.draw(rng, 0.1, 0.7), rng)

    def at(self, t_s: Floats) -> Floats:
        """Microvolts at the times ``t_s``; fresh noise at every call."""
        hz = np.fft.rfftfreq(len(t_s), 1 / self.rate_hz)
        high_hz = min(MUSCLE_BAND_HZ[1], USABLE_SHARE_OF_RATE * self.rate_hz)
        inside = (hz >= MUSCLE_BAND_HZ[0]) & (hz <= high_hz)
        spectrum = np.fft.rfft(self.rng.standard_normal(len(t_s))) * inside
        share = max(float(inside.mean()), 1 / len(t_s))
        noise = np.fft.irfft(spectrum, len(t_s)) / math.sqrt(share)
        return self._rms_uv(t_s) * noise

    def strength_uv(self, t_s: Floats) -> Floats:
        """Two root mean squares."""
        return 2 * self._rms_uv(t_s)

    def _rms_uv(self, t_s: Floats) -> Floats:
        rms: Floats = 20 + 130 / (1 + np.exp(-3 * self.effort.at(t_s)))
        return rms


@dataclass(frozen=True, slots=True)
class Jolt:
    """One push at an electrode: the potential jumps, swings and creeps back."""

    start_s: float
    height_uv: float
    rise_s: float
    decay_s: float
    swing_hz: float
    swing_fraction: float

    def at(self, t_s: Floats) -> Floats:
        """Microvolts at the times ``t_s``."""
        u = np.maximum(t_s - self.start_s, 0)
        swing = 1 + self.swing_fraction * np.sin(2 * math.pi * self.swing_hz * u)
        jump: Floats = self.height_uv * (1 - np.exp(-((u / self.rise_s) ** 2))) * swing
        return jump * np.exp(-u / self.decay_s)

    def strength_uv(self, t_s: Floats) -> Floats:
        """The height that it still has."""
        u = t_s - self.start_s
        still: Floats = abs(self.height_uv) * np.exp(-np.maximum(u, 0) / self.decay_s) * (u >= 0)
        return still


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Electrodes under a moving body: jolts of up to 2 mV, one or two every other second."""

    jolts: tuple[Jolt, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, start_s: float, end_s: float) -> Self:
        """The jolts of one segment."""
        jolts = []
        t = start_s + rng.uniform(0.0, 1.0)
        while t < end_s:
            jolts.append(
                Jolt(
                    start_s=t,
                    height_uv=float(rng.choice([-1, 1])) * rng.uniform(300, 2000),
                    rise_s=rng.uniform(0.03, 0.12),
                    decay_s=rng.uniform(0.15, 0.6),
                    swing_hz=rng.uniform(1.5, 8),
                    swing_fraction=rng.uniform(0.1, 0.6),
                )
            )
            t += rng.uniform(0.5, 2.0)
        return cls(tuple(jolts))

    def at(self, t_s: Floats) -> Floats:
        """Microvolts at the times ``t_s``."""
        return sum((jolt.at(t_s) for jolt in self._near(t_s)), np.zeros_like(t_s))

    def strength_uv(self, t_s: Floats) -> Floats:
        """The heights that the jolts still have."""
        return sum((jolt.strength_uv(t_s) for jolt in self._near(t_s)), np.zeros_like(t_s))

    def _near(self, t_s: Floats) -> tuple[Jolt, ...]:
        first = bisect_left(self.jolts, t_s[0] - JOLT_LASTS_S, key=lambda jolt: jolt.start_s)
        last = bisect_left(self.jolts, t_s[-1], key=lambda jolt: jolt.start_s)
        return self.jolts[first:last]


@dataclass(frozen=True, slots=True)
class Mains:
    """Hum of the power line with its second and third harmonics; a notch filter's business."""

    hz: float
    height_uv: float
    phase: float
    rate_hz: float

    @classmethod
    def draw(cls, rng: np.random.Generator, hz: float, rate_hz: float) -> Self:
        """Hum of 20-100 uV."""
        return cls(hz, rng.uniform(20, 100), rng.uniform(0, 2 * math.pi), rate_hz)

    def at(self, t_s: Floats) -> Floats:
        """Microvolts at the times ``t_s``; what the sensor's own filter stops is not there."""
        total = np.zeros_like(t_s)
        for harmonic, share in ((1, 1.0), (2, 0.06), (3, 0.2)):
            if harmonic * self.hz < USABLE_SHARE_OF_RATE * self.rate_hz:
                phase = harmonic * (2 * math.pi * self.hz * t_s + self.phase)
                total += share * np.sin(phase)
        return self.height_uv * total

    def strength_uv(self, t_s: Floats) -> Floats:
        """Zero."""
        return np.zeros_like(t_s)


@dataclass(frozen=True, slots=True, eq=False)
class Electrodes:
    """All that is added to the heart's signal during one segment.

    Attributes:
        start_s: when the segment begins.
        end_s: when it ends.
        interferences: what the segment's disturbances add.
        reattached: the swing after an electrode found contact again, if one did.
        off: an electrode has no contact.
    """

    start_s: float
    end_s: float
    interferences: tuple[Interference, ...]
    reattached: Jolt | None
    off: bool

    @classmethod
    def draw(
        cls,
        subject: Subject,
        segment: Segment,
        start_s: float,
        rate_hz: float,
        was_off: bool,
        rng: np.random.Generator,
    ) -> Self:
        """The electrodes of ``subject`` during ``segment``, which begins at ``start_s``."""
        end_s = start_s + segment.duration_s
        off = Disturbance.LEADOFF in segment.disturbances
        reattached = None
        if was_off and not off:
            height_uv = float(rng.choice([-1, 1])) * rng.uniform(800, 2500)
            reattached = Jolt(start_s, height_uv, 0.02, rng.uniform(0.12, 0.3), 1.0, 0.0)
        return cls(
            start_s,
            end_s,
            tuple(_interferences(segment, subject, start_s, rate_hz, rng)),
            reattached,
            off,
        )

    def at(self, t_s: Floats) -> tuple[Floats, Floats]:
        """Microvolts added at the times ``t_s``, and the height by which they hide a rhythm."""
        added, strength = np.zeros_like(t_s), np.zeros_like(t_s)
        if self.interferences:
            taper_s = min(TAPER_S, (self.end_s - self.start_s) / 3)
            taper = ramp(t_s, self.start_s, self.end_s, taper_s, taper_s)
            for interference in self.interferences:
                added += taper * interference.at(t_s)
                strength += taper * interference.strength_uv(t_s)
        if self.reattached:
            added += self.reattached.at(t_s)
            strength += self.reattached.strength_uv(t_s)
        return added, strength


def _interferences(
    segment: Segment, subject: Subject, start_s: float, rate_hz: float, rng: np.random.Generator
) -> Iterator[Interference]:
    for disturbance in segment.disturbances:
        match disturbance:
            case Disturbance.WANDER:
                yield Wander.draw(rng)
            case Disturbance.MUSCLE:
                yield Muscle.draw(rng, rate_hz)
            case Disturbance.MOTION:
                yield Motion.draw(rng, start_s, start_s + segment.duration_s)
            case Disturbance.MAINS:
                yield Mains.draw(rng, subject.mains_hz, rate_hz)
            case Disturbance.LEADOFF:
                pass  # nothing is measured, so nothing can be added to it

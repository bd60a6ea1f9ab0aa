"""What the heart does during one episode: its beats, and the waves that are no beats.

Beats are fitted to their episode, so that a rhythm begins and ends exactly where the scenario says
and the labels need no guessing: the last cycle ends with the episode, and the first QRS complex of
a tachycardia begins with it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fewbeats.firmware_bridge.rhythms import Rhythm
from fewbeats.firmware_bridge.simulate.beats import (
    Q_TO_PEAK_S,
    Beat,
    BeatKind,
    Waves,
    p_wave,
    pr_interval_s,
    qrst_waves,
    scaled,
    ventricular_onset_s,
    ventricular_waves,
)
from fewbeats.firmware_bridge.simulate.processes import BandProcess, Floats, ramp
from fewbeats.firmware_bridge.simulate.scenario import SimulatedRhythm
from fewbeats.firmware_bridge.simulate.subject import Subject

SHORTEST_AF_CYCLE_S = 0.33
PVC_COUPLING_S = (0.42, 0.52)
"""From a sinus beat to the premature one at 60 beats a minute; scaled by the root of the cycle."""
COUPLET_SHARE = 0.25
BEATS_BETWEEN_PVCS = (3, 8)
"""Sinus beats from one PVC to the next; fewer would make it bigeminy, another rhythm."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A rhythm from its onset to its end, in seconds from the first sample."""

    rhythm: SimulatedRhythm
    start_s: float
    end_s: float
    gain: float = 1.0
    pause_s: float = 0.0
    """Silence before the sinus node takes over again."""


def _silence(t_s: Floats) -> Floats:
    return np.zeros_like(t_s)


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """The heart during one episode.

    Attributes:
        label: the rhythm that is true from onset to end, single PVCs aside.
        size_uv: rough height of what a reader goes by; what is much larger hides it.
        beats: in the order of their peaks.
        wave_uv: times in seconds -> microvolts of what comes in no beats.
    """

    label: Rhythm
    size_uv: float
    beats: tuple[Beat, ...] = ()
    wave_uv: Callable[[Floats], Floats] = field(default=_silence)


def activity(subject: Subject, episode: Episode, rng: np.random.Generator) -> Activity:
    """What the subject's heart does in the episode; ``rng`` makes each episode another."""
    return _MODELS[episode.rhythm](subject, episode, rng)


def _beat_times(
    first_s: float, due_s: float, next_cycle_s: Callable[[float], float]
) -> list[float]:
    """Peaks from ``first_s`` on, stretched a little so that one more would fall on ``due_s``."""
    if first_s >= due_s:
        return []
    peaks = [first_s]
    while peaks[-1] < due_s:
        peaks.append(peaks[-1] + next_cycle_s(peaks[-1]))
    if len(peaks) > 2 and due_s - peaks[-2] < peaks[-1] - due_s:
        peaks.pop()
    stretch = (due_s - first_s) / (peaks[-1] - first_s)
    return [first_s + (peak - first_s) * stretch for peak in peaks[:-1]]


def _breathing_gain(subject: Subject, peak_s: float, rng: np.random.Generator) -> float:
    """Height of one beat against the mean: the breath turns the heart, and no two are alike."""
    breath = subject.breath_gain * subject.variability.breath(peak_s)
    return 1.0 + breath + 0.015 * rng.standard_normal()


def _conducted_size_uv(subject: Subject) -> float:
    return max(subject.conducted.r_uv, -subject.conducted.s_uv)


def _sinus_peaks(
    subject: Subject, episode: Episode, rng: np.random.Generator, bpm: float
) -> list[float]:
    cycle_s = 60 / bpm
    lead_s = pr_interval_s(subject.conducted, cycle_s) + Q_TO_PEAK_S
    return _beat_times(
        episode.start_s + episode.pause_s + lead_s,
        episode.end_s + lead_s,
        lambda t: cycle_s * (subject.variability.factor(t) + 0.006 * rng.standard_normal()),
    )


def _sinus_at(bpm_of: Callable[[Subject], float]) -> "Model":
    """A model of sinus rhythm at the mean rate that ``bpm_of`` reads from the subject."""

    def model(subject: Subject, episode: Episode, rng: np.random.Generator) -> Activity:
        bpm = bpm_of(subject)
        waves = _sinus_waves(subject, 60 / bpm)
        beats = tuple(
            Beat(
                peak,
                BeatKind.NORMAL,
                scaled(waves, episode.gain * _breathing_gain(subject, peak, rng)),
            )
            for peak in _sinus_peaks(subject, episode, rng, bpm)
        )
        return Activity(Rhythm.SINUS, episode.gain * _conducted_size_uv(subject), beats)

    return model


def _sinus_waves(subject: Subject, cycle_s: float) -> Waves:
    shape = subject.conducted
    return np.concatenate((p_wave(shape, cycle_s), qrst_waves(shape, cycle_s)))


def _pvc(subject: Subject, episode: Episode, rng: np.random.Generator) -> Activity:
    """Sinus beats, of which some give way to a premature one or two and a compensatory pause.

    The premature beat takes the place of a sinus beat, so that the next one comes when it would
    have come anyway: the sinus node does not notice.
    """
    cycle_s = 60 / subject.heart_rate_bpm
    peaks = _sinus_peaks(subject, episode, rng, subject.heart_rate_bpm)
    sinus, ectopic = _sinus_waves(subject, cycle_s), ventricular_waves(subject.pvc, cycle_s)
    coupling_s = rng.uniform(*PVC_COUPLING_S) * math.sqrt(cycle_s)
    beats: list[Beat] = []
    next_pvc = int(rng.integers(2, 4))
    for number, peak in enumerate(peaks):
        gain = episode.gain * _breathing_gain(subject, peak, rng)
        if number != next_pvc or number == len(peaks) - 1:
            beats.append(Beat(peak, BeatKind.NORMAL, scaled(sinus, gain)))
            continue
        early = peaks[number - 1] + coupling_s + rng.normal(0, 0.008)
        beats.append(Beat(early, BeatKind.VENTRICULAR, scaled(ectopic, gain)))
        if rng.uniform() < COUPLET_SHARE:
            second = early + coupling_s * rng.uniform(0.95, 1.05)
            beats.append(Beat(second, BeatKind.VENTRICULAR, scaled(ectopic, 0.93 * gain)))
        next_pvc += 1 + int(rng.integers(*BEATS_BETWEEN_PVCS, endpoint=True))
    return Activity(Rhythm.SINUS, episode.gain * _conducted_size_uv(subject), tuple(beats))


def _af(subject: Subject, episode: Episode, rng: np.random.Generator) -> Activity:
    """Atrial fibrillation: no P wave, no order among the cycles, a fibrillating baseline."""
    cycle_s = 60 / subject.af_bpm
    waves = qrst_waves(subject.conducted, cycle_s)
    beats = tuple(
        Beat(
            peak,
            BeatKind.NORMAL,
            scaled(waves, episode.gain * _breathing_gain(subject, peak, rng)),
        )
        for peak in _beat_times(
            episode.start_s + episode.pause_s + 2 * Q_TO_PEAK_S,
            episode.end_s + 2 * Q_TO_PEAK_S,
            lambda _: max(SHORTEST_AF_CYCLE_S, cycle_s * math.exp(rng.normal(-0.025, 0.22))),
        )
    )
    f_hz, f_uv = rng.uniform(5, 8), episode.gain * rng.uniform(25, 80)
    sway, swell = BandProcess.draw(rng, 0.2, 1.2), BandProcess.draw(rng, 0.2, 1.0)

    def f_waves_uv(t_s: Floats) -> Floats:
        phase = 2 * math.pi * (f_hz * t_s + 0.6 * sway.integral(t_s))
        inside = ramp(t_s, episode.start_s, episode.end_s, 0.2, 0.2)
        shape: Floats = np.sin(phase) + 0.35 * np.sin(2 * phase)
        return f_uv * (1 + 0.3 * swell.at(t_s)) * shape * inside

    return Activity(Rhythm.OTHER, episode.gain * _conducted_size_uv(subject), beats, f_waves_uv)


def _svt(subject: Subject, episode: Episode, rng: np.random.Generator) -> Activity:
    """Re-entry above the ventricles: fast, regular, narrow; the P wave is buried in the QRS."""
    cycle_s = 60 / subject.svt_bpm
    waves = qrst_waves(subject.conducted, cycle_s)
    beats = tuple(
        Beat(
            peak,
            BeatKind.SUPRAVENTRICULAR,
            scaled(waves, episode.gain * _breathing_gain(subject, peak, rng)),
        )
        for peak in _beat_times(
            episode.start_s + 2 * Q_TO_PEAK_S,
            episode.end_s + 2 * Q_TO_PEAK_S,
            lambda _: cycle_s * (1 + 0.008 * rng.standard_normal()),
        )
    )
    return Activity(Rhythm.OTHER, episode.gain * _conducted_size_uv(subject), beats)


def _vt(subject: Subject, episode: Episode, rng: np.random.Generator) -> Activity:
    """Monomorphic ventricular tachycardia: one focus, regular after its first cycles.

    The sinus node goes on beneath it: its P waves march through at their own rate.
    """
    cycle_s = 60 / subject.vt_bpm * rng.uniform(0.96, 1.04)
    waves = ventricular_waves(subject.vt, cycle_s)
    onset_s = ventricular_onset_s(subject.vt)
    beats = [
        Beat(
            peak,
            BeatKind.VENTRICULAR,
            scaled(
                waves, episode.gain * (_breathing_gain(subject, peak, rng) + rng.normal(0, 0.03))
            ),
        )
        for peak in _beat_times(
            episode.start_s + onset_s,
            episode.end_s + onset_s,
            lambda t: (
                cycle_s
                * (
                    1
                    + 0.012 * rng.standard_normal()
                    + 0.1 * math.exp(episode.start_s + onset_s - t)
                )
            ),
        )
    ]
    sinus_cycle_s = 60 / subject.heart_rate_bpm
    p_alone = scaled(p_wave(subject.conducted, sinus_cycle_s), 0.8 * episode.gain)
    dissociated = np.arange(episode.start_s + rng.uniform(0.3, 0.9), episode.end_s, sinus_cycle_s)
    beats += [Beat(peak, BeatKind.ATRIAL, p_alone) for peak in dissociated.tolist()]
    return Activity(
        Rhythm.VT,
        episode.gain * abs(subject.vt.qrs_uv),
        tuple(sorted(beats, key=lambda beat: beat.peak_s)),
    )


def _vfl(subject: Subject, episode: Episode, rng: np.random.Generator) -> Activity:
    """Ventricular flutter: a large swing without beginning or end, almost a sine."""
    hz, height_uv = subject.vfl_hz * rng.uniform(0.96, 1.04), episode.gain * subject.vfl_uv
    skew, skew_phase = rng.uniform(0.08, 0.28), rng.uniform(0, 2 * math.pi)
    sway, swell = BandProcess.draw(rng, 0.05, 0.5), BandProcess.draw(rng, 0.08, 0.6)

    def wave_uv(t_s: Floats) -> Floats:
        phase = 2 * math.pi * (hz * (t_s - episode.start_s) + 0.03 * hz * sway.integral(t_s))
        shape: Floats = np.sin(phase) + skew * np.sin(2 * phase + skew_phase)
        return height_uv * (1 + 0.13 * swell.at(t_s)) * shape * _flanks(episode, t_s)

    return Activity(Rhythm.VFL, height_uv, wave_uv=wave_uv)


def _vf(subject: Subject, episode: Episode, rng: np.random.Generator) -> Activity:
    """Ventricular fibrillation: a few wandering wavelets whose sum waxes and wanes.

    Two oscillators sway in frequency and height on their own; a band of 2-9 Hz and a rougher one
    above fill what is between them. Over minutes it becomes finer and slower, as the starved
    muscle's does (Weaver et al., Ann Intern Med 102:53, 1985).
    """
    height_uv = episode.gain * subject.vf_uv * rng.uniform(0.85, 1.15)
    hz = subject.vf_hz * rng.uniform(0.93, 1.07)
    second_ratio = rng.uniform(1.25, 1.6) if rng.uniform() < 0.5 else rng.uniform(0.62, 0.8)
    sharpness, sharp_phase = rng.uniform(0.1, 0.35), rng.uniform(0, 2 * math.pi)
    roughness = rng.uniform(0.03, 0.14)
    disorder = rng.uniform(0.3, 1.0)  # from almost a flutter to no order at all
    sway, second_sway = (BandProcess.draw(rng, 0.15, 1.3, components=6) for _ in range(2))
    swell, second_swell = (BandProcess.draw(rng, 0.08, 0.8, components=5) for _ in range(2))
    between = BandProcess.draw(rng, 2.0, 9.0, components=12)
    rough = BandProcess.draw(rng, 9.0, 24.0, components=14)

    def wave_uv(t_s: Floats) -> Floats:
        u = t_s - episode.start_s
        slowing_s, tiring_s = 120.0, 180.0
        cycles = hz * (0.75 * u + 0.25 * slowing_s * (1 - np.exp(-u / slowing_s)))
        phase = 2 * math.pi * (cycles + 0.10 * math.sqrt(disorder) * hz * sway.integral(t_s))
        second = 2 * math.pi * second_ratio * (cycles + 0.12 * hz * second_sway.integral(t_s))
        first_height = np.clip(0.9 + 0.4 * disorder * swell.at(t_s), 0.1, 1.7)
        second_height = disorder * np.clip(0.4 + 0.35 * second_swell.at(t_s), 0.0, 1.2)
        shape: Floats = (
            first_height * (np.sin(phase) + sharpness * np.sin(2 * phase + sharp_phase))
            + second_height * np.sin(second)
            + 0.25 * disorder * between.at(t_s)
            + roughness * rough.at(t_s)
        )
        tired = 0.35 + 0.65 * np.exp(-u / tiring_s)
        return height_uv * tired * shape * _flanks(episode, t_s)

    return Activity(Rhythm.VF, height_uv, wave_uv=wave_uv)


def _asystole(subject: Subject, episode: Episode, rng: np.random.Generator) -> Activity:
    """Nothing; in one heart of four the atria go on alone for a few seconds."""
    beats: list[Beat] = []
    if rng.uniform() < 0.25:
        cycle_s = 60 / subject.bradycardia_bpm
        p_alone = p_wave(subject.conducted, cycle_s)
        last_s = min(episode.start_s + 4.0, episode.end_s)
        beats = [
            Beat(
                peak,
                BeatKind.ATRIAL,
                scaled(p_alone, 0.6 * episode.gain * math.exp(episode.start_s - peak)),
            )
            for peak in np.arange(episode.start_s + cycle_s, last_s, cycle_s).tolist()
        ]
    return Activity(Rhythm.ASYSTOLE, 0.0, tuple(beats))


def _flanks(episode: Episode, t_s: Floats) -> Floats:
    return ramp(t_s, episode.start_s, episode.end_s, 0.25, 0.15)


Model = Callable[[Subject, Episode, np.random.Generator], Activity]

_MODELS: dict[SimulatedRhythm, Model] = {
    SimulatedRhythm.SINUS: _sinus_at(lambda subject: subject.heart_rate_bpm),
    SimulatedRhythm.BRADYCARDIA: _sinus_at(lambda subject: subject.bradycardia_bpm),
    SimulatedRhythm.TACHYCARDIA: _sinus_at(lambda subject: subject.tachycardia_bpm),
    SimulatedRhythm.PVC: _pvc,
    SimulatedRhythm.AF: _af,
    SimulatedRhythm.SVT: _svt,
    SimulatedRhythm.VT: _vt,
    SimulatedRhythm.VFL: _vfl,
    SimulatedRhythm.VF: _vf,
    SimulatedRhythm.ASYSTOLE: _asystole,
}

"""Synthetic single-lead ECG of which every sample is labelled.

It stands in for a sensor where none is at hand: to try a detector, to test the bridge, to show what
an alarm looks like. It is no evidence of how a detector does on people.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, groupby

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import RateError, SignalError
from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.firmware_bridge.simulate.beats import (
    AFTER_PEAK_S,
    BEFORE_PEAK_S,
    Beat,
    BeatKind,
    render,
    ventricular_onset_s,
)
from fewbeats.firmware_bridge.simulate.disturbances import Electrodes
from fewbeats.firmware_bridge.simulate.processes import Floats
from fewbeats.firmware_bridge.simulate.rhythm_models import Activity, Episode, activity
from fewbeats.firmware_bridge.simulate.scenario import Scenario
from fewbeats.firmware_bridge.simulate.subject import Subject

MIN_RATE_HZ = 100.0
MAX_RATE_HZ = 1000.0
BLOCK_S = 20.0
"""Longest stretch that is computed at once; what bounds the memory of an endless sensor."""
HIDING_SHARE = 0.5
"""A disturbance hides the rhythm once it is this large against the heart's own waves."""
LEAST_SIZE_UV = 100.0
"""The size that counts for a heart that stands still: small noise hides even asystole."""
PVC_LASTS_S = 0.4
"""From the peak of a premature QRS complex to the end of its T wave."""


@dataclass(frozen=True, slots=True)
class SyntheticBeat:
    """Where a QRS complex peaks, in samples from the first one of the stream, and its kind."""

    sample: int
    kind: BeatKind


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticEcg:
    """A stretch of synthetic ECG with its truth.

    Attributes:
        samples_uv: float32 (samples,), microvolts; NaN where an electrode is off.
        labels: the rhythm of every sample, also of those that no electrode measured; noise where
            a disturbance or a missing electrode hides it.
        beats: every QRS complex that peaks in the stretch. VFL and VF have none.
        first_sample: index of the stretch's first sample in its stream.
    """

    samples_uv: NDArray[np.float32]
    labels: RhythmLabels
    beats: tuple[SyntheticBeat, ...]
    first_sample: int = 0

    def __len__(self) -> int:
        return len(self.samples_uv)

    @property
    def rate_hz(self) -> float:
        """Sampling rate."""
        return self.labels.rate_hz

    @property
    def valid(self) -> NDArray[np.bool_]:
        """bool (samples,): the electrodes had contact."""
        return np.isfinite(self.samples_uv)

    def chunks(self, samples_per_chunk: int) -> Iterator[EcgChunk]:
        """The stretch as a sensor sends it, numbered from 0; the last chunk may be shorter.

        Raises:
            SignalError: fewer than one sample a chunk.
        """
        return _chunks((self,), self.rate_hz, self.first_sample, samples_per_chunk)


def synthetic_ecg(scenario: Scenario, rate_hz: float = 250.0, seed: int = 0) -> SyntheticEcg:
    """The ECG of one simulated person who lives through ``scenario`` once.

    The same seed gives the same samples, another seed another person. One seed gives the same
    heart at every rate: rhythms and beats come at the same times.

    Args:
        scenario: which rhythms and disturbances, and for how long.
        rate_hz: sampling rate, 100 to 1000 Hz.
        seed: which person, 0 or more.

    Raises:
        RateError: a rate outside these limits.
        SignalError: a negative seed.
    """
    stretches = list(synthetic_segments(scenario, rate_hz, seed))
    labels = RhythmLabels(
        np.concatenate([stretch.labels.rhythms for stretch in stretches]),
        np.concatenate([stretch.labels.noise for stretch in stretches]),
        rate_hz,
    )
    return SyntheticEcg(
        np.concatenate([stretch.samples_uv for stretch in stretches]),
        labels,
        tuple(chain.from_iterable(stretch.beats for stretch in stretches)),
    )


def synthetic_segments(
    scenario: Scenario, rate_hz: float = 250.0, seed: int = 0, *, loop: bool = False
) -> Iterator[SyntheticEcg]:
    """The same ECG in stretches of at most 20 s that continue each other without a seam.

    With ``loop`` it never ends: the scenario starts over, with the same heart but other beats.

    Raises:
        RateError: a rate outside 100 to 1000 Hz.
        SignalError: a negative seed.
    """
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise RateError(
            f"Synthetic ECG comes at {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz, not at {rate_hz:g} Hz."
        )
    if seed < 0:
        raise SignalError(f"The seed of synthetic ECG must be 0 or more, got {seed}.")
    return _stretches(scenario, rate_hz, seed, loop)


def synthetic_chunks(
    scenario: Scenario,
    samples_per_chunk: int,
    rate_hz: float = 250.0,
    seed: int = 0,
    *,
    loop: bool = False,
) -> Iterator[EcgChunk]:
    """The same ECG as a sensor sends it: chunks of equal length, numbered from 0, from time 0.

    A chunk without any contact is marked lead-off; in one that lies across the border the samples
    without contact are invalid.

    Raises:
        RateError: a rate outside 100 to 1000 Hz.
        SignalError: a negative seed, or fewer than one sample a chunk.
    """
    stretches = synthetic_segments(scenario, rate_hz, seed, loop=loop)
    return _chunks(stretches, rate_hz, 0, samples_per_chunk)


def _stretches(scenario: Scenario, rate_hz: float, seed: int, loop: bool) -> Iterator[SyntheticEcg]:
    subject = Subject.draw(seed)
    # Equal neighbours are one episode: a fibrillation goes on when only the electrodes change.
    runs = [
        list(run)
        for _, run in groupby(scenario.segments, key=lambda segment: (segment.rhythm, segment.gain))
    ]
    electrodes_off, pause_s, start_s = False, 0.0, 0.0
    tail: Sequence[Beat] = ()
    number = 0
    for passes in count():
        if passes and not loop:
            return
        for run in runs:
            number += 1
            rng = np.random.default_rng([seed, 1, number])
            end_s = start_s + sum(segment.duration_s for segment in run)
            episode = Episode(run[0].rhythm, start_s, end_s, run[0].gain, pause_s)
            heart = activity(subject, episode, rng)
            beats = (*tail, *heart.beats)
            pause_s = rng.uniform(0.2, 0.7) if heart.label.is_va else 0.0
            for part, segment in enumerate(run):
                rng = np.random.default_rng([seed, 2, number, part])
                electrodes = Electrodes.draw(
                    subject, segment, start_s, rate_hz, electrodes_off, rng
                )
                yield from _blocks(subject, heart, beats, electrodes, rate_hz, rng)
                electrodes_off, start_s = electrodes.off, electrodes.end_s
            tail = [beat for beat in beats if beat.peak_s + AFTER_PEAK_S > start_s]


def _blocks(
    subject: Subject,
    heart: Activity,
    beats: Sequence[Beat],
    electrodes: Electrodes,
    rate_hz: float,
    rng: np.random.Generator,
) -> Iterator[SyntheticEcg]:
    """One segment in blocks. ``beats`` are the heart's own and those that reach into it."""
    first, end = round(electrodes.start_s * rate_hz), round(electrodes.end_s * rate_hz)
    step = round(BLOCK_S * rate_hz)
    for start in range(first, end, step):
        stop = min(start + step, end)
        t_s = np.arange(start, stop) / rate_hz
        near = _between(beats, t_s[0] - AFTER_PEAK_S, t_s[-1] + BEFORE_PEAK_S)
        added_uv, strength_uv = electrodes.at(t_s)
        signal_uv = render(near, t_s) + heart.wave_uv(t_s) + subject.baseline_uv(t_s) + added_uv
        signal_uv += rng.normal(0, subject.sensor_noise_uv, len(t_s))
        noise = strength_uv > HIDING_SHARE * max(heart.size_uv, LEAST_SIZE_UV)
        if electrodes.off:
            signal_uv[:] = np.nan
            noise[:] = True
        yield SyntheticEcg(
            signal_uv.astype(np.float32),
            RhythmLabels(_rhythms(subject, heart, t_s), noise, rate_hz),
            tuple(
                SyntheticBeat(sample, beat.kind)
                for beat in near
                if start <= (sample := round(beat.peak_s * rate_hz)) < stop
                and beat.kind is not BeatKind.ATRIAL
            ),
            start,
        )


def _between(beats: Sequence[Beat], start_s: float, end_s: float) -> Sequence[Beat]:
    first = bisect_left(beats, start_s, key=lambda beat: beat.peak_s)
    last = bisect_left(beats, end_s, key=lambda beat: beat.peak_s)
    return beats[first:last]


def _rhythms(subject: Subject, heart: Activity, t_s: Floats) -> NDArray[np.uint8]:
    rhythms = np.full(len(t_s), heart.label, dtype=np.uint8)
    if heart.label is Rhythm.SINUS:
        onset_s = ventricular_onset_s(subject.pvc)
        for beat in _between(heart.beats, t_s[0] - PVC_LASTS_S, t_s[-1] + onset_s):
            if beat.kind is BeatKind.VENTRICULAR:
                first, last = np.searchsorted(
                    t_s, (beat.peak_s - onset_s, beat.peak_s + PVC_LASTS_S)
                ).tolist()
                rhythms[first:last] = Rhythm.PVC
    return rhythms


def _chunks(
    stretches: Iterable[SyntheticEcg], rate_hz: float, first_sample: int, samples_per_chunk: int
) -> Iterator[EcgChunk]:
    if samples_per_chunk < 1:
        raise SignalError(f"A chunk needs at least one sample, got {samples_per_chunk}.")
    for sequence, samples_uv in enumerate(_cut(stretches, samples_per_chunk)):
        valid = np.isfinite(samples_uv)
        start_ns = round((first_sample + sequence * samples_per_chunk) * 1e9 / rate_hz)
        lead_off = not bool(valid.any())
        yield EcgChunk(samples_uv, valid, rate_hz, start_ns, sequence, lead_off=lead_off)


def _cut(
    stretches: Iterable[SyntheticEcg], samples_per_chunk: int
) -> Iterator[NDArray[np.float32]]:
    """Pieces of equal length, also across the borders of stretches; the last may be shorter."""
    rest = np.empty(0, np.float32)
    for stretch in stretches:
        samples_uv = np.concatenate((rest, stretch.samples_uv))
        whole = len(samples_uv) - len(samples_uv) % samples_per_chunk
        yield from samples_uv[:whole].reshape(-1, samples_per_chunk).copy()
        rest = samples_uv[whole:]
    if len(rest):
        yield rest

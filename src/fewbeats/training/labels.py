"""What the heart does at each sample of a record, and what a window of it may be called.

Databases say it in three styles, told apart by the annotations themselves or by the folder's label
map, which also says what each string and symbol means:

* rhythm changes (``+`` with ``(N``, ``(VT``, ...): VFDB and MITDB, where ``[`` and ``]`` around
  ventricular flutter may come on top;
* ``[`` and ``]`` around ventricular fibrillation, and beats without a class: CUDB;
* beats alone: NSRDB, and the records of CUDB in which nothing happens.

A wrong "no VA" teaches a detector to miss, a wrong "VA" to cry wolf. Whatever the annotations
do not settle is UNLABELLED: it is neither trained on nor scored.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import DataError
from fewbeats.firmware_bridge.codecs.wfdb_annotations import Annotations
from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels
from fewbeats.training.label_map import LabelMap, Style

LONGEST_BEAT_GAP_S = 3.0
"""Where beats alone are annotated, a longer stretch without one has no known rhythm."""

FASTEST_KNOWN_RR_S = 60 / 180
"""Faster than this, beats without a class may as well be ventricular tachycardia."""

_FAST_RUN = 5  # RR intervals that are judged together
_VENTRICULAR_RUN = 3  # ventricular beats in a row that may be tachycardia

_USUAL = LabelMap("")


def label_record(
    annotations: Annotations,
    length: int,
    rate_hz: float,
    record: str = "",
    label_map: LabelMap = _USUAL,
) -> RhythmLabels:
    """Turn a record's annotations into its rhythm and noise, sample by sample.

    Args:
        annotations: the reference annotations.
        length: samples in the record.
        rate_hz: its sampling rate.
        record: its name, under which the map has its label faults.
        label_map: what the annotations mean.

    Raises:
        DataError: there is no annotation at all.
    """
    if len(annotations) == 0:
        raise DataError(f"Record {record!r} has no annotations: nothing in it can be trained on.")
    rhythms = np.full(length, int(Rhythm.UNLABELLED), dtype=np.uint8)
    labels = RhythmLabels(rhythms, np.zeros(length, dtype=np.bool_), rate_hz)
    style = _style(annotations, label_map)
    noise_symbols = label_map.noise_symbols
    if style is Style.RHYTHM_CHANGES:
        _paint_rhythm_changes(annotations, labels, label_map)
        in_brackets = Rhythm.VFL
    else:
        bracketed = style is Style.BRACKETS
        usual = Rhythm.OTHER if bracketed else Rhythm.SINUS
        beats_are = usual if label_map.beats_are is None else label_map.beats_are
        _paint_beats(annotations, labels, label_map, beats_are)
        _forget_before_onsets(annotations, labels, label_map)
        in_brackets = Rhythm.VF
        if bracketed and noise_symbols is None:
            noise_symbols = {"~"}
    _paint_noise(annotations, labels, noise_symbols or ())
    _paint_brackets(
        annotations, labels, label_map, in_brackets if label_map.va_is is None else label_map.va_is
    )
    for start_s, stop_s in label_map.faults.get(record, ()):
        stop = min(length, stop_s * rate_hz)
        rhythms[round(start_s * rate_hz) : round(stop)] = Rhythm.UNLABELLED
    return labels


def _style(annotations: Annotations, label_map: LabelMap) -> Style:
    if label_map.style is not Style.AUTO:
        return label_map.style
    if any(_rhythm_name(aux) for aux in annotations.aux):
        return Style.RHYTHM_CHANGES
    brackets = {*label_map.va_opens, *label_map.va_closes}
    return Style.BEATS if brackets.isdisjoint(annotations.symbols) else Style.BRACKETS


def _rhythm_name(aux: str) -> str:
    """'VT' of '(VT'; empty for anything that is no rhythm string."""
    text = aux.strip("\0 ")
    return text[1:].rstrip(")").upper() if text.startswith("(") else ""


def _paint_rhythm_changes(
    annotations: Annotations, labels: RhythmLabels, label_map: LabelMap
) -> None:
    """Each rhythm holds until the next; ``(NOISE`` hides it but does not end it."""
    changes = [
        (int(sample), name)
        for sample, aux in zip(annotations.samples, annotations.aux, strict=True)
        if (name := _rhythm_name(aux))
    ]
    rhythm = Rhythm.UNLABELLED
    for (start, name), (end, _) in pairwise([*changes, (len(labels), "")]):
        if name in label_map.noise_strings:
            labels.noise[start:end] = True
        else:
            rhythm = label_map.rhythms.get(name, label_map.default_rhythm)
        labels.rhythms[start:end] = rhythm


def _paint_beats(
    annotations: Annotations, labels: RhythmLabels, label_map: LabelMap, rhythm: Rhythm
) -> None:
    """The rhythm is known where beats follow one another and nothing says tachycardia."""
    symbols = np.array(annotations.symbols)
    is_beat = np.isin(symbols, list(label_map.beats))
    # Who marked an artefact (|) saw the rhythm through it.
    seen = annotations.samples[is_beat | (symbols == "|")]
    for start, end in pairwise(seen.tolist()):
        if end - start <= LONGEST_BEAT_GAP_S * labels.rate_hz:
            labels.rhythms[start:end] = rhythm
    beats = annotations.samples[is_beat]
    intervals_s = np.diff(beats) / labels.rate_hz
    if len(intervals_s) >= _FAST_RUN:
        mean_s = np.convolve(intervals_s, np.full(_FAST_RUN, 1 / _FAST_RUN), mode="valid")
        for first in np.flatnonzero(mean_s < FASTEST_KNOWN_RR_S):
            labels.rhythms[beats[first] : beats[first + _FAST_RUN]] = Rhythm.UNLABELLED
    ventricular = np.isin(symbols[is_beat], list(label_map.ventricular))
    edges = np.flatnonzero(np.diff(ventricular, prepend=False, append=False))
    around = [0, *beats.tolist(), len(labels)]  # the n-th beat is between around[n] and [n + 2]
    for begin, stop in edges.reshape(-1, 2).tolist():
        if stop - begin >= _VENTRICULAR_RUN:
            labels.rhythms[around[begin] : around[stop + 1]] = Rhythm.UNLABELLED


def _forget_before_onsets(
    annotations: Annotations, labels: RhythmLabels, label_map: LabelMap
) -> None:
    span = round(label_map.uncertain_before_va_s * labels.rate_hz)
    for sample, symbol in zip(annotations.samples.tolist(), annotations.symbols, strict=True):
        if symbol in label_map.va_opens:
            labels.rhythms[max(0, sample - span) : sample] = Rhythm.UNLABELLED


def _paint_brackets(
    annotations: Annotations, labels: RhythmLabels, label_map: LabelMap, rhythm: Rhythm
) -> None:
    """From ``[`` to ``]``; an episode that is not closed lasts to the end of the record."""
    onset: int | None = None
    for sample, symbol in zip(annotations.samples.tolist(), annotations.symbols, strict=True):
        if symbol in label_map.va_opens and onset is None:
            onset = sample
        elif symbol in label_map.va_closes and onset is not None:
            labels.rhythms[onset:sample] = rhythm
            onset = None
    if onset is not None:
        labels.rhythms[onset:] = rhythm


def _paint_noise(
    annotations: Annotations, labels: RhythmLabels, noise_symbols: Collection[str]
) -> None:
    """``~`` opens and closes a noisy stretch; a beat or a bracket closes it as well."""
    start: int | None = None
    for sample, symbol in zip(annotations.samples.tolist(), annotations.symbols, strict=True):
        if start is not None:
            labels.noise[start:sample] = True
            start = None
        elif symbol in noise_symbols:
            start = sample
    if start is not None:
        labels.noise[start:] = True


class WindowLabel(IntEnum):
    """What a window is called; only the first two are trained on and scored."""

    NON_VA = 0
    VA = 1
    MIXED = 2
    """Part VA, part not."""
    NOISY = 3
    """Somewhere in it noise hides the rhythm."""
    UNLABELLED = 4
    """Somewhere in it the rhythm is not known, or the window leaves the labels."""


def label_windows(
    labels: RhythmLabels, start_s: NDArray[np.floating], window_s: float
) -> NDArray[np.uint8]:
    """Name windows: VA, or not, only where every sample agrees and none is in doubt.

    Args:
        labels: the truth.
        start_s: (windows,) seconds from the labels' first sample to each window's start.
        window_s: length of a window.

    Returns:
        uint8 (windows,), values of ``WindowLabel``.
    """
    length = len(labels)
    start = np.floor(np.asarray(start_s, dtype=np.float64) * labels.rate_hz + 1e-6)
    stop = np.ceil((np.asarray(start_s, dtype=np.float64) + window_s) * labels.rate_hz - 1e-6)
    inside = (start >= 0) & (stop <= length)
    first = np.clip(start, 0, length).astype(np.int64)
    last = np.clip(stop, 0, length).astype(np.int64)
    # A stream asks for one window at a time: look at no more of the labels than it covers.
    low, high = int(first.min(initial=length)), int(last.max(initial=0))
    rhythms, noise = labels.rhythms[low:high], labels.noise[low:high]
    covered = RhythmLabels(rhythms, noise, labels.rate_hz)
    first, last = first - low, last - low

    def count(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        total = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        return np.asarray(total[last] - total[first], dtype=np.int64)

    va = count(covered.va)
    names = np.full(len(start), int(WindowLabel.MIXED), dtype=np.uint8)
    names[va == 0] = WindowLabel.NON_VA
    names[va == last - first] = WindowLabel.VA
    names[count(covered.noise) > 0] = WindowLabel.NOISY
    unknown = count(covered.rhythms == Rhythm.UNLABELLED) > 0
    names[unknown | ~inside] = WindowLabel.UNLABELLED
    return names


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """How many windows of a recording became what."""

    va: int
    non_va: int
    mixed: int
    noisy: int
    unlabelled: int
    unusable: int
    """Labelled, but the signal cannot be judged: flat, clipped or implausible."""

    @property
    def set_aside(self) -> int:
        """Windows that are neither trained on nor scored."""
        return self.mixed + self.noisy + self.unlabelled + self.unusable

"""What the heart does at each sample of a record, and what a window of it may be called.

Four PhysioNet databases say it in three styles, told apart by the annotations themselves:

* rhythm changes (``+`` with ``(N``, ``(VT``, ...): VFDB and MITDB, where ``[`` and ``]`` around
  ventricular flutter may come on top;
* ``[`` and ``]`` around ventricular fibrillation, and beats without a class: CUDB;
* beats alone: NSRDB, and the records of CUDB in which nothing happens.

A wrong "no VA" teaches a detector to miss, a wrong "VA" to cry wolf. Whatever the annotations
do not settle is UNLABELLED: it is neither trained on nor scored.
"""

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import DataError
from fewbeats.firmware_bridge.codecs.wfdb_annotations import Annotations
from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels

BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?!")
"""Annotation symbols that stand for a heartbeat (PhysioNet annotation codes)."""

UNCERTAIN_BEFORE_ONSET_S = 60.0
"""CUDB marks fibrillation only; the tachycardia that leads to it lies before the bracket."""

LONGEST_BEAT_GAP_S = 3.0
"""Where beats alone are annotated, a longer stretch without one has no known rhythm."""

FASTEST_KNOWN_RR_S = 60 / 180
"""Faster than this, beats without a class may as well be ventricular tachycardia."""

_FAST_RUN = 5  # RR intervals that are judged together

_OTHER_RHYTHMS = frozenset(
    {
        *("AFIB", "AFL", "SVTA"),  # atrial fibrillation and flutter, supraventricular tachycardia
        *("AB", "B", "BI", "T", "HGEA"),  # bigeminy, trigeminy, high-grade ectopy
        *("BII", "NOD", "J", "SBR", "IVR", "VER"),  # block, slow and escape rhythms
        *("P", "PM", "PREX"),  # paced, pre-excitation
    }
)

_RHYTHMS = {
    "VT": Rhythm.VT,
    "VF": Rhythm.VF,
    "VFIB": Rhythm.VF,
    "VFL": Rhythm.VFL,
    "ASYS": Rhythm.ASYSTOLE,
    "N": Rhythm.SINUS,
    "NSR": Rhythm.SINUS,
} | dict.fromkeys(_OTHER_RHYTHMS, Rhythm.OTHER)
"""Rhythm strings that are known. An unknown one might be VA: it stays UNLABELLED."""

_FAULTS: dict[str, tuple[tuple[float, float], ...]] = {
    "cu02": ((490.0, np.inf),),
    "cu17": ((421.0, 459.0),),
}
"""Seconds in which CUDB's published brackets leave out what looks like VT or flutter."""


def label_record(
    annotations: Annotations, length: int, rate_hz: float, record: str = ""
) -> RhythmLabels:
    """Turn a record's annotations into its rhythm and noise, sample by sample.

    Args:
        annotations: the reference annotations.
        length: samples in the record.
        rate_hz: its sampling rate.
        record: its name; a few published records have known label faults.

    Raises:
        DataError: there is no annotation at all.
    """
    if len(annotations.samples) == 0:
        raise DataError(f"Record {record!r} has no annotations: nothing in it can be trained on.")
    rhythms = np.full(length, int(Rhythm.UNLABELLED), dtype=np.uint8)
    noise = np.zeros(length, dtype=np.bool_)
    labels = RhythmLabels(rhythms, noise, rate_hz)
    if any(_rhythm_name(aux) for aux in annotations.aux):
        _paint_rhythm_changes(annotations, labels)
        _paint_brackets(annotations, rhythms, Rhythm.VFL)
    else:
        bracketed = "[" in annotations.symbols or "]" in annotations.symbols
        _paint_beats(annotations, labels, Rhythm.OTHER if bracketed else Rhythm.SINUS)
        if bracketed:
            _forget_before_onsets(annotations, labels)
            _paint_noise(annotations, noise)
        _paint_brackets(annotations, rhythms, Rhythm.VF)
    for start_s, stop_s in _FAULTS.get(record, ()):
        stop = min(length, stop_s * rate_hz)
        rhythms[round(start_s * rate_hz) : round(stop)] = Rhythm.UNLABELLED
    return labels


def _rhythm_name(aux: str) -> str:
    """'VT' of '(VT'; empty for anything that is no rhythm string."""
    text = aux.strip("\0 ")
    return text[1:].rstrip(")").upper() if text.startswith("(") else ""


def _paint_rhythm_changes(annotations: Annotations, labels: RhythmLabels) -> None:
    """Each rhythm holds until the next; ``(NOISE`` hides it but does not end it."""
    changes = [
        (int(sample), name)
        for sample, aux in zip(annotations.samples, annotations.aux, strict=True)
        if (name := _rhythm_name(aux))
    ]
    rhythm = Rhythm.UNLABELLED
    ends = [sample for sample, _ in changes[1:]] + [len(labels)]
    for (start, name), end in zip(changes, ends, strict=True):
        if name == "NOISE":
            labels.noise[start:end] = True
        else:
            rhythm = _RHYTHMS.get(name, Rhythm.UNLABELLED)
        labels.rhythms[start:end] = rhythm


def _paint_beats(annotations: Annotations, labels: RhythmLabels, rhythm: Rhythm) -> None:
    """The rhythm is known where beats follow one another at a rate that is no tachycardia."""
    symbols = np.array(annotations.symbols)
    is_beat = np.isin(symbols, list(BEAT_SYMBOLS))
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


def _forget_before_onsets(annotations: Annotations, labels: RhythmLabels) -> None:
    span = round(UNCERTAIN_BEFORE_ONSET_S * labels.rate_hz)
    for sample, symbol in zip(annotations.samples.tolist(), annotations.symbols, strict=True):
        if symbol == "[":
            labels.rhythms[max(0, sample - span) : sample] = Rhythm.UNLABELLED


def _paint_brackets(annotations: Annotations, rhythms: NDArray[np.uint8], rhythm: Rhythm) -> None:
    """From ``[`` to ``]``; an episode that is not closed lasts to the end of the record."""
    onset: int | None = None
    for sample, symbol in zip(annotations.samples.tolist(), annotations.symbols, strict=True):
        if symbol == "[" and onset is None:
            onset = sample
        elif symbol == "]" and onset is not None:
            rhythms[onset:sample] = rhythm
            onset = None
    if onset is not None:
        rhythms[onset:] = rhythm


def _paint_noise(annotations: Annotations, noise: NDArray[np.bool_]) -> None:
    """``~`` opens and closes a noisy stretch; a beat or a bracket closes it as well."""
    start: int | None = None
    for sample, symbol in zip(annotations.samples.tolist(), annotations.symbols, strict=True):
        if start is not None:
            noise[start:sample] = True
            start = None
        elif symbol == "~":
            start = sample
    if start is not None:
        noise[start:] = True


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

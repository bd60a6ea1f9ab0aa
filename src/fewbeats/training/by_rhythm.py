"""A detector held against the goals of automated external defibrillators, rhythm by rhythm.

The American Heart Association (Kerber et al., Circulation 95: 1677, 1997; taken up in IEC
60601-2-4) states what share of strips of each rhythm must be told right. Here a record is cut
into strips that lie end to end, each of one annotated rhythm, all of it labelled and free of
annotated noise. A strip counts as "shock" if the detector, started afresh, confirms an episode
from the windows that lie wholly in it. A window that could not be judged is no evidence: it
speaks for "no shock" where that is right, and for a miss in VF and VT.

* A strip has 9 s, the time that an AED takes to decide, or more where the bundle's rule needs it.
* Ventricular flutter goes with fibrillation: the annotation codes ``[`` and ``]`` of CUDB and of
  ANSI/AAMI EC57 have one name for both, and the goal for fibrillation is the stricter one.
* Normal sinus rhythm is what is annotated as such, its single ectopic beats included.
* Strips without one whole second of signal show nothing to anybody, and are left out.

The limits are those of independent strips. Strips of one person are not independent, so a limit
from few subjects is too favourable: how many there are stands beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.detector import Alarm, Detector, DetectorConfig, Judgement
from fewbeats.device.preprocess import WindowSpec
from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels
from fewbeats.training.intervals import lower_limit

DECISION_S = 9.0
"""What AEDs take to decide: three analyses of 3 s."""
COARSE_UV = 200.0
"""Peak to peak; fibrillation that is no larger is fine, and shocking it is left open."""
RAPID_PER_MINUTE = 150.0
"""From this rate on ventricular tachycardia counts as rapid."""

_RATES_PER_MINUTE = (60.0, 350.0)  # what can be told of a tachycardia
_BAND_HZ = (1.0, 15.0)  # what of it repeats from beat to beat
_REPEATS = 0.5  # of the best agreement, that the shortest cycle must reach
_BREAK_NS = 1_000_000  # more than a hop from one window to the next: something was left out


class StripRhythm(StrEnum):
    """The AHA's classes of rhythm."""

    COARSE_VF = "coarse VF"
    RAPID_VT = "rapid VT"
    NORMAL_SINUS = "normal sinus"
    OTHER = "other non-shockable"
    ASYSTOLE = "asystole"
    FINE_VF = "fine VF"
    OTHER_VT = "other VT"

    @property
    def is_va(self) -> bool:
        """Whether "shock" is right."""
        return self in _VA


_VA = frozenset(
    {StripRhythm.COARSE_VF, StripRhythm.RAPID_VT, StripRhythm.FINE_VF, StripRhythm.OTHER_VT}
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What the AHA asks of a class.

    Attributes:
        value: that the share of right strips must exceed; None where it is only reported.
        lower_limit: what its one-sided 90 % lower confidence limit must reach.
        least_strips: that it must be shown on.
    """

    value: float | None
    lower_limit: float | None
    least_strips: int


GOALS = {
    StripRhythm.COARSE_VF: Goal(0.90, 0.87, 200),
    StripRhythm.RAPID_VT: Goal(0.75, 0.67, 50),
    StripRhythm.NORMAL_SINUS: Goal(0.99, 0.97, 100),
    StripRhythm.OTHER: Goal(0.95, 0.88, 30),
    StripRhythm.ASYSTOLE: Goal(0.95, 0.92, 100),
    StripRhythm.FINE_VF: Goal(None, None, 25),
    StripRhythm.OTHER_VT: Goal(None, None, 25),
}


@dataclass(frozen=True, slots=True)
class Strip:
    """One strip, judged.

    Attributes:
        rhythm: its class.
        start_s: from the record's first sample.
        shock: what the detector made of it.
    """

    rhythm: StripRhythm
    start_s: float
    shock: bool

    @property
    def right(self) -> bool:
        """Whether the detector was right."""
        return self.shock == self.rhythm.is_va


def strip_s(window: WindowSpec, detector: DetectorConfig) -> float:
    """Length of a strip: wherever its windows fall, the rule has all that it looks at."""
    return max(DECISION_S, window.window_s + detector.among * window.hop_s)


def strips_of(
    samples_uv: NDArray[np.floating],
    labels: RhythmLabels,
    judgements: Sequence[Judgement],
    window: WindowSpec,
    detector: DetectorConfig,
    threshold: float,
    from_s: float = 0.0,
) -> list[Strip]:
    """Cut a record into strips, and decide each from windows that were judged already.

    Args:
        samples_uv: (samples,), the record, NaN where nothing was measured.
        labels: the truth about it.
        judgements: every window that was judged, in the order of time; their times count from
            the record's first sample.
        window: what a window is.
        detector: the rule that confirms an episode.
        threshold: the head's operating point.
        from_s: when the detector began to watch.
    """
    rate_hz = labels.rate_hz
    length = round(strip_s(window, detector) * rate_hz)
    rhythms = np.where(labels.noise, np.uint8(Rhythm.UNLABELLED), labels.rhythms)
    rhythms[: round(from_s * rate_hz)] = Rhythm.UNLABELLED
    changes = (np.flatnonzero(np.diff(rhythms)) + 1).tolist()
    starts_ns = np.array([judgement.start_ns for judgement in judgements], dtype=np.int64)
    hop_ns, window_ns = round(window.hop_s * 1e9), round(window.window_s * 1e9)
    strips = []
    for begin, end in zip([0, *changes], [*changes, len(rhythms)], strict=True):
        if begin == end or rhythms[begin] == Rhythm.UNLABELLED:
            continue
        for start in range(begin, end - length + 1, length):
            rhythm = _class_of(Rhythm(rhythms[start]), samples_uv[start : start + length], rate_hz)
            if rhythm is None:
                continue
            first_ns, last_ns = (round(at * 1e9 / rate_hz) for at in (start, start + length))
            first = int(np.searchsorted(starts_ns, first_ns, side="left"))
            last = int(np.searchsorted(starts_ns, last_ns - window_ns, side="right"))
            shock = _confirms(judgements[first:last], Detector(detector, threshold), hop_ns)
            strips.append(Strip(rhythm, start / rate_hz, shock))
    return strips


def _confirms(judgements: Iterable[Judgement], detector: Detector, hop_ns: int) -> bool:
    """Whether the windows of a strip alone confirm an episode."""
    previous_ns: int | None = None
    for judgement in judgements:
        if previous_ns is not None and judgement.start_ns > previous_ns + hop_ns + _BREAK_NS:
            detector.interrupt()
        previous_ns = judgement.start_ns
        _, event = detector.judge(judgement.start_ns, judgement.end_ns, judgement.probability)
        if isinstance(event, Alarm):
            return True
    return False


def _class_of(
    rhythm: Rhythm, samples_uv: NDArray[np.floating], rate_hz: float
) -> StripRhythm | None:
    """The class of a strip; None where there is no signal."""
    amplitude = amplitude_uv(samples_uv, rate_hz)
    if amplitude is None:
        return None
    match rhythm:
        case Rhythm.VF | Rhythm.VFL:
            return StripRhythm.COARSE_VF if amplitude > COARSE_UV else StripRhythm.FINE_VF
        case Rhythm.VT:
            rate = rate_per_minute(samples_uv, rate_hz)
            rapid = rate is not None and rate >= RAPID_PER_MINUTE
            return StripRhythm.RAPID_VT if rapid else StripRhythm.OTHER_VT
        case Rhythm.SINUS:
            return StripRhythm.NORMAL_SINUS
        case Rhythm.ASYSTOLE:
            return StripRhythm.ASYSTOLE
    return StripRhythm.OTHER


def amplitude_uv(samples_uv: NDArray[np.floating], rate_hz: float) -> float | None:
    """Peak to peak of a strip, in microvolts: the median over its seconds.

    Within a second the baseline hardly moves, and one spike spoils only its own. None where no
    second is whole.
    """
    second = round(rate_hz)
    seconds = samples_uv[: len(samples_uv) // second * second].reshape(-1, second)
    whole = seconds[np.isfinite(seconds).all(axis=1)]
    return float(np.median(np.ptp(whole, axis=1))) if len(whole) else None


def rate_per_minute(samples_uv: NDArray[np.floating], rate_hz: float) -> float | None:
    """Ventricular rate of a tachycardia, from the cycle after which its strip repeats itself.

    The autocorrelation (by Wiener and Khinchin, of 1 to 15 Hz) peaks at the cycle and, lower,
    at its multiples; where beats alternate a multiple may be higher. So of the peaks between 60
    and 350 a minute the shortest counts that reaches half of the highest. None where nothing
    repeats, as in a flat line.
    """
    samples = np.asarray(samples_uv, dtype=np.float64)
    measured = np.isfinite(samples)
    if not measured.any():
        return None
    centred = np.where(measured, samples - samples[measured].mean(), 0.0)
    count = len(centred)
    hz = np.fft.rfftfreq(2 * count, 1 / rate_hz)
    power = np.abs(np.fft.rfft(centred, 2 * count)) ** 2
    power[(hz < _BAND_HZ[0]) | (hz > _BAND_HZ[1])] = 0.0
    slowest, fastest = (60 * rate_hz / rate for rate in _RATES_PER_MINUTE)
    lags = np.arange(min(int(slowest) + 2, count))
    agreement = np.fft.irfft(power)[lags] / (count - lags)
    inner = agreement[1:-1]
    peaks = 1 + np.flatnonzero((inner > agreement[:-2]) & (inner >= agreement[2:]) & (inner > 0))
    peaks = peaks[peaks >= fastest]
    if not len(peaks):
        return None
    cycle = peaks[agreement[peaks] >= _REPEATS * agreement[peaks].max()][0]
    return float(60 * rate_hz / cycle)


def summarise_strips(strips: Mapping[str, Iterable[Strip]]) -> list[dict[str, Any]]:
    """Figures of every class, as plain data, in the AHA's order.

    Args:
        strips: by subject.

    Returns:
        For each class its goal, how many strips of how many subjects there were, how many were
        told right, that share (None without strips) with its one-sided 90 % lower limit, and
        whether the goal is met: None where there is none, or fewer strips than it asks for.
    """
    by_class: dict[StripRhythm, dict[str, list[bool]]] = {rhythm: {} for rhythm in GOALS}
    for subject, own in strips.items():
        for strip in own:
            by_class[strip.rhythm].setdefault(subject, []).append(strip.right)
    return [_figures(rhythm, subjects) for rhythm, subjects in by_class.items()]


def _figures(rhythm: StripRhythm, subjects: Mapping[str, list[bool]]) -> dict[str, Any]:
    goal = GOALS[rhythm]
    count = sum(len(own) for own in subjects.values())
    right = sum(sum(own) for own in subjects.values())
    value = right / count if count else None
    limit = lower_limit(right, count, confidence=0.90) if count else None
    stated, met = None, None
    if goal.value is not None and goal.lower_limit is not None:
        stated = {
            "figure": "sensitivity" if rhythm.is_va else "specificity",
            "value": goal.value,
            "lower_limit": goal.lower_limit,
        }
        if value is not None and limit is not None and count >= goal.least_strips:
            met = value > goal.value and limit >= goal.lower_limit
    return {
        "rhythm": rhythm.value,
        "goal": stated,
        "least_strips": goal.least_strips,
        "strips": count,
        "subjects": len(subjects),
        "right": right,
        "value": value,
        "lower_limit_90": limit,
        "met": met,
    }

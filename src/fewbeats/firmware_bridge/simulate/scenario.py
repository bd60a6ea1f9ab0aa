"""What the simulated heart and its electrodes do, and when: parsed from one line of text."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, TypeVar

from fewbeats.errors import AddressError

MIN_SEGMENT_S = 0.5
MAX_SEGMENT_S = 7 * 86_400.0
MIN_GAIN = 0.1
MAX_GAIN = 2.0

_Name = TypeVar("_Name", bound=StrEnum)


class SimulatedRhythm(StrEnum):
    """The rhythms that the simulator can play, by the name that a scenario uses."""

    SINUS = "sinus"
    BRADYCARDIA = "bradycardia"
    """Sinus bradycardia, 38-50 beats a minute."""
    TACHYCARDIA = "tachycardia"
    """Sinus tachycardia, 105-140 beats a minute."""
    PVC = "pvc"
    """Sinus rhythm with premature ventricular beats, alone or in pairs, never three in a row."""
    AF = "af"
    """Atrial fibrillation."""
    SVT = "svt"
    """Supraventricular tachycardia: fast, narrow, regular. The classic false alarm."""
    VT = "vt"
    VFL = "vfl"
    VF = "vf"
    ASYSTOLE = "asystole"


class Disturbance(StrEnum):
    """What may spoil the signal, by the name that a scenario uses."""

    WANDER = "wander"
    """Baseline wander."""
    MUSCLE = "muscle"
    """Electromyogram of the muscles under the electrodes."""
    MOTION = "motion"
    """Electrodes that are pushed or pulled."""
    MAINS = "mains"
    """Hum of the power line, 50 or 60 Hz."""
    LEADOFF = "leadoff"
    """An electrode without contact: nothing is measured."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One rhythm under the same disturbances for some seconds.

    Attributes:
        rhythm: what the heart does.
        duration_s: for how long, seconds.
        disturbances: what spoils the signal meanwhile.
        gain: factor on the heart's own amplitude; 0.5 with vf gives a finer fibrillation.

    Raises:
        AddressError: a duration or a gain outside its limits, or a disturbance named twice.
    """

    rhythm: SimulatedRhythm
    duration_s: float
    disturbances: tuple[Disturbance, ...] = ()
    gain: float = 1.0

    def __post_init__(self) -> None:
        _within("duration", self.duration_s, MIN_SEGMENT_S, MAX_SEGMENT_S, " s")
        _within("gain", self.gain, MIN_GAIN, MAX_GAIN, "")
        if len(set(self.disturbances)) != len(self.disturbances):
            raise AddressError(
                f"Disturbances {', '.join(self.disturbances)}: name each of them once."
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The segment that ``rhythm[+disturbance...]:seconds[@gain]`` describes.

        Raises:
            AddressError: text that does not describe one.
        """
        what, colon, how_long = text.partition(":")
        if not colon:
            raise AddressError(
                f"{text!r} has no duration; write it as rhythm:seconds, for example sinus:30."
            )
        rhythm, *disturbances = (word.strip().lower() for word in what.split("+"))
        duration, at, gain = how_long.partition("@")
        return cls(
            _member(SimulatedRhythm, "rhythm", rhythm),
            _number("duration", duration),
            tuple(_member(Disturbance, "disturbance", word) for word in disturbances),
            _number("gain", gain) if at else 1.0,
        )

    def __str__(self) -> str:
        what = "+".join((self.rhythm, *self.disturbances))
        gain = "" if self.gain == 1.0 else f"@{_shortest(self.gain)}"
        return f"{what}:{_shortest(self.duration_s)}{gain}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Segments in the order in which they are played.

    Raises:
        AddressError: a scenario without segments.
    """

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if not self.segments:
            raise AddressError("A scenario needs at least one segment, for example sinus:60.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The scenario that a text such as ``"sinus:60, vt:15, vf:12@0.5, sinus+muscle:20"`` means.

        Each piece is ``rhythm[+disturbance...]:seconds[@gain]``. ``str`` gives the text back.

        Raises:
            AddressError: naming the piece that cannot be read and what is allowed there.
        """
        if not text.strip():
            raise AddressError("The scenario is empty; write for example sinus:60,vt:15,sinus:30.")
        segments = []
        for number, piece in enumerate(text.split(","), start=1):
            try:
                segments.append(Segment.parse(piece.strip()))
            except AddressError as error:
                raise AddressError(
                    f"Piece {number} of the scenario, {piece.strip()!r}: {error}"
                ) from error
        return cls(tuple(segments))

    @property
    def duration_s(self) -> float:
        """Seconds from the first sample to the end of the last."""
        return math.fsum(segment.duration_s for segment in self.segments)

    def __str__(self) -> str:
        return ",".join(map(str, self.segments))


def _member(kind: type[_Name], noun: str, word: str) -> _Name:
    try:
        return kind(word)
    except ValueError:
        raise AddressError(f"no {noun} is called {word!r}; there are {', '.join(kind)}.") from None


def _number(noun: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise AddressError(f"the {noun} {text.strip()!r} is not a number.") from None


def _within(noun: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:  # NaN fails too
        raise AddressError(f"the {noun} must lie in {low:g} to {high:g}{unit}, got {value:g}.")


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


DEMO_SCENARIO = Scenario.parse(
    "sinus:40,vt:30,sinus:10,vf:30,"  # labelled beats to calibrate from
    "sinus:30,pvc:25,vt:15,sinus:30,vf:20,sinus+wander+muscle:25,"
    "vfl:15,sinus:25,sinus+leadoff:6,sinus:20,asystole:8,sinus:20"
)
"""Almost six minutes that show what a detector must find, and what must not alarm it."""

"""What the annotations of a folder of records mean: a small TOML file beside them.

The databases that fewbeats knows have such files too, in ``label_maps/``: there is one way to say
what a string or a symbol means, who is who, and which seconds cannot be trusted. ``labels.py`` has
the rule that all of them are put to.
"""

import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fewbeats.errors import DataError
from fewbeats.firmware_bridge.rhythms import Rhythm

FILE_NAME = "fewbeats.toml"

RHYTHM_NAMES = {
    "sinus": Rhythm.SINUS,
    "other": Rhythm.OTHER,
    "vt": Rhythm.VT,
    "vfl": Rhythm.VFL,
    "vf": Rhythm.VF,
    "asystole": Rhythm.ASYSTOLE,
    "unlabelled": Rhythm.UNLABELLED,
}
"""What a map may call a rhythm."""

NOISE = "noise"
"""What a map calls a string that hides the rhythm without ending it."""

_OTHER_RHYTHMS = frozenset(
    {
        *("AFIB", "AFL", "SVTA"),  # atrial fibrillation and flutter, supraventricular tachycardia
        *("AB", "B", "BI", "T", "HGEA"),  # bigeminy, trigeminy, high-grade ectopy
        *("BII", "NOD", "J", "SBR", "IVR", "VER"),  # block, slow and escape rhythms
        *("P", "PM", "PREX"),  # paced, pre-excitation
    }
)

STANDARD_RHYTHMS: Mapping[str, Rhythm] = {
    "VT": Rhythm.VT,
    "VF": Rhythm.VF,
    "VFIB": Rhythm.VF,
    "VFL": Rhythm.VFL,
    "ASYS": Rhythm.ASYSTOLE,
    "N": Rhythm.SINUS,
    "NSR": Rhythm.SINUS,
} | dict.fromkeys(_OTHER_RHYTHMS, Rhythm.OTHER)
"""Rhythm strings that mean the same everywhere, unless a map says otherwise."""


class Style(StrEnum):
    """How a database says which rhythm there is."""

    AUTO = "auto"
    """Each record tells by what annotations it has."""
    RHYTHM_CHANGES = "rhythm-changes"
    """Strings such as ``(VT`` hold until the next one."""
    BRACKETS = "brackets"
    """``[`` and ``]`` around fibrillation, and beats without a class."""
    BEATS = "beats"
    """Beats alone."""


@dataclass(frozen=True, slots=True)
class LabelMap:
    """What the annotations of one folder mean.

    Attributes:
        name: of the database, for people.
        licence: what its makers allow.
        citation: whom to name.
        rhythms: rhythm strings, in capitals and without the bracket, and what they mean.
        default_rhythm: what an unknown string means. It might be VA, so: nobody knows.
        noise_strings: rhythm strings that hide the rhythm and do not end it.
        style: how the rhythm is said.
        beats: symbols that stand for a heartbeat.
        ventricular: those of them that three in a row of might be tachycardia.
        va_opens: symbols that open an episode.
        va_closes: symbols that close it.
        va_is: the rhythm of such an episode; None: VFL beside rhythm strings, else VF.
        beats_are: the rhythm where there are beats alone; None: OTHER in a record that brackets
            its fibrillation, else SINUS.
        noise_symbols: symbols that open and close noise; None: ``~`` beside brackets, else none.
        uncertain_before_va_s: seconds before an opening bracket that are unlabelled.
        extension: of the annotation files.
        lead: the one that windows are cut from, by name or number.
        subjects: record to person, for people who have several records.
        faults: record to the seconds in which its annotations are not to be trusted.
    """

    name: str
    licence: str = "unknown licence"
    citation: str = ""
    rhythms: Mapping[str, Rhythm] = field(default_factory=lambda: STANDARD_RHYTHMS)
    default_rhythm: Rhythm = Rhythm.UNLABELLED
    noise_strings: Collection[str] = frozenset({"NOISE"})
    style: Style = Style.AUTO
    beats: Collection[str] = frozenset("NLRBAaJSVrFejnE/fQ?!")
    ventricular: Collection[str] = frozenset("VEr!")
    va_opens: Collection[str] = frozenset("[")
    va_closes: Collection[str] = frozenset("]")
    va_is: Rhythm | None = None
    beats_are: Rhythm | None = None
    noise_symbols: Collection[str] | None = None
    uncertain_before_va_s: float = 60.0
    extension: str = "atr"
    lead: int | str = 0
    subjects: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    @property
    def terms(self) -> str:
        """Name and licence, as a model card states them."""
        return f"{self.name}, {self.licence}"


_USUAL = LabelMap("")


@cache
def known_databases() -> Mapping[str, LabelMap]:
    """The maps that come with fewbeats, by the database's name on PhysioNet."""
    folder = files("fewbeats.training").joinpath("label_maps")
    return {
        file.name.removesuffix(".toml"): parse_label_map(file.read_text("utf-8"), file.name)
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".toml")
    }


def label_map_of(folder: Path, record: str = "") -> LabelMap:
    """The map for the records in a folder.

    It is that of the known database which the folder is named after, or which has something to
    say about a record of this name: who the person is, or faults (copies lie under many names).
    Else it is what is usual in WFDB. What a TOML file beside the records says, goes before.

    Raises:
        DataError: the file beside the records cannot be read or used.
    """
    path = folder / FILE_NAME
    base = _map_by_name(folder.name, record)
    if not path.exists():
        return base
    try:
        return parse_label_map(path.read_text("utf-8"), str(path), base)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: {error}.") from error


def _map_by_name(folder: str, record: str) -> LabelMap:
    known = known_databases()
    if folder in known:
        return known[folder]
    for label_map in known.values():
        people = label_map.subjects
        if record in {*label_map.faults, *people, *people.values()}:
            # The record's name tells what may be wrong with it, but not under what licence it is.
            return replace(label_map, name=folder, licence=_USUAL.licence, citation="")
    return LabelMap(folder)


def parse_label_map(text: str, source: str, base: LabelMap = _USUAL) -> LabelMap:
    """The map that a TOML text describes; what it leaves out stays as it is in ``base``.

    Args:
        text: the TOML.
        source: the file, for error messages.
        base: the map that the text changes. Its licence and citation go with its name: a text
            that gives another name has to state its own.

    Raises:
        DataError: naming the file, the key, its value, and what is allowed there.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{source} is no TOML file: {error}.") from error
    values: dict[str, Any] = {}
    top = _Table(source, "", content, base)
    top.check_names({"name", "licence", "citation", *_PARTS})
    if "name" in content and content["name"] != base.name:
        values = {"licence": _USUAL.licence, "citation": ""}
    for key in ("name", "licence", "citation"):
        if key in content:
            values[key] = top.text(key)
    for part, read in _PARTS.items():
        if part in content:
            if not isinstance(content[part], dict):
                raise top.refused(part, "a table, [" + part + "]")
            values |= read(_Table(source, f"[{part}] ", content[part], base))
    return replace(base, **values)


@dataclass(frozen=True, slots=True)
class _Table:
    """One table of the file: where it is, for those who have to mend it, and what it changes."""

    source: str
    place: str
    values: Mapping[str, Any]
    base: LabelMap

    def refused(self, key: str, allowed: str) -> DataError:
        value = self.values[key]
        return DataError(f"{self.source}: {self.place}{key} = {value!r} must be {allowed}.")

    def check_names(self, known: Collection[str]) -> None:
        for key in self.values:
            if key not in known:
                raise DataError(
                    f"{self.source}: {self.place}{key} is unknown; known are "
                    f"{', '.join(sorted(known))}."
                )

    def text(self, key: str) -> str:
        value = self.values[key]
        if not isinstance(value, str) or not value.strip():
            raise self.refused(key, "a text that is not empty")
        return value

    def rhythm(self, key: str) -> Rhythm:
        value = self.values[key]
        if not isinstance(value, str) or value not in RHYTHM_NAMES:
            raise self.refused(key, f"one of {', '.join(RHYTHM_NAMES)}")
        return RHYTHM_NAMES[value]

    def symbols(self, key: str) -> frozenset[str]:
        value = self.values[key]
        if not isinstance(value, str | list) or not all(isinstance(one, str) for one in value):
            raise self.refused(key, 'symbols in a text such as "NV", or a list of texts')
        return frozenset(value)

    def seconds(self, key: str) -> float:
        value = self.values[key]
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise self.refused(key, "a number of seconds from 0")
        return float(value)


def _rhythms(table: _Table) -> dict[str, Any]:
    rhythms, noise = dict(table.base.rhythms), set(table.base.noise_strings)
    values: dict[str, Any] = {}
    for key, value in table.values.items():
        if key == "default":
            values["default_rhythm"] = table.rhythm(key)
            continue
        string = key.strip("( )").upper()
        noise.discard(string)
        rhythms.pop(string, None)
        if value == NOISE:
            noise.add(string)
        elif isinstance(value, str) and value in RHYTHM_NAMES:
            rhythms[string] = RHYTHM_NAMES[value]
        else:
            raise table.refused(key, f"one of {', '.join([*RHYTHM_NAMES, NOISE])}")
    return values | {"rhythms": rhythms, "noise_strings": frozenset(noise)}


def _symbols(table: _Table) -> dict[str, Any]:
    sets = {"beats", "ventricular", "va_opens", "va_closes"}
    rhythms = {"va_is", "beats_are"}
    table.check_names({*sets, *rhythms, "style", "noise", "uncertain_before_va_s"})
    values: dict[str, Any] = {}
    for key, value in table.values.items():
        if key in sets:
            values[key] = table.symbols(key)
        elif key in rhythms:
            values[key] = table.rhythm(key)
        elif key == "noise":
            values["noise_symbols"] = table.symbols(key)
        elif key == "uncertain_before_va_s":
            values[key] = table.seconds(key)
        elif value in list(Style):
            values[key] = Style(value)
        else:
            raise table.refused(key, f"one of {', '.join(Style)}")
    return values


def _annotator(table: _Table) -> dict[str, Any]:
    table.check_names({"extension"})
    return {key: table.text(key).removeprefix(".") for key in table.values}


def _leads(table: _Table) -> dict[str, Any]:
    table.check_names({"use"})
    if "use" not in table.values:
        return {}
    lead = table.values["use"]
    if type(lead) not in (int, str) or lead == "" or (type(lead) is int and lead < 0):
        raise table.refused("use", "the name of a lead, or its number from 0")
    return {"lead": lead}


def _subjects(table: _Table) -> dict[str, Any]:
    people = {record: table.text(record) for record in table.values}
    return {"subjects": {**table.base.subjects, **people}}


def _faults(table: _Table) -> dict[str, Any]:
    faults = {}
    for record, spans in table.values.items():
        try:
            faults[record] = tuple((float(start), float(stop)) for start, stop in spans)
        except (TypeError, ValueError):
            faults[record] = ((math.nan, math.nan),)
        if not all(0 <= start < stop for start, stop in faults[record]):
            raise table.refused(record, "a list of [start, stop] in seconds, 0 <= start < stop")
    return {"faults": {**table.base.faults, **faults}}


_PARTS = {
    "rhythms": _rhythms,
    "symbols": _symbols,
    "annotator": _annotator,
    "leads": _leads,
    "subjects": _subjects,
    "faults": _faults,
}

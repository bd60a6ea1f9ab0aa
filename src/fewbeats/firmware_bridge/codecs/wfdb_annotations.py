"""WFDB annotation files in MIT format: what people, or programs, said of which sample.

A file is a row of 16-bit words. One word is an annotation: its code in the high 6 bits, in the
low 10 the samples since the one before. The codes from 59 on belong to the annotation beside
them. Source of the layout and of the codes: PhysioNet WFDB, annot(5), and the annotation codes
of its Programmer's Guide.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import RecordError

_IN_ORDER_OF_CODES = '\0NLRaVFJASEj/Q~\0|\0sT*D"=pB^t+u?![]en@xf()r'
SYMBOLS = {code: symbol for code, symbol in enumerate(_IN_ORDER_OF_CODES) if symbol != "\0"}
"""The one-letter symbol of every annotation code that the format defines."""

NOT_AN_ANNOTATION, NOTE, LAST_CODE = 0, 22, 49
SKIP, SUBTYPE, CHANNEL, AUX = 59, 61, 62, 63

_RESOLUTION = re.compile(r"## time resolution: (\d+\.?\d*)")
_DEFINITION = re.compile(r"(\d+) (\S+) .+")
_DEFINITIONS_BEGIN, _DEFINITIONS_END = "## annotation type definitions", "## end of definitions"


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """Annotations of one record in the order of time; the n-th of each field belong together.

    Attributes:
        samples: int64 (annotations,), the sample of the record that each is about.
        symbols: one-letter symbols such as "N", "V", "+", "["; the code in brackets where the
            format defines none.
        aux: free text, "" for none. Rhythm changes ("+") name the rhythm here: "(VT", "(N".
        subtypes: int64 (annotations,), -128 to 127; for noise ("~") it says which leads.
        channels: int64 (annotations,), the lead that each was made on, if anybody noted it.
        rate_hz: the samples a second that ``samples`` counts, where the file says so.
    """

    samples: NDArray[np.int64]
    symbols: tuple[str, ...]
    aux: tuple[str, ...]
    subtypes: NDArray[np.int64]
    channels: NDArray[np.int64]
    rate_hz: float | None

    def __len__(self) -> int:
        return len(self.symbols)


@dataclass(slots=True)
class _Entry:
    """One annotation as the file has it."""

    sample: int
    code: int
    channel: int
    subtype: int = 0
    aux: str = ""


def read_annotations(path: Path | str, extension: str = "atr") -> Annotations:
    """The annotations that lie beside a record.

    Args:
        path: the record, with or without ``.hea``.
        extension: whose annotations: ``atr`` is the reference.

    Raises:
        RecordError: the file is missing, truncated or no annotation file.
    """
    file = Path(f"{str(path).removesuffix('.hea')}.{extension}")
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise RecordError(f"No annotations here: looked for {file}.") from error
    except OSError as error:
        raise RecordError(f"The annotations {file} cannot be read: {error.strerror}.") from error
    try:
        return decode_annotations(data)
    except RecordError as error:
        raise RecordError(f"The annotations {file} are damaged: {error}") from error


def decode_annotations(data: bytes) -> Annotations:
    """The annotations in the bytes of a file.

    Raises:
        RecordError: bytes that end too early, or that no annotation file has.
    """
    entries, rate_hz, symbols = _without_definitions(_entries(data))
    return Annotations(
        samples=np.array([entry.sample for entry in entries], dtype=np.int64),
        symbols=tuple(symbols.get(entry.code, f"[{entry.code}]") for entry in entries),
        aux=tuple(entry.aux for entry in entries),
        subtypes=np.array([entry.subtype for entry in entries], dtype=np.int64),
        channels=np.array([entry.channel for entry in entries], dtype=np.int64),
        rate_hz=rate_hz,
    )


def _entries(data: bytes) -> list[_Entry]:
    """Every annotation up to the end mark, which is a word of 0."""
    words = np.frombuffer(data, dtype="<u2", count=len(data) // 2).tolist()
    entries: list[_Entry] = []
    sample = channel = at = 0
    try:
        while (word := words[at]) != 0:
            code, low = word >> 10, word & 0x3FF
            at += 1
            if code == SKIP:
                interval = words[at] << 16 | words[at + 1]
                sample += interval - (1 << 32 if interval >> 31 else 0)
                at += 2
            elif code <= LAST_CODE:
                sample += low
                _check_order(sample, entries)
                entries.append(_Entry(sample, code, channel))
            elif code < SKIP or not entries:
                raise RecordError(f"word {at - 1} has the code {code}, which cannot stand there.")
            elif code == SUBTYPE:
                entries[-1].subtype = (low & 0xFF ^ 0x80) - 0x80
            elif code == CHANNEL:
                entries[-1].channel = channel = low & 0xFF
            elif code == AUX:
                text = data[2 * at : 2 * at + low]
                at += (low + 1) // 2
                entries[-1].aux = text.decode("latin-1").rstrip("\0")
            # Code 60, NUM, is left: a number without a meaning of its own, passed over.
    except IndexError:
        raise RecordError(
            f"its {len(data)} bytes end at annotation {len(entries)} without an end mark."
        ) from None
    if any(data[2 * at :]):
        raise RecordError(f"it goes on after its end mark in word {at}.")
    return [entry for entry in entries if entry.code != NOT_AN_ANNOTATION]


def _check_order(sample: int, entries: list[_Entry]) -> None:
    """Time never runs backwards in a good file; where it does, nothing after it can be trusted."""
    before = entries[-1].sample if entries else 0
    if sample < before:
        raise RecordError(
            f"annotation {len(entries)} is at sample {sample}, before {before}; "
            f"if the file is whole but unsorted, sort it with the WFDB tool sortann."
        )


def _without_definitions(
    entries: list[_Entry],
) -> tuple[list[_Entry], float | None, dict[int, str]]:
    """Notes at sample 0 may say the time resolution and define codes: these are about the file."""
    symbols = dict(SYMBOLS)
    rate_hz = None
    defining = False
    kept = []
    for entry in entries:
        if entry.sample != 0 or entry.code != NOTE:
            kept.append(entry)
        elif resolution := _RESOLUTION.fullmatch(entry.aux):
            rate_hz = float(resolution[1])
        elif entry.aux in (_DEFINITIONS_BEGIN, _DEFINITIONS_END):
            defining = entry.aux == _DEFINITIONS_BEGIN
        elif defining and (definition := _DEFINITION.fullmatch(entry.aux)):
            symbols[int(definition[1])] = definition[2]
        else:
            kept.append(entry)
    return kept, rate_hz, symbols

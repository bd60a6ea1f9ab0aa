import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import RecordError
from fewbeats.firmware_bridge.codecs.wfdb_annotations import (
    SYMBOLS,
    Annotations,
    decode_annotations,
    read_annotations,
)

# What pandas says of wfdb.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")


@pytest.fixture
def wfdb() -> ModuleType:
    return pytest.importorskip("wfdb")


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def note(text: str, *, at: int = 0, code: int = 22) -> bytes:
    data = text.encode()
    return words(code << 10 | at, 63 << 10 | len(data)) + data + bytes(len(data) % 2)


def assert_same(ours: Annotations, theirs: object) -> None:
    assert ours.samples.tolist() == theirs.sample.tolist()
    assert list(ours.symbols) == theirs.symbol
    assert list(ours.aux) == [text.rstrip("\0") for text in theirs.aux_note]
    assert ours.subtypes.tolist() == theirs.subtype.tolist()
    assert ours.channels.tolist() == theirs.chan.tolist()


def test_golden_bytes() -> None:
    # The first bytes of 100.atr of the MIT-BIH Arrhythmia Database, with an end mark added.
    data = bytes.fromhex("12 70 03 FC 28 4E 00 00 3B 04 25 05 24 05 1C 05 00 00")
    annotations = decode_annotations(data)
    assert annotations.samples.tolist() == [18, 77, 370, 662, 946]
    assert annotations.samples.dtype == np.int64
    assert annotations.symbols == ("+", "N", "N", "N", "N")
    assert annotations.aux == ("(N", "", "", "", "")
    assert annotations.rate_hz is None
    assert len(annotations) == 5


def test_fields_that_follow_an_annotation() -> None:
    data = words(
        (59 << 10), 0x0001, 0x0000, (14 << 10) | 5,  # noise, 65536 + 5 samples on
        (61 << 10) | 0xFF, (62 << 10) | 1, (60 << 10) | 7,  # subtype -1, channel 1, number 7
        (5 << 10) | 1,  # the next one keeps the channel, and has no subtype
        (59 << 10), 0xFFFF, 0xFFFF, (0 << 10) | 1,  # one back and on again, no annotation
        (42 << 10) | 3,  # a code that the format leaves to the user
        0,
    )  # fmt: skip
    annotations = decode_annotations(data)
    assert annotations.samples.tolist() == [65541, 65542, 65545]
    assert annotations.symbols == ("~", "V", "[42]")
    assert annotations.subtypes.tolist() == [-1, 0, 0]
    assert annotations.channels.tolist() == [1, 1, 1]


def test_notes_at_sample_0_may_be_about_the_file() -> None:
    data = (
        note("## time resolution: 1000.5")
        + note("## annotation type definitions")
        + note("42 vt ventricular tachycardia")
        + note("## end of definitions")
        + note("a remark")
        + note("43 x remark", at=1)
        + words(42 << 10 | 9, 0)
    )
    annotations = decode_annotations(data)
    assert annotations.rate_hz == 1000.5
    assert annotations.symbols == ('"', '"', "vt")
    assert annotations.aux == ("a remark", "43 x remark", "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "without an end mark"),
        (words(1 << 10 | 5), "end at annotation 1 without an end mark"),
        (words(1 << 10 | 5)[:-1], "without an end mark"),
        (words(59 << 10, 1), "without an end mark"),
        (words(28 << 10, 63 << 10 | 9) + b"(VFL", "without an end mark"),
        (words(50 << 10 | 5, 0), "code 50"),
        (words(61 << 10 | 5, 0), "code 61"),
        (words(1 << 10 | 5, 0, 1 << 10 | 5, 0), "goes on after its end mark"),
        (words(1 << 10 | 5, 59 << 10, 0xFFFF, 0xFFFE, 1 << 10 | 1, 0), "at sample 4, before 5"),
        (words(59 << 10, 0xFFFF, 0xFFFE, 1 << 10 | 1, 0), "at sample -1, before 0"),
    ],
)
def test_damaged_files(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "r.qrs").write_bytes(data)
    with pytest.raises(RecordError, match=message) as caught:
        read_annotations(tmp_path / "r", "qrs")
    assert "r.qrs" in str(caught.value)


@given(st.integers(0, 40))
def test_a_file_cut_anywhere_is_no_shorter_file(cut: int) -> None:
    data = words(28 << 10 | 1, 63 << 10 | 4) + b"(VFL" + words(59 << 10, 1, 0)
    data += words(*(1 << 10 | 5 for _ in range(12)), 61 << 10 | 2, 0)
    if cut >= len(data):
        assert len(decode_annotations(data)) == 13
        return
    with pytest.raises(RecordError):
        decode_annotations(data[:cut])


@given(st.binary(max_size=300))
def test_any_bytes_are_annotations_or_an_error(data: bytes) -> None:
    try:
        annotations = decode_annotations(data)
    except RecordError:
        return
    assert (np.diff(annotations.samples, prepend=0) >= 0).all()
    assert len(annotations.samples) == len(annotations.aux) == len(annotations)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"looked for .*100\.atr"):
        read_annotations(tmp_path / "100.hea")


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "100.atr").mkdir()
    with pytest.raises(RecordError, match="cannot be read"):
        read_annotations(tmp_path / "100")


def test_symbols_are_those_of_wfdb(wfdb: ModuleType) -> None:
    from wfdb.io.annotation import ann_labels

    theirs = {label.label_store: label.symbol for label in ann_labels if label.label_store}
    assert theirs == SYMBOLS


def test_what_wfdb_writes(tmp_path: Path, wfdb: ModuleType) -> None:
    random = np.random.default_rng(3)
    steps = random.choice([0, 1, 700, 1023, 1024, 70_000, 2**31, 2**33], 400)
    wfdb.wrann(
        "r",
        "atr",
        sample=np.cumsum(steps) + 1,
        symbol=random.choice(list(SYMBOLS.values()), 400).tolist(),
        subtype=random.integers(-128, 128, 400),
        chan=random.integers(0, 256, 400),
        num=random.integers(0, 128, 400),
        aux_note=["x" * n for n in random.integers(0, 256, 400)],
        fs=360,
        write_dir=str(tmp_path),
    )
    ours = read_annotations(tmp_path / "r")
    assert_same(ours, wfdb.rdann(str(tmp_path / "r"), "atr"))
    assert ours.rate_hz == 360


def test_every_real_file(data_dir: Path, wfdb: ModuleType) -> None:
    headers = sorted(data_dir.glob("*/*.hea"))
    assert headers
    for header in headers:
        theirs = wfdb.rdann(str(header.with_suffix("")), "atr")
        assert_same(read_annotations(header), theirs)

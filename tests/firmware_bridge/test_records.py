import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import MissingExtraError, RecordError
from fewbeats.firmware_bridge import records
from fewbeats.firmware_bridge.codecs.wfdb_signals import FORMATS
from fewbeats.firmware_bridge.records import Record, open_record

# What pandas says of wfdb.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")


@pytest.fixture
def wfdb() -> ModuleType:
    return pytest.importorskip("wfdb")


def written(folder: Path, header: str, **files: bytes) -> Path:
    """A record by hand: its header, and signal files named ``<key>.dat``."""
    for name, data in files.items():
        (folder / f"{name}.dat").write_bytes(data)
    path = folder / f"{header.split()[0].split('/')[0]}.hea"
    path.write_text(header, encoding="utf-8")
    return path


def ramp(samples: int) -> bytes:
    return np.arange(samples, dtype="<i2").tobytes()


def assert_as_wfdb_reads(record: Record, wfdb: ModuleType, lead: int) -> None:
    # Unsmoothed: smoothing would average the digital values of invalid samples.
    theirs = wfdb.rdrecord(str(record.path.with_suffix("")), channels=[lead], smooth_frames=False)
    millivolts = theirs.e_p_signal[0].reshape(record.length, -1).mean(axis=1)
    assert theirs.units == ["mV"]
    assert theirs.fs == record.rate_hz
    np.testing.assert_array_equal(record.read(lead=lead), (millivolts * 1e3).astype(np.float32))


# ---- Headers ----


def test_an_official_header(tmp_path: Path) -> None:
    # 100.hea of the MIT-BIH Arrhythmia Database, with the first bytes of its signals.
    path = written(
        tmp_path,
        "100 1 360 2 0:0:0\n100.dat 212 200 11 1024 995 -22131 0 MLII\n# 69 M 1085 1629 x1\n",
        **{"100": bytes.fromhex("E3 33 F3")},
    )
    record = open_record(path)
    assert record.read().tolist() == [np.float32(-145), np.float32(-65)]
    assert (record.name, record.path, record.rate_hz, record.length) == ("100", path, 360, 2)
    assert (record.leads, record.start_ns) == (("MLII",), 0)
    assert record.comments == ("69 M 1085 1629 x1",)
    assert open_record(tmp_path / "100") == open_record(str(path)) == record


@pytest.mark.parametrize(
    ("line", "microvolts"),
    [
        ("16", 5.0 * 100),  # no gain: 200, mV
        ("16 0", 5.0 * 100),  # 0 means unknown: 200
        ("16 100", 10.0 * 100),
        ("16 100 12 40", 10.0 * 60),  # the baseline is that of the converter...
        ("16 100(-10) 12 40", 10.0 * 110),  # ...unless it is given
        ("16 2/uV 12 0 0 0 0 I", 50),
        ("16 2/µV 12 0 0 0 0 I", 50),
        ("16 1e3/V 12 0 0 0 0 I", 1e5),
        ("16 -.5e3(+100)/mV", 0),
    ],
)
def test_gain_baseline_and_units(tmp_path: Path, line: str, microvolts: float) -> None:
    record = open_record(written(tmp_path, f"r 1 250 101\nr.dat {line}\n", r=ramp(101)))
    assert record.read(100).tolist() == [microvolts]


@pytest.mark.parametrize(
    ("text", "start_ns"),
    [
        ("0", 0),
        ("0 12:30:15", 0),  # a time of no known day
        ("0 0:0:0 01/01/1970", 0),
        ("0 12:30:15.25 25/12/2020", 1_608_899_415_250_000_000),
        ("0 30:15 25/12/2020", 1_608_856_215_000_000_000),
        ("0 1.000000001 2/1/1970", 86_401_000_000_001),
        ("0 0:0:0 31/12/1969", -86_400_000_000_000),
    ],
)
def test_start(tmp_path: Path, text: str, start_ns: int) -> None:
    assert open_record(written(tmp_path, f"r 1 250 {text}\nr.dat 16\n", r=ramp(9))).start_ns == (
        start_ns
    )


@pytest.mark.parametrize("rate", ["360", "360/1", "360/1.5(-20)", "360.0", "3.6e2"])
def test_rate_and_counter_frequency(tmp_path: Path, rate: str) -> None:
    record = open_record(written(tmp_path, f"r 1 {rate} 9\nr.dat 16\n", r=ramp(9)))
    assert (record.rate_hz, record.length) == (360, 9)


def test_what_a_header_leaves_out(tmp_path: Path) -> None:
    record = open_record(written(tmp_path, "r 2\n\nr.dat 16\nr.dat 16\n", r=ramp(9)))
    assert (record.rate_hz, record.length, record.leads) == (250, 4, ("signal 0", "signal 1"))
    assert record.read(lead="signal 1").tolist() == [5, 15, 25, 35]


def test_time_does_not_drift(tmp_path: Path) -> None:
    header = "r 1 360 9 0:0:0 01/01/2020\nr.dat 16\n"
    record = open_record(written(tmp_path, header, r=ramp(9)))
    year_s = 365 * 86_400
    assert record.time_ns(360 * year_s + 1) == record.start_ns + year_s * 10**9 + 2_777_778
    assert record.time_ns(0) == record.start_ns


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "ends before its record line 0"),
        ("r\n", "'r' for its record line 0"),
        ("r one 250 9\n", "is it a WFDB header"),
        ("r 1 0 9\nr.dat 16\n", "rate of 0 Hz"),
        ("r 1 1e999 9\nr.dat 16\n", "rate of inf Hz"),
        ("r 2 250 9\nr.dat 16\n", "ends before its signal line 2"),
        ("r 1 250 9\nr.dat sixteen\n", "for its signal line 1"),
        ("r 1 250 9\nr.dat 16 200mV 12 0 0 0 0 II\n", "for its signal line 1"),
        ("r 1 250 9\n../r.dat 16\n", "for its signal line 1"),
        ("r 1 250 9\nr.dat 16 1e-40\n", "gain of 1e-40"),
        ("r 1 250 9\nr.dat 999\n", "format 999"),
        ("r 1 250 9\n~ 0\n", "format 0"),
        ("r 1 250 9 0:0:0 31/02/2020\nr.dat 16\n", "date that is none"),
        ("r 1 250 9\nmissing.dat 16\n", r"looked for .*missing\.dat"),
        ("r 1 250 10\nr.dat 16\n", "has 18 bytes of the 20"),
        ("r 1 250 9\nr.dat 16+1\n", "has 18 bytes of the 19"),
        ("r 2 250 4\nr.dat 16\nr.dat 212\n", "different formats"),
        ("r 0 250\n", "does not say how many samples"),
        ("r/1 1 250 9\n", "ends before its segment line 1"),
        ("r/1 1 250 9\nr 9\n", "has segments itself"),
        ("r/1 1 250 9\nmissing 9\n", r"looked for its header at .*missing\.hea"),
        ("\0\1\2\3\xff", "is it a WFDB header"),
    ],
)
def test_headers_that_promise_too_much(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "r.dat").write_bytes(ramp(9))
    (tmp_path / "r.hea").write_text(header, encoding="utf-8")
    with pytest.raises(RecordError, match=message):
        open_record(tmp_path / "r")


@given(st.text("r.dat 0123456789/x:+-()\n#~\0µ", max_size=80), st.booleans())
def test_any_text_is_a_header_or_an_error(folder: Path, text: str, begun: bool) -> None:
    (folder / "r.hea").write_text("r 1 250 9\nr.dat 16" * begun + text, encoding="utf-8")
    try:
        record = open_record(folder / "r")
        record.read()
    except RecordError:
        return
    assert 0 <= record.length <= 18


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("any")
    (path / "r.dat").write_bytes(ramp(9))
    return path


def test_no_header(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"looked for its header at .*100\.hea"):
        open_record(tmp_path / "100")
    (tmp_path / "100.hea").mkdir()
    with pytest.raises(RecordError, match="cannot be read"):
        open_record(tmp_path / "100")


def test_leads_by_name_and_number(tmp_path: Path) -> None:
    lines = "".join(f"r.dat 16 200 12 0 0 0 0 {lead}\n" for lead in ("ECG", "ECG", "V 1", "0"))
    record = open_record(written(tmp_path, f"r 4 250 2\n{lines}", r=ramp(8)))
    assert record.leads == ("ECG", "ECG", "V 1", "0")
    assert [record.lead_number(lead) for lead in (None, 1, "1", "V 1", "0")] == [0, 1, 1, 2, 3]
    with pytest.raises(RecordError, match=r"several leads named 'ECG'.*0 ECG, 1 ECG, 2 V 1"):
        record.read(lead="ECG")
    for unknown in ("II", 4, -1, "4"):
        with pytest.raises(RecordError, match=f"no lead {unknown!r}.*0 ECG, 1 ECG, 2 V 1, 3 0"):
            record.read(lead=unknown)


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (0, 10), (5, 4), (10, None)])
def test_stretches_that_there_are_not(tmp_path: Path, start: int, stop: int | None) -> None:
    record = open_record(written(tmp_path, "r 1 250 9\nr.dat 16\n", r=ramp(9)))
    with pytest.raises(RecordError, match="has samples 0 to 9, not"):
        record.read(start, stop)
    assert len(record.read(9)) == 0


def test_what_is_no_potential_is_not_read_as_one(tmp_path: Path) -> None:
    header = "r 1 250 9\nr.dat 16 200/mmHg 12 0 0 0 0 ABP\n"
    record = open_record(written(tmp_path, header, r=ramp(9)))
    with pytest.raises(RecordError, match="0 ABP of record r is in 'mmHg'"):
        record.read()


def test_signals_that_shrink_or_go_after_the_record_was_opened(tmp_path: Path) -> None:
    record = open_record(written(tmp_path, "r 1 250 9\nr.dat 16+2\n", r=ramp(10)))
    (tmp_path / "r.dat").write_bytes(ramp(6))
    assert record.read(stop=5).tolist() == [5, 10, 15, 20, 25]
    with pytest.raises(RecordError, match=r"r\.dat was cut .* ends at byte 12, sample 8 at 20"):
        record.read()
    (tmp_path / "r.dat").unlink()
    with pytest.raises(RecordError, match=r"r\.dat cannot be read: No such file"):
        record.read()


# ---- Signals, compared with the wfdb package ----


class Layout(NamedTuple):
    code: int
    leads: int
    samples: int


LAYOUTS = list(itertools.starmap(Layout, itertools.product(sorted(FORMATS), (1, 2, 3), (1, 500))))
LAYOUTS += [Layout(code, leads, 501) for code in FORMATS for leads in (1, 3)]


GAINS, BASELINES = (204.8, 333.0, 1e5), (0, 17, -300)


def packed(code: int, digital: np.ndarray) -> bytes:
    """Signals in the formats that the wfdb package reads but does not write: signal(5)."""
    flat = digital.reshape(-1)
    if code == 61:
        return flat.astype(">i2").tobytes()
    if code == 160:
        return (flat + 0x8000).astype("<u2").tobytes()
    a, b, c = (np.pad(flat, (0, -len(flat) % 3)) & 0x3FF).reshape(-1, 3).T
    if code == 310:
        words = np.stack((a << 1 | (c & 0x1F) << 11, b << 1 | c >> 5 << 11), axis=1)
        data = words.astype("<u2").tobytes()
    else:
        data = (a | b << 10 | c << 20).astype("<u4").tobytes()
    return data[: FORMATS[code].bytes_for(len(flat))]


@pytest.fixture(scope="module")
def in_every_layout(tmp_path_factory: pytest.TempPathFactory) -> dict[Layout, Record]:
    """Records of all values that the format has, the invalid one included."""
    wfdb = pytest.importorskip("wfdb")
    folder = tmp_path_factory.mktemp("records")
    random = np.random.default_rng(7)
    found = {}
    for layout in LAYOUTS:
        code, leads, samples = layout
        low = FORMATS[code].invalid
        digital = random.integers(low, -low, (samples, leads))
        digital[random.random((samples, leads)) < 0.05] = low
        name = f"f{code}_{leads}_{samples}"
        if code in (61, 160, 310, 311):
            lines = "".join(
                f"{name}.dat {code} {GAINS[lead]}({BASELINES[lead]})/mV 0 0 0 0 0 lead {lead}\n"
                for lead in range(leads)
            )
            header = f"{name} {leads} 250 {samples}\n{lines}"
            written(folder, header, **{name: packed(code, digital)})
        else:
            wfdb.wrsamp(
                name,
                fs=250,
                units=["mV"] * leads,
                sig_name=[f"lead {lead}" for lead in range(leads)],
                d_signal=digital,
                fmt=[str(code)] * leads,
                adc_gain=list(GAINS[:leads]),
                baseline=list(BASELINES[:leads]),
                write_dir=str(folder),
            )
        found[layout] = open_record(folder / name)
    return found


def test_every_layout(in_every_layout: dict[Layout, Record], wfdb: ModuleType) -> None:
    for layout, record in in_every_layout.items():
        assert record.length == layout.samples
        for lead in range(layout.leads):
            assert_as_wfdb_reads(record, wfdb, lead)


@given(st.data())
def test_any_stretch_of_every_layout(
    in_every_layout: dict[Layout, Record], data: st.DataObject
) -> None:
    layout = data.draw(st.sampled_from(LAYOUTS))
    record = in_every_layout[layout]
    lead = data.draw(st.integers(0, layout.leads - 1))
    start = data.draw(st.integers(0, layout.samples))
    stop = data.draw(st.integers(start, layout.samples))
    part = record.read(start, stop, f"lead {lead}")
    np.testing.assert_array_equal(part, record.read(lead=lead)[start:stop])
    assert part.dtype == np.float32


@pytest.mark.parametrize("code", sorted(FORMATS))
def test_blocks_leave_no_seam(
    code: int, in_every_layout: dict[Layout, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = in_every_layout[Layout(code, 3, 501)]
    whole = record.read(lead=1)
    monkeypatch.setattr(records, "BLOCK_SAMPLES", 23)
    np.testing.assert_array_equal(record.read(lead=1), whole)


def test_length_from_the_size_of_the_files(
    in_every_layout: dict[Layout, Record], tmp_path: Path
) -> None:
    for layout, record in in_every_layout.items():
        text = record.path.read_text().replace(f" 250 {layout.samples}", " 250 0", 1)
        data = (record.path.with_suffix(".dat")).read_bytes()
        again = open_record(written(tmp_path, text, **{record.name: data}))
        # Two samples left over of format 310 take the bytes of three.
        one_more = layout.code == 310 and layout.leads == 1 and layout.samples % 3 == 2
        assert again.length == layout.samples + one_more


def test_several_files_frames_skews_and_offsets(tmp_path: Path, wfdb: ModuleType) -> None:
    random = np.random.default_rng(5)
    a = random.integers(-9, 9, (40, 4)).astype("<i2")
    a[random.random(a.shape) < 0.2] = -32768
    b = random.integers(0, 256, 60 + 13, dtype=np.uint8)
    header = (
        "r 4 250 40\na.dat 16x3 20 16 0 0 0 0 I\na.dat 16:4 20 16 0 0 0 0 II\n"
        "b.dat 212+13 20 12 7 0 0 0 V\nc.dat 80:40 1 8 0 0 0 0 late\n"
    )
    path = written(tmp_path, header, a=a.tobytes(), b=b.tobytes(), c=bytes(40))
    record = open_record(path)
    for lead in range(3):
        assert_as_wfdb_reads(record, wfdb, lead)
    frame_has_nan = (a[:, :3] == -32768).any(axis=1)
    assert np.isnan(record.read(lead="I")).tolist() == frame_has_nan.tolist()
    assert np.isnan(record.read(30, 40, "II"))[-4:].all()
    np.testing.assert_array_equal(record.read(3, 39, "II"), record.read(lead="II")[3:39])
    assert np.isnan(record.read(lead="late")).all()


def test_real_records(data_dir: Path, wfdb: ModuleType) -> None:
    found = 0
    for folder, names in {
        "vfdb": ("418", "602"),
        "cudb": ("cu01", "cu26", "cu30"),
        "mitdb": ("100", "207"),
        "nsrdb": ("16265",),
    }.items():
        for path in (data_dir / folder / f"{name}.hea" for name in names):
            if path.exists():
                record = open_record(path)
                for lead in range(len(record.leads)):
                    assert_as_wfdb_reads(record, wfdb, lead)
                    found += 1
    assert found


# ---- Segments ----


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    written(tmp_path, "a 2 250 10\na.dat 16 200 16 0 0 0 0 I\na.dat 16 200 16 0 0 0 0 II\n",
            a=ramp(20))  # fmt: skip
    written(tmp_path, "b 2 250 5\nb.dat 16 1/uV 16 0 0 0 0 II\nb.dat 16 1/uV 16 0 0 0 0 I\n",
            b=ramp(10))  # fmt: skip
    return tmp_path


def test_segments_of_one_layout(parts: Path, wfdb: ModuleType) -> None:
    record = open_record(written(parts, "r/2 2 250 20\na 10\na 10\n"))
    assert (record.leads, record.length) == (("I", "II"), 20)
    for lead in (0, 1):
        theirs = wfdb.rdrecord(str(parts / "r"), channels=[lead]).p_signal[:, 0] * 1e3
        np.testing.assert_array_equal(record.read(lead=lead), theirs.astype(np.float32))
        np.testing.assert_array_equal(record.read(7, 12, lead), theirs[7:12].astype(np.float32))


def test_segments_with_leads_of_their_own(parts: Path) -> None:
    written(parts, "layout 3 250 0\n~ 0 200/mV 16 0 0 0 0 I\n~ 0\n~ 0 200/mV 16 0 0 0 0 III\n")
    record = open_record(written(parts, "r/4 3 250\nlayout 0\na 10\n~ 3\nb 5\n"))
    assert (record.leads, record.length) == (("I", "signal 1", "III"), 18)
    uv = record.read(lead="I")
    assert uv[:10].tolist() == list(range(0, 100, 10))  # 5 uV a step, every second sample
    assert np.isnan(uv[10:13]).all()
    assert uv[13:].tolist() == [1, 3, 5, 7, 9]  # the second lead there, and in uV
    assert np.isnan(record.read(lead="III")).all()
    np.testing.assert_array_equal(record.read(8, 15), uv[8:15])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("r/2 2 250 21\na 10\na 10\n", "promises 21 samples, its segments 20"),
        ("r/2 2 250 20\na 10\na 9\n", "promises 9 samples at 250 Hz in .* has 10 at 250 Hz"),
        ("r/2 2 360 20\na 10\na 10\n", "has 10 at 250 Hz"),
    ],
)
def test_segments_that_do_not_fit(parts: Path, header: str, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        open_record(written(parts, header))


# ---- What the wfdb package reads for us ----


def test_differences_add_up_from_the_beginning(tmp_path: Path, wfdb: ModuleType) -> None:
    steps = np.random.default_rng(2).integers(-128, 128, 99, dtype=np.int8)
    header = "r 1 250 99\nr.dat 8 200 16 0 70\n"
    record = open_record(written(tmp_path, header, r=steps.tobytes()))
    microvolts = ((70 + np.cumsum(steps, dtype=np.int64)) * 5.0).astype(np.float32)
    np.testing.assert_array_equal(record.read(), microvolts)
    np.testing.assert_array_equal(record.read(40, 60), microvolts[40:60])
    assert len(record.read(40, 40)) == 0


def test_compressed_signals(tmp_path: Path, wfdb: ModuleType) -> None:
    soundfile = pytest.importorskip("soundfile")
    digital = np.random.default_rng(2).integers(-99, 99, (100, 2)).astype(np.int16)
    digital[5, 1] = -32768
    soundfile.write(tmp_path / "r.dat", digital, 250, format="FLAC", subtype="PCM_16")
    header = "r 2 250 100\n" + 2 * "r.dat 516 200 16 0 0 0 0 II\n"
    record = open_record(written(tmp_path, header))
    expected = (digital[:, 1] * 5.0).astype(np.float32)
    expected[5] = np.nan
    np.testing.assert_array_equal(record.read(lead=1), expected)
    np.testing.assert_array_equal(record.read(3, 9, 1), expected[3:9])
    whole = (tmp_path / "r.dat").read_bytes()
    (tmp_path / "r.dat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match="not by the wfdb package either"):
        record.read()


def test_without_the_wfdb_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wfdb", None)
    path = written(tmp_path, "r 1 250 9\nr.dat 8\n", r=bytes(9))
    with pytest.raises(MissingExtraError, match=r"fewbeats\[wfdb\]"):
        open_record(path)


def test_segments_whose_leads_are_swapped_are_not_joined(tmp_path: Path) -> None:
    for name, leads in (("a", ("I", "II")), ("b", ("II", "I"))):
        np.arange(20, dtype="<i2").tofile(tmp_path / f"{name}.dat")
        lines = [f"{name}.dat 16 200(0)/mV 16 0 0 0 0 {lead}" for lead in leads]
        (tmp_path / f"{name}.hea").write_text("\n".join([f"{name} 2 250 10", *lines]) + "\n")
    (tmp_path / "both.hea").write_text("both/2 2 250 20\na 10\nb 10\n")
    with pytest.raises(RecordError, match="cannot be joined"):
        open_record(tmp_path / "both")
    (tmp_path / "both.hea").write_text("both/2 2 250 20\na 10\na 10\n")
    assert len(open_record(tmp_path / "both").read(lead="II")) == 20


@pytest.mark.parametrize("rate", ["1e-307", "0.0001", "1e9"])
def test_rates_that_no_sensor_has(tmp_path: Path, rate: str) -> None:
    (tmp_path / "r.hea").write_text(f"r 1 {rate} 10\nr.dat 16 200 16 0 0 0 0 I\n")
    np.zeros(10, dtype="<i2").tofile(tmp_path / "r.dat")
    with pytest.raises(RecordError, match="sampling rate"):
        open_record(tmp_path / "r")

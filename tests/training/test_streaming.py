"""Whole records through the device's own monitor: planted recordings with known figures."""

import json
import os
import shutil
import struct
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.backbone import OnnxBackbone
from fewbeats.device.bundle import Bundle, Form
from fewbeats.device.calibrate import SupportSet
from fewbeats.device.detector import DetectorConfig
from fewbeats.device.head import Head
from fewbeats.device.preprocess import WindowSpec, windows_of
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import CalibrationError, DataError, MissingExtraError
from fewbeats.firmware_bridge.records import open_record
from fewbeats.training import streaming
from fewbeats.training.by_rhythm import StripRhythm
from fewbeats.training.evaluate import Support
from fewbeats.training.streaming import stream_dataset, stream_subject
from fewbeats.training.watched import summary

RATE_HZ = 250
SLOW_HZ, FAST_HZ = 1.0, 5.0
SLOW, FAST = 0.05, 0.23
"""Mean step from sample to sample of a standardised sine of either frequency."""

PLANTED = (
    ("N", 30, SLOW_HZ),
    ("VF", 20, FAST_HZ),  # found
    ("N", 30, SLOW_HZ),
    ("AFIB", 20, FAST_HZ),  # a false alarm
    ("N", 30, SLOW_HZ),
    ("VT", 2, FAST_HZ),  # too short to be confirmed
    ("N", 30, SLOW_HZ),
    ("VF", 20, SLOW_HZ),  # missed
    ("N", 20, SLOW_HZ),
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """One feature, the mean step from sample to sample: whatever swings fast is VA."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["windows", "step"], ["steps"]),
            helper.make_node("Abs", ["steps"], ["sizes"]),
            helper.make_node("ReduceMean", ["sizes", "axes"], ["embeddings"], keepdims=0),
        ],
        "steps",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["n", 1, 250])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", 1])],
        [
            numpy_helper.from_array(np.array([[[-1, 1]]], dtype=np.float32), "step"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content = bytes(model.SerializeToString())
    backbone = OnnxBackbone(content)
    golden = np.random.default_rng(1).normal(size=(2, 1, 250)).astype(np.float32)
    return Bundle(
        name="steps",
        version="1",
        forms=(
            Form(
                runtime="onnx",
                model=content,
                prototypes=np.full((3, 1), FAST, dtype=np.float32),
                golden_embeddings=backbone.embed(golden),
            ),
        ),
        start=Head(np.array([100.0]), -14.0, 0.5, backbone.sha256),
        golden_windows=golden,
        window=WindowSpec(),
        adapt=AdaptConfig(),
        detector=DetectorConfig(),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``aa/planted``, and ``bb/calm`` and ``bb/flat`` beside it."""
    found = tmp_path_factory.mktemp("records")
    plant(found / "aa" / "planted", PLANTED)
    plant(found / "bb" / "calm", (("N", 120, SLOW_HZ),))
    plant(found / "bb" / "flat", (("N", 40, SLOW_HZ), ("ASYS", 40, 0.0), ("N", 40, SLOW_HZ)))
    return found


def plant(path, parts, rate_hz=RATE_HZ):
    """Write a record whose rhythms are sines of 1 mV, with its annotations; return its header.

    Layouts: PhysioNet WFDB, header(5), signal(5) for format 16, annot(5): RHYTHM is code 28,
    SKIP 59 with the high word of the interval first, AUX 63.
    """
    lengths = [round(seconds * rate_hz) for _, seconds, _ in parts]
    time_s = np.arange(sum(lengths)) / rate_hz
    hz = np.repeat([hz for _, _, hz in parts], lengths)
    signal = np.rint(1000 * np.sin(2 * np.pi * hz * time_s)).astype("<i2")
    annotations = b""
    for (name, _, _), since in zip(parts, [0, *lengths[:-1]], strict=True):
        note = f"({name}".encode()
        annotations += struct.pack("<HHH", 59 << 10, since >> 16, since & 0xFFFF)
        annotations += struct.pack("<HH", 28 << 10, 63 << 10 | len(note))
        annotations += note + bytes(len(note) % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".dat").write_bytes(signal.tobytes())
    path.with_suffix(".atr").write_bytes(annotations + bytes(2))
    header = path.with_suffix(".hea")
    header.write_text(
        f"{path.name} 1 {rate_hz} {len(signal)}\n{path.name}.dat 16 1000(0)/mV 16 0 0 0 0 II\n"
    )
    return header


def evaluated(records, bundle, support=Support.NONE, shots=3, **options):
    return stream_dataset(records, lambda _: bundle, support, shots, **options).as_dict()


def row(result, rhythm: StripRhythm):
    (found,) = (r for r in result["by_rhythm"] if r["rhythm"] == rhythm.value)
    return found


def test_planted_episodes(folder, bundle) -> None:
    result = evaluated(folder, bundle)
    assert (result["support"], result["shots"]) == ("none", 3)
    assert (result["window_s"], result["hop_s"], result["strip_s"]) == (2.0, 1.0, 9.0)
    planted = result["records"]["aa/planted"]
    assert planted["subject"] == "aa/planted" and planted["calibration"] == "none"
    assert result["refused"] == result["needed_confirmation"] == 0
    assert [(t["rhythm"], t["onset_s"], t["end_s"]) for t in planted["truth"]] == [
        ("VF", 30.0, 50.0),
        ("VT", 130.0, 132.0),
        ("VF", 162.0, 182.0),
    ]
    assert (planted["episodes"], planted["found"]) == (3, 1)
    assert (planted["episodes_5s"], planted["found_5s"]) == (2, 1)
    assert (planted["false_alarms"], planted["overlong"], planted["unscored"]) == (1, 0, 0)
    assert planted["episode_sensitivity"] == 1 / 3
    assert planted["episode_positive_predictivity"] == 1 / 2
    assert planted["hours"] == pytest.approx(202 / 3600)
    assert planted["hours_outside_va"] == pytest.approx(160 / 3600)
    assert planted["false_alarms_per_hour"] == pytest.approx(3600 / 160)
    assert planted["duration_sensitivity"] == pytest.approx(20 / 42, abs=0.03)
    assert planted["duration_positive_predictivity"] == pytest.approx(1 / 2, abs=0.05)
    (delay,) = planted["delay_s"]["values"]
    assert planted["delay_s"]["median"] == planted["delay_s"]["p90"] == delay
    # Window and hops until four of five are over, the first of them not quite half full.
    assert 3.5 <= delay <= 5.5
    (alarm,) = planted["false_alarms_at_s"]
    assert 83.5 <= alarm <= 85.5


def test_databases_add_up_to_the_total(folder, bundle) -> None:
    result = evaluated(folder, bundle)
    total, databases = result["total"], result["databases"]
    assert {name: d["records"] for name, d in databases.items()} == {"aa": 1, "bb": 2}
    for key in ("records", "episodes", "found", "false_alarms", "hours", "judged_hours"):
        assert total[key] == pytest.approx(sum(d[key] for d in databases.values()))
    calm = databases["bb"]
    assert calm["episodes"] == 0 and calm["false_alarms_per_hour"] == 0
    for key in ("episode_sensitivity", "episode_positive_predictivity", "duration_sensitivity"):
        assert calm[key] is None
    assert calm["delay_s"] == {"median": None, "p90": None, "values": []}
    json.dumps(result, allow_nan=False)


def test_strips_of_the_planted_record(folder, bundle) -> None:
    result = evaluated(folder, bundle)
    coarse, asystole = row(result, StripRhythm.COARSE_VF), row(result, StripRhythm.ASYSTOLE)
    assert (coarse["strips"], coarse["right"], coarse["subjects"]) == (4, 2, 1)
    other = row(result, StripRhythm.OTHER)
    assert (other["strips"], other["right"]) == (2, 0)
    sinus = row(result, StripRhythm.NORMAL_SINUS)
    assert (sinus["strips"], sinus["right"], sinus["subjects"]) == (4 * 3 + 2 + 13 + 2 * 4,) * 2 + (
        3,
    )
    # No window of a flat line is judged, so there is no shock.
    assert (asystole["strips"], asystole["right"]) == (4, 4)


def test_time_that_the_device_calls_unreadable(folder, bundle) -> None:
    records = evaluated(folder, bundle)["records"]
    assert records["bb/calm"]["unreadable_hours"] == 0
    flat = records["bb/flat"]
    # From 4 s after the last judged window until four windows in a row were judged.
    assert flat["unreadable_hours"] * 3600 == pytest.approx(40 - 4 + 3, abs=1.5)
    assert flat["judged_hours"] * 3600 == pytest.approx(80, abs=3)


def test_normals_come_first_and_are_not_scored(folder, bundle) -> None:
    planted = evaluated(folder, bundle, Support.NORMALS, shots=3)["records"]["aa/planted"]
    assert planted["calibration"] == "fitted"
    assert 8.0 <= planted["from_s"] <= 8.2  # three windows of 2 s, and 2 s
    assert planted["hours"] == pytest.approx((202 - planted["from_s"]) / 3600)
    assert planted["hours_outside_va"] == pytest.approx((160 - planted["from_s"]) / 3600, abs=1e-6)
    assert (planted["episodes"], planted["found"], planted["false_alarms"]) == (3, 1, 1)


def test_first_of_each_class_leave_later_episodes_to_score(folder, bundle) -> None:
    result = evaluated(folder, bundle, Support.FIRST, shots=3)
    planted = result["records"]["aa/planted"]
    assert 38.0 <= planted["from_s"] <= 39.2  # 30 s, three windows of VF, and 2 s
    assert [t["onset_s"] for t in planted["truth"]] == [130.0, 162.0]
    assert planted["unscored"] == 1  # the alarm about what was under way
    assert set(result["records"]) == {"aa/planted"}
    assert set(result["excluded"]) == {"bb/calm", "bb/flat"}
    assert "lacks 0 normal and 3 VA windows" in result["excluded"]["bb/calm"]


def test_nobody_to_calibrate_is_no_figure_and_no_error(folder, bundle) -> None:
    result = evaluated(folder, bundle, Support.FIRST, shots=50)
    assert result["records"] == result["databases"] == {} and len(result["excluded"]) == 3
    assert result["total"]["records"] == 0
    assert result["total"]["false_alarms_per_hour"] is None


def test_two_records_of_one_person_are_calibrated_on_the_first(folder, bundle) -> None:
    headers = [folder / "bb/calm.hea", folder / "aa/planted.hea"]
    first, second = stream_subject("bb/calm", headers, bundle, Support.NORMALS, 3)
    assert (first.record, second.record) == ("bb/calm", "aa/planted")
    assert first.subject == second.subject == "bb/calm"
    assert first.from_s > 8 and second.from_s == 0
    assert second.calibration == "fitted" and len(second.score.episodes) == 3


def test_a_record_that_ends_with_its_calibration_leaves_nothing(tmp_path, bundle) -> None:
    header = plant(tmp_path / "aa" / "short", (("N", 9, SLOW_HZ),))
    with pytest.raises(DataError, match="nothing is left to watch"):
        stream_subject("aa/short", [header], bundle, Support.NORMALS, 4)


def test_a_calibration_that_the_device_refuses_leaves_the_old_head(folder, bundle) -> None:
    slow = replace(bundle.form, prototypes=np.full((3, 1), SLOW, dtype=np.float32))
    alike = replace(bundle, forms=(slow,))
    with_alike, with_bundle = (evaluated(folder, b, Support.NORMALS) for b in (alike, bundle))
    assert (with_alike["refused"], with_bundle["refused"]) == (3, 0)
    assert with_alike["needed_confirmation"] == with_bundle["needed_confirmation"] == 0
    refused, fitted = with_alike["records"]["aa/planted"], with_bundle["records"]["aa/planted"]
    assert refused["calibration"].startswith("refused: The fitted head would find only")
    assert refused["from_s"] == fitted["from_s"] and refused["found"] == 1


def test_normals_that_look_like_va_are_counted(folder, bundle, tmp_path) -> None:
    quick = plant(tmp_path / "cc" / "quick", (("AFIB", 30, FAST_HZ), ("N", 30, SLOW_HZ)))
    headers = {"cc/quick": (quick, quick), "bb/calm": (folder / "bb/calm.hea",)}
    result = evaluated(headers, bundle, Support.NORMALS)
    assert result["needed_confirmation"] == 1  # a person, not a record
    assert result["records"]["cc/quick"]["needed_confirmation"]
    assert not result["records"]["bb/calm"]["needed_confirmation"]
    device = SupportSet(bundle, 3)
    device.offer(windows_of(open_record(quick).read(), RATE_HZ, bundle.window)[:6], False)
    with pytest.raises(CalibrationError, match="look like ventricular"):
        device.fit()
    # With VA of the patient's own the device does not ask.
    both = plant(tmp_path / "cc" / "both", (("AFIB", 9, FAST_HZ), *PLANTED))
    first = evaluated({"cc/both": (both,)}, bundle, Support.FIRST)
    assert first["needed_confirmation"] == 0 and len(first["records"]) == 1


def test_the_bundle_that_never_saw_the_subject(folder, bundle) -> None:
    deaf = replace(bundle, start=replace(bundle.start, bias=-1000.0))
    bundles = {"aa/planted": deaf, "bb/calm": bundle}
    result = stream_dataset(folder, bundles.get).as_dict()
    assert result["records"]["aa/planted"]["found"] == 0
    assert result["excluded"] == {
        "bb/flat": "no bundle at hand that was not trained on this subject"
    }


def test_what_cannot_be_streamed_is_an_error(folder, bundle) -> None:
    with pytest.raises(DataError, match="no place in time"):
        evaluated(folder, bundle, Support.RANDOM)
    with pytest.raises(DataError, match="no bundle"):
        stream_dataset(folder, lambda _: None)
    wide = replace(bundle, detector=DetectorConfig(confirm=8, among=10))
    with pytest.raises(DataError, match="one window, hop and strip length"):
        stream_dataset(folder, lambda name: wide if name == "bb/calm" else bundle)


def test_what_is_damaged_is_left_out_with_the_reason(folder, bundle, tmp_path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "bb/calm.dat").write_bytes(b"short")
    (tmp_path / "bb/flat.atr").unlink()
    result = evaluated(tmp_path, bundle)
    assert set(result["records"]) == {"aa/planted"}
    assert "cut" in result["excluded"]["bb/calm"]
    assert "annotations" in result["excluded"]["bb/flat"]


def test_a_rate_that_cannot_be_taken_excludes_its_subject_alone(folder, bundle, tmp_path) -> None:
    slow = plant(tmp_path / "dd" / "slow", (("N", 60, SLOW_HZ),), rate_hz=50)
    result = evaluated({"dd/slow": (slow,), "bb/calm": (folder / "bb/calm.hea",)}, bundle)
    assert set(result["records"]) == {"bb/calm"}
    assert "50 Hz" in result["excluded"]["dd/slow"]


def test_a_package_that_is_not_installed_is_no_fault_of_the_subject(
    folder, bundle, monkeypatch
) -> None:
    def lacks_wfdb(*_):
        raise MissingExtraError("wfdb", "The signal format")

    monkeypatch.setattr(streaming, "open_record", lacks_wfdb)
    with pytest.raises(MissingExtraError, match="wfdb"):
        evaluated(folder, bundle)


class Deadly:
    """Ends the process that it is sent to."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_process_that_dies_is_an_error_with_a_sentence(bundle) -> None:
    with pytest.raises(DataError, match="A worker process died"):
        evaluated({"aa/deadly": (Deadly(),)}, bundle, workers=2)


def test_an_interrupt_begins_nothing_more_and_waits_for_nobody(folder, bundle, monkeypatch) -> None:
    calls = []

    class Pool(ProcessPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            calls.append((wait, cancel_futures))
            super().shutdown(wait, cancel_futures=cancel_futures)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(streaming, "ProcessPoolExecutor", Pool)
    with pytest.raises(KeyboardInterrupt):
        evaluated(folder, bundle, workers=2, progress=interrupt)
    assert calls == [(False, True)]


def test_order_and_processes_change_nothing(folder, bundle) -> None:
    headers = {f"{p.parent.name}/{p.stem}": (p,) for p in sorted(folder.glob("*/*.hea"))}
    backward = dict(reversed(headers.items()))
    seen = []
    result = evaluated(folder, bundle, Support.NORMALS, progress=lambda *now: seen.append(now))
    assert evaluated(backward, bundle, Support.NORMALS) == result
    assert evaluated(backward, bundle, Support.NORMALS, workers=2) == result
    assert seen == [
        (0, 3, "aa/planted"), (1, 3, "bb/calm"), (2, 3, "bb/flat"), (3, 3, "")
    ]  # fmt: skip


def test_small_chunks_give_the_same(folder, bundle, monkeypatch) -> None:
    whole = evaluated(folder, bundle, Support.NORMALS)
    monkeypatch.setattr(streaming, "CHUNK_S", 1.0)
    assert evaluated(folder, bundle, Support.NORMALS) == whole


def test_a_real_record(data_dir) -> None:
    (cu01,) = stream_subject(
        "cudb/cu01", [data_dir / "cudb/cu01.hea"], load_bundle(), Support.NONE, 10
    )
    figures = summary([cu01])
    assert (figures["episodes"], figures["found"], figures["found_5s"]) == (1, 1, 1)
    assert figures["hours"] == pytest.approx(508.6 / 3600, rel=1e-3)
    assert figures["duration_sensitivity"] > 0.7
    assert figures["judged_hours"] <= figures["hours"]
    assert {strip.rhythm for strip in cu01.strips} >= {StripRhythm.COARSE_VF, StripRhythm.OTHER}

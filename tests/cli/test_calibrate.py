"""Fitting a head from a live source and from records."""

import json
from pathlib import Path

from fewbeats.device.head import PatientHead


def test_from_the_wearers_own_rhythm(fewbeats, sensor, tmp_path: Path) -> None:
    address, _ = sensor("--scenario", "sinus:120,vf:20", "--speed", 20)
    head = tmp_path / "patient.head"
    done = fewbeats("calibrate", "--source", address, "--out", head, "--patient", "P7", "--json")
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert story["va_side"] == "prototypes" and story["shots"] == 10 and story["patient"] == "P7"
    assert PatientHead.load(head).calibration["bundle"].startswith("fewbeats-default")
    watched = fewbeats("run", "--source", address, "--head", head, "--duration", 30, "--json")
    assert json.loads(watched.stdout)["head"] == str(head)


def test_from_labels(fewbeats, data_dir: Path, tmp_path: Path) -> None:
    source = f"file:{data_dir}/cudb/cu01"
    out = tmp_path / "cu01.head"
    done = fewbeats("calibrate", "--source", source, "--labelled", "--speed", 0, "--out", out)
    assert done.returncode == 0 and "head written" in done.stdout
    assert PatientHead.load(out).calibration["va_side"] == "patient"


def test_too_little_signal_writes_nothing(fewbeats, record: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.head"
    options = ["--source", f"file:{record}", "--speed", 0, "--out", out, "--shots", 500]
    done = fewbeats("calibrate", *options)
    assert done.returncode == 7 and "still needs" in done.stderr
    assert not out.exists()


def test_a_sensor_has_no_labels(fewbeats, tmp_path: Path) -> None:
    out = tmp_path / "x.head"
    done = fewbeats("calibrate", "--source", "serial:///dev/x", "--labelled", "--out", out)
    assert done.returncode == 7 and "no record" in done.stderr


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    fewbeats, record: Path, tmp_path: Path
) -> None:
    for out, why in ((tmp_path / "no" / "x.head", "no folder"), ("/dev/null", "ordinary file")):
        done = fewbeats("calibrate", "--source", f"file:{record}", "--speed", 0, "--out", out)
        assert done.returncode == 6 and why in done.stderr
        assert done.stdout == ""


def test_a_sensor_that_falls_silent_does_not_hang_a_calibration(
    fewbeats, sensor, tmp_path: Path
) -> None:
    address, _ = sensor("--scenario", "sinus:3", "--once", "--speed", 1)
    out = tmp_path / "x.head"
    done = fewbeats("calibrate", "--source", address, "--out", out, "--timeout", 10)
    assert done.returncode == 7 and "still needs" in done.stderr


def test_fibrillation_is_no_normal_rhythm(fewbeats, sensor, tmp_path: Path) -> None:
    address, _ = sensor("--scenario", "vf:120", "--speed", 20)
    out = tmp_path / "x.head"
    done = fewbeats("calibrate", "--source", address, "--out", out)
    assert done.returncode == 7 and "look like ventricular arrhythmia" in done.stderr
    assert not out.exists()

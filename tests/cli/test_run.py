"""Watching, and everything that can go wrong with it: one sentence and an exit code each."""

import json
import os
import pty
import shutil
import signal
import time
import tty
from pathlib import Path

import numpy as np
import pytest

from fewbeats.device.head import PatientHead
from fewbeats.device.shipped import SHIPPED, load_bundle


def sentence(done) -> str:  # type: ignore[no-untyped-def]
    """The one line of the error; there may be warnings before it."""
    *before, last = done.stderr.strip().splitlines()
    assert last.startswith("error: "), done.stderr
    assert all(line.startswith("warning: ") for line in before), done.stderr
    return str(last)


def test_an_episode_as_data(fewbeats, record: Path) -> None:
    done = fewbeats("run", "--source", f"file:{record}", "--speed", 0, "--json")
    assert done.returncode == 0 and done.stderr == ""
    content = json.loads(done.stdout)
    assert "\n" not in done.stdout.strip()
    (episode,) = content["episodes"]
    assert 59 <= episode["onset_s"] <= 62 and 83 <= episode["end_s"] <= 88
    assert content["duration_s"] == 120.0 and content["judged_s"] > 115
    assert content["stream"]["samples"] == 30_000 and content["error"] is None
    assert "no medical device" in content["notice"]


def test_events_are_lines_as_they_happen(fewbeats, record: Path) -> None:
    done = fewbeats("run", "--source", f"file:{record}", "--speed", 0, "--events")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["alarm", "episode-ended"]


def test_for_people(fewbeats, record: Path) -> None:
    done = fewbeats("run", "--source", f"file:{record}", "--speed", 0)
    assert "no medical device" in done.stdout
    assert "VENTRICULAR ARRHYTHMIA" in done.stdout and "1 episode of VA" in done.stdout


def test_a_duration(fewbeats, record: Path) -> None:
    done = fewbeats("run", "--source", f"file:{record}", "--speed", 0, "--duration", 45, "--json")
    content = json.loads(done.stdout)
    assert content["episodes"] == [] and content["duration_s"] == 45.0


def test_a_live_sensor_end_to_end(fewbeats, sensor) -> None:
    address, process = sensor("--scenario", "sinus:20,vf:20,sinus:20", "--once", "--speed", 20)
    content = json.loads(fewbeats("run", "--source", address, "--json").stdout)
    (episode,) = content["episodes"]
    assert 19 <= episode["onset_s"] <= 22
    assert content["stream"]["lost_packets"] == 0 and content["duration_s"] == 60.0
    assert process.wait(10) == 0


def test_a_bad_line_is_gaps_and_warnings_while_the_watch_goes_on(fewbeats, sensor) -> None:
    options = ["--corrupt-rate", 0.01, "--drop-rate", 0.01, "--garbage-rate", 0.05]
    scenario = "sinus:60,vf:40,sinus:60"
    address, _ = sensor("--scenario", scenario, "--once", "--speed", 20, *options)
    done = fewbeats("run", "--source", address, "--json")
    content = json.loads(done.stdout)
    assert done.returncode == 0
    assert content["stream"]["lost_packets"] > 0 and content["stream"]["discarded_bytes"] > 0
    assert "warning: " in done.stderr and "packets lost" in done.stderr
    assert content["judged_s"] < content["duration_s"]
    assert all(60 <= e["onset_s"] <= 100 for e in content["episodes"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_sensor_and_gateway_in_order(start, sensor, number: int) -> None:
    address, process = sensor("--scenario", "sinus:600")
    watching = start("run", "--source", address, "--json")
    time.sleep(4)
    watching.send_signal(number)
    output, errors = watching.communicate(timeout=10)
    assert watching.returncode == 0 and errors == ""
    assert 0 < json.loads(output)["duration_s"] < 10
    process.send_signal(number)
    assert process.wait(10) == 0


def test_a_pulled_cable(start, sensor) -> None:
    address, process = sensor("--scenario", "sinus:600", "--speed", 10)
    watching = start("run", "--source", address, "--json")
    time.sleep(4)
    process.kill()
    output, errors = watching.communicate(timeout=15)
    assert watching.returncode == 4
    assert errors.count("error: ") == 1 and "Traceback" not in errors
    content = json.loads(output)  # what was seen before is not lost
    assert content["duration_s"] > 5 and content["error"]


def test_a_tied_sensor_ends_with_whoever_started_it(sensor) -> None:
    _, process = sensor("--scenario", "sinus:600")
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdin = None


def test_no_such_port(fewbeats) -> None:
    done = fewbeats("run", "--source", "serial:///dev/ttyNOWHERE")
    assert done.returncode == 4 and "/dev/ttyNOWHERE" in sentence(done)


def test_a_port_that_is_taken(fewbeats, start, sensor) -> None:
    address, _ = sensor("--scenario", "sinus:600")
    start("run", "--source", address, "--events")
    time.sleep(3)
    done = fewbeats("run", "--source", address)
    assert done.returncode == 4 and address.removeprefix("serial://") in sentence(done)


def test_a_port_that_speaks_something_else(fewbeats) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    port = os.ttyname(slave)
    rng = np.random.default_rng(0)
    try:
        import threading

        stop = threading.Event()

        def babble() -> None:
            while not stop.wait(0.05):
                os.write(master, rng.bytes(100))

        thread = threading.Thread(target=babble)
        thread.start()
        try:
            done = fewbeats("run", "--source", f"serial://{port}")
        finally:
            stop.set()
            thread.join()
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 4 and "bytes" in sentence(done)


def test_a_truncated_record(fewbeats, record: Path, tmp_path: Path) -> None:
    for suffix in (".hea", ".dat"):
        shutil.copy(record.with_suffix(suffix), tmp_path)
    with (tmp_path / "synth1.dat").open("r+b") as file:
        file.truncate(20_001)
    done = fewbeats("run", "--source", f"file:{tmp_path}/synth1", "--speed", 0)
    assert done.returncode == 4 and "20001" in sentence(done).replace(",", "").replace(" ", "")


def test_no_such_record(fewbeats, tmp_path: Path) -> None:
    done = fewbeats("run", "--source", f"file:{tmp_path}/none", "--speed", 0)
    assert done.returncode == 4 and "none" in sentence(done)


def test_an_address_that_is_none(fewbeats) -> None:
    done = fewbeats("run", "--source", "carrier-pigeon:coop7")
    assert done.returncode == 4 and "serial:///" in sentence(done)


def test_a_bundle_with_a_flipped_byte(fewbeats, record: Path, tmp_path: Path) -> None:
    data = bytearray(SHIPPED.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.fewbeats").write_bytes(bytes(data))
    done = fewbeats("run", "--source", f"file:{record}", "--bundle", tmp_path / "bad.fewbeats")
    assert done.returncode == 6 and "damaged" in sentence(done)


def test_a_head_of_another_backbone(fewbeats, record: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    head = replace(load_bundle().start, backbone_sha256="12" * 32)
    PatientHead(head).save(tmp_path / "foreign.head")
    done = fewbeats("run", "--source", f"file:{record}", "--head", tmp_path / "foreign.head")
    assert done.returncode == 6 and "calibrate the patient again" in sentence(done)


def test_a_rate_that_the_bundle_cannot_take(fewbeats, tmp_path: Path) -> None:
    np.zeros(3000, dtype="<i2").tofile(tmp_path / "slow.dat")
    (tmp_path / "slow.hea").write_text("slow 1 50 3000\nslow.dat 16 1000(0)/mV 16 0 0 0 0 I\n")
    done = fewbeats("run", "--source", f"file:{tmp_path}/slow", "--speed", 0)
    assert done.returncode == 5 and "50 Hz" in sentence(done)


def test_samples_that_were_not_measured(fewbeats, record: Path, tmp_path: Path) -> None:
    counts = np.fromfile(record.with_suffix(".dat"), dtype="<i2")
    counts[2500:5000] = -32768  # ten seconds without measurement
    counts.tofile(tmp_path / "synth1.dat")
    shutil.copy(record.with_suffix(".hea"), tmp_path)
    done = fewbeats("run", "--source", f"file:{tmp_path}/synth1", "--speed", 0, "--json")
    content = json.loads(done.stdout)
    assert done.returncode == 0 and len(content["episodes"]) == 1
    (blind,) = content["cannot_judge"]
    assert 9 <= blind["since_s"] <= 11 and blind["reason"] == "broken-signal"
    assert content["judged_s"] <= 110


def test_the_examples_of_the_databases(fewbeats, data_dir: Path) -> None:
    """Fibrillation in cu01 from its bracket on; ten minutes of nsrdb/16265 without a word."""
    done = fewbeats("run", "--source", f"file:{data_dir}/cudb/cu01", "--speed", 0, "--json")
    bracket_s = 214.184
    onsets = [episode["onset_s"] for episode in json.loads(done.stdout)["episodes"]]
    assert any(bracket_s <= onset_s <= bracket_s + 10 for onset_s in onsets)
    options = ["--speed", 0, "--json", "--duration", 600]
    done = fewbeats("run", "--source", f"file:{data_dir}/nsrdb/16265", *options)
    assert json.loads(done.stdout)["episodes"] == []


def test_a_report_that_nobody_can_read_is_an_error(record: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "fewbeats", "run", "--source", f"file:{record}"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--speed", "0", "--json"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1 and "No space left" in sentence(done)


def test_lead_off_during_an_alarm_hides_neither(fewbeats, sensor) -> None:
    address, _ = sensor("--scenario", "sinus:15,vf:20,vf+leadoff:12", "--once", "--speed", 10)
    content = json.loads(fewbeats("run", "--source", address, "--json").stdout)
    (episode,) = content["episodes"]
    assert "signal-lost" in episode["reasons"] or "stream-ended" in episode["reasons"]
    assert [state["reason"] for state in content["cannot_judge"]] == ["lead-off"]

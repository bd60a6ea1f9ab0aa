"""The whole way, and its verdict."""

import json
from pathlib import Path


def test_the_demo_finds_every_planted_va_and_nothing_else(fewbeats) -> None:
    done = fewbeats("demo", "--speed", 60, "--json", timeout_s=100)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["verdict"] == "pass"
    labelled, normals = content["watches"]
    assert [len(watch["planted"]) for watch in (labelled, normals)] == [4, 5]
    for watch in (labelled, normals):
        assert watch["calibrated"] and watch["missed"] == 0 and watch["false_alarms"] == []
        assert all(0 <= planted["delay_s"] < 10 for planted in watch["planted"])
        reasons = [state["reason"] for state in watch["report"]["cannot_judge"]]
        assert "lead-off" in reasons and "flat" in reasons


def test_the_verdict_is_bad_when_an_episode_is_too_short_to_confirm(fewbeats) -> None:
    scenario = "sinus:40,vf:1,sinus:20"
    done = fewbeats("demo", "--speed", 30, "--scenario", scenario, "--shots", 5)
    assert done.returncode == 1
    assert "missed" in done.stdout and "Not every planted VA" in done.stdout


def test_a_stream_too_short_to_calibrate_from_is_no_success(fewbeats) -> None:
    done = fewbeats("demo", "--speed", 30, "--scenario", "sinus:10", "--json")
    content = json.loads(done.stdout)
    assert done.returncode == 1 and content["verdict"] == "fail"
    assert all(not watch["calibrated"] for watch in content["watches"])


def test_a_scenario_that_cannot_be_read(fewbeats) -> None:
    done = fewbeats("demo", "--scenario", "sinus:10,tango:5")
    assert done.returncode == 4
    assert done.stderr.startswith("error: ") and "tango" in done.stderr


def test_a_real_record(fewbeats, data_dir: Path) -> None:
    done = fewbeats("demo", "--record", data_dir / "cudb" / "cu01", "--speed", 60, "--json")
    content = json.loads(done.stdout)
    assert done.returncode == 0 and content["sensor"]["name"] == "cu01"
    normals = content["watches"][1]
    assert [planted["rhythm"] for planted in normals["planted"]] == ["VF"]

"""``fewbeats export``: from a run to a bundle that can be watched with."""

import json
from pathlib import Path

import pytest

from fewbeats.device.bundle import Bundle


@pytest.fixture(scope="module")
def exported(fewbeats_here, made_up_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "new" / "b.fewbeats"
    return out, fewbeats_here("export", made_up_run[0], "--out", out)


def test_from_made_up_people_to_a_bundle(exported) -> None:
    out, done = exported
    assert done.returncode == 0, done.stderr
    assert f"{out.stat().st_size} bytes" in done.stdout and "parity on" in done.stdout


def test_the_model_says_that_it_is_synthetic(exported) -> None:
    card = Bundle.load(exported[0]).card
    assert json.loads(exported[0].with_suffix(".card.json").read_text()) == card
    assert card["data"]["synthetic"] is True and set(card["data"]["databases"]) == {"synthetic"}
    assert "fit for nobody" in card["limits"][0]
    assert "--data" not in card["made_by"]["command"]
    assert len(card["subjects"]["training"]) == 24 and card["subjects"]["held_back"] == []


def test_the_bundle_watches_a_record(exported, fewbeats, record: Path) -> None:
    options = ("--bundle", exported[0], "--speed", 0, "--json")
    done = fewbeats("run", "--source", f"file:{record}", *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["judged_s"] > 100 and content["error"] is None


def test_made_up_people_do_not_go_with_records(fewbeats_here, made_up_run, ward, tmp_path):
    options = ("--data", ward, "--out", tmp_path / "b.fewbeats")
    done = fewbeats_here("export", made_up_run[0], *options)
    assert done.returncode == 9 and "without --data" in done.stderr
    assert not (tmp_path / "b.fewbeats").exists()


def test_export_without_a_training(fewbeats_here, tmp_path: Path) -> None:
    done = fewbeats_here("export", tmp_path / "nothing", "--out", tmp_path / "b.fewbeats")
    assert done.returncode == 8 and "no finished training" in done.stderr
    assert not (tmp_path / "b.fewbeats").exists()


def test_a_report_that_is_none(fewbeats_here, made_up_run, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    options = ("--out", tmp_path / "b.fewbeats", "--report", tmp_path)
    done = fewbeats_here("export", made_up_run[0], *options)
    assert done.returncode == 8 and "cannot be drawn" in done.stderr
    assert not (tmp_path / "b.fewbeats").exists()

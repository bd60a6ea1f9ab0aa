"""Scoring the shipped bundle, and the bad input that train, export and evaluate may meet."""

import json
import shutil
from pathlib import Path

import pytest

from fewbeats.device.shipped import load_bundle


@pytest.fixture(scope="module")
def some_records(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to one subject seen in training and all that were held back with VA, and nsrdb."""
    folder = tmp_path_factory.mktemp("data")
    subjects = load_bundle().card["subjects"]
    chosen = [*subjects["held_back"], subjects["training"][0]]
    for name in chosen:
        database, record = name.split("/")
        if not (data_dir / database / f"{record}.hea").exists():
            pytest.skip(f"{name} is not among the records here")
        (folder / database).mkdir(exist_ok=True)
        for file in (data_dir / database).glob(f"{record}.*"):
            (folder / database / file.name).symlink_to(file)
    return folder


def test_only_subjects_never_seen_are_scored(fewbeats, some_records: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--support", "random", "--shots", 10, "--json", out]
    done = fewbeats("evaluate", "--data", some_records, *options, timeout_s=110)
    assert done.returncode == 0, done.stderr
    content = json.loads(out.read_text())
    seen = set(load_bundle().card["subjects"]["training"])
    assert content["subjects"] and not seen & set(content["subjects"])
    assert all({"auc", "f1"} <= set(figures) for figures in content["subjects"].values())
    assert 0.9 < content["mean"]["auc"] <= 1 and 0 < content["mean"]["f1"] <= 1
    assert seen & set(content["excluded"])
    assert all(content["excluded"].values())


@pytest.mark.parametrize("verb", ["evaluate", "train"])
def test_a_folder_without_records(fewbeats, tmp_path: Path, verb: str) -> None:
    more = ["--out", tmp_path / "run"] if verb == "train" else []
    done = fewbeats(verb, "--data", tmp_path, *more)
    assert done.returncode == 8 and "No records" in done.stderr


def test_records_without_annotations(fewbeats, record: Path, tmp_path: Path) -> None:
    for suffix in (".hea", ".dat"):
        shutil.copy(record.with_suffix(suffix), tmp_path)
    done = fewbeats("evaluate", "--data", tmp_path)
    assert done.returncode == 8 and "None of the 1 subjects" in done.stderr


def test_export_without_a_training(fewbeats, tmp_path: Path) -> None:
    options = ["--data", tmp_path, "--out", tmp_path / "b.fewbeats"]
    done = fewbeats("export", tmp_path / "nothing", *options)
    assert done.returncode == 8 and "no finished training" in done.stderr
    assert not (tmp_path / "b.fewbeats").exists()

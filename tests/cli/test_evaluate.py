"""``fewbeats evaluate``: a bundle or the folds of a recipe, on people they have not seen."""

import json
import shutil
from pathlib import Path

import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.training.report.content import load_report

SEEN = ("cudb/cu05", "cudb/cu06", "cudb/cu10", "cudb/cu11", "cudb/cu12", "cudb/cu02")
CALM = ("cudb/cu14",)
UNSEEN = ("cudb/cu01", "cudb/cu03", "cudb/cu15")


@pytest.fixture(scope="module")
def some_records(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to a few real records."""
    folder = tmp_path_factory.mktemp("data")
    for name in (*SEEN, *CALM, *UNSEEN):
        database, record = name.split("/")
        files = list((data_dir / database).glob(f"{record}.*"))
        if not files:
            pytest.skip(f"{name} is not among the records here")
        (folder / database).mkdir(exist_ok=True)
        for file in files:
            (folder / database / file.name).symlink_to(file)
    return folder


@pytest.fixture(scope="module")
def bundle(fewbeats_here, some_records: Path, tiny: Path, tmp_path_factory) -> Path:
    """A bundle of a training on some of them."""
    folder = tmp_path_factory.mktemp("bundle")
    data = ("--data", some_records)
    apart = ",".join(UNSEEN)
    options = ("--out", folder / "run", "--config", tiny, "--hold-back", apart)
    for command in (
        ("train", *data, *options),
        ("export", folder / "run", *data, "--out", folder / "b.fewbeats"),
    ):
        done = fewbeats_here(*command)
        assert done.returncode == 0, done.stderr
    return folder / "b.fewbeats"


def test_real_people_that_a_bundle_has_seen_are_not_scored(
    fewbeats_here, some_records: Path, bundle: Path
) -> None:
    options = ("--data", some_records, "--bundle", bundle, "--json", "-")
    done = fewbeats_here("evaluate", *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    card = Bundle.load(bundle).card
    assert set(card["subjects"]["training"]) == {*SEEN, *CALM}
    assert len(content["windows"]) == 10 and content["streaming"] == []
    for found in content["windows"]:
        assert set(found["subjects"]) <= set(UNSEEN)
        assert all(found["excluded"][name].startswith("the model was trained") for name in SEEN)
        assert {*found["subjects"], *found["excluded"]} == {*SEEN, *CALM, *UNSEEN}
    first = {(w["protocol"]["support"], w["protocol"]["shots"]): w for w in content["windows"]}
    assert set(first["none", 10]["subjects"]) == set(UNSEEN)
    assert first["first", 10]["mean"]["auc"] > 0.8
    assert content["bundle"]["backbone"] == Bundle.load(bundle).backbone.sha256


def test_the_card_has_the_same_figures(fewbeats_here, some_records: Path, bundle: Path, tmp_path):
    out = tmp_path / "out.json"
    options = ("--bundle", bundle, "--support", "none", "--json", out)
    done = fewbeats_here("evaluate", "--data", some_records, *options)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(out.read_text())["windows"]
    card = Bundle.load(bundle).card["metrics_held_back_int8"]["none"]
    assert card["subjects"] == found["subjects"] and card["mean"] == found["mean"]
    assert "worst AUC" in done.stdout and "cudb/cu03" in done.stdout


@pytest.fixture(scope="module")
def folds(fewbeats_here, ward: Path, tiny: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    done = fewbeats_here("train", "--folds", "--data", ward, "--out", folder, "--config", tiny)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("subjects held back") == 5
    return folder


@pytest.fixture(scope="module")
def report(fewbeats_here, ward: Path, folds: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    done = fewbeats_here(
        "evaluate", "--data", ward, "--folds", folds, "--report", folder, "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    assert "report.md" in done.stderr
    assert json.loads(done.stdout) == json.loads((folder / "report.json").read_text())
    return folder


def test_folds_are_written_side_by_side(folds: Path) -> None:
    assert sorted(path.name for path in folds.iterdir()) == [f"fold-{n}" for n in range(5)]
    for fold in folds.iterdir():
        names = {path.name for path in fold.iterdir()}
        assert {"trained.json", "learning.png"} <= names and "checkpoint.bin" not in names


def test_everybody_is_scored_once_by_a_network_that_had_no_part_of_him(report: Path) -> None:
    content = load_report(report)
    people = {f"ward/p{n}" for n in range(10)}
    assert len(content["windows"]) == 10 and len(content["parity"]) == 5
    for found in content["windows"]:
        assert set(found["subjects"]) == people and found["count"] == 10
        assert set(found["excluded"]) == {f"ward/p{n}" for n in range(10, 15)}
    assert set(content["windows"][0]["non_va_only"]["subjects"]) == {
        f"ward/p{n}" for n in range(10, 15)
    }
    assert content["data"]["subjects"] == {"ward": 15}
    assert content["recipe"]["name"] == "tiny" and content["bundle"] is None


def test_whole_records_are_watched_by_the_same_networks(report: Path) -> None:
    streaming = load_report(report)["streaming"]
    assert [s["support"] for s in streaming] == ["none", "normals", "first"]
    for watched in streaming:
        assert watched["total"]["records"] <= 15
    assert streaming[0]["total"]["records"] == 15 and streaming[0]["total"]["episodes"] == 10


def test_the_report_is_a_page_too(report: Path) -> None:
    assert (report / "report.md").is_file() and list((report / "figures").iterdir())


def test_measured_figures_get_on_the_card_of_a_bundle(
    fewbeats_here, ward: Path, folds: Path, report: Path, tmp_path: Path
) -> None:
    out = tmp_path / "b.fewbeats"
    options = ("--data", ward, "--report", report, "--out", out)
    done = fewbeats_here("export", folds / "fold-0", *options)
    assert done.returncode == 0, done.stderr
    measured = Bundle.load(out).card["metrics_cross_validated"]
    content = load_report(report)
    assert measured["data_sha256"] == content["data"]["sha256"]
    assert measured["command"].startswith("fewbeats evaluate --data DATA --folds")
    assert len(measured["windows"]) == 10
    assert measured["windows"]["first, K = 10"]["mean"] == next(
        w["mean"]
        for w in content["windows"]
        if w["protocol"]["support"] == "first" and w["protocol"]["shots"] == 10
    )
    assert set(measured["whole_records"]) == set(measured["by_rhythm"]) == {
        "none", "normals", "first"
    }  # fmt: skip


def test_a_fold_that_is_gone_is_no_cross_validation(
    fewbeats_here, ward: Path, folds: Path, tmp_path: Path
) -> None:
    shutil.copytree(folds, tmp_path / "folds")
    shutil.rmtree(tmp_path / "folds" / "fold-4")
    done = fewbeats_here("evaluate", "--data", ward, "--folds", tmp_path / "folds")
    assert done.returncode == 8 and "a fold is missing" in done.stderr


@pytest.mark.parametrize("verb", ["evaluate", "train", "ablate", "search"])
def test_a_folder_without_records(fewbeats_here, tmp_path: Path, verb: str) -> None:
    more = [] if verb == "evaluate" else ["--out", tmp_path / "run"]
    done = fewbeats_here(verb, "--data", tmp_path, *more)
    assert done.returncode == 8 and "No records" in done.stderr
    assert not (tmp_path / "run").exists()


def test_records_without_annotations(fewbeats, record: Path, tmp_path: Path) -> None:
    for suffix in (".hea", ".dat"):
        shutil.copy(record.with_suffix(suffix), tmp_path)
    done = fewbeats("evaluate", "--data", tmp_path)
    assert done.returncode == 8 and "None of the 1 subjects" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--data", "{ward}", "--folds", "x", "--bundle", "y"), 2, "--bundle and --folds"),
        (("--data", "{ward}", "--shots", "0"), 2, "--shots"),
        (("--data", "{ward}", "--folds", "{ward}"), 8, "0 finished folds"),
        (("--data", "{ward}", "--bundle", "{tmp}/none"), 6, "Cannot read the bundle"),
        (("--data", "{ward}", "--support", "none", "--ablation", "{tmp}"), 8, "Cannot read the ab"),
        (("--data", "{ward}", "--support", "none", "--json", "{tmp}"), 8, "Cannot write"),
    ],
)
def test_wrong_usage_is_one_sentence(fewbeats_here, ward, tmp_path, options, code, sentence):
    done = fewbeats_here("evaluate", *(o.format(ward=ward, tmp=tmp_path) for o in options))
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.split()) and "Traceback" not in done.stderr


def test_figures_for_people_and_in_a_file(fewbeats_here, ward: Path, tmp_path: Path) -> None:
    """With the bundle that is shipped, and another number of shots than the standard ones."""
    out = tmp_path / "new" / "figures.json"
    done = fewbeats_here("evaluate", "--data", ward, "--shots", 7, "--streaming", "--json", out)
    assert done.returncode == 0, done.stderr
    assert "mean over subjects" in done.stdout and "whole records, first" in done.stdout
    found = [w["protocol"] for w in json.loads(out.read_text())["windows"]]
    assert [p["support"] for p in found] == ["none", "normals", "first", "random"]
    assert {p["shots"] for p in found if p["support"] != "none"} == {7}

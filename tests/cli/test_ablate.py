"""``fewbeats ablate``: from records to results that a report takes."""

import json

import pytest

from fewbeats.training.evaluate import Support
from fewbeats.training.report.content import checked_report

CONSTANTS = {
    "fewbeats.training.ablation.METHODS": ("anil",),
    "fewbeats.training.ablation.FOLDS": 2,
    "fewbeats.training.ablation.SUPPORTS": (Support.FIRST,),
    "fewbeats.training.ablation._REFERENCE_FEATURES": 8,
    "fewbeats.training.reference._WIDTH": 8,
    "fewbeats.training.full_tuning.STEPS": 1,
}
"""The whole grid takes hours: one method and support, on two folds, beside narrow yardsticks."""


@pytest.fixture
def small(monkeypatch) -> None:
    for name, value in CONSTANTS.items():
        monkeypatch.setattr(name, value)


@pytest.mark.usefixtures("small")
def test_results_get_on_a_report(fewbeats_here, ward, tiny, tmp_path) -> None:
    out = tmp_path / "ablation"
    options = ("--data", ward, "--out", out, "--config", tiny, "--steps", 2)
    done = fewbeats_here("ablate", *options)
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "ablation.json").read_text())
    assert f"{len(results)} results" in done.stdout
    assert {(r["method"], r["precision"]) for r in results} == {
        ("anil", "fp32"), ("anil", "int8"), ("reference", "fp32"), ("peaks", "fp32")
    }  # fmt: skip
    assert {r["subjects"] for r in results} == {10}
    scored = fewbeats_here(
        "evaluate", "--data", ward, "--support", "none", "--ablation", out, "--json", "-"
    )
    assert scored.returncode == 0, scored.stderr
    assert checked_report(json.loads(scored.stdout))["ablation"] == results


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--out", "{tmp}/out"), 2, "--data"),
        (("--data", "{ward}", "--out", "{tmp}/out", "--steps", "0"), 2, "--steps"),
        (("--data", "{ward}", "--out", "{tmp}/out", "--config", "{tmp}/no"), 8, "cannot be read"),
    ],
)
def test_wrong_usage_is_one_sentence(fewbeats_here, ward, tmp_path, options, code, sentence):
    done = fewbeats_here("ablate", *(o.format(ward=ward, tmp=tmp_path) for o in options))
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "ablation.json").exists()

"""The bundle that comes with fewbeats, and the card beside it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewbeats.device import shipped
from fewbeats.device.bundle import Bundle, Form
from fewbeats.device.monitor import Monitor
from fewbeats.device.shipped import SHIPPED, load_bundle
from fewbeats.errors import BundleError, MissingExtraError
from fewbeats.firmware_bridge.samples import chunk_of
from fewbeats.firmware_bridge.simulate.scenario import Scenario
from fewbeats.firmware_bridge.simulate.synthetic import synthetic_ecg


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


def test_it_is_small_and_proves_itself(bundle: Bundle) -> None:
    assert SHIPPED.stat().st_size < 200_000 and len(bundle.model) < 100_000
    assert bundle.runtime == "onnx" and [f.runtime for f in bundle.forms] == ["onnx", "litert"]
    assert bundle.backbone.embed(bundle.golden_windows).shape == bundle.golden_embeddings.shape
    assert bundle.pack() == SHIPPED.read_bytes()


def test_its_card_says_how_it_was_made(bundle: Bundle) -> None:
    card = bundle.card
    assert card == json.loads(SHIPPED.with_suffix(".card.json").read_text(encoding="utf-8"))
    assert "fewbeats train" in card["made_by"]["command"] and card["made_by"]["seed"] == 0
    assert card["data"]["synthetic"] is False
    assert all("ODC-By" in licence for licence in card["data"]["databases"].values())
    assert "no medical device" in card["intended_use"]


def test_it_was_trained_on_everybody(bundle: Bundle) -> None:
    """So no figure of its own could be honest: those on the card are of its recipe."""
    card = bundle.card
    assert card["subjects"]["held_back"] == []
    assert "metrics_held_back_int8" not in card
    seen = {name.partition("/")[0] for name in bundle.trained_on}
    assert seen == set(card["data"]["databases"]) >= {"cudb", "mitdb", "vfdb"}
    assert card["parity"]["on"] == "other windows of the training"
    proven = {parity["form"]: parity["correlation"] for parity in card["parity"]["forms"]}
    assert {"onnx-int8", "litert-int8", "onnx-fp32"} <= set(proven)
    assert min(proven.values()) > 0.999


def test_its_recipe_was_measured_by_cross_validation_on_the_same_people(bundle: Bundle) -> None:
    measured = bundle.card["metrics_cross_validated"]
    assert "fewbeats evaluate" in measured["command"] and "--folds" in measured["command"]
    assert measured["data_sha256"] == bundle.card["data"]["sha256"]
    supports = ("normals", "first", "random")
    protocols = {f"{support}, K = {shots}" for support in supports for shots in (1, 5, 10)}
    assert set(measured["windows"]) == {"none, K = 10", *protocols}
    for figures in measured["windows"].values():
        assert figures["count"] >= 29
        low, high = figures["interval"]["auc"]
        assert figures["worst"]["auc"] <= low <= figures["mean"]["auc"] <= high <= 1
        assert figures["worst"]["subject"] in bundle.trained_on
    assert set(measured["whole_records"]) == {"none", "normals", "first"}


def test_embeddings_do_not_depend_on_the_batch(bundle: Bundle) -> None:
    windows = np.repeat(bundle.golden_windows, 5, axis=0)
    together = bundle.backbone.embed(windows)
    apart = np.concatenate([bundle.backbone.embed(w[None]) for w in windows])
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("size", [1, 33, 250, 100_000])
def test_decisions_do_not_depend_on_the_chunks(bundle: Bundle, size: int) -> None:
    ecg = synthetic_ecg(Scenario.parse("sinus:12,vf:12,sinus+leadoff:3,sinus:9"), seed=4)
    whole = Monitor(bundle).feed(chunk_of(ecg.samples_uv, 250.0))
    monitor, events = Monitor(bundle), []
    for number, start in enumerate(range(0, len(ecg), size)):
        piece = ecg.samples_uv[start : start + size]
        events += monitor.feed(chunk_of(piece, 250.0, start * 4_000_000, number))
    assert events == whole


@pytest.mark.parametrize("gain", [-1.0, 0.5, 2.0])
def test_gain_and_polarity_do_not_hide_fibrillation(bundle: Bundle, gain: float) -> None:
    ecg = synthetic_ecg(Scenario.parse("sinus:30,vf:20,sinus:20"), seed=11)
    events = Monitor(bundle).feed(chunk_of(ecg.samples_uv * gain, 250.0))
    assert [type(e).__name__ for e in events if not hasattr(e, "over")][:2] == [
        "Alarm",
        "EpisodeEnded",
    ]


def test_its_litert_form_proves_itself_and_decides_alike(bundle: Bundle) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT's runtime is not installed")
    lite = bundle.on("litert")
    assert lite.backbone.sha256 != bundle.backbone.sha256
    ecg = synthetic_ecg(Scenario.parse("sinus:30,vf:20,sinus:20"), seed=11)
    chunk = chunk_of(ecg.samples_uv, 250.0)
    first, other = Monitor(bundle).feed(chunk), Monitor(lite).feed(chunk)
    assert [type(e) for e in first] == [type(e) for e in other]


@pytest.fixture
def in_two_forms(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle with both forms, of which only the first would load."""
    form = tiny_bundle.form
    lite = Form("litert", b"not loaded here", form.prototypes, form.golden_embeddings)
    path = tmp_path / "two.fewbeats"
    replace(tiny_bundle, forms=(form, lite)).save(path)
    return path


def test_the_first_form_that_the_machine_can_run_is_taken(
    in_two_forms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for installed, taken in [
        (("onnx", "litert"), "onnx"),
        (("onnx",), "onnx"),
        (("litert",), "litert"),
    ]:
        monkeypatch.setattr(shipped, "installed_runtimes", lambda names=installed: names)
        found = load_bundle(in_two_forms)
        assert found.runtime == taken and found.start.backbone_sha256 == found.form.sha256
        assert load_bundle(in_two_forms, "litert").runtime == "litert"
    with pytest.raises(BundleError, match="no backbone for"):
        load_bundle(in_two_forms, "tensorrt")


def test_a_machine_without_a_runtime_is_told_what_to_install(
    in_two_forms: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "installed_runtimes", tuple)
    with pytest.raises(MissingExtraError, match=r"fewbeats\[litert\]"):
        load_bundle(in_two_forms)
    tiny_bundle.save(tmp_path / "one.fewbeats")
    monkeypatch.setattr(shipped, "installed_runtimes", lambda: ("litert",))
    with pytest.raises(BundleError, match="backbone for onnx, and this machine has litert"):
        load_bundle(tmp_path / "one.fewbeats")

"""From a training to a bundle."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.device.detector import DetectorConfig
from fewbeats.errors import BundleError, ExportError, ParityError
from fewbeats.export import pack as pack_module
from fewbeats.export import portable
from fewbeats.export.pack import Packed, Release, int8_model, pack
from fewbeats.export.windows import golden_windows, proof_windows, range_windows
from fewbeats.training.datasets import Dataset
from fewbeats.training.trained import Trained


@pytest.fixture(scope="module")
def packed(trained: Trained, dataset: Dataset) -> Packed:
    return pack(trained, dataset, "the command")


@pytest.fixture(scope="module")
def packed_of_everybody(of_everybody: Trained, dataset: Dataset) -> Packed:
    figures = {"command": "fewbeats evaluate", "windows": {"none, K = 10": {"count": 8}}}
    return pack(of_everybody, dataset, "the command", figures)


def windows_of(dataset: Dataset, names) -> np.ndarray:
    return np.concatenate([dataset.subjects[name].windows for name in names])


def as_set(windows: np.ndarray) -> set[bytes]:
    return {window.tobytes() for window in windows}


def test_a_bundle_that_proves_itself(packed: Packed, trained: Trained, dataset: Dataset) -> None:
    bundle = Bundle.unpack(packed.bundle.pack())
    assert bundle.backbone.features == trained.recipe.network.features
    held_back = windows_of(dataset, trained.held_back)
    fp32, int8 = trained.embed(held_back), bundle.backbone.embed(held_back)
    assert np.corrcoef(fp32.ravel(), int8.ravel())[0, 1] > 0.999
    assert packed.parity.windows == len(held_back) == 160
    assert bundle.start.backbone_sha256 == bundle.backbone.sha256
    assert np.array_equal(bundle.start.weights, trained.weights)
    assert bundle.prototypes.shape == (32, trained.recipe.network.features)
    assert bundle.adapt == trained.adapt and bundle.window == trained.recipe.window
    assert isinstance(bundle.detector, DetectorConfig)


def test_the_card_says_who_was_seen_and_who_was_not(packed: Packed, trained: Trained) -> None:
    card = packed.bundle.card
    assert len(trained.training) == 4 and len(trained.validation) == 2
    assert card["subjects"]["training"] == [f"made/{n}" for n in range(6)], "chosen by is seen"
    assert card["subjects"]["held_back"] == ["made/6", "made/7"]
    assert packed.bundle.trained_on == tuple(f"made/{n}" for n in range(6))
    assert card["made_by"]["command"] == "the command" and card["made_by"]["seed"] == 1
    assert {"onnx", "onnxruntime", "torch"} <= set(card["made_by"]["exported_with"])
    for figures in card["metrics_held_back_int8"].values():
        assert set(figures["subjects"]) == {"made/6", "made/7"}
    assert "metrics_cross_validated" not in card
    assert "no medical device" in card["intended_use"]
    assert card["data"] == {
        "synthetic": False,
        "databases": {"made": "Made for tests"},
        "citations": ["Nobody"],
        "sha256": trained.data_sha256,
    }
    assert card["kept_step"] == trained.kept_step
    assert card["recipe"]["name"] == trained.recipe.name
    assert card["parity"]["on"] == "subjects held back"
    assert [parity["form"] for parity in card["parity"]["forms"]] == ["onnx-int8"]


def test_ranges_are_fitted_to_training_subjects_alone(trained: Trained, dataset: Dataset) -> None:
    """Neither those held back nor those who chose when to stop; as many VA as others."""
    fitted = range_windows(trained, dataset.subjects)
    assert as_set(fitted) <= as_set(windows_of(dataset, trained.training))
    va = as_set(np.concatenate([s.windows[s.va] for s in dataset.subjects.values()]))
    assert sum(window.tobytes() in va for window in fitted) == len(fitted) / 2


def test_figures_of_a_network_of_everybody_are_those_of_its_recipe(
    packed_of_everybody: Packed, of_everybody: Trained
) -> None:
    card = packed_of_everybody.bundle.card
    assert "metrics_held_back_int8" not in card
    assert card["metrics_cross_validated"]["windows"] == {"none, K = 10": {"count": 8}}
    assert card["subjects"]["training"] == [f"made/{n}" for n in range(8)]
    assert card["subjects"]["held_back"] == []
    assert card["parity"]["on"] == "other windows of the training"
    assert of_everybody.held_back == ()


def test_parity_is_proven_on_windows_that_no_range_was_fitted_to(
    packed_of_everybody: Packed, of_everybody: Trained, dataset: Dataset
) -> None:
    proof = proof_windows(of_everybody, dataset.subjects)
    proven_on = as_set(proof.windows)
    fitted = as_set(range_windows(of_everybody, dataset.subjects))
    everything = as_set(windows_of(dataset, of_everybody.training))
    assert not fitted & proven_on and fitted | proven_on == everything
    assert packed_of_everybody.parity.windows == len(proven_on) >= len(everything) / 4


@pytest.mark.parametrize("which", ["trained", "of_everybody"])
def test_every_window_of_the_proof_is_known_by_person_and_time(
    which: str, dataset: Dataset, request: pytest.FixtureRequest
) -> None:
    proof = proof_windows(request.getfixturevalue(which), dataset.subjects)
    assert proof.held_back == (which == "trained")
    for index in range(0, len(proof.va), 7):
        subject = dataset.subjects[proof.subject[index]]
        (at,) = np.flatnonzero(subject.start_s == proof.start_s[index])
        np.testing.assert_array_equal(subject.windows[at], proof.windows[index])
        assert subject.va[at] == proof.va[index] and subject.record[at] == proof.record[index]


def test_the_same_training_gives_the_same_bytes(
    packed: Packed, trained: Trained, dataset: Dataset
) -> None:
    backwards = replace(dataset, subjects=dict(reversed(dataset.subjects.items())))
    assert pack(trained, backwards, "the command").bundle.pack() == packed.bundle.pack()


def test_an_int8_form_made_alone_is_the_one_in_the_bundle(
    packed: Packed, trained: Trained, dataset: Dataset
) -> None:
    """What an ablation scores is what would be shipped."""
    assert int8_model(trained, range_windows(trained, dataset.subjects)) == packed.bundle.model


def test_nothing_of_this_machine_is_in_a_bundle(packed: Packed) -> None:
    data = packed.bundle.pack()
    assert not re.search(rb"site-packages|/home/|/src/|\.py\b", data)


def test_a_model_of_made_up_people_says_so(of_everybody: Trained, dataset: Dataset) -> None:
    card = pack(replace(of_everybody, synthetic=True), dataset, "x").bundle.card
    assert card["data"]["synthetic"] is True
    assert "made-up people alone" in card["limits"][0] and "fit for nobody" in card["limits"][0]


def test_parity_is_a_gate_and_its_report_is_written_first(
    trained: Trained,
    dataset: Dataset,
    fp32: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Ranges fitted to windows of another size ruin the int8 form; it must not be packed."""
    good = pack_module.quantize
    monkeypatch.setattr(pack_module, "export_onnx", lambda *_: fp32)
    monkeypatch.setattr(pack_module, "quantize", lambda model, windows: good(model, windows * 0.01))
    with pytest.raises(ParityError, match=r"onnx-int8 .*correlation 0\.\d+ < 0\.999"):
        pack(trained, dataset, "x", release=Release(litert=False, report=tmp_path))
    assert "Nothing is exported" in (tmp_path / "parity.md").read_text()
    forms = json.loads((tmp_path / "parity.json").read_text())["forms"]
    assert [form["form"] for form in forms if form["faults"]] == ["onnx-int8"]


def test_a_form_that_strays_stops_the_export_whichever_it_is(
    trained: Trained, dataset: Dataset, fp32: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ONNX form in full precision is another network here."""
    graph = onnx.load_from_string(fp32)
    name = next(n.input[1] for n in graph.graph.node if n.op_type == "Gemm")
    (weights,) = (i for i in graph.graph.initializer if i.name == name)
    weights.raw_data = (onnx.numpy_helper.to_array(weights) * 1.02).astype("<f4").tobytes()
    quantize = pack_module.quantize
    monkeypatch.setattr(pack_module, "export_onnx", lambda *_: graph.SerializeToString())
    monkeypatch.setattr(pack_module, "quantize", lambda _, windows: quantize(fp32, windows))
    with pytest.raises(ParityError, match="onnx-fp32"):
        pack(trained, dataset, "x", release=Release(litert=False))


def test_a_release_has_its_backbone_for_both_runtimes(
    released: tuple[Packed, Release], trained: Trained, packed: Packed
) -> None:
    bundle = Bundle.unpack(released[0].bundle.pack())
    assert bundle.version == "1.2.0" and bundle.runtime == "onnx"
    assert [form.runtime for form in bundle.forms] == ["onnx", "litert"]
    assert bundle.model == packed.bundle.model, "the form that is scored is the one shipped"
    lite = bundle.on("litert")
    assert lite.start.backbone_sha256 == lite.backbone.sha256 != bundle.backbone.sha256
    np.testing.assert_allclose(
        lite.prototypes, lite.backbone.embed(trained.prototype_windows), atol=1e-6
    )
    assert bundle.form.tolerance == 1e-5 and 0 < lite.form.tolerance < 0.5


def test_every_form_of_a_release_is_proven(released: tuple[Packed, Release]) -> None:
    packed, release = released
    forms = ["onnx-int8", "onnx-fp32", "litert-int8"] + ["c99"] * release.c99
    assert [p.form for p in packed.parities.values()] == list(packed.parities) == forms
    assert not any(parity.faults() for parity in packed.parities.values())
    on_card = packed.bundle.card["parity"]["forms"]
    assert [parity["form"] for parity in on_card] == forms
    if release.c99:
        assert packed.parities["c99"].steps is not None


def test_operators_that_may_differ_elsewhere_are_not_released(
    trained: Trained, dataset: Dataset, fp32: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_module, "export_onnx", lambda *_: fp32)
    monkeypatch.setattr(portable, "PORTABLE", portable.PORTABLE - {"ReduceMean"})
    with pytest.raises(ExportError, match="holds ReduceMean"):
        pack(trained, dataset, "x", release=Release(litert=False))
    assert pack(trained, dataset, "x").parity.windows, "to be scored here it may hold anything"


def test_a_version_that_is_none_is_refused(trained: Trained, dataset: Dataset) -> None:
    with pytest.raises(BundleError, match="new"):
        pack(trained, dataset, "x", release=Release("new"))


@pytest.mark.parametrize("name", ["made/3", "made/7"])
def test_other_data_are_refused(trained: Trained, dataset: Dataset, name: str) -> None:
    fewer = {n: s for n, s in dataset.subjects.items() if n != name}
    with pytest.raises(ExportError, match=f"{name}.*Export with the folder"):
        pack(trained, replace(dataset, subjects=fewer), "x")


def test_a_bundle_may_not_grow_too_large(
    trained: Trained, dataset: Dataset, fp32: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_module, "export_onnx", lambda *_: fp32)
    monkeypatch.setattr(pack_module, "MAX_BUNDLE_BYTES", 10_000)
    with pytest.raises(ExportError, match="smaller network"):
        pack(trained, dataset, "x")


def test_golden_windows_are_synthetic_and_stay_the_same(trained: Trained) -> None:
    one, other = (golden_windows(trained.recipe.window) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (8, 1, 250)

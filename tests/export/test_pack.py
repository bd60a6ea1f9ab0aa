"""From a training to a bundle."""

import re
from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.device.detector import DetectorConfig
from fewbeats.errors import ExportError, ParityError
from fewbeats.export import pack as pack_module
from fewbeats.export.pack import Packed, golden_windows, int8_model, pack, range_windows
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
    assert card["parity_int8"]["on"] == "subjects held back"


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
    assert card["parity_int8"]["on"] == "other windows of the training"
    assert of_everybody.held_back == ()


def test_parity_is_proven_on_windows_that_no_range_was_fitted_to(
    packed_of_everybody: Packed,
    of_everybody: Trained,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedded: list[np.ndarray] = []
    embed = Trained.embed
    monkeypatch.setattr(Trained, "embed", lambda self, x: embedded.append(x) or embed(self, x))
    pack(of_everybody, dataset, "x")
    proven_on = as_set(embedded[0])
    fitted = as_set(range_windows(of_everybody, dataset.subjects))
    everything = as_set(windows_of(dataset, of_everybody.training))
    assert not fitted & proven_on and fitted | proven_on == everything
    assert packed_of_everybody.parity.windows == len(proven_on) >= len(everything) / 4


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


def test_parity_is_a_gate(
    trained: Trained, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges fitted to windows of another size ruin the int8 form; it must not be packed."""
    good = pack_module.int8_model
    monkeypatch.setattr(pack_module, "int8_model", lambda t, windows: good(t, windows * 0.01))
    with pytest.raises(ParityError, match="not exported"):
        pack(trained, dataset, "x")


@pytest.mark.parametrize("name", ["made/3", "made/7"])
def test_other_data_are_refused(trained: Trained, dataset: Dataset, name: str) -> None:
    fewer = {n: s for n, s in dataset.subjects.items() if n != name}
    with pytest.raises(ExportError, match=f"{name}.*Export with the folder"):
        pack(trained, replace(dataset, subjects=fewer), "x")


def test_a_bundle_may_not_grow_too_large(
    trained: Trained, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_module, "MAX_BUNDLE_BYTES", 10_000)
    with pytest.raises(ExportError, match="smaller network"):
        pack(trained, dataset, "x")


def test_golden_windows_are_synthetic_and_stay_the_same(trained: Trained) -> None:
    one, other = (golden_windows(trained.recipe.window) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (8, 1, 250)

"""A run's folder: all of it or an error."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.head import log_odds
from fewbeats.errors import DataError
from fewbeats.training.config import load_recipe
from fewbeats.training.network import seeded_backbone
from fewbeats.training.trained import (
    RECIPE_FILE,
    Trained,
    embed_windows,
    is_trained,
    load_trained,
)


@pytest.fixture(scope="module")
def trained(small, made_subjects) -> Trained:
    network = seeded_backbone(small.network, 4).folded()
    va = made_subjects["made/0"]
    return Trained(
        recipe=small,
        network=network,
        weights=np.linspace(-1, 1, 6),
        bias=0.1,
        adapt=AdaptConfig(rounds=1, steps=2, step=0.123456),
        prototype_windows=va.windows[va.va][:3],
        training=("made/0", "made/1"),
        validation=("made/2",),
        held_back=("calm/0",),
        kept_step=9,
        seed=3,
        synthetic=False,
        data_sha256="ab" * 32,
        material_sha256="cd" * 32,
        metrics={"none": {"mean": {"auc": 0.9}}},
        versions={"fewbeats": "1"},
    )


@pytest.fixture
def folder(trained, tmp_path):
    trained.save(tmp_path / "run")
    return tmp_path / "run"


def test_the_folder_holds_all_of_it(trained, folder, made_subjects):
    back = load_trained(folder)
    windows = made_subjects["made/5"].windows
    assert np.array_equal(back.embed(windows), trained.embed(windows))
    assert back.network_sha256 == trained.network_sha256
    assert not back.network.training
    assert np.array_equal(back.start.weights, trained.start.weights)
    assert (back.start.bias, back.start.threshold) == (trained.start.bias, trained.start.threshold)
    assert log_odds(back.start.threshold) == pytest.approx(trained.recipe.head.operating_point)
    assert back.start.backbone_sha256 == trained.start.backbone_sha256
    assert np.array_equal(back.prototype_windows, trained.prototype_windows)
    for name in (
        *("recipe", "adapt", "training", "validation", "held_back", "kept_step", "seed"),
        *("synthetic", "data_sha256", "material_sha256", "metrics", "versions"),
    ):
        assert getattr(back, name) == getattr(trained, name), name
    assert back.seen == ("made/0", "made/1", "made/2")
    assert load_recipe(folder / RECIPE_FILE) == trained.recipe
    assert back.model.prototypes.shape == (3, 6)


def test_it_is_there_or_not(folder, tmp_path):
    assert is_trained(folder)
    assert not is_trained(tmp_path) and not is_trained(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no finished training"):
        load_trained(tmp_path)


@pytest.mark.parametrize("file", ["weights.npz", "trained.json"])
def test_a_missing_file_is_refused(folder, file):
    (folder / file).unlink()
    with pytest.raises(DataError, match=f"no finished training.*{file}"):
        load_trained(folder)


def test_altered_weights_are_refused(folder):
    weights = folder / "weights.npz"
    data = weights.read_bytes()
    for altered in (data[:-1] + b"x", data[: len(data) // 2], b""):
        weights.write_bytes(altered)
        with pytest.raises(DataError, match="train again"):
            load_trained(folder)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 99}, "format"),
        ({"recipe": {"meta": {"steps": 0}}}, "at least 1"),
        ({"recipe": {"network": {"channels": [4, 16], "kernels": [9, 5], "strides": [4, 3]}}},
         "train again"),
        ({"adapt": {"rounds": "many"}}, "lacks a part"),
        ({"adapt": {"rounds": -1}}, "lacks a part"),
        ({"training": None}, "lacks a part"),
    ],
)  # fmt: skip
def test_a_story_that_does_not_fit_is_refused(folder, change, match):
    story = folder / "trained.json"
    story.write_text(json.dumps(json.loads(story.read_text()) | change))
    with pytest.raises(DataError, match=match):
        load_trained(folder)


@pytest.mark.parametrize("text", ["{", "[]", "7", "\x00"])
def test_what_is_no_story_is_refused(folder, text):
    (folder / "trained.json").write_text(text)
    with pytest.raises(DataError, match=r"story|format"):
        load_trained(folder)


@pytest.mark.parametrize("name", ["kept_step", "metrics", "versions", "data_sha256", "adapt"])
def test_a_story_that_lacks_a_part_is_refused(folder, name):
    path = folder / "trained.json"
    story = json.loads(path.read_text())
    del story[name]
    path.write_text(json.dumps(story))
    with pytest.raises(DataError, match="lacks a part"):
        load_trained(folder)


def test_a_run_of_another_folder_does_not_pass_for_this_one(trained, folder, tmp_path):
    other = replace(trained, weights=trained.weights + 1)
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "weights.npz", folder / "weights.npz")
    with pytest.raises(DataError, match="is not the file"):
        load_trained(folder)
    assert other.network_sha256 == trained.network_sha256


def test_a_place_that_takes_no_folder_is_an_error(trained, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        trained.save(tmp_path / "file")


def test_the_hash_is_of_all_weights(trained):
    one = seeded_backbone(trained.recipe.network, 4).folded()
    assert replace(trained, network=one).network_sha256 == trained.network_sha256
    with torch.no_grad():
        one.project.bias[0] += 1e-6
    assert replace(trained, network=one).network_sha256 != trained.network_sha256


def test_windows_are_embedded_alike_in_blocks_and_alone(trained, made_subjects):
    windows = np.concatenate([s.windows for s in made_subjects.values()] * 6)
    assert len(windows) > 2048
    found = trained.embed(windows)
    assert found.shape == (len(windows), 6) and found.dtype == np.float32
    np.testing.assert_allclose(found[2040:2060], trained.embed(windows[2040:2060]), atol=1e-5)
    assert embed_windows(trained.network, windows[:0]).shape == (0, 6)

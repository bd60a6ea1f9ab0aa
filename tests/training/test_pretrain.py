"""A whole training, small; its folder; and folds."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.adapt import AdaptConfig
from fewbeats.errors import DataError
from fewbeats.training.config import MetaConfig, NetworkConfig, Recipe, load_recipe, recipe_of
from fewbeats.training.crossvalidate import assign_folds, cross_validate
from fewbeats.training.evaluate import Support
from fewbeats.training.pretrain import choose_prototypes, load_trained, pretrain

SMALL = Recipe(
    network=NetworkConfig(channels=(8, 16), kernels=(9, 5), strides=(3, 3), features=8),
    meta=MetaConfig(
        steps=40, tasks=4, va_tasks=3, shots=5, query=8, prototypes=8, learning_rate=0.02
    ),
)


@pytest.fixture(scope="module")
def trained(made_subjects):
    return pretrain(SMALL, made_subjects, ["made/5", "calm/2"], seed=3)


def test_it_learns_to_tell_waves_it_never_saw(trained):
    for support in Support:
        assert trained.metrics[support]["mean"]["auc"] > 0.99
    assert trained.metrics["none"]["non_va_only"]["windows"] == 40


def test_it_keeps_those_held_back_apart(trained):
    assert trained.validation == ("calm/2", "made/5")
    assert not set(trained.training) & set(trained.validation)
    assert len(trained.training) == 7


def test_progress_tells_of_loss_and_validation(made_subjects):
    seen = []
    recipe = replace(SMALL, meta=replace(SMALL.meta, steps=10))
    pretrain(recipe, made_subjects, ["made/5"], progress=seen.append)
    assert [p.step for p in seen] == list(range(1, 11))
    assert all(p.validation_auc is not None and 0 <= p.validation_auc <= 1 for p in seen)


def test_the_folder_holds_all_of_it(trained, made_subjects, tmp_path):
    trained.save(tmp_path / "run")
    back = load_trained(tmp_path / "run")
    windows = made_subjects["made/5"].windows
    assert np.array_equal(back.embed(windows), trained.embed(windows))
    assert np.array_equal(back.start.weights, trained.start.weights)
    assert (back.start.bias, back.start.threshold) == (trained.start.bias, trained.start.threshold)
    assert back.start.backbone_sha256 == trained.start.backbone_sha256
    assert np.array_equal(back.prototype_windows, trained.prototype_windows)
    assert back.recipe == trained.recipe
    assert back.metrics == trained.metrics
    assert (back.training, back.validation) == (trained.training, trained.validation)
    assert (back.seed, back.data_sha256) == (3, trained.data_sha256)


def test_a_damaged_folder_is_refused(trained, tmp_path):
    with pytest.raises(DataError, match="no finished training"):
        load_trained(tmp_path)
    trained.save(tmp_path)
    weights = tmp_path / "weights.npz"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + b"x")
    with pytest.raises(DataError, match="train again"):
        load_trained(tmp_path)
    weights.write_bytes(data)
    story = tmp_path / "trained.json"
    story.write_text(json.dumps(json.loads(story.read_text()) | {"format": 99}))
    with pytest.raises(DataError, match="format"):
        load_trained(tmp_path)
    story.write_text("{")
    with pytest.raises(DataError, match="no run's story"):
        load_trained(tmp_path)


def test_prototypes_are_va_windows_of_the_subjects(trained, made_subjects):
    few = choose_prototypes(trained.network, made_subjects, 5, seed=0)
    again = choose_prototypes(trained.network, made_subjects, 5, seed=0)
    assert few.shape == (5, 1, 250)
    assert np.array_equal(few, again)
    va = np.concatenate([s.windows[s.va] for s in made_subjects.values()])
    assert all((va == window).all(axis=(1, 2)).any() for window in few)
    calm = {name: s for name, s in made_subjects.items() if name.startswith("calm")}
    with pytest.raises(DataError, match="VA window"):
        choose_prototypes(trained.network, calm, 5, seed=0)


def test_names_that_are_not_there_are_refused(made_subjects):
    with pytest.raises(DataError, match="made/77"):
        pretrain(SMALL, made_subjects, ["made/77"])


def test_folds_part_the_subjects(made_subjects):
    folds = assign_folds(made_subjects, 3, seed=0)
    assert set(folds) == set(made_subjects)
    for fold in range(3):
        members = [name for name, number in folds.items() if number == fold]
        assert sum(name.startswith("made") for name in members) == 2
        assert sum(name.startswith("calm") for name in members) == 1
    backwards = dict(reversed(made_subjects.items()))
    assert assign_folds(backwards, 3, seed=0) == folds
    assert assign_folds(made_subjects, 3, seed=1) != folds
    with pytest.raises(DataError, match="9 subjects"):
        assign_folds(made_subjects, 10)


def test_cross_validation_scores_everybody_once(made_subjects):
    recipe = replace(SMALL, meta=replace(SMALL.meta, steps=6, va_tasks=2, tasks=3))
    seen = set()
    result = cross_validate(
        recipe, made_subjects, folds=3, shots=5, progress=lambda fold, _: seen.add(fold)
    )
    assert seen == {0, 1, 2}
    for evaluation in result.evaluations.values():
        assert set(evaluation.subjects) == {f"made/{i}" for i in range(6)}
        assert set(evaluation.excluded) == {f"calm/{i}" for i in range(3)}


def test_the_shipped_recipe_is_the_default():
    assert load_recipe() == Recipe()


def test_a_recipe_survives_its_plain_form(tmp_path):
    recipe = replace(SMALL, adapt=AdaptConfig(rounds=7), name="other")
    assert recipe_of(json.loads(json.dumps(recipe.as_dict()))) == recipe
    path = tmp_path / "recipe.toml"
    path.write_text("[meta]\nsteps = 7\n")
    assert load_recipe(path) == replace(Recipe(), meta=MetaConfig(steps=7))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[meta]\nstep = 7", "step"),
        ("[mata]\nsteps = 7", "mata"),
        ("[meta]\nsteps = 0", "at least 1"),
        ("[meta]\nsteps = 7.5", "no int"),
        ("[meta]\nva_tasks = 20", "va_tasks"),
        ("[network]\nkernels = [8, 9, 9]", "odd"),
        ("[network]\nchannels = [8]", "one entry"),
        ("[window]\nhigh_hz = 70.0", "half the rate"),
        ("[augment]\nflip = 2", "0-1"),
        ("meta = 7", "meta"),
        ("[meta", "no TOML"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, text, match):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=match):
        load_recipe(path)


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")

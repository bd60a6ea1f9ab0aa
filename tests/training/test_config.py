"""Recipes: their file and back, and what is refused."""

import json
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.device.adapt import AdaptConfig
from fewbeats.errors import DataError
from fewbeats.training.config import (
    AugmentConfig,
    CurriculumConfig,
    FinishConfig,
    HeadConfig,
    MetaConfig,
    NetworkConfig,
    Recipe,
    ValidationConfig,
    load_recipe,
    recipe_of,
)

shares = st.floats(0, 1)
amounts = st.floats(0, 1e9)
counts = st.integers(1, 10**9)
recipes = st.builds(
    Recipe,
    name=st.text(st.characters(codec="utf-8"), max_size=20),
    network=st.lists(st.tuples(counts, counts, counts), min_size=1, max_size=5).map(
        lambda rows: NetworkConfig(
            channels=tuple(row[0] for row in rows),
            kernels=tuple(2 * row[1] - 1 for row in rows),
            strides=tuple(row[2] for row in rows),
        )
    ),
    augment=st.builds(
        AugmentConfig,
        stretch=amounts,
        leads=shares,
        flip=shares,
        gain=st.floats(0, 1, exclude_max=True),
        noise=amounts,
        mains=amounts,
        clip=shares,
    ),
    meta=st.builds(
        MetaConfig,
        method=st.sampled_from(["anil", "maml", "supervised"]),
        order=st.sampled_from([1, 2]),
        learn_steps=st.booleans(),
        steps=counts,
        learning_rate=st.floats(1e-300, 1e300),
    ),
    curriculum=st.builds(CurriculumConfig, enabled=st.booleans(), every=counts, ramp=shares),
    validation=st.builds(ValidationConfig, refit=st.booleans(), every=counts),
    finish=st.builds(FinishConfig, steps=st.integers(0, 10**9)),
    adapt=st.builds(AdaptConfig, rounds=st.integers(0, 1000), pull=st.floats(0, 10)),
    head=st.builds(HeadConfig, operating_point=st.floats(-1e9, 1e9)),
)


@given(recipes)
def test_a_recipe_comes_back_from_its_file_and_from_plain_values(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_text(recipe.as_toml(), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert recipe_of(json.loads(json.dumps(recipe.as_dict()))) == recipe


def test_the_shipped_recipe_is_the_default():
    assert load_recipe() == Recipe()


def test_what_a_file_leaves_out_keeps_its_default(tmp_path):
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
        ('[meta]\nmethod = "reptile"', "'reptile' is none of anil, maml, supervised"),
        ("[meta]\norder = 3", "neither 1 nor 2"),
        ("[meta]\ninner_steps = 0", "at least 1"),
        ("[meta]\ninner_step = 0.0", "inner_step"),
        ("[meta]\naverage = 1.0", "average"),
        ("[meta]\nlearn_steps = 1", "no bool"),
        ('[network]\nkind = "resnet"', "'resnet' is none of separable, reference"),
        ("[network]\nkernels = [8, 9, 9]", "odd"),
        ("[network]\nchannels = [8]", "one entry"),
        ("[network]\nchannels = []\nkernels = []\nstrides = []", "one entry"),
        ("[network]\nstrides = [3, 0, 3]", "positive"),
        ("[network]\ndropout = 1.0", "dropout"),
        ("[window]\nhigh_hz = 70.0", "half the rate"),
        ("[augment]\nflip = 2", "0-1"),
        ("[augment]\nleads = -0.1", "0-1"),
        ("[augment]\ngain = 1", "gain"),
        ("[augment]\nmotion = -1", "negative"),
        ("[augment]\nnoise = nan", "noise = nan"),
        ("[augment]\nwander = inf", "wander = inf"),
        ("[meta]\nlearning_rate = inf", "learning_rate = inf"),
        ("[head]\noperating_point = nan", "operating_point = nan"),
        ("[curriculum]\nstart = 0", "start"),
        ("[curriculum]\nevery = 0", "every"),
        ("[validation]\nshare = 1", "share"),
        ("[finish]\nsteps = -1", "steps"),
        ("[finish]\nlearning_rate = 0", "learning_rate"),
        ("[head]\nprototypes = 0", "prototypes"),
        ("[adapt]\nrounds = 5000", "adapt"),
        ("meta = 7", "meta"),
        ("[meta", "no TOML"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, text, match):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=match):
        load_recipe(path)


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_no_part_takes_what_is_no_finite_number(value):
    with pytest.raises(DataError):
        Recipe(augment=AugmentConfig(mains=value))
    with pytest.raises(DataError):
        Recipe(head=HeadConfig(operating_point=value))


def test_a_missing_or_unreadable_recipe_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(DataError, match="no TOML"):
        load_recipe(tmp_path / "latin.toml")

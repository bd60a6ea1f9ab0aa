"""Network shapes: within the limits, the same every time, judged by those they never saw."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import DataError
from fewbeats.training.config import NetworkConfig
from fewbeats.training.network import cost, finished_backbone
from fewbeats.training.search import (
    MOST_PARAMETERS,
    SEARCH_FILE,
    SPLITS,
    Trial,
    draw_shapes,
    search,
    undominated,
)
from fewbeats.training.trained import load_trained

SAMPLES = 250


@pytest.fixture(scope="module")
def recipe(small):
    return replace(small, meta=replace(small.meta, steps=4))


@pytest.fixture(scope="module", autouse=True)
def _small_shapes():
    """Real shapes, but the cheapest of many: a search that is done in seconds."""
    drawn = draw_shapes(40, 5, SAMPLES)
    cheapest = sorted(drawn, key=lambda shape: cost(finished_backbone(shape), SAMPLES)[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fewbeats.training.search.draw_shapes", lambda count, *_: cheapest[:count])
        yield


@pytest.fixture(scope="module")
def whole(recipe, made_subjects, tmp_path_factory):
    """A search of three shapes, its folder, and what it told."""
    folder, told, lines = tmp_path_factory.mktemp("search"), [], []
    trials = search(
        recipe, made_subjects, folder, 3, 0, lambda *news: told.append(news), told=lines.append
    )
    return trials, folder, told, lines


def test_shapes_keep_the_limits_and_differ():
    shapes = draw_shapes(40, 0, SAMPLES)
    assert len(shapes) == len(set(shapes)) == 40
    assert shapes[0] == NetworkConfig()
    for shape in shapes:
        parameters, macs = cost(finished_backbone(shape), SAMPLES)
        assert parameters <= MOST_PARAMETERS and macs > 0
        assert all(channels % 8 == 0 for channels in shape.channels)


def test_the_same_seed_draws_the_same_shapes():
    assert draw_shapes(10, 3, SAMPLES) == draw_shapes(10, 3, SAMPLES)
    assert draw_shapes(10, 3, SAMPLES) == draw_shapes(20, 3, SAMPLES)[:10]
    assert draw_shapes(10, 3, SAMPLES) != draw_shapes(10, 4, SAMPLES)
    assert draw_shapes(1, 3, SAMPLES) == [NetworkConfig()]


TRIALS = st.lists(
    st.builds(
        Trial,
        network=st.just(NetworkConfig()),
        parameters=st.just(1),
        macs=st.integers(1, 6),
        score=st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]),
        steps=st.just(1),
    ),
    max_size=12,
)


@given(TRIALS)
def test_the_front_is_what_nothing_beats(trials):
    front = undominated(trials)

    def beats(one, other):
        better = one.macs < other.macs or one.score > other.score
        return one.macs <= other.macs and one.score >= other.score and better

    assert not any(beats(trial, kept) for trial in trials for kept in front)
    for trial in trials:
        assert any(k.macs <= trial.macs and k.score >= trial.score for k in front)
    assert all(trial in trials for trial in front)
    for cheap, dear in pairwise(front):
        assert cheap.macs < dear.macs and cheap.score < dear.score


def test_a_third_of_the_shapes_goes_on_to_all_steps(whole, recipe):
    trials, folder, _, lines = whole
    assert len(trials) == 1 and trials[0].steps == recipe.meta.steps
    assert lines == ["3 shapes tried for 1 steps; 1 go on"]
    first, best = json.loads((folder / SEARCH_FILE).read_text())
    assert len(first) == 3 and [t["steps"] for t in first] == [1, 1, 1]
    scores = [trial["score"] for trial in first]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    assert best[0]["network"] == first[0]["network"] and best[0]["score"] == trials[0].score
    assert (trials[0].parameters, trials[0].macs) == cost(
        finished_backbone(trials[0].network), SAMPLES
    )


def test_nobody_is_scored_by_a_network_that_has_seen_him(whole, made_subjects):
    _, folder, _, _ = whole
    for shape in (folder / "4").iterdir():
        runs = [load_trained(shape / f"split-{split}") for split in range(SPLITS)]
        assert sorted(n for run in runs for n in run.held_back) == sorted(made_subjects)
        for run in runs:
            assert not set(run.seen) & set(run.held_back)
            scored = {n for f in run.metrics.values() for n in f["subjects"]}
            assert scored and scored <= set(run.held_back)


def test_an_interrupted_search_goes_on_and_ends_the_same(whole, recipe, made_subjects, tmp_path):
    trials, folder, told, _ = whole

    class KilledError(Exception):
        pass

    def kill(name, _) -> None:
        if name == "1 steps, shape 3, split 1":
            raise KilledError

    with pytest.raises(KilledError):
        search(recipe, made_subjects, tmp_path, 3, 0, kill)
    assert not (tmp_path / SEARCH_FILE).exists()
    rest = []
    assert search(recipe, made_subjects, tmp_path, 3, 0, lambda *news: rest.append(news)) == trials
    assert (tmp_path / SEARCH_FILE).read_bytes() == (folder / SEARCH_FILE).read_bytes()
    assert rest == told[-len(rest) :] and len(rest) < len(told)
    again = []
    assert search(recipe, made_subjects, tmp_path, 3, 0, lambda *n: again.append(n)) == trials
    assert again == []


def test_another_recipe_does_not_use_the_folder(whole, recipe, made_subjects):
    other = replace(recipe, meta=replace(recipe.meta, shots=3))
    with pytest.raises(DataError, match="another recipe"):
        search(other, made_subjects, whole[1], 3, 0)


def test_people_whom_nobody_can_score(recipe, make_subject, tmp_path):
    names = [(f"few/{i}", 12) for i in range(6)] + [(f"calm/{i}", 0) for i in range(6)]
    few = {name: make_subject(name, va, 12) for name, va in names}
    with pytest.raises(DataError, match="could be scored; add records"):
        search(recipe, few, tmp_path, 1, 0)

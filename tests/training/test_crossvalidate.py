"""Folds: who is trained on and scored by whom, on one process or two, killed or not."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewbeats.errors import DataError
from fewbeats.training.crossvalidate import fold_folder, load_folds, train_folds
from fewbeats.training.evaluate import Protocol, Support, evaluate_all
from fewbeats.training.trained import is_trained

FOLDS = 3
FILES = ("weights.npz", "trained.json", "history.json", "recipe.toml")


@pytest.fixture(scope="module")
def recipe(small):
    return replace(small, meta=replace(small.meta, steps=5), finish=replace(small.finish, steps=2))


@pytest.fixture(scope="module")
def whole(recipe, made_subjects, tmp_path_factory):
    """An uninterrupted cross-validation on one process, its folder, and what it told."""
    folder, told = tmp_path_factory.mktemp("whole"), []
    runs = train_folds(
        recipe, made_subjects, folder, 1, FOLDS, lambda name, now: told.append((name, now))
    )
    return runs, folder, told


@pytest.fixture
def copied(whole, tmp_path):
    """The finished folds again, to be spoilt."""
    return Path(shutil.copytree(whole[1], tmp_path / "runs"))


def contents(folder: Path) -> dict[str, bytes]:
    folds = [fold_folder(folder, fold) for fold in range(FOLDS)]
    return {f"{fold.name}/{name}": (fold / name).read_bytes() for fold in folds for name in FILES}


def test_every_subject_is_held_back_once_and_has_no_part_in_that_fold(whole, made_subjects):
    runs = whole[0]
    held_back = [name for run in runs for name in run.held_back]
    assert sorted(held_back) == sorted(made_subjects)
    for run in runs:
        assert not set(run.held_back) & set(run.seen)
        assert {*run.held_back, *run.seen} == set(made_subjects)
        assert sum(name.startswith("made/") for name in run.held_back) == 2, "a share of each kind"


def test_every_subject_that_can_be_scored_is_scored_once(whole, made_subjects):
    protocol = Protocol(Support.FIRST, 5)
    scored = []
    for run in whole[0]:
        held_back = {name: made_subjects[name] for name in run.held_back}
        (found,) = evaluate_all(held_back, run.model, [protocol], run.seen)
        scored += found.subjects
    assert sorted(scored) == [f"made/{i}" for i in range(6)]


def test_two_processes_write_the_same_bytes_as_one(whole, recipe, made_subjects, tmp_path):
    told = []
    backwards = dict(reversed(made_subjects.items()))
    runs = train_folds(
        recipe,
        backwards,
        tmp_path,
        1,
        FOLDS,
        lambda name, now: told.append((name, now)),
        workers=2,
    )
    assert contents(tmp_path) == contents(whole[1])
    assert [run.held_back for run in runs] == [run.held_back for run in whole[0]]
    assert {name for name, _ in told} == {f"fold {n} of {FOLDS}" for n in (1, 2, 3)}
    assert all(0 < now.step <= now.steps for _, now in told)


class KilledError(Exception):
    """Stands for a power cut."""


def test_a_killed_cross_validation_goes_on(whole, recipe, made_subjects, tmp_path):
    def kill(name, now) -> None:
        if name == "fold 2 of 3" and now.step == 6:
            raise KilledError

    with pytest.raises(KilledError):
        train_folds(recipe, made_subjects, tmp_path, 1, FOLDS, kill)
    assert [is_trained(fold_folder(tmp_path, fold)) for fold in range(FOLDS)] == [
        True,
        False,
        False,
    ]
    told = []
    train_folds(
        recipe, made_subjects, tmp_path, 1, FOLDS, lambda name, now: told.append((name, now.step))
    )
    assert contents(tmp_path) == contents(whole[1])
    assert told[0] == ("fold 2 of 3", 6), "after the five steps that were kept"
    assert len(told) < len(whole[2]) - 5


def test_finished_folds_are_read_back(whole, recipe, made_subjects):
    told = []
    runs = train_folds(recipe, made_subjects, whole[1], 1, FOLDS, lambda *news: told.append(news))
    assert told == []
    assert [r.network_sha256 for r in runs] == [r.network_sha256 for r in whole[0]]


def test_another_training_does_not_use_the_folder(whole, recipe, made_subjects, make_subject):
    other = replace(recipe, meta=replace(recipe.meta, steps=6))
    with pytest.raises(DataError, match=r"fold-0 holds .* another recipe; name another folder"):
        train_folds(other, made_subjects, whole[1], 1, FOLDS)
    with pytest.raises(DataError, match="another seed"):
        train_folds(recipe, made_subjects, whole[1], 2, FOLDS)
    more = made_subjects | {"made/9": make_subject("made/9", 25, 40)}
    with pytest.raises(DataError, match=r"another .*data"):
        train_folds(recipe, more, whole[1], 1, FOLDS)


def test_more_folds_than_subjects(recipe, made_subjects, tmp_path):
    with pytest.raises(DataError, match="9 subjects cannot be dealt out to 10 folds"):
        train_folds(recipe, made_subjects, tmp_path, 1, 10)


def test_finished_folds_can_be_loaded_alone(whole):
    runs = load_folds(whole[1])
    assert [run.held_back for run in runs] == [run.held_back for run in whole[0]]
    assert [run.network_sha256 for run in runs] == [run.network_sha256 for run in whole[0]]


def test_a_folder_without_folds(tmp_path):
    with pytest.raises(DataError, match=r"0 finished folds.*fewbeats train --folds"):
        load_folds(tmp_path)
    with pytest.raises(DataError, match="0 finished folds"):
        load_folds(tmp_path / "nowhere")


def test_a_fold_that_was_not_finished(copied):
    (copied / "fold-1" / "trained.json").unlink()
    with pytest.raises(DataError, match="2 finished folds"):
        load_folds(copied)


@pytest.mark.parametrize("fold", range(FOLDS))
def test_a_fold_that_is_gone(copied, fold):
    """Its subjects would be left out of the figures, and nothing would say so."""
    shutil.rmtree(fold_folder(copied, fold))
    with pytest.raises(DataError, match=r"No fold in .* holds back .*: a fold is missing"):
        load_folds(copied)


def test_a_fold_twice(copied):
    shutil.copytree(copied / "fold-1", copied / "fold-3")
    with pytest.raises(DataError, match="hold a subject back twice"):
        load_folds(copied)


def test_folds_of_two_cross_validations(whole, copied):
    odd = replace(whole[0][2], seed=2)
    odd.save(copied / "fold-2")
    with pytest.raises(DataError, match="different recipes or seeds"):
        load_folds(copied)


def test_a_subjects_figures_do_not_depend_on_who_else_is_scored(whole, made_subjects):
    """With one network: neither on their order, nor on whether another one is there."""
    run = whole[0][0]
    protocols = [Protocol(support, 5) for support in Support]
    names = [name for name in made_subjects if name.startswith("made/")]

    def figures(order):
        subjects = [made_subjects[name] for name in order]
        return [done.subjects for done in evaluate_all(subjects, run.model, protocols)]

    everybody = figures(names)
    assert all(set(found) == set(names) for found in everybody)
    rng = np.random.default_rng(0)
    for _ in range(3):
        assert figures(rng.permutation(names)) == everybody
    for gone in names[:3]:
        rest = figures([name for name in names if name != gone])
        assert rest == [
            {name: score for name, score in found.items() if name != gone} for found in everybody
        ]

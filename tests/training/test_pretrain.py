"""A whole training: who has a part in it, what it keeps, and that it may be killed."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch

from fewbeats.device.adapt import AdaptConfig
from fewbeats.errors import DataError
from fewbeats.training.config import (
    CurriculumConfig,
    FinishConfig,
    MetaConfig,
    NetworkConfig,
    Recipe,
    ValidationConfig,
)
from fewbeats.training.evaluate import Support
from fewbeats.training.pretrain import pretrain
from fewbeats.training.stretches import Stretches
from fewbeats.training.trained import Trained
from fewbeats.training.trainer import MetaTrainer

# Seven steps, kept at 3, 6 and 7; difficulties before 6; as many again; three to finish.
RECIPE = Recipe(
    network=NetworkConfig(channels=(4, 8), kernels=(9, 5), strides=(4, 3), features=6),
    meta=MetaConfig(
        steps=7, tasks=4, va_tasks=2, shots=4, query=5, prototypes=2, learning_rate=0.01
    ),
    adapt=AdaptConfig(rounds=1, steps=2),
    curriculum=CurriculumConfig(enabled=True, every=5),
    validation=ValidationConfig(share=0.34, every=3),
    finish=FinishConfig(steps=3),
)
HELD_BACK = ("made/5",)


def people():
    made_subject = run_path(str(Path(__file__).parents[1] / "conftest.py"))["made_subject"]
    made = [made_subject(f"made/{i}", 15, 15) for i in range(7)]
    return {s.name: s for s in [*made, *(made_subject(f"calm/{i}", 0, 15) for i in range(4))]}


def garbage(subject, windows: bool):
    """The subject with noise for stretches, and for windows too."""
    rng = np.random.default_rng(1)
    cuts = subject.stretches
    noise = rng.standard_normal(cuts.samples.shape).astype(np.float16)
    worse = replace(subject, stretches=Stretches(noise, cuts.va, cuts.partner))
    if windows:
        shape = subject.windows.shape
        worse = replace(worse, windows=rng.standard_normal(shape).astype(np.float32))
    return worse


def assert_same(one: Trained, other: Trained) -> None:
    """Bit for bit."""
    assert one.network_sha256 == other.network_sha256
    assert np.array_equal(one.weights, other.weights) and one.bias == other.bias
    assert one.adapt == other.adapt
    assert np.array_equal(one.prototype_windows, other.prototype_windows)
    assert one.kept_step == other.kept_step


@pytest.fixture(scope="module")
def subjects():
    return people()


@pytest.fixture(scope="module")
def whole(subjects, tmp_path_factory):
    """An uninterrupted training, its folder, and what it told."""
    folder, seen = tmp_path_factory.mktemp("whole"), []
    trained = pretrain(RECIPE, subjects, HELD_BACK, 3, seen.append, folder)
    return trained, folder, seen


class KilledError(Exception):
    """Stands for a power cut."""


def kill_at(phase: str, step: int):
    """A progress callback that ends the training after the phase's step of this number."""
    first: dict[str, int] = {}

    def report(now) -> None:
        first.setdefault(now.phase, now.step)
        if now.phase == phase and now.step - first[phase] + 1 == step:
            raise KilledError

    return report


@pytest.mark.parametrize(
    "kills",
    [
        [("validated", 2)],  # before anything was kept
        [("validated", 4), ("validated", 1)],
        [("validated", 7), ("refit", 1)],
        [("refit", 5), ("finishing", 2)],
    ],
)
def test_a_training_that_was_killed_ends_as_if_it_had_not_been(whole, subjects, tmp_path, kills):
    for phase, step in kills:
        with pytest.raises(KilledError):
            pretrain(RECIPE, subjects, HELD_BACK, 3, kill_at(phase, step), tmp_path)
    seen = []
    trained = pretrain(RECIPE, subjects, HELD_BACK, 3, seen.append, tmp_path)
    assert_same(trained, whole[0])
    story = [json.loads((f / "history.json").read_text()) for f in (tmp_path, whole[1])]
    assert story[0] == story[1]
    assert trained.metrics == whole[0].metrics
    assert seen[-1] == whole[2][-1]
    assert len(seen) < len(whole[2]) or kills == [("validated", 2)]


def test_a_process_that_was_killed_outright_goes_on(whole, subjects, tmp_path):
    """SIGKILL in the refit: nothing of the process is left to tidy up."""
    command = [sys.executable, __file__, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert (tmp_path / "checkpoint.bin").is_file() and not (tmp_path / "trained.json").exists()
    seen = []
    trained = pretrain(RECIPE, subjects, HELD_BACK, 3, seen.append, tmp_path)
    assert_same(trained, whole[0])
    assert {now.phase for now in seen} == {"refit", "finishing"}
    assert not (tmp_path / "checkpoint.bin").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"seed": 4}, "another seed"),
        ({"recipe": replace(RECIPE, head=replace(RECIPE.head, prototypes=5))}, "another recipe"),
        ({"held_back": ()}, "another data, signals, subjects held back"),
        ({"subjects": "others"}, "another data"),
    ],
)
def test_another_training_does_not_go_on_from_here(whole, subjects, tmp_path, change, match):
    with pytest.raises(KilledError):
        pretrain(RECIPE, subjects, HELD_BACK, 3, kill_at("validated", 4), tmp_path)
    asked = {"recipe": RECIPE, "subjects": subjects, "held_back": HELD_BACK, "seed": 3} | change
    if asked["subjects"] == "others":
        asked["subjects"] = subjects | {"made/1": garbage(subjects["made/1"], windows=True)}
    with pytest.raises(DataError, match=f"The checkpoint .* {match}"):
        pretrain(**asked, folder=tmp_path)
    with pytest.raises(DataError, match=f"holds a finished training with {match}"):
        pretrain(**asked, folder=whole[1])


def test_a_finished_folder_is_read_back(whole, subjects):
    seen = []
    again = pretrain(RECIPE, subjects, [*HELD_BACK, *HELD_BACK], 3, seen.append, whole[1])
    assert seen == []
    assert_same(again, whole[0])
    assert again.metrics == whole[0].metrics


def test_the_folder_holds_the_run_and_nothing_that_is_over(whole):
    assert {path.name for path in whole[1].iterdir()} == {
        "recipe.toml", "weights.npz", "trained.json", "history.json", "tensorboard"
    }  # fmt: skip


def test_the_same_seed_trains_the_same_and_without_a_folder_too(whole, subjects):
    backwards = dict(reversed(subjects.items()))
    assert_same(pretrain(RECIPE, backwards, HELD_BACK, 3), whole[0])
    other = pretrain(RECIPE, subjects, HELD_BACK, 4)
    assert other.network_sha256 != whole[0].network_sha256


def test_those_held_back_have_no_part_in_anything(whole, subjects):
    worse = subjects | {name: garbage(subjects[name], windows=True) for name in HELD_BACK}
    trained = pretrain(RECIPE, worse, HELD_BACK, 3)
    assert_same(trained, whole[0])
    assert trained.data_sha256 == whole[0].data_sha256
    assert trained.metrics != whole[0].metrics
    without = {name: s for name, s in subjects.items() if name not in HELD_BACK}
    assert_same(pretrain(RECIPE, without, (), 3), whole[0])


def test_validation_subjects_move_no_weight_without_a_refit(subjects):
    recipe = replace(RECIPE, validation=replace(RECIPE.validation, refit=False))
    trained = pretrain(recipe, subjects, HELD_BACK, 3)
    assert not set(trained.training) & set(trained.validation)
    worse = subjects | {n: garbage(subjects[n], windows=False) for n in trained.validation}
    assert_same(pretrain(recipe, worse, HELD_BACK, 3), trained)
    va = np.concatenate([subjects[n].windows[subjects[n].va] for n in trained.training])
    assert all((va == w).all(axis=(1, 2)).any() for w in trained.prototype_windows)


def test_everybody_has_his_part(whole):
    trained = whole[0]
    assert len(trained.validation) == 3 and len(trained.training) == 10
    assert set(trained.validation) < set(trained.training), "they are trained on in the refit"
    assert {name.partition("/")[0] for name in trained.validation} == {"made", "calm"}
    assert trained.held_back == HELD_BACK
    assert not set(HELD_BACK) & {*trained.training, *trained.validation}
    assert trained.seed == 3 and not trained.synthetic


@pytest.fixture
def _sixth_step_is_best(monkeypatch):
    monkeypatch.setattr(
        "fewbeats.training.pretrain._validated",
        lambda _recipe, trainer, *_: {"auc": 0.9 if trainer.steps_done < 7 else 0.1},
    )


@pytest.mark.usefixtures("_sixth_step_is_best")
def test_weights_that_were_kept_on_the_way_survive_a_kill(subjects, tmp_path):
    recipe = replace(RECIPE, validation=replace(RECIPE.validation, refit=False))
    expected = pretrain(recipe, subjects, HELD_BACK, 3)
    assert expected.kept_step == 6
    with pytest.raises(KilledError):
        pretrain(recipe, subjects, HELD_BACK, 3, kill_at("finishing", 1), tmp_path)
    seen = []
    assert_same(pretrain(recipe, subjects, HELD_BACK, 3, seen.append, tmp_path), expected)
    assert {now.phase for now in seen} == {"finishing"}


@pytest.mark.usefixtures("_sixth_step_is_best")
def test_a_refit_is_a_training_on_everybody_for_as_long_as_was_found_best(subjects, make_sampler):
    recipe = replace(RECIPE, finish=FinishConfig(steps=0))
    trained = pretrain(recipe, subjects, HELD_BACK, 3)
    assert trained.kept_step == 6
    everybody = {name: s for name, s in sorted(subjects.items()) if name not in HELD_BACK}
    trainer = MetaTrainer(recipe, make_sampler(recipe, 3, subjects=everybody), 3)
    for _ in range(trained.kept_step):
        trainer.step()
    network, head, adapt = trainer.result()
    folded = network.folded().state_dict()
    assert all(torch.equal(v, folded[k]) for k, v in trained.network.state_dict().items())
    assert np.array_equal(np.append(trained.weights, trained.bias), head.double().numpy())
    assert trained.adapt == adapt


def test_without_validation_the_last_weights_are_kept(subjects, tmp_path):
    recipe = replace(RECIPE, validation=ValidationConfig(share=0), finish=FinishConfig(steps=0))
    seen = []
    trained = pretrain(recipe, subjects, HELD_BACK, 3, seen.append, tmp_path)
    assert trained.validation == () and trained.kept_step == 7
    assert {now.phase for now in seen} == {"validated"}
    assert [now.step for now in seen] == list(range(1, 8)) and seen[-1].steps == 7
    assert all(now.validation_auc is None for now in seen)
    assert json.loads((tmp_path / "history.json").read_text())["validation"] == []


def test_the_best_step_is_the_last_one_of_the_best_readings_of_the_second_half(
    subjects, tmp_path, monkeypatch
):
    """Means of the last three validations; the first half of the steps cannot win."""
    scores = iter([0.99, 0.5, 0.9, 0.9, 0.4, 0.5, 0.9, 0.2])
    monkeypatch.setattr("fewbeats.training.pretrain._validated", lambda *_: {"auc": next(scores)})
    recipe = replace(
        RECIPE,
        meta=replace(RECIPE.meta, steps=8),
        validation=ValidationConfig(share=0.34, every=1, refit=False),
        finish=FinishConfig(steps=0),
    )
    # From step 4 on: .767, .733, .6, .6, .533.
    trained = pretrain(recipe, subjects, HELD_BACK, 3, folder=tmp_path)
    assert trained.kept_step == 4
    shorter = {name: s for name, s in subjects.items() if name in trained.training}
    alone = replace(recipe, validation=ValidationConfig(share=0))
    trainer = MetaTrainer(alone, _sampler(alone, shorter), 3)
    for _ in range(4):
        trainer.step()
    _, head, adapt = trainer.result()
    assert np.array_equal(np.append(trained.weights, trained.bias), head.double().numpy())
    assert trained.adapt == adapt
    assert json.loads((tmp_path / "history.json").read_text())["kept_step"] == 4


def _sampler(recipe, subjects):
    from fewbeats.training.tasks import TaskSampler

    return TaskSampler(subjects, recipe.window, recipe.meta, recipe.augment, 3)


def test_finishing_is_done_or_left_out(whole, subjects):
    seen = []
    plain = pretrain(
        replace(RECIPE, finish=FinishConfig(steps=0)), subjects, HELD_BACK, 3, seen.append
    )
    assert {now.phase for now in seen} == {"validated", "refit"}
    assert plain.kept_step == whole[0].kept_step and plain.adapt == whole[0].adapt
    assert plain.network_sha256 != whole[0].network_sha256
    windows = subjects["made/0"].windows
    np.testing.assert_allclose(plain.embed(windows), whole[0].embed(windows), atol=0.2)


def test_progress_tells_of_phases_loss_and_validation(whole):
    trained, _, seen = whole
    assert list(dict.fromkeys(now.phase for now in seen)) == ["validated", "refit", "finishing"]
    steps = [now.step for now in seen]
    assert steps == sorted(set(steps))
    assert (seen[-1].step, seen[-1].steps) == (7 + 7 + 3,) * 2
    assert len(seen) == 7 + trained.kept_step + 3
    assert [now.validation_auc for now in seen[:3]] == [None] * 3
    assert all(0 <= now.validation_auc <= 1 for now in seen[3:])
    assert all(np.isfinite(now.loss) for now in seen)


def test_history_tells_what_happened(whole):
    trained, folder, seen = whole
    story = json.loads((folder / "history.json").read_text())
    assert [step for step, _ in story["loss"]] == list(range(1, 8))
    assert [entry["step"] for entry in story["validation"]] == [3, 6, 7]
    assert {"auc", "none", "normals", "first"} <= set(story["validation"][0])
    assert story["validation"][0]["auc"] == seen[3].validation_auc
    assert story["kept_step"] == trained.kept_step >= 6
    assert story["difficulty"]["steps"] == [6]
    validated = set(trained.training) - set(trained.validation)
    assert set(story["difficulty"]["subjects"]) == validated
    assert sum(story["draws"]["counts"][0]) == 6 * 4
    assert story["threshold"][0] == [1, 1.0], "nothing is measured yet: everybody may be drawn"


def test_validation_by_people_without_va_chooses_nothing_and_fails_nothing(subjects):
    """Nobody to score: the last weights are kept."""
    renamed = {n.replace("calm", "zz"): s for n, s in subjects.items()}
    people = {name: replace(s, name=name) for name, s in renamed.items()}
    recipe = replace(RECIPE, validation=ValidationConfig(share=0.1, every=4, refit=False))
    seen = []
    trained = pretrain(recipe, people, (), 3, seen.append)
    assert [name.partition("/")[0] for name in trained.validation] == ["zz"]
    assert trained.kept_step == 7
    assert all(now.validation_auc is None for now in seen)


@pytest.mark.parametrize("method", ["maml", "supervised"])
def test_every_method_makes_a_whole_run(subjects, tmp_path, method):
    recipe = replace(RECIPE, meta=replace(RECIPE.meta, method=method, inner_steps=2))
    trained = pretrain(recipe, subjects, HELD_BACK, 3, folder=tmp_path)
    assert trained.adapt == recipe.adapt
    assert_same(pretrain(recipe, subjects, HELD_BACK, 3, folder=tmp_path), trained)


def test_it_learns_to_tell_waves_it_never_saw(made_subjects):
    recipe = Recipe(
        network=NetworkConfig(channels=(8, 16), kernels=(9, 5), strides=(3, 3), features=8),
        meta=MetaConfig(
            steps=40, tasks=4, va_tasks=3, shots=5, query=8, prototypes=4, learning_rate=0.02
        ),
        adapt=AdaptConfig(rounds=1, steps=2),
        validation=ValidationConfig(share=0),
        finish=FinishConfig(steps=5),
    )
    trained = pretrain(recipe, made_subjects, ["made/5", "calm/2"], seed=3)
    for support in Support:
        assert trained.metrics[support]["mean"]["auc"] > 0.99
    assert trained.metrics["none"]["non_va_only"]["windows"] == 40


def test_training_that_diverges_is_an_error(subjects):
    recipe = replace(RECIPE, meta=replace(RECIPE.meta, learning_rate=1e30))
    with pytest.raises(DataError, match=r"diverged at step \d: lower meta\.learning_rate"):
        pretrain(recipe, subjects, HELD_BACK)


def test_what_cannot_be_trained_on_is_refused(subjects, tmp_path):
    with pytest.raises(DataError, match="made/77"):
        pretrain(RECIPE, subjects, ["made/77"])
    for seed in (-1, 1 << 32):
        with pytest.raises(DataError, match="seed"):
            pretrain(RECIPE, subjects, seed=seed)
    with pytest.raises(DataError, match="both VA and other"):
        pretrain(RECIPE, subjects, [name for name in subjects if name != "made/0"])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        pretrain(RECIPE, subjects, folder=tmp_path / "file")


if __name__ == "__main__":
    torch.set_num_threads(1)

    def end(now) -> None:
        if now.phase == "refit" and now.step == 7 + 4:
            os.kill(os.getpid(), signal.SIGKILL)

    pretrain(RECIPE, people(), HELD_BACK, 3, end, Path(sys.argv[1]))

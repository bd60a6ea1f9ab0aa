"""Every way of training with every way of adapting, on made subjects.

Run as a script, this file scores on two processes what the tests have trained.
"""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch

from fewbeats.errors import DataError
from fewbeats.training import ablation, full_tuning
from fewbeats.training.ablation import (
    ABLATION_FILE,
    arms_of,
    load_ablation,
    save_ablation,
    score_arms,
    train_arms,
)
from fewbeats.training.config import (
    CurriculumConfig,
    FinishConfig,
    MetaConfig,
    NetworkConfig,
    Recipe,
)
from fewbeats.training.finish import RoundedBackbone
from fewbeats.training.network import cost, finished_backbone
from fewbeats.training.report.content import checked_report
from fewbeats.training.trained import embed_windows

RECIPE = Recipe(
    network=NetworkConfig(channels=(4, 8), kernels=(9, 5), strides=(4, 3), features=6),
    meta=MetaConfig(
        tasks=3, va_tasks=2, shots=4, query=4, prototypes=2, inner_steps=1, average=0.5
    ),
    curriculum=CurriculumConfig(enabled=True, every=2),
    finish=FinishConfig(steps=1),
)  # fmt: skip
SCORED = ("made/0", "made/1")
METHODS = ("supervised", "maml", "anil")
ADAPTATIONS = ("none", "fine-tuning", "pre-fine-tuning", "full")
SUPPORTS = ("normals", "first", "random")
if __name__ in ("__main__", "__mp_main__"):  # the script's processes alone
    full_tuning.STEPS = 1
    torch.set_num_threads(1)


def people():
    """Two to score, hard to judge, four with too little VA for it, and two without."""
    made_subject = run_path(str(Path(__file__).parents[1] / "conftest.py"))["made_subject"]
    names = [(name, 40) for name in SCORED] + [(f"few/{i}", 12) for i in range(4)]
    names += [("calm/0", 0), ("calm/1", 0)]
    made = {name: made_subject(name, va, 40) for name, va in names}
    rng = np.random.default_rng(8)
    for name in SCORED:
        windows = made[name].windows
        noise = 3 * rng.standard_normal(windows.shape).astype(np.float32)
        made[name] = replace(made[name], windows=(windows + noise) / np.float32(10**0.5))
    return made


def rounded(trained, subjects):
    """An int8 form without the exporter: the network that rounds as one would."""
    windows = np.concatenate([subjects[name].windows for name in trained.training])
    network = RoundedBackbone(trained.network, torch.from_numpy(windows)).eval()
    return lambda x: embed_windows(network, x)


def small_arms():
    """All arms at two steps; the published network narrower, or it would take minutes."""
    arms = arms_of(RECIPE, 2)
    last = arms[-1].recipe
    narrow = replace(last, network=replace(last.network, features=8))
    return [*arms[:-1], replace(arms[-1], recipe=narrow)]


def one_arm():
    """What two processes score, beside the rule that counts peaks."""
    return small_arms()[1:2]


@pytest.fixture(scope="module")
def subjects():
    return people()


@pytest.fixture(scope="module")
def trained(subjects, tmp_path_factory):
    """Every arm's runs, their folder, and what was told of them."""
    folder, told = tmp_path_factory.mktemp("ablation"), []
    runs = train_arms(small_arms(), subjects, folder, 3, lambda *news: told.append(news))
    return runs, folder, told


@pytest.fixture(scope="module")
def results(trained, subjects):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_tuning, "STEPS", 1)
        return score_arms(small_arms(), trained[0], subjects, rounded, 3)


def cell(result):
    keys = ("method", "curriculum", "adaptation", "precision", "support")
    return tuple(result[key] for key in keys)


def expected_cells():
    ways = [("none", "none"), *product(ADAPTATIONS[1:3], SUPPORTS)]
    ways += [("full", "first"), ("full", "random")]  # which need the wearer's own VA
    cells = {
        (method, curriculum, adaptation, precision, support)
        for method, curriculum, precision in product(METHODS, (True, False), ("fp32", "int8"))
        for adaptation, support in ways
    }
    cells |= {("reference", False, adaptation, "fp32", support) for adaptation, support in ways}
    cells |= {("peaks", False, "fine-tuning", "fp32", support) for support in SUPPORTS}
    return cells | {("peaks", False, "none", "fp32", "none")}


def test_arms_differ_in_what_is_compared_and_in_nothing_else():
    arms = arms_of(RECIPE, 50)
    assert len({arm.folder for arm in arms}) == len(arms) == 7
    for arm in arms:
        recipe = arm.recipe
        assert (recipe.meta.steps, recipe.validation.share, recipe.finish.steps) == (50, 0, 0)
        assert recipe.curriculum.enabled == arm.curriculum
        assert recipe.meta.method == (arm.method if arm.method in METHODS else RECIPE.meta.method)
        alike = replace(
            recipe,
            network=RECIPE.network,
            meta=RECIPE.meta,
            curriculum=RECIPE.curriculum,
            validation=RECIPE.validation,
            finish=RECIPE.finish,
        )
        assert alike == RECIPE
        same_network = recipe.network == RECIPE.network
        assert same_network == (arm.method != "reference")
    assert arms_of(RECIPE)[0].recipe.meta.steps == RECIPE.meta.steps


def test_the_yardstick_has_the_published_width():
    network = arms_of(RECIPE)[-1].recipe.network
    assert (network.kind, network.features) == ("reference", 64)
    assert cost(finished_backbone(network), 250)[0] == 315_202 - 130


def test_every_cell_is_there_once(results):
    found = [cell(result) for result in results]
    assert len(found) == len(set(found)) and set(found) == expected_cells()


def test_a_report_takes_them_all(results, tmp_path):
    content = {
        "format": 1,
        "title": "",
        "notice": "",
        "precision": "int8",
        "made_by": {"command": "", "seed": 0, "versions": {}},
        "recipe": None,
        "bundle": None,
        "data": {"sha256": "", "subjects": {}, "excluded": {}},
    }
    save_ablation(tmp_path / "new", results)
    loaded = load_ablation(tmp_path / "new")
    assert loaded == load_ablation(tmp_path / "new" / ABLATION_FILE) == results
    assert len(checked_report(content | {"ablation": loaded})["ablation"]) == len(results)


def test_all_cells_are_of_the_same_subjects(results):
    for result in results:
        assert result["subjects"] == len(SCORED) and result["shots"] == 10, cell(result)
        assert result["worst"]["subject"] in SCORED
        assert 0 <= result["worst"]["auc"] <= result["auc"]["mean"] <= 1
        assert result["auc"]["low"] <= result["auc"]["mean"] <= result["auc"]["high"]


def test_costs_are_those_of_the_network(results):
    arms = {arm.method: arm.recipe for arm in small_arms()}
    for result in results:
        if result["method"] == "peaks":
            assert (result["parameters"], result["macs"]) == (2, 0)
            continue
        recipe = arms[result["method"]]
        found = cost(finished_backbone(recipe.network), recipe.window.samples)
        assert (result["parameters"], result["macs"]) == found


def test_each_subject_is_scored_by_networks_that_have_not_seen_it(trained, subjects):
    for runs in trained[0].values():
        assert sorted(name for run in runs for name in run.held_back) == sorted(subjects)
        assert all(not set(run.held_back) & set(run.seen) for run in runs)
        assert all(run.validation == () and run.kept_step == 2 for run in runs)


def test_ways_of_adapting_and_precisions_do_differ(results):
    """A grid whose cells were all one network's would look right and say nothing."""
    of = {cell(result): result["auc"]["mean"] for result in results}
    for support, adaptations in (("normals", ADAPTATIONS[1:3]), ("first", ADAPTATIONS[1:])):
        rows = {
            tuple(of[m, True, adaptation, "fp32", support] for m in METHODS)
            for adaptation in adaptations
        }
        assert len(rows) == len(adaptations)
    precisions = [
        [r["auc"]["mean"] for r in results if r["precision"] == p and r["method"] in METHODS]
        for p in ("fp32", "int8")
    ]
    assert precisions[0] != precisions[1]


def test_two_processes_score_alike(trained, results, tmp_path):
    command = [sys.executable, __file__, str(trained[1]), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    wanted = {(arm.method, arm.curriculum) for arm in one_arm()} | {("peaks", False)}
    assert load_ablation(tmp_path) == [
        result for result in results if (result["method"], result["curriculum"]) in wanted
    ]


def test_finished_arms_are_read_back(trained, subjects):
    told = []
    runs = train_arms(small_arms(), subjects, trained[1], 3, lambda *news: told.append(news))
    assert told == []
    assert {name for name, _ in trained[2]} == {
        f"{arm.folder}, fold {fold}" for arm in small_arms() for fold in range(1, 6)
    }
    hashes = {n: [r.network_sha256 for r in of_arm] for n, of_arm in runs.items()}
    assert hashes == {n: [r.network_sha256 for r in of_arm] for n, of_arm in trained[0].items()}


def test_arms_with_other_steps_do_not_use_the_folder(trained, subjects):
    with pytest.raises(DataError, match="another recipe"):
        train_arms(arms_of(RECIPE, 3), subjects, trained[1], 3)


def test_scoring_tells_what_it_is_at(trained, subjects, monkeypatch):
    arms, told = small_arms()[4:5], []
    monkeypatch.setattr(full_tuning, "STEPS", 1)
    monkeypatch.setattr(ablation, "SUPPORTS", ())
    score_arms(arms, trained[0], subjects, rounded, 3, told=lambda *news: told.append(news))
    assert told == [*((n, 6, arms[0].folder) for n in range(1, 6)), (6, 6, "")]


@pytest.mark.parametrize(
    ("text", "match"), [("{", "no JSON"), ("{}", "no list"), (None, "Cannot read")]
)
def test_what_is_no_ablation_is_refused(tmp_path, text, match):
    if text is not None:
        (tmp_path / ABLATION_FILE).write_text(text)
    with pytest.raises(DataError, match=match):
        load_ablation(tmp_path)


def test_a_place_that_takes_no_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        save_ablation(tmp_path / "file", [])


if __name__ == "__main__":
    runs_folder, out = (Path(argument) for argument in sys.argv[1:])
    runs = train_arms(one_arm(), people(), runs_folder, 3)
    save_ablation(out, score_arms(one_arm(), runs, people(), rounded, 3, workers=2))

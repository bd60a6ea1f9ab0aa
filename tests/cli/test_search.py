"""``fewbeats search``: shapes as a table, and as data."""

import json

import pytest

from fewbeats.training.trained import load_trained


def test_shapes_are_tried_on_those_not_held_back(fewbeats_here, ward, tiny, tmp_path) -> None:
    options = ("--data", ward, "--out", tmp_path, "--config", tiny, "--trials", 1)
    done = fewbeats_here("search", *options, "--hold-back", "ward/p0, ward/p10")
    assert done.returncode == 0, done.stderr
    assert "shapes by meta-validation" in done.stdout and "│ * │" in done.stdout
    assert "1 shapes tried for 3 steps; 1 go on" in done.stderr
    first, best = json.loads((tmp_path / "search.json").read_text())
    assert len(first) == len(best) == 1 and best[0]["steps"] == 12
    runs = [load_trained(story.parent) for story in tmp_path.rglob("trained.json")]
    assert len(runs) == 6
    for run in runs:
        assert not {"ward/p0", "ward/p10"} & {*run.seen, *run.held_back}


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--data", "{ward}"), 2, "--out"),
        (("--data", "{ward}", "--out", "{tmp}/out", "--trials", "0"), 2, "--trials"),
        (("--data", "{ward}", "--out", "{tmp}/out", "--hold-back", "ward/x"), 8, "ward/x"),
    ],
)
def test_wrong_usage_is_one_sentence(fewbeats_here, ward, tmp_path, options, code, sentence):
    done = fewbeats_here("search", *(o.format(ward=ward, tmp=tmp_path) for o in options))
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()

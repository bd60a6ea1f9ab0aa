"""The story of a training, and its log."""

import json
import sys

import pytest

from fewbeats.errors import DataError, MissingExtraError
from fewbeats.training.config import CurriculumConfig
from fewbeats.training.curriculum import Curriculum
from fewbeats.training.history import HISTORY_FILE, LOG_FOLDER, History, TensorBoardLog


def told() -> History:
    history = History()
    for step in range(1, 26):
        history.note_step(step, 1 / step, 0.01 * step, step / 25)
    one = Curriculum(CurriculumConfig(enabled=True), ("b", "a"), ("c",), 25, 0)
    one.difficulty, one.draws = {"a": 0.5, "b": 1.5, "c": 1.0}, {"a": 3}
    history.note_curriculum(11, one)
    one.draws["c"] = 2
    history.note_curriculum(21, one)
    history.validation.append({"step": 10, "auc": 0.9, "none": 0.8})
    return history


def test_it_keeps_what_happened():
    history = told()
    assert len(history.loss) == 25 and history.loss[2] == (3, 0.333333)
    assert [step for step, _ in history.learning_rate] == [1, 11, 21]
    assert history.threshold == [(1, 0.04), (11, 0.44), (21, 0.84)]
    assert history.difficulty == {
        "steps": [11, 21],
        "subjects": ["a", "b", "c"],
        "with_va": ["b", "a"],
        "values": [[0.5, 1.5, 1.0]] * 2,
    }
    assert history.draws["counts"] == [[3, 0, 0], [3, 0, 2]]
    assert history.kept_step is None
    assert History().draws["steps"] is not History().draws["steps"]


def test_it_comes_back_from_its_plain_values(tmp_path):
    history = told()
    assert History.of(json.loads(json.dumps(history.as_dict()))) == history
    history.save(tmp_path / "run")
    assert json.loads((tmp_path / "run" / HISTORY_FILE).read_text()) == json.loads(
        json.dumps(history.as_dict())
    )


def test_a_place_that_takes_no_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        told().save(tmp_path / "file")
    with pytest.raises(DataError, match="Cannot write the log"):
        TensorBoardLog(tmp_path / "file", "validated")


def logged(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_the_log_is_one_that_tensorboard_reads(tmp_path):
    with TensorBoardLog(tmp_path, "validated") as log:
        for step in (1, 2, 3):
            log.scalars(step, {"loss": step / 10, "validation/auc": 0.5})
    # A training that was killed after step 2 was kept goes on from there.
    with TensorBoardLog(tmp_path, "validated", from_step=2) as log:
        log.scalars(3, {"loss": 0.7})
    found = logged(tmp_path / LOG_FOLDER / "validated")
    assert found["loss"] == [(1, 0.1), (2, 0.2), (3, 0.7)]
    assert found["validation/auc"] == [(1, 0.5), (2, 0.5)]


def test_without_a_folder_there_is_no_log(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with TensorBoardLog(None, "validated") as log:
        log.scalars(1, {"loss": 1.0})
    with pytest.raises(MissingExtraError, match=r"fewbeats\[training\]"):
        TensorBoardLog(tmp_path, "validated")

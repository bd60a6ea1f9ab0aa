"""The figures of one training."""

from pathlib import Path

import numpy as np
import pytest

from fewbeats.errors import DataError
from fewbeats.training.history import History
from fewbeats.training.report.run_figures import draw_run


def _history(subjects: int = 20) -> dict:
    rng = np.random.default_rng(3)
    names = [f"vfdb/{400 + i}" for i in range(subjects)]
    marks = [50, 100, 150]
    validation = [{"step": s, "auc": 0.9 + s / 2000, "none": 0.9, "first": 0.95} for s in marks]
    counts = np.cumsum(rng.poisson(3, (3, subjects)), axis=0)
    return {
        "loss": [[s, 0.5 * 0.99**s] for s in range(1, 201)],
        "learning_rate": [[s, 0.001] for s in range(1, 201, 10)],
        "threshold": [[s, s / 200] for s in range(1, 201, 10)],
        "validation": validation,
        "difficulty": {
            "steps": marks,
            "subjects": names,
            "values": rng.random((3, subjects)).tolist(),
            "with_va": names[::3],
        },
        "draws": {"steps": marks, "subjects": names, "counts": counts.tolist()},
        "kept_step": 100,
    }


def test_a_whole_history(tmp_path: Path) -> None:
    files = draw_run(tmp_path / "run", _history())
    assert list(files) == ["learning", "difficulty", "draws"]
    for path in files.values():
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
    again = draw_run(tmp_path / "again", _history())
    assert all(files[name].read_bytes() == again[name].read_bytes() for name in files)


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        (["loss"], ["difficulty", "draws"]),
        (["difficulty"], ["learning", "draws"]),
        (["draws", "threshold", "learning_rate"], ["learning", "difficulty"]),
        (["validation", "kept_step", "difficulty", "draws"], ["learning"]),
        (["loss", "difficulty", "threshold"], ["draws"]),
    ],
)
def test_what_is_missing_is_skipped(tmp_path: Path, gone: list[str], left: list[str]) -> None:
    history = {key: value for key, value in _history(3).items() if key not in gone}
    assert list(draw_run(tmp_path, history)) == left


def test_empty_histories(tmp_path: Path) -> None:
    assert draw_run(tmp_path, {}) == {}
    assert draw_run(tmp_path, History().as_dict()) == {}
    history = History(loss=[(1, 0.5)], validation=[{"step": 1}])
    assert list(draw_run(tmp_path, history.as_dict())) == ["learning"]


def test_one_measurement_and_subjects_never_measured(tmp_path: Path) -> None:
    series = {"steps": [1], "subjects": ["a", "b"]}
    history = {"difficulty": series | {"values": [[None, 0.0]]}}
    history["draws"] = series | {"counts": [[0, 0]]}
    assert list(draw_run(tmp_path, history)) == ["difficulty", "draws"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"loss": [[1]]}, r"history.loss\[0\] is \[1\], where a list of 2 is needed"),
        ({"loss": [[1, float("nan")]]}, "nan"),
        ({"threshold": [[1, 1.5]]}, "outside 0 to 1"),
        ({"difficulty": {"steps": [1], "subjects": ["a"], "values": [[1, 2]]}}, "1 subjects"),
        ({"draws": {"steps": [2, 1], "subjects": ["a"], "counts": [[1], [2]]}}, "do not rise"),
        ({"validation": [{"auc": 0.9}]}, "no 'step'"),
    ],
)
def test_a_history_that_does_not_fit(tmp_path: Path, change: dict, says: str) -> None:
    with pytest.raises(DataError, match=says):
        draw_run(tmp_path, _history(3) | change)
    assert not list(tmp_path.iterdir())

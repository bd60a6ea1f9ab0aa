"""The figures of a report: whole PNG files of a sane size, the same each time."""

import struct
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest

from fewbeats.errors import DataError
from fewbeats.training.report.figures import draw_figures

NAMES = [
    *("roc", "subjects", "worst-none", "worst-normals", "worst-first", "worst-random"),
    *("delay", "false-alarms", "ablation-first-10"),
]


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height, from the header chunk (PNG, W3C Recommendation, 11.2.2)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and png[12:16] == b"IHDR" and png[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def _small(make_report: Callable[..., dict]) -> dict:
    """A report that is quickly drawn."""
    report = make_report(6)
    report["windows"] = report["windows"][:1]
    report["ablation"] = report["ablation"][:6]
    report["streaming"] = report["streaming"][:1]
    return report


def test_every_section_has_its_figures(report: dict, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    files = draw_figures(tmp_path / "figures", report)
    assert dict(matplotlib.rcParams) == before
    assert list(files) == NAMES
    assert sorted((tmp_path / "figures").iterdir()) == sorted(files.values())
    for path in files.values():
        png = path.read_bytes()
        width, height = size_of(png)
        assert 600 <= width <= 1600 and 300 <= height <= 2500
        assert len(png) > 10_000 and b"tEXt" not in png and b"tIME" not in png


def test_the_same_content_gives_the_same_bytes(make_report, tmp_path: Path) -> None:
    first = draw_figures(tmp_path / "a", _small(make_report))
    with matplotlib.rc_context({"lines.linewidth": 9, "savefig.dpi": 30, "font.size": 20}):
        again = draw_figures(tmp_path / "b", _small(make_report))
    assert {k: p.read_bytes() for k, p in first.items()} == {
        k: p.read_bytes() for k, p in again.items()
    }


@pytest.mark.parametrize(
    ("section", "gone"),
    [
        ("windows", {"roc", "subjects", "worst-random"}),
        ("streaming", {"delay", "false-alarms"}),
        ("ablation", {"ablation-first-10"}),
    ],
)
def test_a_missing_section_has_none(make_report, tmp_path: Path, section: str, gone: set) -> None:
    report = _small(make_report)
    all_names = {"roc", "subjects", "worst-random", "delay", "false-alarms", "ablation-first-10"}
    del report[section]
    assert set(draw_figures(tmp_path, report)) == all_names - gone


def test_what_does_not_exist_is_not_drawn(make_report, tmp_path: Path) -> None:
    report = _small(make_report)
    evaluation, streaming = report["windows"][0], report["streaming"][0]
    evaluation |= {"roc": None, "strips": []}
    evaluation["subjects"]["vfdb/01"] |= {"auc": None, "f1": None}
    streaming["total"]["delay_s"] = {"median": None, "p90": None, "values": []}
    streaming["total"]["false_alarms_per_hour"] = None
    report["streaming"] = [streaming]
    report["ablation"][0]["auc"] = {"mean": None, "low": None, "high": None}
    report["ablation"][1]["f1"] |= {"low": None, "high": None}
    assert set(draw_figures(tmp_path, report)) == {"subjects", "false-alarms", "ablation-first-10"}


def test_extreme_values_are_drawn(make_report, tmp_path: Path) -> None:
    report = make_report(130)  # more subjects than are named
    evaluation = report["windows"][0]
    report["windows"] = [evaluation]
    for figures in evaluation["subjects"].values():
        figures |= {"auc": 1.0, "f1": 1.0}
    evaluation["roc"] = {"false_positive_rate": [0.0, 1.0], "sensitivity": [1.0, 1.0]}
    strip = evaluation["strips"][0]
    gap = [None] * 250
    evaluation["strips"] = [strip | {"samples": gap}, strip | {"samples": [60.0, None] * 125}]
    evaluation["strips"][0]["subject"] = "db/$x_1$"
    report["streaming"] = report["streaming"][:1]
    report["streaming"][0]["total"]["delay_s"]["values"] = [0.0, 0.0, 90_000.0]
    del report["ablation"]
    for path in draw_figures(tmp_path, report).values():
        width, height = size_of(path.read_bytes())
        assert max(width, height) <= 2500


def test_a_place_that_cannot_be_written(make_report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        draw_figures(tmp_path / "file", _small(make_report))

"""Reading and checking report.json."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import DataError
from fewbeats.export.parity import Parity as MeasuredParity
from fewbeats.training.by_rhythm import summarise_strips
from fewbeats.training.evaluate import Judged, evaluate_all, standard_protocols
from fewbeats.training.report.content import (
    Evaluation,
    Parity,
    RhythmScore,
    load_report,
    most_shots,
    save_report,
    watched_in_order,
)
from fewbeats.training.report.schema import Limits, checked


def test_what_is_saved_is_loaded(report: dict, tmp_path: Path) -> None:
    path = save_report(tmp_path / "new" / "run", report)
    assert path.name == "report.json" and [path] == list(path.parent.iterdir())
    loaded = load_report(path)
    assert loaded == load_report(path.parent)
    assert json.loads(json.dumps(loaded)) == json.loads(json.dumps(report))


def test_sections_may_be_missing(report: dict, tmp_path: Path) -> None:
    for section in ("windows", "streaming", "ablation", "parity"):
        del report[section]
    report["recipe"] = report["bundle"] = None
    assert load_report(save_report(tmp_path, report)) == report


def _delete(report: dict, path: str) -> None:
    *parents, last = path.split(".")
    for key in parents:
        report = report[int(key) if key.isdigit() else key]
    del report[last]


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("made_by.command", "report.made_by has no 'command'"),
        ("windows.3.mean.auc", "report.windows[3].mean has no 'auc'"),
        ("windows.0.subjects.vfdb/01.f1", "report.windows[0].subjects.vfdb/01 has no 'f1'"),
        ("streaming.1.total.delay_s", "report.streaming[1].total has no 'delay_s'"),
        ("streaming.0.by_rhythm.2.met", "report.streaming[0].by_rhythm[2] has no 'met'"),
        ("ablation.7.auc.low", "report.ablation[7].auc has no 'low'"),
        ("parity.4.agreement", "report.parity[4] has no 'agreement'"),
        ("data.excluded", "report.data has no 'excluded'"),
        ("notice", "report has no 'notice'"),
    ],
)
def test_a_missing_key_is_named(report: dict, tmp_path: Path, path: str, where: str) -> None:
    _delete(report, path)
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report))
    with pytest.raises(DataError) as error:
        load_report(file)
    assert where in str(error.value) and str(file) in str(error.value)
    with pytest.raises(DataError, match="has no"):
        save_report(tmp_path / "other", report)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("section", "change", "says"),
    [
        ("windows", {"count": True}, "windows[0].count is True, where a whole number is needed"),
        ("windows", {"worst": {"subject": "a", "auc": 1.2}}, "worst.auc is 1.2, outside 0 to 1"),
        ("windows", {"subjects": []}, "windows[0].subjects is [], where an object is needed"),
        ("windows", {"interval": None}, "interval is null, where an object is needed"),
        ("windows", {"protocol": {"support": "../x", "shots": 1}}, "support is '../x', not one of"),
        ("windows", {"roc": {"false_positive_rate": [0], "sensitivity": []}}, "unequal length"),
        ("streaming", {"hop_s": "1"}, "hop_s is '1', where a number is needed"),
        ("streaming", {"by_rhythm": {}}, "by_rhythm is {}, where a list is needed"),
        ("ablation", {"precision": "int4"}, "precision is 'int4', not one of 'fp32', 'int8'"),
        ("parity", {"windows": -1}, "windows is -1, outside 0 to inf"),
    ],
)
def test_a_wrong_value_is_named(
    report: dict, tmp_path: Path, section: str, change: dict, says: str
) -> None:
    report[section][0] |= change
    with pytest.raises(DataError) as error:
        save_report(tmp_path, report)
    assert says in str(error.value)


@pytest.mark.parametrize("section", ["windows", "streaming", "ablation"])
def test_no_result_hides_another(report: dict, tmp_path: Path, section: str) -> None:
    report[section].append(deepcopy(report[section][0]))
    with pytest.raises(DataError, match="twice"):
        save_report(tmp_path, report)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON"),
        ('{"format": 1, "title"', "Was its writing interrupted"),
        ('{"format": NaN}', "NaN is no number"),
        ("[" * 100_000, "no JSON"),
        ("[]", "an object is needed"),
        ('{"format": 2}', "format is 2; this version of fewbeats reads 1"),
        ("{}", "format is None"),
    ],
)
def test_a_file_that_is_no_report(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(DataError, match=says):
        load_report(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the report"):
        load_report(tmp_path)
    (tmp_path / "report.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match="no JSON"):
        load_report(tmp_path)


def test_a_recipe_that_is_no_json_is_not_written(report: dict, tmp_path: Path) -> None:
    report["recipe"] = {"lr": float("inf")}
    with pytest.raises(DataError, match="cannot be written as JSON"):
        save_report(tmp_path, report)
    assert not list(tmp_path.iterdir())


def test_order_is_by_support_then_shots(report: dict) -> None:
    most = [e["protocol"] for e in most_shots(report["windows"])]
    assert [p["support"] for p in most] == ["none", "normals", "first", "random"]
    assert {p["shots"] for p in most} == {10}
    assert [s["support"] for s in watched_in_order(report)] == ["none", "normals", "first"]


def test_an_evaluation_is_what_a_report_expects(make_subject) -> None:
    class Peaks:
        def judge(self, subject, support, kind) -> Judged:
            width = (np.abs(subject.windows[:, 0]) > 0.5).mean(axis=1)
            return Judged(width.astype(np.float64), 0.5)

    subjects = {name: make_subject(name, va, 60) for name, va in [("a/1", 40), ("b/2", 0)]}
    for evaluation in evaluate_all(subjects, Peaks(), standard_protocols()):
        found: Evaluation = checked(evaluation.as_dict(), Evaluation, "evaluation")
        assert found["count"] == 1 and found["roc"]
    for evaluation in evaluate_all({}, Peaks(), standard_protocols()[:1]):
        assert checked(evaluation.as_dict(), Evaluation, "evaluation")["worst"] is None


def test_rhythms_and_parity_are_what_a_report_expects() -> None:
    assert len(checked(summarise_strips({}), list[RhythmScore], "by_rhythm")) == 7
    measured = MeasuredParity(10, 1.0, 1.0, 0.9, 0.9, 3, 0.1).as_dict()
    assert checked({"fold": 0, **measured}, Parity, "parity")["windows"] == 10


class Shape(TypedDict):
    share: Annotated[float, Limits(0, 1)] | None
    pair: tuple[int, int]
    kind: NotRequired[Literal["a", "b"]]
    names: list[dict[str, bool]]


def test_checked_keeps_what_is_more(tmp_path: Path) -> None:
    value = {"share": 1, "pair": [1, 2], "names": [{"x": True}], "more": object}
    found = checked(value, Shape, "it")
    assert found == value | {"share": 1.0, "pair": (1, 2)} and isinstance(found["share"], float)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["share", "pair", "kind", "names"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(json_values)
def test_checked_gives_the_type_or_says_what_is_wrong(value: Any) -> None:
    try:
        found = checked(value, Shape, "it")
    except DataError as error:
        assert str(error).startswith("it")
    else:
        assert found["share"] is None or 0 <= found["share"] <= 1
        assert len(found["pair"]) == 2 and isinstance(found["names"], list)

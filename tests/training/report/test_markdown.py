"""The report in words and tables."""

import re
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.training.report.cells import NOTHING, amount, between, plain, share, table
from fewbeats.training.report.markdown import report_markdown


def _section(markdown: str, title: str) -> str:
    return markdown.split(f"## {title}")[1].split("\n## ")[0]


def _rows(text: str, start: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_it_begins_with_what_a_reader_needs_first(report: dict) -> None:
    markdown = report_markdown(report, drawn_by="fewbeats report RUN --docs docs/results.md")
    head = markdown.split("\n## ")[0]
    assert markdown.startswith(f"# {report['title']}\n")
    assert head.index(report["notice"]) < head.index(report["made_by"]["command"])
    for text in ("fewbeats report RUN --docs", report["data"]["sha256"], "| seed | 3 |"):
        assert text in head
    assert "93 (cudb 27, mitdb 38, nsrdb 12, vfdb 16)" in head
    assert "torch 2.6.0" in head and "default 2" in head


def test_the_table_by_support_and_shots(report: dict) -> None:
    section = _section(report_markdown(report), "Subjects never seen")
    rows = _rows(section.split("<details>")[0], "`")
    assert [(row[0], row[1]) for row in rows] == [
        (f"`{support}`", k)
        for support in ("none", "normals", "first", "random")
        for k in ("1", "5", "10")
    ]
    for evaluation in report["windows"]:
        protocol, mean, interval = (evaluation[k] for k in ("protocol", "mean", "interval"))
        key = (f"`{protocol['support']}`", str(protocol["shots"]))
        row = next(row for row in rows if tuple(row[:2]) == key)
        low, high = interval["f1"]
        assert row[2] == "40"
        assert row[4] == f"{evaluation['worst']['auc']:.3f} ({evaluation['worst']['subject']})"
        assert row[5] == f"{evaluation['percentile_10']['auc']:.3f}"
        assert row[7] == f"{mean['f1']:.3f} [{low:.3f}, {high:.3f}]"
        assert row[8].startswith(f"{mean['sensitivity']:.3f}")
    assert "\n| cudb/cu00 | `none` | 10 |" in section


def test_streaming_by_database_and_total(report: dict) -> None:
    section = _section(report_markdown(report), "Whole records")
    for evaluation in report["streaming"]:
        support = evaluation["support"]
        name = "none" if support == "none" else f"{support}, K = 10"
        for database, of in (evaluation["databases"] | {"**total**": evaluation["total"]}).items():
            episodes, alarms = _rows(section, f"{name} | {database} |")
            assert episodes[2:4] == [str(of["episodes"]), str(of["found"])]
            assert alarms[2:4] == [str(of["records"]), f"{of['hours']:.2f}"]
            assert alarms[7] == str(of["false_alarms"])
    nobody = _rows(section, "none | nsrdb |")[0]
    assert nobody[2:] == ["0", "0"] + [NOTHING] * 8


def test_what_was_missed_and_refused_is_named(report: dict) -> None:
    episode = {"rhythm": "VF", "onset_s": 12.5, "end_s": 20.0, "delay_s": None}
    report["streaming"][0] |= {
        "records": {
            "cudb/cu09": {
                "calibration": "refused: the start disagrees",
                "truth": [episode, episode | {"delay_s": 3.0, "onset_s": 99.0}],
                "false_alarms_at_s": [77.7, 88.8],
            }
        },
        "excluded": {"vfdb/602": "lacks 4 VA windows"},
    }
    section = _section(report_markdown(report), "Whole records")
    assert "| cudb/cu09 | first, K = 10 | VF | 12.5 | 7.5 |" in section
    assert "| cudb/cu09 | first, K = 10 | 2 | 78, 89 |" in section
    assert "99.0" not in section
    assert "refused: the start disagrees" in section and "lacks 4 VA windows" in section


def test_goals_are_met_not_met_or_untold(report: dict) -> None:
    untold = next(s for s in report["streaming"] if s["support"] == "first")["by_rhythm"][1]
    untold |= {"value": 0.7, "lower_limit_90": 0.5}
    section = _section(report_markdown(report), "By rhythm")
    assert _rows(section, "first, K = 10 | rapid VT")[0][4] == "too few, **under it so far**"
    rows = _rows(section, "none |")
    found = {row[1]: (row[4], row[5], row[8], row[9]) for row in rows}
    assert found == {
        "coarse VF": ("met", "312", "0.962", "0.947"),
        "rapid VT": ("too few", "24", "0.875", "0.751"),
        "normal sinus": ("met", "5,210", ">0.999", "0.999"),
        "other non-shockable": ("**not met**", "2,011", "0.941", "0.933"),
        "asystole": ("too few", "0", NOTHING, NOTHING),
        "fine VF": ("no goal", "40", "0.775", "0.670"),
    }


def test_ablation_has_a_row_a_method_and_a_column_an_adaptation(report: dict) -> None:
    section = _section(report_markdown(report), "What each part is worth")
    assert "Support `first`, K = 10, 40 subjects" in section
    for result in report["ablation"]:
        mean, low, high = (result["auc"][k] for k in ("mean", "low", "high"))
        assert f"{mean:.3f} [{low:.3f}, {high:.3f}]" in section
    auc, f1, worst = _rows(section, "MAML + curriculum | int8 |")
    assert all(len(row) == 6 and row[-1] == "–" for row in (auc, f1, worst))
    assert "(vfdb/421)" in worst[2]
    assert "| peak counter | 2 | 1,000 |" in section


def test_parity_exclusions_and_single_class_subjects(report: dict) -> None:
    markdown = report_markdown(report)
    parity = _section(markdown, "int8 against fp32")
    assert "| 4 | 18,957 | 0.99951 | 0.9984 | 0.9980 | 0.9980 | 1.23 |" in parity
    alone = _section(markdown, "Subjects with a single class")
    assert "| `none` | 10 | 1 | 4,321 | 0.07 % |" in alone and "`first`" not in alone
    out = _section(markdown, "Left out, and why")
    assert "| has n VA and n other windows; n of each are needed | 2 |" in out
    assert "| cudb/cu30 | 1811 invalid samples leave no whole window | everywhere |" in out
    assert "none 10, normals 10, first 10, random 10" in out
    assert "mixed 1,234" in out


def test_published_figures_stand_beside_ours_with_the_caveat(report: dict) -> None:
    section = _section(report_markdown(report), "Beside the published figures")
    assert "| 0.984 | 0.940 |" in section and "Not like for like" in section
    assert len(_rows(section, "**here")) == 4
    first = _rows(section, "`first`")[0]
    assert first[2:4] == ["0.984", "0.899"] and first[5:7] == ["0.785", "0.230"]
    report["windows"] = [e for e in report["windows"] if e["protocol"]["shots"] != 10]
    assert "Beside the published figures" not in report_markdown(report)


def test_figures_are_shown_where_they_were_drawn(report: dict) -> None:
    names = ("roc", "subjects", "worst-first", "delay", "false-alarms", "ablation-first-10")
    links = {name: f"my figures/{name}.png" for name in names}
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", report_markdown(report, links))
    assert sorted(shown) == sorted(f"my%20figures/{name}.png" for name in names)
    assert "![" not in report_markdown(report)


def test_what_does_not_exist_is_never_a_number(report: dict) -> None:
    evaluation = report["windows"][0]
    nothing = dict.fromkeys(evaluation["mean"])
    evaluation |= {"mean": nothing, "interval": nothing, "percentile_10": nothing}
    evaluation |= {"count": 0, "subjects": {}, "worst": None, "roc": None}
    section = _section(report_markdown(report), "Subjects never seen")
    assert f"| `random` | 10 | 0 | {' | '.join([NOTHING] * 7)} |" in section


@pytest.mark.parametrize("section", ["windows", "streaming", "ablation", "parity"])
def test_each_section_may_be_missing(report: dict, section: str) -> None:
    whole = report_markdown(report)
    fewer = deepcopy(report)
    del fewer[section]
    empty = report | {section: []}
    assert report_markdown(fewer) == report_markdown(empty)
    assert len(report_markdown(fewer)) < len(whole)


def test_nothing_but_the_opening(report: dict) -> None:
    for section in ("windows", "streaming", "ablation", "parity"):
        del report[section]
    report["data"]["excluded"] = {}
    report["recipe"] = report["bundle"] = None
    markdown = report_markdown(report)
    assert re.findall("^## .*", markdown, re.MULTILINE) == ["## Left out, and why"]
    assert "No subject was left out." in markdown


def test_a_name_breaks_no_table(report: dict) -> None:
    report["data"]["excluded"] = {"a|b\n<b>": "`why` | [so](http://x)"}
    assert r"| a\|b \<b\> | \`why\` \| \[so\](http://x) | everywhere |" in report_markdown(report)
    assert plain("a\\|") == "a\\\\\\|"


@given(st.floats(0, 1), st.integers(1, 5))
def test_only_one_reads_as_one_and_only_nought_as_nought(value: float, places: int) -> None:
    text = share(value, places)
    number = float(text.lstrip("<>"))
    assert (text[0] not in "<>" and number == 1) == (value == 1)
    assert (text[0] not in "<>" and number == 0) == (value == 0)
    assert abs(number - value) <= 10.0**-places * 1.001


def test_cells() -> None:
    assert share(None) == between(None, None) == amount(None) == NOTHING
    assert between(0.5, None) == between(0.5, (None, 0.6)) == "0.500"
    assert (amount(0), amount(0.00042), amount(1234.56)) == ("0", "0.00042", "1,234.6")
    assert table(("a", "b"), [("x", "1")]) == ["| a | b |", "| --- | ---: |", "| x | 1 |", ""]

"""Label maps: what a file beside the records may say, and what it is told when it is wrong."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fewbeats.errors import DataError
from fewbeats.firmware_bridge.rhythms import Rhythm
from fewbeats.training.label_map import (
    FILE_NAME,
    LabelMap,
    Style,
    known_databases,
    label_map_of,
    parse_label_map,
)

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_example_of_the_docs():
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    label_map = parse_label_map(example, "docs/data.md")
    usual = LabelMap("")
    assert label_map.terms == "Telemetry of the example ward, CC BY 4.0"
    assert label_map.citation == "Doe et al., 2025"
    assert label_map.rhythms == {
        **usual.rhythms,
        "TDP": Rhythm.VT,
        "PACED": Rhythm.OTHER,
    }
    assert set(label_map.noise_strings) == {"NOISE", "ARTEFACT"}
    assert label_map.default_rhythm is Rhythm.UNLABELLED
    assert label_map.style is Style.AUTO
    assert label_map.beats == usual.beats
    assert label_map.ventricular == usual.ventricular
    assert (label_map.va_opens, label_map.va_closes) == ({"["}, {"]"})
    assert (label_map.va_is, label_map.beats_are) == (Rhythm.VF, Rhythm.OTHER)
    assert label_map.noise_symbols == {"~"}
    assert label_map.uncertain_before_va_s == 60.0
    assert (label_map.extension, label_map.lead) == ("atr", "II")
    assert label_map.subjects == {"p07b": "p07a"}
    assert label_map.faults == {"p07a": ((12.5, 14.0), (600.0, float("inf")))}


def test_an_empty_file_is_the_usual_map():
    assert parse_label_map("", "x", LabelMap("mine")) == LabelMap("mine")


def test_the_known_databases():
    known = known_databases()
    assert list(known) == ["cudb", "mitdb", "nsrdb", "vfdb"]
    assert all("ODC-By" in one.terms and "Goldberger" in one.citation for one in known.values())
    assert known["mitdb"].subjects == {"202": "201"}
    assert known["cudb"].faults == {"cu02": ((490.0, float("inf")),), "cu17": ((421.0, 459.0),)}


def test_the_file_beside_the_records_goes_before_the_folders_name(tmp_path):
    folder = tmp_path / "cudb"
    folder.mkdir()
    assert label_map_of(folder) is known_databases()["cudb"]
    (folder / FILE_NAME).write_text('name = "Mine"\n[symbols]\nva_is = "vfl"')
    assert label_map_of(folder).name == "Mine"
    assert label_map_of(folder).va_is is Rhythm.VFL


def test_a_file_changes_only_what_it_says(tmp_path):
    for name, text in (
        ("mitdb", '[leads]\nuse = 1\n[subjects]\n101 = "100"'),
        ("cudb", "[leads]\nuse = 1\n[faults]\ncu01 = [[1, 2]]\ncu17 = []"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE_NAME).write_text(text)
    known = known_databases()
    people = {"202": "201", "101": "100"}
    assert label_map_of(tmp_path / "mitdb") == replace(known["mitdb"], lead=1, subjects=people)
    cudb = label_map_of(tmp_path / "cudb", "cu02")
    assert cudb.faults == {"cu01": ((1.0, 2.0),), "cu02": ((490.0, float("inf")),), "cu17": ()}
    assert replace(cudb, faults={}, lead=0) == replace(known["cudb"], faults={})


def test_rhythms_of_a_file_come_on_top_of_those_it_changes():
    base = parse_label_map('[rhythms]\nTDP = "vt"\nARTEFACT = "noise"\nNSR = "other"', "x")
    label_map = parse_label_map('[rhythms]\nARTEFACT = "other"\nAB = "sinus"', "y", base)
    assert label_map.rhythms == {
        **base.rhythms,
        "ARTEFACT": Rhythm.OTHER,
        "AB": Rhythm.SINUS,
    }
    assert set(label_map.noise_strings) == {"NOISE"}


def test_another_name_does_not_inherit_the_licence(tmp_path):
    folder = tmp_path / "cudb"
    folder.mkdir()
    (folder / FILE_NAME).write_text('name = "Mine"')
    mine = label_map_of(folder)
    assert (mine.terms, mine.citation) == ("Mine, unknown licence", "")
    (folder / FILE_NAME).write_text('citation = "Doe"')
    ours = label_map_of(folder)
    assert ours.terms == known_databases()["cudb"].terms
    assert ours.citation == "Doe"


@pytest.mark.parametrize("record", ["cu02", "cu17", "201", "202"])
def test_a_copy_under_another_name_keeps_its_faults_and_its_people(tmp_path, record):
    known = known_databases()["cudb" if record.startswith("cu") else "mitdb"]
    copied = label_map_of(tmp_path, record)
    assert (copied.faults, copied.subjects) == (known.faults, known.subjects)
    assert (copied.terms, copied.citation) == (f"{tmp_path.name}, unknown licence", "")
    (tmp_path / FILE_NAME).write_text("[leads]\nuse = 1")
    assert label_map_of(tmp_path, record) == replace(copied, lead=1)


def test_a_record_of_no_known_name_or_of_another_known_database_has_its_own_map(tmp_path):
    assert label_map_of(tmp_path, "100") == LabelMap(tmp_path.name)
    assert label_map_of(tmp_path / "vfdb", "202") is known_databases()["vfdb"]


def test_two_people_of_those_names_can_be_kept_apart(tmp_path):
    (tmp_path / FILE_NAME).write_text('[subjects]\n202 = "202"')
    assert label_map_of(tmp_path, "202").subjects == {"202": "202"}


def test_strings_may_be_written_as_in_the_annotations():
    label_map = parse_label_map('[rhythms]\n"(tdp" = "vt"\nNOISE = "unlabelled"\nVT = "noise"', "x")
    assert label_map.rhythms["TDP"] is Rhythm.VT
    assert label_map.rhythms["NOISE"] is Rhythm.UNLABELLED
    assert set(label_map.noise_strings) == {"VT"}
    assert "VT" not in label_map.rhythms


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = ", "is no TOML"),
        ("name = 3", "name = 3 must be a text"),
        ('title = "x"', r"title is unknown; known are annotator, citation, faults"),
        ("rhythms = 1", r"rhythms = 1 must be a table, \[rhythms\]"),
        ('[rhythms]\nX = "vtt"', r"\[rhythms\] X = 'vtt' must be one of sinus.*noise"),
        ("[rhythms]\nX = 1", r"\[rhythms\] X = 1 must be one of"),
        ('[rhythms]\ndefault = "noise"', r"\[rhythms\] default = 'noise' must be one of sinus"),
        ('[symbols]\nstyle = "beat"', r"style = 'beat' must be one of auto, rhythm-changes"),
        ("[symbols]\nbeats = 1", r"\[symbols\] beats = 1 must be symbols"),
        ('[symbols]\nva_is = "VF"', r"va_is = 'VF' must be one of"),
        ("[symbols]\nuncertain_before_va_s = -1", r"= -1 must be a number of seconds"),
        ("[symbols]\nuncertain_before_va_s = true", r"= True must be a number of seconds"),
        ("[symbols]\nbrackets = 1", r"\[symbols\] brackets is unknown"),
        ("[annotator]\nextension = 1", r"\[annotator\] extension = 1 must be a text"),
        ("[leads]\nuse = -1", r"\[leads\] use = -1 must be the name of a lead"),
        ("[leads]\nuse = true", r"\[leads\] use = True must be"),
        ("[subjects]\na = 1", r"\[subjects\] a = 1 must be a text"),
        ("[faults]\na = [[2.0, 1.0]]", r"\[faults\] a = \[\[2.0, 1.0\]\] must be a list"),
        ("[faults]\na = [1.0, 2.0]", r"\[faults\] a = .* must be a list of \[start, stop\]"),
        ("[faults]\na = [[0, nan]]", r"\[faults\] a = .* must be a list"),
    ],
)
def test_what_is_wrong_names_file_key_value_and_what_is_allowed(tmp_path, text, sentence):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(DataError, match=sentence) as caught:
        label_map_of(tmp_path)
    assert str(tmp_path / FILE_NAME) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="no UTF-8"):
        label_map_of(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        label_map_of(tmp_path)

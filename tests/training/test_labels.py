"""The labelling rule, on made annotations and on real ones."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import DataError
from fewbeats.firmware_bridge.codecs.wfdb_annotations import Annotations
from fewbeats.firmware_bridge.records import open_record
from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels
from fewbeats.training.datasets import read_labels
from fewbeats.training.label_map import parse_label_map
from fewbeats.training.labels import WindowLabel, label_record, label_windows

RATE_HZ = 100.0


def annotations(*entries: tuple[float, str] | tuple[float, str, str]) -> Annotations:
    """Entries of (seconds, symbol[, aux])."""
    return Annotations(
        samples=np.array([round(e[0] * RATE_HZ) for e in entries], dtype=np.int64),
        symbols=tuple(e[1] for e in entries),
        aux=tuple(e[2] if len(e) > 2 else "" for e in entries),
        subtypes=np.zeros(len(entries), dtype=np.int64),
        channels=np.zeros(len(entries), dtype=np.int64),
        rate_hz=None,
    )


def labelled(*entries, length_s: float = 100, toml: str = "") -> RhythmLabels:
    label_map = parse_label_map(toml, "test")
    return label_record(annotations(*entries), round(length_s * RATE_HZ), RATE_HZ, "r1", label_map)


def at(labels: RhythmLabels, second: float) -> Rhythm:
    return Rhythm(labels.rhythms[round(second * labels.rate_hz)])


def beats(start_s: float, stop_s: float, every_s: float = 0.8) -> list[tuple[float, str]]:
    return [(float(t), "N") for t in np.arange(start_s, stop_s, every_s)]


@pytest.mark.parametrize(
    ("aux", "rhythm"),
    [
        ("(VT", Rhythm.VT),
        ("(VF\0", Rhythm.VF),
        ("(VFIB", Rhythm.VF),
        ("(VFL", Rhythm.VFL),
        ("(ASYS", Rhythm.ASYSTOLE),
        ("(N", Rhythm.SINUS),
        ("(HGEA", Rhythm.OTHER),
        ("(VER", Rhythm.OTHER),
        ("(SVTA", Rhythm.OTHER),
        ("(TORSADES", Rhythm.UNLABELLED),
    ],
)
def test_a_rhythm_string_names_what_follows_it(aux, rhythm):
    labels = labelled((10, "+", aux))
    assert at(labels, 9.9) is Rhythm.UNLABELLED
    assert at(labels, 10) is rhythm
    assert at(labels, 99.9) is rhythm


def test_noise_hides_the_rhythm_and_does_not_end_it():
    labels = labelled((0, "+", "(VT"), (20, "+", "(NOISE"), (30, "+", "(N"))
    assert at(labels, 25) is Rhythm.VT
    assert labels.noise[2000:3000].all()
    assert labels.noise.sum() == 1000
    assert at(labels, 30) is Rhythm.SINUS


def test_noise_before_the_first_rhythm_is_unlabelled():
    labels = labelled((0, "+", "(NOISE"), (50, "+", "(VT"))
    assert at(labels, 10) is Rhythm.UNLABELLED


def test_notes_that_are_no_rhythm_change_nothing():
    labels = labelled((0, "+", "(N"), (20, '"', "TS"), (30, "V"))
    assert (labels.rhythms == Rhythm.SINUS).all()


def test_brackets_in_a_record_with_rhythms_are_flutter():
    labels = labelled((0, "+", "(N"), (20, "["), (21, "!"), (30, "]"), (31, "N"))
    assert labels.va_episodes_s() == [(20.0, 30.0)]
    assert at(labels, 25) is Rhythm.VFL


def test_the_minute_before_fibrillation_is_unlabelled_but_not_an_episode_in_it():
    labels = labelled(*beats(0, 70), (70, "["), (80, "]"), *beats(80.5, 90), (90, "["))
    assert at(labels, 9) is Rhythm.OTHER
    assert at(labels, 11) is Rhythm.UNLABELLED
    assert at(labels, 75) is Rhythm.VF
    assert at(labels, 85) is Rhythm.UNLABELLED
    assert at(labels, 99) is Rhythm.VF, "an open bracket lasts to the end"


def test_noise_marks_come_in_pairs_and_any_beat_ends_them():
    labels = labelled(
        *beats(0, 10), (10, "~"), (12, "~"), *beats(13, 20), (20, "~"), (20.5, "N"), (90, "[")
    )
    assert labels.noise[1000:1200].all()
    assert labels.noise[2000:2050].all()
    assert labels.noise.sum() == 250


def test_without_brackets_noise_marks_hide_nothing():
    assert not labelled(*beats(0, 10), (10, "~"), *beats(20, 30)).noise.any()


def test_beats_alone_are_sinus_rhythm_where_there_are_beats():
    labels = labelled(*beats(0, 20), *beats(30, 100))
    assert at(labels, 10) is Rhythm.SINUS
    assert at(labels, 25) is Rhythm.UNLABELLED
    assert at(labels, 50) is Rhythm.SINUS


def test_a_marked_artefact_keeps_the_rhythm():
    labels = labelled(*beats(0, 20), (22, "|"), (24, "|"), *beats(26, 100))
    assert (labels.rhythms[:9900] == Rhythm.SINUS).all()


def test_fast_beats_without_a_class_may_be_tachycardia():
    labels = labelled(*beats(0, 50), *beats(50, 60, every_s=0.28), *beats(60, 100))
    assert at(labels, 55) is Rhythm.UNLABELLED
    assert at(labels, 40) is Rhythm.SINUS


@pytest.mark.parametrize("symbol", ["V", "E", "!"])
def test_three_ventricular_beats_in_a_row_may_be_tachycardia(symbol):
    def day(run: int) -> RhythmLabels:
        middle = [(20 + 0.6 * n, symbol) for n in range(run)]
        return labelled(*beats(0, 20), *middle, *beats(20 + 0.6 * run, 100))

    assert (day(2).rhythms[:9900] == Rhythm.SINUS).all()
    three = day(3).rhythms
    assert (three[1950:2180] == Rhythm.UNLABELLED).all()
    assert (three[:1900] == Rhythm.SINUS).all()
    assert (three[2180:9900] == Rhythm.SINUS).all()


def test_a_run_of_ventricular_beats_at_either_end_is_unlabelled_to_the_end():
    run = [(float(t), "V") for t in np.arange(0, 3, 0.6)]
    assert at(labelled(*run, *beats(3, 100)), 0) is Rhythm.UNLABELLED
    late = [(97 + t, "V") for t, _ in run]
    assert at(labelled(*beats(0, 97), *late), 99.9) is Rhythm.UNLABELLED


def test_a_map_explains_strings_and_the_rest_stay_usual():
    labels = labelled(
        *((0, "+", "(TDP"), (20, "+", "(N"), (40, "+", "(HUM"), (50, "+", "(X")),
        toml='[rhythms]\nTDP = "vt"\nHUM = "noise"\ndefault = "other"',
    )
    assert [at(labels, second) for second in (10, 30, 45, 60)] == [
        *(Rhythm.VT, Rhythm.SINUS, Rhythm.SINUS, Rhythm.OTHER)
    ]
    assert labels.noise[4000:5000].all() and labels.noise.sum() == 1000


def test_a_map_names_other_symbols():
    labels = labelled(
        *((float(t), "b") for t in range(30)),
        *((30, "("), (40, ")"), (60, "#"), (70, "#")),
        toml="""[symbols]
beats = "b"
va_opens = "("
va_closes = ")"
va_is = "vt"
beats_are = "sinus"
noise = "#"
uncertain_before_va_s = 5
""",
    )
    assert [at(labels, second) for second in (20, 27, 35, 45)] == [
        *(Rhythm.SINUS, Rhythm.UNLABELLED, Rhythm.VT, Rhythm.UNLABELLED)
    ]
    assert labels.noise.sum() == 1000


def test_a_style_that_a_record_does_not_have_leaves_it_unlabelled():
    entries = beats(0, 100)
    assert not labelled(*entries, toml='[symbols]\nstyle = "rhythm-changes"').rhythms.any()
    other = labelled(*entries, toml='[symbols]\nstyle = "brackets"')
    assert at(other, 50) is Rhythm.OTHER


def test_brackets_are_va_even_where_beats_are_said_to_tell_the_rhythm():
    labels = labelled(*beats(0, 70), (70, "["), (80, "]"), toml='[symbols]\nstyle = "beats"')
    assert labels.va_episodes_s() == [(70.0, 80.0)]
    assert at(labels, 65) is Rhythm.UNLABELLED


def test_faults_are_unlabelled_to_the_end_of_the_record_and_no_further():
    labels = labelled((0, "+", "(VT"), toml="[faults]\nr1 = [[10, 20.5], [90, inf]]\nr2 = [[0, 5]]")
    unknown = labels.rhythms == Rhythm.UNLABELLED
    assert unknown[1000:2050].all() and unknown[9000:].all()
    assert unknown.sum() == 1050 + 1000


def test_no_annotations_is_an_error():
    with pytest.raises(DataError, match="no annotations"):
        labelled()


def windows(labels: RhythmLabels, *start_s: float) -> list[WindowLabel]:
    return [WindowLabel(n) for n in label_windows(labels, np.array(start_s), 2.0)]


def test_a_window_needs_all_its_samples_to_agree():
    labels = labelled((0, "+", "(N"), (20, "+", "(VT"), (40, "+", "(NOISE"), (50, "+", "(VFL"))
    assert windows(labels, 18, 18.01, 19, 20, 38, 38.5, 49.9, 50) == [
        WindowLabel.NON_VA,
        WindowLabel.MIXED,
        WindowLabel.MIXED,
        WindowLabel.VA,
        WindowLabel.VA,
        WindowLabel.NOISY,
        WindowLabel.NOISY,
        WindowLabel.VA,
    ]


def test_vt_into_vf_is_va_all_along_and_asystole_is_not():
    labels = labelled((0, "+", "(VT"), (10, "+", "(VF"), (20, "+", "(ASYS"))
    assert windows(labels, 9, 25) == [WindowLabel.VA, WindowLabel.NON_VA]


def test_a_window_outside_the_labels_is_unlabelled():
    labels = labelled((0, "+", "(N"))
    assert windows(labels, -0.1, 98, 98.5) == [
        WindowLabel.UNLABELLED,
        WindowLabel.NON_VA,
        WindowLabel.UNLABELLED,
    ]


@given(
    st.lists(st.sampled_from(list(Rhythm)), min_size=1, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.floats(-3, 15),
    st.sampled_from([125.0, 250.0, 360.0]),
)
def test_the_window_rule_against_its_words(rhythms, noise, start_s, rate_hz):
    second = round(rate_hz)
    labels = RhythmLabels(
        np.repeat(np.array([int(r) for r in rhythms], dtype=np.uint8), second),
        np.repeat(np.array(noise[: len(rhythms)]), second),
        rate_hz,
    )
    start, stop = int(np.floor(start_s * rate_hz)), int(np.ceil((start_s + 2) * rate_hz))
    if start < 0 or stop > len(labels):
        expected = {WindowLabel.UNLABELLED}
    else:
        inside = [Rhythm(r) for r in labels.rhythms[start:stop]]
        va = [r.is_va for r in inside]
        if Rhythm.UNLABELLED in inside:
            expected = {WindowLabel.UNLABELLED}
        elif labels.noise[start:stop].any():
            expected = {WindowLabel.NOISY}
        elif all(va) or not any(va):
            expected = {WindowLabel.VA if va[0] else WindowLabel.NON_VA}
        else:
            expected = {WindowLabel.MIXED}
    grid = np.round(start_s * rate_hz)
    if abs(start_s * rate_hz - grid) > 1e-5:
        assert set(windows(labels, start_s)) == expected


def real(data_dir: Path, name: str) -> RhythmLabels:
    record = open_record(data_dir / name)
    return read_labels(record)


def test_vfdb_418(data_dir):
    labels = real(data_dir, "vfdb/418")
    assert at(labels, 100) is Rhythm.SINUS
    assert at(labels, 402) is Rhythm.VFL
    assert not labels.noise.any()
    assert len(labels.va_episodes_s()) > 30


def test_vfdb_605_is_nearly_all_noise(data_dir):
    labels = real(data_dir, "vfdb/605")
    assert at(labels, 100) is Rhythm.UNLABELLED
    assert labels.noise.mean() > 0.98
    assert at(labels, 1660) is Rhythm.VT


def test_cudb_cu01(data_dir):
    labels = real(data_dir, "cudb/cu01")
    ((onset_s, end_s),) = labels.va_episodes_s()
    assert (round(onset_s), round(end_s)) == (214, 509)
    assert at(labels, 160) is Rhythm.UNLABELLED
    assert at(labels, 100) is Rhythm.OTHER


def test_cudb_faults_are_left_out(data_dir):
    for name, second in (("cu02", 500.0), ("cu17", 440.0)):
        assert at(real(data_dir, f"cudb/{name}"), second) is Rhythm.UNLABELLED
    assert not real(data_dir, "cudb/cu02").va.any()


def test_mitdb_207_has_six_episodes_of_flutter(data_dir):
    labels = real(data_dir, "mitdb/207")
    flutter = np.diff((labels.rhythms == Rhythm.VFL).astype(int)) == 1
    assert flutter.sum() == 6
    assert at(labels, 39) is Rhythm.VT


def test_nsrdb_has_no_va(data_dir):
    labels = real(data_dir, "nsrdb/16265")
    assert set(np.unique(labels.rhythms)) <= {Rhythm.UNLABELLED, Rhythm.SINUS}
    assert (labels.rhythms == Rhythm.SINUS).mean() > 0.95

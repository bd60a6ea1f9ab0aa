"""Counting peaks, against a count spelled out, and the rule's calibration."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fewbeats.device.preprocess import WindowSpec
from fewbeats.errors import CalibrationError, DataError
from fewbeats.training.datasets import load_subject
from fewbeats.training.evaluate import Protocol, Support, evaluate, evaluate_all, standard_protocols
from fewbeats.training.peak_rule import MOST_RAISED, PeakRule, count_peaks, fit_peak_rule

NOBODY = np.empty(0, dtype=np.int64)


def beating(subject, rates):
    """The subject with windows of so many triangle waves, up and down, instead of its own."""
    phase = np.array(rates)[:, None] * np.arange(250) / 250 + 0.75
    waves = np.abs((phase % 1) * 4 - 2) - 1
    return replace(subject, windows=waves[:, None].astype(np.float32))


def counted(window, height, refractory):
    """The definition, sample by sample."""
    peaks, last = 0, None
    limit = height * window.std()
    for i in range(1, len(window) - 1):
        turns = window[i] > window[i - 1] and window[i] >= window[i + 1]
        if window[i] > limit and turns and (last is None or i - last >= refractory):
            peaks, last = peaks + 1, i
    return peaks


@given(
    hnp.arrays(np.float32, (3, 40), elements=st.integers(-4, 4).map(float)),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.integers(1, 12),
)
def test_peaks_are_counted_as_defined(windows, height, refractory):
    expected = [counted(window, height, refractory) for window in windows]
    assert count_peaks(windows, height, refractory).tolist() == expected


@given(hnp.arrays(np.float32, (4, 60), elements=st.floats(-4, 4, width=16)), st.integers(1, 12))
def test_higher_peaks_are_fewer_and_windows_stand_alone(windows, refractory):
    low, high = (count_peaks(windows, height, 1) for height in (0.5, 1.5))
    assert (high <= low).all()
    alone = [count_peaks(window[None], 0.5, refractory)[0] for window in windows]
    assert count_peaks(windows, 0.5, refractory).tolist() == alone


def test_flat_windows_have_no_peak_and_damaged_ones_are_refused():
    assert count_peaks(np.zeros((2, 50), dtype=np.float32), 1.0, 5).tolist() == [0, 0]
    assert count_peaks(np.zeros((0, 50), dtype=np.float32), 1.0, 5).tolist() == []
    damaged = np.zeros((1, 50))
    damaged[0, 7] = np.nan
    with pytest.raises(DataError, match="not finite"):
        count_peaks(damaged, 1.0, 5)


def test_a_window_with_enough_peaks_is_va(make_subject):
    rates = [1, 3, 4, 5, 6, 8]
    subject = beating(make_subject("made/9", 3, 3), rates)
    judged = PeakRule(1.0, 5, 2.0).judge(subject, NOBODY, Support.NONE)
    assert (judged.log_odds >= judged.edge).tolist() == [False] * 3 + [True] * 3
    assert (np.diff(judged.log_odds) > 0).all()


def test_swapped_electrodes_change_nothing(made_subjects):
    subject = made_subjects["made/1"]
    rule = PeakRule(1.0, 5, 2.0)
    upright = rule.judge(subject, NOBODY, Support.NONE)
    swapped = rule.judge(replace(subject, windows=-subject.windows), NOBODY, Support.NONE)
    assert (upright.log_odds == swapped.log_odds).all()


def threshold(rule, subject, support, kind):
    judged = rule.judge(subject, np.array(support), kind)
    plain = rule.judge(subject, NOBODY, Support.NONE)
    moved = plain.log_odds - judged.log_odds
    assert (moved == moved[0]).all()
    assert judged.edge == plain.edge
    return rule.peaks + moved[0]


def test_a_support_of_both_classes_moves_the_threshold_between_them(make_subject):
    slow = beating(make_subject("made/slow", 2, 2), [1, 2, 4, 4])
    fast = beating(make_subject("made/fast", 2, 2), [6, 7, 9, 9])
    rule = PeakRule(1.0, 6, 2.0)
    everything = [0, 1, 2, 3]
    for kind in (Support.FIRST, Support.RANDOM):
        # 3 and 4 part the slow one's classes, 8 and 9 the fast one's: nearest to 6 are 4 and 8.
        assert threshold(rule, slow, everything, kind) == 4
        assert threshold(rule, fast, everything, kind) == 8


def test_a_support_that_the_trained_threshold_parts_leaves_it(make_subject):
    subject = beating(make_subject("made/9", 2, 2), [1, 2, 8, 8])
    for peaks in range(3, 9):
        rule = PeakRule(1.0, peaks, 2.0)
        assert threshold(rule, subject, [0, 1, 2, 3], Support.FIRST) == peaks


def test_of_two_thresholds_as_near_the_lower_is_taken(make_subject):
    # Every threshold but those that part a pair scores the same: 3 and 7, with 5 between them.
    subject = beating(make_subject("made/9", 2, 2), [2, 6, 3, 7])
    rule = PeakRule(1.0, 5, 2.0)
    assert threshold(rule, subject, [0, 1, 2, 3], Support.FIRST) == 3


@pytest.mark.parametrize(
    ("normals", "expected"), [([1, 2], 5), ([5, 2], 6), ([6, 2], 7), ([9, 9], 5 + MOST_RAISED)]
)
def test_normals_only_raise_the_threshold_and_not_far(make_subject, normals, expected):
    subject = beating(make_subject("made/9", 2, 2), [*normals, 8, 8])
    assert threshold(PeakRule(1.0, 5, 2.0), subject, [0, 1], Support.NORMALS) == expected


@pytest.mark.parametrize(
    ("support", "kind"),
    [([0, 1], Support.FIRST), ([2, 3], Support.RANDOM), ([], Support.FIRST), ([], Support.NORMALS)],
)
def test_a_support_without_a_class_is_refused(make_subject, support, kind):
    subject = make_subject("made/9", 2, 2)
    with pytest.raises(CalibrationError, match="cannot move"):
        PeakRule(1.0, 5, 2.0).judge(subject, np.array(support, dtype=np.int64), kind)


def test_other_windows_than_it_was_fitted_to_are_refused(make_subject):
    with pytest.raises(DataError, match="fitted to windows of 4 s"):
        PeakRule(1.0, 5, 4.0).judge(make_subject("made/9", 2, 2), NOBODY, Support.NONE)


def test_the_fit_parts_made_subjects_whatever_their_order(made_subjects):
    people = list(made_subjects.values())
    rule = fit_peak_rule(people)
    assert fit_peak_rule(people[::-1]) == rule
    result = evaluate(made_subjects, rule, Protocol(Support.NONE))
    assert result.mean("auc") > 0.95
    assert (result.mean("sensitivity") + result.mean("specificity")) / 2 > 0.95


def test_the_fit_weighs_subjects_and_not_windows(make_subject):
    # One has 400 fast normals, two have 20 slow ones: the majority of subjects decides.
    many = beating(make_subject("made/0", 4, 400), [6] * 400 + [9] * 4)
    few = [beating(make_subject(f"made/{i}", 20, 20), [1] * 20 + [5] * 20) for i in (1, 2)]
    assert fit_peak_rule([many, *few]).peaks <= 5


def test_nothing_to_fit_to_is_refused(make_subject):
    one = make_subject("made/1", 20, 20)
    for people, message in [
        ([], "one length"),
        ([one, replace(one, window_s=4.0)], "one length"),
        ([make_subject("calm/1", 0, 20)], "one is missing"),
    ]:
        with pytest.raises(DataError, match=message):
            fit_peak_rule(people)


def test_real_records_are_judged_under_every_protocol(data_dir):
    names = ("vfdb/418", "vfdb/421", "cudb/cu01", "cudb/cu04")
    people = [
        load_subject(name, [data_dir / f"{name}.hea"], WindowSpec())
        for name in names
        if (data_dir / f"{name}.hea").is_file()
    ]
    if len(people) < 2:
        pytest.skip("too few of the records that this test scores")
    rule = fit_peak_rule(people[:-1])
    for result in evaluate_all(people[-1:], rule, standard_protocols()):
        assert set(result.subjects) | set(result.excluded) == {people[-1].name}
        json_like = result.as_dict()
        assert json_like["mean"]["auc"] is None or 0 <= json_like["mean"]["auc"] <= 1

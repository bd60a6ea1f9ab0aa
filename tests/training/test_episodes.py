"""Matching of reports to episodes."""

import numpy as np
import pytest

from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels
from fewbeats.training.episodes import (
    EARLY_S,
    Durations,
    Reported,
    measure_durations,
    score_episodes,
)

RATE_HZ = 10.0


def labels(*parts: tuple[Rhythm, float]) -> RhythmLabels:
    rhythms = np.concatenate(
        [np.full(round(seconds * RATE_HZ), int(r), dtype=np.uint8) for r, seconds in parts]
    )
    return RhythmLabels(rhythms, np.zeros(len(rhythms), dtype=bool), RATE_HZ)


TRUTH = labels((Rhythm.SINUS, 30), (Rhythm.VT, 10), (Rhythm.SINUS, 30), (Rhythm.VF, 20),
               (Rhythm.UNLABELLED, 10), (Rhythm.SINUS, 20))  # fmt: skip


def test_found_missed_and_false() -> None:
    score = score_episodes(TRUTH, [Reported(31, 35, 41), Reported(5, 9, 12)])
    assert [(e.rhythm, e.onset_s, e.end_s, e.delay_s) for e in score.episodes] == [
        (Rhythm.VT, 30.0, 40.0, 5.0),
        (Rhythm.VF, 70.0, 90.0, None),
    ]
    assert score.missed == score.episodes[1:]
    assert score.false_alarms == (Reported(5, 9, 12),)
    assert not score.perfect


def test_perfect() -> None:
    score = score_episodes(TRUTH, [Reported(31, 35, 41), Reported(70.5, 74, 95)])
    assert score.perfect and score.unscored == ()


def test_the_earliest_of_several_alarms_sets_the_delay() -> None:
    score = score_episodes(TRUTH, [Reported(80, 84, 90), Reported(71, 73, 75)])
    assert score.episodes[1].delay_s == 3.0 and score.false_alarms == ()


def test_an_episode_under_way_when_the_watch_began_is_not_scored() -> None:
    score = score_episodes(TRUTH, [Reported(36, 38, 40)], from_s=35)
    assert [e.onset_s for e in score.episodes] == [70.0]
    assert score.unscored == (Reported(36, 38, 40),) and score.false_alarms == ()


def test_a_report_where_nobody_knows_the_truth_is_not_false() -> None:
    score = score_episodes(TRUTH, [Reported(92, 95, 98)])
    assert score.unscored == (Reported(92, 95, 98),) and score.false_alarms == ()


def test_touching_ends_do_not_overlap() -> None:
    score = score_episodes(TRUTH, [Reported(25, 28, 30)])
    assert score.false_alarms and score.episodes[0].delay_s is None


def test_no_va_and_no_report_is_perfect() -> None:
    assert score_episodes(labels((Rhythm.SINUS, 60)), []).perfect


def test_an_alarm_that_never_ends_is_no_perfect_detector() -> None:
    score = score_episodes(TRUTH, [Reported(31, 35, 95)])
    assert score.missed == () and score.overlong == (Reported(31, 35, 95),)
    assert not score.perfect


def test_an_alarm_that_came_after_its_episode_finds_nothing() -> None:
    score = score_episodes(TRUTH, [Reported(39, 44, 46), Reported(70.5, 74, 90)])
    assert [e.onset_s for e in score.missed] == [30.0]


def test_right_reports_are_those_that_touch_a_scored_episode() -> None:
    late = Reported(39, 44, 46)
    score = score_episodes(TRUTH, [Reported(5, 9, 12), late, Reported(71, 74, 90)])
    assert score.right == (late, Reported(71, 74, 90))
    assert score_episodes(TRUTH, [Reported(36, 38, 40)], from_s=35).right == ()


CALM = labels((Rhythm.SINUS, 300), (Rhythm.UNLABELLED, 60), (Rhythm.VF, 60), (Rhythm.SINUS, 60))


@pytest.mark.parametrize("end_s", [120.0, 300.1, 301.0, 361.0, 430.0])
def test_an_alarm_without_evidence_is_false_whatever_it_reaches_later(end_s) -> None:
    report = Reported(100, 104, end_s)
    score = score_episodes(CALM, [report])
    assert score.false_alarms == (report,)
    assert score.right == score.unscored == score.overlong == ()
    # EC57 counts the overlap; but the episode began under an alarm, so none was raised about it.
    assert [e.delay_s for e in score.episodes] == [0.0 if end_s > 360 else None]


def test_the_alarm_that_is_about_the_episode_is_right_beside_a_false_one() -> None:
    false, true = Reported(100, 104, 300.5), Reported(361, 365, 420)
    score = score_episodes(CALM, [false, true])
    assert (score.false_alarms, score.right) == ((false,), (true,))
    assert score.episodes[0].delay_s == 5.0 and not score.perfect


def test_evidence_of_which_a_part_is_unlabelled_settles_nothing() -> None:
    before, within = Reported(297, 300.1, 305), Reported(310, 314, 320)
    score = score_episodes(CALM, [before, within])
    assert score.unscored == (before, within) and score.false_alarms == ()
    reaching = Reported(310, 314, 365)
    score = score_episodes(CALM, [reaching])
    assert score.right == (reaching,) and score.episodes[0].delay_s == 0


def test_evidence_from_before_the_watch_settles_nothing() -> None:
    score = score_episodes(CALM, [Reported(97, 101, 110)], from_s=100)
    assert score.unscored == (Reported(97, 101, 110),) and score.false_alarms == ()


def test_an_unscored_alarm_that_goes_on_without_va_is_overlong() -> None:
    truth = labels((Rhythm.UNLABELLED, 10), (Rhythm.SINUS, 60))
    report = Reported(5, 9, 60)
    score = score_episodes(truth, [report])
    assert score.unscored == score.overlong == (report,) and not score.perfect


def test_an_alarm_shortly_before_the_annotated_onset_is_about_its_episode() -> None:
    early = Reported(30 - EARLY_S - 4, 30 - EARLY_S, 38)
    score = score_episodes(TRUTH, [early])
    assert score.right == (early,) and score.episodes[0].delay_s == 0
    earlier = Reported(early.onset_s - 0.1, early.confirmed_s - 0.1, 38)
    assert score_episodes(TRUTH, [earlier]).false_alarms == (earlier,)


def test_durations_count_only_where_the_labels_settle_it() -> None:
    # VT 30-40 s, VF 70-90 s, then unlabelled to 100 s, sinus to 120 s
    reported = [Reported(35, 38, 45), Reported(80, 84, 95), Reported(110, 114, 115)]
    assert measure_durations(TRUTH, reported) == Durations(
        true_s=30.0, reported_s=10.0 + 10.0 + 5.0, both_s=5.0 + 10.0, outside_s=80.0
    )
    assert measure_durations(TRUTH, reported, from_s=82) == Durations(8.0, 13.0, 8.0, 20.0)


def test_noise_counts_for_neither_side_but_a_false_alarm_in_it_is_one() -> None:
    noise = np.zeros(len(TRUTH), dtype=bool)
    noise[350:420] = True
    noisy = RhythmLabels(TRUTH.rhythms, noise, RATE_HZ)
    assert measure_durations(noisy, [Reported(30, 33, 45)]) == Durations(25.0, 8.0, 5.0, 80.0)
    noise[50:200] = True
    assert score_episodes(noisy, [Reported(6, 9, 15)]).false_alarms == (Reported(6, 9, 15),)


def test_overlapping_reports_are_not_counted_twice() -> None:
    reported = [Reported(70, 74, 80), Reported(75, 79, 85)]
    assert measure_durations(TRUTH, reported) == Durations(30.0, 15.0, 15.0, 80.0)

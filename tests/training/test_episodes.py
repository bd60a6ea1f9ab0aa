"""Matching of reports to episodes."""

import numpy as np

from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels
from fewbeats.training.episodes import Reported, score_episodes

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

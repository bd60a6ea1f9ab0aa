"""Windows to episodes: confirmation, hysteresis, gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.device.detector import Alarm, Detector, DetectorConfig, EpisodeEnded, Reason
from fewbeats.errors import SignalError

CONFIG = DetectorConfig(confirm=3, among=4, release=2, hysteresis=1.0)
S = 10**9


def play(probabilities: list[float | None], config: DetectorConfig = CONFIG) -> list[object]:
    """One window a second, 2 s long; None is a window that could not be judged."""
    detector, events = Detector(config, 0.5), []
    for second, probability in enumerate(probabilities):
        if probability is None:
            detector.interrupt()
            continue
        _, event = detector.judge(second * S, (second + 2) * S, probability)
        if event:
            events.append(event)
    if ended := detector.finish():
        events.append(ended)
    return events


def test_an_episode_from_onset_to_end() -> None:
    events = play([0.1, 0.1, 0.9, 0.8, 0.95, 0.9, 0.1, 0.1, 0.1])
    assert [type(event) for event in events] == [Alarm, EpisodeEnded]
    alarm, ended = events
    assert alarm.episode.onset_ns == 3 * S  # middle of the window from 2 to 4
    assert alarm.episode.confirmed_ns == 6 * S
    assert alarm.episode.end_ns is None
    assert [w.start_ns // S for w in alarm.episode.windows] == [1, 2, 3, 4]
    assert ended.episode.end_ns == 7 * S
    assert ended.episode.peak_probability == 0.95
    assert ended.episode.reasons == (Reason.RHYTHM_ENDED,)


def test_m_of_n() -> None:
    assert play([0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1]) == []
    assert len(play([0.9, 0.1, 0.9, 0.9, 0.1, 0.1])) == 2


def test_hysteresis_holds_an_episode_that_wavers() -> None:
    wavering = [0.9] * 4 + [0.4, 0.45, 0.3, 0.4] + [0.9] + [0.0, 0.0]  # release is at 0.27
    events = play(wavering)
    assert [type(event) for event in events] == [Alarm, EpisodeEnded]
    assert events[1].episode.end_ns == 10 * S


def test_no_evidence_is_carried_across_a_gap() -> None:
    assert play([0.9, 0.9, None, 0.9, 0.9, None, 0.9, 0.9]) == []


def test_an_alarm_outlives_a_gap_and_says_so() -> None:
    events = play([0.9, 0.9, 0.9, None, None, 0.1, 0.1])
    assert [type(event) for event in events] == [Alarm, EpisodeEnded]
    assert events[1].episode.reasons == (Reason.SIGNAL_LOST, Reason.RHYTHM_ENDED)
    assert events[1].episode.end_ns == 4 * S  # nothing after the gap was VA


def test_one_quiet_window_on_each_side_of_a_gap_does_not_end_an_alarm() -> None:
    events = play([0.9, 0.9, 0.9, 0.1, None, 0.1, 0.9, 0.1, 0.1])
    assert len(events) == 2
    assert events[1].episode.end_ns == 8 * S


def test_the_end_of_the_stream_closes_an_episode() -> None:
    events = play([0.9, 0.9, 0.9])
    assert events[1].episode.reasons == (Reason.STREAM_ENDED,)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=60))
def test_alarms_and_ends_alternate(probabilities: list[float | None]) -> None:
    kinds = [type(event) for event in play(probabilities)]
    assert kinds == [Alarm, EpisodeEnded] * (len(kinds) // 2)


@given(st.lists(st.floats(0, 0.49), max_size=60))
def test_nothing_over_the_threshold_nothing_reported(probabilities: list[float]) -> None:
    assert play(probabilities) == []


def test_times_of_episodes_are_in_order() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        for event in play(rng.random(40).tolist()):
            if isinstance(event, EpisodeEnded):
                episode = event.episode
                assert episode.onset_ns < episode.confirmed_ns <= episode.end_ns


@pytest.mark.parametrize(
    "fields", [{"confirm": 0}, {"confirm": 9}, {"release": 0}, {"hysteresis": -1}]
)
def test_contradictions_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(SignalError, match="confirm <= among"):
        DetectorConfig(**fields)  # type: ignore[arg-type]

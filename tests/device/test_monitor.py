"""The whole way on the device: states, alarms, and never a word across a gap."""

from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.device.detector import Alarm, EpisodeEnded, Judgement, Reason
from fewbeats.device.head import Head
from fewbeats.device.monitor import Blindness, CannotJudge, Event, JudgingAgain, Monitor
from fewbeats.errors import HeadMismatchError, RateError
from fewbeats.firmware_bridge.samples import EcgChunk, chunk_of

RATE_HZ = 250.0
S = 10**9


def always(bundle: Bundle, probability: float) -> Head:
    """A head that gives every window the same probability."""
    bias = float(np.log(probability / (1 - probability)))
    return replace(bundle.start, weights=np.zeros_like(bundle.start.weights), bias=bias)


def ecg_uv(seconds: float) -> np.ndarray:
    t_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return 600 * np.sin(2 * np.pi * 1.2 * t_s) ** 15


def chunks(parts: list[tuple[str, float]]) -> list[EcgChunk]:
    """One-second chunks: 'ecg', 'flat', 'off' (lead-off), 'lost' (nothing arrives)."""
    made, second = [], 0
    for kind, seconds in parts:
        for _ in range(int(seconds)):
            samples = ecg_uv(1) if kind == "ecg" else np.zeros(250)
            chunk = chunk_of(samples, RATE_HZ, second * S, second)
            if kind == "off":
                nothing = np.full(250, np.nan, dtype=np.float32)
                chunk = replace(
                    chunk, samples_uv=nothing, valid=np.zeros(250, dtype=bool), lead_off=True
                )
            if kind != "lost":
                made.append(chunk)
            second += 1
    return made


def play(monitor: Monitor, parts: list[tuple[str, float]]) -> list[Event]:
    events = [event for chunk in chunks(parts) for event in monitor.feed(chunk)]
    return events + monitor.finish()


def states(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Judgement)]


def test_a_good_signal_is_judged_every_second(tiny_bundle: Bundle) -> None:
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.1))
    events = play(monitor, [("ecg", 60)])
    assert states(events) == []
    assert len(events) == monitor.windows_judged == 58
    assert monitor.judged_ns > 57 * S and monitor.start_ns == 0 and monitor.end_ns == 60 * S


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("flat", Blindness.FLAT), ("off", Blindness.LEAD_OFF)],
)
def test_what_cannot_be_judged_is_announced_and_taken_back(
    tiny_bundle: Bundle, kind: str, reason: Blindness
) -> None:
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.1))
    events = states(play(monitor, [("ecg", 20), (kind, 10), ("ecg", 10)]))
    assert [type(event) for event in events] == [CannotJudge, JudgingAgain]
    blind, again = events
    assert isinstance(blind, CannotJudge) and isinstance(again, JudgingAgain)
    assert blind.reason is reason and blind.reason.sentence
    assert 19 * S <= blind.since_ns <= 21.2 * S and blind.at_ns - blind.since_ns <= 6 * S
    assert 30 * S < again.at_ns < 36 * S  # an alarm needs four windows in a row
    assert not monitor.blind


def test_lost_packets_are_a_gap_that_is_told(tiny_bundle: Bundle) -> None:
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.1))
    events = states(play(monitor, [("ecg", 20), ("lost", 30), ("ecg", 10)]))
    assert [type(event) for event in events] == [CannotJudge, JudgingAgain]
    assert events[0].reason is Blindness.BROKEN_SIGNAL  # type: ignore[union-attr]
    assert monitor.judged_ns < 30 * S


def test_silence_is_told_by_the_clock(tiny_bundle: Bundle) -> None:
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.1))
    play(monitor, [("ecg", 10)])
    assert monitor.silence(3 * S) == []
    (blind,) = monitor.silence(5 * S)
    assert isinstance(blind, CannotJudge) and blind.reason is Blindness.NO_DATA
    assert monitor.silence(60 * S) == []  # told once


def test_a_sensor_that_never_spoke_is_told_too(tiny_bundle: Bundle) -> None:
    monitor = Monitor(tiny_bundle)
    events = monitor.silence(5 * S) + monitor.silence(6 * S)
    assert [type(event) for event in events] == [CannotJudge]


def test_a_gap_never_becomes_a_rhythm(tiny_bundle: Bundle) -> None:
    """Windows that all look like VA, but never enough of them between two gaps."""
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.99))
    pieces = [("ecg", 4), ("lost", 1)] * 20
    assert not any(isinstance(event, Alarm) for event in play(monitor, pieces))
    pieces = [("ecg", 4), ("off", 1)] * 20
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.99))
    assert not any(isinstance(event, Alarm) for event in play(monitor, pieces))


@pytest.mark.parametrize("every_s", [3, 4, 5])
def test_a_signal_that_breaks_before_anything_is_confirmed_is_told(
    tiny_bundle: Bundle, every_s: int
) -> None:
    """No alarm is possible then, however clear the VA; people must hear of it."""
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.99))
    seen = states(play(monitor, [("ecg", every_s), ("lost", 1)] * (90 // every_s)))
    assert isinstance(seen[0], CannotJudge)
    assert seen[0].reason is Blindness.BROKEN_SIGNAL and seen[0].at_ns < 20 * S
    assert monitor.blind


def test_a_single_break_is_not_worth_a_word(tiny_bundle: Bundle) -> None:
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.1))
    assert states(play(monitor, [("ecg", 30), ("lost", 1), ("ecg", 30)])) == []


def test_a_new_reason_is_told_too(tiny_bundle: Bundle) -> None:
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.1))
    seen = states(play(monitor, [("ecg", 10), ("off", 10), ("flat", 30), ("ecg", 20)]))
    reasons = [event.reason for event in seen if isinstance(event, CannotJudge)]
    assert reasons == [Blindness.LEAD_OFF, Blindness.FLAT]
    assert isinstance(seen[-1], JudgingAgain)


def test_a_clock_that_falls_back_starts_the_watch_anew(tiny_bundle: Bundle) -> None:
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.99))
    hour = 3600
    seen = []
    for second in [*range(hour, hour + 20), *range(20)]:
        number = second if second >= hour else second + hour + 40
        seen += monitor.feed(chunk_of(ecg_uv(1), RATE_HZ, second * S, number))
    kinds = [type(event) for event in states(seen)]
    assert kinds == [Alarm]  # raised before, and going on
    assert 30 * S < monitor.judged_ns < 40 * S and monitor.end_ns == 20 * S


def test_samples_missing_little_by_little_are_a_gap(tiny_bundle: Bundle) -> None:
    """Each packet is late by less than a single gap, and all the same 39 % are missing."""
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.99))
    seen = []
    for number in range(600):
        piece = ecg_uv(0.1)
        seen += monitor.feed(chunk_of(piece, RATE_HZ, number * 139_000_000, number))
    assert not any(isinstance(event, Judgement | Alarm) for event in seen)
    assert any(isinstance(event, CannotJudge) for event in seen)


def test_announcements_do_not_depend_on_the_chunks(tiny_bundle: Bundle) -> None:
    samples = ecg_uv(60)
    samples[5000:10_000] = np.nan
    whole = states(Monitor(tiny_bundle, always(tiny_bundle, 0.1)).feed(chunk_of(samples, RATE_HZ)))
    monitor, pieces = Monitor(tiny_bundle, always(tiny_bundle, 0.1)), []
    for number, start in enumerate(range(0, len(samples), 25)):
        piece = chunk_of(samples[start : start + 25], RATE_HZ, start * 4_000_000, number)
        pieces += monitor.feed(piece)
    assert [type(event) for event in whole] == [CannotJudge, JudgingAgain]
    assert states(pieces) == whole


def test_an_alarm_stays_when_the_electrode_falls_off(tiny_bundle: Bundle) -> None:
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.99))
    events = states(play(monitor, [("ecg", 15), ("off", 20)]))
    assert [type(event) for event in events] == [Alarm, CannotJudge, EpisodeEnded]
    ended = events[-1]
    assert isinstance(ended, EpisodeEnded)
    assert ended.episode.reasons[-1] is Reason.STREAM_ENDED
    assert ended.episode.end_ns is not None and ended.episode.end_ns <= 15 * S


@pytest.mark.parametrize("size", [1, 7, 250, 10_000])
def test_decisions_do_not_depend_on_the_chunks(tiny_bundle: Bundle, size: int) -> None:
    samples = np.random.default_rng(2).normal(0, 60, 250 * 40).cumsum()
    whole = Monitor(tiny_bundle).feed(chunk_of(samples, RATE_HZ))
    monitor, events = Monitor(tiny_bundle), []
    for number, start in enumerate(range(0, len(samples), size)):
        piece = samples[start : start + size]
        events += monitor.feed(chunk_of(piece, RATE_HZ, round(start * 4e6), number))
    assert events == whole


def test_a_foreign_head_and_a_foreign_rate_are_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(HeadMismatchError):
        Monitor(tiny_bundle, replace(tiny_bundle.start, backbone_sha256="ff" * 32))
    with pytest.raises(RateError, match="50 Hz"):
        Monitor(tiny_bundle).feed(chunk_of(np.zeros(500), 50.0))


def test_nan_samples_are_a_gap_while_the_watch_goes_on(tiny_bundle: Bundle) -> None:
    monitor = Monitor(tiny_bundle, always(tiny_bundle, 0.1))
    samples = ecg_uv(60)
    samples[5000:5003] = np.nan
    events = monitor.feed(chunk_of(samples, RATE_HZ))
    assert states(events) == []
    assert monitor.windows_judged == 58 - 2  # none that holds the break

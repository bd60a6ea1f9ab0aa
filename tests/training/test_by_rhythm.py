"""Strips of one rhythm, their classes, and the goals that they are held against."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbeats.device.detector import DetectorConfig, Judgement
from fewbeats.device.preprocess import WindowSpec
from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels
from fewbeats.firmware_bridge.simulate.beats import Beat, BeatKind, render, ventricular_waves
from fewbeats.firmware_bridge.simulate.scenario import Scenario
from fewbeats.firmware_bridge.simulate.subject import VentricularBeat
from fewbeats.firmware_bridge.simulate.synthetic import synthetic_ecg
from fewbeats.training.by_rhythm import (
    GOALS,
    Strip,
    StripRhythm,
    amplitude_uv,
    rate_per_minute,
    strip_s,
    strips_of,
    summarise_strips,
)
from fewbeats.training.intervals import lower_limit

RATE_HZ = 250.0
WINDOW = WindowSpec()
RULE = DetectorConfig()


def labels(*parts: tuple[Rhythm, float]) -> RhythmLabels:
    rhythms = np.concatenate(
        [np.full(round(seconds * RATE_HZ), int(r), dtype=np.uint8) for r, seconds in parts]
    )
    return RhythmLabels(rhythms, np.zeros(len(rhythms), dtype=bool), RATE_HZ)


def wave(seconds: float, hz: float = 5.0, peak_to_peak_uv: float = 1000.0) -> np.ndarray:
    t_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (peak_to_peak_uv / 2 * np.sin(2 * np.pi * hz * t_s)).astype(np.float32)


def judged(starts_s, probability: float = 0.9) -> list[Judgement]:
    return [
        Judgement(round(s * 1e9), round(s * 1e9) + 2_000_000_000, probability, probability >= 0.5)
        for s in starts_s
    ]


def cut(truth: RhythmLabels, judgements=(), from_s: float = 0.0, samples_uv=None) -> list[Strip]:
    if samples_uv is None:
        samples_uv = wave(len(truth) / RATE_HZ)
    return strips_of(samples_uv, truth, judgements, WINDOW, RULE, 0.5, from_s)


def test_a_strip_holds_all_that_the_rule_looks_at() -> None:
    assert strip_s(WINDOW, RULE) == 9.0
    assert strip_s(WINDOW, DetectorConfig(confirm=8, among=10)) == 12.0


def test_strips_lie_end_to_end_within_one_rhythm() -> None:
    truth = labels(
        (Rhythm.SINUS, 8.9), (Rhythm.VF, 18.5), (Rhythm.UNLABELLED, 20), (Rhythm.OTHER, 9)
    )
    assert [(s.rhythm, s.start_s) for s in cut(truth)] == [
        (StripRhythm.COARSE_VF, 8.9),
        (StripRhythm.COARSE_VF, 17.9),
        (StripRhythm.OTHER, 47.4),
    ]


def test_no_strip_touches_noise_or_comes_before_the_watch() -> None:
    truth = labels((Rhythm.SINUS, 40))
    truth.noise[round(15 * RATE_HZ)] = True
    assert [s.start_s for s in cut(truth)] == [0.0, 15.004, 24.004]
    assert [s.start_s for s in cut(truth, from_s=21)] == [21.0, 30.0]


@pytest.mark.parametrize(
    ("starts_s", "shock"),
    [
        ([9, 10, 11, 12], True),
        ([13, 14, 15, 16], True),
        ([9, 10, 12, 13], False),  # 11 s could not be judged: nothing is carried across
        ([8.5, 9.5, 10.5, 11.5], False),  # the first reaches out of the strip
        ([14, 15, 16, 17], False),  # the last does
        ([], False),
    ],
)
def test_a_strip_is_decided_by_the_windows_in_it_alone(starts_s, shock: bool) -> None:
    truth = labels((Rhythm.SINUS, 9), (Rhythm.VF, 9), (Rhythm.SINUS, 9))
    strips = cut(truth, judged(starts_s))
    assert [s.shock for s in strips] == [False, shock, False]
    assert [s.right for s in strips] == [True, shock, True]


def test_evidence_of_one_strip_does_not_reach_the_next() -> None:
    strips = cut(labels((Rhythm.VF, 18)), judged(range(5, 11)))
    assert [s.shock for s in strips] == [False, False]


def test_four_of_five_windows_confirm() -> None:
    judgements = [*judged([0, 1]), *judged([2], 0.1), *judged([3, 4]), *judged([5, 6, 7], 0.1)]
    assert [s.shock for s in cut(labels((Rhythm.VF, 9)), judgements)] == [True]


@pytest.mark.parametrize(
    ("rhythm", "signal", "expected"),
    [
        (Rhythm.VF, wave(9, 5, 210), StripRhythm.COARSE_VF),
        (Rhythm.VF, wave(9, 5, 190), StripRhythm.FINE_VF),
        (Rhythm.VFL, wave(9, 4, 900), StripRhythm.COARSE_VF),
        (Rhythm.VT, wave(9, 160 / 60), StripRhythm.RAPID_VT),
        (Rhythm.VT, wave(9, 140 / 60), StripRhythm.OTHER_VT),
        (Rhythm.VT, np.zeros(2250, np.float32), StripRhythm.OTHER_VT),
        (Rhythm.SINUS, wave(9, 1), StripRhythm.NORMAL_SINUS),
        (Rhythm.OTHER, wave(9, 3), StripRhythm.OTHER),
        (Rhythm.ASYSTOLE, np.zeros(2250, np.float32), StripRhythm.ASYSTOLE),
    ],
)
def test_classes(rhythm, signal, expected) -> None:
    (strip,) = cut(labels((rhythm, 9)), samples_uv=signal)
    assert strip.rhythm is expected


def test_a_strip_without_signal_shows_nothing() -> None:
    signal = wave(18)
    signal[:2250] = np.nan
    signal[2250:3000] = np.nan
    assert [s.start_s for s in cut(labels((Rhythm.VF, 18)), samples_uv=signal)] == [9.0]


def test_amplitude_is_that_of_the_waves_not_of_drift_or_a_spike() -> None:
    t_s = np.arange(2250) / RATE_HZ
    signal = wave(9, 5, 150) + 500 * np.sin(2 * np.pi * 0.05 * t_s)
    signal[1000] = 5000.0
    assert amplitude_uv(wave(9, 5, 150), RATE_HZ) == pytest.approx(150, rel=0.02)
    assert amplitude_uv(signal, RATE_HZ) == pytest.approx(230, abs=90)
    signal[::100] = np.nan
    assert amplitude_uv(signal, RATE_HZ) is None


@settings(max_examples=60, deadline=None)
@given(
    bpm=st.floats(100, 300),
    qrs_s=st.floats(0.12, 0.165),
    shoulder=st.floats(0.05, 0.6),
    t_fraction=st.floats(0.25, 0.5),
    sign=st.sampled_from([-1.0, 1.0]),
    rate_hz=st.sampled_from([128.0, 250.0, 360.0]),
)
def test_the_rate_of_a_tachycardia(bpm, qrs_s, shoulder, t_fraction, sign, rate_hz) -> None:
    shape = VentricularBeat(sign * 1200.0, qrs_s, 0.2, shoulder, t_fraction)
    cycle_s = 60 / bpm
    waves = ventricular_waves(shape, cycle_s)
    t_s = np.arange(round(9 * rate_hz)) / rate_hz
    peaks = np.arange(-1, 10.5, cycle_s).tolist()
    signal = render([Beat(peak, BeatKind.VENTRICULAR, waves) for peak in peaks], t_s)
    assert rate_per_minute(signal, rate_hz) == pytest.approx(bpm, rel=0.03)


@pytest.mark.parametrize("disturbance", ["", "+wander", "+muscle", "+motion"])
def test_the_rate_of_simulated_people(disturbance: str) -> None:
    for seed in range(8):
        ecg = synthetic_ecg(Scenario.parse(f"sinus:5,vt{disturbance}:11"), RATE_HZ, seed)
        peaks = [
            beat.sample
            for beat in ecg.beats
            if beat.kind is BeatKind.VENTRICULAR and 1500 <= beat.sample < 3750
        ]
        true = 60 * RATE_HZ / np.diff(peaks).mean()
        assert rate_per_minute(ecg.samples_uv[1500:3750], RATE_HZ) == pytest.approx(true, rel=0.02)


def test_alternating_beats_keep_their_rate() -> None:
    shape = VentricularBeat(1200.0, 0.14, 0.2, 0.3, 0.4)
    waves = ventricular_waves(shape, 0.3)
    t_s = np.arange(2250) / RATE_HZ
    beats = [
        Beat(0.3 * n, BeatKind.VENTRICULAR, waves * (1, 1, 1, 0.6 + 0.4 * (n % 2)))
        for n in range(32)
    ]
    assert rate_per_minute(render(beats, t_s), RATE_HZ) == pytest.approx(200, rel=0.02)


def test_a_rate_needs_something_that_repeats() -> None:
    assert rate_per_minute(np.zeros(2250), RATE_HZ) is None
    assert rate_per_minute(np.full(2250, np.nan), RATE_HZ) is None
    signal = wave(9, 3.0)
    signal[500:700] = np.nan
    assert rate_per_minute(signal, RATE_HZ) == pytest.approx(180, rel=0.02)


def figures(rhythm: StripRhythm, **subjects: tuple[int, int]) -> dict:
    """Of subjects with (right, wrong) strips of one class."""
    strips = {
        name: [Strip(rhythm, 9.0 * n, rhythm.is_va == (n < right)) for n in range(right + wrong)]
        for name, (right, wrong) in subjects.items()
    }
    (row,) = (r for r in summarise_strips(strips) if r["rhythm"] == rhythm.value)
    return row


def test_figures_of_a_class() -> None:
    assert figures(StripRhythm.COARSE_VF, a=(150, 0), b=(40, 10)) == {
        "rhythm": "coarse VF",
        "goal": {"figure": "sensitivity", "value": 0.9, "lower_limit": 0.87},
        "least_strips": 200,
        "strips": 200,
        "subjects": 2,
        "right": 190,
        "value": 0.95,
        "lower_limit_90": lower_limit(190, 200, confidence=0.90),
        "met": True,
    }


def test_a_goal_wants_share_and_limit_and_enough_strips() -> None:
    assert figures(StripRhythm.COARSE_VF, a=(199, 0))["met"] is None
    assert figures(StripRhythm.COARSE_VF, a=(180, 20))["met"] is False  # 90 %, not more
    assert figures(StripRhythm.RAPID_VT, a=(40, 12))["met"] is True
    assert figures(StripRhythm.RAPID_VT, a=(39, 12))["met"] is True
    assert figures(StripRhythm.OTHER, a=(29, 1))["met"] is False  # share 0.967, limit under 0.88
    assert figures(StripRhythm.OTHER, a=(30, 0))["met"] is True
    assert figures(StripRhythm.NORMAL_SINUS, a=(100, 0))["goal"]["figure"] == "specificity"


def test_the_limit_of_all_right_is_known() -> None:
    row = figures(StripRhythm.ASYSTOLE, a=(20, 0))
    assert row["lower_limit_90"] == pytest.approx(0.1 ** (1 / 20))
    assert row["value"] == 1.0 and row["met"] is None


def test_what_is_only_reported_has_no_goal() -> None:
    row = figures(StripRhythm.FINE_VF, a=(1, 99))
    assert (row["goal"], row["met"], row["value"]) == (None, None, 0.01)


def test_classes_without_strips_have_no_figures() -> None:
    rows = summarise_strips({})
    assert [row["rhythm"] for row in rows] == [rhythm.value for rhythm in GOALS]
    assert all(row["strips"] == row["subjects"] == row["right"] == 0 for row in rows)
    assert all(row["value"] is row["lower_limit_90"] is row["met"] is None for row in rows)

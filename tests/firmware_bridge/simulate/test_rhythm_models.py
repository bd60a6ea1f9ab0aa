import numpy as np
import pytest

from fewbeats.firmware_bridge.rhythms import Rhythm
from fewbeats.firmware_bridge.simulate.beats import BeatKind, ventricular_onset_s
from fewbeats.firmware_bridge.simulate.rhythm_models import Episode, activity
from fewbeats.firmware_bridge.simulate.scenario import SimulatedRhythm
from fewbeats.firmware_bridge.simulate.subject import Subject

SEEDS = range(25)
START_S, END_S = 30.0, 150.0


def heart(rhythm, seed, start_s=START_S, end_s=END_S, **more):
    episode = Episode(SimulatedRhythm(rhythm), start_s, end_s, **more)
    return activity(Subject.draw(seed), episode, np.random.default_rng(seed))


def peaks(activity_, kind=None):
    return np.array([b.peak_s for b in activity_.beats if kind is None or b.kind is kind])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("rhythm", "low_bpm", "high_bpm"),
    [("sinus", 53, 92), ("bradycardia", 36, 52), ("tachycardia", 100, 145), ("svt", 145, 215)],
)
def test_regular_rates(rhythm, low_bpm, high_bpm, seed):
    cycles_s = np.diff(peaks(heart(rhythm, seed)))
    assert low_bpm < 60 / cycles_s.mean() < high_bpm


@pytest.mark.parametrize("seed", SEEDS)
def test_sinus_rhythm_varies_as_it_does_in_the_healthy(seed):
    cycles_s = np.diff(peaks(heart("sinus", seed)))
    assert 0.012 < cycles_s.std() < 0.10  # SDNN of two quiet minutes
    assert np.abs(np.diff(cycles_s)).max() < 0.35 * cycles_s.mean()


def test_the_breath_is_in_the_heart_rate():
    subject = Subject.draw(1)
    beats_s = peaks(heart("sinus", 1, 0.0, 300.0))
    t_s = np.arange(5, 295, 0.25)
    cycle_s = np.interp(t_s, beats_s[1:], np.diff(beats_s))
    power = np.abs(np.fft.rfft((cycle_s - cycle_s.mean()) * np.hanning(len(t_s)))) ** 2
    hz = np.fft.rfftfreq(len(t_s), 0.25)
    breath = np.abs(hz - subject.variability.breath_hz) < 0.02
    elsewhere = (hz > 0.14) & ~breath
    assert power[breath].max() > 3 * power[elsewhere].max()


@pytest.mark.parametrize("seed", SEEDS)
def test_vt_is_fast_regular_and_begins_and_ends_with_its_episode(seed):
    beats_s = peaks(heart("vt", seed), BeatKind.VENTRICULAR)
    cycles_s = np.diff(beats_s)
    assert 130 < 60 / cycles_s.mean() < 232
    assert 0.003 < cycles_s[10:].std() / cycles_s.mean() < 0.03
    onset_s = ventricular_onset_s(Subject.draw(seed).vt)
    assert beats_s[0] - onset_s == pytest.approx(START_S)
    assert END_S - cycles_s.max() * 1.05 < beats_s[-1] - onset_s < END_S


@pytest.mark.parametrize("seed", SEEDS)
def test_p_waves_march_through_vt_at_their_own_rate(seed):
    p_s = peaks(heart("vt", seed), BeatKind.ATRIAL)
    np.testing.assert_allclose(60 / np.diff(p_s), Subject.draw(seed).heart_rate_bpm)


@pytest.mark.parametrize("seed", SEEDS)
def test_pvcs_are_early_pause_and_never_come_three_in_a_row(seed):
    beats = heart("pvc", seed).beats
    kinds = "".join(beat.kind for beat in beats)
    assert "VVV" not in kinds
    assert "VNV" not in kinds
    assert kinds[0] == kinds[-1] == "N"
    assert kinds.count("V") > 5
    cycles_s = np.diff([beat.peak_s for beat in beats])
    usual_s = np.median(cycles_s)
    for at in range(1, len(kinds) - 1):
        if kinds[at - 1 : at + 2] == "NVN":
            assert cycles_s[at - 1] < 0.8 * usual_s
            assert cycles_s[at] > 1.15 * usual_s
            assert cycles_s[at - 1] + cycles_s[at] == pytest.approx(2 * usual_s, rel=0.25)
    assert cycles_s.min() > 0.25


@pytest.mark.parametrize("seed", SEEDS)
def test_af_has_no_order_and_no_p_wave(seed):
    fibrillating = heart("af", seed)
    cycles_s = np.diff(peaks(fibrillating))
    assert 0.1 < cycles_s.std() / cycles_s.mean() < 0.4
    assert abs(np.corrcoef(cycles_s[1:], cycles_s[:-1])[0, 1]) < 0.35
    assert all(beat.waves[:, 0].min() > -0.1 for beat in fibrillating.beats)


@pytest.mark.parametrize("rhythm", ["vf", "vfl"])
def test_fibrillation_and_flutter_have_no_beats_and_keep_inside_their_episode(rhythm):
    fluttering = heart(rhythm, 0)
    assert fluttering.beats == ()
    t_s = np.arange(START_S - 2, END_S + 2, 0.01)
    wave_uv = fluttering.wave_uv(t_s)
    assert not wave_uv[(t_s < START_S) | (t_s > END_S)].any()
    assert np.abs(wave_uv).max() > 300


def test_vf_becomes_finer_over_minutes():
    wave_uv = heart("vf", 3, 0.0, 900.0).wave_uv
    early, late = wave_uv(np.arange(5, 60, 0.01)), wave_uv(np.arange(840, 895, 0.01))
    assert 0.2 < late.std() / early.std() < 0.6


@pytest.mark.parametrize("rhythm", SimulatedRhythm)
def test_gain_scales_what_the_heart_does(rhythm):
    t_s = np.arange(START_S, END_S, 0.01)
    half, whole = heart(rhythm, 2, gain=0.5), heart(rhythm, 2)
    assert half.size_uv == pytest.approx(0.5 * whole.size_uv)
    np.testing.assert_allclose(half.wave_uv(t_s), 0.5 * whole.wave_uv(t_s))
    for a, b in zip(half.beats, whole.beats, strict=True):
        assert a.peak_s == b.peak_s
        np.testing.assert_allclose(a.waves[:, 3], 0.5 * b.waves[:, 3])


@pytest.mark.parametrize("rhythm", SimulatedRhythm)
@pytest.mark.parametrize("duration_s", [0.5, 0.9, 2.0, 5.0])
def test_short_episodes_keep_their_beats_inside_and_in_order(rhythm, duration_s):
    for seed in SEEDS:
        short = heart(rhythm, seed, START_S, START_S + duration_s, pause_s=0.6)
        beats_s = peaks(short)
        assert (np.diff(beats_s) > 0).all()
        assert ((beats_s >= START_S) & (beats_s < START_S + duration_s + 0.12)).all()


def test_every_rhythm_has_its_label():
    labels = {rhythm.value: heart(rhythm, 0, 0.0, 5.0).label for rhythm in SimulatedRhythm}
    assert labels == {
        "sinus": Rhythm.SINUS,
        "bradycardia": Rhythm.SINUS,
        "tachycardia": Rhythm.SINUS,
        "pvc": Rhythm.SINUS,
        "af": Rhythm.OTHER,
        "svt": Rhythm.OTHER,
        "vt": Rhythm.VT,
        "vfl": Rhythm.VFL,
        "vf": Rhythm.VF,
        "asystole": Rhythm.ASYSTOLE,
    }

import numpy as np
import pytest

from fewbeats.firmware_bridge.simulate.beats import (
    AFTER_PEAK_S,
    BEFORE_PEAK_S,
    Q_TO_PEAK_S,
    Beat,
    BeatKind,
    p_wave,
    qrst_waves,
    render,
    scaled,
    ventricular_onset_s,
    ventricular_waves,
)
from fewbeats.firmware_bridge.simulate.subject import Subject

SEEDS = range(25)
T_S = np.arange(-1.5, 1.5, 0.001)


def beat(waves, kind=BeatKind.NORMAL):
    return Beat(0.0, kind, waves)


def qrst(seed, cycle_s):
    return qrst_waves(Subject.draw(seed).conducted, cycle_s)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_largest_deflection_of_a_narrow_complex_is_its_peak(seed):
    signal_uv = render([beat(qrst(seed, 1.0))], T_S)
    assert abs(T_S[np.abs(signal_uv).argmax()]) < 0.006


@pytest.mark.parametrize("seed", SEEDS)
def test_narrow_complexes_are_narrow_and_wide_ones_wide(seed):
    subject = Subject.draw(seed)
    narrow = np.abs(render([beat(qrst_waves(subject.conducted, 1.0)[1:3])], T_S))
    wide = np.abs(render([beat(ventricular_waves(subject.pvc, 1.0)[:3])], T_S))
    assert 0.03 < np.ptp(T_S[narrow > 0.05 * narrow.max()]) < 0.12
    assert 0.115 < np.ptp(T_S[wide > 0.05 * wide.max()]) < 0.205


@pytest.mark.parametrize("seed", SEEDS)
def test_the_t_wave_of_a_ventricular_beat_opposes_its_complex(seed):
    waves = ventricular_waves(Subject.draw(seed).vt, 0.35)
    assert waves[1, 3] * waves[-1, 3] < 0


def test_qt_follows_the_cube_root_of_the_cycle():
    slow, fast = qrst(3, 1.0)[-1, 0] + Q_TO_PEAK_S, qrst(3, 0.5)[-1, 0] + Q_TO_PEAK_S
    assert fast / slow == pytest.approx(0.5 ** (1 / 3), rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cycle_s", [0.28, 0.6, 1.0, 1.6])
def test_no_wave_is_cut_at_the_limits_of_a_beat(seed, cycle_s):
    subject = Subject.draw(seed)
    conducted = np.concatenate(
        (p_wave(subject.conducted, cycle_s), qrst_waves(subject.conducted, cycle_s))
    )
    for waves in (conducted, ventricular_waves(subject.vt, cycle_s)):
        x = np.array([[-BEFORE_PEAK_S], [AFTER_PEAK_S]]) - waves[:, 0]
        width = np.where(x < 0, waves[:, 1], waves[:, 2])
        assert np.abs(waves[:, 3] * np.exp(-0.5 * (x / width) ** 2)).max() < 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ventricular_complex_starts_at_its_onset(seed):
    shape = Subject.draw(seed).vt
    signal_uv = render([beat(ventricular_waves(shape, 0.35))], T_S)
    assert np.abs(signal_uv[-ventricular_onset_s(shape) > T_S]).max() < 5.0


def test_beats_add_up_and_scale():
    waves = qrst(0, 0.8)
    alone = render([beat(waves)], T_S)
    twice = render([beat(waves), beat(scaled(waves, 0.5))], T_S)
    np.testing.assert_allclose(twice, 1.5 * alone, atol=1e-9)
    assert not render([], T_S).any()

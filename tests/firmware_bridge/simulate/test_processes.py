import numpy as np
import pytest

from fewbeats.firmware_bridge.simulate.processes import BandProcess, ramp


def test_zero_mean_unit_variance_and_all_power_in_the_band():
    process = BandProcess.draw(np.random.default_rng(0), 1.0, 3.0, components=8)
    t_s = np.arange(0, 400, 0.02)
    values = process.at(t_s)
    power = np.abs(np.fft.rfft(values * np.hanning(len(values)))) ** 2
    hz = np.fft.rfftfreq(len(values), 0.02)
    assert abs(values.mean()) < 0.02
    assert values.std() == pytest.approx(1, abs=0.05)
    assert power[(hz >= 0.95) & (hz <= 3.05)].sum() > 0.999 * power.sum()


def test_integral_is_the_antiderivative():
    process = BandProcess.draw(np.random.default_rng(1), 0.2, 1.5)
    t_s = np.arange(0, 20, 0.001)
    slope = np.gradient(process.integral(t_s), t_s)
    np.testing.assert_allclose(slope[1:-1], process.at(t_s)[1:-1], atol=1e-4)


def test_a_time_has_one_value_whatever_block_it_is_asked_in():
    process = BandProcess.draw(np.random.default_rng(2), 0.2, 1.5)
    t_s = np.arange(0, 20, 0.01)
    np.testing.assert_array_equal(process.at(t_s)[700:900], process.at(t_s[700:900]))


def test_ramp_is_one_inside_zero_outside_and_smooth():
    t_s = np.arange(0, 10, 0.01)
    envelope = ramp(t_s, 2, 8, 1, 0.5)
    assert not envelope[(t_s <= 2) | (t_s >= 8)].any()
    assert (envelope[(t_s >= 3.01) & (t_s <= 7.49)] == 1).all()
    assert np.abs(np.diff(envelope)).max() < 0.04

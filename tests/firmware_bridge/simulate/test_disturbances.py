import numpy as np
import pytest

from fewbeats.firmware_bridge.simulate.disturbances import Electrodes, Jolt
from fewbeats.firmware_bridge.simulate.scenario import Segment
from fewbeats.firmware_bridge.simulate.subject import Subject


def electrodes(text, rate_hz=250.0, seed=0, was_off=False):
    rng = np.random.default_rng(seed)
    return Electrodes.draw(Subject.draw(seed), Segment.parse(text), 10.0, rate_hz, was_off, rng)


def added(text, rate_hz=250.0, seed=0):
    at = electrodes(text, rate_hz, seed)
    t_s = np.arange(10 * rate_hz, at.end_s * rate_hz) / rate_hz
    return *at.at(t_s), t_s


def share_in_band(signal, rate_hz, low_hz, high_hz):
    power = np.abs(np.fft.rfft(signal * np.hanning(len(signal)))) ** 2
    hz = np.fft.rfftfreq(len(signal), 1 / rate_hz)
    return power[(hz >= low_hz) & (hz <= high_hz)].sum() / power.sum()


def test_clean_electrodes_add_nothing():
    signal_uv, strength_uv, _ = added("sinus:20")
    assert not signal_uv.any()
    assert not strength_uv.any()


@pytest.mark.parametrize("rate_hz", [100.0, 250.0, 1000.0])
@pytest.mark.parametrize(
    ("name", "low_hz", "high_hz", "least_uv", "most_uv"),
    [("wander", 0, 1, 100, 700), ("muscle", 19, 121, 20, 150), ("motion", 0, 15, 50, 1000)],
)
def test_each_disturbance_has_its_band_and_height(
    name, low_hz, high_hz, least_uv, most_uv, rate_hz
):
    signal_uv, _, _ = added(f"sinus+{name}:60", rate_hz)
    assert share_in_band(signal_uv, rate_hz, low_hz, high_hz) > 0.97
    assert least_uv < signal_uv.std() < most_uv


def test_mains_hums_at_the_line_frequency_and_only_below_the_sensors_filter():
    hz = Subject.draw(0).mains_hz
    signal_uv, _, _ = added("sinus+mains:20", 500.0)
    assert share_in_band(signal_uv, 500.0, hz - 1, hz + 1) > 0.9
    assert not added("sinus+mains:20", 100.0)[0].any()


@pytest.mark.parametrize("name", ["wander", "muscle", "motion", "mains"])
def test_disturbances_come_and_go_without_a_step(name):
    signal_uv, _, _ = added(f"sinus+{name}:20")
    assert abs(signal_uv[0]) < 1
    assert abs(signal_uv[-1]) < 1


def test_wander_and_mains_hide_nothing_and_jolts_hide_while_they_last():
    assert not added("sinus+wander+mains:20")[1].any()
    jolt = Jolt(1.0, -1000.0, 0.05, 0.5, 2.0, 0.3)
    strength_uv = jolt.strength_uv(np.array([0.5, 1.0, 1.5, 4.0]))
    np.testing.assert_allclose(strength_uv, [0, 1000, 1000 / np.e, 1000 * np.exp(-6)])


def test_contact_that_returns_swings_and_settles():
    at = electrodes("sinus:20", was_off=True)
    swing_uv, strength_uv = at.at(np.arange(10, 20, 0.004))
    assert np.abs(swing_uv).max() > 500
    assert strength_uv[0] > 500
    assert np.abs(swing_uv[1000:]).max() < 1
    assert not electrodes("sinus+leadoff:20", was_off=True).at(np.arange(10, 20, 0.004))[0].any()


@pytest.mark.parametrize("seed", range(20))
def test_motion_stays_within_what_a_front_end_can_take(seed):
    assert np.abs(added("sinus+motion:120", seed=seed)[0]).max() < 6000

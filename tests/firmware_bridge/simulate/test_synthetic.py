from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbeats.errors import RateError, SignalError
from fewbeats.firmware_bridge.rhythms import Rhythm
from fewbeats.firmware_bridge.simulate import synthetic
from fewbeats.firmware_bridge.simulate.scenario import DEMO_SCENARIO, Scenario
from fewbeats.firmware_bridge.simulate.synthetic import (
    synthetic_chunks,
    synthetic_ecg,
    synthetic_segments,
)

ALL = Scenario.parse(
    "sinus:12,vt:8,sinus+leadoff:4,pvc:20,vf:9,asystole:5,vfl:7@2,af+mains:10,svt+motion:10,"
    "bradycardia+wander:10,tachycardia+muscle:10,vt+motion+wander:10@2"
)


def ecg(text, rate_hz=250.0, seed=0):
    return synthetic_ecg(Scenario.parse(text), rate_hz, seed)


def power(signal, rate_hz):
    centred = signal.astype(float) - signal.mean()
    return (
        np.fft.rfftfreq(len(signal), 1 / rate_hz),
        np.abs(np.fft.rfft(centred * np.hanning(len(signal)))) ** 2,
    )


def autocorrelation(signal, rate_hz, low_s, high_s):
    """The highest autocorrelation among the lags from low_s to high_s."""
    x = signal.astype(float) - signal.mean()
    values = np.correlate(x, x, "full")[len(x) - 1 :] / np.dot(x, x)
    return values[round(low_s * rate_hz) : round(high_s * rate_hz)].max()


def test_same_seed_same_samples_and_another_seed_another_heart():
    first, again, other = (synthetic_ecg(ALL, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.samples_uv, again.samples_uv)
    np.testing.assert_array_equal(first.labels.noise, again.labels.noise)
    assert first.beats == again.beats
    assert first.beats != other.beats


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rate_hz", [100.0, 128.0, 250.0, 1000.0])
def test_samples_are_finite_where_valid_and_within_10_millivolts(rate_hz, seed):
    whole = synthetic_ecg(ALL, rate_hz, seed)
    assert len(whole) == len(whole.labels) == round(ALL.duration_s * rate_hz)
    assert whole.samples_uv.dtype == np.float32
    assert np.abs(whole.samples_uv[whole.valid]).max() < 10_000


def test_every_sample_bears_the_rhythm_of_its_segment():
    whole = synthetic_ecg(ALL, 250.0, 1)
    expected = {
        "pvc": {Rhythm.SINUS, Rhythm.PVC}, "vt": {Rhythm.VT}, "vf": {Rhythm.VF},
        "vfl": {Rhythm.VFL}, "asystole": {Rhythm.ASYSTOLE}, "af": {Rhythm.OTHER},
        "svt": {Rhythm.OTHER},
    }  # fmt: skip
    start = 0
    for segment in ALL.segments:
        end = start + round(segment.duration_s * 250)
        assert set(whole.labels.rhythms[start:end].tolist()) == expected.get(
            segment.rhythm, {Rhythm.SINUS}
        )
        start = end
    assert whole.labels.va_episodes_s() == [(12, 20), (44, 53), (58, 65), (105, 115)]


def test_onsets_and_beats_come_at_the_same_times_at_every_rate():
    at = {rate_hz: synthetic_ecg(DEMO_SCENARIO, rate_hz, 3) for rate_hz in (250.0, 500.0)}
    assert at[250.0].labels.va_episodes_s() == at[500.0].labels.va_episodes_s()
    assert [beat.kind for beat in at[250.0].beats] == [beat.kind for beat in at[500.0].beats]
    apart = [
        abs(slow.sample / 250 - fast.sample / 500)
        for slow, fast in zip(at[250.0].beats, at[500.0].beats, strict=True)
    ]
    assert max(apart) <= 0.0031
    clean = slice(0, 40 * 250)
    np.testing.assert_allclose(
        at[250.0].samples_uv[clean], at[500.0].samples_uv[::2][clean], atol=100
    )


@pytest.mark.parametrize("seed", range(6))
def test_beats_lie_on_their_complexes(seed):
    whole = ecg("sinus:30", seed=seed)
    for beat in whole.beats:
        near = np.abs(whole.samples_uv[max(beat.sample - 50, 0) : beat.sample + 50])
        assert abs(int(near.argmax()) - min(beat.sample, 50)) <= 3


@pytest.mark.parametrize("seed", range(6))
def test_premature_beats_are_labelled_and_tails_of_vt_are_not(seed):
    whole = ecg("pvc:40", seed=seed)
    for beat in whole.beats:
        premature = whole.labels.rhythms[beat.sample] == Rhythm.PVC
        assert premature == (beat.kind == "V")
    assert Rhythm.PVC not in ecg("vt:10,sinus:10", seed=seed).labels.rhythms


@pytest.mark.parametrize("seed", range(12))
def test_vf_has_its_spectrum_and_no_period(seed):
    fibrillating = ecg("vf:12", seed=seed).samples_uv[250:-250]
    hz, p = power(fibrillating, 250.0)
    inside = (hz > 0.8) & (hz < 40)
    assert 3 <= hz[inside][p[inside].argmax()] <= 9
    assert 100 < fibrillating.std() < 1500
    assert autocorrelation(fibrillating, 250.0, 1.0, 3.0) < 0.7


@pytest.mark.parametrize("seed", range(12))
def test_vt_has_a_period_and_flutter_is_almost_a_sine(seed):
    tachycardic = ecg("vt:12", seed=seed).samples_uv[250:-250]
    assert autocorrelation(tachycardic, 250.0, 0.25, 0.5) > 0.75
    hz, p = power(ecg("vfl:12", seed=seed).samples_uv[250:-250], 250.0)
    top = p.argmax()
    assert 3.1 <= hz[top] <= 5.3
    assert p[np.abs(hz - hz[top]) < 0.8].sum() > 0.8 * p.sum()


@pytest.mark.parametrize("seed", range(12))
def test_asystole_is_almost_flat(seed):
    whole = ecg("sinus:5,asystole:10", seed=seed)
    still = whole.samples_uv[6 * 250 :]
    assert np.ptp(still) < 350
    assert np.diff(still).std() < 20
    assert not [beat for beat in whole.beats if beat.sample >= 5 * 250]


def test_lead_off_is_nan_and_hides_the_rhythm_that_goes_on():
    whole = ecg("vf:5,vf+leadoff:3,vf:4")
    off = slice(5 * 250, 8 * 250)
    assert np.isnan(whole.samples_uv[off]).all()
    assert np.isfinite(np.delete(whole.samples_uv, off)).all()
    assert not whole.valid[off].any()
    assert whole.labels.noise[off].all()
    assert whole.labels.va_episodes_s() == [(0, 12)]


def test_noise_is_marked_where_it_is_large_against_the_heart():
    assert not ecg("sinus+wander+muscle+mains:20").labels.noise.any()
    assert 0.05 < ecg("sinus+motion:40").labels.noise.mean() < 0.6
    assert ecg("asystole+muscle:20").labels.noise.mean() > 0.5


def test_a_rhythm_goes_on_when_only_the_electrodes_change():
    whole = ecg("vf:6,vf+wander:6", seed=2)
    border = whole.samples_uv[6 * 250 - 125 : 6 * 250 + 125]
    assert border.std() > 0.3 * whole.samples_uv.std()


@pytest.mark.parametrize("text", ["sinus:60,vt:45,vf:45", "pvc+wander:65,af+motion:25"])
def test_the_size_of_blocks_changes_no_sample(monkeypatch, text):
    whole = ecg(text, seed=4)
    monkeypatch.setattr(synthetic, "BLOCK_S", 3.3)
    np.testing.assert_allclose(ecg(text, seed=4).samples_uv, whole.samples_uv, atol=1)
    np.testing.assert_array_equal(ecg(text, seed=4).labels.rhythms, whole.labels.rhythms)
    assert ecg(text, seed=4).beats == whole.beats


@pytest.mark.parametrize("seed", range(8))
def test_no_seam_where_rhythms_meet(seed):
    clean = Scenario.parse("sinus:10,vt:8,sinus:10,vf:8,vfl:8,asystole:6,pvc:9,af:8,svt:8")
    samples_uv = synthetic_ecg(clean, 1000.0, seed).samples_uv
    borders = np.cumsum([segment.duration_s for segment in clean.segments])[:-1] * 1000
    for border in borders.astype(int).tolist():
        assert np.abs(np.diff(samples_uv[border - 5 : border + 5])).max() < 110


def test_stretches_are_the_whole_in_order_and_short():
    stretches = list(synthetic_segments(DEMO_SCENARIO, 250.0, 1))
    whole = synthetic_ecg(DEMO_SCENARIO, 250.0, 1)
    assert max(map(len, stretches)) <= 20 * 250
    np.testing.assert_array_equal(
        np.concatenate([stretch.samples_uv for stretch in stretches]), whole.samples_uv
    )
    ends = np.cumsum([len(stretch) for stretch in stretches])
    assert [stretch.first_sample for stretch in stretches] == [0, *ends[:-1].tolist()]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**40))
def test_chunks_are_the_samples_numbered_timed_and_gapless(samples_per_chunk, seed):
    whole = ecg("sinus:1.5,sinus+leadoff:2.5,vt:1.5", 125.0, seed)
    chunks = list(whole.chunks(samples_per_chunk))
    np.testing.assert_array_equal(
        np.concatenate([chunk.samples_uv for chunk in chunks]), whole.samples_uv
    )
    assert chunks[0].start_ns == 0
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    assert {len(chunk) for chunk in chunks[:-1]} <= {samples_per_chunk}
    assert all(b.follows(a) for a, b in pairwise(chunks))
    assert all(chunk.lead_off != bool(chunk.valid.any()) for chunk in chunks)


def test_a_stretch_starts_its_chunks_at_its_own_time():
    second = list(synthetic_segments(Scenario.parse("sinus:30")))[1]
    assert next(second.chunks(50)).start_ns == 20_000_000_000


def test_chunks_of_the_stream_are_those_of_the_whole():
    streamed = list(synthetic_chunks(ALL, 73, 250.0, 2))
    for ours, theirs in zip(streamed, synthetic_ecg(ALL, 250.0, 2).chunks(73), strict=True):
        np.testing.assert_array_equal(ours.samples_uv, theirs.samples_uv)
        assert (ours.start_ns, ours.sequence) == (theirs.start_ns, theirs.sequence)


def test_a_loop_goes_on_with_other_beats_of_the_same_heart():
    scenario = Scenario.parse("sinus:3,vt:2,sinus+leadoff:1")
    chunks = list(islice(synthetic_chunks(scenario, 50, loop=True), 120))
    assert all(b.follows(a) for a, b in pairwise(chunks))
    samples_uv = np.concatenate([chunk.samples_uv for chunk in chunks])
    first, later = samples_uv[: 6 * 250], samples_uv[18 * 250 : 24 * 250]
    np.testing.assert_array_equal(np.isnan(first), np.isnan(later))
    assert not np.array_equal(first, later, equal_nan=True)


@pytest.mark.parametrize("rate_hz", [0.0, 99.9, 1000.1, float("nan"), float("inf")])
def test_rates_that_are_refused(rate_hz):
    with pytest.raises(RateError, match="100 to 1000 Hz"):
        synthetic_segments(DEMO_SCENARIO, rate_hz)


def test_seeds_and_chunk_sizes_that_are_refused():
    with pytest.raises(SignalError, match="seed"):
        synthetic_ecg(DEMO_SCENARIO, seed=-1)
    with pytest.raises(SignalError, match="at least one sample"):
        next(ecg("sinus:1").chunks(0))

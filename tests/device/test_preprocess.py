"""Chunks to windows: the same bits however the stream is cut, and nothing across a gap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbeats.device.preprocess import Preprocessor, Windows, WindowSpec, windows_of
from fewbeats.errors import RateError, SignalError
from fewbeats.firmware_bridge.samples import EcgChunk, chunk_of

SPEC = WindowSpec()
RATES = [100, 125, 128, 130, 200, 249.9, 250, 256, 360, 500, 512, 1000]


def noise_uv(rate_hz: float, seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 60, int(rate_hz * seconds)).cumsum().astype(np.float32)


def in_pieces(samples_uv: np.ndarray, rate_hz: float, sizes: list[int]) -> list[Windows]:
    preprocessor = Preprocessor(SPEC)
    windows, start, sequence = [], 0, 0
    while start < len(samples_uv):
        size = sizes[sequence % len(sizes)]
        piece = samples_uv[start : start + size]
        start_ns = round(start * 1e9 / rate_hz)
        windows.append(preprocessor.feed(chunk_of(piece, rate_hz, start_ns, sequence)))
        start, sequence = start + size, sequence + 1
    return windows


def joined(parts: list[Windows], name: str) -> np.ndarray:
    return np.concatenate([getattr(part, name) for part in parts])


@settings(deadline=None, max_examples=60)
@given(
    rate_hz=st.sampled_from(RATES),
    sizes=st.lists(st.integers(1, 900), min_size=1, max_size=8),
    hole=st.integers(0, 2000),
)
def test_any_pieces_give_the_same_windows_bit_for_bit(
    rate_hz: float, sizes: list[int], hole: int
) -> None:
    samples_uv = noise_uv(rate_hz, 8)
    samples_uv[hole : hole + 3] = np.nan
    whole = windows_of(samples_uv, rate_hz, SPEC)
    parts = in_pieces(samples_uv, rate_hz, sizes)
    for name in ("samples", "segment", "quality", "rms_uv"):
        np.testing.assert_array_equal(getattr(whole, name), joined(parts, name))
    assert np.abs(whole.start_ns - joined(parts, "start_ns")).max(initial=0) <= 1


@pytest.mark.parametrize("rate_hz", RATES)
def test_one_signal_gives_the_same_windows_at_every_rate(rate_hz: float) -> None:
    def ecg_uv(rate: float) -> np.ndarray:
        t_s = np.arange(int(rate * 10)) / rate
        return 800 * np.sin(2 * np.pi * 1.3 * t_s) + 300 * np.sin(2 * np.pi * 9 * t_s + 1)

    reference, other = (
        windows_of(ecg_uv(1000), 1000, SPEC),
        windows_of(ecg_uv(rate_hz), rate_hz, SPEC),
    )
    shift = (other.start_ns[0] - reference.start_ns[0]) / 1e9 * SPEC.rate_hz
    assert abs(shift) <= 2 and abs(shift - round(shift)) < 1e-6
    keep = slice(2, -2)
    moved = np.roll(reference.samples[1, 0], -round(shift))
    np.testing.assert_allclose(moved[keep], other.samples[1, 0][keep], atol=0.02)


@pytest.mark.parametrize(
    ("frequency_hz", "low", "high"),
    [(0.05, 0, 0.02), (0.25, 0, 0.1), (1.0, 0.9, 1.05), (5, 0.98, 1.02), (25, 0.98, 1.02),
     (50, 0, 0.01), (60, 0, 0.01)],
)  # fmt: skip
def test_band(frequency_hz: float, low: float, high: float) -> None:
    t_s = np.arange(20 * 500) / 500
    rms_uv = windows_of(1000 * np.sin(2 * np.pi * frequency_hz * t_s), 500, SPEC).rms_uv
    assert low <= rms_uv.mean() / (1000 / np.sqrt(2)) <= high


def test_windows_have_zero_mean_and_unit_variance() -> None:
    windows = windows_of(noise_uv(250, 20), 250, SPEC)
    assert windows.samples.shape == (len(windows), 1, 250)
    np.testing.assert_allclose(windows.samples.mean(axis=2), 0, atol=2e-3)
    np.testing.assert_allclose(windows.samples.std(axis=2), 1, atol=1e-3)


@pytest.mark.parametrize("offset_uv", [0, 40_000, -180_000])
def test_an_offset_changes_nothing(offset_uv: float) -> None:
    samples_uv = np.rint(noise_uv(250, 6))
    plain = windows_of(samples_uv, 250, SPEC)
    shifted = windows_of(samples_uv + offset_uv, 250, SPEC)
    np.testing.assert_array_equal(plain.samples, shifted.samples)


def test_no_window_reaches_across_a_gap() -> None:
    samples_uv = noise_uv(250, 12)
    preprocessor = Preprocessor(SPEC)
    first = chunk_of(samples_uv[:1500], 250, 0, 0)
    lost = chunk_of(samples_uv[1525:], 250, round(1525 * 4e6), 2)  # packet 1 never came
    before, after = preprocessor.feed(first), preprocessor.feed(lost)
    assert set(before.segment) == {0} and set(after.segment) == {1}
    assert before.start_ns[-1] + before.duration_ns <= first.end_ns
    assert after.start_ns[0] >= lost.start_ns
    alone = windows_of(samples_uv[1525:], 250, SPEC)
    np.testing.assert_array_equal(after.samples, alone.samples)


def test_a_clock_that_jumps_is_a_gap_even_without_a_lost_packet() -> None:
    preprocessor = Preprocessor(SPEC)
    preprocessor.feed(chunk_of(noise_uv(250, 1), 250, 0, 0))
    windows = preprocessor.feed(chunk_of(noise_uv(250, 4), 250, 3_000_000_000, 1))
    assert set(windows.segment) == {1}


def test_invalid_samples_break_the_signal_and_are_never_read() -> None:
    samples_uv = noise_uv(250, 10)
    valid = np.ones(len(samples_uv), dtype=bool)
    valid[1000:1010] = False
    poisoned = samples_uv.copy()
    poisoned[1000:1010] = 1e9
    a = Preprocessor(SPEC).feed(EcgChunk(samples_uv, valid, 250.0, 0, 0))
    b = Preprocessor(SPEC).feed(EcgChunk(poisoned, valid, 250.0, 0, 0))
    np.testing.assert_array_equal(a.samples, b.samples)
    assert sorted(set(a.segment.tolist())) == [0, 1]


def test_a_volt_is_no_ecg() -> None:
    samples_uv = noise_uv(250, 10)
    samples_uv[1000] = 3e6
    windows = windows_of(samples_uv, 250, SPEC)
    assert sorted(set(windows.segment.tolist())) == [0, 1]


def test_memory_is_bounded() -> None:
    preprocessor = Preprocessor(SPEC)
    piece = noise_uv(250, 1)
    for sequence in range(300):
        preprocessor.feed(chunk_of(piece, 250, sequence * 10**9, sequence))
    kept = sum(len(p) for p in preprocessor._pieces) + len(preprocessor._filtered)
    assert kept < 4 * 250 * SPEC.window_s and len(preprocessor._anchors) < 10


def test_times_follow_the_sensor_clock_when_it_drifts() -> None:
    preprocessor = Preprocessor(SPEC)
    piece, period_ns = noise_uv(250, 1), 1_000_100_000  # 100 ppm slow
    for sequence in range(120):
        windows = preprocessor.feed(chunk_of(piece, 250, sequence * period_ns, sequence))
    assert abs(windows.start_ns[-1] - (120 * period_ns - 3_000_000_000)) < 1_000_000_000
    assert windows.start_ns[-1] > 117 * period_ns - 10_000_000


@pytest.mark.parametrize("rate_hz", [30.0, 99.0, 5000.0])
def test_a_rate_that_cannot_be_taken(rate_hz: float) -> None:
    with pytest.raises(RateError, match="100 to 4000 Hz"):
        windows_of(np.zeros(1000), rate_hz, SPEC)


def test_spec_refuses_fractions_of_a_sample_and_an_empty_band() -> None:
    with pytest.raises(SignalError, match="whole number"):
        WindowSpec(window_s=2.001)
    with pytest.raises(SignalError, match="band"):
        WindowSpec(low_hz=50, high_hz=40)
    with pytest.raises(SignalError, match="overlap or touch"):
        WindowSpec(window_s=2.0, hop_s=3.0)
    with pytest.raises(SignalError, match="whole number"):
        WindowSpec(window_s=float("inf"))


def test_no_samples_no_windows() -> None:
    assert len(windows_of(np.empty(0), 250, SPEC)) == 0
    assert len(windows_of(np.full(3000, np.nan), 250, SPEC)) == 0

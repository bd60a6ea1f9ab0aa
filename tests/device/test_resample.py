"""The resampler's arithmetic is exact."""

from fractions import Fraction

import numpy as np
import pytest

from fewbeats.device.resample import TAP_SCALE, Resampler


@pytest.mark.parametrize("rate_hz", [100, 128, 250, 360, 1000])
def test_a_constant_passes_unchanged(rate_hz: float) -> None:
    resampler = Resampler(rate_hz, 125, 40)
    samples = np.full(int(rate_hz * 3), 16_000_000.0)
    ready = resampler.ready(len(samples))
    assert (resampler.outputs(samples, 0, resampler.first, ready) == 16_000_000.0).all()


@pytest.mark.parametrize("rate_hz", [128, 250, 360])
def test_outputs_equal_a_sum_in_python_integers(rate_hz: float) -> None:
    resampler = Resampler(rate_hz, 125, 40)
    samples = np.random.default_rng(0).integers(-(2**24), 2**24, int(rate_hz * 2)).astype(float)
    first, ready = resampler.first, resampler.ready(len(samples))
    outputs = resampler.outputs(samples, 0, first, ready)
    for k in (first, (first + ready) // 2, ready - 1):
        position = Fraction(k) * resampler.ratio
        start = position.numerator // position.denominator - resampler.reach + 1
        taps = resampler.taps[k * resampler.ratio.numerator % resampler.ratio.denominator]
        exact = sum(int(samples[start + i]) * int(tap) for i, tap in enumerate(taps))
        assert outputs[k - first] == round(Fraction(exact, TAP_SCALE))


def test_ready_and_first_are_tight() -> None:
    for rate_hz in (100, 128, 250, 360, 999.99):
        resampler = Resampler(rate_hz, 125, 40)
        assert resampler.oldest_input(resampler.first) >= 0
        assert resampler.first == 0 or resampler.oldest_input(resampler.first - 1) < 0
        for inputs in range(300, 320):
            last = resampler.ready(inputs) - 1
            newest = resampler.oldest_input(last) + 2 * resampler.reach - 1
            following = resampler.oldest_input(last + 1) + 2 * resampler.reach - 1
            assert newest < inputs <= following

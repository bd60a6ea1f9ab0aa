"""What cannot be judged is named."""

import numpy as np
import pytest

from fewbeats.device.preprocess import WindowSpec, windows_of
from fewbeats.device.quality import Quality

SPEC = WindowSpec()
T_S = np.arange(250 * 10) / 250
SINE_UV = 800 * np.sin(2 * np.pi * 4 * T_S)


@pytest.mark.parametrize(
    ("samples_uv", "quality"),
    [
        (SINE_UV, Quality.GOOD),
        (np.zeros_like(T_S), Quality.FLAT),
        (np.full_like(T_S, 150_000.0), Quality.FLAT),
        (np.random.default_rng(0).normal(0, 4, len(T_S)), Quality.FLAT),
        (SINE_UV * 40, Quality.IMPLAUSIBLE),
        (np.where(T_S % 2 < 0.5, 4000.0, SINE_UV), Quality.CLIPPED),
    ],
    ids=["good", "zero", "constant", "noise floor", "swinging", "rail"],
)  # fmt: skip
def test_quality(samples_uv: np.ndarray, quality: Quality) -> None:
    windows = windows_of(samples_uv, 250, SPEC)
    assert set(windows.quality.tolist()) == {quality}
    assert windows.usable.all() == (quality is Quality.GOOD)
    assert quality.reason

"""The windows that a calibration keeps."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.support import MOST_BYTES, Support
from fewbeats.errors import HeadError, SignalError

SPEC = WindowSpec(rate_hz=10, high_hz=4.0)
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def support(count: int = 3) -> Support:
    windows = np.random.default_rng(1).normal(size=(count, 1, 20)).astype(np.float32)
    return Support(windows, np.arange(count) >= 2, SPEC, confirmed=True)


@given(arrays(np.float32, (3, 1, 20), elements=FINITE), st.booleans())
def test_windows_come_back_to_the_last_bit(windows: np.ndarray, confirmed: bool) -> None:
    before = Support(windows, np.array([False, False, True]), SPEC, confirmed)
    after = Support.from_dict(json.loads(json.dumps(before.as_dict())))
    assert after.windows.tobytes() == windows.tobytes() and after.windows.dtype == np.float32
    assert after.va.tolist() == [False, False, True]
    assert (after.window, after.confirmed) == (SPEC, confirmed)


def test_the_samples_are_little_endian_base64() -> None:
    """RFC 4648 of 1.0 as IEEE 754 single precision, 00 00 80 3f."""
    spec = WindowSpec(rate_hz=10, window_s=0.1, hop_s=0.1, high_hz=4.0)
    one = Support(np.ones((1, 1, 1), dtype=np.float32), np.array([False]), spec, confirmed=False)
    assert one.as_dict()["samples"] == "AACAPw=="


def test_nonsense_is_refused() -> None:
    good = support()
    for changes in (
        {"windows": good.windows[:, :, 1:]},
        {"windows": good.windows * np.nan},
        {"va": np.array([True, True, True])},
        {"va": np.array([False])},
        {
            "windows": np.zeros((MOST_BYTES // 80 + 1, 1, 20), dtype=np.float32),
            "va": np.zeros(MOST_BYTES // 80 + 1, dtype=bool),
        },
    ):
        with pytest.raises(HeadError):
            replace(good, **changes)
    content = good.as_dict()
    for name, value in {"samples": "AAA", "va": [0], "window": {"rate_hz": "x"}}.items():
        with pytest.raises((HeadError, SignalError, LookupError, TypeError, ValueError)):
            Support.from_dict(content | {name: value})


def test_what_kind_of_windows_they_are() -> None:
    assert support().fits(replace(SPEC, hop_s=0.5))  # how often one is taken is no matter
    for change in ({"rate_hz": 20}, {"window_s": 1.0}, {"low_hz": 1.0}, {"high_hz": 3.0}):
        assert not support().fits(replace(SPEC, **change))

"""The strip that people look at."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.cli.strip import draw_strip

EMPTY = "\u2800"


def test_what_was_not_measured_is_not_drawn() -> None:
    samples = np.full(1000, np.nan)
    assert draw_strip(samples, 40, 4) == [EMPTY * 40] * 4
    samples[500:] = 0.0
    for line in draw_strip(samples, 40, 4):
        assert line[:20] == EMPTY * 20
    assert any(line[20:].strip(EMPTY) for line in draw_strip(samples, 40, 4))


def test_a_peak_reaches_the_top_and_the_baseline_stays_low() -> None:
    samples = np.zeros(400)
    samples[200:205] = 1000.0
    lines = draw_strip(samples, 40, 4)
    assert lines[0].strip(EMPTY) and len(lines[0].strip(EMPTY)) <= 2
    assert EMPTY not in lines[-1][:19]


def test_noise_of_a_few_microvolts_looks_flat() -> None:
    lines = draw_strip(np.random.default_rng(0).normal(0, 3, 1000), 40, 8)
    assert sum(bool(line.strip(EMPTY)) for line in lines) <= 2


@given(st.lists(st.floats(-1e4, 1e4) | st.just(float("nan")), max_size=300), st.integers(1, 60))
def test_any_samples_fit(samples: list[float], columns: int) -> None:
    lines = draw_strip(np.array(samples), columns, 5)
    assert [len(line) for line in lines] == [columns] * 5

"""The mapping of a sensor's clock to UTC."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.firmware_bridge.clock import SensorClock
from fewbeats.firmware_bridge.samples import EcgChunk, chunk_of

S = 1_000_000_000
NOON = 1_750_000_000 * S


def chunk(start_ns: int, sequence: int = 0, samples: int = 25) -> EcgChunk:
    return chunk_of(np.zeros(samples), 250.0, start_ns=start_ns, sequence=sequence)


def test_the_first_packet_ends_when_it_arrives():
    stamped = SensorClock().stamp(chunk(7 * S), NOON)
    assert stamped.end_ns == NOON
    assert stamped.start_ns == NOON - S // 10


@given(st.lists(st.integers(-S, 5 * S), min_size=1, max_size=30))
def test_jitter_of_arrival_leaves_contiguous_chunks_contiguous(delays_ns):
    clock = SensorClock()
    previous = clock.stamp(chunk(0), NOON)
    for i, delay_ns in enumerate(delays_ns, 1):
        stamped = clock.stamp(chunk(i * S // 10, i), NOON + i * S // 10 + delay_ns)
        assert stamped.follows(previous)
        assert stamped.start_ns == previous.end_ns
        previous = stamped


def test_a_gap_on_the_sensors_clock_stays_a_gap_of_that_length():
    clock = SensorClock()
    first = clock.stamp(chunk(0), NOON)
    later = clock.stamp(chunk(3 * S, 1), NOON + 3 * S)
    assert later.start_ns - first.start_ns == 3 * S
    assert not later.follows(first)


@pytest.mark.parametrize("speed", [20, 1000])
def test_a_simulated_sensor_keeps_its_own_pace(speed: int):
    clock = SensorClock()
    stamps = [
        clock.stamp(chunk(i * S // 10, i), NOON + i * S // 10 // speed).start_ns for i in range(50)
    ]
    assert np.diff(stamps).tolist() == [S // 10] * 49


def test_a_restart_takes_the_time_of_arrival_anew():
    clock = SensorClock()
    clock.stamp(chunk(1000 * S), NOON)
    again = clock.stamp(chunk(0, 2), NOON + 60 * S)
    assert again.end_ns == NOON + 60 * S
    assert clock.stamp(chunk(S // 10, 3), NOON + 99 * S).follows(again)


def test_time_never_runs_backwards():
    clock = SensorClock()
    clock.stamp(chunk(0), NOON)
    ahead = clock.stamp(chunk(500 * S, 1), NOON + S)
    again = clock.stamp(chunk(0, 3), NOON + 2 * S)
    assert again.start_ns == ahead.end_ns
    assert not again.follows(ahead)


def test_nothing_but_the_time_changes():
    samples = np.array([1.5, np.nan], np.float32)
    original = EcgChunk(samples, np.array([True, False]), 130.0, 5 * S, 9, battery_percent=40)
    stamped = SensorClock().stamp(original, NOON)
    assert stamped.samples_uv is original.samples_uv
    assert replace(stamped, start_ns=5 * S).battery_percent == 40
    assert (stamped.rate_hz, stamped.sequence, stamped.lead_off) == (130.0, 9, False)


@pytest.mark.parametrize("back_ms", [50, 200, 900])
def test_a_clock_that_steps_back_between_packets_in_a_row_is_a_gap(back_ms: int):
    clock = SensorClock()
    before = clock.stamp(chunk(10 * S, 7), NOON)
    after = clock.stamp(chunk(10 * S + S // 10 - back_ms * 1_000_000, 8), NOON + S // 10)
    assert not after.follows(before)


def test_one_stamp_far_in_the_future_does_not_take_the_others_along():
    clock = SensorClock()
    clock.stamp(chunk(0, 0), NOON)
    clock.stamp(chunk(2**48 * 1000, 1), NOON + S // 10)
    back = clock.stamp(chunk(2 * S // 10, 3), NOON + 2 * S // 10)
    assert back.end_ns == NOON + 2 * S // 10


def test_a_sensor_that_was_off_for_long_is_placed_where_it_arrives():
    clock = SensorClock()
    clock.stamp(chunk(S, 5), NOON)
    again = clock.stamp(chunk(2 * S, 7), NOON + 600 * S)
    assert again.end_ns == NOON + 600 * S

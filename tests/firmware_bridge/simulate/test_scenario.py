import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import AddressError
from fewbeats.firmware_bridge.simulate.scenario import (
    DEMO_SCENARIO,
    MAX_GAIN,
    MAX_SEGMENT_S,
    MIN_GAIN,
    MIN_SEGMENT_S,
    Disturbance,
    Scenario,
    Segment,
    SimulatedRhythm,
)

segments = st.builds(
    Segment,
    st.sampled_from(SimulatedRhythm),
    st.floats(MIN_SEGMENT_S, MAX_SEGMENT_S),
    st.lists(st.sampled_from(Disturbance), unique=True).map(tuple),
    st.floats(MIN_GAIN, MAX_GAIN),
)
scenarios = st.builds(Scenario, st.lists(segments, min_size=1).map(tuple))


def test_text_becomes_segments():
    assert Scenario.parse(" sinus:60, vf:12@0.5 , Sinus+wander+muscle:20.5 ").segments == (
        Segment(SimulatedRhythm.SINUS, 60.0),
        Segment(SimulatedRhythm.VF, 12.0, gain=0.5),
        Segment(SimulatedRhythm.SINUS, 20.5, (Disturbance.WANDER, Disturbance.MUSCLE)),
    )


def test_text_is_the_shortest_that_means_the_same():
    assert str(Scenario.parse("sinus:60.0,vf+motion:12@0.50")) == "sinus:60,vf+motion:12@0.5"


@given(scenarios)
def test_text_and_back(scenario):
    assert Scenario.parse(str(scenario)) == scenario


@given(st.text())
def test_any_text_is_a_scenario_or_an_address_error(text):
    try:
        scenario = Scenario.parse(text)
    except AddressError:
        return
    assert Scenario.parse(str(scenario)) == scenario


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("sinus:10,", "Piece 2 of the scenario, ''"),
        ("sinus", "no duration"),
        ("sinus:10,vz:5", "Piece 2 of the scenario, 'vz:5': no rhythm is called 'vz'; there are"),
        ("sinus+wonder:5", "no disturbance is called 'wonder'; there are wander, muscle"),
        ("sinus+:5", "no disturbance is called ''"),
        ("sinus+mains+mains:5", "once"),
        ("sinus:ten", "duration 'ten' is not a number"),
        ("sinus:nan", "duration must lie in 0.5 to"),
        ("sinus:-4", "got -4"),
        ("sinus:inf", "got inf"),
        ("vf:5@", "gain '' is not a number"),
        ("vf:5@9", "gain must lie in 0.1 to 2, got 9"),
    ],
)
def test_errors_name_the_piece_and_what_is_allowed(text, said):
    with pytest.raises(AddressError) as caught:
        Scenario.parse(text)
    assert said in str(caught.value)


def test_a_scenario_without_segments_is_refused():
    with pytest.raises(AddressError, match="at least one segment"):
        Scenario(())


def test_the_demo_shows_every_alarm_and_ends_in_sinus_rhythm():
    played = {segment.rhythm for segment in DEMO_SCENARIO.segments}
    assert played >= {"sinus", "pvc", "vt", "vfl", "vf", "asystole"}
    assert DEMO_SCENARIO.segments[-1].rhythm is SimulatedRhythm.SINUS
    assert 240 <= DEMO_SCENARIO.duration_s <= 360

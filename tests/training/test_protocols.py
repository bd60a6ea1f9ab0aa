"""Who is scored, on what, after having learned from what."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import DataError
from fewbeats.training.protocols import (
    Protocol,
    Support,
    scored_windows,
    standard_protocols,
    support_of,
)


def test_the_standard_protocols_ask_the_same_of_a_subject():
    protocols = standard_protocols()
    assert [(p.support.value, p.shots) for p in protocols] == [
        ("none", 10),
        *((support, shots) for support in ("normals", "first", "random") for shots in (1, 5, 10)),
    ]
    assert {p.needed for p in protocols} == {15}


def test_a_subject_needs_the_support_and_some_windows_to_score():
    assert Protocol(shots=3, fewest_scored=4).needed == 7
    assert Protocol(shots=3, fewest_scored=4, fewest_windows=20).needed == 20
    assert Protocol(shots=30, fewest_scored=4, fewest_windows=20).needed == 34


def test_first_takes_the_first_of_each_class(make_subject):
    subject = make_subject("made/9", 20, 30)
    assert support_of(subject, Protocol(Support.FIRST, shots=3)).tolist() == [0, 1, 2, 30, 31, 32]
    assert support_of(subject, Protocol(Support.NORMALS, shots=3)).tolist() == [0, 1, 2]
    assert support_of(subject, Protocol(Support.NONE)).tolist() == []


def test_random_draws_by_name_and_seed(make_subject):
    subject = make_subject("made/9", 30, 30)
    protocol = Protocol(Support.RANDOM)
    one, again, next_draw = (support_of(subject, protocol, draw) for draw in (0, 0, 1))
    renamed = support_of(replace(subject, name="made/8"), protocol, 0)
    reseeded = support_of(subject, replace(protocol, seed=1), 0)
    assert (one == again).all()
    for other in (next_draw, renamed, reseeded):
        assert (one != other).any()
    assert subject.va[one].sum() == 10


@given(
    support=st.sampled_from(list(Support)),
    shots=st.integers(1, 10),
    gap_s=st.floats(0, 9),
    order=st.permutations(range(40)),
    draw=st.integers(0, 4),
)
def test_no_scored_window_is_near_the_support(make_subject, support, shots, gap_s, order, draw):
    made = make_subject("made/9", 20, 20)
    subject = replace(made, va=made.va[np.array(order)])
    protocol = Protocol(support, shots, gap_s=gap_s)
    chosen = support_of(subject, protocol, draw)
    scored = scored_windows(subject, protocol, chosen)
    assert not scored[chosen].any()
    for index in np.flatnonzero(scored):
        between_s = np.abs(subject.start_s[chosen] - subject.start_s[index]) - subject.window_s
        assert (between_s >= gap_s - 1e-5).all()
        if support is Support.FIRST:
            assert index > chosen[subject.va[chosen] == subject.va[index]].max()


def test_another_record_of_the_subject_is_never_near(make_subject):
    subject = make_subject("made/9", 30, 30)
    protocol = Protocol(Support.NORMALS)
    support = support_of(subject, protocol)
    elsewhere = replace(subject, record=(np.arange(60) >= 10).astype(np.int64))
    assert scored_windows(subject, protocol, support).sum() == 49
    assert scored_windows(elsewhere, protocol, support).sum() == 50


@pytest.mark.parametrize(
    "wrong",
    [{"shots": 0}, {"draws": 0}, {"fewest_scored": 0}, {"gap_s": -1}, {"gap_s": float("nan")}],
)
def test_impossible_protocols_are_refused(wrong):
    with pytest.raises(DataError, match="at least 1 shot"):
        Protocol(**wrong)

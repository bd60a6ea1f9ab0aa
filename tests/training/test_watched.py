"""Figures of watched records, taken together."""

from hypothesis import given
from hypothesis import strategies as st

from fewbeats.firmware_bridge.rhythms import Rhythm
from fewbeats.training.by_rhythm import Strip, StripRhythm
from fewbeats.training.episodes import Durations, EpisodeScore, Reported, TrueEpisode
from fewbeats.training.watched import Watched, summary


def watched(record: str, **numbers: float) -> Watched:
    """One episode of 10 s found after 4 s, one of 2 s missed, a right and a false report."""
    values = {"watched_s": 3600.0, "judged_s": 1800.0, "unreadable_s": 36.0} | numbers
    score = EpisodeScore(
        (
            TrueEpisode(Rhythm.VF, 10.0, 20.0, values.pop("delay_s", 4.0)),
            TrueEpisode(Rhythm.VT, 40.0, 42.0, None),
        ),
        right=(Reported(11, 14, 20),),
        false_alarms=(Reported(60, 64, 70),),
        overlong=(),
        unscored=(Reported(80, 84, 85),),
    )
    durations = Durations(12.0, 19.0, 9.0, values.pop("outside_s", 1800.0))
    strip = Strip(StripRhythm.COARSE_VF, 10.0, True)
    return Watched(record, record, "none", False, 0.0, **values, score=score,
                   durations=durations, strips=(strip,))  # fmt: skip


def test_gross_figures() -> None:
    assert summary([watched("a/1"), watched("a/2", delay_s=6.0)]) == {
        "records": 2,
        "hours": 2.0,
        "judged_hours": 1.0,
        "unreadable_hours": 0.02,
        "hours_outside_va": 1.0,
        "episodes": 4,
        "found": 2,
        "already_alarmed": 0,
        "episodes_5s": 2,
        "found_5s": 2,
        "episode_sensitivity": 0.5,
        "episode_positive_predictivity": 0.5,
        "duration_sensitivity": 0.75,
        "duration_positive_predictivity": 18 / 38,
        "delay_s": {"median": 5.0, "p90": 5.8, "values": [4.0, 6.0]},
        "false_alarms": 2,
        "false_alarms_per_hour": 2.0,
        "overlong": 0,
        "unscored": 2,
    }


@given(st.lists(st.tuples(*[st.floats(0, 1e6)] * 5), max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_records_changes_not_one_bit(numbers, random) -> None:
    keys = ("watched_s", "judged_s", "unreadable_s", "outside_s", "delay_s")
    records = [
        watched(f"a/{n}", **dict(zip(keys, row, strict=True))) for n, row in enumerate(numbers)
    ]
    ordered = summary(records)
    random.shuffle(records)
    assert summary(records) == ordered

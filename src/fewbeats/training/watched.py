"""What became of watched records, and their figures taken together."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np

from fewbeats.training.by_rhythm import Strip
from fewbeats.training.episodes import Durations, EpisodeScore

LONG_EPISODE_S = 5.0
"""From this length on an episode counts among the long ones."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What became of one record.

    Attributes:
        record: database and record, "mitdb/202".
        subject: whose it is, "mitdb/201".
        calibration: "none", "fitted", or "refused: " and why the device refused it.
        needed_confirmation: whether the device would have asked somebody to confirm that the
            normals are no VA, as most of them look like it to the bundle's own head. Here the
            annotations confirm it.
        from_s: when the watch began.
        watched_s: from there to the record's end.
        judged_s: of that, what windows that could be judged covered.
        unreadable_s: time in which the device said that it cannot judge.
        score: its reports against the annotated episodes.
        durations: seconds of VA, annotated and reported.
        strips: of one rhythm each, judged.
    """

    record: str
    subject: str
    calibration: str
    needed_confirmation: bool
    from_s: float
    watched_s: float
    judged_s: float
    unreadable_s: float
    score: EpisodeScore
    durations: Durations
    strips: tuple[Strip, ...]

    def as_dict(self) -> dict[str, Any]:
        """The record's figures, and what was missed or reported wrongly when."""
        score = self.score
        return {
            "subject": self.subject,
            "calibration": self.calibration,
            "needed_confirmation": self.needed_confirmation,
            "from_s": round(self.from_s, 3),
            **summary([self]),
            "truth": [
                {
                    "rhythm": e.rhythm.name,
                    "onset_s": round(e.onset_s, 3),
                    "end_s": round(e.end_s, 3),
                    "delay_s": None if e.delay_s is None else round(e.delay_s, 3),
                }
                for e in score.episodes
            ],
            "false_alarms_at_s": [round(r.confirmed_s, 3) for r in score.false_alarms],
            "overlong_at_s": [round(r.confirmed_s, 3) for r in score.overlong],
        }


def summary(records: Iterable[Watched]) -> dict[str, Any]:
    """Gross figures of records: plain data, None where there is nothing to divide by.

    The order of the records changes nothing, not even the last bit.
    """
    watched = list(records)
    episodes = [e for w in watched for e in w.score.episodes]
    long = [e for e in episodes if e.end_s - e.onset_s >= LONG_EPISODE_S]
    found = [e.delay_s for e in episodes if e.delay_s is not None]
    delays = sorted(round(delay_s, 3) for delay_s in found if delay_s > 0)
    right = sum(len(w.score.right) for w in watched)
    false_alarms = sum(len(w.score.false_alarms) for w in watched)
    both_s = fsum(w.durations.both_s for w in watched)
    outside_hours = fsum(w.durations.outside_s for w in watched) / 3600
    return {
        "records": len(watched),
        "hours": fsum(w.watched_s for w in watched) / 3600,
        "judged_hours": fsum(w.judged_s for w in watched) / 3600,
        "unreadable_hours": fsum(w.unreadable_s for w in watched) / 3600,
        "hours_outside_va": outside_hours,
        "episodes": len(episodes),
        "found": len(found),
        "already_alarmed": len(found) - len(delays),
        "episodes_5s": len(long),
        "found_5s": sum(e.delay_s is not None for e in long),
        "episode_sensitivity": _share(len(found), len(episodes)),
        "episode_positive_predictivity": _share(right, right + false_alarms),
        "duration_sensitivity": _share(both_s, fsum(w.durations.true_s for w in watched)),
        "duration_positive_predictivity": _share(
            both_s, fsum(w.durations.reported_s for w in watched)
        ),
        "delay_s": {
            "median": round(float(np.median(delays)), 3) if delays else None,
            "p90": round(float(np.percentile(delays, 90)), 3) if delays else None,
            "values": delays,
        },
        "false_alarms": false_alarms,
        "false_alarms_per_hour": _share(false_alarms, outside_hours),
        "overlong": sum(len(w.score.overlong) for w in watched),
        "unscored": sum(len(w.score.unscored) for w in watched),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None

"""A monitor's events as plain data, for a journal or a script; times in UTC."""

from datetime import UTC, datetime
from typing import Any

from fewbeats.device.detector import Alarm, Episode, EpisodeEnded
from fewbeats.device.monitor import CannotJudge, Event, JudgingAgain

Line = dict[str, Any]


def line_of(event: Event) -> Line | None:
    """An event as a line; None for a single judgement, which is no news."""
    match event:
        case Alarm(episode):
            return {"event": "alarm", **_episode(episode)}
        case EpisodeEnded(episode):
            return {"event": "episode-ended", **_episode(episode)}
        case CannotJudge(since_ns, at_ns, reason):
            return {
                "event": "cannot-judge",
                "reason": reason.value,
                "sentence": reason.sentence,
                "since": utc(since_ns) if since_ns else None,
                "announced": utc(at_ns) if since_ns else None,
            }
        case JudgingAgain(at_ns):
            return {"event": "judging-again", "from": utc(at_ns)}
    return None


def utc(time_ns: int) -> str:
    """A time, to the millisecond."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def _episode(episode: Episode) -> Line:
    return {
        "onset": utc(episode.onset_ns),
        "confirmed": utc(episode.confirmed_ns),
        "end": None if episode.end_ns is None else utc(episode.end_ns),
        "peak_probability": round(episode.peak_probability, 4),
        "reasons": [reason.value for reason in episode.reasons],
    }

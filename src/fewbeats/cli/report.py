"""What was seen on a stream, as lines for people and as data for scripts."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fewbeats.device.bundle import NOTICE
from fewbeats.device.detector import Alarm, Episode, EpisodeEnded, Reason
from fewbeats.device.monitor import CannotJudge, Event, JudgingAgain, Monitor
from fewbeats.firmware_bridge.stats import StreamStats

MOST_KEPT = 10_000
"""Episodes and states that a report keeps; a watch of months must not fill the memory."""


@dataclass(slots=True)
class Report:
    """Collects a monitor's events; times are seconds from the stream's first sample.

    Attributes:
        monitor: whose events these are.
        origin_ns: time of the stream's first sample, where the monitor joined later.
        episodes: those that are over.
        blind: the announcements that nothing can be judged.
    """

    monitor: Monitor
    origin_ns: int | None = None
    episodes: deque[Episode] = field(default_factory=lambda: deque(maxlen=MOST_KEPT))
    blind: deque[CannotJudge] = field(default_factory=lambda: deque(maxlen=MOST_KEPT))
    _open: Episode | None = None

    def seconds(self, time_ns: int) -> float:
        """Seconds from the stream's first sample."""
        origin_ns = self.monitor.start_ns if self.origin_ns is None else self.origin_ns
        return round((time_ns - (origin_ns or 0)) / 1e9, 3)

    def take(self, events: list[Event]) -> Iterator[tuple[str, str]]:
        """Keep events; give a line and its style for each that people should read."""
        for event in events:
            match event:
                case Alarm(episode):
                    self._open = episode
                    yield (
                        self._line(
                            episode.confirmed_ns,
                            f"VENTRICULAR ARRHYTHMIA since {self.seconds(episode.onset_ns):.1f} s "
                            f"(probability {episode.peak_probability:.2f})",
                        ),
                        "bold red",
                    )
                case EpisodeEnded(episode):
                    self._open = None
                    self.episodes.append(episode)
                    end_ns = episode.end_ns or episode.confirmed_ns
                    text = f"episode over after {(end_ns - episode.onset_ns) / 1e9:.1f} s"
                    if Reason.STREAM_ENDED in episode.reasons:
                        text = "the stream ended with the episode STILL GOING ON"
                    elif Reason.SIGNAL_LOST in episode.reasons:
                        text += "; the signal was lost within it"
                    yield self._line(end_ns, text), "yellow"
                case CannotJudge():
                    self.blind.append(event)
                    yield (
                        self._line(event.at_ns, f"CANNOT JUDGE: {event.reason.sentence}"),
                        "magenta",
                    )
                case JudgingAgain(at_ns):
                    yield self._line(at_ns, "judging again"), "green"

    def status(self) -> tuple[str, str]:
        """The state of now, and its style."""
        alarm = f"VA since {self.seconds(self._open.onset_ns):.1f} s" if self._open else ""
        if self.monitor.blind:
            blind = f"cannot judge: {self.monitor.blind.sentence}"
            return (f"{alarm}; now {blind}", "bold red") if alarm else (blind, "bold magenta")
        if alarm:
            return alarm, "bold red"
        if self.monitor.windows_judged == 0:
            return "waiting for the first window", "dim"
        return "watching, no VA", "green"

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        monitor = self.monitor
        length_ns = monitor.end_ns - (monitor.start_ns or 0) if monitor.end_ns else 0
        return {
            "start": datetime.fromtimestamp((monitor.start_ns or 0) / 1e9, UTC).isoformat(),
            "duration_s": round(length_ns / 1e9, 3),
            "judged_s": round(monitor.judged_ns / 1e9, 3),
            "windows_judged": monitor.windows_judged,
            "windows_refused": monitor.windows_refused,
            "episodes": [self.episode_as_dict(episode) for episode in self.episodes],
            "cannot_judge": [self.blind_as_dict(blind) for blind in self.blind],
            "notice": NOTICE,
        }

    def episode_as_dict(self, episode: Episode) -> dict[str, Any]:
        """One episode as plain data."""
        end_ns = episode.end_ns
        return {
            "onset_s": self.seconds(episode.onset_ns),
            "confirmed_s": self.seconds(episode.confirmed_ns),
            "end_s": None if end_ns is None else self.seconds(end_ns),
            "peak_probability": round(episode.peak_probability, 4),
            "reasons": [reason.value for reason in episode.reasons],
            "windows": [
                {"start_s": self.seconds(w.start_ns), "probability": round(w.probability, 4)}
                for w in episode.windows
            ],
        }

    def blind_as_dict(self, blind: CannotJudge) -> dict[str, Any]:
        """One announcement as plain data."""
        return {
            "since_s": self.seconds(blind.since_ns),
            "announced_s": self.seconds(blind.at_ns),
            "reason": blind.reason.value,
        }

    def _line(self, time_ns: int, text: str) -> str:
        return f"{self.seconds(time_ns):9.1f} s  {text}"


@dataclass(slots=True)
class LossWatch:
    """Turns the growth of a stream's counters into warnings."""

    seen: dict[str, int] = field(default_factory=dict)

    def news(self, stats: StreamStats) -> str | None:
        """A sentence on what was lost since the last call, if anything."""
        now = {
            "packets lost": stats.lost_packets,
            "packets damaged": stats.corrupt_packets,
            "packets received twice": stats.duplicate_packets,
            "bytes of noise on the line": stats.discarded_bytes,
        }
        grown = {name: count - self.seen.get(name, 0) for name, count in now.items()}
        self.seen = now
        parts = [f"{count} {name}" for name, count in grown.items() if count]
        return f"warning: {', '.join(parts)}" if parts else None

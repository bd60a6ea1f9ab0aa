"""Reported episodes against the truth, by the rules of ANSI/AAMI EC57.

An episode counts as found when any part of it was reported, and a report as right when it
touches any part of an episode. Two things that these rules let pass are named beside them: an
alarm that came only after its episode finds nothing, and a report that goes on for long where
there is no VA is overlong.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels

CONFIRMED_AFTER_S = 3.0
"""How long after an episode its alarm still counts: a window and its hop."""
MOST_BESIDE_S = 10.0
"""How long a report may go on without VA before it is no longer about the episode."""


@dataclass(frozen=True, slots=True)
class Reported:
    """An episode that a detector reported, in seconds from the labels' first sample."""

    onset_s: float
    confirmed_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class TrueEpisode:
    """An episode of VA that the labels hold.

    Attributes:
        rhythm: the one that it begins with.
        onset_s: its begin.
        end_s: its end.
        delay_s: from its onset to the alarm; None if it was missed.
    """

    rhythm: Rhythm
    onset_s: float
    end_s: float
    delay_s: float | None


@dataclass(frozen=True, slots=True)
class EpisodeScore:
    """What became of each true episode, and which reports were false.

    Attributes:
        episodes: the true ones, found or missed.
        false_alarms: reports that touch no episode.
        overlong: reports that touch one, but go on for more than ``MOST_BESIDE_S`` where the
            labels say that there is none.
        unscored: reports where the truth is not known, or from before the watch began.
    """

    episodes: tuple[TrueEpisode, ...]
    false_alarms: tuple[Reported, ...]
    overlong: tuple[Reported, ...]
    unscored: tuple[Reported, ...]

    @property
    def missed(self) -> tuple[TrueEpisode, ...]:
        """The true episodes that nobody heard of."""
        return tuple(e for e in self.episodes if e.delay_s is None)

    @property
    def perfect(self) -> bool:
        """Every episode found, no false alarm, and none that does not end."""
        return not self.missed and not self.false_alarms and not self.overlong


def score_episodes(
    labels: RhythmLabels, reported: list[Reported], from_s: float = 0.0
) -> EpisodeScore:
    """Match reports to the episodes whose onset lies at ``from_s`` or later.

    Args:
        labels: the truth.
        reported: what the detector reported.
        from_s: when it began to watch. An episode that was already under way is not scored.
    """
    truth = labels.va_episodes_s()
    episodes = []
    for onset_s, end_s in truth:
        if onset_s >= from_s:
            alarms = [
                r.confirmed_s
                for r in reported
                if _touch(r, onset_s, end_s) and r.confirmed_s <= end_s + CONFIRMED_AFTER_S
            ]
            rhythm = Rhythm(labels.rhythms[round(onset_s * labels.rate_hz)])
            delay_s = max(0.0, min(alarms) - onset_s) if alarms else None
            episodes.append(TrueEpisode(rhythm, onset_s, end_s, delay_s))
    false_alarms: list[Reported] = []
    overlong: list[Reported] = []
    unscored: list[Reported] = []
    no_va = (labels.rhythms != Rhythm.UNLABELLED) & ~labels.va
    for report in reported:
        first, last = (round(s * labels.rate_hz) for s in (report.onset_s, report.end_s))
        touched = [onset_s for onset_s, end_s in truth if _touch(report, onset_s, end_s)]
        if touched and _longest_run(no_va[first:last]) > MOST_BESIDE_S * labels.rate_hz:
            overlong.append(report)
        if any(onset_s >= from_s for onset_s in touched):
            continue
        unknown = bool((labels.rhythms[first:last] == Rhythm.UNLABELLED).any())
        (unscored if touched or unknown else false_alarms).append(report)
    return EpisodeScore(tuple(episodes), tuple(false_alarms), tuple(overlong), tuple(unscored))


def _longest_run(mask: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    return int(np.diff(edges.reshape(-1, 2), axis=1).max(initial=0))


def _touch(report: Reported, onset_s: float, end_s: float) -> bool:
    return report.onset_s < end_s and report.end_s > onset_s

"""Reported episodes against the truth, by the rules of ANSI/AAMI EC57.

An episode counts as found when any part of it was reported, and a report as right when it
touches any part of an episode. Three things that these rules let pass are not let pass here:

* An alarm that came only after its episode finds nothing.
* An alarm is judged by the evidence that led to it, from its onset to its confirmation. Where all
  of that is labelled and none of it VA, the alarm is false, whatever it reaches later: unlabelled
  time, or an episode. Such an episode is found, by EC57's rule, but it began under an alarm that
  sounded already, so it has no delay of its own.
* A report that goes on for long where there is no VA is overlong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels

CONFIRMED_AFTER_S = 3.0
"""How long after an episode its alarm still counts: a window and its hop."""
EARLY_S = 2.0
"""How far before an annotated onset an alarm may be confirmed and still be about that episode:
a window. Where VA begins is read by eye, and seldom to the second."""
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
        delay_s: from its onset to the alarm, 0 where one sounded already, even a false one; None
            if it was missed.
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
        right: reports that touch an episode that is scored, and are no false alarms.
        false_alarms: reports whose evidence, from onset to confirmation, is labelled throughout
            and holds no VA, and which reach no episode within ``EARLY_S`` of their confirmation.
        overlong: right or unscored reports that go on for more than ``MOST_BESIDE_S`` where the
            labels say that there is no VA.
        unscored: reports whose evidence is in part unlabelled, from before the watch began, or
            about an episode from before it, and which touch no episode that is scored.
    """

    episodes: tuple[TrueEpisode, ...]
    right: tuple[Reported, ...]
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
    labels: RhythmLabels, reported: Sequence[Reported], from_s: float = 0.0
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
    right: list[Reported] = []
    false_alarms: list[Reported] = []
    overlong: list[Reported] = []
    unscored: list[Reported] = []
    no_va = (labels.rhythms != Rhythm.UNLABELLED) & ~labels.va
    for report in reported:
        first, confirmed, last = (
            round(s * labels.rate_hz) for s in (report.onset_s, report.confirmed_s, report.end_s)
        )
        touched = [onset_s for onset_s, end_s in truth if _touch(report, onset_s, end_s)]
        baseless = report.onset_s >= from_s and bool(no_va[first:confirmed].all())
        soon = any(0 <= onset_s - report.confirmed_s <= EARLY_S for onset_s in touched)
        if baseless and not soon:
            false_alarms.append(report)
            continue
        (right if any(onset_s >= from_s for onset_s in touched) else unscored).append(report)
        if _longest_run(no_va[first:last]) > MOST_BESIDE_S * labels.rate_hz:
            overlong.append(report)
    return EpisodeScore(
        tuple(episodes), tuple(right), tuple(false_alarms), tuple(overlong), tuple(unscored)
    )


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds of VA, where the labels settle what there is.

    Unlabelled time and time under annotated noise count for neither side.

    Attributes:
        true_s: what the labels hold, episodes that were under way when the watch began too.
        reported_s: what was reported.
        both_s: what both agree on. Over ``true_s`` it is EC57's duration sensitivity, over
            ``reported_s`` its duration positive predictivity.
        outside_s: labelled time without VA, that under noise too: a false alarm in it is one.
    """

    true_s: float
    reported_s: float
    both_s: float
    outside_s: float


def measure_durations(
    labels: RhythmLabels, reported: Sequence[Reported], from_s: float = 0.0
) -> Durations:
    """How long VA lasted, and how long it was reported, from ``from_s`` on.

    Args:
        labels: the truth.
        reported: what the detector reported.
        from_s: when it began to watch.
    """
    labelled = labels.rhythms != Rhythm.UNLABELLED
    labelled[: round(from_s * labels.rate_hz)] = False
    under_report = np.zeros(len(labels), dtype=np.bool_)
    for report in reported:
        first, last = (round(s * labels.rate_hz) for s in (report.onset_s, report.end_s))
        under_report[first:last] = True
    va, settled = labels.va, labelled & ~labels.noise
    return Durations(
        *(
            int(np.count_nonzero(mask)) / labels.rate_hz
            for mask in (
                va & settled,
                under_report & settled,
                va & under_report & settled,
                labelled & ~va,
            )
        )
    )


def _longest_run(mask: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    return int(np.diff(edges.reshape(-1, 2), axis=1).max(initial=0))


def _touch(report: Reported, onset_s: float, end_s: float) -> bool:
    return report.onset_s < end_s and report.end_s > onset_s

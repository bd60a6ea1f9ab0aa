"""From the probabilities of single windows to episodes that a person should hear of."""

from collections import deque
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import numpy as np

from fewbeats.device.head import log_odds, sigmoid
from fewbeats.errors import SignalError

MOST = 30
"""Windows of evidence; with more an alarm would come too late to be one."""
MOST_HYSTERESIS = 10.0


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """How much evidence starts and ends an episode.

    Attributes:
        confirm: windows over the head's threshold ...
        among: ... of so many consecutive ones, for an episode to be confirmed.
        release: consecutive windows under the release threshold that end it.
        hysteresis: how far the release threshold lies under the head's, in log-odds.

    Raises:
        SignalError: counts that contradict each other.
    """

    confirm: int = 4
    among: int = 5
    release: int = 4
    hysteresis: float = 1.0

    def __post_init__(self) -> None:
        counts = 1 <= self.confirm <= self.among <= MOST and 1 <= self.release <= MOST
        if not (counts and 0 <= self.hysteresis <= MOST_HYSTERESIS):
            raise SignalError(
                f"A detector needs 1 <= confirm <= among <= {MOST}, release from 1 to {MOST} and "
                f"hysteresis from 0 to {MOST_HYSTERESIS:g}, got {self}."
            )

    def as_dict(self) -> dict[str, float]:
        """The plain numbers, for a manifest."""
        return asdict(self)


class Reason(StrEnum):
    """What an episode's report says beside its times."""

    RHYTHM_ENDED = "rhythm-ended"
    """Enough windows in a row were no VA."""
    SIGNAL_LOST = "signal-lost"
    """The signal broke off within it: what happened there nobody saw."""
    STREAM_ENDED = "stream-ended"
    """The recording, or the sensor's stream, was over."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One window, judged."""

    start_ns: int
    end_ns: int
    probability: float
    over: bool
    """Whether it lies over the head's threshold."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of ventricular arrhythmia.

    Attributes:
        onset_ns: middle of the first window over the threshold: its best estimate, since the
            window before was not yet half filled.
        confirmed_ns: end of the window that completed the evidence; the alarm was raised here.
        end_ns: end of the last window over the release threshold: of the last evidence. None
            while it lasts.
        peak_probability: the highest of its windows.
        reasons: why it ended, and whether the signal broke within it.
        windows: the ones that led to its confirmation.
    """

    onset_ns: int
    confirmed_ns: int
    end_ns: int | None
    peak_probability: float
    reasons: tuple[Reason, ...]
    windows: tuple[Judgement, ...]


@dataclass(frozen=True, slots=True)
class Alarm:
    """An episode has been confirmed and goes on."""

    episode: Episode


@dataclass(frozen=True, slots=True)
class EpisodeEnded:
    """An episode is over."""

    episode: Episode


@dataclass(slots=True)
class _Running:
    """The episode that goes on."""

    onset_ns: int
    confirmed_ns: int
    last_over_ns: int
    peak: float
    windows: tuple[Judgement, ...]
    reasons: list[Reason] = field(default_factory=list)
    under: int = 0

    def episode(self, end_ns: int | None, *reasons: Reason) -> Episode:
        return Episode(
            self.onset_ns,
            self.confirmed_ns,
            end_ns,
            self.peak,
            (*self.reasons, *reasons),
            self.windows,
        )


class Detector:
    """M-of-n confirmation, hysteresis, and nothing carried across a gap.

    Evidence for a new episode is forgotten at every break of the signal and at every window
    that cannot be judged. An episode that is already alarmed stays open across a break, marked
    as interrupted: an alarm ends by evidence that the rhythm ended, not by a cable that fell off.
    """

    def __init__(self, config: DetectorConfig, threshold: float) -> None:
        """Start with no episode.

        Args:
            config: amounts of evidence.
            threshold: the head's operating point, a probability.
        """
        self._config = config
        self._threshold = threshold
        release = log_odds(threshold) - config.hysteresis
        self._release_threshold = float(sigmoid(np.asarray(release)))
        self._recent: deque[Judgement] = deque(maxlen=config.among)
        self._running: _Running | None = None

    @property
    def alarmed(self) -> bool:
        """Whether an episode goes on."""
        return self._running is not None

    def judge(
        self, start_ns: int, end_ns: int, probability: float
    ) -> tuple[Judgement, Alarm | EpisodeEnded | None]:
        """Take the next window that could be judged."""
        over = probability >= self._threshold
        judgement = Judgement(start_ns, end_ns, probability, over)
        if self._running is None:
            return judgement, self._watch(judgement)
        return judgement, self._follow(self._running, judgement)

    def interrupt(self) -> None:
        """The signal broke, or a window could not be judged: forget unconfirmed evidence."""
        self._recent.clear()
        if self._running is not None:
            self._running.under = 0
            if Reason.SIGNAL_LOST not in self._running.reasons:
                self._running.reasons.append(Reason.SIGNAL_LOST)

    def finish(self) -> EpisodeEnded | None:
        """The stream is over: close the episode that goes on, if any."""
        if self._running is None:
            return None
        ended = self._running.episode(self._running.last_over_ns, Reason.STREAM_ENDED)
        self._running = None
        return EpisodeEnded(ended)

    def _watch(self, judgement: Judgement) -> Alarm | None:
        self._recent.append(judgement)
        over = [j for j in self._recent if j.over]
        if not judgement.over or len(over) < self._config.confirm:
            return None
        first = over[0]
        self._running = _Running(
            onset_ns=(first.start_ns + first.end_ns) // 2,
            confirmed_ns=judgement.end_ns,
            last_over_ns=judgement.end_ns,
            peak=max(j.probability for j in over),
            windows=tuple(self._recent),
        )
        self._recent.clear()
        return Alarm(self._running.episode(None))

    def _follow(self, running: _Running, judgement: Judgement) -> EpisodeEnded | None:
        running.peak = max(running.peak, judgement.probability)
        if judgement.probability >= self._release_threshold:
            running.under = 0
            running.last_over_ns = judgement.end_ns
            return None
        running.under += 1
        if running.under < self._config.release:
            return None
        self._running = None
        return EpisodeEnded(running.episode(running.last_over_ns, Reason.RHYTHM_ENDED))

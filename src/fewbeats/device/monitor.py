"""The whole way on the device: chunks in, alarms and states out."""

from dataclasses import dataclass
from enum import StrEnum

from fewbeats.device.bundle import Bundle
from fewbeats.device.detector import Alarm, Detector, EpisodeEnded, Judgement
from fewbeats.device.head import Head
from fewbeats.device.preprocess import Preprocessor, Windows
from fewbeats.device.quality import Quality
from fewbeats.firmware_bridge.samples import CONTIGUITY_TOLERANCE_NS, EcgChunk

UNJUDGED_NS = 4_000_000_000
"""How long no window may be judged before people are told. A window and its hop take 3 s."""
UNALARMABLE_NS = 9_000_000_000
"""How long no alarm may have been possible, because the signal breaks before enough windows in
a row confirm one. A single short break costs 6 s and is not worth a word."""


class Blindness(StrEnum):
    """Why nothing can be judged."""

    NO_DATA = "no-data"
    LATE = "late"
    LEAD_OFF = "lead-off"
    BROKEN_SIGNAL = "broken-signal"
    FLAT = "flat"
    CLIPPED = "clipped"
    IMPLAUSIBLE = "implausible"

    @property
    def sentence(self) -> str:
        """What to tell people."""
        return _SENTENCES[self]


_BY_QUALITY = {
    Quality.FLAT: Blindness.FLAT,
    Quality.CLIPPED: Blindness.CLIPPED,
    Quality.IMPLAUSIBLE: Blindness.IMPLAUSIBLE,
}
_SENTENCES = {
    Blindness.NO_DATA: "no data from the sensor: check its power and its connection",
    Blindness.LATE: "data arrive later than they are measured: line or gateway overloaded",
    Blindness.LEAD_OFF: "lead off: an electrode has no contact",
    Blindness.BROKEN_SIGNAL: "the signal keeps breaking off before anything can be confirmed",
    **{blindness: quality.reason for quality, blindness in _BY_QUALITY.items()},
}


@dataclass(frozen=True, slots=True)
class CannotJudge:
    """Nothing could be judged, or confirmed, for a while: silence is no sign of health.

    Attributes:
        since_ns: end of what was judged last.
        at_ns: when the patience with it ended.
        reason: why; announced again when it changes.
    """

    since_ns: int
    at_ns: int
    reason: Blindness


@dataclass(frozen=True, slots=True)
class JudgingAgain:
    """Enough windows in a row have been judged for an alarm to be possible again."""

    at_ns: int


Event = Judgement | Alarm | EpisodeEnded | CannotJudge | JudgingAgain


class Monitor:
    """One wearer's detector. Pure: no clock, no thread, no file."""

    def __init__(self, bundle: Bundle, head: Head | None = None) -> None:
        """Watch with a bundle and, once calibrated, with the patient's own head.

        Args:
            bundle: what to judge with.
            head: the patient's; the bundle's own start where there is none yet.

        Raises:
            BundleError: the bundle's backbone does not run here.
            HeadMismatchError: the head belongs to another backbone.
        """
        self.head = head or bundle.start
        self.head.check_backbone(bundle.start.backbone_sha256)
        self._backbone = bundle.backbone
        self._hop_ns = round(bundle.window.hop_s * 1e9)
        self._needed = bundle.detector.confirm
        self._preprocessor = Preprocessor(bundle.window)
        self._detector = Detector(bundle.detector, self.head.threshold)
        self._segment = 0
        self._last_quality = Quality.GOOD
        self._blind: Blindness | None = None
        self._in_a_row = 0  # windows judged without a break
        self._judged_to_ns = 0
        self._alarmable_to_ns = 0
        self.start_ns: int | None = None
        """Time of the stream's first sample."""
        self.end_ns = 0
        """Time after the stream's last sample."""
        self.judged_ns = 0
        """How much of the stream has been judged."""
        self.windows_judged = 0
        self.windows_refused = 0
        """Windows that were complete, but not good enough to be judged."""

    @property
    def blind(self) -> Blindness | None:
        """Why nothing can be judged, once people have been told so."""
        return self._blind

    @property
    def alarmed(self) -> bool:
        """Whether an episode goes on."""
        return self._detector.alarmed

    def feed(self, chunk: EcgChunk, late_ns: int = 0) -> list[Event]:
        """Take a chunk; return what it gives rise to, in the order of time.

        Args:
            chunk: the next one.
            late_ns: how much later than measured it arrived, beyond the usual.

        Raises:
            RateError: the chunk's rate cannot be taken.
            BundleError: the backbone fails.
        """
        windows = self._preprocessor.feed(chunk)
        if self.start_ns is None:
            self.start_ns = chunk.start_ns
            self._restart(chunk.start_ns)
        elif chunk.start_ns < self.end_ns - CONTIGUITY_TOLERANCE_NS:
            self._restart(chunk.start_ns)  # the clock fell back: nothing before it compares
        late = late_ns > UNJUDGED_NS
        events = self._judge(windows, late) if len(windows) else []
        self.end_ns = chunk.end_ns
        reason = _BY_QUALITY.get(self._last_quality, Blindness.BROKEN_SIGNAL)
        if chunk.lead_off:
            reason = Blindness.LEAD_OFF
        return events + self._look(self.end_ns + late_ns, Blindness.LATE if late else reason)

    def silence(self, quiet_ns: int) -> list[Event]:
        """Nothing has arrived for ``quiet_ns``; returns what people must be told of it."""
        if quiet_ns <= UNJUDGED_NS:
            return []
        return self._look(self.end_ns + quiet_ns, Blindness.NO_DATA)

    def finish(self) -> list[Event]:
        """The stream is over."""
        ended = self._detector.finish()
        return [ended] if ended else []

    def _restart(self, at_ns: int) -> None:
        self._judged_to_ns = self._alarmable_to_ns = self.end_ns = at_ns
        self._in_a_row = 0

    def _judge(self, windows: Windows, late: bool) -> list[Event]:
        usable = windows.usable
        events: list[Event] = []
        probabilities = iter(
            self.head.probability(self._backbone.embed(windows.samples[usable])).tolist()
        )
        for start_ns, segment, quality in zip(
            windows.start_ns.tolist(), windows.segment.tolist(), windows.quality, strict=True
        ):
            end_ns = start_ns + windows.duration_ns
            self._last_quality = Quality(quality)
            if segment != self._segment or self._last_quality is not Quality.GOOD:
                self._detector.interrupt()
                self._segment = segment
                self._in_a_row = 0
            if self._last_quality is not Quality.GOOD:
                self.windows_refused += 1
                events += self._look(end_ns, _BY_QUALITY[self._last_quality])
                continue
            events += self._look(end_ns, Blindness.BROKEN_SIGNAL)
            self.windows_judged += 1
            self.judged_ns += min(max(end_ns - self._judged_to_ns, 0), self._hop_ns)
            self._judged_to_ns = end_ns
            self._in_a_row += 1
            if self._in_a_row >= self._needed:
                self._alarmable_to_ns = end_ns
                if self._blind and not late:
                    self._blind = None
                    events.append(JudgingAgain(end_ns))
            judgement, event = self._detector.judge(start_ns, end_ns, next(probabilities))
            events.append(judgement)
            if event:
                events.append(event)
        return events

    def _look(self, at_ns: int, reason: Blindness) -> list[Event]:
        """Announce that nothing could be judged for too long, once for each reason."""
        patience_ns = min(self._judged_to_ns + UNJUDGED_NS, self._alarmable_to_ns + UNALARMABLE_NS)
        # A break of the signal is what every other reason ends with; it is no news.
        known = self._blind is reason or (self._blind and reason is Blindness.BROKEN_SIGNAL)
        if at_ns <= patience_ns or known:
            return []
        told_ns = at_ns if self._blind else patience_ns
        self._blind = reason
        return [CannotJudge(self._judged_to_ns, told_ns, reason)]

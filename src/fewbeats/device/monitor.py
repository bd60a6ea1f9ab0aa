"""The whole way on the device: chunks in, alarms and states out."""

from dataclasses import dataclass
from enum import StrEnum

from fewbeats.device.bundle import Bundle
from fewbeats.device.detector import Alarm, Detector, EpisodeEnded, Judgement
from fewbeats.device.head import Head
from fewbeats.device.preprocess import Preprocessor, Windows
from fewbeats.device.quality import Quality
from fewbeats.firmware_bridge.samples import EcgChunk

ANNOUNCE_AFTER_S = 4.0
"""How long nothing may be judged before people are told. A window and its hop take 3 s."""


class Blindness(StrEnum):
    """Why nothing can be judged."""

    NO_DATA = "no-data"
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
    Blindness.LEAD_OFF: "lead off: an electrode has no contact",
    Blindness.BROKEN_SIGNAL: "the signal keeps breaking off",
    **{blindness: quality.reason for quality, blindness in _BY_QUALITY.items()},
}


@dataclass(frozen=True, slots=True)
class CannotJudge:
    """Nothing has been judged for a while: silence does not mean that all is well."""

    since_ns: int
    at_ns: int
    reason: Blindness


@dataclass(frozen=True, slots=True)
class JudgingAgain:
    """The signal can be judged again."""

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
        self._preprocessor = Preprocessor(bundle.window)
        self._detector = Detector(bundle.detector, self.head.threshold)
        self._segment = 0
        self._last_quality = Quality.GOOD
        self._blind = False
        self._judged_to_ns = 0
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
    def blind(self) -> bool:
        """Whether people have been told that nothing can be judged."""
        return self._blind

    @property
    def alarmed(self) -> bool:
        """Whether an episode goes on."""
        return self._detector.alarmed

    def feed(self, chunk: EcgChunk) -> list[Event]:
        """Take a chunk; return what it gives rise to, in the order of time.

        Raises:
            RateError: the chunk's rate cannot be taken.
        """
        windows = self._preprocessor.feed(chunk)
        if self.start_ns is None:
            self.start_ns = self._judged_to_ns = chunk.start_ns
        events = self._judge(windows) if len(windows) else []
        self.end_ns = max(self.end_ns, chunk.end_ns)
        reason = _BY_QUALITY.get(self._last_quality, Blindness.BROKEN_SIGNAL)
        events += self._look(self.end_ns, Blindness.LEAD_OFF if chunk.lead_off else reason)
        return events

    def silence(self, at_ns: int) -> list[Event]:
        """Nothing has arrived until ``at_ns``; returns what people must be told of it."""
        if self.start_ns is None:
            self.start_ns = self._judged_to_ns = at_ns - round(ANNOUNCE_AFTER_S * 1e9)
        return self._look(at_ns, Blindness.NO_DATA)

    def finish(self) -> list[Event]:
        """The stream is over."""
        ended = self._detector.finish()
        return [ended] if ended else []

    def _judge(self, windows: Windows) -> list[Event]:
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
            if self._last_quality is not Quality.GOOD:
                self.windows_refused += 1
                events += self._look(end_ns, _BY_QUALITY[self._last_quality])
                continue
            events += self._look(end_ns, Blindness.BROKEN_SIGNAL)
            self.windows_judged += 1
            self.judged_ns += min(end_ns - self._judged_to_ns, self._hop_ns)
            self._judged_to_ns = end_ns
            if self._blind:
                self._blind = False
                events.append(JudgingAgain(end_ns))
            judgement, event = self._detector.judge(start_ns, end_ns, next(probabilities))
            events.append(judgement)
            if event:
                events.append(event)
        return events

    def _look(self, at_ns: int, reason: Blindness) -> list[Event]:
        """Announce, once, that nothing has been judged for too long."""
        if self._blind or at_ns - self._judged_to_ns <= ANNOUNCE_AFTER_S * 1e9:
            return []
        self._blind = True
        return [CannotJudge(self._judged_to_ns, at_ns, reason)]

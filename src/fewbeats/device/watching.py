"""The watch with one bundle: the sensor is opened again and again, the bundle is put to the test.

A sensor that is lost does not end the watch, and says nothing about the bundle. What does: a
backbone that fails, that cannot take what the sensor sends, or that takes longer than the signal
lasts.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from fewbeats.device.detector import Alarm, Judgement
from fewbeats.device.event_lines import Line, line_of
from fewbeats.device.gateway import watch
from fewbeats.device.monitor import UNJUDGED_NS, Blindness, Event, Monitor
from fewbeats.device.notify import Notifier
from fewbeats.errors import BundleError, SignalError, SourceError
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.firmware_bridge.source import Source, open_source

FIRST_WAIT_S = 1.0
MOST_WAIT_S = 30.0
"""How long a lost sensor is left alone before it is tried again: doubled from first to most."""
POLL_S = 2.0
"""How often it is looked whether another bundle has become current."""
LATE_S = 60.0
"""For how long a bundle may fall behind before it is held to be too slow for this machine."""
LATE_SHARE = 0.5
"""Share of that time that was spent judging; with less it is the line that is slow."""
CALM_NS = 10_000_000_000
"""For how long no window may have looked like VA before a watch is interrupted on purpose."""
MOST_DELAY_S = 60.0
"""For how long a change waits for calm: a bundle that alarms all the time is never calm."""
FRESH_S = 30.0
"""For how long after an alarm it waits on, for this one may be true."""
LONGEST_DELAY_S = 300.0
"""After which it comes about whatever the bundle says."""
_SLICE_S = 1.0

Tell = Callable[[Line], None]


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the watch with this bundle is over.

    Attributes:
        reason: in words.
        bundle_failed: whether the bundle is to blame.
    """

    reason: str
    bundle_failed: bool


@dataclass(frozen=True, slots=True)
class Change:
    """Another bundle or head is to take over.

    Attributes:
        reason: in words.
        at_once: the bundle that runs has been given up: what it says holds nothing up.
    """

    reason: str
    at_once: bool = False


class Overseer(Protocol):
    """What the watch asks of whoever started it."""

    @property
    def on_trial(self) -> bool:
        """Whether the bundle is yet to be confirmed: then its failure ends the watch."""
        ...

    def replaceable(self) -> bool:
        """Whether there is another bundle to fall back to, if this one on trial does not do."""
        ...

    def changed(self) -> Change | None:
        """Whether another bundle or head should take over; None: nothing has changed."""
        ...

    def judged(self, judged_s: float) -> None:
        """So much signal has been judged in this run."""
        ...

    def attended(self, *, sensor: bool) -> None:
        """Whether there is a sensor to put the bundle to the test; told when that changes."""
        ...


class TimedMonitor(Monitor):
    """A monitor that knows how much of the processor's time it took."""

    busy_s = 0.0

    def feed(self, chunk: EcgChunk, late_ns: int = 0) -> list[Event]:
        """As ``Monitor.feed``."""
        begun_s = time.thread_time()
        try:
            return super().feed(chunk, late_ns)
        finally:
            self.busy_s += time.thread_time() - begun_s


class Watching:
    """One bundle's watch over one source."""

    def __init__(
        self,
        address: str,
        monitor: TimedMonitor,
        overseer: Overseer,
        tell: Tell,
        notifier: Notifier,
    ) -> None:
        """Prepare; ``run`` watches.

        Args:
            address: of the source.
            monitor: with the bundle, and the patient's head.
            overseer: knows of other bundles, and of the trial.
            tell: takes a line for each event.
            notifier: is told that the loop turns.
        """
        self._address = address
        self._monitor = monitor
        self._overseer = overseer
        self._tell = tell
        self._notifier = notifier
        self._lost = ""  # why nothing comes, as it was told last
        self._polled_s = float("-inf")
        self._waits_since_s: float | None = None  # for calm, before a change
        self._alarmed_s = float("-inf")
        self._suspect_ns: int | None = None  # end of the last window that looked like VA
        self._late: tuple[float, float] | None = None  # (since when, busy by then)

    async def run(self) -> Ending:
        """Watch until the bundle fails on trial, or another one is to take over.

        Raises:
            BundleError: the bundle fails, and is not on trial.
        """
        wait_s = FIRST_WAIT_S
        try:
            while True:
                heard = self._monitor.end_ns
                try:
                    ending = await self._stream(open_source(self._address))
                    why = "the sensor ended its stream"
                except SourceError as error:
                    ending, why = None, str(error)
                except BundleError as error:
                    if self._overseer.on_trial:
                        return Ending(str(error), bundle_failed=True)
                    raise
                except SignalError as error:
                    if self._overseer.on_trial and self._overseer.replaceable():
                        return Ending(str(error), bundle_failed=True)
                    ending, why = None, str(error)
                if ending is not None:
                    return ending
                if self._monitor.end_ns != heard:
                    wait_s = FIRST_WAIT_S
                self._be_blind(why, wait_s)
                if ending := await self._pause(wait_s):
                    return ending
                wait_s = min(2 * wait_s, MOST_WAIT_S)
        finally:
            self._tell_events(self._monitor.finish())

    async def _stream(self, source: Source) -> Ending | None:
        """Watch until the stream is over, or there is another reason to end."""
        async with source, aclosing(watch(source, self._monitor)) as stream:
            async for chunk, events in stream:
                self._notifier.alive()
                if chunk is not None and self._lost:
                    self._tell({"event": "source-back", "source": source.info.name})
                    self._lost = ""
                    self._overseer.attended(sensor=True)
                self._tell_events(events)
                if ending := self._look():
                    return ending
        return None

    def _be_blind(self, why: str, wait_s: float) -> None:
        """The sensor is lost: say so at once, and nothing can be judged."""
        if not self._lost:
            self._overseer.attended(sensor=False)
        if why != self._lost:
            self._lost = why
            self._tell({"event": "source-lost", "reason": why, "again_in_s": wait_s})
        self._tell_events(self._monitor.silence(UNJUDGED_NS + 1))
        self._notifier.status(f"cannot judge: {why}")

    async def _pause(self, wait_s: float) -> Ending | None:
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._notifier.alive()
            if ending := self._look():
                return ending
            await asyncio.sleep(min(left_s, _SLICE_S))
        return None

    def _tell_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Judgement) and event.over:
                self._suspect_ns = event.end_ns
            if isinstance(event, Alarm):
                self._alarmed_s = time.monotonic()
            if line := line_of(event):
                self._tell(line)
                self._notifier.status(self._status())

    def _look(self) -> Ending | None:
        """Whether this watch should end; the files are looked at every few seconds."""
        slow = self._too_slow() if self._overseer.on_trial else None
        if slow is not None and self._overseer.replaceable():
            return Ending(
                f"it cannot keep up with the signal: {slow:.0%} of {LATE_S:g} s were spent "
                f"judging, and windows came late all the time",
                bundle_failed=True,
            )
        if time.monotonic() - self._polled_s < POLL_S:
            return None
        self._polled_s = time.monotonic()
        self._overseer.judged(self._monitor.judged_ns / 1e9)
        change = self._overseer.changed()
        if change is None:
            return None
        if change.at_once or self._calm() or self._waited_enough():
            return Ending(change.reason, bundle_failed=False)
        if self._waits_since_s is None:
            self._waits_since_s = time.monotonic()
            self._tell({"event": "change-over-waits", "reason": change.reason})
        return None

    def _waited_enough(self) -> bool:
        """Whether a change has waited for calm for as long as it may."""
        if self._waits_since_s is None:
            return False
        now_s = time.monotonic()
        waited_s, fresh = now_s - self._waits_since_s, now_s - self._alarmed_s < FRESH_S
        return waited_s >= (LONGEST_DELAY_S if fresh else MOST_DELAY_S)

    def _calm(self) -> bool:
        """Whether the watch may be interrupted for a few seconds without missing anything."""
        if self._monitor.alarmed:
            return False
        if self._lost or self._suspect_ns is None:
            return True
        return self._monitor.end_ns - self._suspect_ns > CALM_NS

    def _too_slow(self) -> float | None:
        """The share of time spent judging, if that is why windows have been late for long."""
        now_s, busy_s = time.monotonic(), self._monitor.busy_s
        if self._monitor.blind is not Blindness.LATE:
            self._late = None
        elif self._late is None:
            self._late = (now_s, busy_s)
        elif (passed_s := now_s - self._late[0]) >= LATE_S:
            share = (busy_s - self._late[1]) / passed_s
            self._late = (now_s, busy_s)
            return share if share >= LATE_SHARE else None
        return None

    def _status(self) -> str:
        """What ``systemctl status`` shows."""
        blind = self._monitor.blind
        parts = ["VENTRICULAR ARRHYTHMIA"] if self._monitor.alarmed else []
        parts += [f"cannot judge: {blind.sentence}"] if blind else []
        return "; ".join(parts) or "watching, no VA"

"""The gateway's service: starts a bundle, watches with it, keeps it or gives it up."""

import asyncio
import time

from fewbeats.device.bundle import NOTICE
from fewbeats.device.container import read_bundle
from fewbeats.device.event_lines import Line, utc
from fewbeats.device.gateway_config import AUTO, DEVELOPMENT, GatewayConfig
from fewbeats.device.keys import DEVELOPMENT_NOTICE, Keyring
from fewbeats.device.layout import Layout
from fewbeats.device.notify import Notifier
from fewbeats.device.refit import Standing
from fewbeats.device.running import Running
from fewbeats.device.shipped import SHIPPED, load_bundle
from fewbeats.device.slot_files import digest
from fewbeats.device.slot_report import CONFIRMED, Started
from fewbeats.device.slots import Slots
from fewbeats.device.watching import (
    FIRST_WAIT_S,
    MOST_WAIT_S,
    Change,
    Ending,
    Tell,
    TimedMonitor,
    Watching,
)
from fewbeats.errors import BundleError, FewbeatsError, HeadError, KeyFileError, SlotError
from fewbeats.firmware_bridge.source import open_source

DEVELOPMENT_MODE = (
    "DEVELOPMENT MODE: bundles signed with the development key, which anybody has, are taken here."
)


RECORD_EVERY_S = 60.0
"""How much judged signal of a trial is recorded at a time; less is lost with the power."""
RETRY_S = 30.0
"""How often it is tried to record what could not be recorded before."""
STOP_WAIT_S = 2.0
"""How long a stop waits for another program, to take back what stands against the trial."""
_SLICE_S = 1.0


class Service:
    """Watches with the current bundle until it is cancelled; the overseer of each watch."""

    def __init__(
        self, layout: Layout, config: GatewayConfig, tell: Tell, notifier: Notifier
    ) -> None:
        """Prepare; ``run`` watches.

        Args:
            layout: the gateway's.
            config: what it is told.
            tell: takes a line, a table of plain data, for each event.
            notifier: word to systemd.

        Raises:
            AddressError: the settings name no source.
        """
        open_source(config.source)
        self._layout = layout
        self._config = config
        self._tell = tell
        self._notifier = notifier
        self._slots: Slots | None = None  # until the keys have been read
        self._running = Running(layout.running)
        self._started: Started | None = None
        self._mark: object = None
        self._confirmed = False
        self._attended = False  # whether there is a sensor
        self._counts = False  # whether this start stands against the bundle on the disk
        self._judged_s = 0.0  # in this run
        self._recorded_s = 0.0  # of that, on the disk
        self._retried_s = 0.0
        self._failing = ""  # why the bundle, without another to fall back to, was started again
        self._problem = ""

    async def run(self) -> None:
        """Watch, and change over to another bundle when there is one, until cancelled.

        Raises:
            SlotError: there is no bundle that may run here.
            BundleError: the confirmed bundle fails.
            KeyFileError: the folder of trusted keys cannot be read.
            FewbeatsError: a source that needs what is not installed.
        """
        wait_s = FIRST_WAIT_S
        try:
            while True:
                started = self._start()
                self._notifier.ready()
                begun_s = time.monotonic()
                ending = await self._watch(started)
                if time.monotonic() - begun_s > MOST_WAIT_S:
                    wait_s = FIRST_WAIT_S
                if not ending.bundle_failed:
                    self._failing = ""
                    self._tell({"event": "changing-over", "reason": ending.reason})
                    self._end_run()
                elif self._give_up(started, ending.reason):
                    await self._rest(FIRST_WAIT_S)
                else:
                    self._failing = ending.reason
                    self._cannot_judge(ending.reason)
                    await self._rest(wait_s)
                    wait_s = min(2 * wait_s, MOST_WAIT_S)
        except asyncio.CancelledError:
            self._notifier.stopping()
            self._end_run()
            self._tell({"event": "stop", "reason": "asked to"})
            raise
        except FewbeatsError as error:
            if not isinstance(error, BundleError):
                self._end_run()
            self._cannot_judge(str(error))
            raise
        finally:
            self._running.close()

    @property
    def on_trial(self) -> bool:
        """Whether the bundle that runs is yet to be confirmed."""
        return self._started is not None and self._started.on_trial and not self._confirmed

    @property
    def slots(self) -> Slots:
        """The slots, with the keys that were trusted at the last start.

        Raises:
            KeyFileError: the folder of trusted keys cannot be read.
        """
        if self._slots is None:
            self._slots = self._slots_now()
        return self._slots

    def replaceable(self) -> bool:
        """Whether there is another bundle to fall back to."""
        return self.slots.has_refuge()

    def changed(self) -> Change | None:
        """Whether another bundle or head should take over."""
        started = self._started
        if started is None:
            return None
        if self.slots.mark(self._config.patient) != self._mark:
            given_up = self.slots.given_up(started.sha256)
            return Change("another bundle or calibration has become current", at_once=given_up)
        if started.postponed and time.monotonic() - self._retried_s >= RETRY_S:
            self._retried_s = time.monotonic()
            if self.slots.can_record():
                return Change("the start of the current bundle can be recorded now")
        return None

    def judged(self, judged_s: float) -> None:
        """Confirm the bundle once it has judged enough signal, and record how much that is."""
        started, self._judged_s = self._started, judged_s
        if self._failing and judged_s > 0:
            self._failing = ""
            self._tell({"event": "judging-again", "from": utc(time.time_ns())})
            self._say_watching()
        if not self.on_trial or started is None or started.slot is None:
            return
        if started.judged_s + judged_s < self._config.trial_judged_s:
            self._record()
            return
        try:
            self.slots.confirm(started.sha256)
        except SlotError as error:  # another program is at it, or the disk is full: later
            self._tell_problem(str(error))
            return
        self._confirmed = True
        bundle = started.as_dict() | {"state": CONFIRMED, "starts_left": None}
        self._say_running(bundle)
        self._tell({"event": "trial-confirmed", "bundle": bundle})

    def attended(self, *, sensor: bool) -> None:
        """A start without a sensor proves nothing: it counts only while there is one."""
        self._attended = sensor
        self._record()

    def _record(self, least_s: float = RECORD_EVERY_S, wait_s: float = 0.0) -> None:
        """Let the disk say of the trial what is true; what fails is done at a later call.

        A start stands against the bundle while it has a sensor and no minute of judged signal is
        recorded: a gateway that is unplugged often is no reason to give a bundle up.
        """
        started = self._started
        if started is None or not self.on_trial:
            return
        more_s = self._judged_s - self._recorded_s
        more_s = more_s if more_s >= least_s else 0.0
        counts = self._attended and self._recorded_s + more_s == 0
        if counts is self._counts and more_s == 0:
            return
        try:
            self.slots.count(started.sha256, counts - self._counts, more_s, wait_s)
        except SlotError as error:
            self._tell_problem(str(error))
            return
        self._counts = counts
        self._recorded_s += more_s

    def _end_run(self) -> None:
        """A run that ends in order does not stand against the bundle."""
        self._attended = False
        self._record(least_s=0.0, wait_s=STOP_WAIT_S)

    def _slots_now(self) -> Slots:
        """The slots, with the keys that are trusted now."""
        runtime = None if self._config.runtime == AUTO else self._config.runtime
        keyring = Keyring.of_gateway(self._layout.keys, self._config.production)
        return Slots(self._layout, keyring, runtime, self._config.trial_starts)

    def _start(self) -> Started:
        """Choose the bundle, and announce it with all that is to be known of it."""
        self._confirmed, self._problem = False, ""
        try:
            self._slots = self._slots_now()
        except KeyFileError as error:
            if self._slots is None:
                raise
            self._tell_problem(f"{error} The keys that were trusted before still are.")
        for skipped in self.slots.keyring.skipped:
            self._tell_problem(skipped)
        _, calibration = self.slots.mark(self._config.patient)
        try:
            started = self.slots.start()
        except SlotError as error:
            if self._config.production:
                raise
            self._tell_problem(f"{error} The bundle that comes with fewbeats watches instead.")
            started = self._shipped()
        self._started, self._mark = started, (started.mark, calibration)
        self._counts = self._attended = started.counted
        self._judged_s = self._recorded_s = 0.0
        self._retried_s = time.monotonic()
        self._say_running(started.as_dict())
        standing = self._standing(started)
        signer = started.bundle.signer
        warning = DEVELOPMENT_MODE if self._config.mode == DEVELOPMENT else None
        self._tell(
            {
                "event": "start",
                "bundle": started.as_dict(),
                "mode": self._config.mode,
                "warning": DEVELOPMENT_NOTICE if signer and signer.development else warning,
                "source": self._config.source,
                "patient": self._config.patient or None,
                "calibrated": standing is not None and standing.head is not None,
                "notice": NOTICE,
            }
        )
        if started.fell_back is not None:
            self._tell({"event": "fell-back", "reason": started.fell_back})
        for problem in started.problems:
            self._tell_problem(problem)
        for each in {s.patient: s for s in (*started.standings, standing) if s}.values():
            if each.reason is not None:
                event = "calibrate-again" if each.head else "to-be-calibrated"
                self._tell({"event": event, "patient": each.patient, "reason": each.reason})
        if not self._failing:
            self._say_watching()
        return started

    def _shipped(self) -> Started:
        """The bundle that comes with fewbeats, which lies in no slot."""
        runtime = None if self._config.runtime == AUTO else self._config.runtime
        bundle, standings, problems = load_bundle(runtime=runtime), [], []
        try:
            standings = self.slots.standings(bundle)
        except HeadError as error:
            problems.append(str(error))
        return Started(
            bundle=bundle,
            slot=None,
            sha256=digest(read_bundle(SHIPPED)),
            starts_left=None,
            counted=False,
            fell_back=None,
            problems=tuple(problems),
            standings=tuple(standings),
            mark=self.slots.mark("")[0],
        )

    def _standing(self, started: Started) -> Standing | None:
        """How the wearer stands with the bundle; None where no wearer is named."""
        code = self._config.patient
        if not code:
            return None
        known = [s for s in started.standings if s.patient == code]
        return known[0] if known else Standing(code, None, "never calibrated on this gateway")

    async def _watch(self, started: Started) -> Ending:
        standing = self._standing(started)
        head = standing.head.head if standing and standing.head else None
        monitor = TimedMonitor(started.bundle, head)
        watching = Watching(self._config.source, monitor, self, self._tell, self._notifier)
        return await watching.run()

    def _give_up(self, started: Started, reason: str) -> bool:
        """The bundle failed on trial: fall back; gives whether there was another one."""
        self._tell({"event": "trial-failed", "bundle": started.as_dict(), "reason": reason})
        try:
            self.slots.fall_back(reason, started.sha256)
        except (SlotError, HeadError) as error:
            self._tell_problem(str(error))
            return False
        return True

    async def _rest(self, wait_s: float) -> None:
        """Wait before the next start, unless another bundle becomes current."""
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0 and self.changed() is None:
            self._notifier.alive()
            await asyncio.sleep(min(left_s, _SLICE_S))

    def _cannot_judge(self, sentence: str) -> None:
        self._tell({"event": "cannot-judge", "reason": "no-watch", "sentence": sentence})
        self._notifier.status(f"cannot judge: {sentence}")

    def _say_watching(self) -> None:
        if self._started is not None:
            bundle = self._started.bundle
            self._notifier.status(f"watching with {bundle.name} {bundle.version}")

    def _say_running(self, bundle: Line) -> None:
        try:
            self._running.say(bundle)
        except OSError as error:
            self._tell_problem(f"The status cannot say what runs: {error.strerror}.")

    def _tell_problem(self, text: str) -> None:
        """Announce what went wrong, but not the same again every second."""
        if text != self._problem:
            self._problem = text
            self._tell({"event": "problem", "reason": text})

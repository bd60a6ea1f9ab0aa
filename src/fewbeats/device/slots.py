"""Two slots for bundles: a new one is proven, tried, and kept or given up, whatever happens.

An install never touches the last known good bundle. Its steps, each whole or not at all:

1. the bundle is judged in memory: signature, device class, version, golden windows;
2. patients' heads are fitted to its backbone, and written beside the ones they have;
3. ``state.json`` counts it among the trials;
4. its file goes into the slot that does not hold the last known good one, and is read back;
5. ``current`` is switched to that slot: from here on it is the one that starts.

A cut before the last step leaves the old bundle running: what was written until then means
nothing to it. If the slot is the current one already, because it holds another trial, step 4
itself is the switch. ``docs/gateway.md`` goes through every state that a cut may leave.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path

from fewbeats.device.bundle import Bundle, version_of
from fewbeats.device.gateway_config import AUTO, GatewayConfig
from fewbeats.device.head import PatientHead
from fewbeats.device.keys import Keyring
from fewbeats.device.layout import SLOT_NAMES, Layout
from fewbeats.device.refit import Standing, keep, stand
from fewbeats.device.slot_changes import WAIT_S, SlotChanges
from fewbeats.device.slot_files import digest
from fewbeats.device.slot_report import Installed, Started
from fewbeats.device.slot_state import State
from fewbeats.errors import (
    BundleError,
    DowngradeError,
    FewbeatsError,
    SignatureError,
    SlotError,
)


class Slots(SlotChanges):
    """The bundles of one gateway. Several programs may call every method at once."""

    def install(
        self, data: bytes, allow_downgrade: bool = False, today: date | None = None
    ) -> Installed:
        """Put a bundle on trial; the last known good one stays whole beside it.

        Args:
            data: the bundle's file.
            allow_downgrade: take one that is older than the last known good one.
            today: for the end of keys; None: by the gateway's clock.

        Raises:
            BundleError: it must not run here, or there is no room for it; the old one runs on.
            DowngradeError: it is older.
            HeadError: a patient's head cannot be written; the old bundle runs on.
            SlotError: another program is at it, or the disk fails.
        """
        with self._alone():
            state, _ = self._state()
            active, sha256 = self._files.active(), digest(data)
            bundle = self._files.opened(data, "the bundle")
            if active and self._files.sha256(active) == sha256 and self._may_run(state, sha256):
                return self._installed(state, active, bundle, (), changed=False)
            self._check(bundle, state, today, allow_downgrade)
            standings = [stand(self.patients, code, bundle) for code in self.patients.codes()]
            versions = {**state.versions, sha256: bundle.version}
            state = replace(state.risen(), versions=versions)
            slot = self._files.slot_of(sha256) if sha256 == state.good else None
            if slot is not None:
                refitted = keep(self.patients, standings)
                state = self._switch(state, slot, "the last good bundle was installed again")
                return self._installed(state, slot, bundle, refitted)
            self._files.check_space(len(data))
            slot = self._target(state)
            trial = {} if sha256 == state.good else {sha256: 0}
            running = {k: n for k, n in state.trials.items() if k == self._files.sha256(active)}
            judged = {k: s for k, s in state.judged.items() if k != sha256}
            state = replace(state, trials=running | trial, judged=judged)
            try:
                refitted = keep(self.patients, standings)
                state.write(self.layout.state)
                self._files.write(slot, data)
                if slot != active:
                    self._files.point(slot)
            finally:
                self._tidy()
            return self._installed(state, slot, bundle, refitted)

    def start(self) -> Started:
        """Choose what the service runs, and fall back if need be.

        A start on trial is counted on the disk before anything of the bundle is loaded: one that
        takes the whole gateway down with it is given up all the same. Where nothing can be
        recorded, because the disk is full or fails, the gateway watches with what is good.

        Raises:
            SlotError: neither slot holds a bundle that may run here.
        """
        problems: list[str] = []
        with ExitStack() as stack:
            alone = _tried(lambda: stack.enter_context(self._alone(WAIT_S)), problems)
            state, found = self._state()
            problems += found
            active = self._files.active()
            fell_back = self._objection(state, active)
            counted = postponed = False
            if fell_back is None and self._files.sha256(active) != state.good:
                try:
                    state = self._count_start(state, active) if alone else state
                    counted = alone
                except SlotError as error:  # the disk is to blame, not the bundle
                    problems.append(str(error))
                postponed = not counted
            slot, bundle = active, None
            if slot is not None and fell_back is None and not postponed:
                try:
                    bundle = self._files.load(slot)
                except BundleError as error:
                    counted, fell_back = False, str(error)
            if slot is None or bundle is None:
                why = fell_back or "its start on trial cannot be recorded"
                slot, bundle = self._another(state, active, why)
                if slot == active:
                    problems.append(f"Nothing else can run in its place, although: {why}")
                    fell_back, postponed = None, False
                elif postponed:
                    problems.append(f"The current bundle waits: {why}. Until then another runs.")
                elif alone:
                    given_up, to = state, slot
                    _tried(lambda: self._switch(given_up, to, why), problems)
                if active is None and state.good is None:
                    fell_back = None  # a first install was cut off before its last step
            standings: list[Standing] = []
            _tried(lambda: standings.extend(self.standings(bundle)), problems)
            if alone:
                _tried(lambda: keep(self.patients, standings), problems)
                state, _ = self._state()
            sha256 = self._files.sha256(slot)
            return Started(
                bundle,
                slot,
                sha256 or "",
                self._starts_left(state, sha256),
                counted,
                fell_back,
                tuple(problems),
                tuple(standings),
                self._files.mark(),
                state.judged.get(sha256 or "", 0.0),
                postponed,
            )

    def confirm(self, sha256: str | None = None) -> None:
        """Keep the current bundle: from now on it is the last known good one.

        Args:
            sha256: the bundle that proved itself by running; None: whichever is current, if it
                may run here.

        Raises:
            SlotError: there is none, another one is current by now, or it cannot be recorded.
            BundleError: it must not run here.
        """
        with self._alone():
            state, _ = self._state()
            slot = self._files.active()
            current = self._files.sha256(slot)
            if slot is None and sha256 is None:
                raise SlotError("No bundle is installed on this gateway; flash one first.")
            if slot is None or current is None or sha256 not in (None, current):
                raise SlotError("The bundle to be confirmed is not the current one; none was.")
            if sha256 is None:
                self._files.load(slot)
            if current != state.good:
                failed = None if state.failed and state.failed.sha256 == current else state.failed
                version = self._version_of(state, current)
                versions = {**state.versions, **({current: version} if version else {})}
                kept = State(current, state.good, {}, {}, versions, failed, state.newest)
                kept.write(self.layout.state)

    def fall_back(self, reason: str, sha256: str | None = None) -> None:
        """Give the current bundle up for the one before.

        Args:
            reason: why, to be remembered.
            sha256: the bundle that is to be given up; None: whichever is current.

        Raises:
            SlotError: there is nothing sound to fall back to, or another one is current by now.
        """
        with self._alone(WAIT_S):
            state, _ = self._state()
            if sha256 not in (None, self._files.sha256(self._files.active())):
                raise SlotError("The bundle to be given up is not the current one; none was.")
            slot = self._refuge(state)
            bundle = self._files.sound(slot) if slot else None
            if slot is None or bundle is None:
                raise SlotError(
                    "There is no other sound bundle to fall back to: the current one stays."
                )
            keep(self.patients, self.standings(bundle))
            self._switch(state, slot, reason)

    def keep_calibration(self, code: str, head: PatientHead) -> Standing:
        """Write a patient's new calibration, and fit it to the current bundle if that changed.

        Raises:
            HeadError: the code is none, or a file cannot be written.
            SlotError: another program is at it, or no bundle is installed.
        """
        with self._alone(WAIT_S):
            bundle = self.current_bundle()
            self.patients.add(code, head)
            standing = stand(self.patients, code, bundle)
            keep(self.patients, [standing])
            self._tidy()
            return standing

    def _may_run(self, state: State, sha256: str) -> bool:
        starts = state.trials.get(sha256, self._trial_starts)
        return sha256 == state.good or starts < self._trial_starts

    def _check(
        self, bundle: Bundle, state: State, today: date | None, allow_downgrade: bool
    ) -> None:
        """The rest of what a bundle must stand, before anything is changed."""
        try:
            if bundle.signer is not None:
                self.keyring.check(bundle.signer.raw, state.day(today))
        except SignatureError as error:
            hint = self.floor_hint(today)
            raise SignatureError(f"The bundle is refused: {error}.{hint}") from error
        newest, what = self._newest_known(state)
        if newest and version_of(bundle.version) < version_of(newest) and not allow_downgrade:
            raise DowngradeError(
                f"The bundle {bundle.name} {bundle.version} is older than {what}, {newest}; "
                f"nothing was changed. Say --allow-downgrade if that is meant."
            )
        bundle.backbone  # noqa: B018  loads the network and runs its golden windows

    def _newest_known(self, state: State) -> tuple[str | None, str]:
        """The highest version among the bundles that matter, and which one that is.

        What a bundle said of itself when it was installed counts, even if it cannot be opened
        any more because its key was revoked or its file is damaged.
        """
        active = self._files.sha256(self._files.active())
        known = dict.fromkeys((state.good, active, *state.trials), "the one on trial")
        known[state.good] = "the last good one"
        named = [(v, what) for k, what in known.items() if (v := self._version_of(state, k))]
        return max(named, key=lambda each: version_of(each[0]), default=(None, ""))

    def _version_of(self, state: State, sha256: str | None) -> str | None:
        if sha256 is not None and sha256 in state.versions:
            return state.versions[sha256]
        bundle = self._opened(self._files.slot_of(sha256))
        return bundle.version if bundle else None

    def _target(self, state: State) -> str:
        """The slot to overwrite: not the one with the best that there is."""
        active = self._files.active()
        good = [self._files.slot_of(sha256) for sha256 in (state.good, state.before)]
        rest = [active, *(name for name in SLOT_NAMES if name != active)]
        for name in (*good, *rest):
            if name is not None and self._files.sound(name):
                return next(other for other in SLOT_NAMES if other != name)
        return SLOT_NAMES[0]

    def _objection(self, state: State, active: str | None) -> str | None:
        """Why the current bundle is not to run, as far as that is known without loading it."""
        sha256 = self._files.sha256(active)
        if active is None:
            return f"{self.layout.current} names no slot"
        if sha256 is None:
            return f"{self.layout.slot(active)} is missing or cannot be read"
        if sha256 == state.good:
            return None
        if state.failed is not None and state.has_failed(sha256):
            return state.failed.reason
        starts = state.trials.get(sha256, 0)
        if starts >= self._trial_starts:
            return f"it was started {starts} times on trial and never confirmed"
        return None

    def _count_start(self, state: State, active: str | None) -> State:
        """Record one more start on trial.

        Raises:
            SlotError: it cannot be recorded.
        """
        sha256 = self._files.sha256(active) or ""
        state = replace(state, trials={**state.trials, sha256: state.trials.get(sha256, 0) + 1})
        state.write(self.layout.state)
        return state

    def _another(self, state: State, active: str | None, reason: str) -> tuple[str, Bundle]:
        """The best bundle to run in place of the active one; that one itself as a last resort.

        Raises:
            SlotError: there is none.
        """
        held = {name: self._files.sha256(name) for name in SLOT_NAMES}
        if not any(held.values()):
            raise SlotError("No bundle is installed on this gateway: flash one.")
        reasons = [reason]
        best = [
            name
            for known in (state.good, state.before, *held.values())
            for name in SLOT_NAMES
            if held[name] == known and name != active
        ]
        for name in dict.fromkeys((*best, *SLOT_NAMES)):
            try:
                return name, self._files.load(name)
            except BundleError as error:
                reasons.append(str(error))
        told = "; ".join(dict.fromkeys(text.rstrip(".") for text in reasons))
        raise SlotError(f"No slot holds a bundle that may run here ({told}): flash a sound one.")

    def _installed(
        self,
        state: State,
        slot: str,
        bundle: Bundle,
        refitted: Iterable[str],
        *,
        changed: bool = True,
    ) -> Installed:
        missing = [s.as_dict() for s in self.standings(bundle) if s.head is None]
        return Installed(
            changed,
            self._described(state, slot, bundle),
            self._previous(state),
            tuple(refitted),
            tuple({"patient": m["patient"], "reason": m["reason"]} for m in missing),
        )


def open_slots(root: Path) -> Slots:
    """The slots of the gateway at a root, as its settings say.

    Raises:
        TargetError: there is no gateway, or its settings make no sense.
        KeyFileError: the folder of its keys cannot be read.
        SlotError: it is a card whose links lead out of it.
    """
    layout = Layout(root)
    config = GatewayConfig.load(layout)
    keyring = Keyring.of_gateway(layout.keys, config.production)
    runtime = None if config.runtime == AUTO else config.runtime
    return Slots(layout, keyring, runtime, config.trial_starts)


def _tried(work: Callable[[], object], problems: list[str]) -> bool:
    """Whether something that the watch can do without was done; if not, why is told."""
    try:
        work()
    except FewbeatsError as error:
        problems.append(str(error))
        return False
    return True

"""A gateway's bundles, looked at: nothing here changes anything, or waits for anybody."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from fewbeats.device.bundle import Bundle
from fewbeats.device.gateway_config import DEVELOPMENT, PRODUCTION
from fewbeats.device.keys import Keyring
from fewbeats.device.layout import SLOT_NAMES, Layout
from fewbeats.device.patients import Patients
from fewbeats.device.refit import Standing, stand
from fewbeats.device.running import running_now
from fewbeats.device.slot_files import Mark, SlotFiles
from fewbeats.device.slot_report import STATUS_FORMAT, describe
from fewbeats.device.slot_state import State
from fewbeats.errors import BundleError, FewbeatsError, HeadError, SlotError


class SlotReader:
    """The bundles of one gateway, as they are."""

    def __init__(
        self, layout: Layout, keyring: Keyring, runtime: str | None = None, trial_starts: int = 3
    ) -> None:
        """Name the gateway.

        Args:
            layout: where it is.
            keyring: whose bundles it takes.
            runtime: whose form of a bundle it judges by; None: the first that is installed.
            trial_starts: how often a bundle on trial may be started.
        """
        self.layout = layout
        self.keyring = keyring
        self.patients = Patients(layout.patients)
        self._files = SlotFiles(layout, keyring, runtime)
        self._trial_starts = trial_starts

    def status(self) -> dict[str, Any]:
        """What is installed, and how the patients stand with it.

        Raises:
            HeadError: the patients' folder may not be read.
        """
        state, problems = self._state()
        problems += self.keyring.skipped
        current, bundle = None, None
        slot = self._files.active()
        if slot is not None:
            try:
                bundle = self._files.load(slot)
                current = self._described(state, slot, bundle)
            except BundleError as error:
                problems.append(str(error))
        standings = self.standings(bundle) if bundle else self._without_bundle()
        return {
            "format": STATUS_FORMAT,
            "mode": PRODUCTION if self.keyring.production else DEVELOPMENT,
            "current": current,
            "running": running_now(self.layout.running),
            "previous": self._previous(state),
            "failed": asdict(state.failed) if state.failed else None,
            "patients": [standing.as_dict() for standing in standings],
            "clock_floor": state.newest,
            "problems": problems,
        }

    def current_bundle(self) -> Bundle:
        """The bundle that runs, to calibrate with.

        Raises:
            SlotError: there is none.
            BundleError: it must not run here.
        """
        slot = self._files.active()
        if slot is None:
            raise SlotError("No bundle is installed on this gateway; flash one first.")
        return self._files.load(slot)

    def mark(self, code: str) -> tuple[Mark | None, int]:
        """Changes when another bundle becomes current, or a patient is calibrated anew.

        Args:
            code: of the patient; empty for none.
        """
        try:
            return self._files.mark(), self.patients.newest(code) if code else 0
        except HeadError:
            return self._files.mark(), 0

    def today(self) -> date:
        """The day, never earlier than it was before."""
        return self._state()[0].day()

    def floor_hint(self, today: date | None) -> str:
        """What to say where the latest known day, not the clock, makes a key expired."""
        floor = self._state()[0].day(date.min)
        if floor <= (today or datetime.now(UTC).date()):
            return ""
        return (
            f" This gateway takes no day before {floor} for today, because its clock showed that "
            f"one before. If that was wrong, set the clock and run: fewbeats gateway forget-clock."
        )

    def given_up(self, sha256: str) -> bool:
        """Whether a bundle was given up, and nothing has been decided on it since."""
        return self._state()[0].has_failed(sha256)

    def has_refuge(self) -> bool:
        """Whether there is another sound bundle to fall back to."""
        slot = self._refuge(self._state()[0])
        return slot is not None and self._files.sound(slot) is not None

    def standings(self, bundle: Bundle) -> list[Standing]:
        """How all patients stand with a bundle; what goes wrong with one is told of that one.

        Raises:
            HeadError: the patients' folder may not be read.
        """
        found = []
        for code in self.patients.codes():
            try:
                found.append(stand(self.patients, code, bundle))
            except FewbeatsError as error:
                found.append(Standing(code, None, str(error)))
        return found

    def signers(self) -> dict[bytes, str]:
        """Keys without which a bundle that matters would not start, each with that bundle."""
        state, _ = self._state()
        found: dict[bytes, str] = {}
        for slot, what in (
            (self._files.active(), "the bundle that runs"),
            (self._files.slot_of(state.good), "the last good bundle"),
        ):
            bundle = self._opened(slot)
            if bundle is not None and bundle.signer is not None:
                found.setdefault(bundle.signer.raw, what)
        return found

    def _state(self) -> tuple[State, list[str]]:
        """What is known. Where that is lost, both bundles are on trial, and the loss is told."""
        try:
            return State.read(self.layout.state), []
        except SlotError as error:
            held = {self._files.sha256(name): 0 for name in SLOT_NAMES}
            trials = {sha256: starts for sha256, starts in held.items() if sha256}
            told = f"{error} What was known of the bundles is lost; each is on trial again."
            return State(trials=trials), [told] if trials else []

    def _refuge(self, state: State) -> str | None:
        """The slot that a fall-back from the current bundle leads to."""
        active = self._files.active()
        if self._files.sha256(active) == state.good:
            return self._files.slot_of(state.before, but=active)
        known = (state.good, state.before, *state.trials)
        slots = (self._files.slot_of(sha256, but=active) for sha256 in known)
        return next((slot for slot in slots if slot), None)

    def _opened(self, slot: str | None) -> Bundle | None:
        """The bundle in a slot if it is whole and trusted, whether or not it runs here."""
        try:
            return self._files.opened(self._files.read(slot), slot) if slot else None
        except BundleError:
            return None

    def _without_bundle(self) -> list[Standing]:
        why = "there is no bundle to watch with"
        return [Standing(code, None, why) for code in self.patients.codes()]

    def _starts_left(self, state: State, sha256: str | None) -> int | None:
        """How many more starts the trial of the current bundle has; None: it is confirmed."""
        if sha256 is None or sha256 == state.good:
            return None
        return max(0, self._trial_starts - state.trials.get(sha256, 0))

    def _described(self, state: State, slot: str, bundle: Bundle) -> dict[str, Any]:
        sha256 = self._files.sha256(slot)
        return describe(bundle, slot, sha256 or "", self._starts_left(state, sha256))

    def _previous(self, state: State) -> dict[str, Any] | None:
        slot = self._refuge(state)
        bundle = self._files.sound(slot) if slot else None
        if slot is None or bundle is None:
            return None
        sha256 = self._files.sha256(slot)
        left = None if sha256 == state.before else self._starts_left(state, sha256)
        return describe(bundle, slot, sha256 or "", left)

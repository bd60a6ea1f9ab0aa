"""Small changes of a gateway's bundles, each under the one lock, and what all changes share."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from fewbeats.device.files import make_folder, only_one, sync_folder
from fewbeats.device.layout import SLOT_NAMES
from fewbeats.device.slot_reader import SlotReader
from fewbeats.device.slot_state import EARLIEST, Failed, State
from fewbeats.errors import HeadError, SlotError

WAIT_S = 10.0
"""How long a start, a calibration or a fall-back waits for another program that is at it."""
_TRY_EVERY_S = 0.1


class SlotChanges(SlotReader):
    """The bundles of one gateway, with what every change of them is made of."""

    def count(self, sha256: str, starts: int, judged_s: float = 0.0, wait_s: float = 0.0) -> None:
        """Correct the count of a trial: a start that ended in order does not count against it.

        Args:
            sha256: the bundle's; nothing happens if it is not on trial any more.
            starts: how many more, or fewer.
            judged_s: how much more signal it has judged.
            wait_s: how long to wait for another program that is at it.

        Raises:
            SlotError: it cannot be recorded.
        """
        with self._alone(wait_s):
            state, _ = self._state()
            if sha256 in state.trials:
                trials = {**state.trials, sha256: max(0, state.trials[sha256] + starts)}
                judged = {**state.judged, sha256: state.judged.get(sha256, 0.0) + judged_s}
                replace(state, trials=trials, judged=judged).write(self.layout.state)

    def can_record(self) -> bool:
        """Whether a change can be recorded now; found out by recording what is known anew."""
        try:
            with self._alone():
                self._state()[0].write(self.layout.state)
        except SlotError:
            return False
        return True

    def forget_clock(self) -> None:
        """Forget the latest known day, after the clock was far ahead at an install.

        Raises:
            SlotError: it cannot be recorded.
        """
        with self._alone(WAIT_S):
            replace(self._state()[0], newest=EARLIEST).write(self.layout.state)

    @contextmanager
    def _alone(self, wait_s: float = 0.0) -> Iterator[None]:
        """Be the only program that changes anything, after waiting for another one."""
        until_s = time.monotonic() + wait_s
        with ExitStack() as stack:
            try:
                make_folder(self.layout.home)
                while True:
                    try:
                        stack.enter_context(only_one(self.layout.lock))
                        break
                    except BlockingIOError:
                        if time.monotonic() >= until_s:
                            raise
                    time.sleep(_TRY_EVERY_S)
                # What a killed program had changed and not yet synced is there for all to see:
                # it must last before anything is built on it.
                for folder in self.layout.folders:
                    sync_folder(folder)
            except BlockingIOError as error:
                raise SlotError(
                    "Another program is just changing this gateway's bundles or patients; try "
                    "again when it is done."
                ) from error
            except OSError as error:
                raise SlotError(
                    f"Cannot change anything in {self.layout.home}: {error.strerror}."
                ) from error
            yield

    def _switch(self, state: State, slot: str, reason: str) -> State:
        """Give the current bundle up for the one in a slot: first recorded, then done.

        A cut in between finds the current bundle marked as failed, and the next start goes on.
        """
        active = self._files.active()
        given_up, to = self._files.sha256(active), self._files.sha256(slot)
        good, before = (to, None) if to == state.before else (state.good, state.before)
        trials = {k: n for k, n in state.trials.items() if k != given_up}
        if to is not None and to != good:
            trials.setdefault(to, 0)
        failed = state.failed
        if active is not None and given_up is not None:
            bundle = self._opened(active)
            name = bundle.name if bundle else "a bundle that cannot be read"
            version = bundle.version if bundle else "unknown"
            at = state.now().isoformat(timespec="seconds")
            failed = Failed(name, version, given_up, reason, at)
        state = replace(state, good=good, before=before, trials=trials, failed=failed)
        state.write(self.layout.state)
        self._files.point(slot)
        return state

    def _tidy(self) -> None:
        """Remove heads that no bundle in the slots needs; what cannot be removed may stay."""
        bundles = [bundle for name in SLOT_NAMES if (bundle := self._opened(name))]
        backbones = {bundle.start.backbone_sha256 for bundle in bundles}
        with suppress(HeadError):
            for code in self.patients.codes():
                self.patients.prune(code, backbones)

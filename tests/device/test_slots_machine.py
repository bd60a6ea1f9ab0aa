"""The slots under any sequence of installs, starts, failures and power cuts."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fewbeats.device.bundle import version_of
from fewbeats.device.slot_files import digest
from fewbeats.device.slots import Slots
from fewbeats.errors import BundleError, DowngradeError, SlotError
from made_bundles import calibrated, made_bundle, made_slots, packed, packed_unsound

VERSIONS = ("1.0", "1.1", "2.0")
SEEDS = st.integers(1, 3)
CHANGES = ("write", "replace", "unlink", "symlink", "mkdir", "fsync")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  syncs cost nothing there
CUTS = st.integers(0, 40)


class PowerCutError(BaseException):
    """Nothing more happens in this process."""


class UntilTheCut:
    """The ``os`` of the files module up to a number of changes, and never after."""

    def __init__(self, changes: int) -> None:
        self.left = changes

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        if name in CHANGES:
            if self.left <= 0:
                raise PowerCutError
            self.left -= 1
        return getattr(os, name)


class Gateway(RuleBasedStateMachine):
    """What is known to be good never goes, and something sound starts at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="fewbeats-", dir=MEMORY))
        self.good: bytes | None = None
        self.installed = False
        self.patients: set[str] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @property
    def slots(self) -> Slots:
        """As a program that has just been started sees them."""
        return made_slots(self.root)

    def held(self) -> list[bytes]:
        layout = self.slots.layout
        return [layout.slot(n).read_bytes() for n in "ab" if layout.slot(n).exists()]

    def current(self) -> bytes | None:
        path = self.slots.layout.current
        return (path / "bundle.fewbeats").read_bytes() if path.is_symlink() else None

    @initialize()
    def first(self) -> None:
        self.slots.install(packed(1, "1.1"))
        self.installed = True

    @rule(seed=SEEDS, version=st.sampled_from(VERSIONS), flag=st.booleans())
    def install(self, seed: int, version: str, flag: bool) -> None:
        data = packed(seed, version)
        held = [each for each in (self.good, self.current()) if each is not None]
        older = any(version_of(version) < version_of(self.version(each)) for each in held)
        try:
            done = self.slots.install(data, allow_downgrade=flag)
        except DowngradeError:
            # One that was given up for an older one, and not confirmed since, counts as well.
            assert not flag
            assert any(version_of(version) < version_of(self.version(e)) for e in self.held())
            return
        assert flag or not older or not done.changed
        assert self.current() == data

    @rule(seed=SEEDS, kind=st.sampled_from(["unsound", "damaged", "cut"]))
    def install_what_must_not_run(self, seed: int, kind: str) -> None:
        data, before = packed(seed, "3.0"), (self.held(), self.current())
        data = {
            "unsound": packed_unsound(seed, "3.0"),
            "damaged": data[:-1] + bytes([data[-1] ^ 1]),
            "cut": data[:-7],
        }[kind]
        try:
            self.slots.install(data)
            raise AssertionError(f"a bundle that is {kind} was taken")
        except BundleError:
            assert before == (self.held(), self.current())

    @rule()
    def start(self) -> None:
        before = self.current()
        started = self.slots.start()
        if started.fell_back is None:
            assert started.sha256 == digest(before or b"")
        elif self.good is not None:
            assert started.sha256 == digest(self.good) and not started.on_trial
        assert started.sha256 == digest(self.current() or b"")

    @rule()
    def start_and_stop_in_order(self) -> None:
        before = self.slots.status()["current"]
        started = self.slots.start()
        if started.counted:
            self.slots.count(started.sha256, -1)
        if started.fell_back is None:
            assert self.slots.status()["current"] == before

    @rule()
    def confirm(self) -> None:
        with suppress(BundleError):
            self.slots.confirm()
            self.good = self.current()

    @rule()
    def fall_back(self) -> None:
        before, on_trial = self.current(), self.slots.status()["current"]["state"] == "trial"
        previous = self.slots.status()["previous"]
        try:
            self.slots.fall_back("it was asked for")
        except SlotError:
            assert previous is None and self.current() == before
            return
        assert previous is not None and digest(self.current() or b"") == previous["sha256"]
        if not on_trial:
            self.good = self.current()

    @rule(code=st.sampled_from(["anna", "ben"]))
    def calibrate(self, code: str) -> None:
        slots = self.slots
        slots.keep_calibration(code, calibrated(slots.current_bundle(), len(self.patients)))
        self.patients.add(code)

    @rule(
        work=st.sampled_from(["install", "confirm", "fall_back", "start", "calibrate"]),
        seed=SEEDS,
        cut=CUTS,
    )
    def power_cut(self, work: str, seed: int, cut: int) -> None:
        before, slots = self.current(), self.slots
        data = packed(seed, "2.0")
        bundle, code = slots.current_bundle(), "anna"
        with (
            patch("fewbeats.device.files.os", UntilTheCut(cut)),
            suppress(PowerCutError, BundleError),
        ):
            {
                "install": lambda: slots.install(data),
                "confirm": slots.confirm,
                "fall_back": lambda: slots.fall_back("cut"),
                "start": slots.start,
                "calibrate": lambda: slots.keep_calibration(code, calibrated(bundle)),
            }[work]()
        after = self.current()
        if work in ("confirm", "calibrate"):
            assert after == before
        elif work == "install":
            assert after in (before, data)
        if self.slots.patients.files(code):
            self.patients.add(code)
        # Which of the two states it is, the gateway itself says.
        status = self.slots.status()
        if work in ("confirm", "fall_back") and status["current"]["state"] == "confirmed":
            self.good = after

    @precondition(lambda self: self.installed)
    @invariant()
    def the_last_good_one_is_there(self) -> None:
        assert self.good is None or self.good in self.held()

    @precondition(lambda self: self.installed)
    @invariant()
    def something_sound_starts_with_its_own_heads(self) -> None:
        copy = self.root.with_name(self.root.name + "-copy")
        shutil.copytree(self.root, copy, symlinks=True)
        try:
            started = made_slots(copy).start()
            only_one_there = len(set(self.held())) == 1
            assert only_one_there or not started.problems, started.problems
            assert {s.patient for s in started.standings} == self.patients
            for standing in started.standings:
                assert standing.head is not None, standing.reason
                sha256 = standing.head.head.backbone_sha256
                assert sha256 == started.bundle.start.backbone_sha256
        finally:
            shutil.rmtree(copy)

    @staticmethod
    def version(data: bytes) -> str:
        known = {packed(s, v): v for s in (1, 2, 3) for v in VERSIONS}
        return known[data]


Gateway.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestGateway = Gateway.TestCase


def test_the_bundles_differ() -> None:
    hashes = {made_bundle(seed).start.backbone_sha256 for seed in (1, 2, 3)}
    assert len(hashes) == 3

"""Two slots: whatever happens, a sound bundle starts, and nothing else does."""

import json
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import fewbeats.device.slots as slots_module
from fewbeats.device import slot_files, slot_reader
from fewbeats.device.bundle import Bundle
from fewbeats.device.files import only_one
from fewbeats.device.keys import DEVELOPMENT_KEY, Keyring, SigningKey
from fewbeats.device.patients import Patients
from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.refit import Standing
from fewbeats.device.slot_state import State
from fewbeats.device.slots import Slots, open_slots
from fewbeats.errors import (
    BundleAlteredError,
    BundleError,
    DowngradeError,
    HeadError,
    SignatureError,
    SlotError,
    TargetError,
)
from made_bundles import (
    calibrated,
    made_bundle,
    made_config,
    made_slots,
    packed,
    packed_unsound,
    waves,
)


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return made_slots(tmp_path)


@pytest.fixture
def confirmed(slots: Slots) -> Slots:
    """A gateway that runs bundle 1, confirmed."""
    slots.install(packed(1))
    slots.start()
    slots.confirm()
    return slots


def running(slots: Slots) -> str | None:
    current = slots.status()["current"]
    return current and current["name"]


def slot_bytes(slots: Slots) -> dict[str, bytes]:
    paths = {name: slots.layout.slot(name) for name in ("a", "b")}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def test_the_way_of_a_bundle(slots: Slots) -> None:
    with pytest.raises(SlotError, match="No bundle is installed"):
        slots.start()
    first = slots.install(packed(1))
    assert first.changed and first.previous is None
    assert (first.current["state"], first.current["starts_left"]) == ("trial", 3)
    started = slots.start()
    assert started.bundle.name == "made-1" and started.on_trial and started.starts_left == 2
    slots.confirm(started.sha256)
    assert not slots.start().on_trial
    second = slots.install(packed(2, "1.1"))
    assert second.current["name"] == "made-2" and second.previous is not None
    assert second.previous["name"] == "made-1" and second.previous["state"] == "confirmed"
    assert slots.start().bundle.name == "made-2"
    slots.confirm()
    status = slots.status()
    assert status["current"]["state"] == "confirmed" and status["current"]["development"]
    assert status["previous"]["name"] == "made-1" and status["failed"] is None
    assert status["mode"] == "development" and status["problems"] == []


def test_a_first_install_that_was_cut_off_is_finished(slots: Slots) -> None:
    slots.install(packed(1))
    slots.layout.current.unlink()
    started = slots.start()
    assert started.bundle.name == "made-1" and started.on_trial
    assert started.fell_back is None and started.problems == ()
    assert running(slots) == "made-1" and slots.status()["failed"] is None


def test_the_very_bundle_again_changes_nothing(confirmed: Slots) -> None:
    before = confirmed.layout.state.read_bytes(), confirmed.layout.slot("a").stat().st_ino
    assert not confirmed.install(packed(1)).changed
    assert before == (
        confirmed.layout.state.read_bytes(),
        confirmed.layout.slot("a").stat().st_ino,
    )


def refused(slots: Slots, data: bytes, error: type[BundleError], match: str) -> None:
    """The bundle is refused in one sentence or two, and nothing has changed."""
    before = slot_bytes(slots), slots.layout.state.read_bytes(), slots.layout.current.readlink()
    with pytest.raises(error, match=match) as caught:
        slots.install(data)
    assert "\n" not in str(caught.value)
    after = slot_bytes(slots), slots.layout.state.read_bytes(), slots.layout.current.readlink()
    assert before == after
    assert slots.start().bundle.name == "made-1"


def test_what_is_refused(confirmed: Slots) -> None:
    damaged = bytearray(packed(2))
    damaged[len(damaged) // 2] ^= 1
    refused(confirmed, bytes(damaged), BundleAlteredError, "damaged")
    refused(confirmed, packed(2)[:-1], BundleError, "damaged")
    refused(confirmed, b"", BundleError, "no fewbeats bundle")
    refused(confirmed, packed(2, key=SigningKey.generate("foe")), SignatureError, "not trusted")
    refused(confirmed, packed_unsound(2), BundleError, "golden windows")
    refused(confirmed, packed(2, "0.9"), DowngradeError, "older than the last good one")
    refused(confirmed, bytes(20_000_000), BundleError, "at most")


def test_a_downgrade_by_its_flag(confirmed: Slots) -> None:
    confirmed.install(packed(2, "0.9"), allow_downgrade=True)
    assert confirmed.start().bundle.version == "0.9"


def test_production_refuses_the_development_key(tmp_path: Path) -> None:
    key = SigningKey.generate("ours")
    slots = made_slots(tmp_path, Keyring((key.public,), production=True))
    with pytest.raises(SignatureError, match="development key"):
        slots.install(packed(1))
    slots.install(packed(1, key=key))
    assert slots.status()["current"]["signer"] == "ours"
    assert not slots.status()["current"]["development"]


def test_an_expired_key_installs_nothing_and_stops_nothing(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    key = SigningKey.generate("ours", today)
    slots = made_slots(tmp_path, Keyring((key.public,)))
    slots.install(packed(1, key=key))
    with pytest.raises(SignatureError, match="expired"):
        slots.install(packed(2, key=key), today=today + timedelta(days=1))
    assert slots.start().bundle.name == "made-1"
    slots.confirm()
    later = State.read(slots.layout.state)
    future = (datetime.now(UTC) + timedelta(days=40)).isoformat(timespec="seconds")
    replace(later, newest=future).write(slots.layout.state)
    # The clock of a gateway without a battery is back in the past; its memory is not.
    for day in (None, date(2020, 1, 1)):
        with pytest.raises(SignatureError, match="expired"):
            slots.install(packed(2, key=key), today=day)
    assert slots.start().bundle.name == "made-1"


def test_a_revoked_key_is_not_started_again(confirmed: Slots, tmp_path: Path) -> None:
    strangers = made_slots(tmp_path, Keyring(production=True))
    with pytest.raises(SlotError, match="development key"):
        strangers.start()
    assert strangers.status()["current"] is None and strangers.status()["problems"]


def test_a_trial_is_given_up_after_too_many_starts(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    for left in (2, 1, 0):
        started = confirmed.start()
        assert started.bundle.name == "made-2" and started.starts_left == left
    fallen = confirmed.start()
    assert fallen.bundle.name == "made-1" and not fallen.on_trial
    assert fallen.fell_back is not None and "3 times" in fallen.fell_back
    failed = confirmed.status()["failed"]
    assert failed["name"] == "made-2" and "3 times" in failed["reason"]
    assert confirmed.status()["previous"] is None
    assert confirmed.start().fell_back is None
    # The same bundle may be tried again, by whoever knows why.
    assert confirmed.install(packed(2)).current["starts_left"] == 3
    assert confirmed.start().bundle.name == "made-2"


def test_starts_that_ended_in_order_do_not_count(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    for _ in range(6):
        started = confirmed.start()
        assert started.bundle.name == "made-2"
        confirmed.count(started.sha256, -1)
    confirmed.count(started.sha256, -5)
    assert confirmed.status()["current"]["starts_left"] == 3
    confirmed.confirm()
    confirmed.count(started.sha256, -1)  # too late: it is no trial any more
    assert confirmed.status()["current"]["state"] == "confirmed"


def test_a_damaged_bundle_falls_back(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    confirmed.start()
    confirmed.confirm()
    path = confirmed.layout.slot("b")
    data = bytearray(path.read_bytes())
    data[1000] ^= 4
    path.write_bytes(bytes(data))
    started = confirmed.start()
    assert started.bundle.name == "made-1" and not started.on_trial
    assert started.fell_back is not None and "damaged" in started.fell_back
    assert confirmed.status()["failed"]["reason"] == started.fell_back
    # The next install goes over the damaged one, not over what is left.
    confirmed.install(packed(3))
    assert confirmed.start().bundle.name == "made-3"
    confirmed.fall_back("tried")
    assert running(confirmed) == "made-1"


def test_nothing_sound_says_so(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    for name in ("a", "b"):
        confirmed.layout.slot(name).write_bytes(b"rubbish")
    with pytest.raises(SlotError, match="No slot holds a bundle that may run here") as caught:
        confirmed.start()
    assert "slot a" in str(caught.value) and "slot b" in str(caught.value)
    # And a sound bundle mends it.
    confirmed.install(packed(1))
    assert confirmed.start().bundle.name == "made-1"


def test_falling_back_by_hand(confirmed: Slots) -> None:
    with pytest.raises(SlotError, match="no other sound bundle"):
        confirmed.fall_back("for fun")
    confirmed.install(packed(2))
    with pytest.raises(SlotError, match="not the current one"):
        confirmed.fall_back("mistaken", sha256="00" * 32)
    confirmed.fall_back("it was loud")
    assert running(confirmed) == "made-1"
    assert confirmed.status()["failed"]["reason"] == "it was loud"
    confirmed.install(packed(2))
    confirmed.confirm()
    confirmed.fall_back("after all")
    assert running(confirmed) == "made-1" and not confirmed.start().on_trial


def test_an_install_during_a_trial_spares_the_last_good_one(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    confirmed.start()
    installed = confirmed.install(packed(3))
    assert installed.previous is not None and installed.previous["name"] == "made-1"
    assert installed.current["slot"] == "b" and installed.current["starts_left"] == 3
    assert slot_bytes(confirmed)["a"] == packed(1)
    confirmed.start()
    confirmed.fall_back("no")
    assert running(confirmed) == "made-1"


def test_the_last_good_one_installed_again_ends_a_trial(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    installed = confirmed.install(packed(1))
    assert installed.changed and installed.current["state"] == "confirmed"
    assert confirmed.start().bundle.name == "made-1"
    assert "installed again" in confirmed.status()["failed"]["reason"]


def test_the_mark_changes_with_the_bundle_alone(confirmed: Slots) -> None:
    before = confirmed.mark("")
    confirmed.start()
    confirmed.install(packed(1))
    assert confirmed.mark("") == before
    confirmed.install(packed(2))
    second = confirmed.mark("")
    assert second != before
    confirmed.install(packed(3))  # goes over the same slot
    assert confirmed.mark("") != second


def test_a_lost_state_puts_every_bundle_on_trial_again(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    for ruin in ("", "[]", '{"format": 1}', None):
        if ruin is None:
            confirmed.layout.state.unlink()
        else:
            confirmed.layout.state.write_text(ruin)
        started = confirmed.start()
        assert started.bundle.name == "made-2" and started.starts_left == 2
        assert any("lost" in problem for problem in started.problems)
    confirmed.start(), confirmed.start()
    assert confirmed.start().bundle.name == "made-1"


def test_every_altered_byte_of_the_state_is_noticed(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    good, path = State.read(confirmed.layout.state), confirmed.layout.state
    data = path.read_bytes()
    for position in range(len(data)):
        bad = bytearray(data)
        bad[position] ^= 1
        path.write_bytes(bytes(bad))
        try:
            assert State.read(path) == good or json.loads(bytes(bad)) == json.loads(data)
        except SlotError:
            continue


@pytest.mark.parametrize("ruin", ["missing", "dangling", "folder", "elsewhere"])
def test_a_link_that_leads_nowhere_is_mended(confirmed: Slots, ruin: str) -> None:
    link = confirmed.layout.current
    link.unlink()
    if ruin == "dangling":
        link.symlink_to("slots/c")
    elif ruin == "folder":
        link.mkdir()
    elif ruin == "elsewhere":
        link.symlink_to("/etc")
    started = confirmed.start()
    assert started.bundle.name == "made-1" and not started.on_trial and started.fell_back
    assert ruin == "folder" or running(confirmed) == "made-1"


def test_a_bundle_copied_in_by_hand_is_on_trial(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    confirmed.layout.slot("b").write_bytes(packed(3))
    started = confirmed.start()
    assert started.bundle.name == "made-3" and started.on_trial


def test_one_program_at_a_time(confirmed: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "WAIT_S", 0.2)
    confirmed.install(packed(2))
    with only_one(confirmed.layout.lock):
        for work in (lambda: confirmed.install(packed(3)), confirmed.confirm):
            with pytest.raises(SlotError, match="Another program"):
                work()
        # A watch waits a while, then goes on with what needs no record.
        started = confirmed.start()
        assert started.bundle.name == "made-1" and not started.counted
        assert any("Another program" in problem for problem in started.problems)
    assert confirmed.start().bundle.name == "made-2"


def _install(root: str, data: bytes, gate, results) -> None:  # type: ignore[no-untyped-def]
    slots = made_slots(Path(root))
    gate.wait()
    try:
        slots.install(data)
        results.put("installed")
    except SlotError as error:
        results.put(str(error))


def test_two_installs_at_once(confirmed: Slots, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(3), context.Queue()
    both = [packed(2, "1.1"), packed(3, "1.2")]
    processes = [
        context.Process(target=_install, args=(str(tmp_path), data, gate, results)) for data in both
    ]
    for process in processes:
        process.start()
    gate.wait()
    said = [results.get(timeout=60) for _ in both]
    for process in processes:
        process.join(60)
        process.close()
    results.close()
    results.join_thread()
    assert "installed" in said
    assert all(text == "installed" or "Another program" in text for text in said)
    assert confirmed.layout.slot("a").read_bytes() == packed(1)
    assert confirmed.layout.slot("b").read_bytes() in both
    assert confirmed.start().bundle.name in ("made-2", "made-3")


class Failing:
    """The ``os`` of the files module, of which one call fails."""

    def __init__(self, name: str, error: int, after: int = 0) -> None:
        self.name, self.error, self.after = name, error, after

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        if name != self.name:
            return getattr(os, name)
        if self.after:
            self.after -= 1
            return getattr(os, name)

        def fail(*_: object) -> None:
            raise OSError(self.error, os.strerror(self.error))

        return fail


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("call", ["write", "replace", "fsync"])
def test_a_disk_that_fails_leaves_the_old_bundle(
    confirmed: Slots, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    confirmed.keep_calibration("p", calibrated(made_bundle(1)))
    with monkeypatch.context() as patch:
        patch.setattr("fewbeats.device.files.os", Failing(call, 28, after))
        try:
            confirmed.install(packed(2))
        except BundleError as error:
            assert "No space left" in str(error)
        except HeadError as error:
            assert "No space left" in str(error)
    assert list(confirmed.layout.home.rglob("*.partial")) == []
    assert confirmed.start().bundle.name in ("made-1", "made-2")
    assert confirmed.layout.slot("a").read_bytes() == packed(1)
    assert confirmed.status()["patients"][0]["calibrated"]


def test_a_full_disk_is_seen_before(confirmed: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SlotError, match=r"1\.0 MB free"):
        confirmed.install(packed(2))
    assert confirmed.start().bundle.name == "made-1"


def test_a_full_or_read_only_disk_does_not_stop_the_watch(
    confirmed: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirmed.install(packed(2))
    with monkeypatch.context() as patch:
        patch.setattr("fewbeats.device.files.os", Failing("open", 30))
        started = confirmed.start()
    assert started.bundle.name == "made-1" and not started.counted and started.problems
    assert confirmed.start().bundle.name == "made-2"


def test_a_disk_that_gives_other_bytes_back(
    confirmed: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = slot_files.write_atomically

    def rotten(path: Path, data: bytes, mode: int) -> None:
        real(path, data[:-1] + bytes([data[-1] ^ 1]), mode)

    monkeypatch.setattr(slot_files, "write_atomically", rotten)
    with pytest.raises(SlotError, match="other bytes back"):
        confirmed.install(packed(2))
    assert confirmed.start().bundle.name == "made-1"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system to fill")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = made_slots(small_disk)
    slots.install(packed(1))
    slots.start()
    slots.confirm()
    (small_disk / "filler").write_bytes(bytes(3_000_000))
    with pytest.raises(SlotError, match="MB free"):
        slots.install(packed(2))
    monkeypatch.setattr(slot_files, "SPARE_BYTES", -(10**9))  # as if it filled up meanwhile
    full = pytest.raises(OSError, match="No space")
    with (small_disk / "filler").open("ab", buffering=0) as file, full:
        while True:
            file.write(bytes(4096))
    with pytest.raises(SlotError, match="No space left"):
        slots.install(packed(2))
    assert list(slots.layout.home.rglob("*.partial")) == []
    assert slots.start().bundle.name == "made-1"


def test_patients_follow_an_update_and_a_fall_back(confirmed: Slots) -> None:
    confirmed.keep_calibration("anna", calibrated(made_bundle(1), 1))
    installed = confirmed.install(packed(2))
    assert installed.refitted == ("anna",) and installed.to_be_calibrated == ()
    started = confirmed.start()
    (standing,) = started.standings
    assert standing.head is not None and standing.reason is None
    assert standing.head.head.backbone_sha256 == started.bundle.start.backbone_sha256
    # A calibration made during the trial survives the fall-back.
    confirmed.keep_calibration("anna", calibrated(made_bundle(2), 2))
    confirmed.fall_back("no good")
    back = confirmed.start()
    (standing,) = back.standings
    assert standing.head is not None and standing.number == 2 and standing.reason is None
    assert standing.head.head.backbone_sha256 == made_bundle(1).start.backbone_sha256
    assert standing.head.support is not None
    np.testing.assert_array_equal(standing.head.support.windows, waves(False, 5, seed=102))


def test_patients_who_cannot_follow_are_named(confirmed: Slots) -> None:
    confirmed.keep_calibration("anna", calibrated(made_bundle(1)))
    other = WindowSpec(rate_hz=250)
    installed = confirmed.install(packed(2, window=other))
    (missing,) = installed.to_be_calibrated
    assert missing["patient"] == "anna" and "another kind" in str(missing["reason"])
    (standing,) = confirmed.start().standings
    assert standing.head is None and standing.reason == missing["reason"]
    assert confirmed.status()["patients"] == [
        {"patient": "anna", "calibrated": False, "reason": missing["reason"]}
    ]
    confirmed.fall_back("back")
    (standing,) = confirmed.start().standings
    assert standing.head is not None


def test_open_slots_reads_settings_and_keys(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no gateway at"):
        open_slots(tmp_path)
    layout = made_config(tmp_path, mode="production", runtime="onnx", trial_starts=1)
    key = SigningKey.generate("ours")
    key.public.save(layout.keys / "ours.pub")
    slots = open_slots(tmp_path)
    with pytest.raises(SignatureError):
        slots.install(packed(1, key=DEVELOPMENT_KEY))
    assert slots.install(packed(1, key=key)).current["starts_left"] == 1


def test_a_runtime_that_is_not_here_is_refused(tmp_path: Path) -> None:
    slots = Slots(made_slots(tmp_path).layout, Keyring(), "litert")
    with pytest.raises(BundleError, match="has its backbone for onnx, and this machine has litert"):
        slots.install(packed(1))


def test_a_single_failed_write_blames_nobody(
    confirmed: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that cannot be recorded waits; the bundle is not given up for it."""
    confirmed.install(packed(2))
    write, failures = State.write, iter([28])

    def once(self: State, path: Path) -> None:
        if next(failures, None):
            raise SlotError("Cannot record the state: No space left on device.")
        write(self, path)

    monkeypatch.setattr(State, "write", once)
    started = confirmed.start()
    assert started.bundle.name == "made-1" and started.postponed
    assert started.fell_back is None and "No space" in started.problems[0]
    assert confirmed.status()["failed"] is None and running(confirmed) == "made-2"
    again = confirmed.start()
    assert again.bundle.name == "made-2" and again.counted and not again.postponed


def test_one_bad_patient_does_not_end_a_start(
    confirmed: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("anna", "ben"):
        confirmed.keep_calibration(code, calibrated(made_bundle(1)))
    real = slot_reader.stand

    def stand(patients: Patients, code: str, bundle: Bundle) -> Standing:
        if code == "anna":
            raise BundleError("the backbone fails on her windows.")
        return real(patients, code, bundle)

    monkeypatch.setattr(slot_reader, "stand", stand)
    anna, ben = confirmed.start().standings
    assert anna.head is None and "her windows" in str(anna.reason) and ben.head is not None
    assert [p["calibrated"] for p in confirmed.status()["patients"]] == [False, True]


def test_a_downgrade_from_a_first_trial_needs_the_flag(slots: Slots) -> None:
    slots.install(packed(2, "2.0"))
    with pytest.raises(DowngradeError, match=r"older than the one on trial, 2\.0"):
        slots.install(packed(1, "1.0"))
    slots.install(packed(3, "2.1"))
    slots.install(packed(1, "1.0"), allow_downgrade=True)


def test_a_downgrade_after_a_key_was_revoked_needs_the_flag(tmp_path: Path) -> None:
    old, new = SigningKey.generate("old"), SigningKey.generate("new")
    slots = made_slots(tmp_path, Keyring((old.public, new.public), production=True))
    slots.install(packed(1, "2.0", key=old))
    slots.confirm()
    slots = made_slots(tmp_path, Keyring((new.public,), production=True))
    with pytest.raises(DowngradeError, match=r"older than the last good one, 2\.0"):
        slots.install(packed(2, "1.9", key=new))
    assert slots.install(packed(2, "2.0", key=new)).changed


def test_the_clock_of_a_plain_start_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = datetime.now(UTC).date()
    key = SigningKey.generate("ours", today + timedelta(days=30))
    slots = made_slots(tmp_path, Keyring((key.public,)))
    slots.install(packed(1))

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime(2100, 1, 1, tzinfo=UTC)

    with monkeypatch.context() as patch:
        patch.setattr("fewbeats.device.slot_state.datetime", Ahead)
        slots.start(), slots.confirm()
    assert slots.install(packed(2, "1.1", key=key)).changed


def test_a_clock_that_was_far_ahead_at_an_install_can_be_forgotten(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    key = SigningKey.generate("ours", today + timedelta(days=30))
    slots = made_slots(tmp_path, Keyring((key.public,)))
    slots.install(packed(1))
    ahead = (datetime.now(UTC) + timedelta(days=100)).isoformat(timespec="seconds")
    replace(State.read(slots.layout.state), newest=ahead).write(slots.layout.state)
    assert slots.status()["clock_floor"] == ahead
    with pytest.raises(SignatureError, match="fewbeats gateway forget-clock") as caught:
        slots.install(packed(2, key=key))
    assert ahead[:10] in str(caught.value) and len(str(caught.value)) < 600
    slots.forget_clock()
    assert slots.install(packed(2, key=key)).changed


def test_a_key_that_really_expired_says_nothing_of_the_clock(tmp_path: Path) -> None:
    key = SigningKey.generate("ours", date(2026, 1, 31))
    slots = made_slots(tmp_path, Keyring((key.public,)))
    with pytest.raises(SignatureError, match="expired") as caught:
        slots.install(packed(1, key=key))
    assert "forget-clock" not in str(caught.value)


def test_judged_signal_adds_up(confirmed: Slots) -> None:
    confirmed.install(packed(2))
    for seconds in (60.0, 42.5):
        started = confirmed.start()
        confirmed.count(started.sha256, -1, judged_s=seconds)
    started = confirmed.start()
    assert started.judged_s == 102.5 and started.starts_left == 2
    confirmed.fall_back("no")
    confirmed.install(packed(2))
    assert confirmed.start().judged_s == 0  # a new trial
    confirmed.count(started.sha256, 0, judged_s=7.0)
    confirmed.install(packed(3))
    confirmed.install(packed(2))
    assert confirmed.start().judged_s == 0


def test_bad_files_among_the_keys_are_told(tmp_path: Path) -> None:
    layout = made_config(tmp_path)
    (layout.keys / "ssh.pub").write_text("ssh-ed25519 AAAA me@here")
    slots = open_slots(tmp_path)
    slots.install(packed(1))
    (problem,) = slots.status()["problems"]
    assert "ssh.pub" in problem and slots.start().bundle.name == "made-1"


def test_nothing_to_confirm(slots: Slots) -> None:
    with pytest.raises(SlotError, match="No bundle is installed on this gateway"):
        slots.confirm()

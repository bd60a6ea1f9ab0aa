"""Every point of every operation, and proof that the engine sees a write that is not safe."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from faults.disk import Open, Sync
from faults.failing import FAILURES, failing_disk
from faults.killing import kills
from faults.operations import OPERATIONS, Operation
from faults.power import cuts_after_a_kill, cuts_of, power_cuts, record
from faults.rows import POWER, Row
from fewbeats.device import files
from fewbeats.device.slot_files import SlotFiles

BY_NAME = {operation.name: operation for operation in OPERATIONS}
EVERY = 10


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_cut_at_any_point_leaves_old_or_new(operation: Operation) -> None:
    row = power_cuts(operation, EVERY)
    assert not row.violations
    assert row.points >= 4 and row.states >= 3 and row.counts["new"] > 0


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_what_was_done_again_after_a_kill_lasts(operation: Operation) -> None:
    assert not cuts_after_a_kill(operation, 4 * EVERY).violations


@pytest.mark.parametrize(
    ("operation", "name"),
    [(one, list(FAILURES)[index % len(FAILURES)]) for index, one in enumerate(OPERATIONS)],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_disk_that_fails_at_any_point_leaves_old_or_new(operation: Operation, name: str) -> None:
    row = failing_disk(operation, name, EVERY)
    assert not row.violations and row.points >= 2


def test_a_process_that_is_really_killed_leaves_old_or_new() -> None:
    row = kills(20)
    assert not row.violations
    assert row.counts["old"] and row.counts["new"], "all kills came at one moment"


def in_place(path: Path, data: bytes, mode: int = 0o666) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(file, data)
    os.fsync(file)
    os.close(file)
    sync_folder(path.parent)  # type: ignore[name-defined]  # noqa: F821  of the module it stands in


def without_sync(path: Path, data: bytes, mode: int = 0o666) -> None:
    partial = path.with_name(path.name + ".partial")
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(file, data)
    os.close(file)
    os.replace(partial, path)  # noqa: PTH105
    sync_folder(path.parent)  # type: ignore[name-defined]  # noqa: F821


def without_folder_sync(path: Path, data: bytes, mode: int = 0o666) -> None:
    partial = path.with_name(path.name + ".partial")
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(file, data)
    os.fsync(file)
    os.close(file)
    os.replace(partial, path)  # noqa: PTH105


def link_removed_first(link: Path, target: str) -> None:
    if link.is_symlink():
        os.unlink(link)  # noqa: PTH108
    os.symlink(target, link)  # noqa: PTH211
    sync_folder(link.parent)  # type: ignore[name-defined]  # noqa: F821


def link_without_sync(link: Path, target: str) -> None:
    partial = link.with_name(link.name + ".partial")
    os.symlink(target, partial)  # noqa: PTH211
    os.replace(partial, link)  # noqa: PTH105


@pytest.mark.parametrize(
    ("function", "broken", "names"),
    [
        ("write_atomically", in_place, ["install over a trial", "confirm", "trust a key"]),
        ("write_atomically", without_sync, ["install with re-fit", "calibrate a patient"]),
        ("write_atomically", without_folder_sync, ["first install", "confirm", "trust a key"]),
        (
            "replace_link",
            link_removed_first,
            ["install with re-fit", "install after a confirmation"],
        ),
        ("replace_link", link_without_sync, ["install with re-fit", "fall back when asked"]),
    ],
)
def test_the_engine_bites(
    monkeypatch: pytest.MonkeyPatch, function: str, broken: Callable[..., None], names: list[str]
) -> None:
    """Writing and linking as one should not is found, operation by operation."""
    for name in names:
        recorded_before = BY_NAME[name]
        record(recorded_before)  # makes the gateway that it starts from, with what is sound
        with monkeypatch.context() as patch:
            patch.setattr(getattr(files, function), "__code__", broken.__code__)
            assert power_cuts(recorded_before, EVERY).violations, name


@pytest.mark.parametrize("name", ["install with re-fit", "install after a confirmation"])
def test_the_engine_sees_a_switch_that_comes_too_early(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The slot's file is written after the link that makes it current, by a careless install."""
    operation = BY_NAME[name]
    record(operation)
    write = SlotFiles.write

    def early(self: SlotFiles, name: str, data: bytes) -> None:
        self.point(name)
        write(self, name, data)

    monkeypatch.setattr(SlotFiles, "write", early)
    assert power_cuts(operation, EVERY).violations


@pytest.mark.parametrize(
    ("name", "synced"),
    [
        ("first install", ["state.json", "bundle.fewbeats"]),
        ("install with re-fit", ["state.json", "bundle.fewbeats"]),
        ("install over a trial", ["state.json", "bundle.fewbeats"]),
        ("confirm", ["state.json"]),
        ("calibrate a patient", [".head"]),
        ("trust a key", [".pub"]),
    ],
)
def test_no_sync_of_a_file_can_be_left_out(name: str, synced: list[str]) -> None:
    """A head that an install fits is no matter: the start would fit it again."""
    done, opened, left_out = record(BY_NAME[name]), {}, []
    for index, call in enumerate(done.calls):
        if isinstance(call, Open):
            opened[call.fd] = call.path
        if isinstance(call, Sync):
            found = [end for end in synced if opened[call.fd].endswith(f"{end}.partial")]
            if found:
                left_out += found
                without = replace(done, calls=[*done.calls[:index], *done.calls[index + 1 :]])
                row = cuts_of(Row(POWER, name), without, 1000)
                assert row.violations, f"{found} need not be synced"
    assert left_out == synced

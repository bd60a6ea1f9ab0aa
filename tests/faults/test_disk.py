"""The model of the disk against the rules that it is to follow, and against a real disk."""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.disk import (
    Call,
    Disk,
    Link,
    MakeFolder,
    Move,
    Open,
    Point,
    Remove,
    Sync,
    Tree,
    Write,
    read_tree,
    states_of,
    write_tree,
)
from faults.recorder import recording
from fewbeats.device import files

OLD, NEW = b"the old contents", b"the new contents, longer"


def trees(before: Tree, *calls: Call) -> list[Tree]:
    """The different trees that may be found once all calls were made."""
    return [state.tree for state in states_of(before, calls) if state.calls == len(calls)]


def found(before: Tree, calls: list[Call], name: str) -> set[bytes | Link | str | None]:
    """What a name may hold after a cut at any point."""
    return {state.tree.get(name, "missing") for state in states_of(before, calls)}


def test_nothing_done_leaves_one_state() -> None:
    before: Tree = {"a": OLD, "f": None, "f/b": NEW, "l": Link("f")}
    assert [state.tree for state in states_of(before, [])] == [before]


def test_data_without_a_sync_may_be_anything() -> None:
    held = found({}, [Open(3, "a"), Write(3, NEW)], "a")
    assert {"missing", b"", NEW, NEW[:1], NEW[:-1], NEW[: len(NEW) // 2], bytes(len(NEW))} <= held
    assert b"\xa5" * len(NEW) in held


def test_a_sync_of_the_file_saves_its_data_and_not_its_name() -> None:
    calls = [Open(3, "a"), Write(3, NEW), Sync(3)]
    assert [tree.get("a") for tree in trees({}, *calls)] == []  # no state but those before
    disk = Disk({})
    for call in calls:
        disk.do(call)
    assert {tree.get("a", "missing") for _, tree in disk.survivals()} == {NEW, "missing"}


def test_a_sync_of_the_folder_saves_its_names_and_not_their_data() -> None:
    disk = Disk({})
    for call in (Open(3, "a"), Write(3, NEW), Open(4, "."), Sync(4)):
        disk.do(call)
    held = {tree.get("a", "missing") for _, tree in disk.survivals()}
    assert "missing" not in held and {b"", NEW} <= held


def test_entries_are_lost_independently() -> None:
    calls: list[Call] = [MakeFolder("f"), Point("l", "f"), Remove("a")]
    disk = Disk({"a": OLD})
    for call in calls:
        disk.do(call)
    held = {tuple(sorted(tree)) for _, tree in disk.survivals()}
    assert len(held) == 8 and ("a", "f", "l") in held and () in held


def test_many_entries_are_lost_and_kept_one_by_one_and_in_order() -> None:
    disk = Disk({})
    for number in range(8):
        disk.do(MakeFolder(f"f{number}"))
    held = {tuple(sorted(tree)) for _, tree in disk.survivals()}
    assert ("f7",) in held and ("f0", "f1", "f2") in held and () in held
    assert tuple(f"f{number}" for number in range(8) if number != 3) in held


def test_what_lies_in_a_lost_folder_is_lost() -> None:
    disk = Disk({})
    for call in (MakeFolder("f"), Open(3, "f/a"), Write(3, NEW), Sync(3), Open(4, "f"), Sync(4)):
        disk.do(call)
    assert {frozenset(tree) for _, tree in disk.survivals()} == {
        frozenset(),
        frozenset({"f", "f/a"}),
    }


def test_a_move_before_the_data_may_leave_rubbish_in_the_place() -> None:
    calls: list[Call] = [Open(3, "a.partial"), Write(3, NEW), Move("a.partial", "a")]
    held = found({"a": OLD}, calls, "a")
    assert {OLD, NEW, b"", bytes(len(NEW))} <= held
    half = len(NEW) // 2
    assert NEW[:half] + OLD[half:] in held


def test_paths_lead_through_links() -> None:
    disk = Disk({"slots": None, "slots/a": None, "current": Link("slots/a")})
    for call in (Open(3, "current/b"), Write(3, NEW), Sync(3), Open(4, "current"), Sync(4)):
        disk.do(call)
    assert [tree["slots/a/b"] for _, tree in disk.survivals()] == [NEW] * 10


def in_place(path: Path, data: bytes, mode: int = 0o666) -> None:
    file = files.os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    files.os.write(file, data)
    files.os.fsync(file)
    files.os.close(file)
    files.sync_folder(path.parent)


def without_sync(path: Path, data: bytes, mode: int = 0o666) -> None:
    partial = path.with_name(path.name + ".partial")
    file = files.os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    files.os.write(file, data)
    files.os.close(file)
    files.os.replace(partial, path)
    files.sync_folder(path.parent)


def without_folder_sync(path: Path, data: bytes, mode: int = 0o666) -> None:
    partial = path.with_name(path.name + ".partial")
    file = files.os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    files.os.write(file, data)
    files.os.fsync(file)
    files.os.close(file)
    files.os.replace(partial, path)


def removed_first(path: Path, data: bytes, mode: int = 0o666) -> None:
    files.os.unlink(path)
    files.sync_folder(path.parent)
    files.write_atomically(path, data, mode)


def calls_of(root: Path, before: Tree, act: Callable[[Path], object]) -> list[Call]:
    """What an act does to the disk, once it was seen that the model comes to the same end."""
    write_tree(before, root)
    with recording(root) as recorder:
        act(root)
    disk = Disk(before)
    for call in recorder.calls:
        disk.do(call)
    assert disk.seen() == read_tree(root)
    return recorder.calls


def lasts(before: Tree, calls: list[Call], name: str, content: object) -> bool:
    disk = Disk(before)
    for call in calls:
        disk.do(call)
    return {tree.get(name) for _, tree in disk.survivals()} == {content}


@pytest.mark.parametrize("size", [0, 1, 24, 100_000])
def test_a_file_is_old_or_new_at_every_point_and_new_in_the_end(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    before: Tree = {"f": None, "f/a": OLD}
    calls = calls_of(tmp_path / "r", before, lambda r: files.write_atomically(r / "f" / "a", data))
    assert found(before, calls, "f/a") == {OLD, data}
    assert lasts(before, calls, "f/a", data)


def test_a_link_is_old_or_new_at_every_point_and_new_in_the_end(tmp_path: Path) -> None:
    before: Tree = {"a": None, "b": None, "current": Link("a")}
    calls = calls_of(tmp_path / "r", before, lambda r: files.replace_link(r / "current", "b"))
    assert found(before, calls, "current") == {Link("a"), Link("b")}
    assert lasts(before, calls, "current", Link("b"))


def test_folders_and_removals_last(tmp_path: Path) -> None:
    calls = calls_of(tmp_path / "r", {}, lambda r: files.make_folder(r / "x" / "y" / "z"))
    assert lasts({}, calls, "x/y/z", None) and len(calls) == 9
    before: Tree = {"k": None, "k/a.pub": OLD}
    calls = calls_of(tmp_path / "q", before, lambda r: files.remove(r / "k" / "a.pub"))
    assert found(before, calls, "k/a.pub") == {OLD, "missing"}
    disk = Disk(before)
    for call in calls:
        disk.do(call)
    assert all("k/a.pub" not in tree for _, tree in disk.survivals())


@pytest.mark.parametrize("broken", [in_place, without_sync, removed_first])
def test_the_engine_sees_a_write_that_may_be_torn(tmp_path: Path, broken) -> None:
    calls = calls_of(tmp_path / "r", {"a": OLD}, lambda r: broken(r / "a", NEW))
    assert not found({"a": OLD}, calls, "a") <= {OLD, NEW}


def test_the_engine_sees_a_write_that_does_not_last(tmp_path: Path) -> None:
    calls = calls_of(tmp_path / "r", {"a": OLD}, lambda r: without_folder_sync(r / "a", NEW))
    assert found({"a": OLD}, calls, "a") == {OLD, NEW}
    assert not lasts({"a": OLD}, calls, "a", NEW)


NAMES = st.sampled_from(["a", "b", "f/a", "f/b", "g/a"])
ACTS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.binary(max_size=9)),
    st.tuples(st.just("link"), st.sampled_from(["l", "f/l"]), st.sampled_from(["a", "f", "x"])),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("folder"), st.sampled_from(["g", "h/i"])),
)
ROOTS = count()


@settings(max_examples=40, deadline=None)
@given(st.lists(ACTS, max_size=6))
def test_the_model_and_a_real_disk_come_to_the_same_end(tmp_path_factory, acts) -> None:
    root = tmp_path_factory.getbasetemp() / f"model{next(ROOTS)}"
    before: Tree = {"a": OLD, "f": None, "f/b": OLD, "g": None}

    def act(at: Path) -> None:
        for kind, name, *rest in acts:
            match kind:
                case "write":
                    files.write_atomically(at / name, *rest)
                case "link":
                    files.replace_link(at / name, *rest)
                case "remove":
                    files.remove(at / name)
                case "folder":
                    files.make_folder(at / name)

    calls = calls_of(root, before, act)
    final = read_tree(root)
    disk = Disk(before)
    for call in calls:
        disk.do(call)
    assert all(tree == final for _, tree in disk.survivals()), "something did not last"


def test_calls_that_the_model_does_not_know_are_no_secret(tmp_path: Path) -> None:
    with recording(tmp_path), pytest.raises(AssertionError, match=r"os\.truncate is not modelled"):
        files.os.truncate(tmp_path / "a", 3)

"""A model of a disk that loses power: which trees may be found on it afterwards.

Calls change a volatile tree at once, as every process sees it; only a sync makes a change last.
Until its folder is synced, each new, moved or removed entry may be there or not, independently of
the others; until its file is synced, data may be missing, cut short, zeros, or what the blocks
held before. That is more cruel than any one file system is, and allows what POSIX allows (in the
way of CrashMonkey and ALICE: Mohan et al., OSDI 2018; Pillai et al., OSDI 2014).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

MOST_FREE_CHANGES = 5
"""Up to so many un-synced entries, every combination of them is tried."""


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


Tree = dict[str, bytes | Link | None]
"""Everything below a root by its path: a file's bytes, a link, or None for a folder."""


def read_tree(root: Path) -> Tree:
    """What lies below a folder."""
    tree: Tree = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            tree[name] = Link(str(path.readlink()))
        else:
            tree[name] = None if path.is_dir() else path.read_bytes()
    return tree


def write_tree(tree: Tree, root: Path) -> Path:
    """Make a folder that holds a tree; gives it back."""
    root.mkdir(parents=True)
    for name, content in sorted(tree.items()):
        if content is None:
            (root / name).mkdir()
        elif isinstance(content, Link):
            (root / name).symlink_to(content.target)
        else:
            (root / name).write_bytes(content)
    return root


@dataclass(frozen=True, slots=True)
class Open:
    """A file or folder was opened, a file perhaps made or emptied."""

    fd: int
    path: str
    emptied: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """Data was added at the end of an open file."""

    fd: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Sync:
    """An open file's data, or an open folder's entries, were made to last."""

    fd: int


@dataclass(frozen=True, slots=True)
class Move:
    """An entry replaced another, or took a new name, in the same folder."""

    path: str
    to: str


@dataclass(frozen=True, slots=True)
class Point:
    """A symbolic link was made."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """A folder was made."""

    path: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A file, a link or an empty folder was removed."""

    path: str


Call = Open | Write | Sync | Move | Point | MakeFolder | Remove


@dataclass(eq=False, slots=True)
class File:
    """A file: what would survive, what processes see, and what its blocks may have held before."""

    synced: bytes = b""
    seen: bytes = b""
    stale: bytes = b""


@dataclass(eq=False, slots=True)
class Folder:
    """A folder: the entries that would survive, and those that processes see."""

    synced: "dict[str, Node]" = field(default_factory=dict)
    seen: "dict[str, Node]" = field(default_factory=dict)


Node = File | Folder | Link


@dataclass(frozen=True, eq=False, slots=True)
class Change:
    """What one call did to a folder's entries; None: the entry is gone."""

    folder: Folder
    entries: dict[str, Node | None]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of data that was not synced."""

    name: str
    of: Callable[[File], bytes]


def _half(file: File) -> int:
    return len(file.seen) // 2


WHOLE = Fate("data whole", lambda file: file.seen)
FATES = (
    WHOLE,
    Fate("data lost", lambda file: file.synced),
    Fate("data empty", lambda file: b""),
    Fate("data cut after 1 byte", lambda file: file.seen[:1]),
    Fate("data cut in half", lambda file: file.seen[: _half(file)]),
    Fate("data cut before its last byte", lambda file: file.seen[:-1]),
    Fate("data zeros", lambda file: bytes(len(file.seen))),
    Fate("data zeros, then right", lambda file: bytes(_half(file)) + file.seen[_half(file) :]),
    Fate("data right, then old", lambda file: file.seen[: _half(file)] + file.stale[_half(file) :]),
    Fate("data of what was there before", lambda file: file.stale or b"\xa5" * len(file.seen)),
)


@dataclass(frozen=True, slots=True)
class State:
    """A tree that may be found after a cut.

    Attributes:
        calls: how many calls had been made.
        story: what was kept and what was lost.
        tree: what is found.
    """

    calls: int
    story: str
    tree: Tree


class Disk:
    """The disk, on which all that is there at first has been synced."""

    def __init__(self, tree: Tree) -> None:
        self._root = Folder()
        self._fds: dict[int, Node] = {}
        self._pending: list[Change] = []
        for path, content in sorted(tree.items()):
            folder, name = self._place(path)
            node = Folder() if content is None else content
            folder.seen[name] = File(node, node, node) if isinstance(node, bytes) else node
            folder.synced[name] = folder.seen[name]

    def do(self, call: Call) -> None:
        """Let a call have happened."""
        match call:
            case Open(fd, path, emptied):
                self._fds[fd] = self._opened(path, emptied)
            case Write(fd, data):
                file = self._fds[fd]
                assert isinstance(file, File)
                file.seen += data
            case Sync(fd):
                self._sync(self._fds[fd])
            case Move(path, to):
                self._move(path, to)
            case Point(path, target):
                self._change(path, Link(target))
            case MakeFolder(path):
                self._change(path, Folder())
            case Remove(path):
                self._change(path, None)

    def seen(self) -> Tree:
        """The tree as processes see it: what a killed process leaves behind."""
        return self._tree(self._pending, WHOLE)

    def survivals(self) -> Iterator[tuple[str, Tree]]:
        """Every tree that may be found if the power fails now, each with what was lost."""
        for kept in _choices(len(self._pending)):
            changes = [self._pending[index] for index in kept]
            for fate in FATES:
                story = f"{len(kept)} of {len(self._pending)} un-synced entries kept, {fate.name}"
                yield story, self._tree(changes, fate)

    def _place(self, path: str) -> tuple[Folder, str]:
        """The folder that holds a path, through links in the middle of it, and the last name."""
        *folders, name = path.split("/")
        folder = self._root
        for index, part in enumerate(folders):
            node = folder.seen[part]
            if isinstance(node, Link):
                there = "/".join([*folders[:index], node.target, *folders[index + 1 :], name])
                return self._place(there)
            assert isinstance(node, Folder), path
            folder = node
        return folder, name

    def _opened(self, path: str, emptied: bool) -> Node:
        if path in ("", "."):
            return self._root
        folder, name = self._place(path)
        if name not in folder.seen:
            self._change(path, File())
        node = folder.seen[name]
        if isinstance(node, Link):
            return self._opened("/".join([*path.split("/")[:-1], node.target]), emptied)
        if emptied and isinstance(node, File):
            node.seen = b""
        return node

    def _change(self, path: str, node: Node | None) -> None:
        folder, name = self._place(path)
        self._enter(Change(folder, {name: node}))

    def _move(self, path: str, to: str) -> None:
        (folder, name), (other, new) = self._place(path), self._place(to)
        assert folder is other, f"{path} -> {to}: a move between folders is not modelled"
        node, replaced = folder.seen[name], folder.seen.get(new)
        if isinstance(node, File) and isinstance(replaced, File):
            node.stale = replaced.synced
        self._enter(Change(folder, {name: None, new: node}))

    def _enter(self, change: Change) -> None:
        change.folder.seen = _after(change.folder.seen, [change])
        self._pending.append(change)

    def _sync(self, node: Node) -> None:
        if isinstance(node, File):
            node.synced = node.stale = node.seen
        elif isinstance(node, Folder):
            node.synced = dict(node.seen)
            self._pending = [change for change in self._pending if change.folder is not node]

    def _tree(self, kept: Sequence[Change], fate: Fate) -> Tree:
        tree: Tree = {}

        def enter(folder: Folder, prefix: str) -> None:
            changes = [change for change in kept if change.folder is folder]
            for name, node in _after(folder.synced, changes).items():
                path = prefix + name
                if isinstance(node, Folder):
                    tree[path] = None
                    enter(node, path + "/")
                elif isinstance(node, File):
                    tree[path] = node.synced if node.synced == node.seen else fate.of(node)
                else:
                    tree[path] = node

        enter(self._root, "")
        return tree


def states_of(before: Tree, calls: Sequence[Call]) -> Iterator[State]:
    """Every different tree that a kill or a power cut may leave, at any point of the calls."""
    disk, known = Disk(before), set()
    for done in range(len(calls) + 1):
        if done:
            disk.do(calls[done - 1])
        for story, tree in (("killed", disk.seen()), *disk.survivals()):
            key = tuple(sorted(tree.items(), key=lambda item: item[0]))
            if key not in known:
                known.add(key)
                yield State(done, story, tree)


def _after(entries: "dict[str, Node]", changes: Sequence[Change]) -> "dict[str, Node]":
    found: dict[str, Node | None] = dict(entries)
    for change in changes:
        found |= change.entries
    return {name: node for name, node in found.items() if node is not None}


def _choices(count: int) -> Iterator[tuple[int, ...]]:
    """Which of the un-synced entries are kept: all, none, and what lies between."""
    every = tuple(range(count))
    if count <= MOST_FREE_CHANGES:
        for size in range(count, -1, -1):
            yield from combinations(every, size)
        return
    for split in range(count, -1, -1):
        yield every[:split]
    for one in every:
        yield (one,)
        yield (*every[:one], *every[one + 1 :])

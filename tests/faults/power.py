"""Power cuts: what every state that a cut may leave comes to, operation by operation."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from faults.disk import Call, Disk, Tree, read_tree, states_of
from faults.operations import Operation, gateway, room, tree_before
from faults.outcome import BrokenError, Outcome, goes_on, holds, outcome_of
from faults.recorder import recording
from faults.rows import AGAIN, POWER, Row
from fewbeats.device.layout import Layout
from fewbeats.device.slot_state import State
from fewbeats.errors import SlotError

LOCK = str(Layout(Path()).lock)
"""The one file that nobody needs: a lock ends with its process."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An operation that was done once, on a sound disk.

    Attributes:
        before: the gateway that it starts from.
        calls: what it did to the disk.
        after: what it left.
        chooses: as the operation's.
    """

    before: Tree
    calls: list[Call]
    after: Tree
    chooses: bool


def record(operation: Operation) -> Recorded:
    """Do an operation, and see to it that the model of the disk comes to the same end."""
    before = tree_before(operation)
    with room() as folder:
        root = gateway(before, folder, "gateway")
        with recording(root) as recorder:
            operation.act(root)
        after = read_tree(root)
    disk = disk_after(before, recorder.calls)
    assert disk.seen() == after, f"{operation.name} changed files past fewbeats.device.files"
    return Recorded(before, recorder.calls, after, operation.chooses)


def disk_after(before: Tree, calls: Sequence[Call]) -> Disk:
    """The disk after some calls."""
    disk = Disk(before)
    for call in calls:
        disk.do(call)
    return disk


@dataclass(slots=True)
class Judge:
    """Judges the states of one operation.

    Attributes:
        folder: room for gateways.
        old: the outcome without the operation.
        new: the outcome with it.
        good: the last known good bundle, which must never be lost.
        every: every how many states are made to go on with their next install.
        refuge: the outcome of giving the operation's bundle up, where that counts as old too.
        chooses: as the operation's.
    """

    folder: str
    old: Outcome
    new: Outcome
    good: str | None
    every: int = 1
    refuge: Outcome | None = None
    chooses: bool = False
    _numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    def of(cls, done: Recorded, folder: str, every: int) -> "Judge":
        """The judge of a recorded operation."""
        root = gateway(done.before, folder, "before")
        try:
            good = State.read(Layout(root).state).good
        except SlotError:
            good = None
        old = outcome_of(root, done.chooses)
        new = outcome_of(gateway(done.after, folder, "after"), done.chooses)
        return cls(folder, old, new, good, every, chooses=done.chooses)

    def verdict(self, tree: Tree, wanted: Outcome | None = None) -> str:
        """ "old" or "new".

        Args:
            tree: the state.
            wanted: the only outcome that is right; None: both are.

        Raises:
            BrokenError: it is neither, or the good bundle is lost, or the gateway does not go on.
        """
        number = next(self._numbers)
        root = gateway(tree, self.folder, str(number))
        found = outcome_of(root, self.chooses)
        if wanted is not None and found != wanted:
            raise BrokenError(f"it did not last: {found}, not {wanted}")
        if found not in (self.old, self.new, self.refuge):
            raise BrokenError(f"neither old nor new: {found}")
        if not holds(root, self.good):
            raise BrokenError("the last known good bundle is lost")
        if number % self.every == 0:
            goes_on(root)
        shutil.rmtree(root)
        return "new" if found == self.new else "old"


def power_cuts(operation: Operation, every: int = 1) -> Row:
    """Kill, and cut the power, at every point of an operation."""
    done, row = record(operation), Row(POWER, operation.name)
    return cuts_of(row, done, every)


def cuts_of(row: Row, done: Recorded, every: int = 1) -> Row:
    """Judge every state that a recorded operation may leave."""
    with room() as folder:
        judge = Judge.of(done, folder, every)
        row.points = len(done.calls) + 1
        row.cases = cases_of(done.before, done.calls)
        for state in states_of(done.before, done.calls):
            story = f"after {state.calls} of {len(done.calls)} changes, {state.story}"
            row.judge(story, judge.verdict, state.tree)
        for tree in different(disk_after(done.before, done.calls)):
            row.judge("at its end", judge.verdict, tree, judge.new)
    return row


def cuts_after_a_kill(operation: Operation, every: int = 1) -> Row:
    """Kill an operation at every point, let it be done again, and cut the power after that.

    What the killed process had not synced is still not synced when the next one finds it.
    """
    done, row = record(operation), Row(AGAIN, operation.name)
    row.points = len(done.calls) + 1
    with room() as folder:
        judge = Judge.of(done, folder, every)
        for calls in range(row.points):
            disk = disk_after(done.before, done.calls[:calls])
            root = gateway(disk.seen(), folder, f"again{calls}")
            with recording(root) as recorder:
                operation.again(root)
            for call in recorder.calls:
                disk.do(call)
            wanted = outcome_of(root, done.chooses)
            for tree in different(disk):
                row.cases += 1
                story = f"killed after {calls} changes, then done again"
                row.judge(story, judge.verdict, tree, wanted)
    return row


def cases_of(before: Tree, calls: Sequence[Call]) -> int:
    """How many kills and cuts there are, counted before those that come to the same."""
    disk = Disk(before)
    found = 1
    for call in calls:
        disk.do(call)
        found += 1 + sum(1 for _ in disk.survivals())
    return found


def different(disk: Disk) -> Iterator[Tree]:
    """The different trees that a cut may leave now, the lock aside."""
    known: list[Tree] = []
    for _, tree in disk.survivals():
        tree.pop(LOCK, None)
        if tree not in known:
            known.append(tree)
            yield tree

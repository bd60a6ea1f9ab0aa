"""Disks that fail: full, read-only, or with errors, from each single change of an operation on."""

import errno
from dataclasses import replace
from pathlib import Path

from faults.disk import read_tree
from faults.operations import Operation, gateway, room, start
from faults.outcome import BrokenError, outcome_of
from faults.power import Judge, record
from faults.recorder import Failure, recording
from faults.rows import DISK, Row
from fewbeats.device.slots import open_slots
from fewbeats.errors import BundleError, FewbeatsError

MOST_LETTERS = 600
FAILURES = {
    "full disk": Failure(0),
    "full disk, half a write": Failure(0, short=True),
    "disk gone read-only": Failure(0, errno=errno.EROFS, frees=False),
    "one error": Failure(0, errno=errno.EIO, lasting=False, frees=False),
}


def failing_disk(operation: Operation, name: str, every: int = 1) -> Row:
    """Let the disk fail at each change of an operation, one after the other.

    The operation is refused in one sentence, or does without the change. Then the gateway must
    start: on the disk that still fails, and after that on one that works again.
    """
    done, row = record(operation), Row(DISK, f"{name}: {operation.name}")
    with room() as folder:
        judge = Judge.of(done, folder, every)
        if operation.act is start and judge.good:
            refuge = _given_up(gateway(done.before, folder, "refuge"))
            judge.refuge, judge.chooses = outcome_of(refuge), True
        at = 0
        while True:
            failure = replace(FAILURES[name], at=at)
            root = gateway(done.before, folder, f"failing{at}")
            sentence = None
            with recording(root, failure) as recorder:
                try:
                    operation.act(root)
                except FewbeatsError as error:
                    sentence = str(error)
            if not recorder.failed:
                return row
            at += 1
            row.points = row.cases = at
            watch = operation.act is start
            row.judge(f"{name} at change {at}", _verdict, judge, root, failure, sentence, watch)


def _verdict(judge: Judge, root: Path, failure: Failure, sentence: str | None, watch: bool) -> str:
    """What a failing disk left, and what became of the operation.

    Args:
        judge: of the operation.
        root: the gateway.
        failure: of its disk.
        sentence: with which the operation was refused; None: it was not.
        watch: whether the operation is one that must not be refused.
    """
    if sentence is not None:
        one_sentence(sentence)
        if watch:
            raise BrokenError(f"it does not watch: {sentence}")
    tree = read_tree(root)
    found = judge.verdict(tree)
    if failure.lasting and (judge.new if found == "new" else judge.old).bundle:
        _watches(gateway(tree, judge.folder, f"{root.name} on"), failure, judge)
    return "refused" if sentence is not None and found == "old" else found


def _given_up(root: Path) -> Path:
    """A trial whose start cannot be recorded is given up for the good bundle."""
    open_slots(root).fall_back("its start on trial cannot be recorded")
    return root


def one_sentence(text: str) -> None:
    """See to it that an error is something to show to people.

    Raises:
        BrokenError: it is not.
    """
    if len(text) > MOST_LETTERS or "\n" in text or not text.endswith("."):
        raise BrokenError(f"no clear sentence of {len(text)} letters: {text[:100]!r}")


def _watches(root: Path, failure: Failure, judge: Judge) -> None:
    """A gateway must watch on a disk that takes nothing any more, if only with the good bundle."""
    with recording(root, replace(failure, at=0, short=False)):
        try:
            started = open_slots(root).start()
        except BundleError as error:
            raise BrokenError(f"it does not watch on a disk that fails: {error}") from error
    if started.sha256 not in (judge.old.bundle, judge.new.bundle, judge.good):
        raise BrokenError(f"it watches with another bundle, {started.sha256[:6]}")

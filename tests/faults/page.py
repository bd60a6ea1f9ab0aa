"""The matrix as a page of documentation."""

from collections.abc import Iterable, Iterator, Sequence

from faults.rows import AGAIN, COLUMNS, DISK, PARTS, POWER, REFUSAL, Row, total
from fewbeats.device.bundle import NOTICE

_HEADS = {
    POWER: "Killed, or without power, at every point",
    AGAIN: "Killed, done again, then without power",
    DISK: "Disks that fail",
    REFUSAL: "Bundles that are refused",
}
_TEXTS = {
    POWER: """\
Each operation is done once for real, and every call that changes the disk is recorded. Before
each call and after the last one two things may happen. The process is killed: all that was done
so far is there. Or the power fails: of the entries in a folder (new, moved, removed) that were not
synced, any may be there or not, each for itself; a file that was not synced may be whole, as it
was before, empty, cut after its first byte, in its middle or before its last byte, zeros, zeros
and then right, right and then old, or what its blocks held before. A model of the disk gives every
tree that can come of that; the model ends where the real disk ends, or the test fails. This is
crueller than any one file system.

In each state the gateway is started anew. It must start the old bundle or the new one, whole,
which passes its golden windows; every patient must be watched with the old head or the new one,
on the backbone and the kind of windows that it was fitted to, or be marked as to be calibrated;
the keys must be the old ones or the new ones; the status must say the same and tell of no problem,
nor may the start fall back where nobody gave a bundle up; the last known good bundle must lie
whole in a slot; and the next install, start, confirmation and calibration must succeed. After the
last call the new state must have come to stay.

The last row checks the model: a process that installs one bundle after the other is killed with
SIGKILL at random moments, and what it leaves is judged in the same way.""",
    AGAIN: """\
What a killed process had not synced is still not synced when the next one finds it done. So each
operation is killed at every point, done again (or the service started, where nobody would do it
again), and only then the power fails: what the second process was told must have come to stay.""",
    DISK: """\
At each change in turn the disk answers with an error: that it is full, from then on, removing
aside; the same after half of a write; that it is read-only, from then on; or with one input/output
error. The operation is refused in one clear sentence or does without the change. The gateway must
start on the disk that still fails, if only with the good bundle, and all that is asked of it after
a power cut is asked again once the disk works.""",
    REFUSAL: """\
Each is given to a gateway in production that watches two patients. The refusal must be of the
right class and one clear sentence, nothing on the disk may change, and after all of them the old
bundle must start, and the next install succeed. Mutations change up to three values anywhere in a
manifest and are correctly signed: some of them change nothing that matters, such as a word on the
model card; those are taken, and must start. The rows of an expired key, two installs and a lost
connection hold one sound case each, to see that it is taken.""",
}


def page(rows: Sequence[Row]) -> str:
    """The page in Markdown."""
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    states = sum(row.states for row in rows)
    violations = sum(len(row.violations) for row in rows)
    yield "# What was tried to break a gateway"
    yield f"\n> **{NOTICE}**\n"
    yield f"{_number(states)} states were judged, with {violations} violations. Made by\n"
    yield "    make faults\n"
    yield "which is `python benchmarks/fault_matrix.py --markdown docs/faults.md`. The bundles are"
    yield "of three kilobytes; all else is what runs on a gateway.\n"
    yield "- **points**: changes of the disk, bytes or lengths at which something was done"
    yield "- **cases**: what was done there, all together; many come to the same state"
    yield "- **states**: different ones, each judged"
    yield "- **old, new, refused**: what came of them; where an operation leaves what is watched"
    yield "  with as it was, old and new are the same and count as new"
    yield "- **violations**: states in which anything was not as it must be"
    for part in PARTS:
        yield f"\n## {_HEADS[part]}\n"
        yield _TEXTS[part] + "\n"
        yield from _table([*(row for row in rows if row.part == part), total(rows, part)])
    found = [violation for row in rows for violation in row.violations]
    if found:
        yield "\n## Violations\n"
        yield from (f"- {violation}" for violation in found)
    yield ""


def _table(rows: Iterable[Row]) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"| --- |{' ---: |' * (len(COLUMNS) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row.cells())} |"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")

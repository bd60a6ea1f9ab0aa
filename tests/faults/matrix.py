"""All that is tried, in one list."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from faults.circumstances import expired_key, lost_connection, two_at_once
from faults.failing import FAILURES, failing_disk
from faults.killing import kills
from faults.operations import OPERATIONS
from faults.power import cuts_after_a_kill, power_cuts
from faults.refusals import refusals, refuse
from faults.rows import Row


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried. Every point of every operation always is.

    Attributes:
        every: every how many states are made to go on with the next install.
        bits: how many bits of each byte are flipped.
        lengths: every how many lengths of a bundle are tried.
        mutations: manifests that are changed at random.
        kills: of a real process.
    """

    every: int = 1
    bits: int = 8
    lengths: int = 1
    mutations: int = 2000
    kills: int = 50


def matrix(effort: Effort) -> Iterator[Row]:
    """The rows, one after the other as they are done."""
    for operation in OPERATIONS:
        yield power_cuts(operation, effort.every)
    yield kills(effort.kills)
    for operation in OPERATIONS:
        yield cuts_after_a_kill(operation, effort.every)
    for name in FAILURES:
        for operation in OPERATIONS:
            yield failing_disk(operation, name, effort.every)
    for refusal in refusals(effort.bits, effort.mutations):
        yield refuse(refusal)
    circumstances: tuple[Callable[[], Row], ...] = (
        expired_key,
        two_at_once,
        lambda: lost_connection(effort.lengths),
    )
    for circumstance in circumstances:
        yield circumstance()


ROWS = len(OPERATIONS) * (2 + len(FAILURES)) + len(refusals()) + 4
"""How many there are, for a progress bar."""

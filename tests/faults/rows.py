"""The matrix as values: a row for each operation or refusal, and how rows become a page."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from faults.outcome import BrokenError

POWER, AGAIN, DISK, REFUSAL = "power cut", "kill, again, power cut", "failing disk", "refusal"
PARTS = (POWER, AGAIN, DISK, REFUSAL)
COLUMNS = ("what", "points", "cases", "states", "old", "new", "refused", "violations")


@dataclass(slots=True)
class Row:
    """What was tried of one thing, and what came of it.

    Attributes:
        part: of the matrix.
        name: of the operation or refusal.
        points: at which something was done to it: changes of the disk, bytes, lengths.
        cases: tried; some lead to the same state.
        states: different ones that were judged.
        counts: of states that turned out "old", "new", "refused".
        violations: a sentence each; there should be none.
    """

    part: str
    name: str
    points: int = 0
    cases: int = 0
    states: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def judge(self, story: str, verdict: Callable[..., str], *values: Any) -> None:
        """Count one state.

        Args:
            story: what was done, for the case that something is wrong.
            verdict: gives what came of it, or raises ``BrokenError``.
            values: what the verdict is given on.
        """
        self.states += 1
        try:
            self.counts[verdict(*values)] += 1
        except BrokenError as error:
            self.violations.append(f"{self.name}, {story}: {error}")

    def cells(self) -> list[str]:
        """The row for a table."""
        counts = [self.counts[name] for name in ("old", "new", "refused")]
        numbers = (self.points, self.cases, self.states, *counts, len(self.violations))
        return [self.name, *(f"{number:,}".replace(",", " ") for number in numbers)]

    def as_dict(self) -> dict[str, object]:
        """The row for a script."""
        return {
            "part": self.part,
            "name": self.name,
            "points": self.points,
            "cases": self.cases,
            "states": self.states,
            **{name: self.counts[name] for name in ("old", "new", "refused")},
            "violations": self.violations,
        }


def total(rows: Iterable[Row], part: str) -> Row:
    """The sum of a part's rows."""
    found = Row(part, "together")
    for row in rows:
        if row.part == part:
            found.points += row.points
            found.cases += row.cases
            found.states += row.states
            found.counts += row.counts
            found.violations += row.violations
    return found

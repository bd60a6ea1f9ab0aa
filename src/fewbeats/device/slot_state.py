"""What a gateway remembers of its bundles: ``state.json``, written wholly or not at all.

Bundles are named by the SHA-256 of their files, not by their slots: what the state says of a
bundle stays true wherever a power cut leaves its file.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from fewbeats.device.files import read_bounded, write_atomically
from fewbeats.errors import SlotError

FORMAT = 1
MAX_FILE_BYTES = 100_000
EARLIEST = "2026-01-01T00:00:00+00:00"
"""No gateway is older: a clock that shows less is wrong."""
MOST_JUMP = timedelta(days=400)
"""So far one install moves the latest known time on: a clock that is far ahead must not make keys
expired for ever."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}")


@dataclass(frozen=True, slots=True)
class Failed:
    """The last bundle that the gateway fell back from.

    Attributes:
        name: of its model.
        version: of its model.
        sha256: of its file.
        reason: why.
        at: when, by the gateway's clock.
    """

    name: str
    version: str
    sha256: str
    reason: str
    at: str

    def __post_init__(self) -> None:
        if not all(isinstance(getattr(self, item.name), str) for item in fields(self)):
            raise ValueError("what failed is no bundle")


@dataclass(frozen=True, slots=True)
class State:
    """Everything that is known.

    Attributes:
        good: the last known good bundle: confirmed, and not fallen back from since.
        before: the good one before it.
        trials: bundles on trial, with how often each was started and judged nothing.
        judged: seconds of signal that each of them has judged.
        versions: of all of these, as their bundles said.
        failed: the one fallen back from last.
        newest: the latest time at an install, as far as it is believed. A gateway without a
            battery starts in the past; its keys must not come back to life.
    """

    good: str | None = None
    before: str | None = None
    trials: Mapping[str, int] = field(default_factory=dict)
    judged: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    failed: Failed | None = None
    newest: str = EARLIEST

    def __post_init__(self) -> None:
        names = [name for name in (self.good, self.before) if name is not None]
        good = (
            all(isinstance(name, str) and _SHA256.fullmatch(name) for name in names)
            and _is_table(self.trials, lambda n: type(n) is int and n >= 0)
            and _is_table(self.judged, lambda s: type(s) is float and 0 <= s < math.inf)
            and _is_table(
                self.versions, lambda v: isinstance(v, str) and _VERSION.fullmatch(v) is not None
            )
            and isinstance(self.failed, Failed | None)
        )
        if not good:
            raise ValueError("it holds something that is no state")
        if datetime.fromisoformat(self.newest).utcoffset() is None:
            raise ValueError(f"the time {self.newest} has no zone")

    def now(self) -> datetime:
        """The time, never earlier than it was before."""
        return max(datetime.now(UTC), datetime.fromisoformat(self.newest))

    def day(self, today: date | None = None) -> date:
        """Today, or the day that is said to be, never earlier than it was before."""
        return max(today or self.now().date(), datetime.fromisoformat(self.newest).date())

    def risen(self) -> "State":
        """The same at an install, which moves the latest known time on."""
        now, newest = datetime.now(UTC), datetime.fromisoformat(self.newest)
        if now <= newest:
            return self
        risen = min(now, newest + MOST_JUMP)
        return replace(self, newest=risen.isoformat(timespec="seconds"))

    def has_failed(self, sha256: str) -> bool:
        """Whether a bundle was fallen back from, and nothing has been decided on it since."""
        known = sha256 == self.good or sha256 in self.trials
        return self.failed is not None and self.failed.sha256 == sha256 and not known

    def write(self, path: Path) -> None:
        """Write the file, without what is known of bundles that do not matter any more.

        Raises:
            SlotError: it cannot be written; what was there before is untouched.
        """
        content = {**_plain(self), "format": FORMAT}
        text = json.dumps({"sha256": _digest(content), **content}, indent=1) + "\n"
        try:
            write_atomically(path, text.encode(), 0o644)
        except OSError as error:
            raise SlotError(
                f"Cannot record the state of the bundles in {path}: {error.strerror}."
            ) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            SlotError: it is missing, damaged, or of a newer fewbeats.
        """
        try:
            content = json.loads(read_bounded(path, MAX_FILE_BYTES))
            digest = content.pop("sha256")
            if content.pop("format") != FORMAT or digest != _digest(content | {"format": FORMAT}):
                raise ValueError("it was altered, or is of another fewbeats")
            failed = content.pop("failed")
            if unknown := set(content) - {item.name for item in fields(cls)}:
                raise ValueError(f"it knows of {', '.join(sorted(unknown))}")
            return cls(**content, failed=None if failed is None else Failed(**failed))
        except OSError as error:
            raise SlotError(f"Cannot read {path}: {error.strerror}.") from error
        except (
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            RecursionError,
            OverflowError,
        ) as error:
            raise SlotError(f"{path} is damaged ({error}).") from error


def _plain(state: State) -> dict[str, Any]:
    failed = asdict(state.failed) if state.failed else None
    known = (state.good, state.before, *state.trials)
    return {
        "good": state.good,
        "before": state.before,
        "trials": dict(state.trials),
        "judged": {k: s for k, s in state.judged.items() if k in state.trials},
        "versions": {k: v for k, v in state.versions.items() if k in known},
        "failed": failed,
        "newest": state.newest,
    }


def _is_table(table: object, right: Callable[[Any], bool]) -> bool:
    """Whether something is a table of bundles, whose values are right."""
    return isinstance(table, Mapping) and all(
        _SHA256.fullmatch(name) and right(value) for name, value in table.items()
    )


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

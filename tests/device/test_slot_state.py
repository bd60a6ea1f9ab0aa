"""What a gateway remembers: every type is checked, and the clock is believed with care."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fewbeats.device import slot_state
from fewbeats.device.slot_state import EARLIEST, MOST_JUMP, Failed, State
from fewbeats.errors import SlotError

A, B = "a" * 64, "b" * 64
WHOLE = State(A, B, {B: 2}, {B: 61.5}, {A: "1.0", B: "1.1"}, Failed("n", "1", B, "why", "then"))


def with_digest(path: Path, **changes: Any) -> Path:
    """A state with other values, and the digest that fits them."""
    WHOLE.write(path)
    content = json.loads(path.read_text()) | changes
    del content["sha256"]
    path.write_text(json.dumps({"sha256": slot_state._digest(content), **content}))
    return path


def test_it_comes_back(tmp_path: Path) -> None:
    WHOLE.write(tmp_path / "state.json")
    assert State.read(tmp_path / "state.json") == WHOLE


def test_what_does_not_matter_any_more_is_forgotten(tmp_path: Path) -> None:
    replace(WHOLE, before=None, trials={}).write(tmp_path / "state.json")
    back = State.read(tmp_path / "state.json")
    assert back.judged == {} and back.versions == {A: "1.0"}


@pytest.mark.parametrize(
    "changes",
    [
        {"newest": 5},
        {"newest": "soon"},
        {"newest": "2026-11-22T10:00:00"},
        {"newest": None},
        {"trials": ["x"]},
        {"trials": {B: "x"}},
        {"trials": {B: True}},
        {"trials": {B: -1}},
        {"trials": {"x": 1}},
        {"judged": {B: 1}},
        {"judged": {B: float("nan")}},
        {"judged": {B: 10**400}},
        {"versions": {A: "soon"}},
        {"versions": 7},
        {"good": 7},
        {"good": "x"},
        {"before": ["x"]},
        {"failed": {"name": 1}},
        {"failed": 3},
        {"failed": {"name": 1, "version": "1", "sha256": B, "reason": "", "at": ""}},
        {"more": 1},
    ],
)
def test_every_type_is_checked(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SlotError, match="is damaged"):
        State.read(with_digest(tmp_path / "state.json", **changes))


def test_the_latest_time_rises_by_installs_alone_and_not_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Ahead":
            return cls(2100, 1, 1, tzinfo=tz)

    WHOLE.write(tmp_path / "state.json")
    monkeypatch.setattr(slot_state, "datetime", Ahead)
    State.read(tmp_path / "state.json").write(tmp_path / "state.json")
    assert State.read(tmp_path / "state.json").newest == EARLIEST
    risen = datetime.fromisoformat(WHOLE.risen().newest)
    assert risen == datetime.fromisoformat(EARLIEST) + MOST_JUMP
    monkeypatch.undo()
    ahead = replace(WHOLE, newest=(datetime.now(UTC) + timedelta(days=3)).isoformat())
    assert ahead.risen() is ahead
    assert ahead.day() == datetime.now(UTC).date() + timedelta(days=3)

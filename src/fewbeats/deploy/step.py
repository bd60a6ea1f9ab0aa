"""A step on a gateway, as a value: what it is for, how to tell that it is done, how to do it."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

State = Literal["already", "todo", "doing", "done", "failed", "later"]
SIGN = "@fewbeats\t"
"""How a line begins with which the script tells of a step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        name: one word.
        why: what would be wrong without it.
        what: what it does, for people.
        done: shell text that succeeds if it is done; looks below ``$ROOT`` and changes nothing.
        act: shell text that does it, as root on the gateway itself.
        restart: whether it counts from the service's next start only.
    """

    name: str
    why: str
    what: str
    done: str
    act: str
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a script says of a step: it is done already, to be done, being done, done, or failed."""

    name: str
    state: State


def template(name: str) -> str:
    """A text that comes with fewbeats."""
    return files("fewbeats.deploy").joinpath("templates", name).read_text(encoding="utf-8")


def script_of(steps: Iterable[Step]) -> str:
    """The shell script that goes through steps; see ``templates/steps.sh``."""
    lines = [template("steps.sh")]
    for step in steps:
        words = ["step", step.name, step.done, step.act, *(["restart"] if step.restart else [])]
        lines += [f"# {step.why}", shlex.join(words)]
    return "\n".join(lines) + "\n"


def told(line: str) -> Told | None:
    """What a line of a script's output says; None for a line that is of something else."""
    if not line.startswith(SIGN):
        return None
    name, _, state = line.removeprefix(SIGN).partition("\t")
    for known in ("already", "todo", "doing", "done", "failed"):
        if state == known:
            return Told(name, known)
    return None

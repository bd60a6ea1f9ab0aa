"""What a fresh process finds on a gateway, and whether that is whole."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults.bundles import calibration, packed
from fewbeats.device.layout import SLOT_NAMES, Layout
from fewbeats.device.slot_files import digest
from fewbeats.device.slots import open_slots
from fewbeats.errors import FewbeatsError

NEXT = ("2.0", 8)
NOTHING = "No bundle is installed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What matters of a gateway.

    Attributes:
        bundle: SHA-256 of the one that starts; None where none was ever installed.
        confirmed: whether it is on trial no more.
        heads: of each patient who is calibrated: the backbone and the weights.
        keys: names of the trusted keys.
    """

    bundle: str | None
    confirmed: bool
    heads: tuple[tuple[str, str, bytes], ...]
    keys: tuple[str, ...]

    def __str__(self) -> str:
        heads = ", ".join(f"{who} on {backbone[:6]}" for who, backbone, _ in self.heads)
        state = "confirmed" if self.confirmed else "on trial"
        keys = ", ".join(self.keys)
        return f"{(self.bundle or 'no bundle')[:6]} {state}, heads: {heads}, keys: {keys}"


class BrokenError(AssertionError):
    """A gateway that is neither old nor new."""


def outcome_of(root: Path, chooses: bool = False) -> Outcome:
    """Start a gateway as its service does.

    Args:
        root: of the gateway.
        chooses: whether the start may choose another bundle than the current one.

    Raises:
        BrokenError: it does not start, or starts something that is not whole.
    """
    try:
        slots = open_slots(root)
        keys = slots.keyring.names
        started = slots.start()
    except FewbeatsError as error:
        if NOTHING in str(error) and not any(_held(root)):
            return Outcome(None, False, (), keys)
        raise BrokenError(f"it does not start: {error}") from error
    if started.problems or (started.fell_back and not chooses):
        raise BrokenError(f"it starts with problems: {started.problems}, {started.fell_back}")
    bundle = started.bundle
    embeddings = bundle.backbone.embed(bundle.golden_windows)
    if not np.allclose(embeddings, bundle.golden_embeddings, atol=bundle.form.tolerance):
        raise BrokenError("what starts fails its golden windows")
    heads = []
    for standing in started.standings:
        head = standing.head.head if standing.head else None
        if head is not None and head.backbone_sha256 != bundle.backbone.sha256:
            raise BrokenError(f"{standing.patient} has a head on a foreign backbone")
        support = standing.head.support if standing.head else None
        if support is not None and not support.fits(bundle.window):
            raise BrokenError(f"{standing.patient} has a head for windows of another kind")
        if head is not None:
            heads.append((standing.patient, head.backbone_sha256, head.weights.tobytes()))
    status = slots.status()
    json.dumps(status)
    current = status["current"]
    if current is None or current["sha256"] != started.sha256 or status["problems"]:
        raise BrokenError(f"the status is another: {current}, {status['problems']}")
    return Outcome(started.sha256, not started.on_trial, tuple(heads), keys)


def holds(root: Path, sha256: str | None) -> bool:
    """Whether a bundle still lies whole in a slot."""
    return sha256 is None or sha256 in {digest(data) for data in _held(root)}


def goes_on(root: Path) -> None:
    """Let a gateway do next what gateways do.

    Raises:
        BrokenError: it cannot.
    """
    try:
        open_slots(root).install(packed(*NEXT))
        started = open_slots(root).start()
        open_slots(root).confirm(started.sha256)
        open_slots(root).keep_calibration("p1", calibration(*NEXT, 9))
        status = open_slots(root).status()
    except FewbeatsError as error:
        raise BrokenError(f"it does not go on: {error}") from error
    current, patients = status["current"], {p["patient"]: p for p in status["patients"]}
    if current is None or current["version"] != NEXT[0] or current["state"] != "confirmed":
        raise BrokenError(f"after the next install it runs {current}")
    if not patients["p1"]["calibrated"] or status["problems"]:
        raise BrokenError(f"after the next calibration: {status}")


def _held(root: Path) -> Iterator[bytes]:
    for name in SLOT_NAMES:
        path = Layout(root).slot(name)
        if path.is_file():
            yield path.read_bytes()

"""What is said of a gateway's bundles: the values that the slots give back, as plain data too."""

from dataclasses import asdict, dataclass
from typing import Any

from fewbeats.device.bundle import Bundle
from fewbeats.device.refit import Standing
from fewbeats.device.slot_files import Mark

CONFIRMED, TRIAL = "confirmed", "trial"
STATUS_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Installed:
    """What an install came to.

    Attributes:
        changed: False where the very bundle was current already.
        current: the bundle that starts next, as in a status.
        previous: the one that it would fall back to, or None.
        refitted: patients whose heads were fitted to the new backbone.
        to_be_calibrated: patients with no head for it, each with the reason.
    """

    changed: bool
    current: dict[str, Any]
    previous: dict[str, Any] | None
    refitted: tuple[str, ...]
    to_be_calibrated: tuple[dict[str, str | bool | None], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a script."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Started:
    """What the service runs.

    Attributes:
        bundle: proven, and trusted.
        slot: where it lies; None for a bundle that lies in no slot.
        sha256: of its file.
        starts_left: how many more starts its trial has; None for one that is confirmed.
        counted: this start was counted against its trial.
        fell_back: why another bundle was given up for this one just now.
        problems: what went wrong on the way, one sentence each.
        standings: of all patients.
        mark: changes when another bundle becomes current.
        judged_s: how much signal it has judged on trial, in earlier runs.
        postponed: another bundle is on trial in truth, and only cannot be recorded as started.
    """

    bundle: Bundle
    slot: str | None
    sha256: str
    starts_left: int | None
    counted: bool
    fell_back: str | None
    problems: tuple[str, ...]
    standings: tuple[Standing, ...]
    mark: Mark | None
    judged_s: float = 0.0
    postponed: bool = False

    @property
    def on_trial(self) -> bool:
        """Whether it is yet to be confirmed."""
        return self.starts_left is not None

    def as_dict(self) -> dict[str, Any]:
        """Plain data of the bundle, with the keys of a status."""
        return describe(self.bundle, self.slot, self.sha256, self.starts_left)


def describe(
    bundle: Bundle, slot: str | None, sha256: str, starts_left: int | None
) -> dict[str, Any]:
    """A bundle in a slot as plain data."""
    signer = bundle.signer
    return {
        "slot": slot,
        "name": bundle.name,
        "version": bundle.version,
        "sha256": sha256,
        "backbone_sha256": bundle.start.backbone_sha256,
        "runtime": bundle.runtime,
        "signer": signer.name if signer else None,
        "development": bool(signer and signer.development),
        "state": CONFIRMED if starts_left is None else TRIAL,
        "starts_left": starts_left,
    }

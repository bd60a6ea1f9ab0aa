"""Where provisioning works: a machine over ssh, or a mounted card. Each runs the same script."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, Self

from fewbeats.deploy.machine import Machine
from fewbeats.deploy.openssh import Progress
from fewbeats.deploy.payload import Payload
from fewbeats.deploy.step import Told
from fewbeats.device.keys import PUBLIC_BYTES, SIGNATURE_BYTES, PublicKey
from fewbeats.errors import TargetError

OnStep = Callable[[Told], None]


@dataclass(frozen=True, slots=True)
class Held:
    """A bundle in one of a gateway's slots: the one that runs, or the one before.

    Attributes:
        sha256: of its file.
        signer: the public key that its file names, unchecked.
    """

    sha256: str
    signer: bytes

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The bundle whose file has these bytes."""
        signer = data[-PUBLIC_BYTES - SIGNATURE_BYTES : -SIGNATURE_BYTES]
        return cls(hashlib.sha256(data).hexdigest(), signer)


@dataclass(frozen=True, slots=True)
class Found:
    """What a place is before anything is done to it.

    Attributes:
        machine: its processor and Python.
        config: contents of its gateway.toml; None: it has none.
        keys: that it trusts already.
        has_bundle: whether one is installed.
        held: the bundles in its slots.
        prepared: a card that was prepared and awaits its first start.
    """

    machine: Machine
    config: str | None = None
    keys: tuple[PublicKey, ...] = field(default=())
    has_bundle: bool = False
    held: tuple[Held, ...] = ()
    prepared: bool = False

    @classmethod
    def told(cls, text: str) -> Self:
        """What ``PROBE`` has found out.

        Raises:
            TargetError: fewbeats cannot be installed there, or the answer makes no sense.
            KeyFileError: one of its keys cannot be read.
        """
        machine = Machine.told(text)
        try:
            content = json.loads(text)
            config, bundle, keys = content["config"], content["has_bundle"], dict(content["keys"])
            held = tuple(Held(str(sha256), bytes.fromhex(raw)) for sha256, raw in content["held"])
        except (ValueError, LookupError, TypeError) as error:
            raise TargetError(f"The gateway answers {text[:80]!r}, which tells nothing.") from error
        return cls(
            machine,
            None if config is None else str(config),
            tuple(PublicKey.parse(str(keys[name]).encode(), name) for name in sorted(keys)),
            bool(bundle),
            held,
        )


class Place(Protocol):
    """A machine that is to become a gateway, or to be one no more."""

    @property
    def later(self) -> bool:
        """Whether what is brought is done at the place's next start, not now."""

    def find(self) -> Found:
        """What is there, before anything is touched."""

    def look(self, script: str) -> list[Told]:
        """Which steps are done; nothing is touched."""

    def bring(self, payload: Payload, on_step: OnStep, progress: Progress | None = None) -> None:
        """Bring files, and go through their script; or leave that to the next start."""

    def carry_out(self, script: str, on_step: OnStep) -> None:
        """Go through a script that needs no files, now."""

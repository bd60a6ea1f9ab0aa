"""Where things lie on a gateway, or on its card mounted somewhere else."""

import os
from dataclasses import dataclass
from pathlib import Path

from fewbeats.errors import SlotError

SLOT_NAMES = ("a", "b")


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a gateway.

    Attributes:
        root: "/" on the gateway itself, the mounted root file system elsewhere.
    """

    root: Path = Path("/")

    @property
    def config(self) -> Path:
        """What the service is told."""
        return self.root / "etc/fewbeats/gateway.toml"

    @property
    def keys(self) -> Path:
        """Folder of the trusted public keys."""
        return self.root / "etc/fewbeats/keys"

    @property
    def home(self) -> Path:
        """Folder of all that changes while the gateway works."""
        return self.root / "var/lib/fewbeats"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder there is in which something of the home changes."""
        slots = [self.slot(name).parent for name in SLOT_NAMES]
        patients = sorted(self.patients.iterdir()) if self.patients.is_dir() else []
        every = (self.home.parent, self.home, self.home / "slots", *slots, self.patients, *patients)
        return tuple(path for path in every if path.is_dir())

    @property
    def running(self) -> Path:
        """What the service says of itself for as long as it lives."""
        return self.home / "running"

    @property
    def current(self) -> Path:
        """The link to the slot that runs."""
        return self.home / "current"

    @property
    def state(self) -> Path:
        """What is known of the bundles: which is good, which is on trial."""
        return self.home / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the one program that changes anything."""
        return self.home / "lock"

    @property
    def patients(self) -> Path:
        """Folder of the patients' heads, a folder each."""
        return self.home / "patients"

    def slot(self, name: str) -> Path:
        """The bundle's file in a slot."""
        return self.home / "slots" / name / "bundle.fewbeats"

    def check_inside(self) -> None:
        """See to it that links on a card lead nowhere out of it.

        On a gateway an absolute link may lead to another disk; on its card, mounted elsewhere,
        the same link leads into the files of the machine that it is mounted on.

        Raises:
            SlotError: one does.
        """
        root = Path(os.path.realpath(self.root))
        slots = (self.slot(name) for name in SLOT_NAMES)
        for path in (self.config, self.keys, self.home, self.patients, self.state, *slots):
            leads_to = Path(os.path.realpath(path))
            if not leads_to.is_relative_to(root):
                raise SlotError(
                    f"{path} leads out of {self.root}, to {leads_to}: nothing was read or "
                    f"changed. Make the link relative, or work on the gateway itself."
                )

    @staticmethod
    def link_text(name: str) -> str:
        """What the link ``current`` says when a slot runs."""
        return f"slots/{name}"

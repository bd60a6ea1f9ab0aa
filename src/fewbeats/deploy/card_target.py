"""A provisioned gateway's card, mounted here: the same slots, worked on from this machine.

The golden windows are proven by this machine; a bundle's trial begins at the card's next start.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewbeats.deploy.card import check_links
from fewbeats.deploy.openssh import Progress
from fewbeats.deploy.steps import SETUP_ENABLED
from fewbeats.device.keys import PublicKey
from fewbeats.device.layout import Layout
from fewbeats.device.slots import Slots, open_slots
from fewbeats.device.trust import readable_by_all, revoke, trust, trusted
from fewbeats.errors import TargetError


class CardTarget:
    """A gateway that is off, as far as its card tells; methods raise what the slots raise."""

    running = False

    def __init__(self, root: Path) -> None:
        """Name the card.

        Args:
            root: as ``card_root`` has checked it.

        Raises:
            TargetError: it is no gateway's card, or awaits its first start.
        """
        self._root = root
        self._layout = Layout(root)
        if (root / SETUP_ENABLED.lstrip("/")).is_symlink():
            raise TargetError(
                f"The card in {root} is prepared and awaits its first start, which installs its "
                f"first bundle. Start it once, or provision it again with another --bundle."
            )
        if not self._layout.config.is_file() or not self._layout.home.is_dir():
            raise TargetError(
                f"{root} is no gateway's card yet. Run: fewbeats provision dir:{root}"
            )

    def install(
        self, bundle: bytes, allow_downgrade: bool, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Put a bundle on trial from the card's next start on."""
        with self._slots() as slots:
            installed = slots.install(bundle, allow_downgrade)
        if progress:
            progress(len(bundle), len(bundle))
        return installed.as_dict()

    def status(self) -> dict[str, Any]:
        """What it runs, what it would fall back to, and whose heads fit."""
        return open_slots(self._root).status()

    def confirm(self) -> dict[str, Any]:
        """Keep the bundle that is on trial."""
        with self._slots() as slots:
            slots.confirm()
            return slots.status()

    def fall_back(self) -> dict[str, Any]:
        """Go back to the bundle before."""
        with self._slots() as slots:
            slots.fall_back("asked for on the card")
            return slots.status()

    def keys(self) -> dict[str, Any]:
        """The keys whose bundles it takes."""
        return trusted(open_slots(self._root))

    def trust(self, key: PublicKey) -> dict[str, Any]:
        """Take bundles of one more key."""
        with self._slots() as slots:
            trust(slots, key)
        return self.keys()

    def revoke(self, name: str, force: bool = False) -> dict[str, Any]:
        """Take no bundle of a key any more."""
        with self._slots() as slots:
            revoke(slots, name, force)
        return self.keys()

    @contextmanager
    def _slots(self) -> Iterator[Slots]:
        """The card's slots; what is written belongs to the card's service user afterwards.

        Raises:
            TargetError: this user may not write to the card.
        """
        check_links(self._root)
        home = self._layout.home
        if not os.access(home, os.W_OK | os.X_OK):
            raise TargetError(f"The card's {home} may not be written to: run this as root (sudo).")
        try:
            with readable_by_all():
                yield open_slots(self._root)
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give all of the state to whoever owns its folder: the service, by its number."""
        owner = self._layout.home.stat()
        if os.geteuid() != 0:
            return  # then the files are its own: nobody else could have written them
        try:
            for folder, folders, files in os.walk(self._layout.home):
                for name in (*folders, *files):
                    os.chown(Path(folder) / name, owner.st_uid, owner.st_gid, follow_symlinks=False)
        except OSError as error:
            raise TargetError(
                f"The card's files cannot be given to its service ({error.strerror}): run this "
                f"again, or it cannot write them."
            ) from error

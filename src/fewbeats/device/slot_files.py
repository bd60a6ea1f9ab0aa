"""The two slots as files: what lies in them, which one runs, and how a bundle gets there."""

import hashlib
import os
import shutil
from pathlib import Path

from fewbeats.device.backbone import installed_runtimes
from fewbeats.device.bundle import Bundle
from fewbeats.device.container import read_bundle
from fewbeats.device.files import make_folder, replace_link, write_atomically
from fewbeats.device.keys import Keyring
from fewbeats.device.layout import SLOT_NAMES, Layout
from fewbeats.errors import BundleError, SlotError

SPARE_BYTES = 2_000_000
"""What must stay free beside a new bundle: for patients' heads, the state, the journal."""

Mark = tuple[int, ...]
"""Changes whenever another bundle becomes current."""


class SlotFiles:
    """Slots, link, and the bundles that they hold."""

    def __init__(self, layout: Layout, keyring: Keyring, runtime: str | None) -> None:
        """Name the gateway.

        Args:
            layout: where it is.
            keyring: whose bundles may run.
            runtime: whose form to judge by; None: the first whose runtime is installed.
        """
        self._layout = layout
        self._keyring = keyring
        self._runtime = runtime

    def active(self) -> str | None:
        """The slot that ``current`` names; None where it names none."""
        try:
            text = self._layout.current.readlink().as_posix()
        except OSError:
            return None
        return next((n for n in SLOT_NAMES if text == self._layout.link_text(n)), None)

    def sha256(self, name: str | None) -> str | None:
        """Of the bytes in a slot; None where there are none that can be read."""
        try:
            return digest(self.read(name)) if name else None
        except BundleError:
            return None

    def slot_of(self, sha256: str | None, but: str | None = None) -> str | None:
        """The slot that holds a bundle, leaving one out."""
        names = [name for name in SLOT_NAMES if name != but]
        return next((name for name in names if sha256 and self.sha256(name) == sha256), None)

    def sound(self, name: str) -> Bundle | None:
        """The bundle in a slot if it may run here."""
        try:
            return self.load(name)
        except BundleError:
            return None

    def mark(self) -> Mark | None:
        """Which bundle is current, by its file's identity alone: cheap enough for every second."""
        name = self.active()
        if name is None:
            return None
        try:
            found = self._layout.slot(name).stat()
        except OSError:
            return None
        return (SLOT_NAMES.index(name), found.st_ino, found.st_mtime_ns, found.st_size)

    def load(self, name: str) -> Bundle:
        """The bundle in a slot: whole, signed by a trusted key, and proven on this machine.

        Whether the key has expired since is no matter: a watch does not end at midnight.

        Raises:
            BundleError: it is not.
        """
        bundle = self.opened(self.read(name), f"The bundle in slot {name}")
        bundle.backbone  # noqa: B018  loads the network and runs its golden windows
        return bundle

    def read(self, name: str) -> bytes:
        """The bytes in a slot, unchecked.

        Raises:
            BundleError: there are none that can be read.
        """
        return read_bundle(self._layout.slot(name))

    def opened(self, data: bytes, origin: str) -> Bundle:
        """A bundle that is whole and trusted, with the form for this machine, not yet proven.

        Raises:
            BundleError: it is not, or has no such form.
        """
        bundle = Bundle.unpack(data, origin, self._keyring)
        installed = installed_runtimes()
        wanted = installed if self._runtime is None else (self._runtime,)
        return bundle.on_any([runtime for runtime in wanted if runtime in installed], origin)

    def check_space(self, size_bytes: int) -> None:
        """See to it that a bundle will fit before anything is changed.

        Raises:
            SlotError: it would not.
        """
        free = shutil.disk_usage(self._layout.home).free
        needed = size_bytes + SPARE_BYTES
        if free < needed:
            raise SlotError(
                f"The gateway's disk has {free / 1e6:.1f} MB free and the bundle needs "
                f"{needed / 1e6:.1f} MB; nothing was changed. Make room and try again."
            )

    def write(self, name: str, data: bytes) -> None:
        """Put a bundle into a slot, durably, and read it back from the disk.

        Raises:
            SlotError: it cannot be written, or the disk gives other bytes back.
        """
        path = self._layout.slot(name)
        try:
            make_folder(path.parent)
            write_atomically(path, data, 0o644)
        except OSError as error:
            raise SlotError(
                f"Cannot write the bundle to {path}: {error.strerror}. The old bundle still runs."
            ) from error
        _forget_cached(path)
        if read_bundle(path) != data:
            raise SlotError(
                f"The disk gives other bytes back than were written to {path}: it is failing. "
                f"The bundle will not run; replace the card."
            )

    def point(self, name: str) -> None:
        """Let a slot be the current one, in one step.

        Raises:
            SlotError: the link cannot be changed.
        """
        try:
            replace_link(self._layout.current, self._layout.link_text(name))
        except OSError as error:
            raise SlotError(
                f"Cannot switch {self._layout.current} to slot {name}: {error.strerror}."
            ) from error


def _forget_cached(path: Path) -> None:
    """Drop a synced file from the page cache, so that reading it asks the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def digest(data: bytes) -> str:
    """SHA-256 of a bundle's file, by which the state knows it."""
    return hashlib.sha256(data).hexdigest()

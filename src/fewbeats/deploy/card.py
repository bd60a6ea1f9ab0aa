"""A card's root file system, mounted here: what must be so before anything on it is touched."""

import os
import re
from pathlib import Path

from fewbeats.errors import TargetError

SCHEME = "dir:"
_FAT = frozenset({"vfat", "msdos", "exfat", "fuseblk", "ntfs", "ntfs3"})
_OWN_PLACES = (
    "etc/fewbeats/keys",
    "etc/systemd/system/multi-user.target.wants",
    "etc/udev/rules.d",
    "opt/fewbeats/releases",
    "opt/fewbeats/setup",
    "usr/bin",
    "var/lib/fewbeats/patients",
    "var/lib/fewbeats/slots/a",
    "var/lib/fewbeats/slots/b",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/gshadow",
)
"""These, or files in them, are everything that is read or written on a card."""
_OWN_TREES = ("etc/fewbeats", "var/lib/fewbeats")
_ESCAPE = re.compile(r"\\([0-7]{3})")
MOUNTS = Path("/proc/self/mounts")


def card_root(address: str) -> Path:
    """The folder that a ``dir:`` address names, which is a Linux root file system.

    Raises:
        TargetError: it is missing, an image's file, another file system, or has links that lead
            out of it: what is written there would end up on this machine.
    """
    text = address.removeprefix(SCHEME)
    path = Path("/" + text.lstrip("/") if text.startswith("/") else text)
    if not text or "\0" in text:
        raise TargetError(
            "dir: names no folder; give the card's mounted root: dir:/media/pi/rootfs."
        )
    if path.is_file() or path.is_block_device():
        raise TargetError(
            f"{path} is an image or a disk, not a mounted folder. Mount its second partition "
            f"first: sudo losetup --find --partscan --show {path}, then sudo mount "
            f"/dev/loopNp2 /mnt (of a disk: sudo mount {path}2 /mnt), then give dir:/mnt."
        )
    if not path.is_dir():
        raise TargetError(f"There is no folder {path}: put the card in and mount it.")
    root = path.resolve()
    if root == Path("/"):
        raise TargetError("dir:/ is this machine itself; give the folder where a card is mounted.")
    kind = file_system_of(root)
    if kind in _FAT or (root / "cmdline.txt").exists():
        raise TargetError(
            f"{root} is the card's start-up partition ({kind}), which cannot hold a gateway: give "
            f"the folder of its second partition, usually called rootfs."
        )
    if not all((root / name).is_dir() for name in ("etc", "usr/bin", "var")):
        raise TargetError(
            f"{root} is no Linux root file system (etc, usr/bin or var is missing): give the "
            f"folder where the card's root partition is mounted."
        )
    check_links(root)
    return root


def check_links(root: Path) -> None:
    """See to it that nothing that fewbeats touches on a card leads out of it.

    Raises:
        TargetError: a link does.
    """
    for name in _OWN_PLACES:
        place = root / name
        for step in (place, *place.parents):
            if step == root:
                break
            _check_link(step, root)
    waiting, seen = [root / tree for tree in _OWN_TREES], set[Path]()
    while waiting:
        tree = waiting.pop()
        if tree.resolve() in seen:
            continue
        seen.add(tree.resolve())
        for folder, folders, files in os.walk(tree, onerror=_cannot_look):
            for path in (Path(folder) / name for name in (*folders, *files)):
                if path.is_symlink():
                    _check_link(path, root)
                    waiting += [path] if path.is_dir() else []


def _check_link(path: Path, root: Path) -> None:
    if not path.is_symlink():
        return
    try:
        within = path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # links in a circle
        within = False
    if not within:
        raise TargetError(
            f"On the card, {path.relative_to(root)} is a link to {path.readlink()}, which leads "
            f"out of {root} on this machine, or in a circle. Nothing was touched; make it a "
            f"relative link or a folder."
        )


def _cannot_look(error: OSError) -> None:
    """Refuse what cannot be looked through; a folder that is missing is none to look through.

    Raises:
        TargetError: it is there.
    """
    if not isinstance(error, FileNotFoundError):
        raise TargetError(
            f"Cannot look for links in {error.filename} ({error.strerror}); run this as root "
            f"(sudo)."
        ) from error


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str:
    """The kind of the file system that a folder is on; empty where the system does not say."""
    if not mounts.exists():
        return ""
    best, kind = Path("/"), ""
    for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, place, found, *_ = line.split(" ")
        point = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), place))
        if path.is_relative_to(point) and point.is_relative_to(best):
            best, kind = point, found
    return kind

"""What a gateway does to its disk: each operation with the gateway that it starts from."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from faults.bundles import (
    KEY,
    SECOND,
    calibration,
    packed,
    packed_retuned,
    without_windows,
)
from faults.disk import Tree, read_tree, write_tree
from fewbeats.device.layout import Layout
from fewbeats.device.slot_files import digest
from fewbeats.device.slots import open_slots
from fewbeats.device.trust import revoke, trust
from fewbeats.errors import KeyFileError

Act = Callable[[Path], object]
FIRST, SAME, OTHER, LATER = ("1.0", 5), ("1.1", 5), ("1.2", 6), ("1.3", 7)
"""Versions and seeds of bundles: SAME has FIRST's backbone, OTHER and LATER have their own."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        name: for the table.
        before: makes the gateway that it starts from, at an empty root.
        act: what is done.
        again: what is done after a kill in the middle of it; by default the same.
        chooses: whether a start in the middle of it may choose another bundle than the link says,
            because there was none, or the current one is being given up.
    """

    name: str
    before: Act
    act: Act
    again: Act
    chooses: bool = False


def room() -> tempfile.TemporaryDirectory[str]:
    """A place for gateways; in memory where that can be had, for their syncs cost nothing there."""
    memory = Path("/dev/shm")  # noqa: S108  a folder of its own is made in it
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


@cache
def tree_before(operation: Operation) -> Tree:
    """The gateway that an operation starts from."""
    with room() as folder:
        operation.before(Path(folder))
        return read_tree(Path(folder))


def gateway(tree: Tree, folder: str, name: str) -> Path:
    """A gateway as a tree says, in a folder."""
    return write_tree(tree, Path(folder) / name)


def bare(root: Path) -> None:
    """A gateway without a bundle, in production."""
    layout = Layout(root)
    layout.keys.mkdir(parents=True)
    layout.home.mkdir(parents=True)
    layout.config.write_text('mode = "production"\n')
    KEY.public.save(layout.keys / "ward.pub")


def install(which: tuple[str, int], allow_downgrade: bool = False) -> Act:
    """Install one of the bundles."""
    return lambda root: open_slots(root).install(packed(*which), allow_downgrade)


def start(root: Path) -> object:
    """Start the service's bundle."""
    return open_slots(root).start()


def confirm(root: Path) -> object:
    """Confirm the current bundle."""
    return open_slots(root).confirm()


def calibrate(code: str, which: tuple[str, int], wearer: int) -> Act:
    """Keep a patient's new calibration."""
    return lambda root: open_slots(root).keep_calibration(code, calibration(*which, wearer))


def confirmed(root: Path) -> None:
    """A gateway whose first bundle is confirmed."""
    bare(root)
    for act in (install(FIRST), start, confirm):
        act(root)


def watched(root: Path) -> None:
    """As ``confirmed``, with a patient who is calibrated, and one whose windows were not kept."""
    confirmed(root)
    calibrate("p1", FIRST, 1)(root)
    open_slots(root).keep_calibration("p2", without_windows(calibration(*FIRST, 2)))


def installed(root: Path) -> None:
    """As ``watched``, with another bundle that was never started."""
    watched(root)
    install(OTHER)(root)


def on_trial(root: Path) -> None:
    """As ``installed``, with the trial begun."""
    installed(root)
    start(root)


def updated(root: Path) -> None:
    """As ``on_trial``, with the trial confirmed."""
    on_trial(root)
    confirm(root)


def worn_out(root: Path) -> None:
    """As ``on_trial``, with no start left."""
    on_trial(root)
    for _ in range(2):
        start(root)


def with_two_keys(root: Path) -> None:
    """As ``confirmed``, with a second key that is trusted."""
    confirmed(root)
    trust(open_slots(root), SECOND.public)


def _install_retuned(root: Path) -> object:
    return open_slots(root).install(packed_retuned(*SAME))


def _fall_back(root: Path) -> object:
    return open_slots(root).fall_back("tried out")


def _trust(root: Path) -> object:
    return trust(open_slots(root), SECOND.public)


def _revoke(root: Path) -> object:
    return revoke(open_slots(root), SECOND.public.name)


def _revoke_again(root: Path) -> None:
    with suppress(KeyFileError):  # says that no such key is trusted any more
        _revoke(root)


def _count_back(root: Path) -> object:
    return open_slots(root).count(digest(packed(*OTHER)), -1)


def operation(
    name: str, before: Act, act: Act, again: Act | None = None, chooses: bool = False
) -> Operation:
    """An operation that is repeated after a kill unless something else is named."""
    return Operation(name, before, act, again or act, chooses)


OPERATIONS = (
    operation("first install", bare, install(FIRST), chooses=True),
    operation("install, same backbone", watched, install(SAME)),
    operation("install, same backbone, other windows", watched, _install_retuned),
    operation("install with re-fit", watched, install(OTHER)),
    operation("install over a trial", on_trial, install(LATER)),
    operation("install after a confirmation", updated, install(LATER)),
    operation(
        "install the last good one again",
        on_trial,
        install(FIRST, allow_downgrade=True),
        chooses=True,
    ),
    operation("activate: start on trial", installed, start),
    operation("activate: first start", lambda root: (bare(root), install(FIRST)(root)), start),
    operation("fall back by itself", worn_out, start, chooses=True),
    operation("fall back when asked", on_trial, _fall_back, again=start, chooses=True),
    operation("fall back from a confirmed one", updated, _fall_back, again=start, chooses=True),
    operation("count a start back", on_trial, _count_back, again=start),
    operation("confirm", on_trial, confirm),
    operation("calibrate a patient", confirmed, calibrate("p1", FIRST, 1)),
    operation("calibrate a patient again", watched, calibrate("p1", FIRST, 3)),
    operation("calibrate during a trial", on_trial, calibrate("p1", OTHER, 3)),
    operation("trust a key", confirmed, _trust),
    operation("revoke a key", with_two_keys, _revoke, _revoke_again),
)

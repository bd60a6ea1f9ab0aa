"""The model's check: a real process, really killed in the middle of its installs."""

import itertools
import multiprocessing
import random
import time
from multiprocessing.synchronize import Event
from pathlib import Path

from faults.bundles import packed
from faults.disk import read_tree
from faults.operations import FIRST, OTHER, gateway, operation, room, tree_before, watched
from faults.outcome import BrokenError, goes_on, holds, outcome_of
from faults.rows import POWER, Row
from fewbeats.device.layout import Layout
from fewbeats.device.slot_files import digest
from fewbeats.device.slot_state import State
from fewbeats.device.slots import open_slots
from fewbeats.errors import SlotError

WATCHED = operation("kills", watched, lambda root: None)
LONGEST_S = 0.15


def install_for_ever(root: str, bundles: tuple[bytes, ...], begun: Event) -> None:
    """Install, start and confirm one bundle after the other until somebody ends it."""
    for data in itertools.cycle(bundles):
        slots = open_slots(Path(root))
        slots.install(data, allow_downgrade=True)
        begun.set()
        slots.start()
        slots.confirm()


def kills(count: int, seed: int = 0) -> Row:
    """Kill a process that installs, ``count`` times, each time a little later or earlier."""
    row, rng = Row(POWER, "kill -9 of a real process"), random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["faults.killing", "onnxruntime"])
    bundles = (packed(*OTHER), packed(*FIRST))
    with room() as folder:
        root = gateway(tree_before(WATCHED), folder, "gateway")
        for number in range(count):
            begun = context.Event()
            process = context.Process(target=install_for_ever, args=(str(root), bundles, begun))
            process.start()
            begun.wait(timeout=30)
            time.sleep(rng.uniform(0, LONGEST_S))
            process.kill()
            process.join()
            row.points += 1
            row.cases += 1
            row.judge(f"kill {number}", _found, root, folder, number, bundles)
    return row


def _found(root: Path, folder: str, number: int, bundles: tuple[bytes, ...]) -> str:
    copy = gateway(read_tree(root), folder, f"killed{number}")
    try:
        good = State.read(Layout(copy).state).good
    except SlotError as error:
        raise BrokenError(f"the state is lost: {error}") from error
    outcome = outcome_of(copy)
    if outcome.bundle not in [digest(data) for data in bundles]:
        raise BrokenError(f"it runs {outcome}")
    if not any(who == "p1" for who, *_ in outcome.heads):
        raise BrokenError(f"a patient's head is lost: {outcome}")
    if not holds(copy, good):
        raise BrokenError("the last known good bundle is lost")
    goes_on(copy)
    return "old" if outcome.bundle == digest(bundles[1]) else "new"

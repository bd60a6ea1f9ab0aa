"""Refusals for which the bundle is not to blame: the day, the connection, somebody else."""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from unittest.mock import patch

from faults.bundles import ENDED, packed
from faults.disk import Tree
from faults.failing import one_sentence
from faults.operations import OTHER, gateway, room, tree_before
from faults.outcome import BrokenError, goes_on, outcome_of
from faults.refusals import WATCHED, good, without_lock
from faults.rows import REFUSAL, Row
from fewbeats.cli.gateway_slots import install_bundle
from fewbeats.device.files import only_one
from fewbeats.device.keys import PublicKey, SigningKey
from fewbeats.device.layout import Layout
from fewbeats.device.slot_files import digest
from fewbeats.device.slots import open_slots
from fewbeats.errors import SignatureError, SlotError, TargetLostError

Act = Callable[[], object]
LAST_DAY = date(2099, 12, 31)
ENDING = SigningKey.generate("ending", LAST_DAY)


def expired_key() -> Row:
    """A key that is trusted, on the days after its last one."""
    row = Row(REFUSAL, "expired key")
    with room() as folder:
        root = _trusting(folder, ENDED.public, ENDING.public)
        before = without_lock(root)
        cases = (
            ("ended long ago", ENDED, None),
            ("ended yesterday", ENDING, LAST_DAY + timedelta(1)),
            ("ended a year ago", ENDING, LAST_DAY + timedelta(365)),
        )
        for story, key, today in cases:
            row.points += 1
            row.cases += 1
            act: Act = partial(open_slots(root).install, packed(*OTHER, key), today=today)
            row.judge(story, _refused, SignatureError, act, root, before)
        row.points += 1
        row.cases += 1
        data = packed(*OTHER, ENDING)
        act = partial(open_slots(root).install, data, today=LAST_DAY)
        row.judge("on its last day", _taken, act, root, data)
    return row


def two_at_once() -> Row:
    """Whatever changes the gateway, while another program is at it."""
    row = Row(REFUSAL, "two installs at once")
    with room() as folder:
        root = gateway(tree_before(WATCHED), folder, "gateway")
        before, slots = without_lock(root), open_slots(root)
        acts = {"install": lambda: slots.install(good()), "confirm": slots.confirm}
        for story, act in acts.items():
            row.points += 1
            row.cases += 1
            with only_one(Layout(root).lock):
                row.judge(story, _refused, SlotError, act, root, before)
        row.points += 1
        row.cases += 1
        row.judge("after both", _taken, acts["install"], root, good())
    return row


def lost_connection(every: int = 1) -> Row:
    """Standard input that ends before all announced bytes came, at every length."""
    row, data = Row(REFUSAL, "lost connection half-way"), good()
    with room() as folder:
        root = gateway(tree_before(WATCHED), folder, "gateway")
        before = without_lock(root)
        for length in range(0, len(data), every):
            row.points += 1
            row.cases += 1
            act = partial(_install_from_input, root, data[:length], data)
            story = f"{length} of {len(data)} bytes came"
            row.judge(story, _refused, TargetLostError, act, root, before)
        row.points += 1
        row.cases += 1
        act = partial(_install_from_input, root, data, data)
        row.judge("all bytes came", _taken, act, root, data)
    return row


def _install_from_input(root: Path, sent: bytes, announced: bytes) -> None:
    came = io.TextIOWrapper(io.BytesIO(sent))
    with patch("sys.stdin", came), redirect_stdout(io.StringIO()):
        install_bundle(root, "-", len(announced), digest(announced), False, True)


def _trusting(folder: str, *keys: PublicKey) -> Path:
    root = gateway(tree_before(WATCHED), folder, "gateway")
    for key in keys:
        key.save(Layout(root).keys / f"{key.name}.pub")
    return root


def _refused(error: type[Exception], act: Act, root: Path, before: Tree) -> str:
    """What is done is refused with an error, in one sentence, and changes nothing."""
    try:
        act()
    except error as refusal:
        one_sentence(str(refusal))
    else:
        raise BrokenError("it was not refused")
    if without_lock(root) != before:
        raise BrokenError("refused, and yet something was changed")
    return "refused"


def _taken(act: Act, root: Path, data: bytes) -> str:
    """What is done lets a bundle be the one that runs."""
    act()
    if outcome_of(root).bundle != digest(data):
        raise BrokenError("it was taken and does not run")
    goes_on(root)
    return "new"

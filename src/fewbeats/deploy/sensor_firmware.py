"""New firmware for a sensor, such that one that does not work is gone after the next start.

MCUboot has two slots. The new image goes to the one that does not run, is marked for one test
start, and proves itself by coming up and answering; only then is it confirmed. Whatever goes
wrong before, the sensor runs what it ran: MCUboot swaps back an image that nobody confirmed.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from smp.image_management import ImageState

from fewbeats.deploy.mcuboot_image import FirmwareImage
from fewbeats.deploy.sensor_link import Address, SensorLink
from fewbeats.errors import FirmwareError, TargetError, TargetLostError

Connect: TypeAlias = Callable[[Address], SensorLink]
Report: TypeAlias = Callable[["Stage", int, int], None]
"""Told (stage, done, total): bytes while sending, seconds while waiting."""

UNTOUCHED: Final = "The firmware that the sensor runs is untouched."
MARKED: Final = "The new firmware is marked for a test, which its next start begins."
GO_ON: Final = "Run the same command again: it goes on where the sensor is."


class Stage(StrEnum):
    """What is being done, as a screen may call it."""

    SENDING = "sending"
    STARTING = "waiting for the new firmware"
    PROVING = "watching it"


class Outcome(StrEnum):
    """What an update came to."""

    UPDATED = "updated"
    CONFIRMED = "confirmed"
    """It ran already, on trial; now it stays."""
    UNCHANGED = "unchanged"
    """It ran already, for good."""


@dataclass(frozen=True, slots=True)
class Update:
    """What was done, for people and scripts."""

    outcome: Outcome
    old_version: str
    old_hash: bytes
    sent_bytes: int = 0
    """0 where the sensor had the whole image already; less than all where it went on."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the test start may take."""

    settle_s: float = 5.0
    """After a reset: some bootloaders take early bytes for a wish to stay in recovery."""
    return_s: float = 180.0
    """Swapping the slots of a large microcontroller takes a minute."""
    steady_s: float = 5.0
    """How long new firmware must answer before it is confirmed."""
    poll_s: float = 1.0
    longest_pause_s: float = 4.0


async def update_sensor(
    address: Address,
    image: FirmwareImage,
    report: Report = lambda *_: None,
    patience: Patience = Patience(),
    connect: Connect = SensorLink,
) -> Update:
    """Bring a sensor to an image, from whatever state an earlier try has left.

    Args:
        address: where the sensor is.
        image: what it should run.
        report: told of progress.
        patience: how long it may take to come back.
        connect: makes a link to an address.

    Raises:
        TargetLostError: the connection broke; the message says what the sensor runs.
        FirmwareError: the sensor refuses the image, or the image does not come up.
        TargetError: no sensor is there, or what answers is none.
    """
    async with connect(address) as link:
        with _meaning(UNTOUCHED, GO_ON):
            images = await link.images()
        running, ours = _running(images), _find(images, image)
        if ours is not None and ours.active:
            if ours.confirmed:
                return Update(Outcome.UNCHANGED, running.version, _hash(running))
            before = next((other for other in images if other != ours), ours)
            outcome = Update(Outcome.CONFIRMED, before.version, _hash(before))
        else:
            with _meaning(UNTOUCHED, GO_ON):
                sent_bytes = await _place(link, image, running, ours, report)
            outcome = Update(Outcome.UPDATED, running.version, _hash(running), sent_bytes)
            with _meaning(MARKED, GO_ON):
                await _reset(link)
            report(Stage.STARTING, 0, round(patience.return_s))
    if outcome.outcome is Outcome.UPDATED:
        await asyncio.sleep(patience.settle_s)
    await _prove(address, image, report, patience, connect)
    return outcome


async def _place(
    link: SensorLink,
    image: FirmwareImage,
    running: ImageState,
    ours: ImageState | None,
    report: Report,
) -> int:
    """Get the image into the other slot and marked for a test; the bytes that it took."""
    if not running.confirmed:
        raise FirmwareError(
            f"The sensor runs firmware {running.version} on trial, and its other slot holds what "
            f"it would go back to. Reset it to go back, or flash that version again to confirm "
            f"it; then flash this one."
        )
    sent_bytes = 0
    if ours is None:
        sent_bytes = await _send(link, image, report)
        ours = _find(await link.images(), image)
    if ours is None:
        raise FirmwareError(
            f"The sensor took every byte of the image, but has none with its hash "
            f"{image.hash.hex()[:16]}: what it wrote is not what was sent. Try again; if it "
            f"comes again, its flash is worn or its bootloader another."
        )
    if not ours.pending:
        await link.mark_for_test(image.hash)
    return sent_bytes


async def _send(link: SensorLink, image: FirmwareImage, report: Report) -> int:
    """The bytes that it took: fewer than all where the sensor had a part already."""
    total_bytes = len(image.data)
    had_bytes = None
    report(Stage.SENDING, 0, total_bytes)
    async with aclosing(link.upload(image.data)) as offsets:
        async for offset in offsets:
            if had_bytes is None:  # a sensor without a part is not further than the first block
                had_bytes = offset if offset > link.largest_block_bytes else 0
            report(Stage.SENDING, offset, total_bytes)
    return total_bytes - (had_bytes or 0)


async def _reset(link: SensorLink) -> None:
    """Reset; a sensor that is gone before it has answered has done what it was told."""
    with suppress(TargetLostError):
        await link.reset()


async def _prove(
    address: Address, image: FirmwareImage, report: Report, patience: Patience, connect: Connect
) -> None:
    """Wait for the image, watch it for a while, confirm it, and read that back.

    What is lost here is waited for: a sensor that starts anew goes away from its port, and one
    whose new firmware fails comes back with the old.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + patience.return_s
    pause_s = patience.poll_s
    last: TargetError | None = None
    while loop.time() < deadline_s:
        try:
            async with connect(address) as link:
                last = None
                if await _watch(link, image, report, patience, deadline_s):
                    return
        except FirmwareError:
            raise
        except TargetError as error:
            last = error
        waited_s = round(loop.time() - deadline_s + patience.return_s)
        report(Stage.STARTING, waited_s, round(patience.return_s))
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, patience.longest_pause_s)
    raise TargetLostError(
        f"The sensor did not come back with the new firmware within {patience.return_s:.0f} s "
        f"({last or 'the test start is still to come'}). Nothing is confirmed: take its supply "
        f"away and give it back, and MCUboot returns to the old firmware. Then {GO_ON.lower()}"
    ) from last


async def _watch(
    link: SensorLink, image: FirmwareImage, report: Report, patience: Patience, deadline_s: float
) -> bool:
    """Whether the image ran long enough and is confirmed; False: the reset is still to come."""
    loop = asyncio.get_running_loop()
    since_s = loop.time()
    while True:
        images = await link.images()
        ours = _find(images, image)
        if ours is None or not ours.active:
            if ours is not None and ours.pending and loop.time() < deadline_s:
                return False
            raise FirmwareError(
                f"The sensor runs its old firmware {_running(images).version}: the new one did "
                f"not start, or failed and MCUboot swapped back. Is the image made for this "
                f"board, and signed with the key that its bootloader knows?"
            )
        steady_s = min(loop.time() - since_s, patience.steady_s)
        report(Stage.PROVING, round(steady_s), round(patience.steady_s))
        if ours.confirmed or steady_s == patience.steady_s:
            break
        await asyncio.sleep(min(patience.poll_s, patience.steady_s))
    if not ours.confirmed:
        with _meaning("The new firmware runs on trial: the next reset brings the old one back."):
            await link.confirm(image.hash)
            kept = _find(await link.images(), image)
            if kept is None or not (kept.active and kept.confirmed):
                raise FirmwareError("The sensor was told to keep the new firmware, and does not.")
    return True


def _find(images: tuple[ImageState, ...], image: FirmwareImage) -> ImageState | None:
    """The slot that holds an image; where both do, the one that runs."""
    same = [state for state in images if state.hash == image.hash]
    return max(same, key=lambda state: bool(state.active), default=None)


def _running(images: tuple[ImageState, ...]) -> ImageState:
    for state in images:
        if state.active:
            return state
    raise FirmwareError(
        "The sensor does not say which firmware it runs: it may be in its bootloader's recovery. "
        "Reset it, or program it with a debug probe."
    )


def _hash(state: ImageState) -> bytes:
    return state.hash or b""


@contextmanager
def _meaning(*sentences: str) -> Iterator[None]:
    """Say with a lost connection or a refusal what it means for the sensor."""
    try:
        yield
    except (TargetLostError, FirmwareError) as error:
        raise type(error)(" ".join((str(error), *sentences))) from error

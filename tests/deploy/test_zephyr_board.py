"""The same against an SMP server and a bootloader that are not ours: Zephyr and MCUboot."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fewbeats.deploy.mcuboot_image import FirmwareImage
from fewbeats.deploy.sensor_firmware import Outcome, Patience, Update, update_sensor
from fewbeats.deploy.sensor_link import SensorLink, SerialPort
from fewbeats.errors import FirmwareError, TargetLostError

from . import zephyr_board as zephyr

PATIENCE = Patience(settle_s=0.5, return_s=90, steady_s=0.5, poll_s=0.25, longest_pause_s=0.5)


@pytest.fixture(scope="module")
def firmware() -> dict[str, Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    try:
        return zephyr.fetch(cache / "fewbeats" / "zephyr-board")
    except zephyr.UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def flash(tmp_path_factory: pytest.TempPathFactory, firmware: dict[str, Path]) -> Path:
    return zephyr.started(tmp_path_factory.mktemp("board"), firmware["merged.hex"])


@pytest.fixture
def board(tmp_path: Path, flash: Path) -> Iterator[Any]:
    board = zephyr.Board(tmp_path, flash)
    yield board
    board.end()


@pytest.fixture(scope="module")
def shipped(firmware: dict[str, Path]) -> FirmwareImage:
    return FirmwareImage.load(firmware["signed.bin"])


def address(board: Any) -> SerialPort:
    """With frames of two lines: Zephyr keeps two, and the emulated UART does not wait for it."""
    return SerialPort(str(board.port), buffer_bytes=184)


def update(board: Any, image: FirmwareImage) -> Update:
    return asyncio.run(update_sensor(address(board), image, patience=PATIENCE))


def slots(board: Any) -> dict[str, tuple[bool, bool]]:
    async def ask() -> dict[str, tuple[bool, bool]]:
        async with SensorLink(address(board)) as link:
            images = await link.images()
        return {i.version: (bool(i.active), bool(i.confirmed)) for i in images}

    return asyncio.run(ask())


def test_lost_half_way_gone_on_with_swapped_by_mcuboot_and_kept(
    board: Any, shipped: FirmwareImage
) -> None:
    assert update(board, shipped) == Update(Outcome.UNCHANGED, "0.0.0", shipped.hash)

    image = FirmwareImage.parse(zephyr.other_version(shipped.data))
    board.cut_after(30_000)
    with pytest.raises(TargetLostError, match="untouched"):
        update(board, image)
    while not board.port.exists():
        time.sleep(0.1)
    assert slots(board) == {"0.0.0": (True, True)}

    done = update(board, image)
    assert (done.outcome, done.old_version) == (Outcome.UPDATED, "0.0.0")
    assert 0 < done.sent_bytes < len(image.data) - 15_000
    assert board.resets == 1
    assert slots(board)["0.0.1"] == (True, True)
    assert update(board, image).outcome is Outcome.UNCHANGED


@pytest.mark.skipif(
    os.environ.get("FEWBEATS_EMULATION") != "1",
    reason="FEWBEATS_EMULATION is not 1: two more swaps on an emulated board (make emulation)",
)
def test_firmware_that_crashes_is_swapped_back_by_mcuboot(
    board: Any, shipped: FirmwareImage
) -> None:
    crashing = FirmwareImage.parse(zephyr.other_version(shipped.data, zephyr.RESETS_AT_ONCE))
    with pytest.raises(FirmwareError, match=r"runs its old firmware 0\.0\.0.*swapped back"):
        update(board, crashing)
    assert board.resets == 2
    assert slots(board)["0.0.0"] == (True, True)


def test_an_image_for_a_larger_board_is_refused_by_zephyr(
    board: Any, shipped: FirmwareImage
) -> None:
    large = FirmwareImage.parse(zephyr.other_version(shipped.data, bytes(200_000)))
    with pytest.raises(FirmwareError, match=r"SMP error \d+ of group 1.*untouched"):
        update(board, large)
    assert slots(board) == {"0.0.0": (True, True)}

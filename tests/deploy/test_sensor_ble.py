"""New firmware for a sensor over Bluetooth: real GATT, notifications, lost links, new starts."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from bumble.link import LocalLink

from fewbeats.deploy.mcuboot_image import FirmwareImage
from fewbeats.deploy.sensor_firmware import Outcome, Patience, Stage, Update, update_sensor
from fewbeats.deploy.sensor_link import BleDevice, SensorLink, find_address
from fewbeats.errors import FirmwareError, TargetError, TargetLostError

from .smp_sensor import Sensor, make_image
from .virtual_ble import HEADER_BYTES, BleSensor, in_the_air

OLD = FirmwareImage.parse(make_image((1, 0, 0)))
NEW = FirmwareImage.parse(make_image((1, 1, 0)))
BATTERY = "0000180f-0000-1000-8000-00805f9b34fb"
BY_NAME, BY_ADDRESS = BleDevice("HeartPatch"), find_address("ble://c0:ff:ee:00:11:22")
QUICK = Patience(settle_s=0.1, return_s=6, steady_s=0.2, poll_s=0.1, longest_pause_s=0.2)

Meet = Callable[..., None]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewbeats.deploy.sensor_link.BLE_OPEN_S", 1.0)


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Meet:
    """Run a scenario with a sensor in reach, and another device that is none of ours."""

    def run(
        scenario: Callable[[BleSensor], Coroutine[Any, Any, None]],
        mtu: int = 247,
        wants_pairing: bool = False,
        **faults: object,
    ) -> None:
        def other(link: LocalLink) -> BleSensor:
            silent = Sensor(OLD.data, {})
            return BleSensor(link, silent, "Watch", "C0:FF:EE:99:99:99", service=BATTERY)

        def ours(link: LocalLink) -> BleSensor:
            sensor = Sensor(OLD.data, faults)
            return BleSensor(link, sensor, mtu=mtu, wants_pairing=wants_pairing)

        async def meeting() -> None:
            async with in_the_air(monkeypatch, other, ours) as (_, sensor):
                await scenario(sensor)

        asyncio.run(meeting())

    return run


update = partial(update_sensor, image=NEW, patience=QUICK)


async def slots() -> dict[str, tuple[bool, bool]]:
    """version -> (runs, is confirmed), as the sensor tells it."""
    async with SensorLink(BY_NAME) as link:
        return {i.version: (bool(i.active), bool(i.confirmed)) for i in await link.images()}


@pytest.mark.parametrize(
    ("address", "mtu"), [(BY_NAME, 23), (BY_NAME, 247), (BY_ADDRESS, 247), (BY_ADDRESS, 517)]
)
def test_sent_in_pieces_of_the_mtu_tried_kept_and_not_sent_again(
    meet: Meet, address: BleDevice, mtu: int
) -> None:
    async def scenario(sensor: BleSensor) -> None:
        told: list[tuple[Stage, int, int]] = []
        done = await update(address, report=lambda *what: told.append(what))
        assert done == Update(Outcome.UPDATED, "1.0.0", OLD.hash, len(NEW.data))
        assert sensor.starts == 2, "reset once, and advertises again"
        assert sensor.largest_write_bytes == min(mtu - HEADER_BYTES, 512)
        assert sensor.largest_notification_bytes <= mtu - HEADER_BYTES
        offsets = [done for stage, done, _ in told if stage is Stage.SENDING]
        assert offsets == sorted(offsets)
        assert offsets[-1] == len(NEW.data)
        assert {stage for stage, _, _ in told} == set(Stage)
        assert await slots() == {"1.1.0": (True, True), "1.0.0": (False, False)}
        assert await update(address) == Update(Outcome.UNCHANGED, "1.1.0", NEW.hash)
        assert sensor.starts == 2

    meet(scenario, mtu)


def test_a_lost_link_leaves_the_old_and_the_next_run_goes_on(meet: Meet) -> None:
    async def scenario(sensor: BleSensor) -> None:
        with pytest.raises(TargetLostError, match=r"broke.*untouched.* Run the same command again"):
            await update(BY_NAME)
        assert await slots() == {"1.0.0": (True, True)}
        done = await update(BY_NAME)
        assert done.outcome is Outcome.UPDATED
        assert 0 < done.sent_bytes <= len(NEW.data) - 3000
        assert await slots() == {"1.1.0": (True, True), "1.0.0": (False, False)}
        assert sensor.starts == 3

    meet(scenario, cut_at=3000)


def test_a_sensor_that_stays_away_is_given_up(meet: Meet) -> None:
    async def scenario(_: BleSensor) -> None:
        with pytest.raises(TargetLostError, match=r"did not come back.*in reach.*take its supply"):
            await update(BY_NAME, patience=Patience(0.1, 1, 0.2, 0.2, 0.2))

    meet(scenario, stays_away=True)


def test_a_sensor_that_is_gone_before_it_answers_the_reset(meet: Meet) -> None:
    async def scenario(_: BleSensor) -> None:
        assert (await update(BY_NAME)).outcome is Outcome.UPDATED

    meet(scenario, resets_without_answer=True)


def test_firmware_that_crashes_while_it_is_watched_is_not_kept(meet: Meet) -> None:
    async def scenario(sensor: BleSensor) -> None:
        with pytest.raises(FirmwareError, match=r"runs its old firmware 1\.0\.0.*swapped back"):
            await update(BY_NAME)
        assert sensor.starts == 3
        assert (await slots())["1.0.0"] == (True, True)

    meet(scenario, crashes_after_reads=2)


def test_messages_that_get_lost_are_sent_again(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewbeats.deploy.sensor_link.ANSWER_S", 0.3)

    async def scenario(_: BleSensor) -> None:
        assert (await update(BY_NAME)).outcome is Outcome.UPDATED

    meet(scenario, loses_every=9)


def test_a_sensor_that_tells_no_buffer_gets_one_write_at_a_time(meet: Meet) -> None:
    async def scenario(sensor: BleSensor) -> None:
        assert (await update(BY_NAME)).outcome is Outcome.UPDATED
        assert sensor.largest_write_bytes <= 247 - HEADER_BYTES

    meet(scenario, tells_no_buffer=True)


def test_neither_a_buffer_nor_room_in_one_write(meet: Meet) -> None:
    async def scenario(sensor: BleSensor) -> None:
        with pytest.raises(TargetError, match=r"takes 20 bytes at once.*larger MTU.*untouched"):
            await update(BY_NAME)
        assert await slots() == {"1.0.0": (True, True)}

    meet(scenario, 23, tells_no_buffer=True)


def test_a_sensor_that_must_be_paired_first_says_so(meet: Meet) -> None:
    async def scenario(_: BleSensor) -> None:
        with pytest.raises(TargetError, match="to paired computers alone: pair it once") as caught:
            await update(BY_NAME)
        assert not isinstance(caught.value, TargetLostError | FirmwareError)

    meet(scenario, wants_pairing=True)


def test_what_is_not_there_or_no_sensor(meet: Meet) -> None:
    async def scenario(_: BleSensor) -> None:
        for name in ("LungPatch", "C0:FF:EE:00:00:00"):
            with pytest.raises(TargetError, match=f"No sensor {name} is in reach"):
                await update(BleDevice(name))
        with pytest.raises(TargetError, match="Watch offers no SMP service"):
            await update(BleDevice("Watch"))

    meet(scenario)

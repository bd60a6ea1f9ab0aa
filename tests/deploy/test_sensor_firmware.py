"""New firmware for a sensor over a real pseudo-terminal, and every way in which it goes wrong."""

import asyncio
import json
import os
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smpclient.transport import SMPTransport
from smpclient.transport.serial import SMPSerialTransport

from fewbeats.deploy.ble_transport import BleTransport
from fewbeats.deploy.mcuboot_image import FirmwareImage
from fewbeats.deploy.sensor_firmware import Outcome, Patience, Stage, Update, update_sensor
from fewbeats.deploy.sensor_link import BleDevice, SensorLink, SerialPort, find_address
from fewbeats.errors import FirmwareError, TargetError, TargetLostError

from .smp_sensor import make_image

PEER = Path(__file__).with_name("smp_peer.py")
QUICK = Patience(settle_s=0.1, return_s=6, steady_s=0.2, poll_s=0.1, longest_pause_s=0.2)


OLD = FirmwareImage.parse(make_image((1, 0, 0)))
NEW = FirmwareImage.parse(make_image((1, 1, 0)))
OTHER = FirmwareImage.parse(make_image((9, 9, 9)))

Start = Callable[..., SerialPort]


@pytest.fixture
def sensor(tmp_path: Path) -> Iterator[Start]:
    """Start the peer with faults; it ends when its standard input closes."""
    peers = []

    def start(running: FirmwareImage = OLD, **faults: object) -> SerialPort:
        link, image = tmp_path / "sensor", tmp_path / "running.bin"
        image.write_bytes(running.data)
        command = [sys.executable, str(PEER), str(link), str(image), json.dumps(faults)]
        peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        peers.append(peer)
        assert peer.stdout is not None
        assert peer.stdout.readline() == b"ready\n"
        return SerialPort(str(link))

    yield start
    for peer in peers:
        peer.communicate(timeout=10)
        assert peer.returncode == 0


def update(port: SerialPort, image: FirmwareImage = NEW, **options: object) -> Update:
    return asyncio.run(update_sensor(port, image, **{"patience": QUICK, **options}))


def lose_connection(port: SerialPort) -> None:
    """An update whose port goes away half-way, until the port is back."""
    with pytest.raises(TargetLostError, match=r"untouched.* Run the same command again"):
        update(port)
    while not Path(port.path).exists():
        time.sleep(0.05)


def slots(port: SerialPort) -> dict[str, tuple[bool, bool]]:
    """version -> (runs, is confirmed), as the sensor tells it."""

    async def ask() -> dict[str, tuple[bool, bool]]:
        async with SensorLink(port) as link:
            images = await link.images()
        return {i.version: (bool(i.active), bool(i.confirmed)) for i in images}

    return asyncio.run(ask())


def test_new_firmware_is_sent_tried_and_kept_and_a_second_run_changes_nothing(
    sensor: Start,
) -> None:
    port = sensor()
    told: list[tuple[Stage, int, int]] = []
    done = update(port, report=lambda *what: told.append(what))
    assert done == Update(Outcome.UPDATED, "1.0.0", OLD.hash, len(NEW.data))
    assert slots(port) == {"1.1.0": (True, True), "1.0.0": (False, False)}
    offsets = [done for stage, done, total in told if stage is Stage.SENDING]
    assert offsets == sorted(offsets)
    assert offsets[0] == 0
    assert offsets[-1] == len(NEW.data)
    assert {stage for stage, _, _ in told} == set(Stage)
    assert update(port) == Update(Outcome.UNCHANGED, "1.1.0", NEW.hash)


def test_a_lost_connection_leaves_the_old_and_the_next_run_goes_on(sensor: Start) -> None:
    port = sensor(cut_at=3000)
    lose_connection(port)
    assert slots(port) == {"1.0.0": (True, True)}
    done = update(port)
    assert done.outcome is Outcome.UPDATED
    assert 0 < done.sent_bytes <= len(NEW.data) - 3000
    assert slots(port)["1.1.0"] == (True, True)


def test_another_image_after_a_broken_upload_starts_at_its_beginning(sensor: Start) -> None:
    port = sensor(cut_at=3000)
    lose_connection(port)
    assert update(port, OTHER).sent_bytes == len(OTHER.data)
    assert slots(port)["9.9.9"] == (True, True)


def test_lost_frames_are_sent_again(sensor: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewbeats.deploy.sensor_link.ANSWER_S", 0.3)
    assert update(sensor(loses_every=7)).outcome is Outcome.UPDATED


def test_log_lines_between_the_answers_do_no_harm(sensor: Start) -> None:
    assert update(sensor(log_lines=True)).outcome is Outcome.UPDATED


def test_a_small_buffer_is_filled_and_not_more(sensor: Start) -> None:
    assert update(sensor(buffer=160)).outcome is Outcome.UPDATED


def test_a_sensor_that_is_gone_before_it_answers_the_reset(sensor: Start) -> None:
    assert update(sensor(resets_without_answer=True)).outcome is Outcome.UPDATED


@pytest.mark.parametrize("fault", ["bad_signature", "crashes_at_start"])
def test_firmware_that_does_not_start_is_reported_and_the_old_runs(
    sensor: Start, fault: str
) -> None:
    port = sensor(**{fault: True})
    with pytest.raises(FirmwareError, match=r"runs its old firmware 1\.0\.0.*swapped back"):
        update(port)
    assert slots(port)["1.0.0"] == (True, True)


def test_firmware_that_crashes_while_it_is_watched_is_not_kept(sensor: Start) -> None:
    port = sensor(crashes_after_reads=2)
    with pytest.raises(FirmwareError, match=r"runs its old firmware 1\.0\.0"):
        update(port)
    assert slots(port)["1.0.0"] == (True, True)


def test_a_sensor_that_stays_away_is_given_up(sensor: Start) -> None:
    with pytest.raises(TargetLostError, match=r"did not come back.*within 1 s.*take its supply"):
        update(sensor(stays_away=True), patience=Patience(0.1, 1, 0.2, 0.2, 0.2))


def test_an_image_on_trial_is_confirmed_by_the_next_run(sensor: Start) -> None:
    port = sensor()
    with pytest.raises(TargetLostError):
        update(port, patience=Patience(settle_s=0.5, return_s=0, steady_s=9))
    assert slots(port)["1.1.0"] == (True, False)
    with pytest.raises(FirmwareError, match=r"runs firmware 1\.1\.0 on trial.*untouched"):
        update(port, OTHER)
    assert update(port) == Update(Outcome.CONFIRMED, "1.0.0", OLD.hash)
    assert slots(port)["1.1.0"] == (True, True)


def test_a_refusal_names_code_and_group(sensor: Start) -> None:
    port = sensor(refuse_upload=[1, 30])
    with pytest.raises(
        FirmwareError,
        match=r"INVALID_IMAGE_TOO_LARGE \(SMP error 30 of group 1, IMAGE_MANAGEMENT\).*untouched",
    ):
        update(port)
    assert slots(port) == {"1.0.0": (True, True)}


def test_an_old_server_refuses_in_its_own_way(sensor: Start) -> None:
    with pytest.raises(FirmwareError, match=r"ENOMEM \(SMP error 2 of group 1,.*'no'\)"):
        update(sensor(refuse_upload=[1, 2], old_refusals=True))


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        ({"wrong_hash": True}, "took every byte of the image, but has none with its hash"),
        ({"mismatch": True}, "refuses the image: it is not what came"),
        ({"stuck_at": 2000}, "gets no further than byte 2"),
    ],
)
def test_bytes_that_do_not_arrive_as_sent(
    sensor: Start, faults: dict[str, object], sentence: str
) -> None:
    port = sensor(**faults)
    with pytest.raises(FirmwareError, match=f"{sentence}.*untouched"):
        update(port)
    assert slots(port)["1.0.0"] == (True, True)


def test_a_sensor_that_does_not_keep_it_is_no_success(sensor: Start) -> None:
    with pytest.raises(FirmwareError, match=r"does not\. The new firmware runs on trial"):
        update(sensor(never_keeps=True))


def test_a_port_that_says_nothing_is_left_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewbeats.deploy.sensor_link.ANSWER_S", 0.3)
    host, device = os.openpty()
    try:
        tty.setraw(device)
        with pytest.raises(TargetLostError, match=r"does not answer.*untouched"):
            update(SerialPort(os.ttyname(device)))
    finally:
        os.close(host)
        os.close(device)


def test_two_at_once_on_one_port_are_refused(
    sensor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewbeats.deploy.sensor_link.SERIAL_OPEN_S", 0.2)
    port = sensor()

    async def twice() -> None:
        async with SensorLink(port) as first:
            with pytest.raises(TargetError, match="another program may have it"):
                await update_sensor(port, NEW)
            assert await first.images()

    asyncio.run(twice())


def test_ports_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"There is no port .*plugged in"):
        update(SerialPort(str(tmp_path / "ttyACM9")))


class Rubbish(SMPTransport):
    """Answers with whatever it was given."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers

    async def connect(self, address: str, timeout_s: float) -> None: ...
    async def disconnect(self) -> None: ...
    async def send_and_receive(self, data: bytes) -> bytes:
        answer = self.answers.pop() if self.answers else b""
        return answer.replace(b"SEQ", data[6:7])

    @property
    def mtu(self) -> int:
        return 256


HEADERS = st.tuples(
    st.sampled_from([b"\x09\x00", b"\x0b\x00", b"\x01\x00"]),
    st.binary(min_size=2, max_size=2),
    st.sampled_from([b"\x00\x00", b"\x00\x01"]),
    st.just(b"SEQ"),
    st.sampled_from([b"\x00", b"\x01", b"\x05", b"\x06"]),
).map(b"".join)
BODIES = st.sampled_from(
    [
        b"\xa0",
        b"\x80",
        b"\xff",
        b"",
        b"\xa1\x62rc\x00",
        b"\xa1\x62rc\x18\x63",
        b"\xa1\x63off\x18\x20",
        b"\xa1\x63off\x20",
        b"\xa2\x68buf_size\x01\x69buf_count\x01",
        b"\xa1\x66images\x80",
        b"\xa1\x66images\x81\xa2\x64slot\x00\x67version\x61\x31",
        b"\xa1\x63err\xa2\x65group\x01\x62rc\x18\xff",
        b"\xa1\x63err\xa2\x65group\x19\xff\xff\x62rc\x01",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.tuples(HEADERS, BODIES).map(b"".join))))
def test_whatever_answers_it_ends_with_a_sentence(answers: list[bytes]) -> None:
    def connect(address: object) -> SensorLink:
        return SensorLink(SerialPort("here"), Rubbish(list(answers)))

    with pytest.raises(TargetError):
        asyncio.run(update_sensor(SerialPort("here"), NEW, connect=connect, patience=QUICK))


def test_addresses() -> None:
    assert find_address("serial:///dev/ttyACM0") == SerialPort("/dev/ttyACM0", 115200)
    assert find_address("serial:///dev/ttyACM0?baud=1000000&buffer=256") == SerialPort(
        "/dev/ttyACM0", 1_000_000, 256
    )
    assert find_address("ble://C0:FF:EE:00:11:22") == BleDevice("C0:FF:EE:00:11:22")
    assert find_address("ble://Heart%20Patch") == BleDevice("Heart Patch")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/dev/ttyACM0",
        "usb://x",
        "serial://",
        "ble://",
        "ble:///",
        "serial:///dev/ttyACM0?codec=fewbeats",
        "serial:///dev/ttyACM0?baud=fast",
        "serial:///dev/ttyACM0?baud=",
        "serial:///dev/ttyACM0?buffer=1",
        "ble://name?baud=9600",
    ],
)
def test_addresses_that_name_no_sensor(text: str) -> None:
    with pytest.raises(TargetError, match="serial:///dev/ttyACM0"):
        find_address(text)


def test_each_address_has_its_own_transport(sensor: Start) -> None:
    assert isinstance(SensorLink(sensor())._own_transport(), SMPSerialTransport)

    async def over_the_air() -> SMPTransport:
        return SensorLink(BleDevice("HeartPatch"))._own_transport()

    assert isinstance(asyncio.run(over_the_air()), BleTransport)


def test_a_machine_without_bluetooth_says_so() -> None:
    if Path("/sys/class/bluetooth").is_dir():
        pytest.skip("this machine has Bluetooth: nothing is refused for want of it")
    with pytest.raises(TargetError, match="Bluetooth"):
        update(BleDevice("HeartPatch"))

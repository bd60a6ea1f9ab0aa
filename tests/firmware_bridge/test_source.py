"""Addresses: what they open, and what is said of those that open nothing."""

from pathlib import Path

import pytest

from fewbeats.errors import AddressError
from fewbeats.firmware_bridge import source
from fewbeats.firmware_bridge.source import open_source, record_of
from fewbeats.firmware_bridge.transports import replay
from fewbeats.firmware_bridge.transports.serial import SerialSource


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (
            "serial:///dev/ttyUSB0?codec=fewbeats&baud=460800",
            "serial:///dev/ttyUSB0?codec=fewbeats&baud=460800",
        ),
        ("serial:/dev/ttyACM1", "serial:///dev/ttyACM1?codec=fewbeats&baud=115200"),
    ],
)
def test_serial_addresses(address: str, says: str):
    opened = open_source(address)
    assert isinstance(opened, SerialSource)
    assert opened.info.address == says
    assert opened.info.codec == "fewbeats"


class Replayed:
    """Stands in for the reader of records, to see what an address hands to it."""

    def __init__(self, path: Path, *, speed: float, lead: str | int | None) -> None:
        self.given = (path, speed, lead)


@pytest.mark.parametrize(
    ("address", "speed", "given"),
    [
        ("file:records/cu01", None, (Path("records/cu01"), 1.0, None)),
        ("file:cu01.hea?lead=MLII&speed=0", None, (Path("cu01.hea"), 0.0, "MLII")),
        ("file:/a/cu01?speed=20&lead=1", 2.5, (Path("/a/cu01"), 2.5, 1)),
        ("file:///a/cu01?lead=ECG%20I", 0.0, (Path("/a/cu01"), 0.0, "ECG I")),
    ],
)
def test_file_addresses(monkeypatch: pytest.MonkeyPatch, address, speed, given):
    monkeypatch.setattr(replay, "ReplaySource", Replayed)
    opened = open_source(address, speed=speed)
    assert opened.given == given


def test_a_real_replay_opens(tmp_path: Path):
    assert isinstance(open_source(f"file:{tmp_path}/cu01?lead=0"), replay.ReplaySource)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/dev/ttyUSB0", "serial:///dev/ttyUSB0"),
        ("ble:polar", "file:PATH"),
        ("", "file:PATH"),
        ("serial:", "names no path"),
        ("serial://ttyUSB0", "third slash: serial:///ttyUSB0"),
        ("file://records/cu01", "third slash"),
        ("serial:///dev/ttyUSB0?codec=morse", "there is: fewbeats"),
        ("serial:///dev/ttyUSB0?speed=2", "There is: codec, baud"),
        ("serial:///dev/ttyUSB0?baud=fast", "such as 115200"),
        ("serial:///dev/ttyUSB0?baud=0", "such as 115200"),
        ("serial:///dev/ttyUSB0?baud=", "There is: codec, baud"),
        ("file:cu01?baud=1", "There is: lead, speed"),
        ("file:cu01?lead=0&lead=1", "given twice"),
        ("file:cu01?speed=fast", "no number"),
        ("file:cu01?speed=-1", "-1"),
        ("file:cu01?speed=nan", "nan"),
    ],
)
def test_wrong_addresses_say_what_exists(address: str, says: str):
    with pytest.raises(AddressError) as caught:
        open_source(address)
    assert says in str(caught.value)


def test_the_record_behind_an_address():
    assert record_of("file:///a/cu01.hea?lead=0") == Path("/a/cu01.hea")
    assert record_of("serial:///dev/ttyUSB0") is None
    with pytest.raises(AddressError, match="file:PATH"):
        record_of("cu01")


def test_a_live_sensor_has_no_speed():
    with pytest.raises(AddressError, match="speed=20"):
        open_source("serial:///dev/ttyUSB0", speed=20)


def test_the_module_itself_imports_no_transport():
    assert not {"SerialSource", "ReplaySource"} & set(vars(source))

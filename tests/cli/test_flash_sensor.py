"""``fewbeats flash --sensor`` as its users meet it: sentences, one JSON document, exit codes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewbeats.cli.flash_sensor import flash_sensor
from fewbeats.device.bundle import NOTICE
from fewbeats.errors import FirmwareError, MissingExtraError, TargetError

PEER = Path(__file__).parents[1] / "deploy" / "smp_peer.py"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(running, new), by MCUboot's imgtool."""
    folder = tmp_path_factory.mktemp("images")
    raw = folder / "zephyr.bin"
    raw.write_bytes(bytes(range(256)) * 8)
    made = []
    for version in ("1.0.0", "1.1.0"):
        out = folder / f"{version}.bin"
        options = ("--header-size", "512", "--pad-header", "--slot-size", "65536", "--align", "4")
        command = [sys.executable, "-m", "imgtool.main", "sign", "--version", version, *options]
        subprocess.run([*command, str(raw), str(out)], check=True)
        made.append(out)
    return made[0], made[1]


@pytest.fixture
def port(tmp_path: Path, images: tuple[Path, Path]) -> Iterator[Path]:
    link = tmp_path / "sensor"
    command = [sys.executable, str(PEER), str(link), str(images[0])]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert peer.stdout is not None
    assert peer.stdout.readline() == b"ready\n"
    yield link
    peer.communicate(timeout=10)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from fewbeats.deploy import sensor_firmware

    quick = sensor_firmware.Patience(0.1, 6, 0.2, 0.1, 0.2)
    whole = sensor_firmware.update_sensor

    async def update(*arguments: object) -> object:
        return await whole(*arguments, patience=quick)

    monkeypatch.setattr(sensor_firmware, "update_sensor", update)


def test_a_sensor_gets_its_firmware_and_a_script_learns_of_it(
    port: Path, images: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    flash_sensor(images[1], f"serial://{port}", as_json=False)
    said = capsys.readouterr()
    assert "now runs, and keeps, firmware 1.1.0" in said.out
    assert "before it: 1.0.0" in said.out
    assert "carries no signature" in said.out
    assert NOTICE in said.err.replace("\n", " ")

    flash_sensor(images[1], f"serial://{port}", as_json=True)
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["outcome"] == "unchanged"
    assert document["image"]["version"] == "1.1.0+0"
    assert document["image"]["hash"] == document["before"]["hash"]
    assert document["notice"] == NOTICE
    assert said.err == ""


def test_a_file_that_is_no_image_is_refused_before_the_port_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "bundle.fewbeats"
    path.write_bytes(b"FEWBEATS" * 100)
    with pytest.raises(FirmwareError, match="no MCUboot image"):
        flash_sensor(path, "serial:///dev/nowhere", as_json=False)


def test_bad_addresses_have_the_target_s_exit_code(images: tuple[Path, Path]) -> None:
    with pytest.raises(TargetError, match="no sensor's address") as caught:
        flash_sensor(images[1], "/dev/ttyACM0", as_json=False)
    assert caught.value.exit_code == 10


@pytest.mark.parametrize("package", ["smpclient", "bleak", "serial"])
def test_without_its_packages_the_extra_is_named(package: str, images: tuple[Path, Path]) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from pathlib import Path\n"
        "from fewbeats.cli.flash_sensor import flash_sensor\n"
        f"flash_sensor(Path({str(images[1])!r}), 'serial:///dev/nowhere', False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert MissingExtraError.__name__ in done.stderr
    assert "pip install 'fewbeats[flash]'" in done.stderr

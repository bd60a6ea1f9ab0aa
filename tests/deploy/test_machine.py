"""Which machines can be gateways, told by their own Python or by their files."""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fewbeats.deploy.machine import PROBE, Machine
from fewbeats.deploy.place import Found
from fewbeats.errors import TargetError
from gateways.made_wheels import card_of, elf


def told(**changed: object) -> str:
    facts = {
        "architecture": "aarch64",
        "bits": 64,
        "python": [3, 11],
        "libc": ["glibc", "2.36"],
        "system": "Raspberry Pi OS",
        "config": None,
        "keys": {},
        "has_bundle": False,
        "held": [],
    }
    return json.dumps(facts | changed)


def test_this_machine_describes_itself() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    found = Found.told(done.stdout)
    assert found.machine.architecture == platform.machine()
    assert found.machine.python == f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_a_64_bit_card_is_known_by_its_program(tmp_path: Path) -> None:
    machine = Machine.of_root(card_of(tmp_path, elf(183, 2), "python3.13"))
    assert machine == Machine("aarch64", "3.13", "Debian GNU/Linux 12 (bookworm)")
    assert Machine.named(machine.tag).tag == machine.tag


def test_a_real_program_is_read(tmp_path: Path) -> None:
    real = Path(shutil.which("ls") or "/bin/ls").resolve().read_bytes()
    assert Machine.of_root(card_of(tmp_path, real)).architecture == platform.machine()


@pytest.mark.parametrize(
    ("program", "words"),
    [(elf(40, 1), "32-bit"), (elf(243, 2), "number 243"), (b"MZ", "damaged"), (b"", "damaged")],
)
def test_other_cards_are_refused(tmp_path: Path, program: bytes, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        Machine.of_root(card_of(tmp_path, program))


def test_a_card_without_python_or_with_an_old_one_is_refused(tmp_path: Path) -> None:
    (card_of(tmp_path) / "usr/bin/python3").unlink()
    with pytest.raises(TargetError, match="no Python"):
        Machine.of_root(tmp_path)
    (tmp_path / "usr/bin/python3").symlink_to("/etc/passwd")
    with pytest.raises(TargetError, match="no Python"):
        Machine.of_root(tmp_path)
    with pytest.raises(TargetError, match="bookworm"):
        Machine.of_root(card_of(tmp_path / "old", elf(183, 2), "python3.9"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bits": 32}, "Raspberry Pi OS Lite"),
        ({"architecture": "armv7l"}, "64-bit"),
        ({"python": [3, 10]}, "3.11 or newer"),
        ({"libc": ["", ""]}, "glibc"),
        ({"libc": ["glibc", "2.17"]}, "glibc"),
        ({"libc": None}, "tells nothing"),
        ({"keys": 3}, "tells nothing"),
        ({"held": [["x"]]}, "tells nothing"),
        ({"held": [["x", "no hex"]]}, "tells nothing"),
    ],
)
def test_machines_that_cannot_be_gateways_are_refused(
    changed: dict[str, object], words: str
) -> None:
    with pytest.raises(TargetError, match=words):
        Found.told(told(**changed))


def test_an_answer_that_is_none_is_refused() -> None:
    for text in ("", "{}", "[]", "Welcome"):
        with pytest.raises(TargetError, match="tells nothing"):
            Found.told(text)
    with pytest.raises(TargetError, match="names no machine"):
        Machine.named("pi")

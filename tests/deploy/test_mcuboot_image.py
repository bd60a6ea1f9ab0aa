"""Images made by MCUboot's own imgtool, and what is wrong with others."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbeats.deploy.mcuboot_image import FirmwareImage
from fewbeats.errors import FirmwareError

FIRMWARE = bytes(range(256)) * 12
KEYS = {"ecdsa-p256", "ed25519", "rsa-2048"}


def imgtool(*arguments: object) -> None:
    command = [sys.executable, "-m", "imgtool.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def sign(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("images")
    (folder / "zephyr.bin").write_bytes(FIRMWARE)

    def run(*options: object) -> Path:
        out = folder / f"{len(list(folder.iterdir()))}.signed.bin"
        common = ("--header-size", 512, "--pad-header", "--slot-size", 65536, "--align", 4)
        imgtool("sign", "--version", "1.4.2+7", *common, *options, folder / "zephyr.bin", out)
        return out

    return run


@pytest.fixture(scope="module")
def plain(sign: Callable[..., Path]) -> bytes:
    return sign().read_bytes()


def test_an_image_of_imgtool_is_whole(sign: Callable[..., Path]) -> None:
    path = sign()
    image = FirmwareImage.load(path)
    assert image.data == path.read_bytes()
    assert image.version == "1.4.2+7"
    assert len(image.hash) == 32
    assert not image.signed
    assert str(FIRMWARE) not in repr(image)


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_signatures_are_seen(sign: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    key = tmp_path / "key.pem"
    imgtool("keygen", "-k", key, "-t", kind)
    image = FirmwareImage.load(sign("--key", key))
    assert image.signed
    assert image.hash == FirmwareImage.load(sign("--key", key)).hash


def test_protected_entries_and_longer_hashes(sign: Callable[..., Path]) -> None:
    assert len(FirmwareImage.load(sign("--security-counter", 5)).hash) == 32
    assert len(FirmwareImage.load(sign("--sha", "512")).hash) == 64


def test_a_padded_image_would_start_unproven(sign: Callable[..., Path]) -> None:
    with pytest.raises(FirmwareError, match="without padding"):
        FirmwareImage.load(sign("--pad", "--confirm"))


def test_what_cannot_be_checked_or_started(sign: Callable[..., Path], tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    imgtool("keygen", "-k", key, "-t", "ecdsa-p256")
    with pytest.raises(FirmwareError, match="encrypted"):
        FirmwareImage.load(sign("--encrypt", key))
    with pytest.raises(FirmwareError, match="not bootable"):
        FirmwareImage.load(sign("--non-bootable"))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="Cannot read"):
        FirmwareImage.load(tmp_path / "missing.bin")
    with pytest.raises(FirmwareError, match="Cannot read"):
        FirmwareImage.load(tmp_path)
    for data in (b"", b"\x7fELF" + bytes(4000), FIRMWARE, b":020000040000FA\n"):
        (tmp_path / "other.bin").write_bytes(data)
        with pytest.raises(FirmwareError, match="no MCUboot image"):
            FirmwareImage.load(tmp_path / "other.bin")


def test_every_shorter_image_is_refused(plain: bytes) -> None:
    for length in range(len(plain)):
        with pytest.raises(FirmwareError):
            FirmwareImage.parse(plain[:length])


def test_every_flipped_bit_is_refused(plain: bytes) -> None:
    for position in range(len(plain)):
        altered = bytearray(plain)
        altered[position] ^= 1 << position % 8
        with pytest.raises(FirmwareError):
            FirmwareImage.parse(bytes(altered))


@settings(max_examples=300, deadline=None)
@given(header=st.binary(min_size=28, max_size=28), rest=st.binary(max_size=600))
def test_nothing_but_a_sentence_comes_of_rubbish(header: bytes, rest: bytes) -> None:
    with pytest.raises(FirmwareError):
        FirmwareImage.parse(b"\x3d\xb8\xf3\x96" + header + rest)

"""The file of a bundle: every byte counts, and nothing is believed before it is checked."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.device.bundle import Bundle
from fewbeats.device.container import MAX_BYTES, opened, seal, signed
from fewbeats.device.keys import DEVELOPMENT_KEY, PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey
from fewbeats.errors import BundleAlteredError, BundleError

TRAILER = PUBLIC_BYTES + SIGNATURE_BYTES


def sealed_again(body: bytes) -> bytes:
    """Any bytes with a signature that fits."""
    raw = DEVELOPMENT_KEY.public.raw
    return body + raw + DEVELOPMENT_KEY.sign(body + raw)


def test_what_is_sealed_comes_back() -> None:
    parts = {"raw": b"", "big": bytes(1000), "a": np.arange(6.0).reshape(2, 3)}
    data = seal({"b": 1, "a": [2]}, parts, DEVELOPMENT_KEY)
    assert data == seal({"a": [2], "b": 1}, parts, DEVELOPMENT_KEY), "order of names is no matter"
    body, raw = signed(data, "it")
    assert raw == DEVELOPMENT_KEY.public.raw
    contents = opened(body, "it")
    assert contents.manifest["a"] == [2] and contents.parts["big"] == bytes(1000)
    np.testing.assert_array_equal(contents.array("a"), parts["a"])
    length = struct.unpack_from("<I", data, 12)[0]
    assert data[:8] == b"FEWBEATS" and json.loads(data[16 : 16 + length]) == contents.manifest


def test_arrays_are_little_endian_on_every_machine() -> None:
    values = np.array([1.0, -2.5], dtype=">f4")
    data = seal({}, {"a": values}, DEVELOPMENT_KEY)
    contents = opened(signed(data, "it")[0], "it")
    assert contents.parts["a"] == struct.pack("<2f", 1.0, -2.5)
    np.testing.assert_array_equal(contents.array("a"), values.astype(np.float32))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "object"},
        {"dtype": "float32", "shape": [-1, -2]},
        {"dtype": "float32", "shape": [1 << 40, 1 << 40]},
        {"dtype": "float32", "shape": [2.0]},
        {"dtype": "float32", "shape": "2"},
        {"dtype": "float64", "shape": [2]},
        {"dtype": "float32"},
        {},
    ],
)
def test_an_array_is_what_its_bytes_say(entry: dict[str, object]) -> None:
    contents = opened(signed(seal({}, {"a": b"12345678"}, DEVELOPMENT_KEY), "it")[0], "it")
    contents.manifest["parts"] = [{"name": "a"} | entry]
    with pytest.raises((LookupError, ValueError, TypeError)):
        contents.array("a")


@given(st.binary(max_size=300))
def test_rubbish_that_is_signed_is_still_no_bundle(rubbish: bytes) -> None:
    body = b"FEWBEATS" + struct.pack("<II", 2, len(rubbish)) + rubbish
    with pytest.raises(BundleError):
        Bundle.unpack(sealed_again(body))


def test_every_flipped_byte_is_refused(tiny_bundle: Bundle) -> None:
    good = tiny_bundle.pack()
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 0x10
        with pytest.raises(BundleError):
            Bundle.unpack(bytes(bad))


def test_every_truncation_is_refused(tiny_bundle: Bundle) -> None:
    good = tiny_bundle.pack()
    for length in range(0, len(good), 7):
        with pytest.raises(BundleError):
            Bundle.unpack(good[:length])
    with pytest.raises(BundleAlteredError):
        Bundle.unpack(good + b"x")


def test_another_key_cannot_be_put_in_its_place(tiny_bundle: Bundle) -> None:
    good = tiny_bundle.pack(SigningKey.generate("ward"))
    with pytest.raises(BundleAlteredError):
        Bundle.unpack(good[:-TRAILER] + DEVELOPMENT_KEY.public.raw + good[-SIGNATURE_BYTES:])


def test_what_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.fewbeats"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(BundleError, match="larger than"):
        Bundle.load(path)
    with pytest.raises(BundleError, match="at most"):
        Bundle.unpack(bytes(MAX_BYTES + 1))


def test_json_nested_without_end_is_refused(tiny_bundle: Bundle) -> None:
    text = b"[" * 200_000
    body = tiny_bundle.pack()[:12] + struct.pack("<I", len(text)) + text
    with pytest.raises(BundleError, match="no readable manifest"):
        Bundle.unpack(sealed_again(body))


def test_files_that_are_no_bundles(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="Cannot read"):
        Bundle.load(tmp_path / "none")
    (tmp_path / "text").write_text("hello, this is no bundle at all, only some text in a file\n")
    with pytest.raises(BundleError, match="no fewbeats bundle"):
        Bundle.load(tmp_path / "text")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="no ordinary file"):
        Bundle.load(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(BundleError, match="larger"):
        Bundle.load(tmp_path / "huge")

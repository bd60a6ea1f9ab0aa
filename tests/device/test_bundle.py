"""The bundle: whole, deterministic, and refused when it is anything else."""

import hashlib
import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewbeats.device.bundle import FORMAT, Bundle
from fewbeats.errors import BundleAlteredError, BundleError


def resealed(data: bytes, change: dict[str, object]) -> bytes:
    """The bundle with a changed manifest and a digest that fits."""
    length = struct.unpack_from("<I", data, 12)[0]
    manifest = json.loads(data[16 : 16 + length]) | change
    text = json.dumps(manifest).encode()
    body = data[:12] + struct.pack("<I", len(text)) + text + data[16 + length : -32]
    return body + hashlib.sha256(body).digest()


def test_a_bundle_comes_back_whole(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "tiny.fewbeats"
    tiny_bundle.save(path)
    back = Bundle.load(path)
    for name in ("prototypes", "golden_windows", "golden_embeddings"):
        np.testing.assert_array_equal(getattr(back, name), getattr(tiny_bundle, name))
    np.testing.assert_array_equal(back.start.weights, tiny_bundle.start.weights)
    assert back.start.threshold == tiny_bundle.start.threshold
    assert (back.window, back.adapt, back.detector) == (
        tiny_bundle.window,
        tiny_bundle.adapt,
        tiny_bundle.detector,
    )
    assert back.model == tiny_bundle.model and back.card == {"data": "none"}
    assert back.backbone.features == 4
    assert back.pack() == path.read_bytes()


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


def test_the_golden_windows_guard_the_backbone(tiny_bundle: Bundle) -> None:
    wrong = replace(tiny_bundle, golden_embeddings=tiny_bundle.golden_embeddings + 0.01)
    with pytest.raises(BundleError, match="golden windows"):
        _ = Bundle.unpack(wrong.pack()).backbone


def test_a_backbone_of_another_shape_is_refused(tiny_bundle: Bundle) -> None:
    wrong = replace(
        tiny_bundle,
        start=replace(tiny_bundle.start, weights=np.zeros(5)),
        prototypes=np.zeros((3, 5), dtype=np.float32),
        golden_embeddings=np.zeros((2, 5), dtype=np.float32),
    )
    with pytest.raises(BundleError, match="4 features"):
        _ = wrong.backbone


def test_what_is_no_network_is_refused(tiny_bundle: Bundle) -> None:
    for model in (b"", b"no graph at all", tiny_bundle.model[:-40]):
        with pytest.raises(BundleError):
            _ = replace(tiny_bundle, model=model).backbone


def test_a_foreign_device_class_and_a_newer_format_are_refused(tiny_bundle: Bundle) -> None:
    good = tiny_bundle.pack()
    with pytest.raises(BundleError, match="device class 'toaster'"):
        Bundle.unpack(resealed(good, {"device_class": "toaster"}))
    newer = good[:8] + struct.pack("<I", FORMAT + 1) + good[12:-32]
    with pytest.raises(BundleError, match=f"format {FORMAT + 1}"):
        Bundle.unpack(newer + hashlib.sha256(newer).digest())


@pytest.mark.parametrize(
    "change",
    [
        {"parts": []},
        {"parts": [{"name": "backbone.onnx", "bytes": -5, "sha256": ""}]},
        {"parts": 3},
        {"window": {"rate_hz": 125, "surprise": 1}},
        {"window": {"window_s": 0.0001}},
        {"window": {"window_s": float("inf")}},
        {"window": {"rate_hz": 125.0}},
        {"window": {"hop_s": 4.0}},
        {"adapt": None},
        {"adapt": {"rounds": 10**9}},
        {"adapt": {"step": float("nan")}},
        {"detector": {"confirm": 3.0}},
        {"detector": {"confirm": 10**6, "among": 10**6}},
        {"card": 7},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    tiny_bundle: Bundle, change: dict[str, object]
) -> None:
    with pytest.raises(BundleError):
        Bundle.unpack(resealed(tiny_bundle.pack(), change))


def test_a_bundle_that_proves_nothing_is_refused(tiny_bundle: Bundle) -> None:
    empty = {
        "golden_windows": tiny_bundle.golden_windows[:0],
        "golden_embeddings": tiny_bundle.golden_embeddings[:0],
    }
    with pytest.raises(BundleError, match="at least one row"):
        replace(tiny_bundle, **empty)
    with pytest.raises(BundleError, match="finite"):
        replace(tiny_bundle, prototypes=np.full((3, 4), np.nan, dtype=np.float32))
    with pytest.raises(BundleError, match="shape"):
        replace(tiny_bundle, golden_windows=tiny_bundle.golden_windows[:, :, 1:])


def test_json_nested_without_end_is_refused(tiny_bundle: Bundle) -> None:
    text = b"[" * 200_000
    body = tiny_bundle.pack()[:12] + struct.pack("<I", len(text)) + text
    with pytest.raises(BundleError, match="no readable manifest"):
        Bundle.unpack(body + hashlib.sha256(body).digest())


def test_a_graph_without_a_fixed_size_is_refused(tiny_bundle: Bundle) -> None:
    import onnx

    graph = onnx.load_from_string(tiny_bundle.model)
    graph.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "time"
    with pytest.raises(BundleError, match="fixed window"):
        _ = replace(tiny_bundle, model=graph.SerializeToString()).backbone


def test_a_bundle_is_written_wholly_or_not_at_all(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "tiny.fewbeats"
    path.write_bytes(b"the one before")
    with pytest.raises(BundleError, match="no folder"):
        tiny_bundle.save(tmp_path / "none" / "tiny.fewbeats")
    assert path.read_bytes() == b"the one before"
    tiny_bundle.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.fewbeats"]


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

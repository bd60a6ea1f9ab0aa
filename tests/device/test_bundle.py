"""The bundle: whole, deterministic, and refused when it is anything else."""

import json
import struct
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewbeats.device.bundle import Bundle, Form, version_of
from fewbeats.device.container import FORMAT
from fewbeats.device.keys import (
    DEVELOPMENT_KEY,
    PUBLIC_BYTES,
    SIGNATURE_BYTES,
    Keyring,
    SigningKey,
)
from fewbeats.errors import (
    BundleAlteredError,
    BundleError,
    HeadError,
    SignatureError,
)

TRAILER = PUBLIC_BYTES + SIGNATURE_BYTES


def signed(body: bytes, key: SigningKey = DEVELOPMENT_KEY) -> bytes:
    """Any bytes with a signature that fits."""
    return body + key.public.raw + key.sign(body + key.public.raw)


def resealed(data: bytes, change: dict[str, object]) -> bytes:
    """The bundle with a changed manifest and a signature that fits."""
    length = struct.unpack_from("<I", data, 12)[0]
    manifest = json.loads(data[16 : 16 + length]) | change
    text = json.dumps(manifest).encode()
    return signed(data[:12] + struct.pack("<I", len(text)) + text + data[16 + length : -TRAILER])


def with_form(bundle: Bundle, **changes: Any) -> Bundle:
    """The bundle with its one form changed, the head bound to it."""
    form = replace(bundle.form, **changes)
    start = replace(bundle.start, backbone_sha256=form.sha256)
    return replace(bundle, forms=(form,), start=start)


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


def test_the_golden_windows_guard_the_backbone(tiny_bundle: Bundle) -> None:
    wrong = with_form(tiny_bundle, golden_embeddings=tiny_bundle.golden_embeddings + 0.01)
    with pytest.raises(BundleError, match="golden windows"):
        _ = Bundle.unpack(wrong.pack()).backbone


def test_a_backbone_of_another_shape_is_refused(tiny_bundle: Bundle) -> None:
    wrong = replace(
        tiny_bundle,
        start=replace(tiny_bundle.start, weights=np.zeros(5)),
        forms=(
            replace(
                tiny_bundle.form,
                prototypes=np.zeros((3, 5), dtype=np.float32),
                golden_embeddings=np.zeros((2, 5), dtype=np.float32),
            ),
        ),
    )
    with pytest.raises(BundleError, match="4 features"):
        _ = wrong.backbone


def test_what_is_no_network_is_refused(tiny_bundle: Bundle) -> None:
    for model in (b"", b"no graph at all", tiny_bundle.model[:-40]):
        with pytest.raises(BundleError):
            _ = with_form(tiny_bundle, model=model).backbone


def test_a_foreign_device_class_and_a_newer_format_are_refused(tiny_bundle: Bundle) -> None:
    good = tiny_bundle.pack()
    with pytest.raises(BundleError, match="device class 'toaster'"):
        Bundle.unpack(resealed(good, {"device_class": "toaster"}))
    for other in (FORMAT - 1, FORMAT + 1):
        body = good[:8] + struct.pack("<I", other) + good[12:-TRAILER]
        # Signed, and as an older format that ends in something else.
        for data in (signed(body), body):
            with pytest.raises(BundleError, match=f"format {other}"):
                Bundle.unpack(data)
    with pytest.raises(BundleError, match=r"needs fewbeats 99\.0"):
        Bundle.unpack(resealed(good, {"requires": {"fewbeats": "99.0"}}))


@pytest.mark.parametrize(
    "change",
    [
        {"parts": []},
        {"parts": [{"name": "head", "bytes": -5, "sha256": ""}]},
        {"parts": 3},
        {"runtimes": []},
        {"runtimes": ["onnx", "onnx"]},
        {"runtimes": ["onnx", "litert"]},
        {"runtimes": "onnx"},
        {"requires": {}},
        {"requires": {"fewbeats": "the newest"}},
        {"version": "1.0-beta"},
        {"name": ""},
        {"name": "x" * 65},
        {"name": "\x1b[2J"},
        {"name": "two\nlines"},
        {"name": "half a pair \ud800"},
        {"name": "x" * 1_000_000},
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


def test_a_name_is_short_and_printable(tiny_bundle: Bundle) -> None:
    assert replace(tiny_bundle, name="Herzkammerflimmern, größer: " + "x" * 36).name
    for name in ("", "x" * 65, "\x07", "\u202egood", "\ud800"):
        with pytest.raises(BundleError, match="1 to 64 printable characters") as refusal:
            replace(tiny_bundle, name=name)
        assert str(refusal.value).isprintable()


def test_a_refusal_keeps_its_class(tiny_bundle: Bundle) -> None:
    """What is done about a damaged file is not what is done about a foreign signer."""
    good, foreign = tiny_bundle.pack(), tiny_bundle.pack(SigningKey.generate("foreign"))
    cases = [
        (good[:-1] + b"\0", BundleAlteredError),
        (foreign, SignatureError),
        (resealed(good, {"device_class": "x" * 10_000}), BundleError),
    ]
    for data, expected in cases:
        with pytest.raises(BundleError) as refusal:
            Bundle.unpack(data, keyring=Keyring())
        assert type(refusal.value) is expected and len(str(refusal.value)) < 500


def test_a_bundle_that_proves_nothing_is_refused(tiny_bundle: Bundle) -> None:
    without = replace(tiny_bundle.form, golden_embeddings=tiny_bundle.golden_embeddings[:0])
    with pytest.raises(BundleError, match="at least one row"):
        replace(tiny_bundle, golden_windows=tiny_bundle.golden_windows[:0], forms=(without,))
    with pytest.raises(BundleError, match="finite"):
        with_form(tiny_bundle, prototypes=np.full((3, 4), np.nan, dtype=np.float32))
    with pytest.raises(BundleError, match="shape"):
        replace(tiny_bundle, golden_windows=tiny_bundle.golden_windows[:, :, 1:])
    for tolerance in (float("nan"), -1.0, 5.0):
        with pytest.raises(BundleError, match="proves nothing"):
            with_form(tiny_bundle, tolerance=tolerance)


def test_a_form_for_each_runtime(tiny_bundle: Bundle) -> None:
    other = Form("litert", b"a graph", tiny_bundle.prototypes + 1, tiny_bundle.golden_embeddings)
    both = replace(tiny_bundle, forms=(tiny_bundle.form, other))
    back = Bundle.unpack(both.pack())
    assert [form.runtime for form in back.forms] == ["onnx", "litert"]
    assert back.runtime == "onnx" and back.model == tiny_bundle.model
    on = back.on("litert")
    assert on.model == b"a graph" and on.pack() == both.pack(), "the choice is no content"
    assert on.start.backbone_sha256 == other.sha256 != back.start.backbone_sha256
    np.testing.assert_array_equal(on.prototypes, tiny_bundle.prototypes + 1)
    with pytest.raises(BundleError, match="no backbone for litert"):
        tiny_bundle.on("litert")
    with pytest.raises(BundleError, match="not 'tensorrt'"):
        replace(other, runtime="tensorrt")


def test_a_head_of_another_backbone_is_no_start(tiny_bundle: Bundle) -> None:
    with pytest.raises(HeadError):
        replace(tiny_bundle, start=replace(tiny_bundle.start, backbone_sha256="ff" * 32))


def test_whose_signature_counts(tiny_bundle: Bundle) -> None:
    old = SigningKey.generate("old", date(2026, 6, 30))
    new = SigningKey.generate("new")
    ring = Keyring((old.public, new.public), production=True)
    for key in (old, new):
        data = tiny_bundle.pack(key)
        assert data == tiny_bundle.pack(key), "the same key gives the same bytes"
        assert Bundle.unpack(data, keyring=ring).signer == key.public
    by_old = tiny_bundle.pack(old)
    assert Bundle.unpack(by_old, keyring=ring, today=date(2026, 6, 30)).signer == old.public
    with pytest.raises(SignatureError, match=r"'old', which expired on 2026-06-30"):
        Bundle.unpack(by_old, keyring=ring, today=date(2026, 7, 1))
    with pytest.raises(SignatureError, match=r"not trusted here .*trusted: new"):
        Bundle.unpack(by_old, keyring=Keyring((new.public,)))
    by_anybody = tiny_bundle.pack()
    assert Bundle.unpack(by_anybody, keyring=Keyring()).signer == DEVELOPMENT_KEY.public
    with pytest.raises(SignatureError, match="development key"):
        Bundle.unpack(by_anybody, keyring=ring)


def test_versions_compare_as_numbers() -> None:
    assert version_of("1.10") > version_of("1.9.9") > version_of("1.9") == version_of("1.9.0.0")
    for text in ("", "1.", "v1", "1.0-rc1", "1" * 10, "1.2.3.4.5"):
        with pytest.raises(BundleError, match="numbers with dots"):
            version_of(text)


def test_a_graph_without_a_fixed_size_is_refused(tiny_bundle: Bundle) -> None:
    import onnx

    graph = onnx.load_from_string(tiny_bundle.model)
    graph.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "time"
    with pytest.raises(BundleError, match="fixed window"):
        _ = with_form(tiny_bundle, model=graph.SerializeToString()).backbone


def test_a_bundle_is_written_wholly_or_not_at_all(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "tiny.fewbeats"
    path.write_bytes(b"the one before")
    with pytest.raises(BundleError, match="no folder"):
        tiny_bundle.save(tmp_path / "none" / "tiny.fewbeats")
    assert path.read_bytes() == b"the one before"
    tiny_bundle.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.fewbeats"]

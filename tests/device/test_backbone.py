"""Both runtimes behind one face.

``tiny.tflite`` is a convolution (4 channels, 9 taps, stride 4), ReLU, mean over time and a linear
layer of 4 features, with PyTorch's weights of seed 5, converted by litert-torch 0.10 and quantised
by ai-edge-quantizer 0.10 on 256 windows of normal noise.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fewbeats
from fewbeats.device import backbone as backbone_module
from fewbeats.device.backbone import LitertBackbone, OnnxBackbone, installed_runtimes, open_backbone
from fewbeats.device.bundle import Bundle
from fewbeats.errors import BundleError, MissingExtraError

TINY = (Path(__file__).parent / "tiny.tflite").read_bytes()
STEP = 0.002733  # of its output's int8 grid
TIME_S = np.arange(250) / 125
SINES = np.sin(2 * np.pi * np.array([1.0, 4.0])[:, None] * TIME_S).astype(np.float32)[:, None]
# By tflite-runtime 2.14 and ai-edge-litert 2.3 on x86-64 alike.
GOLDEN = [
    [0.39353257, -0.08745168, -0.08745168, 0.47825140],
    [0.41539550, -0.08745168, -0.08745168, 0.49191570],
]
NOISE = np.random.default_rng(2).normal(size=(50, 1, 250)).astype(np.float32)


@pytest.fixture(scope="module")
def litert() -> LitertBackbone:
    pytest.importorskip("ai_edge_litert", reason="LiteRT's runtime is not installed")
    return LitertBackbone(TINY)


def test_litert_embeds_as_it_always_did(litert: LitertBackbone) -> None:
    assert (litert.samples, litert.features) == (250, 4)
    embeddings = litert.embed(SINES)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, GOLDEN, atol=2.5 * STEP)


def test_litert_embeds_any_number_of_windows_one_by_one(litert: LitertBackbone) -> None:
    together = litert.embed(NOISE)
    apart = np.concatenate([litert.embed(window[None]) for window in NOISE])
    np.testing.assert_array_equal(together, apart)
    assert litert.embed(NOISE[:0]).shape == (0, 4)
    np.testing.assert_array_equal(litert.embed(NOISE[::2]), together[::2])


def test_what_a_runtime_cannot_run_is_refused(litert: LitertBackbone, tiny_bundle: Bundle) -> None:
    for loaded in (litert, OnnxBackbone(tiny_bundle.on("onnx").model)):
        for windows in (NOISE[:, :, 1:], NOISE[:, 0], NOISE.astype(np.float64)):
            with pytest.raises(BundleError, match="cannot run the backbone"):
                loaded.embed(windows)
    # After a refusal it goes on.
    np.testing.assert_allclose(litert.embed(SINES), GOLDEN, atol=2.5 * STEP)


@pytest.mark.parametrize("model", [b"", b"no graph at all", TINY[:200], TINY[:-400], b"TFL3" * 99])
def test_what_is_no_network_is_refused(litert: LitertBackbone, model: bytes) -> None:
    with pytest.raises(BundleError, match="LiteRT cannot load the backbone"):
        LitertBackbone(model)


def test_a_damaged_network_is_refused_or_runs_but_never_ends_the_process(
    litert: LitertBackbone,
) -> None:
    """No signature guards it here: every 17th byte with all its bits turned."""
    refused = 0
    for position in range(0, len(TINY), 17):
        bad = bytearray(TINY)
        bad[position] ^= 0xFF
        try:
            assert LitertBackbone(bytes(bad)).embed(SINES).shape[0] == 2
        except BundleError:
            refused += 1
    assert refused > 20


def test_a_network_that_wants_too_much_memory_is_refused(
    litert: LitertBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone_module, "MAX_TENSOR_BYTES", 1_000)
    with pytest.raises(BundleError, match="more than 1000"):
        LitertBackbone(TINY)


def test_other_inputs_and_outputs_are_refused() -> None:
    def told(shape: list[int], dtype: type) -> dict[str, object]:
        return {"shape": np.array(shape, dtype=np.int32), "dtype": dtype}

    window, embedding = told([1, 1, 250], np.float32), told([1, 4], np.float32)
    assert backbone_module._shapes([window], [embedding]) == (250, 4)
    for inputs, outputs in (
        ([told([1, 1, 250], np.int8)], [embedding]),
        ([told([1, 250], np.float32)], [embedding]),
        ([told([8, 1, 250], np.float32)], [embedding]),
        ([window], [told([1, 4], np.int8)]),
        ([window], [told([1, 1, 4], np.float32)]),
        ([window], [told([1, 0], np.float32)]),
        ([window, embedding], []),
        ([window], [embedding, embedding]),
    ):
        with pytest.raises(BundleError, match="takes one float32"):
            backbone_module._shapes(inputs, outputs)


def test_the_runtime_is_chosen_by_name(litert: LitertBackbone, tiny_bundle: Bundle) -> None:
    assert isinstance(open_backbone("litert", TINY), LitertBackbone)
    assert isinstance(open_backbone("onnx", tiny_bundle.on("onnx").model), OnnxBackbone)
    with pytest.raises(BundleError, match="no runtime 'tensorrt'"):
        open_backbone("tensorrt", TINY)
    assert litert.sha256 == open_backbone("litert", TINY).sha256 != tiny_bundle.form.sha256


def test_runtimes_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def without(name: str, *rest):
        if name.partition(".")[0] in ("onnxruntime", "ai_edge_litert", "tflite_runtime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    assert "onnx" in installed_runtimes()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'fewbeats\[litert\]'"):
        LitertBackbone(TINY)
    with pytest.raises(BundleError, match="ONNX Runtime is not installed"):
        OnnxBackbone(b"")
    monkeypatch.setattr(backbone_module, "find_spec", lambda name: None)
    assert installed_runtimes() == ()
    monkeypatch.setattr(backbone_module, "find_spec", lambda name: name == "tflite_runtime" or None)
    assert installed_runtimes() == ("litert",)


def test_a_damaged_network_is_refused_and_nothing_else_is_said(
    tiny_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    """Flipped bits in the file of a signer who is trusted, such as one whose disk failed."""
    rng, windows, refused = random.Random(1), np.zeros((2, 1, 250), np.float32), 0
    for _ in range(600):
        bad = bytearray(tiny_bundle.model)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        try:
            OnnxBackbone(bytes(bad)).embed(windows)
        except BundleError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "first", ["fewbeats.device.backbone", "fewbeats.export.quantize", "fewbeats.cli.evaluate"]
)
def test_onnx_runtime_writes_nothing_into_the_home_folder(first: str, tmp_path: Path) -> None:
    code = (
        f"import {first}\n"
        "from fewbeats.device.shipped import load_bundle\n"
        "load_bundle(runtime='onnx').backbone\n"
    )
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env | {"HOME": str(tmp_path), "MPLCONFIGDIR": os.devnull},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*"))


def test_the_predecessor_of_litert_runs_the_same_file() -> None:
    """The only LiteRT for 32-bit Arm: pip install tflite-runtime 'numpy<2', Python 3.11."""
    python = os.environ.get("FEWBEATS_TFLITE_PYTHON")
    if not python:
        pytest.skip("FEWBEATS_TFLITE_PYTHON names no Python that has tflite-runtime")
    code = (
        "import json, sys\n"
        "import numpy as np\n"
        "from fewbeats.device.backbone import LitertBackbone, installed_runtimes\n"
        "model, windows = sys.argv[1], np.array(json.load(sys.stdin), dtype=np.float32)\n"
        "loaded = LitertBackbone(open(model, 'rb').read())\n"
        "names = [n for n in ('ai_edge_litert', 'tflite_runtime') if n in sys.modules]\n"
        "print(json.dumps([names, loaded.embed(windows).tolist()]))\n"
    )
    done = subprocess.run(
        [python, "-c", code, str(Path(__file__).parent / "tiny.tflite")],
        input=json.dumps(SINES.tolist()),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(fewbeats.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    names, embeddings = json.loads(done.stdout)
    assert names == ["tflite_runtime"]
    np.testing.assert_allclose(embeddings, GOLDEN, atol=2.5 * STEP)

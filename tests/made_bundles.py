"""Bundles with different backbones that know spikes from sines, and gateways to put them on."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.backbone import OnnxBackbone
from fewbeats.device.bundle import Bundle, Form
from fewbeats.device.calibrate import SupportSet
from fewbeats.device.detector import DetectorConfig
from fewbeats.device.head import Head, PatientHead
from fewbeats.device.keys import DEVELOPMENT_KEY, Keyring, SigningKey
from fewbeats.device.layout import Layout
from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.slots import Slots
from fewbeats.device.support import Support

FEATURES = 4
DEVELOPMENT = Keyring()


def waves(va: bool, count: int = 6, samples: int = 250, seed: int = 0) -> np.ndarray:
    """float32 (count, 1, samples): fast sines for VA, slow spikes for the rest."""
    rng = np.random.default_rng([seed, va])
    t = np.arange(samples) / 125
    rate = rng.uniform(3.5, 5.5, (count, 1)) if va else rng.uniform(1.0, 1.6, (count, 1))
    phase = 2 * np.pi * (rate * t + rng.random((count, 1)))
    wave = np.sin(phase) if va else np.exp(8 * (np.cos(phase) - 1))
    wave = wave - wave.mean(axis=1, keepdims=True)
    return (wave / wave.std(axis=1, keepdims=True)).astype(np.float32)[:, None]


def made_model(seed: int, samples: int = 250) -> bytes:
    """Convolution, rectifier, mean, with weights of its own for each seed."""
    weights = np.random.default_rng(seed).normal(size=(FEATURES, 1, 9)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["windows", "w"], ["c"], strides=[4]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("ReduceMean", ["r", "axes"], ["embeddings"], keepdims=0),
        ],
        "made",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["n", 1, samples])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", FEATURES])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "axes"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())


@cache
def made_bundle(seed: int, version: str = "1.0", window: WindowSpec | None = None) -> Bundle:
    """A bundle whose backbone is that of the seed."""
    window = window or WindowSpec()
    model = made_model(seed, window.samples)
    backbone = OnnxBackbone(model)
    normals = backbone.embed(waves(False, samples=window.samples))
    arrhythmias = backbone.embed(waves(True, samples=window.samples))
    direction = (arrhythmias.mean(axis=0) - normals.mean(axis=0)).astype(np.float64)
    weights = 8 * direction / np.square(direction).sum()
    bias = -float((arrhythmias.mean(axis=0) + normals.mean(axis=0)) @ weights / 2)
    golden = np.concatenate([waves(va, 2, window.samples, seed=9) for va in (False, True)])
    form = Form("onnx", model, arrhythmias, backbone.embed(golden))
    return Bundle(
        name=f"made-{seed}",
        version=version,
        forms=(form,),
        start=Head(weights, bias, 0.5, form.sha256),
        golden_windows=golden,
        window=window,
        adapt=AdaptConfig(),
        detector=DetectorConfig(),
    )


@cache
def packed(
    seed: int,
    version: str = "1.0",
    key: SigningKey = DEVELOPMENT_KEY,
    window: WindowSpec | None = None,
) -> bytes:
    """The file of such a bundle."""
    return made_bundle(seed, version, window).pack(key)


@cache
def packed_unsound(seed: int, version: str = "1.0") -> bytes:
    """A bundle in order but for its golden windows, which its backbone does not reproduce."""
    bundle = made_bundle(seed, version)
    form = replace(bundle.form, golden_embeddings=bundle.golden_embeddings + 1)
    return replace(bundle, forms=(form,)).pack(DEVELOPMENT_KEY)


def calibrated(bundle: Bundle, seed: int = 0, windows: np.ndarray | None = None) -> PatientHead:
    """A wearer's head, fitted to normals alone."""
    samples = bundle.window.samples
    normals = waves(False, 5, samples, seed=100 + seed) if windows is None else windows
    va = np.zeros(len(normals), dtype=bool)
    support = Support(normals, va, bundle.window, confirmed=False)
    return SupportSet.of(bundle, support).fit({"source": "made", "patient": "p"})


def made_slots(root: Path, keyring: Keyring = DEVELOPMENT, trial_starts: int = 3) -> Slots:
    """The slots of a gateway at a root, as if each program opened them anew."""
    (root / "var/lib").mkdir(parents=True, exist_ok=True)
    return Slots(Layout(root), keyring, trial_starts=trial_starts)


def made_config(root: Path, **settings: str | float) -> Layout:
    """A gateway's settings, in development unless they say otherwise."""
    layout = Layout(root)
    layout.keys.mkdir(parents=True, exist_ok=True)
    (root / "var/lib").mkdir(parents=True, exist_ok=True)
    content = {"mode": "development"} | settings
    lines = [f"{k} = {f'{v!r}' if isinstance(v, str) else v}" for k, v in content.items()]
    layout.config.write_text("\n".join(lines) + "\n")
    return layout

"""Bundles of three kilobytes, patients, and the signatures that they bear or should not bear."""

import json
import struct
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import numpy as np

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.backbone import OnnxBackbone
from fewbeats.device.bundle import Bundle, Form
from fewbeats.device.calibrate import SupportSet
from fewbeats.device.container import FORMAT, MAGIC, signed
from fewbeats.device.detector import DetectorConfig
from fewbeats.device.head import Head, PatientHead
from fewbeats.device.keys import SigningKey
from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.support import Support
from made_bundles import made_model

KEY = SigningKey.generate("ward")
SECOND = SigningKey.generate("ward-next")
FOREIGN = SigningKey.generate("foreign")
ENDED = SigningKey.generate("ended", date(2020, 1, 1))


def waves(seed: int, count: int, va: bool) -> np.ndarray:
    """(count, 1, samples): fast sines for VA, slow spikes for the rest."""
    spec, rng = WindowSpec(), np.random.default_rng(seed)
    time = np.arange(spec.samples) / spec.rate_hz
    rate = rng.uniform(3.5, 5.5, (count, 1)) if va else rng.uniform(1.0, 1.6, (count, 1))
    phase = 2 * np.pi * (rate * time + rng.random((count, 1)))
    wave = np.sin(phase) if va else np.exp(8 * (np.cos(phase) - 1))
    wave = (wave - wave.mean(axis=1, keepdims=True)) / wave.std(axis=1, keepdims=True)
    return wave[:, None].astype(np.float32)


@cache
def bundle(version: str, seed: int) -> Bundle:
    """A bundle of a version, whose backbone depends on the seed alone."""
    network = made_model(seed)
    backbone = OnnxBackbone(network)
    golden = np.concatenate([waves(1, 1, False), waves(2, 1, True)])
    form = Form(
        runtime="onnx",
        model=network,
        prototypes=backbone.embed(waves(3, 3, True)),
        golden_embeddings=backbone.embed(golden),
    )
    others, va = (backbone.embed(waves(4, 9, kind)).mean(axis=0) for kind in (False, True))
    weights = 6 * (va - others).astype(np.float64) / np.sum((va - others) ** 2)
    bias = -float(weights @ (va + others)) / 2
    return Bundle(
        name="tiny",
        version=version,
        forms=(form,),
        start=Head(weights, bias, 0.5, backbone.sha256),
        golden_windows=golden,
        window=WindowSpec(),
        adapt=AdaptConfig(),
        detector=DetectorConfig(),
        card={"data": "none"},
    )


@cache
def packed(version: str, seed: int, key: SigningKey = KEY) -> bytes:
    """The file of such a bundle."""
    return bundle(version, seed).pack(key)


@cache
def packed_retuned(version: str, seed: int) -> bytes:
    """The same, but for its windows, which are filtered in another way."""
    return replace(bundle(version, seed), window=WindowSpec(low_hz=1.0)).pack(KEY)


@cache
def calibration(version: str, seed: int, wearer: int) -> PatientHead:
    """A wearer's head for such a bundle, with the windows that it was fitted to."""
    support = Support(waves(100 + wearer, 4, False), np.zeros(4, dtype=bool), WindowSpec(), True)
    return SupportSet.of(bundle(version, seed), support).fit()


def without_windows(head: PatientHead) -> PatientHead:
    """The same head as an older fewbeats kept it, which cannot be fitted to another backbone."""
    return replace(head, support=None)


def manifest_of(data: bytes) -> dict[str, Any]:
    """The manifest of a sound bundle."""
    body, _ = signed(data, "the bundle")
    (length,) = struct.unpack_from("<I", body, 12)
    found: dict[str, Any] = json.loads(bytes(body[16 : 16 + length]))
    return found


def forged(
    data: bytes,
    manifest: dict[str, Any] | bytes | None = None,
    key: SigningKey = KEY,
    version: int = FORMAT,
) -> bytes:
    """A sound bundle with another manifest or format, correctly signed."""
    body, _ = signed(data, "the bundle")
    (length,) = struct.unpack_from("<I", body, 12)
    text = bytes(body[16 : 16 + length]) if manifest is None else manifest
    if isinstance(text, dict):
        text = json.dumps(text, sort_keys=True, separators=(",", ":")).encode()
    new = struct.pack("<8sII", MAGIC, version, len(text)) + text + bytes(body[16 + length :])
    new += key.public.raw
    return new + key.sign(new)

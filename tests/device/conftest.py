"""A bundle small enough to damage byte by byte."""

import numpy as np
import pytest

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.backbone import OnnxBackbone
from fewbeats.device.bundle import Bundle, Form
from fewbeats.device.detector import DetectorConfig
from fewbeats.device.head import Head
from fewbeats.device.preprocess import WindowSpec
from made_bundles import made_model

SAMPLES = 250


@pytest.fixture(scope="session")
def tiny_bundle() -> Bundle:
    model = made_model(5)
    backbone = OnnxBackbone(model)
    rng = np.random.default_rng(1)
    golden = rng.normal(size=(2, 1, SAMPLES)).astype(np.float32)
    form = Form(
        runtime="onnx",
        model=model,
        prototypes=rng.normal(size=(3, 4)).astype(np.float32),
        golden_embeddings=backbone.embed(golden),
    )
    return Bundle(
        name="tiny",
        version="1",
        forms=(form,),
        start=Head(rng.normal(size=4), 0.2, 0.5, backbone.sha256),
        golden_windows=golden,
        window=WindowSpec(),
        adapt=AdaptConfig(),
        detector=DetectorConfig(),
        card={"data": "none"},
    )

"""A bundle small enough to damage byte by byte."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.backbone import OnnxBackbone
from fewbeats.device.bundle import Bundle, Form
from fewbeats.device.detector import DetectorConfig
from fewbeats.device.head import Head
from fewbeats.device.preprocess import WindowSpec

SAMPLES = 250


def tiny_model(features: int = 4, samples: int = SAMPLES) -> bytes:
    """Convolution, rectifier, mean: the shape of a backbone, without its knowledge."""
    weights = np.random.default_rng(5).normal(size=(features, 1, 9)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["windows", "w"], ["c"], strides=[4]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("ReduceMean", ["r", "axes"], ["embeddings"], keepdims=0),
        ],
        "tiny",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["n", 1, samples])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", features])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="session")
def tiny_bundle() -> Bundle:
    model = tiny_model()
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

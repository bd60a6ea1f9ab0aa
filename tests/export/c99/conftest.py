"""Backbones for the C99 export: the shipped one, and small ones made by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fewbeats.device.shipped import load_bundle

SAMPLES, CHANNELS, FEATURES = 8, 3, 2


def made_by_hand() -> onnx.ModelProto:
    """Conv, mean, Gemm, quantised by powers of two: rounding meets a tie at every turn."""
    rng = np.random.default_rng(5)
    constants = {
        "window_scale": np.float32(2**-4),
        "window_zero": np.uint8(100),
        "conv_weight": rng.integers(-64, 65, (CHANNELS, 1, 3)).astype(np.int8),
        "conv_weight_scale": np.float32([2**-6, 2**-5, 2**-6]),
        "conv_bias": np.int32([9, -30, 5]),
        "conv_bias_scale": np.float32([2**-10, 2**-9, 2**-10]),
        "conv_scale": np.float32(2**-4),
        "conv_zero": np.uint8(0),
        "axes": np.int64([2]),
        "mean_scale": np.float32(2**-5),
        "mean_zero": np.uint8(0),
        "gemm_weight": rng.integers(-64, 65, (FEATURES, CHANNELS)).astype(np.int8),
        "gemm_weight_scale": np.float32([2**-6, 2**-6]),
        "gemm_bias": np.int32([100, -700]),
        "gemm_bias_scale": np.float32([2**-11, 2**-11]),
        "gemm_scale": np.float32(2**-3),
        "gemm_zero": np.uint8(120),
        "conv_weight_zero": np.zeros(CHANNELS, dtype=np.int8),
        "conv_bias_zero": np.zeros(CHANNELS, dtype=np.int32),
        "gemm_weight_zero": np.zeros(FEATURES, dtype=np.int8),
        "gemm_bias_zero": np.zeros(FEATURES, dtype=np.int32),
    }

    def fenced(name: str, result: str) -> list[onnx.NodeProto]:
        step, numbers = f"{name}_step", [f"{name}_scale", f"{name}_zero"]
        return [
            helper.make_node("QuantizeLinear", [name, *numbers], [step]),
            helper.make_node("DequantizeLinear", [step, *numbers], [result]),
        ]

    def constant(name: str) -> onnx.NodeProto:
        return helper.make_node(
            "DequantizeLinear", [name, f"{name}_scale", f"{name}_zero"], [f"{name}_real"], axis=0
        )

    nodes = [
        *map(constant, ("conv_weight", "conv_bias", "gemm_weight", "gemm_bias")),
        *fenced("window", "window_real"),
        helper.make_node(
            "Conv", ["window_real", "conv_weight_real", "conv_bias_real"], ["conv"], pads=[1, 1]
        ),
        *fenced("conv", "conv_real"),
        helper.make_node("ReduceMean", ["conv_real", "axes"], ["mean"], keepdims=0),
        *fenced("mean", "mean_real"),
        helper.make_node(
            "Gemm", ["mean_real", "gemm_weight_real", "gemm_bias_real"], ["gemm"], transB=1
        ),
        *fenced("gemm", "embedding"),
    ]
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", 1, SAMPLES])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", FEATURES])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def hand_made() -> onnx.ModelProto:
    """A small int8 backbone, new for each test, to be spoilt."""
    return made_by_hand()


@pytest.fixture(scope="session")
def hand_made_bytes() -> bytes:
    return made_by_hand().SerializeToString(deterministic=True)


@pytest.fixture(scope="session")
def shipped_model() -> bytes:
    """The int8 ONNX model of the bundle that comes with fewbeats."""
    return load_bundle(runtime="onnx").model


@pytest.fixture(scope="session")
def golden_windows() -> np.ndarray:
    return load_bundle(runtime="onnx").golden_windows


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of the C files that tests compile the backbone with."""
    return Path(__file__).parent


@pytest.fixture(scope="session")
def hard_windows() -> Callable[[int], np.ndarray]:
    """``hard_windows(samples)``: noise of every size, silence, steps, saturation, no numbers."""

    def make(samples: int) -> np.ndarray:
        rng = np.random.default_rng(samples)
        noise = (
            rng.standard_normal((240, 1, samples))
            * np.repeat(10.0 ** np.arange(-3, 5), 30)[:, None, None]
        )
        odd = np.zeros((10, 1, samples))
        odd[1], odd[2], odd[3] = np.inf, -np.inf, np.nan
        odd[4], odd[5] = 3.4e38, -3.4e38
        odd[6, 0, ::2], odd[7, 0, samples // 2] = 1e9, 1e9
        odd[8, 0, samples // 2 :] = -7.5
        odd[9] = 1e-42  # not normalised
        return np.concatenate([noise, odd]).astype(np.float32)

    return make

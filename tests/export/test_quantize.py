"""fp32 and int8 graphs."""

import numpy as np
import onnx
import pytest

from fewbeats.device.backbone import OnnxBackbone
from fewbeats.errors import ExportError
from fewbeats.export.quantize import onnx_step, quantize
from fewbeats.training.trained import Trained


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(256, 1, 250)).astype(np.float32)


def test_the_fp32_graph_is_the_network(fp32: bytes, windows: np.ndarray, trained: Trained) -> None:
    embeddings = OnnxBackbone(fp32).embed(windows)
    np.testing.assert_allclose(embeddings, trained.embed(windows), atol=1e-5)


def test_batch_norm_is_folded_into_the_convolutions(fp32: bytes) -> None:
    kinds = {node.op_type for node in onnx.load_from_string(fp32).graph.node}
    assert "BatchNormalization" not in kinds and "Conv" in kinds


def test_weights_are_int8_with_seven_bits(fp32: bytes, windows: np.ndarray) -> None:
    graph = onnx.load_from_string(quantize(fp32, windows)).graph
    weights = [onnx.numpy_helper.to_array(i) for i in graph.initializer]
    kernels = [w for w in weights if w.dtype == np.int8 and w.ndim >= 2]
    assert kernels and max(int(np.abs(w.astype(int)).max()) for w in kernels) <= 64


def test_int8_does_not_depend_on_the_batch(fp32: bytes, windows: np.ndarray) -> None:
    backbone = OnnxBackbone(quantize(fp32, windows))
    together = backbone.embed(windows)
    apart = np.concatenate([backbone.embed(windows[i : i + 1]) for i in range(len(windows))])
    np.testing.assert_array_equal(together, apart)


def test_too_few_windows_are_refused(fp32: bytes, windows: np.ndarray) -> None:
    with pytest.raises(ExportError, match="at least 64"):
        quantize(fp32, windows[:10])


def test_the_step_is_that_of_the_embeddings(fp32: bytes, windows: np.ndarray) -> None:
    int8 = quantize(fp32, windows)
    values = OnnxBackbone(int8).embed(windows) / onnx_step(int8)
    np.testing.assert_allclose(values, np.rint(values), atol=1e-3)
    with pytest.raises(ExportError, match="dequantisation"):
        onnx_step(fp32)

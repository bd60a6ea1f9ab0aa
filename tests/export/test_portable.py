"""The graph that is shipped answers alike on every processor."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fewbeats.device.backbone import OnnxBackbone
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import ExportError
from fewbeats.export import portable
from fewbeats.export.c99.graph import read_network
from fewbeats.export.c99.network import Mean
from fewbeats.export.portable import check_portable, settled
from fewbeats.export.quantize import quantize


@pytest.fixture(scope="module")
def int8(fp32: bytes) -> bytes:
    windows = np.random.default_rng(0).normal(size=(256, 1, 250)).astype(np.float32)
    return quantize(fp32, windows)


def undecided(model: bytes) -> int:
    layers = read_network(model).layers
    return sum(len(layer.undecided) for layer in layers if isinstance(layer, Mean))


def with_mean_scale(model: bytes, scale: float) -> bytes:
    """The graph with another grid for its mean over time."""
    proto = onnx.load_from_string(model)
    (mean,) = [n for n in proto.graph.node if n.op_type == "ReduceMean"]
    (rounded,) = [n for n in proto.graph.node if mean.output[0] in n.input]
    (before,) = [n for n in proto.graph.node if mean.input[0] in n.output]
    for initializer in proto.graph.initializer:
        if initializer.name in (rounded.input[1], before.input[1]):
            value = scale if initializer.name == rounded.input[1] else 1.0
            moved = numpy_helper.from_array(np.float32(value).reshape(()), initializer.name)
            initializer.CopyFrom(moved)
    return proto.SerializeToString(deterministic=True)


def test_other_operators_are_refused(int8: bytes) -> None:
    check_portable(int8)
    foreign = onnx.load_from_string(int8)
    foreign.graph.node[-1].op_type = "Softmax"
    foreign.graph.node[-2].domain = "com.microsoft"
    assert settled(foreign.SerializeToString()) == foreign.SerializeToString()
    with pytest.raises(ExportError, match=r"holds Softmax, com\.microsoft\.QuantizeLinear: only"):
        check_portable(foreign.SerializeToString())


def test_the_shipped_graph_is_settled() -> None:
    model = load_bundle(runtime="onnx").model
    assert undecided(model) == 0
    assert settled(model) is model


def test_a_mean_on_the_edge_is_moved_by_a_hair(
    int8: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Half a step of the result is a whole number of steps of the sum: ties all over.
    layer = next(la for la in read_network(int8).layers if isinstance(la, Mean))
    monkeypatch.setattr("fewbeats.export.c99.graph.BIAS_UNIT_TOLERANCE", 1e9)
    tied = with_mean_scale(int8, 2.0 / layer.in_length)
    assert undecided(tied) > 0
    done = settled(tied)
    assert undecided(done) == 0 and settled(done) is done
    windows = np.random.default_rng(1).normal(size=(64, 1, 250)).astype(np.float32)
    OnnxBackbone(done).embed(windows)
    monkeypatch.setattr(portable, "_NUDGE", 0.0)
    with pytest.raises(ExportError, match="rounded in two ways"):
        settled(tied)

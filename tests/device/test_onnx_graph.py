"""What a bundle's network may ask for: a backbone of bounded size, and nothing else."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from fewbeats.device import onnx_graph
from fewbeats.device.bundle import Bundle
from fewbeats.device.keys import DEVELOPMENT_KEY
from fewbeats.device.onnx_graph import check_graph
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import BundleError

WINDOWS, SAMPLES = 8, 250


def checked(model: ModelProto) -> None:
    check_graph(model.SerializeToString(), WINDOWS, SAMPLES)


def constant(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def subgraph() -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "body", [], [])


@pytest.fixture
def tiny(tiny_bundle: Bundle) -> ModelProto:
    return onnx.load_from_string(tiny_bundle.model)


def test_backbones_are_let_through(tiny_bundle: Bundle) -> None:
    for bundle in (tiny_bundle, load_bundle()):
        windows = len(bundle.golden_windows)
        check_graph(bundle.on("onnx").model, windows, bundle.window.samples)


def _loop(model: ModelProto) -> None:
    node = helper.make_node("Loop", ["most", ""], ["y"], body=subgraph())
    model.graph.node.append(node)


def _hidden_subgraph(model: ModelProto) -> None:
    attribute = AttributeProto(name="body", type=AttributeProto.GRAPH, g=subgraph())
    model.graph.node[1].attribute.append(attribute)


def _blob(model: ModelProto) -> None:
    model.graph.initializer.append(constant("big", 500_000_000))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["big"], ["blob"]))


def _foreign_domain(model: ModelProto) -> None:
    model.graph.node[1].domain = "com.microsoft"


def _function(model: ModelProto) -> None:
    relu = helper.make_node("Relu", ["a"], ["b"])
    opset = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("", "Relu", ["a"], ["b"], [relu], opset))


def _file(model: ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")


def _padded(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("pads", [0, 2_000_000]))


def _packed_padding(model: ModelProto) -> None:
    """The same as the wire format has it too: many numbers in one field."""
    attribute = AttributeProto(name="pads", type=AttributeProto.INTS)
    attribute.MergeFromString(b"\x42\x05\x00\xff\xff\xff\x01")
    assert list(attribute.ints) == [0, 0x3FFFFF]
    model.graph.node[0].attribute.append(attribute)


def _negative(model: ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -4


def _wide(model: ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((20_000, 1, 9), np.float32), "w")
    )


def _laborious(model: ModelProto) -> None:
    weights = np.zeros((300, 300, 40), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "many"))
    for number in range(8):
        model.graph.node.append(helper.make_node("Conv", ["r", "many"], [f"m{number}"]))


def _long(model: ModelProto) -> None:
    weights = np.zeros((1, 300, 300), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "long"))
    model.graph.node.append(helper.make_node("Conv", ["r", "long"], ["l"]))


def _computed_weights(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Conv", ["r", "r"], ["l"]))


def _folded(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Conv", ["w", "w"], ["l"]))


def _endless(model: ModelProto) -> None:
    for number in range(onnx_graph.MOST_NODES):
        model.graph.node.append(helper.make_node("Relu", ["r"], [f"n{number}"]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_loop, "field 6"),
        (_hidden_subgraph, "field 6"),
        (_blob, "'ConstantOfShape'"),
        (_foreign_domain, "'Relu'"),
        (_function, "field 25"),
        (_file, "field 1[34]"),
        (_padded, "a tensor may take"),
        (_packed_padding, "a tensor may take"),
        (_negative, "a tensor may take"),
        (_wide, "a tensor may take"),
        (_laborious, "multiplications"),
        (_long, "takes more than"),
        (_computed_weights, "must be constants"),
        (_folded, "must be constants"),
        (_endless, "1002 operators|1003 operators"),
    ],
)
def test_what_is_more_than_a_backbone_is_refused(
    tiny: ModelProto, change: Callable[[ModelProto], None], why: str
) -> None:
    checked(tiny)
    change(tiny)
    with pytest.raises(BundleError, match=why):
        checked(tiny)


@given(st.binary(max_size=200))
def test_rubbish_is_refused(rubbish: bytes) -> None:
    with pytest.raises(BundleError):
        check_graph(rubbish, WINDOWS, SAMPLES)


@given(st.data())
def test_a_damaged_network_is_judged_or_refused(tiny_bundle: Bundle, data: st.DataObject) -> None:
    bad = bytearray(tiny_bundle.model)
    for _ in range(data.draw(st.integers(1, 4))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_graph(bytes(bad), WINDOWS, SAMPLES)
    except BundleError as error:
        assert str(error)


def test_a_bundle_from_a_file_is_looked_at_before_its_network_is_run(
    tiny_bundle: Bundle, tiny: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.graph.node[1].op_type = "Sigmoid"
    form = replace(tiny_bundle.form, model=tiny.SerializeToString())
    start = replace(tiny_bundle.start, backbone_sha256=form.sha256)
    made = replace(tiny_bundle, forms=(form,), start=start)
    with pytest.raises(BundleError, match="golden windows"):
        _ = made.backbone  # made here: any operators, as for networks that are only compared
    monkeypatch.setattr("fewbeats.device.bundle.open_backbone", None)
    with pytest.raises(BundleError, match="'Sigmoid', which is none of"):
        _ = Bundle.unpack(made.pack(DEVELOPMENT_KEY)).backbone

"""What is read from a graph, and what is refused."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fewbeats.errors import ExportError
from fewbeats.export.c99.graph import read_network
from fewbeats.export.c99.network import Convolution, Mean

Model = onnx.ModelProto


def node_of(model: Model, op_type: str, result: str | None = None) -> onnx.NodeProto:
    (node, *_) = (
        n for n in model.graph.node if n.op_type == op_type and result in (None, n.output[0])
    )
    return node


def set_constant(model: Model, name: str, values: object) -> None:
    (constant,) = (i for i in model.graph.initializer if i.name == name)
    constant.CopyFrom(numpy_helper.from_array(np.asarray(values), name))


def insert_after(model: Model, tensor: str, op_type: str, **attributes: object) -> None:
    """Put a node between a tensor and the one that takes it."""
    nodes = model.graph.node
    index = next(i for i, n in enumerate(nodes) if tensor in n.input)
    new = helper.make_node(op_type, [tensor], [f"{tensor}_{op_type}"], **attributes)
    nodes[index].input[0] = new.output[0]
    nodes.insert(index, new)


def test_the_shipped_backbone_is_read(shipped_model: bytes) -> None:
    network = read_network(shipped_model)
    assert (network.samples, network.features) == (250, 32)
    kinds = [type(layer) for layer in network.layers]
    assert kinds == [Convolution] * 5 + [Mean, Convolution]


def test_no_name_is_relied_on(hand_made: Model) -> None:
    text = onnx.printer.to_text(hand_made)
    for old, new in (("window", "a"), ("conv_", "b_"), ("gemm", "c"), ("mean_", "d_")):
        text = text.replace(old, new)
    renamed = read_network(onnx.parser.parse_model(text).SerializeToString())
    plain = read_network(hand_made.SerializeToString())
    assert [la.after for la in renamed.layers] == [lb.after for lb in plain.layers]


def test_a_relu_is_crossed_where_quantising_is_one(hand_made: Model) -> None:
    plain = read_network(hand_made.SerializeToString())
    insert_after(hand_made, "conv", "Relu")
    assert len(read_network(hand_made.SerializeToString()).layers) == len(plain.layers)


def test_layers_without_biases(hand_made: Model) -> None:
    del node_of(hand_made, "Conv").input[2]
    assert not read_network(hand_made.SerializeToString()).layers[0].biases.any()


def spoil_attribute(op_type: str, **values: object) -> Callable[[Model], None]:
    def spoil(model: Model) -> None:
        node = node_of(model, op_type)
        for name, value in values.items():
            for attribute in list(node.attribute):
                if attribute.name == name:
                    node.attribute.remove(attribute)
            node.attribute.append(helper.make_attribute(name, value))

    return spoil


def spoil_constant(name: str, values: object) -> Callable[[Model], None]:
    return lambda model: set_constant(model, name, values)


def relu_above_zero(model: Model) -> None:
    set_constant(model, "conv_zero", np.uint8(3))
    insert_after(model, "conv", "Relu")


def branch(model: Model) -> None:
    model.graph.node.append(helper.make_node("Relu", ["conv_real"], ["side"]))


def off_the_chain(model: Model) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "alone"))
    model.graph.node.insert(0, helper.make_node("Relu", ["alone"], ["nowhere"]))
    model.graph.node.insert(1, helper.make_node("Relu", ["nowhere"], ["still_nowhere"]))


def open_length(model: Model) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "length"


def two_inputs(model: Model) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def two_outputs(model: Model) -> None:
    model.graph.output.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["n", 3]))


def signed_activations(model: Model) -> None:
    set_constant(model, "conv_zero", np.int8(-128))


def other_numbers(model: Model) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "other"))
    node_of(model, "DequantizeLinear", "conv_real").input[1] = "other"


def missing_zero(model: Model) -> None:
    del node_of(model, "QuantizeLinear", "conv_step").input[2]


def weights_without_zero(model: Model) -> None:
    del node_of(model, "DequantizeLinear", "gemm_weight_real").input[2]


def float_weights(model: Model) -> None:
    real = numpy_helper.from_array(np.zeros((3, 1, 3), np.float32), "floats")
    model.graph.initializer.append(real)
    node_of(model, "Conv").input[1] = "floats"


def elsewhere(model: Model) -> None:
    constant = model.graph.initializer[0]
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="weights.bin")


def no_mean(model: Model) -> None:
    graph = model.graph
    keep = [n for n in graph.node if "mean" not in n.output[0] and "gemm" not in n.output[0]]
    del graph.node[:]
    graph.node.extend(n for n in keep if n.op_type != "ReduceMean" and "embedding" not in n.output)
    graph.output[0].name = "conv_real"
    del graph.output[0].type.tensor_type.shape.dim[:]
    for size in (1, 3, 8):
        graph.output[0].type.tensor_type.shape.dim.add().dim_value = size


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda m: insert_after(m, "conv", "Sigmoid"), "goes into a Sigmoid, not into a Quant"),
        (lambda m: insert_after(m, "conv_real", "Relu"), "goes into a ReduceMean, not"),
        (lambda m: setattr(node_of(m, "Conv"), "op_type", "ConvTranspose"), "a ConvTranspose"),
        (relu_above_zero, "not quantised with zero point 0"),
        (branch, "branches at 'conv_real'"),
        (off_the_chain, "off its chain"),
        (open_length, "fixed length"),
        (two_inputs, "one input and one output, this graph has 2 and 1"),
        (two_outputs, "one input and one output, this graph has 1 and 2"),
        (signed_activations, "uint8"),
        (other_numbers, "other numbers"),
        (missing_zero, "uint8"),
        (weights_without_zero, "zero point 0"),
        (spoil_constant("conv_weight_zero", np.int8([1, 0, 0])), "zero point 0"),
        (float_weights, "no constant in int8"),
        (no_mean, "ends without a mean"),
        (elsewhere, "ONNX|another file"),
        (spoil_attribute("Conv", dilations=[2]), "dilations = "),
        (spoil_attribute("Conv", auto_pad="SAME_UPPER"), "auto_pad = "),
        (spoil_attribute("Conv", group=2), "does not fit 1 channels"),
        (spoil_attribute("ReduceMean", keepdims=1), "keepdims = 1"),
        (spoil_attribute("Gemm", alpha=0.5), "alpha = 0.5"),
        (spoil_attribute("Gemm", transB=0), "with transB"),
        (spoil_constant("axes", np.int64([1])), "over time"),
        (spoil_constant("conv_scale", np.float32(0)), "uint8"),
        (spoil_constant("conv_scale", np.float32(np.nan)), "uint8"),
        (spoil_constant("conv_bias_scale", np.float32([1, 1, 1])), "in units of"),
        (spoil_constant("conv_bias", np.int32([2**31 - 1, 0, 0])), "more than 32 bits"),
        (spoil_constant("conv_weight", np.full((3, 1, 3), 65, np.int8)), "reduced range"),
        (spoil_constant("conv_weight", np.zeros((3, 1, 3), np.uint8)), "is not int8"),
        (spoil_constant("conv_weight_scale", np.float32([1, -1, 1])), "is not int8"),
        (spoil_constant("gemm_weight", np.zeros((2, 5), np.int8)), "features, 3"),
    ],
)
def test_anything_else_is_refused(
    hand_made: Model, spoil: Callable[[Model], None], sentence: str
) -> None:
    spoil(hand_made)
    with pytest.raises(ExportError, match=sentence):
        read_network(hand_made.SerializeToString())


@pytest.mark.parametrize("model", [b"", b"not a model", bytes(1000)])
def test_what_is_no_model_is_refused(model: bytes) -> None:
    with pytest.raises(ExportError, match="no sound ONNX model"):
        read_network(model)


def test_a_cut_or_flipped_model_is_an_error_of_ours_or_still_a_network(
    hand_made: Model,
) -> None:
    data = hand_made.SerializeToString()
    for end in range(0, len(data), 37):
        with pytest.raises(ExportError):
            read_network(data[:end])
    for at in range(0, len(data), 11):
        spoilt = bytearray(data)
        spoilt[at] ^= 0x10
        try:
            read_network(bytes(spoilt))
        except ExportError:
            continue

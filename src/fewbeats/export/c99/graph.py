"""An int8 backbone, read from its ONNX graph.

The graph is one chain: quantised windows, convolutions, a mean over time, linear layers. Each
layer is fenced by QuantizeLinear and DequantizeLinear, which ONNX Runtime fuses into integer
arithmetic; what is read here is that fused form. A graph that holds anything else is refused:
C code that almost does what the gateway does would judge a patient by foreign embeddings.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper

from fewbeats.errors import ExportError
from fewbeats.export.c99.network import Convolution, Layer, Mean, Network, Steps

MAX_ACCUMULATOR = 2**31 - 1
MAX_WEIGHT = 64
"""Above it ONNX Runtime saturates sums of two products on processors without VNNI (AVX2's
``vpmaddubsw``), and gateways differ among themselves: see ``export/quantize.py``."""
BIAS_UNIT_TOLERANCE = 1e-4
"""ONNX Runtime takes biases for integers in units of input times weight, whatever their scale."""


def read_network(model: bytes) -> Network:
    """Read a backbone from the bytes of an int8 ONNX file.

    Raises:
        ExportError: they are no ONNX model, or its graph holds what the C code cannot do.
    """
    try:
        proto = onnx.load_model_from_string(model)
        onnx.checker.check_model(proto)
    except (DecodeError, UnicodeDecodeError, onnx.checker.ValidationError) as error:
        raise ExportError(f"This is no sound ONNX model: {error}") from error
    return _Chain(proto.graph).network()


@dataclass(frozen=True, slots=True, eq=False)
class _Parameter:
    """A constant of a layer: its integers, and the size of one of them in each channel."""

    values: NDArray[Any]
    scales: NDArray[np.float32]


class _Chain:
    """A graph that is walked from its input to its output, each node once."""

    def __init__(self, graph: GraphProto) -> None:
        if any(i.data_location == onnx.TensorProto.EXTERNAL for i in graph.initializer):
            raise ExportError("The model keeps weights in another file: export it as one file.")
        try:
            self._constants: dict[str, NDArray[Any]] = {
                i.name: numpy_helper.to_array(i) for i in graph.initializer
            }
        except (ValueError, TypeError, KeyError) as error:
            raise ExportError(f"A constant of the model cannot be read: {error}") from error
        inputs = [i for i in graph.input if i.name not in self._constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ExportError(
                f"A backbone has one input and one output, this graph has {len(inputs)} and "
                f"{len(graph.output)}."
            )
        self._input, self._output = inputs[0], graph.output[0].name
        self._parameters: dict[str, NodeProto] = {}  # the nodes that dequantise constants
        self._users: dict[str, NodeProto] = {}  # the node that takes each tensor of the chain
        for node in graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in self._constants:
                self._parameters[node.output[0]] = node
                continue
            for name in node.input:
                if name in self._constants or name in self._parameters:
                    continue
                if name in self._users:
                    raise ExportError(
                        f"The graph branches at {name!r}, which goes into a "
                        f"{self._users[name].op_type} and a {node.op_type}: the C code can only "
                        f"follow a chain of layers."
                    )
                self._users[name] = node

    def network(self) -> Network:
        """Walk the whole chain."""
        dims = [int(d.dim_value) for d in self._input.type.tensor_type.shape.dim]
        if len(dims) != 3 or dims[1] != 1 or dims[2] < 1:
            raise ExportError(
                f"A backbone takes windows (n, 1, samples) of a fixed length, this graph takes "
                f"{tuple(dims)}, where 0 is an open dimension."
            )
        length, channels, flat = dims[2], 1, False
        before, tensor = self._quantised(self._input.name)
        layers: list[Layer] = []
        while tensor != self._output:
            node = self._take(tensor)
            after, tensor = self._quantised(self._without_relu(node.output[0]))
            layer: Layer
            if node.op_type == "Conv" and not flat:
                layer = self._convolution(node, length, channels, before, after)
            elif node.op_type == "ReduceMean" and not flat:
                layer, flat = self._mean(node, length, channels, before, after), True
            elif node.op_type == "Gemm" and flat:
                layer = self._linear(node, channels, before, after)
            else:
                raise ExportError(
                    f"The graph has a {node.op_type} ({node.output[0]!r}) "
                    f"{'after' if flat else 'before'} its mean over time: the C code can do Conv "
                    f"and Relu, then one ReduceMean, then Gemm."
                )
            layers.append(layer)
            length, channels, before = layer.out_length, layer.out_channels, after
        if not flat:
            raise ExportError("The graph ends without a mean over time: it gives no embedding.")
        if self._users:
            spare = next(iter(self._users.values()))
            raise ExportError(
                f"The graph has a {spare.op_type} ({spare.output[0]!r}) off its chain of layers."
            )
        return Network(dims[2], tuple(layers))

    def _take(self, tensor: str) -> NodeProto:
        node = self._users.pop(tensor, None)
        if node is None:
            raise ExportError(f"The graph's chain of layers breaks at {tensor!r}.")
        return node

    def _quantised(self, tensor: str) -> tuple[Steps, str]:
        """Cross a QuantizeLinear and its DequantizeLinear."""
        found: list[Steps] = []
        for op_type in ("QuantizeLinear", "DequantizeLinear"):
            node = self._take(tensor)
            if node.op_type != op_type:
                raise ExportError(
                    f"{tensor!r} goes into a {node.op_type}, not into a {op_type}: the C code "
                    f"needs a model with every layer in int8."
                )
            _attributes(node, axis=None)
            scale, zero = self._constant(node, 1), self._constant(node, 2)
            if (
                scale is None
                or zero is None
                or scale.dtype != np.float32
                or scale.size != 1
                or zero.dtype != np.uint8
                or zero.size != 1
                or not 0 < scale.item() < np.inf
            ):
                raise ExportError(
                    f"{tensor!r} is not quantised to uint8 by one constant scale and zero point."
                )
            found.append(Steps(np.float32(scale.item()), int(zero.item())))
            tensor = node.output[0]
        if found[0] != found[1]:
            raise ExportError(f"{tensor!r} is dequantised by other numbers than it was quantised.")
        return found[0], tensor

    def _without_relu(self, tensor: str) -> str:
        """Cross a Relu, if one comes: quantising to steps that begin at zero is one itself."""
        node = self._users.get(tensor)
        if node is None or node.op_type != "Relu":
            return tensor
        result = str(self._take(tensor).output[0])
        after = self._users.get(result)
        zero = None if after is None else self._constant(after, 2)
        if zero is None or zero.any():
            raise ExportError(
                f"The Relu {result!r} is not quantised with zero point 0: the C code has no Relu "
                f"beside the one that such quantising is."
            )
        return result

    def _constant(self, node: NodeProto, index: int) -> NDArray[Any] | None:
        return self._constants.get(node.input[index]) if index < len(node.input) else None

    def _parameter(self, node: NodeProto, index: int, dtype: type[np.generic]) -> _Parameter:
        """The constant that a layer gets through a DequantizeLinear."""
        name = node.input[index]
        source = self._parameters.get(name)
        if source is None:
            raise ExportError(
                f"The {node.op_type} {node.output[0]!r} has {name!r}, which is no constant in "
                f"int8: quantise the model first."
            )
        _attributes(source, axis=0)
        values = self._constants[source.input[0]]
        scales, zeros = self._constant(source, 1), self._constant(source, 2)
        if (
            values.dtype != dtype
            or values.ndim == 0
            or scales is None
            or scales.dtype != np.float32
            or scales.size not in (1, len(values))
            or not (np.isfinite(scales) & (scales > 0)).all()
            or zeros is None  # without one ONNX Runtime leaves a Gemm in float
            or zeros.size != scales.size
            or zeros.any()
        ):
            raise ExportError(
                f"{name!r} is not {np.dtype(dtype)} with zero point 0 and one scale, or one scale "
                f"a channel: the C code can do no other."
            )
        return _Parameter(values, np.broadcast_to(scales.ravel(), (len(values),)))

    def _convolution(
        self, node: NodeProto, length: int, channels: int, before: Steps, after: Steps
    ) -> Convolution:
        found = _attributes(
            node,
            group=None,
            pads=None,
            strides=None,
            kernel_shape=None,
            auto_pad=b"NOTSET",
            dilations=[1],
        )
        weights = self._parameter(node, 1, np.int8)
        shape = weights.values.shape
        groups, strides = int(found.get("group", 1)), found.get("strides", [1])
        pads = found.get("pads", [0, 0])
        if len(shape) != 3 or len(strides) != 1 or len(pads) != 2 or shape[1] * groups != channels:
            raise ExportError(
                f"The Conv {node.output[0]!r} with weights {shape} in {groups} groups does not "
                f"fit {channels} channels of {length} samples."
            )
        return self._layer(
            node,
            _Parameter(weights.values.transpose(0, 2, 1), weights.scales),
            in_length=length,
            in_channels=channels,
            out_length=(length + sum(pads) - shape[2]) // strides[0] + 1,
            groups=groups,
            stride=int(strides[0]),
            padding=int(pads[0]),
            before=before,
            after=after,
        )

    def _linear(self, node: NodeProto, channels: int, before: Steps, after: Steps) -> Convolution:
        found = _attributes(node, alpha=1.0, beta=1.0, transA=0, transB=None)
        weights = self._parameter(node, 1, np.int8)
        if not found.get("transB", 0) or weights.values.shape[1:] != (channels,):
            raise ExportError(
                f"The Gemm {node.output[0]!r} needs weights (features, {channels}) with transB, "
                f"it has {weights.values.shape}."
            )
        return self._layer(
            node,
            _Parameter(weights.values[:, None, :], weights.scales),
            in_length=1,
            in_channels=channels,
            out_length=1,
            groups=1,
            stride=1,
            padding=0,
            before=before,
            after=after,
        )

    def _layer(
        self, node: NodeProto, weights: _Parameter, before: Steps, after: Steps, **shape: int
    ) -> Convolution:
        """Bind weights, biases and scales."""
        unit = before.scale * weights.scales  # in float32, as ONNX Runtime multiplies
        if weights.values.size and np.abs(weights.values.astype(np.int16)).max() > MAX_WEIGHT:
            raise ExportError(
                f"The weights of {node.output[0]!r} go beyond {MAX_WEIGHT}, where ONNX Runtime "
                f"gives other sums on some processors: quantise with a reduced range."
            )
        biases = np.zeros(len(unit), dtype=np.int32)
        if len(node.input) > 2 and node.input[2]:
            given = self._parameter(node, 2, np.int32)
            if given.values.shape != biases.shape or not np.allclose(
                given.scales, unit, rtol=BIAS_UNIT_TOLERANCE, atol=0
            ):
                raise ExportError(
                    f"The biases of {node.output[0]!r} are not in units of its input times its "
                    f"weights."
                )
            biases = given.values
        layer = Convolution(
            weights=weights.values,
            biases=biases,
            scales=unit / after.scale,
            before=before,
            after=after,
            **shape,
        )
        if layer.most > MAX_ACCUMULATOR:
            raise ExportError(
                f"The sums of {node.output[0]!r} may reach {layer.most}, more than 32 bits hold."
            )
        return layer

    def _mean(
        self, node: NodeProto, length: int, channels: int, before: Steps, after: Steps
    ) -> Mean:
        found = _attributes(node, keepdims=0, noop_with_empty_axes=0)
        axes = self._constant(node, 1)
        if "keepdims" not in found or axes is None or axes.ravel().tolist() not in ([2], [-1]):
            raise ExportError(
                f"The ReduceMean {node.output[0]!r} is not one over time that drops the axis."
            )
        return Mean(length, channels, before, after)


def _attributes(node: NodeProto, **allowed: object) -> dict[str, Any]:
    """A node's attributes, none of them but ``allowed``; None allows any value."""
    found: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    for name, value in found.items():
        if name not in allowed or (allowed[name] is not None and value != allowed[name]):
            raise ExportError(
                f"The {node.op_type} {node.output[0]!r} has {name} = {value}: the C code cannot "
                f"do that."
            )
    return found

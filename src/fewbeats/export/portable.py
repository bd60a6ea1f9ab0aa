"""An int8 ONNX graph that gives the same bits on every processor."""

import numpy as np
import onnx
from onnx import numpy_helper

from fewbeats.device.onnx_graph import OPERATORS
from fewbeats.errors import ExportError
from fewbeats.export.c99.graph import read_network
from fewbeats.export.c99.network import Mean

_MEANS = frozenset({"ReduceMean", "GlobalAveragePool"})
PORTABLE = OPERATORS
"""What a bundle may hold, and a gateway takes."""
_NUDGE = 2.0**-20
_MOST_NUDGES = 64


def check_portable(model: bytes) -> None:
    """Refuse a graph that may answer otherwise on another processor than on this one.

    Raises:
        ExportError: it holds an operator that is not ``PORTABLE``.
    """
    if others := _others(model):
        raise ExportError(
            f"The int8 graph holds {', '.join(others)}: only {', '.join(sorted(PORTABLE))} are "
            f"known to give the same bits on every processor. Build the network of those."
        )


def settled(model: bytes) -> bytes:
    """The graph with a mean that every processor rounds alike.

    One that is not portable anyhow is left as it is.

    ONNX Runtime takes the mean in float32, in an order of additions that differs between
    processors. Where a sum of steps lies so near the edge between two results that the order
    decides, the results' grid is moved by some millionths: less than float32 tells apart.

    Raises:
        ExportError: the graph cannot be read, or no such grid was found.
    """
    candidate = model
    if _others(model):
        return model
    for nudge in range(1, _MOST_NUDGES):
        means = [layer for layer in read_network(candidate).layers if isinstance(layer, Mean)]
        if not any(mean.undecided for mean in means):
            return candidate
        candidate = _nudged(model, 1 + nudge * _NUDGE)
    raise ExportError(
        "The mean over time can be rounded in two ways whatever its scale: train again with "
        "another seed, or export with other range windows."
    )


def _nudged(model: bytes, factor: float) -> bytes:
    """The graph with the grids that its means are rounded to stretched."""
    proto = onnx.load_from_string(model)
    means = {output for n in proto.graph.node if n.op_type in _MEANS for output in n.output}
    scales = {
        node.input[1]
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in means
    }
    for initializer in proto.graph.initializer:
        if initializer.name in scales:
            scale = numpy_helper.to_array(initializer).astype(np.float64) * factor
            moved = numpy_helper.from_array(scale.astype(np.float32), initializer.name)
            initializer.CopyFrom(moved)
    return bytes(proto.SerializeToString(deterministic=True))


def _others(model: bytes) -> list[str]:
    """The operators that are not ``PORTABLE``."""
    nodes = onnx.load_from_string(model).graph.node
    return sorted({f"{n.domain}.{n.op_type}".strip(".") for n in nodes if not _portable(n)})


def _portable(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in PORTABLE

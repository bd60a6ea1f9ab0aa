"""What a bundle's ONNX network may ask for, looked at before a runtime sees it.

ONNX describes programs: loops, tensors whose size is computed, files to be read. A backbone needs
none of that. Only the operators that fewbeats exports are let through, only with weights that are
constants, and then size and work have an upper bound that a few sums give.

The file is read as the Protocol Buffers wire format has it (protobuf.dev/programming-guides/
encoding), by the field numbers of onnx.proto3; a field that is not listed here is refused.
"""

from collections.abc import Iterator, Mapping
from math import prod

from fewbeats.errors import BundleError

_QUANTISATION = frozenset({"QuantizeLinear", "DequantizeLinear"})
_WEIGHTED = frozenset({"Conv", "Gemm"})
OPERATORS = _QUANTISATION | _WEIGHTED | {"Relu", "ReduceMean", "GlobalAveragePool"}
"""Operators whose int8 results were found the same, bit for bit, on x86-64 and aarch64."""
MOST_NODES = 1_000
MOST_BYTES = 64_000_000
"""For one tensor, of all golden windows together."""
MOST_PRODUCTS = 10_000_000_000
"""Multiplications for all golden windows together: less than a minute on a small gateway."""

_MODEL = {7: "graph"} | dict.fromkeys((1, 2, 3, 4, 5, 6, 8, 14), "about")
_GRAPH = {1: "nodes", 5: "weights"} | dict.fromkeys((2, 10, 11, 12, 13, 14, 16), "about")
_NODE = {1: "inputs", 2: "outputs", 3: "about", 4: "op", 5: "attributes", 6: "about", 7: "domain"}
_NODE |= {9: "about"}
_ATTRIBUTE = {3: "numbers", 8: "numbers"} | dict.fromkeys((1, 2, 4, 7, 9, 13, 20), "about")
_WEIGHT = {1: "shape", 8: "name"} | dict.fromkeys((2, 4, 5, 7, 9, 10, 11, 12, 16), "values")

_Value = int | memoryview
_Message = dict[str, list[_Value]]


def check_graph(model: bytes, windows: int, samples: int) -> None:
    """Refuse a network that is more than a backbone of bounded size.

    Args:
        model: an ONNX file.
        windows: how many golden windows it is to be run on.
        samples: length of a window.

    Raises:
        BundleError: it cannot be read, holds what no backbone needs, or asks for too much.
    """
    try:
        problem = _problem(memoryview(model), windows, samples)
    except (ValueError, LookupError, TypeError) as error:
        raise BundleError(f"The backbone is no ONNX network that can be read ({error}).") from error
    if problem:
        raise _refused(problem)


def _problem(model: memoryview, windows: int, samples: int) -> str | None:
    (graph,) = _message(model, _MODEL, "model")["graph"]
    found = _message(graph, _GRAPH, "graph")
    if len(found["nodes"]) > MOST_NODES:
        return f"it has {len(found['nodes'])} operators, more than {MOST_NODES}"
    shapes: dict[str, list[int]] = {}
    for weight in found["weights"]:
        about = _message(weight, _WEIGHT, "tensor")
        shapes[_text(about["name"][-1])] = list(_numbers(about["shape"]))
    nodes = [_message(node, _NODE, "node") for node in found["nodes"]]
    attributes = [
        _message(each, _ATTRIBUTE, "attribute") for node in nodes for each in node["attributes"]
    ]
    # No axis grows by more than what is padded, and none but the window's is padded.
    widest = max((size for shape in shapes.values() for size in shape), default=1)
    numbers = (number for each in attributes for number in _numbers(each["numbers"]))
    padded = sum(min(number, (1 << 64) - number) for number in numbers)  # -1 is 2 ** 64 - 1
    longest = max(samples, widest) + padded
    if windows * widest * longest * 4 > MOST_BYTES:
        return f"a tensor may take {windows * widest * longest * 4} bytes, more than {MOST_BYTES}"
    products = 0
    for node in nodes:
        (op,), inputs = map(_text, node["op"]), [_text(name) for name in node["inputs"]]
        if op not in OPERATORS or any(_text(d) not in ("", "ai.onnx") for d in node["domain"]):
            return f"it holds {op[:40]!r}, which is none of {', '.join(sorted(OPERATORS))}"
        if op in _QUANTISATION:
            if inputs[0] in shapes:
                shapes[_text(node["outputs"][0])] = shapes[inputs[0]]
        elif inputs[0] in shapes or (op in _WEIGHTED and inputs[1] not in shapes):
            return f"it computes its weights in {op}, and they must be constants"
        elif op in _WEIGHTED:
            shape = shapes[inputs[1]]
            products += windows * prod(shape) * longest
            if prod(shape[1:]) * longest * 4 > MOST_BYTES:  # what a convolution lays side by side
                return f"{op} with weights of shape {shape} takes more than {MOST_BYTES} bytes"
    if products > MOST_PRODUCTS:
        return f"it may take {products} multiplications, more than {MOST_PRODUCTS}"
    return None


def _refused(problem: str) -> BundleError:
    return BundleError(f"The backbone is refused before it is run: {problem}.")


def _message(data: _Value, fields: Mapping[int, str], what: str) -> _Message:
    """A message's fields by the names that they are wanted under.

    Raises:
        BundleError: it has a field that is not listed.
        LookupError, TypeError, ValueError: it is malformed.
    """
    found: _Message = {name: [] for name in fields.values()}
    for number, value in _fields(data):
        if number not in fields:
            raise _refused(f"it holds field {number} of a {what}, which no backbone needs")
        found[fields[number]].append(value)
    return found


def _fields(data: _Value) -> Iterator[tuple[int, _Value]]:
    if isinstance(data, int):
        raise TypeError(f"the number {data} in place of a message")
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if tag & 7 == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}[tag & 7]  # a double, a float
        if size > len(data) - at:
            raise ValueError("a field is cut short")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number has no end")


def _numbers(values: list[_Value]) -> Iterator[int]:
    """Integers of 64 bits, unsigned, each in a field of its own or many in one."""
    for value in values:
        if isinstance(value, int):
            yield value % (1 << 64)
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            yield number % (1 << 64)


def _text(value: _Value) -> str:
    if isinstance(value, int):
        raise TypeError(f"the number {value} in place of a name")
    return str(value, "utf-8")

"""The text of the C99 backbone: a header and a source file, filled in from a network.

The same network gives the same text, byte for byte.
"""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fewbeats
from fewbeats.device.bundle import NOTICE
from fewbeats.device.preprocess import FLOOR_UV, WindowSpec
from fewbeats.errors import ExportError
from fewbeats.export.c99.network import LEVELS, Convolution, Layer, Mean, Network

RECORD_BYTES = 3 * 4 + 11 * 4
"""A ``convolution_t`` on a 32-bit processor: three pointers, eleven numbers."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class CSources:
    """A backbone as two C99 files, and what it needs of a microcontroller.

    Attributes:
        name: of the files, and what their public names begin with.
        header: text of ``<name>.h``.
        source: text of ``<name>.c``.
        sha256: of the ONNX model; heads are bound to it.
        samples: length of a window.
        features: length of an embedding.
        flash_bytes: weights and constants on a 32-bit processor, without the code.
        ram_bytes: static buffers.
        macs: multiply-accumulates of one window.
        undecided_sums: how many sums over time ONNX Runtime rounds by the order of its
            additions; with 0 the C is proven to give its bits for every window.
    """

    name: str
    header: str
    source: str
    sha256: str
    samples: int
    features: int
    flash_bytes: int
    ram_bytes: int
    macs: int
    undecided_sums: int


def render(network: Network, sha256: str, name: str, window: WindowSpec) -> CSources:
    """Write a network as C.

    Raises:
        ExportError: the name cannot begin a C identifier, or the window is another one.
    """
    if not _NAME.fullmatch(name):
        raise ExportError(
            f"{name!r} cannot begin the names of C functions: choose up to 40 lower-case letters, "
            f"digits and underscores, a letter first."
        )
    if window.samples != network.samples:
        raise ExportError(
            f"The model takes windows of {network.samples} samples, those described have "
            f"{window.samples}: give the window that it was trained on."
        )
    layers = network.layers
    convolutions = [layer for layer in layers if isinstance(layer, Convolution)]
    (mean,) = (layer for layer in layers if isinstance(layer, Mean))
    sizes = [network.samples] + [layer.out_length * layer.out_channels for layer in layers]
    even_bytes, odd_bytes = max(sizes[::2]), max(sizes[1::2])
    flash_bytes = sum(c.weights.size + 8 * c.out_channels + RECORD_BYTES for c in convolutions)
    first, last = layers[0].before, layers[-1].after
    fields: dict[str, Any] = {
        "name": name,
        "NAME": name.upper(),
        "notice": NOTICE,
        "version": fewbeats.__version__,
        "sha256": sha256,
        "samples": network.samples,
        "features": network.features,
        "rate_hz": window.rate_hz,
        "window_s": f"{window.window_s:g}",
        "low_hz": f"{window.low_hz:g}",
        "high_hz": f"{window.high_hz:g}",
        "floor_uv": f"{FLOOR_UV:g}",
        "flash_bytes": flash_bytes,
        "ram_bytes": even_bytes + odd_bytes,
        "macs": network.macs,
        "agreement": _agreement(mean),
        "even_bytes": even_bytes,
        "odd_bytes": odd_bytes,
        "constants": "\n".join(_constants(i, c) for i, c in enumerate(convolutions)),
        "calls": "\n".join(_calls(layers)),
        "last": _buffer(len(layers)),
        "in_scale": _float(first.scale),
        "in_zero": first.zero,
        "out_scale": _float(last.scale),
        "out_zero": last.zero,
        "mean_length": mean.in_length,
        "mean_channels": mean.in_channels,
        "mean_in_zero": mean.before.zero,
        "mean_factor": _float(mean.factor),
        "mean_out_zero": mean.after.zero,
    }
    return CSources(
        name=name,
        header=_filled("template.h", fields),
        source=_filled("template.c", fields),
        sha256=sha256,
        samples=network.samples,
        features=network.features,
        flash_bytes=flash_bytes,
        ram_bytes=even_bytes + odd_bytes,
        macs=network.macs,
        undecided_sums=len(mean.undecided),
    )


def _filled(template: str, fields: dict[str, Any]) -> str:
    text = (files("fewbeats.export.c99") / template).read_text(encoding="utf-8")
    return Template(text).substitute(fields)


def _agreement(mean: Mean) -> str:
    """What the header promises of equality with ONNX Runtime."""
    undecided = len(mean.undecided)
    if not undecided:
        promise = (
            "Equality with ONNX Runtime holds for every window, not only for those tried: all "
            "layers are the same integer arithmetic, and no sum over time lies so near the edge "
            "between two steps that float32, in which ONNX Runtime takes the mean, could round it "
            "another way."
        )
    else:
        promise = (
            f"Equality with ONNX Runtime: all layers are the same integer arithmetic. Of the "
            f"{LEVELS * mean.in_length + 1} sums over time that there can be, {undecided} lie so "
            f"near the edge between two steps that ONNX Runtime rounds them by the order of its "
            f"additions, which depends on the processor; there one mean may differ by one step, "
            f"{float(mean.after.scale):.3g}, before the linear layers."
        )
    return textwrap.fill(promise, 99, initial_indent=" * ", subsequent_indent=" * ")


def _constants(index: int, layer: Convolution) -> str:
    kernel, inputs = layer.weights.shape[1:]
    numbers = {
        "in_length": layer.in_length,
        "in_channels": layer.in_channels,
        "out_length": layer.out_length,
        "out_channels": layer.out_channels,
        "kernel": kernel,
        "stride": layer.stride,
        "padding": layer.padding,
        "group_inputs": inputs,
        "group_outputs": layer.out_channels // layer.groups,
        "in_zero": layer.before.zero,
        "out_zero": layer.after.zero,
    }
    rows = ",\n".join(f"    {number} /* {name} */" for name, number in numbers.items())
    return (
        f"{_array('int8_t', f'weights_{index}', layer.weights)}"
        f"{_array('int32_t', f'biases_{index}', layer.biases)}"
        f"{_array('float', f'scales_{index}', layer.scales)}"
        f"static const convolution_t layer_{index} = {{\n"
        f"    weights_{index},\n    biases_{index},\n    scales_{index},\n{rows}\n}};\n"
    )


def _array(kind: str, name: str, values: NDArray[Any]) -> str:
    numbers = values.ravel()
    words: Iterable[str] = (_float(n) if kind == "float" else str(n) for n in numbers.tolist())
    body = textwrap.fill(", ".join(words), 99, initial_indent="    ", subsequent_indent="    ")
    return f"static const {kind} {name}[{len(numbers)}] = {{\n{body}\n}};\n"


def _calls(layers: tuple[Layer, ...]) -> Iterable[str]:
    """One call a layer, from one buffer to the other."""
    convolutions = 0
    for index, layer in enumerate(layers):
        source, target = _buffer(index), _buffer(index + 1)
        if isinstance(layer, Mean):
            yield f"    average({source}, {target});"
        else:
            yield f"    convolve(&layer_{convolutions}, {source}, {target});"
            convolutions += 1


def _buffer(index: int) -> str:
    return "odd_steps" if index % 2 else "even_steps"


def _float(value: float | np.float32) -> str:
    """A literal that any correct compiler reads as the same float32: nine digits tell all."""
    text = f"{float(value):.9g}"
    return f"{text}F" if "." in text or "e" in text else f"{text}.0F"

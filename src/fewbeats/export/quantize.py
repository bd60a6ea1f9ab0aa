"""An fp32 ONNX graph to int8: static, per channel, calibrated on training windows."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from fewbeats.errors import ExportError

MIN_WINDOWS = 64


class _Windows(CalibrationDataReader):  # type: ignore[misc]  # the base class is untyped
    def __init__(self, windows: NDArray[np.float32], input_name: str) -> None:
        self._feeds: Iterator[dict[str, NDArray[np.float32]]] = (
            {input_name: windows[i : i + 64]} for i in range(0, len(windows), 64)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feeds, None)


def quantize(model: bytes, windows: NDArray[np.float32], input_name: str = "windows") -> bytes:
    """An int8 version of ``model`` whose ranges fit ``windows``.

    Weights keep 7 of their 8 bits: processors without VNNI add pairs of unsigned-by-signed
    products in 16 bits, and with 7 bits those sums cannot saturate. The same embeddings then
    come out on every machine.

    Args:
        model: fp32 graph.
        windows: (windows, 1, samples), of training subjects only.
        input_name: of the graph.

    Raises:
        ExportError: too few windows to know the ranges.
    """
    check_range_windows(windows)
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser logs to the root logger
    with tempfile.TemporaryDirectory() as folder:
        source, ready, result = (Path(folder) / f"{n}.onnx" for n in ("fp32", "ready", "int8"))
        source.write_bytes(model)
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(result),
            _Windows(windows, input_name),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return result.read_bytes()


def check_range_windows(windows: NDArray[np.float32]) -> None:
    """Refuse to guess ranges from a handful of windows.

    Raises:
        ExportError: there are too few.
    """
    if len(windows) < MIN_WINDOWS:
        raise ExportError(
            f"Calibrating int8 ranges needs at least {MIN_WINDOWS} training windows, got "
            f"{len(windows)}."
        )


def onnx_step(model: bytes) -> float:
    """By how much an embedding's value grows from one int8 level to the next.

    Raises:
        ExportError: the graph does not end with a dequantisation.
    """
    graph = onnx.load_from_string(model).graph
    scales = {i.name: i for i in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and graph.output[0].name in node.output:
            return float(onnx.numpy_helper.to_array(scales[node.input[1]]))
    raise ExportError("The int8 ONNX form does not end with a dequantisation to float32.")

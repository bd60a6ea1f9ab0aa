"""A trained network as an int8 LiteRT file, the form that 32-bit Arm machines can run."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fewbeats.errors import ExportError, MissingExtraError
from fewbeats.export.quantize import check_range_windows

_SIGNATURE, _INPUT = "serving_default", "args_0"  # as litert-torch names them
_NOISY_LOGGERS = ("torchao", "torch.utils._pytree", "jax._src.xla_bridge")


def export_litert(network: nn.Module, windows: NDArray[np.float32]) -> bytes:
    """The network in int8, one window at a time; float32 goes in and comes out.

    Weights have one scale a channel. The ranges of the activations are the lowest and the highest
    value over all windows, as in the ONNX form; the quantiser's own way, a moving average, would
    cut off the peaks of all but the last windows. The same input gives the same bytes.

    Args:
        network: takes (windows, 1, samples), gives (windows, features); its BatchNorm folded.
        windows: (windows, 1, samples) to fit the ranges to, of training subjects only.

    Raises:
        MissingExtraError: litert-torch or ai-edge-quantizer are not installed.
        ExportError: the network cannot be converted, or the windows are too few.
    """
    check_range_windows(windows)
    with _quiet():
        try:
            import litert_torch
            from ai_edge_quantizer import qtyping, quantizer, recipe
            from ai_edge_quantizer.algorithm_manager import AlgorithmName
        except ModuleNotFoundError as error:
            raise MissingExtraError("export-litert", "A backbone for LiteRT") from error
        litert_torch.config.show_progress = False
        example = torch.zeros(1, 1, windows.shape[2])
        try:
            converted = litert_torch.convert(network.eval(), (example,))
        except (RuntimeError, ValueError, TypeError, LookupError) as error:
            raise ExportError(f"The network cannot be converted to LiteRT: {error}") from error
        work = quantizer.Quantizer(converted.model_content())
        work.load_quantization_recipe(recipe.static_wi8_ai8())
        for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            work.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
        ranges = _ranges(converted.model_content(), work.get_quantization_recipe(), windows)
        result = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def litert_step(model: bytes) -> float:
    """By how much an embedding's value grows from one int8 level to the next.

    Raises:
        ExportError: the graph does not end with a dequantisation.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = content.subgraphs[0]
    (last,) = (op for op in graph.operators if graph.outputs[0] in op.outputs)
    if content.operatorCodes[last.opcodeIndex].builtinCode != schema.BuiltinOperator.DEQUANTIZE:
        raise ExportError("The LiteRT form does not end with a dequantisation to float32.")
    (step,) = graph.tensors[last.inputs[0]].quantization.scale
    return float(step)


def _ranges(
    model: bytes, rules: list[dict[str, Any]], windows: NDArray[np.float32]
) -> dict[str, Any]:
    """Lowest and highest value of each tensor of the float graph over all windows."""
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(rules)
    # In LiteRT's own code: thirty times as fast as reading all tensors back after each window.
    mode = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    seen = calibrator.Calibrator(model, 1, mode, min_max_update)
    seen.calibrate({_SIGNATURE: [{_INPUT: window[None]} for window in windows]}, manager)
    return dict(seen.get_model_qsvs())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the converters say of their own internals; parity proves what matters."""
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield

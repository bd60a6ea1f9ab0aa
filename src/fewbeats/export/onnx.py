"""A trained network as an ONNX file."""

import logging
import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from fewbeats.errors import ExportError

OPSET = 18
"""At 18 the exporter folds BatchNorm into the convolutions; asked for less it stays at 18."""


def export_onnx(network: nn.Module, samples: int) -> bytes:
    """The network's graph in fp32, for any number of windows at once.

    Args:
        network: takes (windows, 1, samples), gives (windows, features).
        samples: length of a window.

    Raises:
        ExportError: the network holds something that cannot be exported.
    """
    network = network.eval()
    example = torch.zeros(2, 1, samples)
    batch = torch.export.Dim("windows", min=1, max=1 << 16)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter warns of its own internals; what matters is proven by parity.
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.onnx"
        try:
            torch.onnx.export(
                network,
                (example,),
                str(path),
                input_names=["windows"],
                output_names=["embeddings"],
                dynamic_shapes=({0: batch},),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
            raise ExportError(f"The network cannot be exported to ONNX: {error}") from error
        return bytes(_bare(onnx.load(path)).SerializeToString(deterministic=True))


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the exporter's notes, which name source files of this machine."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del item.metadata_props[:]
        item.doc_string = ""
    for initializer in graph.initializer:
        initializer.doc_string = ""
    return model

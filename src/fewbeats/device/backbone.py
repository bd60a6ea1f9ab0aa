"""The frozen network that turns windows into embeddings."""

import hashlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import BundleError


class Backbone(Protocol):
    """Windows in, embeddings out; the same bits for the same window on every machine."""

    @property
    def sha256(self) -> str:
        """Identity of the weights; heads are bound to it."""
        ...

    @property
    def features(self) -> int:
        """Length of an embedding."""
        ...

    def embed(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, features) of windows (n, 1, samples)."""
        ...


class OnnxBackbone:
    """A backbone in ONNX Runtime, on one thread."""

    def __init__(self, model: bytes) -> None:
        """Load a network from the bytes of an ONNX file.

        Raises:
            BundleError: ONNX Runtime cannot load it, or its inputs and outputs are not ours.
        """
        # Imported here: it costs 0.2 s and 25 MB that `fewbeats --help` can do without.
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as states

        self.sha256 = hashlib.sha256(model).hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except (
            states.Fail,
            states.InvalidArgument,
            states.InvalidGraph,
            states.InvalidProtobuf,
            states.NotImplemented,
        ) as error:
            raise BundleError(f"ONNX Runtime cannot load the backbone: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(outputs[0].shape) != 2:
            raise BundleError(
                f"A backbone takes one input and gives (n, features), this one takes "
                f"{len(inputs)} and gives {[o.shape for o in outputs]}."
            )
        samples, features = inputs[0].shape[-1], outputs[0].shape[-1]
        if not (isinstance(samples, int) and isinstance(features, int)):
            raise BundleError(
                f"A backbone has a fixed window and embedding, this one has {inputs[0].shape} "
                f"and {outputs[0].shape}."
            )
        self._input = inputs[0].name
        self._errors = (states.Fail, states.InvalidArgument, states.RuntimeException)
        self.samples = samples
        self.features = features

    def embed(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, features) of windows (n, 1, samples).

        Raises:
            BundleError: the network cannot be run.
        """
        if len(windows) == 0:
            return np.empty((0, self.features), dtype=np.float32)
        try:
            (embeddings,) = self._session.run(None, {self._input: windows})
        except self._errors as error:
            raise BundleError(f"ONNX Runtime cannot run the backbone: {error}") from error
        return np.asarray(embeddings, dtype=np.float32)

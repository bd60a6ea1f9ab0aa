"""The frozen network that turns windows into embeddings, in whichever runtime is installed."""

import hashlib
from importlib.util import find_spec
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import BundleError, MissingExtraError

ONNX, LITERT = "onnx", "litert"
_PACKAGES = {ONNX: ("onnxruntime",), LITERT: ("ai_edge_litert", "tflite_runtime")}
MAX_TENSOR_BYTES = 64_000_000
"""What a LiteRT graph may ask for, all tensors together: a damaged size must not fill a gateway."""


class Backbone(Protocol):
    """Windows in, embeddings out; one window's embedding never depends on its neighbours."""

    @property
    def sha256(self) -> str:
        """Identity of the weights; heads are bound to it."""
        ...

    @property
    def samples(self) -> int:
        """Length of a window."""
        ...

    @property
    def features(self) -> int:
        """Length of an embedding."""
        ...

    def embed(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, features) of windows (n, 1, samples)."""
        ...


def installed_runtimes() -> tuple[str, ...]:
    """The runtimes that this machine has, without loading any."""
    return tuple(name for name, packages in _PACKAGES.items() if any(map(find_spec, packages)))


def open_backbone(runtime: str, model: bytes) -> Backbone:
    """Load a network in the runtime that it was made for.

    Raises:
        MissingExtraError: the runtime is not installed.
        BundleError: there is no such runtime, or it cannot load the network.
    """
    if runtime == ONNX:
        return OnnxBackbone(model)
    if runtime == LITERT:
        return LitertBackbone(model)
    raise BundleError(f"There is no runtime {runtime!r}; there are {', '.join(_PACKAGES)}.")


class OnnxBackbone:
    """A backbone in ONNX Runtime, on one thread."""

    def __init__(self, model: bytes) -> None:
        """Load a network from the bytes of an ONNX file.

        Raises:
            BundleError: ONNX Runtime is not installed, cannot load it, or its inputs and outputs
                are not ours.
        """
        # Imported here: it costs 0.2 s and 25 MB that `fewbeats --help` can do without.
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as states
        except ModuleNotFoundError as error:
            raise BundleError(
                "ONNX Runtime is not installed: install onnxruntime, or on a 32-bit Arm machine, "
                "which it does not support, use a bundle's LiteRT form."
            ) from error
        self.sha256 = hashlib.sha256(model).hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its errors are raised, and told once
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            named = [(node.name, node.shape) for node in (*inputs, *outputs)]
        except (
            states.Fail,
            states.InvalidArgument,
            states.InvalidGraph,
            states.InvalidProtobuf,
            states.NotImplemented,
            states.RuntimeException,
            UnicodeDecodeError,  # a damaged name, or an error that quotes it
        ) as error:
            raise BundleError(f"ONNX Runtime cannot load the backbone: {_line(error)}") from error
        shapes = [shape for _, shape in named]
        if [len(inputs), *map(len, shapes)] != [1, 3, 2]:
            raise BundleError(
                f"A backbone takes one input (n, 1, samples) and gives (n, features), this one "
                f"takes {shapes[: len(inputs)]} and gives {shapes[len(inputs) :]}."
            )
        samples, features = shapes[0][-1], shapes[1][-1]
        if not (isinstance(samples, int) and isinstance(features, int)):
            raise BundleError(
                f"A backbone has a fixed window and embedding, this one has {shapes[0]} and "
                f"{shapes[1]}."
            )
        self._input = named[0][0]
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
            raise BundleError(f"ONNX Runtime cannot run the backbone: {_line(error)}") from error
        return np.asarray(embeddings, dtype=np.float32)


class LitertBackbone:
    """A backbone in LiteRT, on one thread: the form for 32-bit Arm, one window at a time."""

    def __init__(self, model: bytes) -> None:
        """Load a network from the bytes of a .tflite file.

        Raises:
            MissingExtraError: neither ai-edge-litert nor tflite-runtime is installed.
            BundleError: LiteRT cannot load it, it asks for too much memory, or its inputs and
                outputs are not ours.
        """
        self.sha256 = hashlib.sha256(model).hexdigest()
        try:
            self._interpreter = _interpreter(model)
            tensors = self._interpreter.get_tensor_details()
            size = sum(prod(map(int, t["shape"])) * np.dtype(t["dtype"]).itemsize for t in tensors)
            if size > MAX_TENSOR_BYTES:
                raise BundleError(
                    f"The backbone's tensors have {size} bytes, more than {MAX_TENSOR_BYTES}; a "
                    f"backbone for a gateway is far smaller."
                )
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
            self.samples, self.features = _shapes(inputs, outputs)
            self._interpreter.allocate_tensors()
        except (ValueError, TypeError, RuntimeError) as error:
            raise BundleError(f"LiteRT cannot load the backbone: {_line(error)}") from error
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]

    def embed(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, features) of windows (n, 1, samples).

        Raises:
            BundleError: the network cannot be run.
        """
        embeddings = np.empty((len(windows), self.features), dtype=np.float32)
        try:
            for row, window in enumerate(windows):
                self._interpreter.set_tensor(self._input, window[None])
                self._interpreter.invoke()
                embeddings[row] = self._interpreter.get_tensor(self._output)[0]
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"LiteRT cannot run the backbone: {_line(error)}") from error
        return embeddings


def _interpreter(model: bytes) -> Any:  # noqa: ANN401  # untyped in both packages
    """LiteRT's interpreter, or that of its predecessor, the only one for 32-bit Arm.

    Without XNNPACK, whose int8 values are up to three steps away from those of the plain kernels,
    one in four of them. The plain ones take 0.1 ms a window, and in both packages they give the
    same but for one value in ten thousands, which is a step apart.
    """
    try:
        from ai_edge_litert import interpreter as runtime
    except ModuleNotFoundError:
        try:
            from tflite_runtime import interpreter as runtime
        except ModuleNotFoundError as error:
            raise MissingExtraError("litert", "A backbone in LiteRT") from error
    plain = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        return runtime.Interpreter(
            model_content=model, num_threads=1, experimental_op_resolver_type=plain
        )
    except SystemError as error:
        # tflite-runtime was built for NumPy 1, and fails so with NumPy 2.
        raise BundleError(
            f"{runtime.__name__} does not work with NumPy {np.__version__}: install 'numpy<2' "
            f"beside it."
        ) from error


def _shapes(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> tuple[int, int]:
    """Samples and features of a network that takes float32 (1, 1, samples).

    Raises:
        BundleError: it takes or gives something else.
    """
    seen = [(d["shape"].tolist(), np.dtype(d["dtype"]).name) for d in (*inputs, *outputs)]
    match seen:
        case [([1, 1, samples], "float32"), ([1, features], "float32")]:
            if len(inputs) == 1 and samples > 0 and features > 0:
                return samples, features
    raise BundleError(
        f"A backbone takes one float32 (1, 1, samples) and gives float32 (1, features), this one "
        f"takes {seen[: len(inputs)]} and gives {seen[len(inputs) :]}."
    )


def _line(error: Exception) -> str:
    """A runtime's message on one line."""
    return " ".join(str(error).split())

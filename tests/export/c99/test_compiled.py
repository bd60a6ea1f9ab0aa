"""The compiled C against ONNX Runtime, bit for bit."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper
from torch import nn

from fewbeats.device.backbone import OnnxBackbone
from fewbeats.device.preprocess import WindowSpec
from fewbeats.errors import ExportError
from fewbeats.export.c99 import compiled
from fewbeats.export.c99.graph import read_network
from fewbeats.export.c99.network import Convolution
from fewbeats.export.c_array import CompiledBackbone, CSources, c_sources
from fewbeats.export.onnx import export_onnx
from fewbeats.export.quantize import quantize
from fewbeats.training.config import NetworkConfig
from fewbeats.training.network import finished_backbone

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs the Debian package gcc")

Windows = Callable[[int], np.ndarray]


def spec(samples: int) -> WindowSpec:
    return WindowSpec(window_s=samples / 125, hop_s=samples / 125)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))


class Odd(nn.Module):
    """Groups, padding that covers more than the kernel, no last ReLU, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 6, 4, stride=1, padding=2)
        self.grouped = nn.Conv1d(6, 9, 5, stride=2, padding=1, groups=3)
        self.mixed = nn.Conv1d(9, 5, 1, stride=2, padding=3, bias=False)
        self.hidden = nn.Linear(5, 7)
        self.last = nn.Linear(7, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        windows = self.grouped(torch.relu(self.first(windows)))
        return self.last(torch.relu(self.hidden(self.mixed(windows).mean(dim=2))))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "one convolution": (
        lambda: finished_backbone(NetworkConfig("separable", (5,), (7,), (4,), 3)),
        33,
    ),
    "deep and narrow": (
        lambda: finished_backbone(
            NetworkConfig("separable", (4, 8, 8, 3), (3, 5, 9, 1), (2, 1, 3, 2), 6)
        ),
        125,
    ),
    "odd": (Odd, 50),
}


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda name: name.replace(" ", "-"))
def exported(request: pytest.FixtureRequest) -> bytes:
    make, samples = NETWORKS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = make()
    windows = np.random.default_rng(3).standard_normal((128, 1, samples)).astype(np.float32)
    return quantize(export_onnx(network, samples), windows)


@needs_gcc
def test_the_shipped_backbone_gives_the_same_bits(
    shipped_model: bytes, golden_windows: np.ndarray, hard_windows: Windows
) -> None:
    compiled_backbone, onnx_backbone = (
        CompiledBackbone(c_sources(shipped_model)),
        OnnxBackbone(shipped_model),
    )
    for windows in (golden_windows, hard_windows(250)):
        assert same_bits(compiled_backbone.embed(windows), onnx_backbone.embed(windows))
    assert compiled_backbone.sha256 == onnx_backbone.sha256
    assert compiled_backbone.features == onnx_backbone.features == 32
    assert compiled_backbone.samples == onnx_backbone.samples == 250
    assert compiled_backbone.embed(golden_windows[:0]).shape == (0, 32)


@needs_gcc
def test_other_shapes_give_the_same_bits(exported: bytes, hard_windows: Windows) -> None:
    onnx_backbone = OnnxBackbone(exported)
    samples = onnx_backbone.samples
    sources = c_sources(exported, window=spec(samples))
    windows = hard_windows(samples)
    assert same_bits(CompiledBackbone(sources).embed(windows), onnx_backbone.embed(windows))


@pytest.fixture(scope="module")
def ties(hand_made_bytes: bytes) -> tuple[CompiledBackbone, OnnxBackbone]:
    if not shutil.which("gcc"):
        pytest.skip("needs the Debian package gcc")
    sources = c_sources(hand_made_bytes, window=spec(8))
    return CompiledBackbone(sources), OnnxBackbone(hand_made_bytes)


@settings(deadline=None, max_examples=300)
@given(window=arrays(np.float32, (1, 1, 8), elements=st.integers(-700, 700)))
def test_ties_go_to_the_even_step(
    ties: tuple[CompiledBackbone, OnnxBackbone], window: np.ndarray
) -> None:
    # Steps are 1/16 here: every odd multiple of 1/32 is a tie.
    window /= np.float32(32)
    assert same_bits(ties[0].embed(window), ties[1].embed(window))


@settings(deadline=None, max_examples=300)
@given(window=arrays(np.float32, (1, 1, 8), elements=st.floats(width=32)))
def test_any_float_at_all(ties: tuple[CompiledBackbone, OnnxBackbone], window: np.ndarray) -> None:
    assert same_bits(ties[0].embed(window), ties[1].embed(window))


@needs_gcc
def test_accumulators_beyond_24_bits_are_rounded_to_float_alike(
    hand_made: onnx.ModelProto,
) -> None:
    constants = {i.name: i for i in hand_made.graph.initializer}
    large = np.int32([2**30 + 1, -(2**29) - 3, 2**26 + 77])
    constants["conv_bias"].raw_data = large.tobytes()
    constants["conv_scale"].raw_data = np.float32(2**13).tobytes()
    constants["mean_scale"].raw_data = np.float32(2**12).tobytes()
    constants["gemm_bias_scale"].raw_data = np.full(2, 2**6, np.float32).tobytes()
    constants["gemm_scale"].raw_data = np.float32(2**14).tobytes()
    model = hand_made.SerializeToString()
    windows = np.random.default_rng(0).normal(size=(500, 1, 8)).astype(np.float32) * 4
    first = read_network(model).layers[0]
    assert isinstance(first, Convolution) and first.most > 2**24
    compiled_backbone = CompiledBackbone(c_sources(model, window=spec(8)))
    assert same_bits(compiled_backbone.embed(windows), OnnxBackbone(model).embed(windows))


@needs_gcc
def test_a_relu_in_the_graph_changes_nothing(hand_made: onnx.ModelProto) -> None:
    plain = hand_made.SerializeToString()
    nodes = hand_made.graph.node
    index = next(i for i, n in enumerate(nodes) if "conv" in n.input)
    nodes[index].input[0] = "conv_relu"
    nodes.insert(index, helper.make_node("Relu", ["conv"], ["conv_relu"]))
    model = hand_made.SerializeToString()
    windows = np.random.default_rng(0).normal(size=(300, 1, 8)).astype(np.float32) * 3
    with_relu = CompiledBackbone(c_sources(model, window=spec(8))).embed(windows)
    assert same_bits(with_relu, OnnxBackbone(model).embed(windows))
    assert same_bits(with_relu, OnnxBackbone(plain).embed(windows))


def run_host(
    folder: Path, sources: CSources, harness: Path, windows: np.ndarray, flags: list[str]
) -> np.ndarray:
    """Embed in a program of its own, made with other flags."""
    compiled.write_sources(folder, sources)
    command = ["gcc", *flags, f"-I{folder}", harness, folder / f"{sources.name}.c"]
    built = subprocess.run([*command, "-o", folder / "host"], capture_output=True, text=True)
    if "cannot find" in built.stderr and "san" in built.stderr:
        pytest.skip("gcc has no sanitizer libraries here: install the Debian package libgcc-dev")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([folder / "host"], input=windows.tobytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    return np.frombuffer(done.stdout, dtype=np.float32).reshape(len(windows), -1)


@needs_gcc
@pytest.mark.parametrize(
    "flags",
    [
        [*STRICT, "-O0"],
        [*STRICT, "-Os"],
        [*STRICT, "-O3", "-march=native", "-ffp-contract=fast", "-flto"],
        ["-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"],
    ],
    ids=["O0", "Os", "O3-contracted", "sanitized"],
)
def test_no_flag_changes_a_bit_and_nothing_is_undefined(
    shipped_model: bytes,
    fixtures: Path,
    tmp_path: Path,
    hard_windows: Windows,
    golden_windows: np.ndarray,
    flags: list[str],
) -> None:
    windows = np.concatenate([golden_windows, hard_windows(250)])
    found = run_host(tmp_path, c_sources(shipped_model), fixtures / "host.c", windows, flags)
    assert same_bits(found, OnnxBackbone(shipped_model).embed(windows))


@needs_gcc
def test_odd_shapes_are_clean_under_the_sanitizers(
    exported: bytes, fixtures: Path, tmp_path: Path, hard_windows: Windows
) -> None:
    backbone = OnnxBackbone(exported)
    sources = c_sources(exported, window=spec(backbone.samples))
    flags = [*STRICT, "-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
    windows = hard_windows(backbone.samples)
    found = run_host(tmp_path, sources, fixtures / "host.c", windows, flags)
    assert same_bits(found, backbone.embed(windows))


@needs_gcc
def test_fast_math_is_refused_by_the_text(shipped_model: bytes, tmp_path: Path) -> None:
    compiled.write_sources(tmp_path, c_sources(shipped_model))
    command = ["gcc", "-std=c99", "-ffast-math", "-c", "fewbeats_backbone.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "changes the embeddings" in done.stderr


@pytest.mark.skipif(not shutil.which("g++"), reason="needs the Debian package g++")
def test_it_is_cplusplus_too(shipped_model: bytes, tmp_path: Path) -> None:
    compiled.write_sources(tmp_path, c_sources(shipped_model))
    command = ["g++", "-x", "c++", *STRICT[1:], "-c", "fewbeats_backbone.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_compiler_is_named(
    hand_made_bytes: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match=r"install one .*gcc"):
        CompiledBackbone(c_sources(hand_made_bytes, window=spec(8)))


def test_a_compiler_that_fails_is_quoted(
    hand_made_bytes: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 1\n", encoding="ascii")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match="cannot compile the backbone: no space left"):
        CompiledBackbone(c_sources(hand_made_bytes, window=spec(8)))


@pytest.mark.parametrize("shape", [(1, 8), (1, 1, 9), (1, 2, 8)])
def test_windows_of_another_shape_are_refused(
    ties: tuple[CompiledBackbone, OnnxBackbone], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ExportError, match="takes windows"):
        ties[0].embed(np.zeros(shape, dtype=np.float32))

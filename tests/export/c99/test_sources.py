"""What the text promises and how its numbers are written."""

import re

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fewbeats.device.preprocess import WindowSpec
from fewbeats.export.c99.sources import CSources
from fewbeats.export.c_array import c_sources

SPEC = WindowSpec(window_s=0.064, hop_s=0.064)


def with_scales(model: onnx.ModelProto, **scales: float) -> CSources:
    for constant in model.graph.initializer:
        if constant.name in scales:
            value = np.array(scales[constant.name], dtype=np.float32)
            constant.CopyFrom(numpy_helper.from_array(value, constant.name))
    return c_sources(model.SerializeToString(), window=SPEC)


def words(sources: CSources) -> str:
    return re.sub(r"[\s*]+", " ", sources.header)


def test_a_mean_that_float32_decides_is_promised(hand_made: onnx.ModelProto) -> None:
    # A hair off the power of two no sum is a tie; the Gemm's biases bear that hair.
    sources = with_scales(hand_made, mean_scale=2**-5 * 1.00005)
    assert sources.undecided_sums == 0
    assert "holds for every window, not only for those tried" in words(sources)


def test_a_mean_that_float32_cannot_decide_is_counted(hand_made: onnx.ModelProto) -> None:
    sources = with_scales(hand_made)
    # Steps of 1/16 into 1/32 over 8 samples: a sum of 4 is one step, 4 n + 2 a tie, up to 254.5.
    assert sources.undecided_sums == 255
    assert "Of the 2041 sums over time that there can be, 255 lie so near" in words(sources)
    assert "one mean may differ by one step, 0.0312" in words(sources)


def test_sizes_of_a_network_small_enough_to_count(hand_made: onnx.ModelProto) -> None:
    sources = with_scales(hand_made)
    # Conv 3 x 3 weights, Gemm 2 x 3; biases and scales 8 bytes a channel; 56 a layer.
    assert sources.flash_bytes == (9 + 3 * 8 + 56) + (6 + 2 * 8 + 56)
    # 8 samples, 8 x 3 after the Conv, 3 after the mean, 2 at the end.
    assert sources.ram_bytes == max(8, 3) + max(24, 2)
    assert sources.macs == 8 * 9 + 6


def test_every_number_is_read_back_as_it_was(hand_made: onnx.ModelProto) -> None:
    scales = np.float32([1 / 3, 1e-7, 16777216])
    for constant in hand_made.graph.initializer:
        if constant.name == "conv_weight_scale":
            constant.CopyFrom(numpy_helper.from_array(scales, constant.name))
        if constant.name == "conv_bias_scale":
            constant.CopyFrom(numpy_helper.from_array(scales * np.float32(2**-4), constant.name))
    sources = c_sources(hand_made.SerializeToString(), window=SPEC)
    (row,) = re.findall(r"scales_0\[3\] = \{\n(.*)\n\}", sources.source)
    literals = [literal.strip() for literal in row.split(",")]
    assert all(re.fullmatch(r"[0-9.]+(e[+-][0-9]+)?F", literal) for literal in literals)
    assert all("." in literal or "e" in literal for literal in literals), "no integer with an F"
    read = np.float32([literal.removesuffix("F") for literal in literals])
    assert np.array_equal(read, scales * np.float32(2**-4) / np.float32(2**-4))


@pytest.mark.parametrize("text", ["header", "source"])
def test_the_text_is_plain(hand_made: onnx.ModelProto, text: str) -> None:
    written = getattr(with_scales(hand_made), text)
    assert written.isascii() and "$" not in written and "\t" not in written
    assert written.endswith("\n") and "\r" not in written

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.errors import RecordError
from fewbeats.firmware_bridge.codecs.wfdb_signals import FORMATS

codes = st.sampled_from(sorted(FORMATS))


@pytest.mark.parametrize(
    ("code", "data", "samples"),
    [
        # The first bytes of 100.dat of the MIT-BIH Arrhythmia Database.
        (212, "E3 33 F3", [995, 1011]),
        (212, "00 08 80", [-2048, 128]),
        (212, "FF F7 FF", [2047, -1]),
        (212, "FF 0F", [-1]),
        (16, "01 00 FF FF 00 80 FF 7F", [1, -1, -32768, 32767]),
        (61, "00 01 FF FF 80 00 7F FF", [1, -1, -32768, 32767]),
        (24, "01 00 00 FF FF FF 00 00 80 FF FF 7F", [1, -1, -8388608, 8388607]),
        (32, "01 00 00 00 FF FF FF FF 00 00 00 80", [1, -1, -2147483648]),
        (80, "81 7F 00 FF", [1, -1, -128, 127]),
        (160, "01 80 FF 7F 00 00 FF FF", [1, -1, -32768, 32767]),
        # signal(5): the lowest bit of both words is unused, their highest five are the third.
        (310, "02 08 FE 07", [1, -1, 1]),
        (310, "00 04 00 03 00 00 00 80", [-512, 384, 0, 0, 0, -512]),
        # 1 | -1 << 10 | -512 << 20, then with the two unused bits set: they change nothing.
        (311, "01 FC 0F 20", [1, -1, -512]),
        (311, "01 FC 0F E0", [1, -1, -512]),
        (311, "01 FC 0F", [1, -1]),
    ],
)
def test_golden_bytes(code: int, data: str, samples: list[int]) -> None:
    decoded = FORMATS[code].decode(bytes.fromhex(data), len(samples))
    assert decoded.tolist() == samples
    assert decoded.dtype == np.int32


@pytest.mark.parametrize(
    ("code", "invalid"),
    {
        16: -(2**15),
        61: -(2**15),
        160: -(2**15),
        24: -(2**23),
        32: -(2**31),
        80: -(2**7),
        212: -(2**11),
        310: -(2**9),
        311: -(2**9),
    }.items(),
)
def test_the_lowest_value_means_not_measured(code: int, invalid: int) -> None:
    assert FORMATS[code].invalid == invalid


@given(codes, st.integers(0, 10_000))
def test_no_byte_less_than_the_needed_ones_holds_the_samples(code: int, samples: int) -> None:
    layout = FORMATS[code]
    size = layout.bytes_for(samples)
    # Two samples of format 310 take the bytes of three.
    whole_anyway = code == 310 and samples % 3 == 2
    assert layout.samples_in(size) == samples + whole_anyway
    assert samples == 0 or layout.samples_in(size - 1) < samples


@given(codes, st.binary(max_size=200), st.data())
def test_decoding_from_any_group_on_is_the_rest_of_decoding_all(
    code: int, data: bytes, draw: st.DataObject
) -> None:
    layout = FORMATS[code]
    samples = layout.samples_in(len(data))
    group = draw.draw(st.integers(0, samples // layout.group_samples))
    rest = layout.decode(data[group * layout.group_bytes :], samples - group * layout.group_samples)
    whole = layout.decode(data, samples)
    assert whole[group * layout.group_samples :].tolist() == rest.tolist()
    assert len(whole) == samples
    assert all(layout.invalid <= value < -layout.invalid for value in whole.tolist())


@given(codes, st.binary(max_size=50))
def test_bytes_that_are_too_few_are_an_error(code: int, data: bytes) -> None:
    layout = FORMATS[code]
    with pytest.raises(RecordError, match=f"format {code}"):
        layout.decode(data, layout.samples_in(len(data)) + 1)

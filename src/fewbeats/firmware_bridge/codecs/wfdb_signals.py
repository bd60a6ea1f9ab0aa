"""WFDB signal files: bytes to digital samples.

Every format here packs a fixed number of samples into a fixed number of bytes, so any stretch of
a file can be decoded from whole groups without what lies before it. Source of the layouts and of
the values that mean "not measured": PhysioNet WFDB, signal(5). Formats whose samples depend on
the ones before them (8) or that are compressed (508, 516, 524) are none of these.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import RecordError

Bytes = NDArray[np.uint8]
Digital = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class SignalFormat:
    """How one WFDB format lays samples into bytes.

    Attributes:
        code: the number that headers call it by.
        bits: width of a sample; the lowest value of that width means "not measured".
        group_bytes: bytes of a whole group of samples.
        begun_bytes: for 0, 1, ... samples of a group that is only begun at the end of a file,
            the bytes that they need. Its length is the number of samples of a whole group.
        unpack: uint8 (groups, group_bytes) -> int32 (groups, samples of a group).
    """

    code: int
    bits: int
    group_bytes: int
    begun_bytes: tuple[int, ...]
    unpack: Callable[[Bytes], Digital]

    @property
    def group_samples(self) -> int:
        """Samples that are packed together."""
        return len(self.begun_bytes)

    @property
    def invalid(self) -> int:
        """The digital value that stands for a sample that was not measured."""
        return -(1 << (self.bits - 1))

    def bytes_for(self, samples: int) -> int:
        """Bytes that the first ``samples`` samples of a file take."""
        groups, begun = divmod(samples, self.group_samples)
        return groups * self.group_bytes + self.begun_bytes[begun]

    def samples_in(self, size: int) -> int:
        """Samples that ``size`` bytes hold completely."""
        groups, rest = divmod(size, self.group_bytes)
        begun = max(n for n, needed in enumerate(self.begun_bytes) if needed <= rest)
        return groups * self.group_samples + begun

    def decode(self, data: bytes, samples: int) -> Digital:
        """The first ``samples`` digital values in ``data``, which begins with a whole group.

        Raises:
            RecordError: ``data`` holds fewer samples.
        """
        if len(data) < self.bytes_for(samples):
            raise RecordError(
                f"{samples} samples of format {self.code} take {self.bytes_for(samples)} bytes, "
                f"got {len(data)}."
            )
        groups = -(-samples // self.group_samples)
        packed = np.zeros(groups * self.group_bytes, dtype=np.uint8)
        kept = min(len(data), len(packed))
        packed[:kept] = np.frombuffer(data, dtype=np.uint8, count=kept)
        return self.unpack(packed.reshape(groups, self.group_bytes)).reshape(-1)[:samples]


def _signed(values: NDArray[np.int32], bits: int) -> Digital:
    """Two's complement of ``bits`` bits in values whose higher bits are 0."""
    sign = np.int32(1 << (bits - 1))
    return (values ^ sign) - sign


def _whole(dtype: str) -> Callable[[Bytes], Digital]:
    """Samples of whole bytes, as NumPy knows them."""
    return lambda packed: packed.view(dtype).astype(np.int32)


def _offset(dtype: str, zero: int) -> Callable[[Bytes], Digital]:
    """Offset binary: unsigned values, of which ``zero`` stands for 0."""
    return lambda packed: packed.view(dtype).astype(np.int32) - np.int32(zero)


def _unpack_24(packed: Bytes) -> Digital:
    """Three bytes, least significant first."""
    b = packed.astype(np.int32)
    return _signed(b[:, :1] | b[:, 1:2] << 8 | b[:, 2:] << 16, 24)


def _unpack_212(packed: Bytes) -> Digital:
    """Two 12-bit samples in three bytes; the middle one has the high bits of both."""
    b = packed.astype(np.int32)
    first = b[:, 0] | (b[:, 1] & 0x0F) << 8
    second = b[:, 2] | (b[:, 1] & 0xF0) << 4
    return _signed(np.stack((first, second), axis=1), 12)


def _unpack_310(packed: Bytes) -> Digital:
    """Three 10-bit samples in two words; the third is split over the high bits of both."""
    w = packed.view("<u2").astype(np.int32)
    first, second = w[:, 0] >> 1 & 0x3FF, w[:, 1] >> 1 & 0x3FF
    third = w[:, 0] >> 11 | w[:, 1] >> 11 << 5
    return _signed(np.stack((first, second, third), axis=1), 10)


def _unpack_311(packed: Bytes) -> Digital:
    """Three 10-bit samples one after the other, from the lowest bit of 32 upwards."""
    # The two highest bits are unused: the cast may read them as a sign, the masks drop them.
    w = packed.view("<i4")
    return _signed(np.concatenate((w & 0x3FF, w >> 10 & 0x3FF, w >> 20 & 0x3FF), axis=1), 10)


FORMATS: dict[int, SignalFormat] = {
    layout.code: layout
    for layout in (
        SignalFormat(16, 16, 2, (0,), _whole("<i2")),
        SignalFormat(24, 24, 3, (0,), _unpack_24),
        SignalFormat(32, 32, 4, (0,), _whole("<i4")),
        SignalFormat(61, 16, 2, (0,), _whole(">i2")),
        SignalFormat(80, 8, 1, (0,), _offset("u1", 1 << 7)),
        SignalFormat(160, 16, 2, (0,), _offset("<u2", 1 << 15)),
        SignalFormat(212, 12, 3, (0, 2), _unpack_212),
        SignalFormat(310, 10, 4, (0, 2, 4), _unpack_310),
        SignalFormat(311, 10, 4, (0, 2, 3), _unpack_311),
    )
}
"""Every format of fixed layout, by the number that headers call it by."""

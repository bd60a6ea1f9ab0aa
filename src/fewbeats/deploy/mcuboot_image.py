"""A firmware image as MCUboot takes it, checked whole before a byte is sent.

Layout (https://docs.mcuboot.com/design.html, "Image format"): a header of 32 bytes, padded to
``hdr_size``; the firmware; protected entries, if any; a list of type-length-value entries, of
which one is a hash of all that stands before the list.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeAlias

from smpclient.mcuboot import (
    IMAGE_F,
    IMAGE_HEADER_SIZE,
    IMAGE_TLV,
    IMAGE_TLV_INFO_MAGIC,
    IMAGE_TLV_PROT_INFO_MAGIC,
    ImageHeader,
    MCUBootImageError,
)

from fewbeats.device.files import read_bounded
from fewbeats.errors import FirmwareError

MAX_BYTES: Final = 16 * 1024 * 1024
"""More than the flash of any microcontroller that a sensor is made with."""

_HASHES: Final[dict[int, str]] = {
    IMAGE_TLV.SHA256: "sha256",
    IMAGE_TLV.SHA384: "sha384",
    IMAGE_TLV.SHA512: "sha512",
}
_SIGNATURES: Final[frozenset[int]] = frozenset(
    (IMAGE_TLV.RSA2048_PSS, IMAGE_TLV.RSA3072_PSS, IMAGE_TLV.ECDSA_SIG, IMAGE_TLV.ED25519)
)
_PAIR: Final = struct.Struct("<HH")
"""(magic, length) before a list of entries, (type, length) before each."""
_Entry: TypeAlias = tuple[int, bytes]
_ENCRYPTED: Final = IMAGE_F.ENCRYPTED_AES128 | IMAGE_F.ENCRYPTED_AES256


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """An image that is whole, and what a sensor will call it."""

    data: bytes = field(repr=False)
    """Every byte of the file: what is sent."""
    version: str
    """As imgtool was told: major.minor.revision+build."""
    hash: bytes
    """MCUboot's name for the image: the sensor reports the same once it has it."""
    signed: bool
    """Whether it carries a signature. Only the sensor's bootloader can tell whether it is good."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a file.

        Raises:
            FirmwareError: it cannot be read, or is no whole MCUboot image.
        """
        try:
            data = read_bounded(path, MAX_BYTES)
        except OSError as error:
            raise FirmwareError(f"Cannot read {path}: {error.strerror}.") from error
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, origin: str = "the image") -> Self:
        """Check bytes: header, sizes, and the hash over the firmware.

        Args:
            data: the file's bytes.
            origin: what messages call it.

        Raises:
            FirmwareError: they are no MCUboot image, cut short or padded, altered, encrypted, or
                nothing that could be started.
        """
        try:
            header = ImageHeader.loads(data[:IMAGE_HEADER_SIZE])
        except (MCUBootImageError, ValueError, struct.error) as error:
            raise FirmwareError(
                f"{origin} is no MCUboot image: it does not begin as one. Give the file that "
                f"imgtool signed, often called zephyr.signed.bin."
            ) from error
        if header.flags & _ENCRYPTED:
            raise FirmwareError(
                f"{origin} is encrypted, so what it holds cannot be checked before it is sent: "
                f"give the plain image."
            )
        if header.flags & IMAGE_F.NON_BOOTABLE:
            raise FirmwareError(f"{origin} is marked as not bootable: no sensor would start it.")
        entries, hashed_end, end = _entries(data, header, origin)
        if end != len(data):
            raise FirmwareError(
                f"{origin} goes on for {len(data) - end} bytes after its end, as images do that "
                f"are made with imgtool's --pad; these would start unproven. Give the image "
                f"without padding."
            )
        hashes = [(kind, value) for kind, value in entries if kind in _HASHES]
        if len(hashes) != 1:
            raise FirmwareError(
                f"{origin} carries {len(hashes)} hashes instead of one: sign it anew with imgtool."
            )
        kind, value = hashes[0]
        name = _HASHES[kind]
        if hashlib.new(name, data[:hashed_end]).digest() != value:
            raise FirmwareError(
                f"{origin} is damaged: its bytes do not match the {name.upper()} it carries. "
                f"Copy or build it anew."
            )
        version = header.ver
        return cls(
            data=data,
            version=f"{version.major}.{version.minor}.{version.revision}+{version.build_num}",
            hash=value,
            signed=any(kind in _SIGNATURES for kind, _ in entries),
        )


def _entries(data: bytes, header: ImageHeader, origin: str) -> tuple[list[_Entry], int, int]:
    """The unprotected entries, where the hashed bytes end, and where the image does."""
    if header.hdr_size < IMAGE_HEADER_SIZE:
        raise FirmwareError(
            f"{origin} is damaged: it gives its header {header.hdr_size} bytes, fewer than the "
            f"{IMAGE_HEADER_SIZE} that one has."
        )
    hashed_end = header.hdr_size + header.img_size
    try:
        if header.protect_tlv_size:
            _, end = _entry_list(data, hashed_end, IMAGE_TLV_PROT_INFO_MAGIC)
            if end != hashed_end + header.protect_tlv_size:
                raise MCUBootImageError("the header gives the protected entries another length")
            hashed_end = end
        entries, end = _entry_list(data, hashed_end, IMAGE_TLV_INFO_MAGIC)
    except (MCUBootImageError, ValueError, struct.error) as error:
        raise FirmwareError(
            f"{origin} is cut short or damaged: it has {len(data)} bytes, and no whole list of "
            f"entries after the {hashed_end} of header and firmware. Copy or build it anew."
        ) from error
    return entries, hashed_end, end


def _entry_list(data: bytes, start: int, magic: int) -> tuple[list[_Entry], int]:
    """One list of entries, and where it ends.

    Types have 16 bits; smpclient's own reader sees the lower 8 and would take an entry that the
    bootloader does not know for a hash.
    """
    if _PAIR.unpack_from(data, start)[0] != magic:
        raise MCUBootImageError("a list of entries does not begin as one")
    end = start + _PAIR.unpack_from(data, start)[1]
    entries = []
    position = start + _PAIR.size
    while position < end:
        kind, length = _PAIR.unpack_from(data, position)
        value_start, position = position + _PAIR.size, position + _PAIR.size + length
        entries.append((kind, data[value_start:position]))
    if position != end or end > len(data):
        raise MCUBootImageError("a list of entries ends elsewhere than its entries")
    return entries, end

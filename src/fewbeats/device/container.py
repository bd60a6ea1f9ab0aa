"""The file format of a bundle: named parts and a manifest under one signature.

Layout, all integers little-endian::

    8 bytes   b"FEWBEATS"
    uint32    format, 2
    uint32    length of the manifest
    manifest  canonical JSON (sorted keys, no spaces, ASCII)
    parts     one after the other, in the order of the manifest
    32 bytes  the signer's public key
    64 bytes  Ed25519 signature over every byte before (RFC 8032)

The manifest names each part with its length and SHA-256, arrays with type and shape. The
signature is checked before anything else is looked at. Nothing is unpacked to disk, nothing is
executed, and no more memory is taken than the file has bytes, at most ``MAX_BYTES``. The same
contents under the same key give the same bytes.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.files import read_bounded
from fewbeats.device.keys import PUBLIC_BYTES, SIGNATURE_BYTES, PublicKey, SigningKey
from fewbeats.errors import BundleAlteredError, BundleError

MAGIC = b"FEWBEATS"
FORMAT = 2
MAX_BYTES = 16_000_000
_PREFIX = struct.Struct("<8sII")
_DTYPES = {"float32": "<f4", "float64": "<f8"}


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """Manifest and parts of a file whose every byte has been checked.

    Attributes:
        manifest: as the signer wrote it; its values are yet to be believed.
        parts: the bytes of each part by its name.
    """

    manifest: dict[str, Any]
    parts: dict[str, bytes]

    def array(self, name: str) -> NDArray[Any]:
        """A part that is an array.

        Raises:
            LookupError: there is no such part, or it is no array of a known type.
            ValueError: its bytes do not fit its shape.
            TypeError: its shape is none.
        """
        (entry,) = (entry for entry in self.manifest["parts"] if entry["name"] == name)
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"]
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"{name} has shape {shape!r}")
        if prod(shape) * dtype.itemsize != len(self.parts[name]):
            raise ValueError(f"{name} has {len(self.parts[name])} bytes for shape {shape}")
        array = np.frombuffer(self.parts[name], dtype=dtype).reshape(shape)
        return array.astype(entry["dtype"], copy=False)


def seal(
    manifest: Mapping[str, Any], parts: Mapping[str, bytes | NDArray[Any]], key: SigningKey
) -> bytes:
    """The bytes of a signed file.

    Args:
        manifest: plain values; what describes the parts is added.
        parts: bytes, and float32 or float64 arrays, by name.
        key: signs it.
    """
    entries, blobs = [], []
    for name, part in parts.items():
        entry: dict[str, Any] = {"name": name}
        if isinstance(part, bytes):
            blob = part
        else:
            blob = np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<")).tobytes()
            entry |= {"dtype": part.dtype.name, "shape": list(part.shape)}
        entry |= {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}
        entries.append(entry)
        blobs.append(blob)
    content = {**manifest, "parts": entries}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    body = _PREFIX.pack(MAGIC, FORMAT, len(text)) + text + b"".join(blobs) + key.public.raw
    return body + key.sign(body)


def signed(data: bytes, origin: str) -> tuple[memoryview, bytes]:
    """What a file's signature covers, and the public key that it fits.

    Whether that key is trusted is for the caller to say, before he opens the contents.

    Args:
        data: all of the file.
        origin: what to call it in an error.

    Raises:
        BundleAlteredError: a byte is not the one that was signed.
        BundleError: no bundle, too large, or of another format.
    """
    if len(data) > MAX_BYTES:
        raise BundleError(f"{origin} has {len(data)} bytes; a bundle has at most {MAX_BYTES}.")
    if len(data) < _PREFIX.size + PUBLIC_BYTES + SIGNATURE_BYTES or not data.startswith(MAGIC):
        raise BundleError(f"{origin} is no fewbeats bundle (it starts with {data[:8]!r}).")
    _, version, _ = _PREFIX.unpack_from(data)
    covered = memoryview(data)[:-SIGNATURE_BYTES]
    raw = bytes(covered[-PUBLIC_BYTES:])
    fits = PublicKey("unknown", raw).verifies(data[-SIGNATURE_BYTES:], covered)
    if version != FORMAT:
        # Another format may be signed in another way: that it does not fit here says nothing.
        raise BundleError(
            f"{origin} has bundle format {version}, this fewbeats reads format {FORMAT}: "
            f"update fewbeats or pack the bundle again"
            + ("." if fits else ", or copy it again if it was damaged.")
        )
    if not fits:
        raise BundleAlteredError(
            f"{origin} is damaged or was altered: its signature does not fit. Copy it again from "
            f"where it was made; nothing was changed."
        )
    return covered[:-PUBLIC_BYTES], raw


def opened(body: memoryview, origin: str) -> Contents:
    """Manifest and parts of what ``signed`` gave.

    Raises:
        BundleError: the signer made a manifest that cannot be read, or that its parts do not fit.
    """
    _, _, length = _PREFIX.unpack_from(body)
    try:
        manifest = json.loads(bytes(body[_PREFIX.size : _PREFIX.size + length]))
        parts, offset = {}, _PREFIX.size + length
        for entry in manifest["parts"]:
            size = entry["bytes"]
            if type(size) is not int or not 0 <= size <= len(body) - offset:
                raise ValueError(f"part {entry['name']!r} has {size!r} bytes")
            parts[entry["name"]] = bytes(body[offset : offset + size])
            offset += size
        sound = (
            offset == len(body)
            and len(parts) == len(manifest["parts"])
            and all(
                hashlib.sha256(parts[entry["name"]]).hexdigest() == entry["sha256"]
                for entry in manifest["parts"]
            )
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{origin} has no readable manifest ({error}).") from error
    if not sound:
        raise BundleError(f"{origin} holds parts other than its manifest says; pack it again.")
    return Contents(manifest, parts)


def read_bundle(path: Path) -> bytes:
    """The bytes of a bundle's file, unchecked.

    Raises:
        BundleError: it is missing, no ordinary file, or far too large.
    """
    try:
        return read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise BundleError(f"Cannot read the bundle {path}: {error.strerror}.") from error

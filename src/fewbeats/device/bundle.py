"""The unit of deployment: one file with everything that a gateway needs to judge an ECG.

Layout, all integers little-endian::

    8 bytes   b"FEWBEATS"
    uint32    format, 1
    uint32    length of the manifest
    manifest  canonical JSON (sorted keys, no spaces, ASCII)
    parts     one after the other, in the order of the manifest
    32 bytes  SHA-256 of every byte before

The manifest names each part with its length and SHA-256, arrays with type and shape. Nothing is
unpacked to disk and nothing in it is executable but the ONNX graph: loading cannot run code,
write a file, or take more memory than ``MAX_BYTES``. The same contents give the same bytes.
"""

import hashlib
import json
import struct
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.backbone import Backbone, OnnxBackbone
from fewbeats.device.detector import DetectorConfig
from fewbeats.device.files import read_bounded, write_atomically
from fewbeats.device.head import Head
from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.settings import settings_of
from fewbeats.errors import BundleAlteredError, BundleError, FewbeatsError

MAGIC = b"FEWBEATS"
FORMAT = 1
MAX_BYTES = 16_000_000
DEVICE_CLASS = "ecg-single-lead-gateway"
GOLDEN_TOLERANCE = 1e-5
"""Int8 embeddings agree bit for bit between x86-64 and aarch64; this only forgives a cast."""
NOTICE = "Research software, no medical device. It reports; it does not treat."
_PREFIX = struct.Struct("<8sII")
_DIGEST_BYTES = 32
_ARRAYS = ("head", "prototypes", "golden_windows", "golden_embeddings")


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a bundle holds.

    Attributes:
        name: of the model, for people.
        version: of the model.
        model: the quantised backbone, an ONNX file.
        start: the meta-learned head, with the operating point that suits nobody in particular.
        prototypes: float32 (prototypes, features), embeddings of VA from training subjects:
            the VA side of a calibration from normals alone.
        golden_windows: float32 (golden, 1, samples), on which a runtime proves itself.
        golden_embeddings: float32 (golden, features), what it must answer.
        window: how windows are made.
        adapt: how the head is fitted.
        detector: how windows become episodes.
        card: the model card: data, licence, subjects, metrics, command, seed.
    """

    name: str
    version: str
    model: bytes
    start: Head
    prototypes: NDArray[np.float32]
    golden_windows: NDArray[np.float32]
    golden_embeddings: NDArray[np.float32]
    window: WindowSpec
    adapt: AdaptConfig
    detector: DetectorConfig
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        features, golden = len(self.start.weights), len(self.golden_windows)
        shapes = {
            "prototypes": (len(self.prototypes), features),
            "golden_windows": (golden, 1, self.window.samples),
            "golden_embeddings": (golden, features),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or not len(array) or not np.isfinite(array).all():
                raise BundleError(
                    f"Bundle {self.name}: {name} must be finite numbers of shape {shape}, at "
                    f"least one row of them, and has shape {array.shape}."
                )
        if not isinstance(self.card, dict):
            raise BundleError(f"Bundle {self.name}: its card is no table but {self.card!r}.")

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Subjects that took part in the training, as the card names them."""
        subjects = self.card.get("subjects")
        return tuple(subjects.get("training", ())) if isinstance(subjects, dict) else ()

    @property
    def trained_marks(self) -> frozenset[str]:
        """Marks by which those subjects are known under any other name, if the card has them."""
        subjects = self.card.get("subjects")
        return frozenset(subjects.get("marks", ())) if isinstance(subjects, dict) else frozenset()

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone, loaded once and proven on the golden windows.

        Raises:
            BundleError: it does not load, does not fit, or answers other than it should.
        """
        backbone = OnnxBackbone(self.model)
        features = len(self.start.weights)
        if backbone.features != features or backbone.samples != self.window.samples:
            raise BundleError(
                f"Bundle {self.name}: the backbone makes {backbone.features} features of "
                f"{backbone.samples} samples, the manifest says {features} of "
                f"{self.window.samples}."
            )
        error = np.abs(backbone.embed(self.golden_windows) - self.golden_embeddings)
        if not (error <= GOLDEN_TOLERANCE).all():
            raise BundleError(
                f"Bundle {self.name} fails its golden windows on this machine (embeddings off "
                f"by up to {error.max():.3g}): do not use it here."
            )
        return backbone

    def pack(self) -> bytes:
        """The bundle's bytes; the same contents always give the same bytes."""
        arrays = {
            "head": np.append(self.start.weights, [self.start.bias, self.start.threshold]),
            "prototypes": self.prototypes,
            "golden_windows": self.golden_windows,
            "golden_embeddings": self.golden_embeddings,
        }
        blobs = {"backbone.onnx": self.model}
        parts: dict[str, dict[str, Any]] = {"backbone.onnx": {}}
        for name, array in arrays.items():
            little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            blobs[name] = little.tobytes()
            parts[name] = {"dtype": array.dtype.name, "shape": list(array.shape)}
        for name, blob in blobs.items():
            parts[name] |= {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}
        manifest = {
            "name": self.name,
            "version": self.version,
            "device_class": DEVICE_CLASS,
            "classes": ["non-VA", "VA"],
            "window": self.window.as_dict(),
            "adapt": self.adapt.as_dict(),
            "detector": self.detector.as_dict(),
            "card": self.card,
            "notice": NOTICE,
            "parts": [{"name": name, **parts[name]} for name in blobs],
        }
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode("ascii")
        body = _PREFIX.pack(MAGIC, FORMAT, len(text)) + text + b"".join(blobs.values())
        return body + hashlib.sha256(body).digest()

    @classmethod
    def unpack(cls, data: bytes, origin: str = "the bundle") -> Self:
        """Read a bundle from its bytes.

        Args:
            data: all of them.
            origin: what to call it in an error.

        Raises:
            BundleAlteredError: a byte is not the one that was packed.
            BundleError: not a bundle, of another format or device class, or inconsistent.
        """
        manifest, blobs = _opened(data, origin)
        try:
            if manifest["device_class"] != DEVICE_CLASS:
                raise BundleError(
                    f"{origin} is made for device class {manifest['device_class']!r}, this is "
                    f"a {DEVICE_CLASS!r}."
                )
            arrays = {p["name"]: _array(p, blobs[p["name"]]) for p in manifest["parts"][1:]}
            missing = [name for name in _ARRAYS if name not in arrays]
            if missing:
                raise BundleError(f"{origin} lacks its parts {', '.join(missing)}.")
            head, model = arrays["head"], blobs["backbone.onnx"]
            return cls(
                name=str(manifest["name"]),
                version=str(manifest["version"]),
                model=model,
                start=Head(
                    head[:-2].astype(np.float64),
                    float(head[-2]),
                    float(head[-1]),
                    hashlib.sha256(model).hexdigest(),
                ),
                prototypes=arrays["prototypes"],
                golden_windows=arrays["golden_windows"],
                golden_embeddings=arrays["golden_embeddings"],
                window=settings_of(WindowSpec, manifest["window"]),
                adapt=settings_of(AdaptConfig, manifest["adapt"]),
                detector=settings_of(DetectorConfig, manifest["detector"]),
                card=manifest["card"],
            )
        except BundleError:
            raise
        except (LookupError, TypeError, ValueError, OverflowError, FewbeatsError) as error:
            raise BundleError(
                f"{origin} has a manifest that this fewbeats cannot read ({error}): update "
                f"fewbeats, or pack the bundle again."
            ) from error

    def save(self, path: Path) -> None:
        """Write the bundle to a file, wholly or not at all.

        Raises:
            BundleError: it cannot be written.
        """
        try:
            write_atomically(path, self.pack())
        except OSError as error:
            raise BundleError(f"Cannot write the bundle to {path}: {error.strerror}.") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a bundle from a file.

        Raises:
            BundleError: see ``unpack``; also a file that is missing or far too large.
        """
        try:
            data = read_bounded(path, MAX_BYTES)
        except OSError as error:
            raise BundleError(f"Cannot read the bundle {path}: {error.strerror}.") from error
        return cls.unpack(data, str(path))


def _opened(data: bytes, origin: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and parts of a bundle whose every byte has been checked."""
    if len(data) < _PREFIX.size + _DIGEST_BYTES or not data.startswith(MAGIC):
        raise BundleError(f"{origin} is no fewbeats bundle (it starts with {data[:8]!r}).")
    _, version, length = _PREFIX.unpack_from(data)
    body = memoryview(data)[:-_DIGEST_BYTES]
    if hashlib.sha256(body).digest() != data[-_DIGEST_BYTES:]:
        raise BundleAlteredError(
            f"{origin} is damaged: its SHA-256 does not match. Copy it again from where it was "
            f"made; nothing was changed."
        )
    if version != FORMAT:
        raise BundleError(
            f"{origin} has bundle format {version}, this fewbeats reads format {FORMAT}: "
            f"update fewbeats."
        )
    try:
        manifest = json.loads(bytes(body[_PREFIX.size : _PREFIX.size + length]))
        blobs, offset = {}, _PREFIX.size + length
        for part in manifest["parts"]:
            blobs[part["name"]] = bytes(body[offset : offset + part["bytes"]])
            offset += part["bytes"]
        sound = offset == len(body) and all(
            hashlib.sha256(blobs[p["name"]]).hexdigest() == p["sha256"] for p in manifest["parts"]
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{origin} has no readable manifest ({error}).") from error
    if not sound:
        raise BundleError(f"{origin} holds parts other than its manifest says; pack it again.")
    return manifest, blobs


def _array(part: dict[str, Any], blob: bytes) -> NDArray[Any]:
    """An array from its raw little-endian bytes."""
    dtype = {"float32": "<f4", "float64": "<f8"}[part["dtype"]]
    if prod(part["shape"]) * np.dtype(dtype).itemsize != len(blob):
        raise ValueError(f"{part['name']} has {len(blob)} bytes for shape {part['shape']}")
    array = np.frombuffer(blob, dtype=dtype).reshape(part["shape"])
    return array.astype(part["dtype"], copy=False)

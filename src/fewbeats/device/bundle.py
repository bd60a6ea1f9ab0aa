"""The unit of deployment: everything that a gateway needs to judge an ECG, in one signed file.

``device.container`` says how the file is laid out and checked; here is what it means.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import fewbeats
from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.backbone import LITERT, ONNX, Backbone, open_backbone
from fewbeats.device.container import Contents, opened, read_bundle, seal, signed
from fewbeats.device.detector import DetectorConfig
from fewbeats.device.files import write_atomically
from fewbeats.device.head import Head
from fewbeats.device.keys import (
    DEVELOPMENT_KEY,
    Keyring,
    PublicKey,
    SigningKey,
    own_keyring,
)
from fewbeats.device.onnx_graph import check_graph
from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.settings import settings_of
from fewbeats.errors import BundleError, FewbeatsError, SignatureError

DEVICE_CLASS = "ecg-single-lead-gateway"
RUNTIMES = (ONNX, LITERT)
LEAST_FEWBEATS = "0.1.0"
"""The oldest fewbeats that can use a bundle made by this one."""
LEAST_RUNTIME = {ONNX: ("onnxruntime", "1.20"), LITERT: ("ai-edge-litert", "2.0")}
"""The oldest release of each runtime that its form was tried on; the golden windows decide."""
NOTICE = "Research software, no medical device. It reports; it does not treat."
MOST_QUOTED = 400
MOST_NAME = 64
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}")


@dataclass(frozen=True, eq=False)
class Form:
    """The backbone as one runtime takes it, and what that runtime makes of known windows.

    Attributes:
        runtime: "onnx" or "litert".
        model: the quantised network, a file of that runtime.
        prototypes: float32 (prototypes, features), embeddings of VA from training subjects:
            the VA side of a calibration from normals alone.
        golden_embeddings: float32 (golden, features), what the golden windows must give.
        tolerance: how far each value may be off. ONNX int8 agrees bit for bit between
            processors; LiteRT's kernels differ by one or two steps of the output.
    """

    runtime: str
    model: bytes
    prototypes: NDArray[np.float32]
    golden_embeddings: NDArray[np.float32]
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise BundleError(
                f"A form is for one of the runtimes {', '.join(RUNTIMES)}, not {self.runtime!r}."
            )
        if not 0 <= self.tolerance < 1:
            raise BundleError(
                f"The {self.runtime} form lets golden embeddings be off by {self.tolerance}; "
                f"that proves nothing."
            )

    @cached_property
    def sha256(self) -> str:
        """Identity of the weights; heads are bound to it."""
        return hashlib.sha256(self.model).hexdigest()


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a bundle holds.

    Attributes:
        name: of the model, for people: 1 to 64 printable characters.
        version: of the model, dotted numbers; a gateway does not go back unless told to.
        forms: the backbone, once for each runtime; the first is preferred.
        start: the meta-learned head, with the operating point that suits nobody in particular,
            bound to the active form.
        golden_windows: float32 (golden, 1, samples), on which a runtime proves itself.
        window: how windows are made.
        adapt: how the head is fitted.
        detector: how windows become episodes.
        card: the model card: data, licence, subjects, metrics, command, seed.
        runtime: of the active form.
        signer: whose signature it came with; None for one that was just made.
    """

    name: str
    version: str
    forms: tuple[Form, ...]
    start: Head
    golden_windows: NDArray[np.float32]
    window: WindowSpec
    adapt: AdaptConfig
    detector: DetectorConfig
    card: dict[str, Any] = field(default_factory=dict)
    runtime: str = ONNX
    signer: PublicKey | None = None

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= MOST_NAME and self.name.isprintable()):
            raise BundleError(
                f"A bundle's name has 1 to {MOST_NAME} printable characters, not "
                f"{self.name[: MOST_NAME + 1]!r}."
            )
        features, golden = len(self.start.weights), len(self.golden_windows)
        arrays: dict[str, tuple[NDArray[np.float32], tuple[int, ...]]] = {
            "golden_windows": (self.golden_windows, (golden, 1, self.window.samples))
        }
        for form in self.forms:
            arrays[f"{form.runtime} prototypes"] = (
                form.prototypes,
                (len(form.prototypes), features),
            )
            arrays[f"{form.runtime} golden_embeddings"] = (
                form.golden_embeddings,
                (golden, features),
            )
        for name, (array, shape) in arrays.items():
            if array.shape != shape or not len(array) or not np.isfinite(array).all():
                raise BundleError(
                    f"Bundle {self.name}: {name} must be finite numbers of shape {shape}, at "
                    f"least one row of them, and has shape {array.shape}."
                )
        runtimes = [form.runtime for form in self.forms]
        if self.runtime not in runtimes or len(set(runtimes)) != len(runtimes):
            raise BundleError(
                f"Bundle {self.name} has its backbone for {', '.join(runtimes) or 'no runtime'}; "
                f"it needs it once for {self.runtime}."
            )
        self.start.check_backbone(self.form.sha256)
        version_of(self.version)
        if not isinstance(self.card, dict):
            raise BundleError(f"Bundle {self.name}: its card is no table but {self.card!r}.")

    @property
    def form(self) -> Form:
        """The backbone for the active runtime."""
        return next(form for form in self.forms if form.runtime == self.runtime)

    @property
    def model(self) -> bytes:
        """The active form's network."""
        return self.form.model

    @property
    def prototypes(self) -> NDArray[np.float32]:
        """Float32 (prototypes, features), of the active form."""
        return self.form.prototypes

    @property
    def golden_embeddings(self) -> NDArray[np.float32]:
        """Float32 (golden, features), of the active form."""
        return self.form.golden_embeddings

    def on(self, runtime: str) -> "Bundle":
        """The same bundle, judged by another runtime's form.

        Raises:
            BundleError: it has no such form.
        """
        for form in self.forms:
            if form.runtime == runtime:
                start = replace(self.start, backbone_sha256=form.sha256)
                return replace(self, runtime=runtime, start=start)
        raise BundleError(
            f"Bundle {self.name} has no backbone for {runtime}, but for "
            f"{', '.join(form.runtime for form in self.forms)}."
        )

    def on_any(self, runtimes: Collection[str], origin: str = "The bundle") -> "Bundle":
        """The same bundle, judged by the first of its forms that one of the runtimes takes.

        Args:
            runtimes: that this machine has, and may use.
            origin: what to call the bundle in an error.

        Raises:
            BundleError: it has no such form.
        """
        for form in self.forms:
            if form.runtime in runtimes:
                return self.on(form.runtime)
        raise BundleError(
            f"{origin} has its backbone for {', '.join(form.runtime for form in self.forms)}, and "
            f"this machine has {', '.join(runtimes) or 'no runtime for it'}: install that "
            f"runtime, or export the bundle with a form for this machine."
        )

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
            BundleError: it does not load, does not fit, answers other than it should, or came in
                a file and asks for more than a backbone needs.
        """
        if self.signer is not None and self.runtime == ONNX:
            check_graph(self.model, len(self.golden_windows), self.window.samples)
        backbone = open_backbone(self.runtime, self.model)
        features = len(self.start.weights)
        if backbone.features != features or backbone.samples != self.window.samples:
            raise BundleError(
                f"Bundle {self.name}: the backbone makes {backbone.features} features of "
                f"{backbone.samples} samples, the manifest says {features} of "
                f"{self.window.samples}."
            )
        error = np.abs(backbone.embed(self.golden_windows) - self.golden_embeddings)
        if not (error <= self.form.tolerance).all():
            raise BundleError(
                f"Bundle {self.name} fails its golden windows on this machine (embeddings off "
                f"by up to {error.max():.3g}): do not use it here."
            )
        return backbone

    def pack(self, key: SigningKey = DEVELOPMENT_KEY) -> bytes:
        """The bundle's bytes, signed; the same contents and key always give the same bytes."""
        start, runtimes = self.start, [form.runtime for form in self.forms]
        parts: dict[str, bytes | NDArray[Any]] = {}
        for form in self.forms:
            parts[f"{form.runtime}/model"] = form.model
            parts[f"{form.runtime}/prototypes"] = form.prototypes
            parts[f"{form.runtime}/golden_embeddings"] = form.golden_embeddings
        parts["head"] = np.append(start.weights, [start.bias, start.threshold])
        parts["golden_windows"] = self.golden_windows
        manifest = {
            "name": self.name,
            "version": self.version,
            "device_class": DEVICE_CLASS,
            "requires": {"fewbeats": LEAST_FEWBEATS, **dict(LEAST_RUNTIME[r] for r in runtimes)},
            "classes": ["non-VA", "VA"],
            "runtimes": runtimes,
            "tolerances": {form.runtime: form.tolerance for form in self.forms},
            "window": self.window.as_dict(),
            "adapt": self.adapt.as_dict(),
            "detector": self.detector.as_dict(),
            "card": self.card,
            "notice": NOTICE,
        }
        return seal(manifest, parts, key)

    @classmethod
    def unpack(
        cls,
        data: bytes,
        origin: str = "the bundle",
        keyring: Keyring | None = None,
        today: date | None = None,
    ) -> Self:
        """Read a bundle from its bytes.

        Args:
            data: all of them.
            origin: what to call it in an error.
            keyring: whose signatures are trusted; None for this user's own.
            today: refuse signers whose key has expired by then; None where that does not matter.

        Raises:
            BundleAlteredError: a byte is not the one that was signed.
            SignatureError: whole, but signed by nobody who is trusted.
            BundleError: not a bundle, of another format or device class, or inconsistent.
        """
        body, raw = signed(data, origin)
        try:
            signer = (own_keyring() if keyring is None else keyring).check(raw, today)
        except SignatureError as error:
            raise SignatureError(f"{origin} is refused: {error}.") from error
        try:
            return cls._of(opened(body, origin), signer, origin)
        except BundleError as error:
            raise BundleError(_cut(str(error))) from error
        except (LookupError, TypeError, ValueError, OverflowError, FewbeatsError) as error:
            raise BundleError(
                f"{origin} has a manifest that this fewbeats cannot read ({_cut(str(error))}): "
                f"update fewbeats, or pack the bundle again."
            ) from error

    @classmethod
    def _of(cls, contents: Contents, signer: PublicKey, origin: str) -> Self:
        """A bundle from a file's contents, whose values are yet to be believed."""
        manifest = contents.manifest
        if manifest["device_class"] != DEVICE_CLASS:
            raise BundleError(
                f"{origin} is made for device class {manifest['device_class']!r}, this is "
                f"a {DEVICE_CLASS!r}."
            )
        least = str(manifest["requires"]["fewbeats"])
        if version_of(least) > version_of(fewbeats.__version__):
            raise BundleError(
                f"{origin} needs fewbeats {least}, this is {fewbeats.__version__}: update fewbeats."
            )
        if missing := [n for n in _part_names(manifest["runtimes"]) if n not in contents.parts]:
            raise BundleError(f"{origin} lacks its parts {', '.join(missing)}.")

        def float32(name: str) -> NDArray[np.float32]:
            return contents.array(name).astype(np.float32, copy=False)

        forms = tuple(
            Form(
                runtime=runtime,
                model=contents.parts[f"{runtime}/model"],
                prototypes=float32(f"{runtime}/prototypes"),
                golden_embeddings=float32(f"{runtime}/golden_embeddings"),
                tolerance=float(manifest["tolerances"][runtime]),
            )
            for runtime in manifest["runtimes"]
        )
        head = contents.array("head").astype(np.float64, copy=False)
        return cls(
            name=str(manifest["name"]),
            version=str(manifest["version"]),
            forms=forms,
            start=Head(head[:-2], float(head[-2]), float(head[-1]), forms[0].sha256),
            golden_windows=float32("golden_windows"),
            window=settings_of(WindowSpec, manifest["window"]),
            adapt=settings_of(AdaptConfig, manifest["adapt"]),
            detector=settings_of(DetectorConfig, manifest["detector"]),
            card=manifest["card"],
            runtime=forms[0].runtime,
            signer=signer,
        )

    def save(self, path: Path, key: SigningKey = DEVELOPMENT_KEY) -> None:
        """Write the bundle to a file, wholly or not at all.

        Raises:
            BundleError: it cannot be written.
        """
        try:
            write_atomically(path, self.pack(key))
        except OSError as error:
            raise BundleError(f"Cannot write the bundle to {path}: {error.strerror}.") from error

    @classmethod
    def load(cls, path: Path, keyring: Keyring | None = None, today: date | None = None) -> Self:
        """Read a bundle from a file.

        Raises:
            BundleError: see ``unpack``; also a file that is missing or far too large.
        """
        return cls.unpack(read_bundle(path), str(path), keyring, today)


def version_of(text: str) -> tuple[int, ...]:
    """A version as numbers, to compare: "1.10" is later than "1.9", "1.0" is "1".

    Raises:
        BundleError: it is not made of one to four numbers with dots between.
    """
    if not _VERSION.fullmatch(text):
        raise BundleError(f"A version is numbers with dots between, such as 1.2.0, not {text!r}.")
    numbers = [int(number) for number in text.split(".")]
    return (*numbers, *[0] * (4 - len(numbers)))


def _cut(text: str) -> str:
    """A sentence that quotes what a signer wrote, at a length that people read."""
    return text if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]} ... (cut short)."


def _part_names(runtimes: list[str]) -> list[str]:
    kinds = ("model", "prototypes", "golden_embeddings")
    return [f"{r}/{kind}" for r in runtimes for kind in kinds] + ["head", "golden_windows"]

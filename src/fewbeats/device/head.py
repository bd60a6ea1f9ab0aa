"""The head: one logistic unit over an embedding, the only part that fits the patient.

Its file is JSON with a SHA-256 over its contents. Format 2 keeps the windows of the calibration;
a file of format 1 is read too, and has none.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.files import read_bounded, write_atomically
from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.support import Support, kind_of
from fewbeats.errors import HeadError, HeadMismatchError, SignalError

FORMAT = 2
_FORMATS = (1, 2)
MAX_FILE_BYTES = 8_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A logistic model over embeddings, bound to the backbone that makes them.

    Attributes:
        weights: float64 (features,).
        bias: added to the weighted sum.
        threshold: probability from which a window counts as VA: the operating point.
        backbone_sha256: the backbone whose embeddings it was fitted to; no other will do.
    """

    weights: NDArray[np.float64]
    bias: float
    threshold: float
    backbone_sha256: str

    def __post_init__(self) -> None:
        if self.weights.ndim != 1 or self.weights.dtype != np.float64:
            raise HeadError(
                f"A head holds float64 weights of shape (features,), got "
                f"{self.weights.dtype} {self.weights.shape}."
            )
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias)):
            raise HeadError("A head's weights must be finite numbers; this one diverged.")
        if not 0 < self.threshold < 1:
            raise HeadError(
                f"A head's threshold is a probability between 0 and 1, got {self.threshold}."
            )

    def logits(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log-odds of VA, (n,), for embeddings (n, features)."""
        # Not a matrix product: its last bit may depend on how many windows come at once.
        products = embeddings.astype(np.float64) * self.weights
        return np.asarray(products.sum(axis=1) + self.bias)

    def probability(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability of VA, (n,), for embeddings (n, features)."""
        return sigmoid(self.logits(embeddings))

    def check_backbone(self, sha256: str) -> None:
        """Refuse any backbone but its own.

        Raises:
            HeadMismatchError: the hashes differ.
        """
        if self.backbone_sha256 != sha256:
            raise HeadMismatchError(
                f"This head was fitted to backbone {self.backbone_sha256[:12]}, but the bundle "
                f"has backbone {sha256[:12]}: calibrate the patient again with this bundle."
            )


@dataclass(frozen=True, slots=True, eq=False)
class PatientHead:
    """A head with the story of its calibration, as it is kept in a file.

    Attributes:
        head: what judges.
        calibration: how it came about, for people.
        support: what it was fitted to; None in a file of format 1, which cannot be fitted to
            another backbone.
    """

    head: Head
    calibration: dict[str, Any] = field(default_factory=dict)
    support: Support | None = None

    def check_fits(self, backbone_sha256: str, window: WindowSpec) -> None:
        """Refuse any backbone but its own, and windows of another kind for the same backbone.

        A file of format 1 does not say of which kind its windows were.

        Raises:
            HeadMismatchError: it does not fit.
        """
        self.head.check_backbone(backbone_sha256)
        if self.support is not None and not self.support.fits(window):
            raise HeadMismatchError(
                f"This head was fitted to {kind_of(self.support.window)}, and the bundle takes "
                f"{kind_of(window)}: calibrate the patient again with this bundle."
            )

    def save(self, path: Path) -> None:
        """Write the file so that after a power cut it is wholly there or wholly absent.

        Its owner alone may read it: it holds the wearer's ECG.

        Raises:
            HeadError: the file cannot be written.
        """
        content = {
            "format": FORMAT,
            "backbone_sha256": self.head.backbone_sha256,
            "weights": self.head.weights.tolist(),
            "bias": self.head.bias,
            "threshold": self.head.threshold,
            "calibration": self.calibration,
            "support": self.support.as_dict() if self.support else None,
        }
        text = json.dumps({"sha256": _digest(content), **content}, indent=1) + "\n"
        try:
            write_atomically(path, text.encode(), 0o600)
        except OSError as error:
            raise HeadError(f"Cannot write the head to {path}: {error.strerror}.") from error

    @classmethod
    def load(cls, path: Path) -> "PatientHead":
        """Read a head back.

        Raises:
            HeadError: no such file, not a head, of a newer format, or altered.
        """
        try:
            content = json.loads(read_bounded(path, MAX_FILE_BYTES).decode("utf-8"))
        except OSError as error:
            raise HeadError(f"Cannot read the head {path}: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise HeadError(f"{path} is no head file ({error}); calibrate again.") from error
        if not isinstance(content, dict) or "format" not in content:
            raise HeadError(f"{path} is no head file; calibrate again.")
        if content["format"] not in _FORMATS:
            raise HeadError(
                f"{path} has head format {content['format']}, this fewbeats reads formats up to "
                f"{FORMAT}: update fewbeats or calibrate again."
            )
        if content.pop("sha256", None) != _digest(content):
            raise HeadError(f"{path} was altered since it was written; calibrate again.")
        try:
            head = Head(
                np.array(content["weights"], dtype=np.float64),
                float(content["bias"]),
                float(content["threshold"]),
                str(content["backbone_sha256"]),
            )
            support, calibration = content.get("support"), content["calibration"]
            if not isinstance(calibration, dict):
                raise ValueError("its story is no table")
            return cls(
                head,
                calibration,
                Support.from_dict(support) if support is not None else None,
            )
        except (LookupError, TypeError, ValueError, OverflowError, SignalError) as error:
            raise HeadError(f"{path} lacks a part of a head ({error}).") from error


def log_odds(probability: float) -> float:
    """The inverse of the logistic function."""
    return float(np.log(probability) - np.log1p(-probability))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logistic function, without overflow at either end."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

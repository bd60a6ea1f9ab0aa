"""The head: one logistic unit over an embedding, the only part that fits the patient."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.files import read_bounded, write_atomically
from fewbeats.errors import HeadError, HeadMismatchError

FORMAT = 1
MAX_FILE_BYTES = 1_000_000


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
    """A head with the story of its calibration, as it is kept in a file."""

    head: Head
    calibration: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file so that after a power cut it is wholly there or wholly absent.

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
        }
        text = json.dumps({"sha256": _digest(content), **content}, indent=1) + "\n"
        try:
            write_atomically(path, text.encode())
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
        if content["format"] != FORMAT:
            raise HeadError(
                f"{path} has head format {content['format']}, this fewbeats reads format "
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
            return cls(head, dict(content["calibration"]))
        except (KeyError, TypeError, ValueError) as error:
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

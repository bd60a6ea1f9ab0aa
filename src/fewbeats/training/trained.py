"""What a training makes, and the folder that it is kept in: plain arrays and JSON, no pickle."""

import hashlib
import io
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.files import write_atomically
from fewbeats.device.head import Head, sigmoid
from fewbeats.device.settings import settings_of
from fewbeats.errors import CalibrationError, DataError
from fewbeats.training.config import Recipe, recipe_of
from fewbeats.training.evaluate import Model
from fewbeats.training.network import finished_backbone

FORMAT = 2
RECIPE_FILE = "recipe.toml"
_WEIGHTS, _STORY = "weights.npz", "trained.json"
_BLOCK = 2048  # windows embedded at a time


@dataclass(frozen=True, eq=False)
class Trained:
    """All that a bundle is packed from.

    Attributes:
        recipe: how it was made.
        network: the backbone, in evaluation mode.
        weights: float64 (features,), of the head's start.
        bias: of the head's start.
        adapt: how the head is fitted, with the step sizes that were learned.
        prototype_windows: float32 (prototypes, 1, samples), VA of training subjects.
        training: subjects whose windows moved the weights.
        validation: subjects that chose how long; with a refit they are trained on as well.
        held_back: subjects that had no part in it, on which ``metrics`` were taken.
        kept_step: outer steps after which the weights were kept.
        seed: the seed.
        synthetic: whether the subjects were made up, for want of records.
        data_sha256: hash of the windows and classes of everybody who had a part in it.
        material_sha256: hash of all that went in, also what windows were cut from in training
            and the windows of those held back.
        metrics: evaluations of the subjects held back, by support; empty without any.
        versions: of what took part.
    """

    recipe: Recipe
    network: nn.Module
    weights: NDArray[np.float64]
    bias: float
    adapt: AdaptConfig
    prototype_windows: NDArray[np.float32]
    training: tuple[str, ...]
    validation: tuple[str, ...]
    held_back: tuple[str, ...]
    kept_step: int
    seed: int
    synthetic: bool
    data_sha256: str
    material_sha256: str
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def embed(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, features) of windows (n, 1, samples), in full precision."""
        return embed_windows(self.network, windows)

    @cached_property
    def network_sha256(self) -> str:
        """Hash of the network's weights."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.numpy().tobytes())
        return digest.hexdigest()

    @property
    def seen(self) -> tuple[str, ...]:
        """Everybody who had a part in it, by weights or by choice."""
        return tuple(sorted({*self.training, *self.validation}))

    @property
    def start(self) -> Head:
        """The head's start, bound to the network in full precision."""
        threshold = float(sigmoid(np.asarray(self.recipe.head.operating_point)))
        return Head(self.weights, self.bias, threshold, self.network_sha256)

    @property
    def model(self) -> Model:
        """The network in full precision, ready to be scored."""
        return Model(self.embed, self.start, self.adapt, self.embed(self.prototype_windows))

    def save(self, folder: Path) -> None:
        """Write the run's folder; a folder that is read back is whole.

        Raises:
            DataError: it cannot be written.
        """
        buffer = io.BytesIO()
        arrays = {f"network/{k}": v.numpy() for k, v in self.network.state_dict().items()}
        np.savez(
            buffer,
            allow_pickle=False,
            weights=self.weights,
            bias=np.float64(self.bias),
            prototype_windows=self.prototype_windows,
            **arrays,
        )
        story = {
            "format": FORMAT,
            "weights_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
            "recipe": self.recipe.as_dict(),
            "adapt": self.adapt.as_dict(),
            "training": self.training,
            "validation": self.validation,
            "held_back": self.held_back,
            "kept_step": self.kept_step,
            "seed": self.seed,
            "synthetic": self.synthetic,
            "data_sha256": self.data_sha256,
            "material_sha256": self.material_sha256,
            "metrics": self.metrics,
            "versions": self.versions,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / RECIPE_FILE, self.recipe.as_toml().encode())
            write_atomically(folder / _WEIGHTS, buffer.getvalue())
            write_atomically(folder / _STORY, (json.dumps(story, indent=1) + "\n").encode())
        except OSError as error:
            raise DataError(f"Cannot write the run to {folder}: {error.strerror}.") from error


def embed_windows(network: nn.Module, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embeddings (n, features) of windows (n, 1, samples)."""
    blocks = []
    with torch.no_grad():
        for low in range(0, max(1, len(windows)), _BLOCK):
            block = np.ascontiguousarray(windows[low : low + _BLOCK])
            blocks.append(network(torch.from_numpy(block)).numpy())
    return np.concatenate(blocks)


def is_trained(folder: Path) -> bool:
    """Whether a folder holds a finished training."""
    return (folder / _STORY).is_file()


def load_trained(folder: Path) -> Trained:
    """Read a run's folder back.

    Raises:
        DataError: something is missing, or does not belong together.
    """
    try:
        data = (folder / _WEIGHTS).read_bytes()
        story = json.loads((folder / _STORY).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{folder} holds no finished training: {error.filename} ({error.strerror})."
        ) from error
    except ValueError as error:
        raise DataError(f"{folder / _STORY} is no run's story: {error}.") from error
    if not isinstance(story, dict) or story.get("format") != FORMAT:
        raise DataError(f"{folder / _STORY} is not of format {FORMAT}; train again.")
    if hashlib.sha256(data).hexdigest() != story.get("weights_sha256"):
        raise DataError(f"{folder / _WEIGHTS} is not the file that {_STORY} tells of; train again.")
    try:
        recipe = recipe_of(story["recipe"])
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            network = finished_backbone(recipe.network)
            network.load_state_dict(
                {k: torch.from_numpy(arrays[f"network/{k}"]) for k in network.state_dict()}
            )
            return Trained(
                recipe=recipe,
                network=network.eval(),
                weights=arrays["weights"],
                bias=float(arrays["bias"]),
                adapt=settings_of(AdaptConfig, story["adapt"]),
                prototype_windows=arrays["prototype_windows"],
                training=tuple(story["training"]),
                validation=tuple(story["validation"]),
                held_back=tuple(story["held_back"]),
                kept_step=story["kept_step"],
                seed=story["seed"],
                synthetic=story["synthetic"],
                data_sha256=story["data_sha256"],
                material_sha256=story["material_sha256"],
                metrics=story["metrics"],
                versions=story["versions"],
            )
    except (KeyError, TypeError, ValueError, RuntimeError, CalibrationError) as error:
        raise DataError(f"{folder} lacks a part of a run ({error}); train again.") from error

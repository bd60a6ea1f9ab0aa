"""Meta-training from subjects to a network that can be packed, and the file it is kept in."""

import hashlib
import io
import json
import platform
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import fewbeats
from fewbeats.device.head import Head, sigmoid
from fewbeats.errors import DataError
from fewbeats.training.config import Recipe, recipe_of
from fewbeats.training.datasets import Subject, sha256_of
from fewbeats.training.evaluate import Model, Protocol, Support, evaluate, evaluate_supports
from fewbeats.training.maml import MetaTrainer
from fewbeats.training.network import Backbone, seeded_backbone
from fewbeats.training.tasks import TaskSampler

FORMAT = 1
_WEIGHTS, _STORY = "weights.npz", "trained.json"
_CANDIDATES_EACH = 12  # VA windows a subject puts up as prototypes, so that none rules them
_MEDOID_ROUNDS = 20
_BLOCK = 2048  # windows embedded at a time
_VALIDATIONS = 10  # in the course of one training


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is.

    Attributes:
        step: outer steps done.
        steps: outer steps in all.
        loss: running mean of the step losses.
        validation_auc: mean AUC of the validation subjects before calibration; None between
            validations, and where nobody can be scored.
    """

    step: int
    steps: int
    loss: float
    validation_auc: float | None


@dataclass(frozen=True, eq=False)
class Trained:
    """What training makes: all that a bundle is packed from.

    Attributes:
        recipe: how it was made.
        network: the backbone, in evaluation mode.
        weights: float64 (features,), of the head's start.
        bias: of the head's start.
        prototype_windows: float32 (prototypes, 1, samples), VA of training subjects.
        training: subjects it was trained on.
        validation: subjects held back, on which ``metrics`` were taken.
        seed: the seed.
        data_sha256: hash of the training subjects' windows and classes.
        metrics: evaluations of the validation subjects, by support; empty without any.
        versions: of what took part.
    """

    recipe: Recipe
    network: Backbone
    weights: NDArray[np.float64]
    bias: float
    prototype_windows: NDArray[np.float32]
    training: tuple[str, ...]
    validation: tuple[str, ...]
    seed: int
    data_sha256: str
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def embed(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, features) of windows (n, 1, samples), in full precision."""
        return _embed(self.network, windows)

    @cached_property
    def network_sha256(self) -> str:
        """Hash of the network's weights."""
        return _network_sha256(self.network)

    @property
    def start(self) -> Head:
        """The head's start, bound to the network in full precision."""
        threshold = float(sigmoid(np.asarray(self.recipe.head.operating_point)))
        return Head(self.weights, self.bias, threshold, self.network_sha256)

    @property
    def model(self) -> Model:
        """The network in full precision, ready to be scored."""
        return Model(self.embed, self.start, self.recipe.adapt, self.embed(self.prototype_windows))

    def save(self, folder: Path) -> None:
        """Write the run's folder: weights as plain arrays, the rest as JSON; no pickle.

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
            "training": self.training,
            "validation": self.validation,
            "seed": self.seed,
            "data_sha256": self.data_sha256,
            "metrics": self.metrics,
            "versions": self.versions,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _WEIGHTS).write_bytes(buffer.getvalue())
            (folder / _STORY).write_text(json.dumps(story, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"Cannot write the run to {folder}: {error.strerror}.") from error


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
            network = seeded_backbone(recipe.network, 0)
            network.load_state_dict(
                {k: torch.from_numpy(arrays[f"network/{k}"]) for k in network.state_dict()}
            )
            return Trained(
                recipe=recipe,
                network=network.eval(),
                weights=arrays["weights"],
                bias=float(arrays["bias"]),
                prototype_windows=arrays["prototype_windows"],
                training=tuple(story["training"]),
                validation=tuple(story["validation"]),
                seed=story["seed"],
                data_sha256=story["data_sha256"],
                metrics=story["metrics"],
                versions=story["versions"],
            )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{folder} lacks a part of a run ({error}); train again.") from error


def pretrain(
    recipe: Recipe,
    subjects: Mapping[str, Subject],
    validation: Collection[str] = (),
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Meta-train on all subjects but those held back for validation.

    The number of steps is the recipe's; validation reports and chooses nothing, so that its
    figures stay figures on subjects never seen. The same seed gives the same weights on one
    machine with one number of threads.

    Args:
        recipe: how.
        subjects: everybody, loaded with stretches.
        validation: names of those held back.
        seed: of weights, draws and disturbances.
        progress: called after each step.

    Raises:
        DataError: a name that is not there, too few subjects, or training that diverged.
    """
    unknown = sorted(set(validation) - set(subjects))
    if unknown:
        raise DataError(f"Subjects to hold back are not in the data: {', '.join(unknown)}.")
    training = {name: s for name, s in sorted(subjects.items()) if name not in validation}
    held_back = {name: s for name, s in sorted(subjects.items()) if name in validation}
    sampler = TaskSampler(training, recipe.window, recipe.meta, recipe.augment, seed)
    trainer = MetaTrainer(recipe, sampler, seed)
    steps, loss = recipe.meta.steps, 0.0
    every = max(1, steps // _VALIDATIONS)
    for step in range(1, steps + 1):
        now = trainer.step().total
        if not np.isfinite(now):
            raise DataError(
                f"Training diverged at step {step}: lower meta.learning_rate = "
                f"{recipe.meta.learning_rate}."
            )
        loss = now if step == 1 else 0.98 * loss + 0.02 * now
        if progress:
            due = bool(held_back) and step % every == 0
            auc = _validation_auc(recipe, trainer, held_back) if due else None
            progress(Progress(step, steps, loss, auc))
    network, head = trainer.result()
    trained = Trained(
        recipe=recipe,
        network=network,
        weights=head[:-1].numpy().astype(np.float64),
        bias=float(head[-1]),
        prototype_windows=choose_prototypes(network, training, recipe.head.prototypes, seed),
        training=tuple(training),
        validation=tuple(held_back),
        seed=seed,
        data_sha256=sha256_of(training.values()),
        versions={
            "fewbeats": fewbeats.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )
    return replace(trained, metrics=evaluate_supports(held_back, trained.model))


def choose_prototypes(
    network: Backbone, subjects: Mapping[str, Subject], count: int, seed: int
) -> NDArray[np.float32]:
    """VA windows that stand for all: the medoids of the subjects' VA embeddings.

    Each subject puts up a few windows, spread over its time. Clusters are found by alternating
    assignment and medoid (Park and Jun, Expert Systems with Applications 36(2), 2009).

    Returns:
        float32 (at most count, 1, samples).

    Raises:
        DataError: no subject has a VA window.
    """
    offered = []
    for _, subject in sorted(subjects.items()):
        va = np.flatnonzero(subject.va)
        if len(va):
            spread = np.linspace(0, len(va) - 1, min(_CANDIDATES_EACH, len(va)))
            offered.append(subject.windows[va[np.rint(spread).astype(np.int64)]])
    if not offered:
        raise DataError("No training subject has a VA window to make a prototype of.")
    windows = np.concatenate(offered)
    if len(windows) <= count:
        return windows
    embeddings = _embed(network, windows).astype(np.float64)
    squares = (embeddings**2).sum(axis=1)
    distance = squares[:, None] + squares - 2 * embeddings @ embeddings.T
    medoids = np.sort(np.random.default_rng(seed).choice(len(windows), count, replace=False))
    for _ in range(_MEDOID_ROUNDS):
        nearest = distance[:, medoids].argmin(axis=1)
        moved = medoids.copy()
        for cluster in range(count):
            members = np.flatnonzero(nearest == cluster)
            if len(members):
                within = distance[np.ix_(members, members)].sum(axis=1)
                moved[cluster] = members[within.argmin()]
        if (moved == medoids).all():
            break
        medoids = moved
    return windows[np.sort(medoids)]


def _embed(network: Backbone, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    blocks = [np.empty((0, network.project.out_features), dtype=np.float32)]
    with torch.no_grad():
        for low in range(0, len(windows), _BLOCK):
            block = np.ascontiguousarray(windows[low : low + _BLOCK])
            blocks.append(network(torch.from_numpy(block)).numpy())
    return np.concatenate(blocks)


def _network_sha256(network: Backbone) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _validation_auc(
    recipe: Recipe, trainer: MetaTrainer, subjects: Mapping[str, Subject]
) -> float | None:
    """Mean AUC of the subjects with the head's start as it is now."""
    network, head = trainer.result()
    start = Head(head[:-1].numpy().astype(np.float64), float(head[-1]), 0.5, "in training")
    prototypes = np.empty((0, recipe.network.features))
    model = Model(lambda windows: _embed(network, windows), start, recipe.adapt, prototypes)
    result = evaluate(subjects, model, Protocol(Support.NONE))
    return result.mean("auc") if result.subjects else None

"""Meta-training from subjects to a network that can be packed.

Three phases: training with some subjects set aside, who choose when to stop (meta-validation);
training once more on everybody for as many steps; quantisation-aware finishing. A training with
a folder keeps a checkpoint in it and goes on from there.
"""

import hashlib
import platform
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fewbeats
from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.head import Head
from fewbeats.errors import DataError
from fewbeats.training.checkpoint import drop_checkpoint, load_checkpoint, save_checkpoint
from fewbeats.training.config import Recipe
from fewbeats.training.datasets import Subject, material_sha256, sha256_of
from fewbeats.training.evaluate import Model, Protocol, Support, evaluate_all, evaluate_supports
from fewbeats.training.finish import finish
from fewbeats.training.history import History, TensorBoardLog
from fewbeats.training.network import Backbone, FoldedBackbone
from fewbeats.training.parallel import Place
from fewbeats.training.prototypes import choose_prototypes
from fewbeats.training.reference import ReferenceBackbone
from fewbeats.training.splits import choose_validation
from fewbeats.training.tasks import TaskSampler
from fewbeats.training.trained import Trained, embed_windows, is_trained, load_trained
from fewbeats.training.trainer import MetaTrainer

_SEEDS = 1 << 32
_SMOOTH = 0.98  # of the loss that is shown
_SETTLED = 3  # validations that are read together
_RANGE_WINDOWS = 2048  # that fix the ranges of int8 activations


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is.

    Attributes:
        phase: "validated", "refit" or "finishing".
        step: outer steps done, of all phases.
        steps: outer steps of all phases, as far as is known.
        loss: running mean of the step losses.
        validation_auc: the last meta-validation's mean AUC over supports; None before the first
            one, and where nobody can be scored.
    """

    phase: str
    step: int
    steps: int
    loss: float
    validation_auc: float | None


Report = Callable[[Progress], None]


@dataclass(slots=True)
class _Best:
    """The weights that meta-validation liked best so far."""

    step: int
    score: float
    network: Backbone | ReferenceBackbone
    head: Tensor
    adapt: AdaptConfig


@dataclass(slots=True)
class _Run:
    """What the phases of one training share."""

    recipe: Recipe
    seed: int
    place: Place
    folder: Path | None
    identity: dict[str, Any]
    report: Report
    history: History
    loss: float = 0.0
    auc: float | None = None
    before: int = 0
    """Steps of the phases that are over."""

    @property
    def steps(self) -> int:
        phases = 1 + (self.recipe.validation.share > 0 and self.recipe.validation.refit)
        return phases * self.recipe.meta.steps + self.recipe.finish.steps

    def sampler(self, subjects: Mapping[str, Subject]) -> TaskSampler:
        recipe = self.recipe
        return TaskSampler(
            subjects, recipe.window, recipe.meta, recipe.augment, self.seed, self.place
        )

    def tell(self, phase: str, step: int, loss: float) -> None:
        self.loss = loss if self.loss == 0 else _SMOOTH * self.loss + (1 - _SMOOTH) * loss
        self.report(Progress(phase, self.before + step, self.steps, self.loss, self.auc))


def pretrain(
    recipe: Recipe,
    subjects: Mapping[str, Subject],
    held_back: Collection[str] = (),
    seed: int = 0,
    progress: Report | None = None,
    folder: Path | None = None,
    place: Place | None = None,
) -> Trained:
    """Meta-train on all subjects but those held back.

    The same recipe, seed and subjects give the same weights on one machine, on one process with
    one thread. On several processes they agree to rounding.

    Args:
        recipe: how.
        subjects: everybody, loaded with stretches.
        held_back: names of those who have no part in it, and are scored in the end.
        seed: of weights, draws, disturbances and the choice of validation subjects.
        progress: called after each step.
        folder: of the run: where checkpoints, logs and the result are written, and from where
            an interrupted training goes on. A finished one is read back.
        place: this process among those that train together.

    Raises:
        DataError: a name that is not there, too few subjects, a checkpoint of another
            training, or training that diverged.
    """
    if not 0 <= seed < _SEEDS:
        raise DataError(f"seed = {seed} is none: choose one from 0 to {_SEEDS - 1}.")
    unknown = sorted(set(held_back) - set(subjects))
    if unknown:
        raise DataError(f"Subjects to hold back are not in the data: {', '.join(unknown)}.")
    everybody = {name: s for name, s in sorted(subjects.items()) if name not in held_back}
    scored = {name: s for name, s in sorted(subjects.items()) if name in held_back}
    data_sha256 = sha256_of(everybody.values())
    # Labels and windows say what a card should: what training cuts its own windows from, and
    # whom the run is scored on, belong to the very run.
    material = f"{material_sha256(everybody.values())} {sha256_of(scored.values())}"
    identity: dict[str, Any] = {
        "recipe": recipe.as_dict(),
        "seed": seed,
        "data": data_sha256,
        "signals": hashlib.sha256(material.encode()).hexdigest(),
        "subjects held back": sorted(scored),
        "version of fewbeats": fewbeats.__version__,
    }
    place = place or Place()
    if folder is not None and is_trained(folder):
        return _read_back(folder, identity)
    validation = choose_validation(everybody, recipe.validation.share, seed)
    if not recipe.validation.share:
        validation = ()
    run = _Run(recipe, seed, place, folder, identity, progress or _silent, History())
    training = {name: s for name, s in everybody.items() if name not in validation}
    choosing = {name: everybody[name] for name in validation}
    best = _phase(run, "validated", training, choosing, recipe.meta.steps)
    if recipe.validation.refit and validation:
        run.before = recipe.meta.steps
        training = everybody
        run.history.kept_step = best.step
        best = _phase(run, "refit", training, {}, best.step)
    run.before = run.steps - recipe.finish.steps
    finished: FoldedBackbone | ReferenceBackbone = best.network.folded()
    head = best.head
    if isinstance(finished, FoldedBackbone) and recipe.finish.steps:
        finished, head = finish(
            finished,
            head,
            best.adapt,
            recipe,
            run.sampler(training),
            _range_windows(training, seed),
            seed,
            place,
            lambda step, loss: run.tell("finishing", step, loss),
        )
    trained = Trained(
        recipe=recipe,
        network=finished,
        weights=head[:-1].numpy().astype(np.float64),
        bias=float(head[-1]),
        adapt=best.adapt,
        prototype_windows=choose_prototypes(
            lambda windows: embed_windows(finished, windows),
            training,
            recipe.head.prototypes,
            seed,
        ),
        training=tuple(training),
        validation=validation,
        held_back=tuple(scored),
        kept_step=best.step,
        seed=seed,
        synthetic=any(subject.synthetic for subject in training.values()),
        data_sha256=data_sha256,
        material_sha256=identity["signals"],
        versions=_versions(),
    )
    trained = replace(trained, metrics=evaluate_supports(scored, trained.model))
    run.history.kept_step = best.step
    if folder is not None and place.first:
        trained.save(folder)
        run.history.save(folder)
        drop_checkpoint(folder)
    return trained


def _read_back(folder: Path, identity: Mapping[str, Any]) -> Trained:
    """A training that is finished already, if it is the one that is asked for."""
    trained = load_trained(folder)
    found = {
        "recipe": trained.recipe.as_dict(),
        "seed": trained.seed,
        "data": trained.data_sha256,
        "signals": trained.material_sha256,
        "subjects held back": sorted(trained.held_back),
        "version of fewbeats": trained.versions.get("fewbeats"),
    }
    if differing := [name for name, value in identity.items() if found[name] != value]:
        raise DataError(
            f"{folder} holds a finished training with another {', '.join(differing)}; name "
            f"another folder."
        )
    return trained


def _phase(
    run: _Run,
    name: str,
    training: Mapping[str, Subject],
    choosing: Mapping[str, Subject],
    steps: int,
) -> _Best:
    """Train for so many steps; with subjects to choose by, keep what they like best."""
    trainer = MetaTrainer(run.recipe, run.sampler(training), run.seed, run.place)
    best = _resume(run, name, trainer)
    with closing(_steps(run, name, trainer, steps)) as done:
        for step in done:
            due = step % run.recipe.validation.every == 0 or step == steps
            if choosing and due:
                scores = _validated(run.recipe, trainer, training, choosing)
                run.auc = scores.get("auc")
                run.history.validation.append({"step": step, **scores})
                score = _settled(run.history, step, steps)
                if best is None or score >= best.score:
                    best = _Best(step, score, *trainer.result())
            if due:
                _keep(run, name, trainer, best)
    return best or _Best(steps, 0.0, *trainer.result())


def _steps(run: _Run, name: str, trainer: MetaTrainer, steps: int) -> Generator[int, None, None]:
    """Take the steps that are still to be taken, and tell of each."""
    log_folder = run.folder if run.place.first else None
    with TensorBoardLog(log_folder, name, trainer.steps_done) as log:
        logged = len(run.history.validation)
        while trainer.steps_done < steps:
            measured = trainer.curriculum.measure_due(trainer.steps_done + 1)
            rate = trainer.learning_rate
            loss, step = trainer.step(), trainer.steps_done
            if not (np.isfinite(loss) and trainer.finite):
                raise DataError(
                    f"Training diverged at step {step}: lower meta.learning_rate = "
                    f"{run.recipe.meta.learning_rate}."
                )
            curriculum = trainer.curriculum
            share = curriculum.open_share(step) if curriculum.difficulty else 1.0
            if name == "validated":
                run.history.note_step(step, loss, rate, share)
                if measured:
                    run.history.note_curriculum(step, curriculum)
            log.scalars(step, {"loss": loss, "learning_rate": rate, "open_share": share})
            run.tell(name, step, loss)
            yield step
            if len(run.history.validation) > logged:
                logged = len(run.history.validation)
                found = run.history.validation[-1].items()
                log.scalars(step, {f"validation/{k}": v for k, v in found if k != "step"})


def _validated(
    recipe: Recipe,
    trainer: MetaTrainer,
    training: Mapping[str, Subject],
    subjects: Mapping[str, Subject],
) -> dict[str, float]:
    """Mean AUC of the validation subjects by support, and the mean of those as "auc"."""
    network, head, config = trainer.result()
    folded: FoldedBackbone | ReferenceBackbone = network.folded()
    start = Head(head[:-1].numpy().astype(np.float64), float(head[-1]), 0.5, "in training")
    prototypes = choose_prototypes(
        lambda windows: embed_windows(folded, windows), training, recipe.head.prototypes, 0
    )
    model = Model(
        lambda windows: embed_windows(folded, windows),
        start,
        config,
        embed_windows(folded, prototypes),
    )
    supports = (Support.NONE, Support.NORMALS, Support.FIRST)
    protocols = [Protocol(support, recipe.meta.shots) for support in supports]
    done = evaluate_all(subjects, model, protocols)
    found = {str(e.protocol.support): e.mean("auc") for e in done if e.subjects}
    return found | {"auc": float(np.mean(list(found.values())))} if found else {}


def _settled(history: History, step: int, steps: int) -> float:
    """How good the weights of now are, by the mean of the last validations.

    A handful of subjects is a rough scale, and one reading of it is noise. Before half of the
    steps the learning rate is high and the weights are passing through: they are not kept.
    """
    if step < steps / 2:
        return -1.0
    recent = [entry.get("auc", 0.0) for entry in history.validation[-_SETTLED:]]
    return float(np.mean(recent))


def _keep(run: _Run, name: str, trainer: MetaTrainer, best: _Best | None) -> None:
    if run.folder is None or not run.place.first:
        return
    kept = best and {
        "step": best.step,
        "score": best.score,
        "network": best.network.state_dict(),
        "head": best.head,
        "adapt": best.adapt.as_dict(),
    }
    content = {
        "phase": name,
        "trainer": trainer.state(),
        "best": kept,
        "history": run.history.as_dict(),
        "loss": run.loss,
    }
    save_checkpoint(run.folder, run.identity, content)


def _resume(run: _Run, name: str, trainer: MetaTrainer) -> _Best | None:
    """Bring a trainer to where an interrupted training stood, if it came that far."""
    content = load_checkpoint(run.folder, run.identity) if run.folder is not None else None
    if content is None or (name == "refit" and content["phase"] == "validated"):
        return None
    run.history = History.of(content["history"])
    run.loss = content["loss"]
    run.auc = run.history.validation[-1].get("auc") if run.history.validation else None
    if name == "validated" and content["phase"] == "refit":
        # This phase is over; of its outcome only the choice matters.
        trainer.steps_done = run.recipe.meta.steps
        return _Best(run.history.kept_step or 0, 0.0, *trainer.result())
    trainer.restore(content["trainer"])
    best = content["best"]
    if best is None:
        return None
    network, _, _ = trainer.result()
    network.load_state_dict(best["network"])
    return _Best(best["step"], best["score"], network, best["head"], AdaptConfig(**best["adapt"]))


def _range_windows(training: Mapping[str, Subject], seed: int) -> Tensor:
    windows = np.concatenate([s.windows for s in training.values()])
    count = min(_RANGE_WINDOWS, len(windows))
    chosen = np.random.default_rng(seed).choice(len(windows), count, replace=False)
    return torch.from_numpy(windows[np.sort(chosen)])


def _versions() -> dict[str, str]:
    return {
        "fewbeats": fewbeats.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _silent(_: Progress) -> None:
    """Nobody watches."""

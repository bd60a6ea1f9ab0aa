"""The recipe: every number that decides what training makes, in one file."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

from fewbeats.device.adapt import AdaptConfig
from fewbeats.device.detector import DetectorConfig
from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.settings import settings_of
from fewbeats.errors import DataError, FewbeatsError


def _require(good: bool, message: str) -> None:
    if not good:
        raise DataError(f"The recipe cannot be used: {message}.")


NETWORK_KINDS = ("separable", "reference")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The backbone's shape.

    Attributes:
        kind: "separable", what is shipped; or "reference", the published network of MetaVA, for
            comparison, of which ``features`` and ``dropout`` alone can be chosen.
        channels: output channels of each convolution.
        kernels: their lengths, odd.
        strides: their steps.
        features: length of the embedding.
        dropout: share of pooled channels left out in training.
    """

    kind: str = "separable"
    channels: tuple[int, ...] = (32, 64, 128)
    kernels: tuple[int, ...] = (15, 9, 9)
    strides: tuple[int, ...] = (3, 3, 3)
    features: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _require(
            self.kind in NETWORK_KINDS,
            f"network.kind = {self.kind!r} is none of {', '.join(NETWORK_KINDS)}",
        )
        layers = len(self.channels)
        _require(
            layers > 0 and len(self.kernels) == layers and len(self.strides) == layers,
            "channels, kernels and strides need one entry a convolution",
        )
        _require(
            min(*self.channels, *self.kernels, *self.strides, self.features) > 0
            and all(kernel % 2 for kernel in self.kernels)
            and 0 <= self.dropout < 1,
            "a network needs positive sizes, odd kernels and a dropout below 1",
        )


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """How training windows are varied, so that a sensor's habits are not learned as rhythms.

    Shares are chances for each window; amplitudes are in units of the window's own deviation.

    Attributes:
        stretch: the time axis is scaled by exp(-stretch) to exp(stretch), as another sampling
            clock or a heart somewhat slower or faster would.
        leads: share mixed with the record's other lead, as another electrode position sees it.
        flip: share with reversed polarity, as swapped electrodes have.
        gain: highest slope of an amplification that changes within the window.
        noise: highest standard deviation of added noise.
        wander: highest amplitude of an added wave of 0.5-2.5 Hz.
        motion: highest jump of an electrode that is knocked and settles again.
        mains: highest amplitude of what is left of 50 or 60 Hz.
        clip: share whose peaks are cut.
    """

    stretch: float = 0.12
    leads: float = 0.3
    flip: float = 0.3
    gain: float = 0.3
    noise: float = 0.25
    wander: float = 0.5
    motion: float = 1.5
    mains: float = 0.15
    clip: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.leads, self.flip, self.clip)
        _require(all(0 <= v <= 1 for v in shares), "augment.leads, flip and clip are shares, 0-1")
        amounts = (self.stretch, self.noise, self.wander, self.motion, self.mains)
        _require(
            min(amounts) >= 0 and 0 <= self.gain < 1,
            "augment.stretch, noise, wander, motion and mains must not be negative, and gain "
            "lies in [0, 1)",
        )


METHODS = ("anil", "maml", "supervised")


@dataclass(frozen=True, slots=True)
class MetaConfig:
    """How meta-training goes.

    Attributes:
        method: "anil", whose inner loop moves the head alone, as the device does; "maml", whose
            inner loop moves every weight; "supervised", which has none.
        order: of the outer gradient, 1 or 2: with 1 the inner steps count as constants.
        learn_steps: whether the inner step sizes are learned too.
        inner_steps: of full MAML.
        inner_step: their size, or where its learning starts.
        steps: outer steps.
        tasks: subjects in each.
        va_tasks: how many of them have VA windows of their own.
        shots: support windows a class.
        query: query windows a class.
        prototypes: VA windows of any training subjects, where a support has none.
        learning_rate: the highest of the one-cycle schedule.
        weight_decay: of the backbone.
        average: decay of the running mean of the weights, which is what is kept.
    """

    method: str = "anil"
    order: int = 2
    learn_steps: bool = True
    inner_steps: int = 3
    inner_step: float = 0.05
    steps: int = 800
    tasks: int = 12
    va_tasks: int = 8
    shots: int = 10
    query: int = 16
    prototypes: int = 24
    learning_rate: float = 0.004
    weight_decay: float = 0.01
    average: float = 0.99

    def __post_init__(self) -> None:
        _require(
            self.method in METHODS,
            f"meta.method = {self.method!r} is none of {', '.join(METHODS)}",
        )
        _require(self.order in (1, 2), f"meta.order = {self.order} is neither 1 nor 2")
        counts = (self.steps, self.va_tasks, self.shots, self.query, self.prototypes)
        _require(
            min(*counts, self.inner_steps) > 0,
            "meta.steps, va_tasks, shots, query, prototypes and inner_steps must be at least 1",
        )
        _require(self.va_tasks <= self.tasks, "meta.va_tasks cannot exceed meta.tasks")
        _require(
            self.learning_rate > 0 and self.weight_decay >= 0 and 0 <= self.average < 1,
            "meta.learning_rate must be positive, weight_decay >= 0 and average in [0, 1)",
        )
        _require(0 < self.inner_step <= 10, "meta.inner_step lies in (0, 10]")


@dataclass(frozen=True, slots=True)
class CurriculumConfig:
    """Which subjects are drawn when: the easy ones first.

    Attributes:
        enabled: whether there is a curriculum; without one everybody may be drawn at any time.
        start: share of the subjects, the easiest, that may be drawn at first.
        ramp: share of the steps after which everybody may be drawn.
        every: steps from one measurement of the difficulties to the next.
    """

    enabled: bool = False
    start: float = 0.3
    ramp: float = 0.5
    every: int = 40

    def __post_init__(self) -> None:
        _require(
            0 < self.start <= 1 and 0 <= self.ramp <= 1 and self.every > 0,
            "curriculum.start lies in (0, 1], ramp in [0, 1], and every is at least 1",
        )


@dataclass(frozen=True, slots=True)
class ValidationConfig:
    """Meta-validation: subjects that choose when to stop, and take no part in training.

    Attributes:
        share: of the training subjects; 0 keeps the last weights instead.
        every: steps from one validation to the next.
        refit: train once more on everybody, for as many steps as were found best.
    """

    share: float = 0.15
    every: int = 50
    refit: bool = True

    def __post_init__(self) -> None:
        _require(
            0 <= self.share < 1 and self.every > 0,
            "validation.share lies in [0, 1) and every is at least 1",
        )


@dataclass(frozen=True, slots=True)
class FinishConfig:
    """Quantisation-aware finishing: the last steps feel the rounding of int8.

    Attributes:
        steps: how many; 0 leaves it out.
        learning_rate: of these steps.
    """

    steps: int = 100
    learning_rate: float = 0.0003

    def __post_init__(self) -> None:
        _require(
            self.steps >= 0 and self.learning_rate > 0,
            "finish.steps must not be negative, and finish.learning_rate be positive",
        )


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """The head's operating point before it knows anybody, and what stands in for VA.

    Attributes:
        operating_point: log-odds from which a window counts as VA. Above 0, because training
            weighs both classes alike and a wearer sees one of them for years.
        prototypes: VA windows of training subjects that go with the network.
    """

    operating_point: float = 1.0
    prototypes: int = 32

    def __post_init__(self) -> None:
        _require(self.prototypes > 0, "head.prototypes must be at least 1")


@dataclass(frozen=True, slots=True)
class Recipe:
    """All of it."""

    name: str = "default"
    window: WindowSpec = field(default_factory=WindowSpec)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    finish: FinishConfig = field(default_factory=FinishConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)

    def __post_init__(self) -> None:
        for part in _PARTS:
            for name, value in asdict(getattr(self, part)).items():
                finite = not isinstance(value, float) or isfinite(value)
                _require(finite, f"{part}.{name} = {value} is no finite number")
        _require(
            self.meta.method != "maml" or self.network.kind == "separable",
            'meta.method = "maml" needs network.kind = "separable"',
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and TOML hold them."""
        return asdict(self)

    def as_toml(self) -> str:
        """The text of a file that ``load_recipe`` reads back to the same recipe."""
        lines = [f"name = {_toml(self.name)}"]
        for part in _PARTS:
            lines += ["", f"[{part}]"]
            lines += [f"{k} = {_toml(v)}" for k, v in asdict(getattr(self, part)).items()]
        return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Numbers, booleans, strings and lists of numbers are written alike in JSON and TOML."""
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # TOML takes no control character as it is


_PARTS = {
    "window": WindowSpec,
    "network": NetworkConfig,
    "augment": AugmentConfig,
    "meta": MetaConfig,
    "curriculum": CurriculumConfig,
    "validation": ValidationConfig,
    "finish": FinishConfig,
    "adapt": AdaptConfig,
    "head": HeadConfig,
    "detector": DetectorConfig,
}


def load_recipe(path: Path | None = None) -> Recipe:
    """Read a recipe from a TOML file, or the one that comes with fewbeats.

    Raises:
        DataError: no such file, no TOML, or a value that cannot be used.
    """
    try:
        if path is None:
            text = files("fewbeats.training").joinpath("recipes/default.toml").read_text("utf-8")
        else:
            text = path.read_text("utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise DataError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"The recipe {path} is no TOML file: {error}.") from error
    return recipe_of(content)


def recipe_of(content: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values; what is left out keeps its default.

    Raises:
        DataError: an unknown name, or a value of the wrong kind.
    """
    parts: dict[str, Any] = {}
    for name, value in content.items():
        if name == "name":
            parts[name] = str(value)
        elif name in _PARTS:
            parts[name] = _part(name, value)
        else:
            known = ", ".join(["name", *_PARTS])
            raise DataError(f"The recipe has an unknown part {name!r}; known are {known}.")
    return Recipe(**parts)


def _part(name: str, values: object) -> object:
    try:
        return settings_of(_PARTS[name], values)
    except DataError:
        raise
    except (ValueError, FewbeatsError) as error:
        raise DataError(f"The recipe's part [{name}] cannot be used: {error}") from error

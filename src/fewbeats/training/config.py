"""The recipe: every number that decides what training makes, in one file."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
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


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The backbone's shape.

    Attributes:
        channels: output channels of each convolution.
        kernels: their lengths, odd.
        strides: their steps.
        features: length of the embedding.
        dropout: share of pooled channels left out in training.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    kernels: tuple[int, ...] = (15, 9, 9)
    strides: tuple[int, ...] = (3, 3, 3)
    features: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
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

    Attributes:
        stretch: the time axis is scaled by exp(-stretch) to exp(stretch).
        flip: share of windows with reversed polarity, as a swapped electrode has.
        noise: highest standard deviation of added noise, in units of the window's own.
        wander: highest amplitude of an added wave of 0.5-2.5 Hz.
        clip: share of windows whose peaks are cut.
    """

    stretch: float = 0.12
    flip: float = 0.3
    noise: float = 0.25
    wander: float = 0.5
    clip: float = 0.1

    def __post_init__(self) -> None:
        _require(
            0 <= self.flip <= 1 and 0 <= self.clip <= 1, "augment.flip and clip are shares, 0-1"
        )
        _require(
            min(self.stretch, self.noise, self.wander) >= 0,
            "augment.stretch, noise and wander must not be negative",
        )


@dataclass(frozen=True, slots=True)
class MetaConfig:
    """How meta-training goes.

    Attributes:
        steps: outer steps.
        tasks: subjects in each.
        va_tasks: how many of them have VA windows of their own.
        shots: support windows a class.
        query: query windows a class.
        prototypes: VA windows of other subjects, where a task has none in its support.
        learning_rate: the highest of the one-cycle schedule.
        weight_decay: of the backbone.
        average: decay of the running mean of the weights, which is what is kept.
    """

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
            min(self.steps, self.va_tasks, self.shots, self.query, self.prototypes) > 0,
            "meta.steps, va_tasks, shots, query and prototypes must be at least 1",
        )
        _require(self.va_tasks <= self.tasks, "meta.va_tasks cannot exceed meta.tasks")
        _require(
            self.learning_rate > 0 and self.weight_decay >= 0 and 0 <= self.average < 1,
            "meta.learning_rate must be positive, weight_decay >= 0 and average in [0, 1)",
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
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and TOML hold them."""
        return asdict(self)


_PARTS = {
    "window": WindowSpec,
    "network": NetworkConfig,
    "augment": AugmentConfig,
    "meta": MetaConfig,
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

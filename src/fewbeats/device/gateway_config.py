"""What a gateway is told: ``gateway.toml``."""

import math
import tomllib
from dataclasses import dataclass
from typing import Self

from fewbeats.device.bundle import RUNTIMES
from fewbeats.device.files import read_bounded
from fewbeats.device.layout import Layout
from fewbeats.device.patients import check_code
from fewbeats.device.settings import settings_of
from fewbeats.errors import HeadError, TargetError

PRODUCTION, DEVELOPMENT = "production", "development"
AUTO = "auto"
MAX_FILE_BYTES = 100_000
MOST_STARTS = 100


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The settings of a gateway.

    Attributes:
        mode: "production", where bundles need a key of yours, or "development", where the
            development key is trusted too.
        source: address of the sensor.
        patient: code of the wearer; empty: watch with the bundle's own head.
        runtime: "onnx", "litert", or "auto" for the first that bundle and machine both have.
        trial_judged_s: how much signal a new bundle must have judged, in one run, to be kept.
        trial_starts: how often it may be started until then.
    """

    mode: str = PRODUCTION
    source: str = "serial:///dev/fewbeats-sensor"
    patient: str = ""
    runtime: str = AUTO
    trial_judged_s: float = 300.0
    trial_starts: int = 3

    def __post_init__(self) -> None:
        if self.mode not in (PRODUCTION, DEVELOPMENT):
            raise ValueError(f"mode is {PRODUCTION!r} or {DEVELOPMENT!r}, not {self.mode!r}")
        if self.runtime not in (AUTO, *RUNTIMES):
            known = ", ".join((AUTO, *RUNTIMES))
            raise ValueError(f"runtime is one of {known}, not {self.runtime!r}")
        if not (0 <= self.trial_judged_s < math.inf and 1 <= self.trial_starts <= MOST_STARTS):
            raise ValueError(
                f"trial_judged_s is a number of seconds and trial_starts from 1 to {MOST_STARTS}, "
                f"not {self.trial_judged_s} and {self.trial_starts}"
            )
        if self.patient:
            check_code(self.patient)

    @property
    def production(self) -> bool:
        """Whether the development key is refused."""
        return self.mode == PRODUCTION

    @classmethod
    def load(cls, layout: Layout) -> Self:
        """Read a gateway's settings.

        Raises:
            TargetError: there is no gateway here, or its settings make no sense.
            SlotError: it is a card whose links lead out of it.
        """
        layout.check_inside()
        path = layout.config
        try:
            content = tomllib.loads(read_bounded(path, MAX_FILE_BYTES).decode())
        except FileNotFoundError as error:
            raise TargetError(
                f"There is no gateway at {layout.root}: {path} is missing. Name the right --root, "
                f"or provision it first: fewbeats provision"
            ) from error
        except OSError as error:
            raise TargetError(f"Cannot read {path}: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise TargetError(f"{path} is no TOML ({error}); put it right.") from error
        try:
            return settings_of(cls, content)
        except (ValueError, HeadError) as error:
            raise TargetError(f"{path}: {str(error).rstrip('.')}. Put it right.") from error

"""The windows that a calibration was made from, kept so that it can be made again.

An update brings another backbone, and a head fits only the one that it was fitted to. With its
windows a calibration needs the wearer no second time.
"""

import base64
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.settings import settings_of
from fewbeats.errors import HeadError

MOST_BYTES = 4_000_000
"""What the windows of one calibration may take; a hundred windows of 2 s take 100 kB."""


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """Windows with their labels, to the last bit as they were when the head was fitted.

    Attributes:
        windows: float32 (windows, 1, samples), normals first.
        va: bool (windows,), which of them are ventricular arrhythmia; none for a calibration
            from normals alone, where the bundle's prototypes stand in.
        window: how the windows were made.
        confirmed: somebody who can tell has said that the normals are no VA.
    """

    windows: NDArray[np.float32]
    va: NDArray[np.bool_]
    window: WindowSpec
    confirmed: bool

    def __post_init__(self) -> None:
        shape = (self.va.size, 1, self.window.samples)
        if (
            self.va.ndim != 1
            or self.windows.shape != shape
            or self.windows.nbytes > MOST_BYTES
            or self.va.all()
        ):
            raise HeadError(
                f"The windows of a calibration have shape {shape}, at most {MOST_BYTES} bytes, "
                f"and a normal one among them; got shape {self.windows.shape}."
            )
        if not np.isfinite(self.windows).all():
            raise HeadError("The windows of a calibration hold values that are no finite numbers.")

    def fits(self, spec: WindowSpec) -> bool:
        """Whether windows made by ``spec`` are of this kind, however far apart they lie."""
        return window_kind(self.window) == window_kind(spec)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a file; the samples as little-endian float32 in Base64 (RFC 4648)."""
        samples = np.ascontiguousarray(self.windows, dtype="<f4").tobytes()
        return {
            "window": self.window.as_dict(),
            "confirmed": self.confirmed,
            "va": self.va.astype(int).tolist(),
            "samples": base64.b64encode(samples).decode("ascii"),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """What ``as_dict`` made.

        Raises:
            HeadError, SignalError: shapes or settings that make no sense.
            LookupError, TypeError, ValueError, OverflowError: something else is there.
        """
        spec, confirmed = settings_of(WindowSpec, content["window"]), content["confirmed"]
        va = np.array(content["va"], dtype=bool)
        if not isinstance(confirmed, bool):
            raise ValueError(f"confirmed = {confirmed!r}")
        data = base64.b64decode(content["samples"], validate=True)
        windows = np.frombuffer(data, dtype="<f4").reshape(len(va), 1, spec.samples)
        return cls(windows.astype(np.float32), va, spec, confirmed)


def kind_of(spec: WindowSpec) -> str:
    """A kind of windows in words."""
    return (
        f"windows of {spec.window_s:g} s at {spec.rate_hz} Hz from {spec.low_hz:g} to "
        f"{spec.high_hz:g} Hz"
    )


def window_kind(spec: WindowSpec) -> tuple[float, ...]:
    """What an embedding depends on; how far apart windows lie is no matter."""
    return spec.rate_hz, spec.window_s, spec.low_hz, spec.high_hz

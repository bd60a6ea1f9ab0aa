"""What an int8 backbone computes: the layers, in the integers of ONNX Runtime."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

LEVELS = 255
"""The highest step of a uint8."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How reals stand as uint8: ``real = (step - zero) * scale``."""

    scale: np.float32
    zero: int

    @property
    def reach(self) -> int:
        """The most steps that a value can lie off zero."""
        return max(self.zero, LEVELS - self.zero)


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """One convolution over time; a linear layer is one of a single sample.

    Attributes:
        weights: int8 (channels out, kernel, channels in / groups).
        biases: int32 (channels out,), in units of the accumulator.
        scales: float32 (channels out,), steps of the output in one unit of the accumulator.
        in_length: samples in.
        in_channels: channels in.
        out_length: samples out.
        groups: into how many separate parts the channels fall.
        stride: samples from one output to the next.
        padding: samples of real zero before the first one.
        before: how its input is quantised.
        after: how its output is quantised.
    """

    weights: NDArray[np.int8]
    biases: NDArray[np.int32]
    scales: NDArray[np.float32]
    in_length: int
    in_channels: int
    out_length: int
    groups: int
    stride: int
    padding: int
    before: Steps
    after: Steps

    @property
    def out_channels(self) -> int:
        """Channels out."""
        return len(self.weights)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those with padding counted too."""
        return self.out_length * self.weights.size

    @property
    def most(self) -> int:
        """The largest magnitude that an accumulator can reach, whatever the input."""
        sums = np.abs(self.weights.astype(np.int64)).sum(axis=(1, 2)) * self.before.reach
        return int((sums + np.abs(self.biases.astype(np.int64))).max())


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of each channel over time.

    ONNX Runtime takes it in float32, in an order of additions that differs between processors.
    The sum of the steps is exact, and rounds to the same step of the output wherever it lies
    further from the edge between two steps than float32 can err (see ``undecided``).
    """

    in_length: int
    in_channels: int
    before: Steps
    after: Steps

    @property
    def out_length(self) -> int:
        """A mean leaves one sample."""
        return 1

    @property
    def out_channels(self) -> int:
        """As many as came in."""
        return self.in_channels

    @property
    def factor(self) -> np.float32:
        """Steps of the output in one step of the sum over time."""
        return np.float32(float(self._exact_factor()))

    @property
    def undecided(self) -> tuple[int, ...]:
        """The sums over time whose mean float32 may round up or down, as its order falls.

        Where there are none, the mean is the same in every implementation. Of ``n`` values a
        float32 sum of products errs by at most ``n`` roundings, relative to the sum of their
        magnitudes, in any order (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
        section 4.2); dividing twice, and our own factor and product, add four.
        """
        factor = self._exact_factor()
        error = Fraction(self.in_length + 4, 2**24) * Fraction(1001, 1000)
        low = -self.before.zero * self.in_length
        high = (LEVELS - self.before.zero) * self.in_length
        found = []
        for total in range(low, high + 1):
            value = total * factor
            edge = value.numerator // value.denominator + Fraction(1, 2)
            # Beyond the outermost edges every mean saturates.
            if not -self.after.zero < edge < LEVELS - self.after.zero:
                continue
            magnitude = total if low == 0 else self.before.reach * self.in_length
            if abs(value - edge) <= magnitude * factor * error:
                found.append(total)
        return tuple(found)

    def _exact_factor(self) -> Fraction:
        return Fraction(float(self.before.scale)) / (
            self.in_length * Fraction(float(self.after.scale))
        )


Layer = Convolution | Mean


@dataclass(frozen=True, slots=True)
class Network:
    """The layers of a backbone, from (samples, 1) to (1, features)."""

    samples: int
    layers: tuple[Layer, ...]

    @property
    def features(self) -> int:
        """Length of an embedding."""
        return self.layers[-1].out_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one window."""
        return sum(layer.macs for layer in self.layers if isinstance(layer, Convolution))

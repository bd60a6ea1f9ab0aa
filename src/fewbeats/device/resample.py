"""Any sampling rate to the bundle's rate, with the low-pass that goes with it: one FIR.

Samples are integers (sixteenths of a microvolt) and so are the taps, both held in float64.
Every product and sum stays below 2**53 and is therefore exact: the result is the same bits
whatever the order of summation, the size of the pieces, the linear-algebra library or the
processor.
"""

from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fewbeats.errors import RateError

MIN_RATE_HZ = 100.0
MAX_RATE_HZ = 4000.0
KERNEL_S = 0.2
"""Length of the low-pass kernel; the transition is about 3.3 / KERNEL_S = 16 Hz wide."""
TAP_SCALE = 2**20
MAX_PHASES = 2500
_BLOCK = 1 << 15  # outputs computed at a time; bounds the memory of a long recording


class Resampler:
    """Polyphase windowed-sinc low-pass, evaluated at the output's sample times.

    Output k lies at input position ``k * ratio``; it is the dot product of the ``2 * reach``
    inputs around it with the taps of its phase (Crochiere and Rabiner, Multirate Digital Signal
    Processing, 1983). Hamming window; each phase sums to one exactly, so that a constant
    passes unchanged.
    """

    def __init__(self, rate_hz: float, out_rate_hz: int, cutoff_hz: float) -> None:
        """Prepare for one input rate.

        Raises:
            RateError: the input rate is outside 100-4000 Hz.
        """
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise RateError(
                f"A sampling rate of {rate_hz:g} Hz cannot be used: the bundle needs "
                f"{MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz. Set the sensor to a rate in that range."
            )
        # Odd rates are met to within a thousandth, which changes no rhythm. Times are told by
        # input samples, so that nothing adds up.
        self.ratio = (Fraction(rate_hz) / out_rate_hz).limit_denominator(MAX_PHASES)
        self.reach = ceil(KERNEL_S / 2 * rate_hz)
        phases = self.ratio.denominator
        offsets = np.arange(2 * self.reach) - (self.reach - 1)
        # (phases, taps): distance of each input from the output's position, in seconds
        distance_s = (offsets[None, :] - np.arange(phases)[:, None] / phases) / rate_hz
        inside = np.abs(distance_s) < KERNEL_S / 2
        window = np.where(inside, 0.54 + 0.46 * np.cos(2 * np.pi * distance_s / KERNEL_S), 0.0)
        taps = np.sinc(2 * cutoff_hz * distance_s) * window
        taps = np.rint(taps * (TAP_SCALE / taps.sum(axis=1, keepdims=True)))
        taps[:, self.reach - 1] += TAP_SCALE - taps.sum(axis=1)
        self.taps = taps

    @property
    def first(self) -> int:
        """Index of the first output that has all its inputs, counted from input 0."""
        return ceil((self.reach - 1) / self.ratio)

    def ready(self, inputs: int) -> int:
        """Index after the last output that has all its inputs among the first ``inputs``."""
        if inputs < self.reach + 1:
            return 0
        return ceil(Fraction(inputs - self.reach) / self.ratio)

    def outputs(
        self, samples: NDArray[np.float64], base: int, start: int, stop: int
    ) -> NDArray[np.float64]:
        """Outputs ``start`` to ``stop`` - 1.

        Args:
            samples: integers in float64, (inputs,), of which the first has index ``base``.
            base: index of ``samples[0]``.
            start: first output wanted.
            stop: one past the last output wanted; at most ``ready(base + len(samples))``.

        Returns:
            Integers in float64, (stop - start,).
        """
        step, phases = self.ratio.numerator, self.ratio.denominator
        windows = np.lib.stride_tricks.sliding_window_view(samples, 2 * self.reach)
        result = np.empty(stop - start)
        for low in range(start, stop, _BLOCK):
            high = min(low + _BLOCK, stop)
            position = np.arange(low, high, dtype=np.int64) * step
            first = position // phases - (self.reach - 1) - base
            if phases == 1:
                sums = windows[first[0] : first[-1] + 1 : step] @ self.taps[0]
            else:
                sums = np.einsum("ij,ij->i", windows[first], self.taps[position % phases])
            result[low - start : high - start] = np.rint(sums / TAP_SCALE)
        return result

    def oldest_input(self, output: int) -> int:
        """Index of the first input that ``output`` needs."""
        return output * self.ratio.numerator // self.ratio.denominator - (self.reach - 1)

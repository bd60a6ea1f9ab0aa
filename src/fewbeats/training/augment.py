"""Windows cut from longer stretches and varied as a wearable's own would vary.

A window is taken at a random place and a slightly changed pace, mixed with another lead,
disturbed, and then treated as the device treats any window: baseline out, unit variance.
"""

import torch
from torch import Tensor

from fewbeats.device.preprocess import WindowSpec, baseline_basis
from fewbeats.training.config import AugmentConfig

_SOME = 0.3  # share of the windows that each of the milder disturbances meets
_SLOWEST_SETTLING_S = 0.5


class Augmenter:
    """Cuts and disturbs; all chance comes from the generator that is handed in."""

    def __init__(self, window: WindowSpec, config: AugmentConfig, device: str = "cpu") -> None:
        self._config = config
        self._samples = window.samples
        self._rate_hz = window.rate_hz
        self._device = device
        self._time = torch.arange(window.samples, device=device)
        basis = torch.from_numpy(baseline_basis(window)).float()
        self._basis = (basis / basis.norm(dim=1, keepdim=True)).to(device)

    def __call__(self, stretches: Tensor, partners: Tensor, rng: torch.Generator) -> Tensor:
        """Windows from stretches.

        Args:
            stretches: (n, samples of a stretch).
            partners: alike, the same moments in another lead.
            rng: on the processor, whatever the device, so that all draw the same.

        Returns:
            (n, samples of a window), zero mean and unit variance.
        """
        config, count = self._config, len(stretches)

        def uniform() -> Tensor:
            return torch.rand(count, 1, generator=rng).to(self._device)

        mixed = self._mixed(stretches, partners, uniform(), uniform())
        windows = self.standardise(self._warped(mixed, uniform(), uniform()))
        slope = 2 * self._time / self._samples - 1
        windows = windows * (1 + (2 * uniform() - 1) * config.gain * slope)
        noise = torch.randn(count, self._samples, generator=rng).to(self._device)
        noise = (noise + noise.roll(1, dims=1)) / 2**0.5  # little above the low-pass
        windows = windows + (uniform() < 0.5) * uniform() * config.noise * noise
        phase = 2 * torch.pi * ((0.5 + 2 * uniform()) * self._time / self._rate_hz + uniform())
        windows = windows + (uniform() < _SOME) * uniform() * config.wander * phase.sin()
        windows = windows + (uniform() < _SOME) * self._knocked(*(uniform() for _ in range(3)))
        mains_hz = torch.where(uniform() < 0.5, 50.0, 60.0)
        phase = 2 * torch.pi * (mains_hz * self._time / self._rate_hz + uniform())
        windows = windows + (uniform() < _SOME) * uniform() * config.mains * phase.sin()
        rail = 1.5 + 1.5 * uniform()
        clipped = torch.minimum(torch.maximum(windows, -rail), rail)
        windows = torch.where(uniform() < config.clip, clipped, windows)
        windows = torch.where(uniform() < config.flip, -windows, windows)
        return self.standardise(windows)

    def standardise(self, windows: Tensor) -> Tensor:
        """Baseline out, unit variance: what ``preprocess`` does, in floating point."""
        flat: Tensor = windows - (windows @ self._basis.T) @ self._basis
        scale = flat.square().mean(dim=1, keepdim=True).sqrt() + 1e-6
        return flat / scale

    def _mixed(self, stretches: Tensor, partners: Tensor, chance: Tensor, turn: Tensor) -> Tensor:
        """Another direction in the plane that two leads span: the heart's vector, projected."""
        angle = torch.pi * (turn - 0.5)
        projected = angle.cos() * stretches + angle.sin() * partners
        return torch.where(chance < self._config.leads, projected, stretches)

    def _warped(self, stretches: Tensor, pace: Tensor, place: Tensor) -> Tensor:
        """A window at a random place of each stretch, its time axis scaled."""
        last = stretches.shape[1] - 1
        step = torch.exp((2 * pace - 1) * self._config.stretch)
        step = step.clamp(max=(last - 1) / self._samples)
        position = place * (last - step * self._samples) + step * self._time
        below = position.long().clamp(0, last - 1)
        part = position - below
        left, right = stretches.gather(1, below), stretches.gather(1, below + 1)
        windows: Tensor = torch.lerp(left, right, part)
        return windows

    def _knocked(self, at: Tensor, height: Tensor, settling: Tensor) -> Tensor:
        """An electrode's potential jumps, and falls back as the skin settles."""
        since_s = (self._time - at * self._samples) / self._rate_hz
        settling_s = 0.05 + settling * _SLOWEST_SETTLING_S
        jump = (2 * height - 1) * self._config.motion
        return torch.where(since_s >= 0, jump * torch.exp(-since_s.clamp(min=0) / settling_s), 0.0)

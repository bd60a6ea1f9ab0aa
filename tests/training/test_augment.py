"""Training windows: what each disturbance does, alone and with the others."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from fewbeats.device.preprocess import WindowSpec, baseline_basis
from fewbeats.training.augment import Augmenter
from fewbeats.training.config import AugmentConfig

SPEC = WindowSpec()
STILL = AugmentConfig(**{item.name: 0.0 for item in fields(AugmentConfig)})
STRONG = {"leads": 1.0, "flip": 1.0, "clip": 1.0, "gain": 0.9, "stretch": 0.3}


def windows_of(config: AugmentConfig, stretches, partners=None, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    partners = stretches if partners is None else partners
    return Augmenter(SPEC, config)(stretches, partners, rng)


def beats(count: int, seed: int = 0) -> torch.Tensor:
    """(count, 350): spikes of unit variance, each at its own place and rate."""
    rng = np.random.default_rng(seed)
    time = np.arange(350) / 125
    phase = 2 * np.pi * (rng.uniform(1, 2, (count, 1)) * time + rng.random((count, 1)))
    wave = np.exp(6 * (np.cos(phase) - 1)) + 0.02 * rng.standard_normal((count, 350))
    return torch.from_numpy(wave / wave.std(axis=1, keepdims=True)).float()


def assert_standardised(windows: torch.Tensor) -> None:
    assert torch.isfinite(windows).all()
    assert windows.mean(dim=1).abs().max() < 1e-4
    assert (windows.square().mean(dim=1) - 1).abs().max() < 1e-3
    basis = torch.from_numpy(baseline_basis(SPEC)).float()
    assert (windows @ basis.T / basis.norm(dim=1)).abs().max() < 1e-2, "the baseline is out"


def test_without_disturbance_a_window_is_a_piece_of_its_stretch():
    stretches = beats(20)
    windows = windows_of(STILL, stretches)
    assert_standardised(windows)
    augmenter = Augmenter(SPEC, STILL)
    starts = []
    for window, stretch in zip(windows, stretches, strict=True):
        pieces = augmenter.standardise(stretch.unfold(0, 250, 1))
        fits = pieces @ window / 250
        starts.append(int(fits.argmax()))
        assert fits.max() > 0.99  # between two samples, so not 1
    assert min(starts) < 15 and max(starts) > 80, "from all over the stretch"


@pytest.mark.parametrize("name", [item.name for item in fields(AugmentConfig)])
def test_each_disturbance_alone_changes_windows_and_nothing_else(name):
    stretches, partners = beats(64), beats(64, seed=1)
    plain = windows_of(STILL, stretches, partners)
    value = STRONG.get(name, getattr(AugmentConfig(), name))
    varied = windows_of(replace(STILL, **{name: value}), stretches, partners)
    assert_standardised(varied)
    # The chance of the others is drawn all the same, so windows it passes by are the same ones.
    changed = (varied - plain).abs().amax(dim=1) > 1e-3
    least = {"noise": 0.3, "wander": 0.15, "motion": 0.15, "mains": 0.15}.get(name, 0.9)
    assert changed.float().mean() > least
    if name in ("noise", "wander", "motion", "mains"):
        assert not changed.all()


def test_all_of_them_together_leave_standardised_windows():
    for seed in range(5):
        assert_standardised(windows_of(AugmentConfig(), beats(64, seed), beats(64, 9), seed))


def test_a_flipped_window_is_the_same_one_upside_down():
    stretches = beats(8)
    plain, flipped = windows_of(STILL, stretches), windows_of(replace(STILL, flip=1.0), stretches)
    assert torch.allclose(flipped, -plain, atol=1e-5)
    half = windows_of(replace(STILL, flip=0.5), beats(400))
    turned = (half * windows_of(STILL, beats(400))).mean(dim=1) < 0
    assert 0.4 < turned.float().mean() < 0.6


def test_a_clipped_window_has_no_peak_above_its_rail():
    plain, clipped = (windows_of(replace(STILL, clip=c), beats(64)) for c in (0.0, 1.0))
    assert (plain.abs().amax(dim=1) > 3.1).any()
    assert (clipped.abs().amax(dim=1) < plain.abs().amax(dim=1) + 1e-3).all()
    # A cut peak is flat at the top: its highest samples are alike.
    assert (clipped.topk(3, dim=1).values.std(dim=1) < 0.1).any()


def test_mixed_leads_lie_in_the_plane_of_both():
    time = torch.arange(350) / 125
    lead = torch.sin(2 * torch.pi * 3 * time).expand(50, -1)
    partner = torch.sin(2 * torch.pi * 8 * time).expand(50, -1)
    mixed = windows_of(replace(STILL, leads=1.0), lead, partner)
    power = torch.fft.rfft(mixed).abs().square()
    slow, fast = power[:, 6], power[:, 16]  # bins of half a hertz
    share = fast / (slow + fast)
    assert share.min() < 0.1 and share.max() > 0.9, "from one lead to the other"
    assert ((slow + fast) / power.sum(dim=1) > 0.9).all(), "and nothing beside them"
    alone = windows_of(replace(STILL, leads=1.0), lead, lead)
    assert (torch.fft.rfft(alone).abs().argmax(dim=1) == 6).all(), "who has one lead keeps it"


def test_stretched_time_is_another_rate_within_bounds():
    wave = torch.sin(2 * torch.pi * 10 * torch.arange(350) / 125).expand(200, -1)
    config = replace(STILL, stretch=0.12)
    windows = windows_of(config, wave)
    crossings = ((windows[:, 1:] * windows[:, :-1]) < 0).sum(dim=1) / 2 / 2.0  # hertz
    assert 8.5 < crossings.min() < 9.3 and 10.7 < crossings.max() < 11.6
    # A pace that would need more than the stretch holds is held to what there is.
    far = windows_of(replace(STILL, stretch=2.0), wave)
    assert_standardised(far[:, :])


def test_mains_is_of_50_or_60_hz():
    slow = torch.sin(2 * torch.pi * 2 * torch.arange(350) / 125).expand(300, -1)
    windows = windows_of(replace(STILL, mains=0.5), slow)
    spectrum = torch.fft.rfft(windows).abs()[:, 60:]  # from 30 Hz on
    touched = spectrum.amax(dim=1) > 2
    peaks = {round(30 + 0.5 * int(i)) for i in spectrum[touched].argmax(dim=1)}
    assert peaks == {50, 60}
    assert 0.15 < touched.float().mean() < 0.4


def test_the_generator_decides_everything():
    one, again, other = (windows_of(AugmentConfig(), beats(8), seed=s) for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)


def test_a_flat_stretch_stays_finite():
    windows = windows_of(AugmentConfig(), torch.zeros(16, 350))
    assert torch.isfinite(windows).all()

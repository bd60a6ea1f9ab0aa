"""Stretches: as long as they should be, and the same moments in every lead."""

import numpy as np
import pytest

from fewbeats.device.preprocess import WindowSpec
from fewbeats.firmware_bridge.rhythms import Rhythm, RhythmLabels
from fewbeats.training.datasets import load_subject
from fewbeats.training.stretches import cut_stretches, stretch_spec

SPEC = WindowSpec()


def test_stretches_come_of_every_lead(data_dir):
    subject = load_subject("vfdb/418", [data_dir / "vfdb/418.hea"], SPEC, stretches=True)
    assert subject.stretches is not None
    assert subject.stretches.samples.shape[1] == stretch_spec(SPEC).samples == 350
    assert subject.stretches.va.sum() > 2 * subject.va.sum()
    assert np.isfinite(subject.stretches.samples).all()


@pytest.mark.parametrize("window_s", [1.0, 2.0, 3.0, 4.0, 5.0, 10.0])
@pytest.mark.parametrize("rate_hz", [100, 125, 128, 250, 360])
def test_a_stretch_is_longer_than_a_window_by_the_same_share(window_s, rate_hz):
    wide = stretch_spec(WindowSpec(rate_hz=rate_hz, window_s=window_s))
    assert wide.window_s == pytest.approx(1.4 * window_s, abs=0.05)
    assert wide.hop_s == pytest.approx(0.4, abs=0.02)
    assert wide.low_hz == 0.0
    if rate_hz == 125 and window_s == int(window_s):
        assert wide.samples == round(1.4 * window_s * rate_hz)


def test_a_partner_is_the_same_moment_in_another_lead(data_dir):
    stretches = load_subject("vfdb/418", [data_dir / "vfdb/418.hea"], SPEC, True).stretches
    assert stretches is not None
    partner, everyone = stretches.partner, np.arange(len(stretches.va))
    assert np.array_equal(partner[partner], everyone), "two leads are each other's"
    assert np.array_equal(stretches.va[partner], stretches.va)
    other = partner != everyone
    assert other.mean() > 0.9

    def correlation(one, two):
        return np.abs((stretches.samples[one] * stretches.samples[two]).mean(axis=1, dtype="f8"))

    own = correlation(everyone[other], partner[other])
    assert np.median(own) > 2 * np.median(correlation(everyone[other], np.roll(partner[other], 7)))


def test_partners_of_three_leads_go_round_and_a_gap_leaves_one_alone():
    second = np.arange(125 * 60)
    wave = np.sin(2 * np.pi * 4 * second / 125).astype(np.float32) * 500
    gap = wave.copy()
    gap[125 * 30 :] = np.nan
    truth = RhythmLabels(
        np.full(len(wave), int(Rhythm.VT), np.uint8), np.zeros(len(wave), np.bool_), 125.0
    )
    one = len(cut_stretches([wave], truth, SPEC).va)
    short = len(cut_stretches([gap], truth, SPEC).va)
    partner = cut_stretches([wave, wave, gap], truth, SPEC).partner
    everyone = np.arange(one)
    assert np.array_equal(partner[:one], one + everyone)
    assert np.array_equal(partner[one:][:short], 2 * one + everyone[:short])
    assert np.array_equal(partner[2 * one :], everyone[:short])
    assert np.array_equal(partner[one + short : 2 * one], everyone[short:])
    assert np.array_equal(cut_stretches([wave], truth, SPEC).partner, everyone)

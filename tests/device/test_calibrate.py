"""Collecting a support set and fitting the head to it."""

from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.device.calibrate import SupportSet
from fewbeats.device.preprocess import Windows, WindowSpec, windows_of
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import CalibrationError
from fewbeats.firmware_bridge.simulate.scenario import Scenario
from fewbeats.firmware_bridge.simulate.synthetic import synthetic_ecg

SPEC = WindowSpec()


def windows(seed: int, seconds: int = 60) -> Windows:
    samples = np.random.default_rng(seed).normal(0, 60, 250 * seconds).cumsum()
    return windows_of(samples, 250.0, SPEC)


def test_support_windows_do_not_overlap(tiny_bundle: Bundle) -> None:
    support = SupportSet(tiny_bundle, 5)
    offered = windows(0, 12)  # ten windows, one a second
    for index in range(len(offered)):
        support.offer(offered[index : index + 1], va=False)
        if support.complete:
            break
    assert support.complete and index == 8  # every second one


def test_normals_only_uses_the_prototypes(tiny_bundle: Bundle) -> None:
    support = SupportSet(tiny_bundle, 3)
    support.offer(windows(0), va=True)  # not asked for
    assert support.missing(True) == 0 and support.missing(False) == 3
    support.offer(windows(1), va=False)
    support.confirmed = True
    fitted = support.fit({"operator": "x"})
    assert fitted.calibration["va_side"] == "prototypes" and fitted.calibration["operator"] == "x"
    assert fitted.head.backbone_sha256 == tiny_bundle.start.backbone_sha256
    assert not np.array_equal(fitted.head.weights, tiny_bundle.start.weights)


def test_both_classes(tiny_bundle: Bundle) -> None:
    support = SupportSet(tiny_bundle, 4, normals_only=False)
    support.offer(windows(0), va=False)
    assert not support.complete and support.missing(True) == 4
    support.offer(windows(1), va=True)
    assert support.fit().calibration["va_side"] == "patient"


def test_refusals_are_counted_by_reason(tiny_bundle: Bundle) -> None:
    support = SupportSet(tiny_bundle, 2)
    support.offer(windows_of(np.zeros(2500), 250.0, SPEC), va=False)
    support.offer(windows(0, 4), va=None)
    assert sum(support.refused.values()) == 8 + 2
    assert any("flat" in reason for reason in support.refused)
    with pytest.raises(CalibrationError, match="still needs 2 normal"):
        support.fit()


def test_a_calibration_keeps_its_windows_to_the_last_bit(tiny_bundle: Bundle) -> None:
    support = SupportSet(tiny_bundle, 4, normals_only=False, confirmed=True)
    normals, arrhythmias = windows(0), windows(1)
    support.offer(normals, va=False)
    support.offer(arrhythmias, va=True)
    fitted = support.fit()
    kept = fitted.support
    assert kept is not None and kept.confirmed and kept.window == tiny_bundle.window
    assert kept.va.tolist() == [False] * 4 + [True] * 4
    np.testing.assert_array_equal(kept.windows[:4], normals.samples[[0, 2, 4, 6]])
    again = SupportSet.of(tiny_bundle, kept).fit()
    np.testing.assert_array_equal(again.head.weights, fitted.head.weights)
    assert (again.head.bias, again.head.threshold) == (fitted.head.bias, fitted.head.threshold)


def test_windows_of_another_kind_are_refused(tiny_bundle: Bundle) -> None:
    support = SupportSet(tiny_bundle, 3, confirmed=True)
    support.offer(windows(1), va=False)
    kept = support.fit().support
    assert kept is not None
    other = replace(kept, window=replace(kept.window, low_hz=1.0))
    with pytest.raises(CalibrationError, match="another kind"):
        SupportSet.of(tiny_bundle, other)


def test_a_calibration_is_bounded(tiny_bundle: Bundle) -> None:
    with pytest.raises(CalibrationError, match="at most 4000"):
        SupportSet(tiny_bundle, 4001)
    SupportSet(tiny_bundle, 4000)
    with pytest.raises(CalibrationError, match="at most 2000"):
        SupportSet(tiny_bundle, 2001, normals_only=False)


def test_no_shots_no_calibration(tiny_bundle: Bundle) -> None:
    with pytest.raises(CalibrationError, match="at least 1"):
        SupportSet(tiny_bundle, 0)


def test_fibrillation_offered_as_normal_is_refused() -> None:
    """A head fitted to it would call the patient's own VF normal, and never alarm."""
    bundle = load_bundle()
    for text, seed in (("vf:40", 1), ("vt:40", 2), ("vf:40", 3)):
        ecg = synthetic_ecg(Scenario.parse(text), seed=seed)
        support = SupportSet(bundle, 10)
        support.offer(windows_of(ecg.samples_uv, 250.0, bundle.window), va=False)
        with pytest.raises(CalibrationError, match="look like ventricular arrhythmia"):
            support.fit()


def test_sinus_rhythm_is_accepted() -> None:
    bundle = load_bundle()
    ecg = synthetic_ecg(Scenario.parse("sinus:40"), seed=1)
    support = SupportSet(bundle, 10)
    support.offer(windows_of(ecg.samples_uv, 250.0, bundle.window), va=False)
    story = support.fit().calibration
    assert story["va_over_threshold_after"] > 0.5 and not story["confirmed"]

"""The gate between a trained network and its exported forms."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.head import Head
from fewbeats.errors import ParityError
from fewbeats.export.parity import C99, LIMITS, LITERT_INT8, ONNX_FP32, ONNX_INT8, Parity, compare

RNG = np.random.default_rng(0)
VA = np.arange(400) >= 200
EMBEDDINGS = (RNG.normal(size=(400, 6)) + 2 * VA[:, None]).astype(np.float32)
HEAD = Head(np.ones(6), -6.0, 0.5, "00" * 32)


@pytest.mark.parametrize("form", list(LIMITS))
def test_the_same_embeddings_pass(form: str) -> None:
    parity = compare(EMBEDDINGS, EMBEDDINGS, VA, HEAD, form, 0.0)
    parity.gate()
    assert parity.correlation == pytest.approx(1) and parity.agreement == 1
    assert parity.auc_fp32 == parity.auc_form and parity.worst_difference == 0
    assert parity.sensitivity_loss == parity.specificity_loss == 0 and parity.va == 200
    assert json.loads(json.dumps(parity.as_dict()))["form"] == form


def test_small_rounding_passes_and_the_worst_window_is_named() -> None:
    rounded = (EMBEDDINGS + RNG.normal(size=EMBEDDINGS.shape) * 0.01).astype(np.float32)
    rounded[37] += 0.05
    for form in (ONNX_INT8, LITERT_INT8):
        parity = compare(EMBEDDINGS, rounded, VA, HEAD, form)
        parity.gate()
        assert parity.worst_window == 37
    with pytest.raises(ParityError, match=r"onnx-fp32 .*correlation 0\.999"):
        compare(EMBEDDINGS, rounded, VA, HEAD, ONNX_FP32).gate()


FLIPPED = np.where(RNG.random((400, 1)) < 0.02, -EMBEDDINGS, EMBEDDINGS)


@pytest.mark.parametrize("form", [ONNX_INT8, LITERT_INT8])
@pytest.mark.parametrize(
    ("exported", "fault"),
    [
        (EMBEDDINGS + RNG.normal(size=EMBEDDINGS.shape).astype(np.float32), "correlation"),
        (EMBEDDINGS - 0.5, "agreement"),
        (EMBEDDINGS - 0.5, "sensitivity falls"),
        (EMBEDDINGS + 0.5, "specificity falls"),
        (FLIPPED, "AUC goes"),
        (np.zeros_like(EMBEDDINGS), "correlation 0 "),
    ],
)
def test_each_limit_is_a_gate(exported: np.ndarray, fault: str, form: str) -> None:
    with pytest.raises(ParityError, match=f"form {form} .*{fault}"):
        compare(EMBEDDINGS, exported, VA, HEAD, form).gate()


def test_an_auc_that_rises_is_another_network_too() -> None:
    parity = compare(FLIPPED, EMBEDDINGS, VA, HEAD)
    assert parity.auc_form > parity.auc_fp32 + LIMITS[ONNX_INT8].auc
    assert any("AUC" in fault for fault in parity.faults())


def test_missed_va_does_not_hide_among_many_other_windows() -> None:
    """Of 40 VA windows in 10000, two are missed: 99.98 % of the decisions are the same."""
    va = np.arange(10_000) < 40
    network = np.where(va, 3.0, -3.0)[:, None].astype(np.float32)
    head = Head(np.ones(1), 0.0, 0.5, "00" * 32)
    form = network.copy()
    form[0] = -0.001
    one_missed = compare(network, form, va, head)
    assert not any("sensitivity" in fault for fault in one_missed.faults())
    form[1] = -0.001
    parity = compare(network, form, va, head)
    assert parity.agreement > 0.9997
    assert "sensitivity falls by 0.05, more than 0.01" in parity.faults()


def test_the_c_form_may_be_one_step_from_the_onnx_form() -> None:
    compare(EMBEDDINGS, EMBEDDINGS, VA, HEAD, C99, 1.0).gate()
    for steps in (1.5, None, float("nan")):
        with pytest.raises(ParityError, match="int8 steps from onnx-int8"):
            compare(EMBEDDINGS, EMBEDDINGS, VA, HEAD, C99, steps).gate()


def test_nothing_to_compare_is_no_proof() -> None:
    for keep in (slice(0, 0), slice(181, 219), VA):
        with pytest.raises(ParityError, match="windows of each class"):
            compare(EMBEDDINGS[keep], EMBEDDINGS[keep], VA[keep], HEAD)
    with pytest.raises(ParityError, match="no numbers"):
        compare(EMBEDDINGS, EMBEDDINGS[:, :5], VA, HEAD)
    with pytest.raises(ParityError, match="no numbers"):
        compare(EMBEDDINGS, EMBEDDINGS * np.nan, VA, HEAD)


def test_what_was_not_measured_does_not_pass() -> None:
    whole = compare(EMBEDDINGS, EMBEDDINGS, VA, HEAD)
    bare = Parity(400, 1.0, 1.0, 0.9, 0.9, 0, 0.0)
    assert len(bare.faults()) == 2 and not whole.faults()
    assert replace(whole, correlation=float("nan")).faults()

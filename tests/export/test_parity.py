"""The gate between a trained network and its exported form."""

import numpy as np
import pytest

from fewbeats.device.head import Head
from fewbeats.errors import ParityError
from fewbeats.export.parity import compare

RNG = np.random.default_rng(0)
VA = np.arange(400) >= 200
EMBEDDINGS = (RNG.normal(size=(400, 6)) + 2 * VA[:, None]).astype(np.float32)
HEAD = Head(np.ones(6), -6.0, 0.5, "00" * 32)


def test_the_same_embeddings_pass() -> None:
    parity = compare(EMBEDDINGS, EMBEDDINGS, VA, HEAD)
    parity.gate()
    assert parity.correlation == pytest.approx(1) and parity.agreement == 1
    assert parity.auc_fp32 == parity.auc_int8 and parity.worst_difference == 0


def test_small_rounding_passes_and_the_worst_window_is_named() -> None:
    rounded = (EMBEDDINGS + RNG.normal(size=EMBEDDINGS.shape) * 0.01).astype(np.float32)
    rounded[37] += 0.05
    parity = compare(EMBEDDINGS, rounded, VA, HEAD)
    parity.gate()
    assert parity.worst_window == 37


@pytest.mark.parametrize(
    ("int8", "fault"),
    [
        (EMBEDDINGS + RNG.normal(size=EMBEDDINGS.shape).astype(np.float32), "correlation"),
        (EMBEDDINGS - 0.5, "agreement"),
        (np.where(RNG.random((400, 1)) < 0.02, -EMBEDDINGS, EMBEDDINGS), "AUC falls"),
    ],
)
def test_each_limit_is_a_gate(int8: np.ndarray, fault: str) -> None:
    with pytest.raises(ParityError, match=fault):
        compare(EMBEDDINGS, int8, VA, HEAD).gate()


def test_nothing_to_compare_is_no_proof() -> None:
    for keep in (slice(0, 0), VA):
        with pytest.raises(ParityError, match="both classes"):
            compare(EMBEDDINGS[keep], EMBEDDINGS[keep], VA[keep], HEAD)

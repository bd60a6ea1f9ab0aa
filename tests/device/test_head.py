"""The head and its file."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.device.head import Head, PatientHead, sigmoid
from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.support import Support
from fewbeats.errors import HeadError, HeadMismatchError

FORMAT_1 = """{
 "sha256": "4526ed57999a325f36ae3744dac649ce06e8f19542df9d068bfd11c5c0ff1d8a",
 "format": 1,
 "backbone_sha256": "abababababababababababababababababababababababababababababababab",
 "weights": [
  0.5,
  -1.25
 ],
 "bias": 0.1,
 "threshold": 0.6,
 "calibration": {
  "shots": 10
 }
}
"""


def head(**changes: object) -> Head:
    fields = {
        "weights": np.array([0.5, -1.25, 1 / 3]),
        "bias": 0.1,
        "threshold": 0.6,
        "backbone_sha256": "ab" * 32,
    }
    return Head(**(fields | changes))  # type: ignore[arg-type]


def test_probability_is_the_logistic_function_of_the_weighted_sum() -> None:
    x = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    logit = 0.5 - 2.5 + 1 + 0.1
    np.testing.assert_allclose(
        head().probability(x), [1 / (1 + np.exp(-logit)), sigmoid(np.array([0.1]))[0]]
    )


@given(st.floats(-1e6, 1e6))
def test_sigmoid_never_overflows(logit: float) -> None:
    value = sigmoid(np.array([logit]))[0]
    assert 0 <= value <= 1 and np.isclose(value + sigmoid(np.array([-logit]))[0], 1)


def test_a_head_comes_back_from_its_file_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "patient.head"
    PatientHead(head(), {"shots": 10}).save(path)
    back = PatientHead.load(path)
    np.testing.assert_array_equal(back.head.weights, head().weights)
    assert (back.head.bias, back.head.threshold) == (0.1, 0.6)
    assert back.calibration == {"shots": 10}
    assert [p.name for p in tmp_path.iterdir()] == ["patient.head"]


def test_the_windows_of_the_calibration_come_back_with_it(tmp_path: Path) -> None:
    path = tmp_path / "patient.head"
    windows = np.random.default_rng(0).normal(size=(2, 1, 250)).astype(np.float32)
    support = Support(windows, np.array([False, True]), WindowSpec(), confirmed=True)
    PatientHead(head(), {"shots": 1}, support).save(path)
    back = PatientHead.load(path).support
    assert back is not None and back.confirmed and back.va.tolist() == [False, True]
    assert back.windows.tobytes() == windows.tobytes()
    content = json.loads(path.read_text())
    assert content["format"] == 2 and content["support"]["window"]["rate_hz"] == 125
    PatientHead(head()).save(path)
    assert PatientHead.load(path).support is None


def test_a_file_of_format_1_is_read(tmp_path: Path) -> None:
    """As the first release wrote it, with the digest that it had."""
    path = tmp_path / "old.head"
    path.write_text(FORMAT_1)
    back = PatientHead.load(path)
    assert back.head.weights.tolist() == [0.5, -1.25] and back.support is None
    assert back.calibration == {"shots": 10}
    path.write_text(FORMAT_1.replace("-1.25", "-1.5"))
    with pytest.raises(HeadError, match="altered"):
        PatientHead.load(path)


def test_a_foreign_backbone_is_refused() -> None:
    head().check_backbone("ab" * 32)
    with pytest.raises(HeadMismatchError, match="calibrate the patient again"):
        head().check_backbone("cd" * 32)


def test_an_altered_file_is_refused_whatever_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "patient.head"
    PatientHead(head(), {"shots": 10}).save(path)
    good = path.read_bytes()
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bytes(bad))
        try:
            loaded = PatientHead.load(path)
        except HeadError:
            continue
        # Only white space between the tokens may change without changing the meaning.
        assert json.loads(bytes(bad)) == json.loads(good)
        np.testing.assert_array_equal(loaded.head.weights, head().weights)


def test_what_is_no_head_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="Cannot read"):
        PatientHead.load(tmp_path / "none")
    for text in ("", "[]", "{}", '{"format": 9}', "\x00\x01"):
        (tmp_path / "x").write_text(text)
        with pytest.raises(HeadError):
            PatientHead.load(tmp_path / "x")
    with pytest.raises(HeadError, match="Cannot write"):
        PatientHead(head()).save(tmp_path / "no" / "such" / "folder")


def test_nonsense_is_refused() -> None:
    with pytest.raises(HeadError, match="diverged"):
        head(weights=np.array([np.nan]))
    with pytest.raises(HeadError, match="threshold"):
        head(threshold=1.0)
    with pytest.raises(HeadError, match="float64"):
        head(weights=np.zeros(3, dtype=np.float32))

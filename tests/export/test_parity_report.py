"""What people look at when a form strays, and when none does."""

import json
from pathlib import Path

import numpy as np
import pytest

from fewbeats.device.bundle import NOTICE
from fewbeats.device.head import Head
from fewbeats.errors import ExportError
from fewbeats.export.pack import Packed, Release
from fewbeats.export.parity import LITERT_INT8, ONNX_INT8, compare
from fewbeats.export.parity_report import write_parity_report
from fewbeats.export.windows import ProofWindows

RNG = np.random.default_rng(0)
COUNT = 60
VA = np.arange(COUNT) >= 40
EMBEDDINGS = (RNG.normal(size=(COUNT, 3)) + 4 * VA[:, None]).astype(np.float32)
HEAD = Head(np.ones(3), -6.0, 0.5, "00" * 32)
PROOF = ProofWindows(
    windows=RNG.normal(size=(COUNT, 1, 250)).astype(np.float32),
    va=VA,
    subject=np.repeat(["db/one", "db/two|x"], [40, 20]),
    record=np.repeat([0, 2], [40, 20]),
    start_s=2.0 * np.arange(COUNT),
    window_s=2.0,
    held_back=True,
)


def written(folder: Path, off: float) -> tuple[str, dict]:
    """A report of two forms, the second of which is off in window 50."""
    strayed = EMBEDDINGS.copy()
    strayed[50] -= off
    embedded = {ONNX_INT8: EMBEDDINGS, LITERT_INT8: strayed}
    parities = {n: compare(EMBEDDINGS, e, VA, HEAD, n) for n, e in embedded.items()}
    odds = {name: HEAD.logits(e) for name, e in embedded.items()}
    page = write_parity_report(folder, PROOF, HEAD, HEAD.logits(EMBEDDINGS), odds, parities)
    return page.read_text(), json.loads((folder / "parity.json").read_text())


def test_the_worst_window_is_told_by_person_record_and_time(tmp_path: Path) -> None:
    text, content = written(tmp_path / "new", 3.0)
    worst = content["forms"][1]["worst"]
    assert (worst["subject"], worst["record"], worst["start_s"]) == ("db/two|x", 2, 100.0)
    assert worst["log_odds_fp32"] - worst["log_odds_form"] == pytest.approx(9.0, abs=1e-5)
    assert "db/two\\|x, record 3 at 1:40.0 min (VA)" in text


def test_the_page_says_what_passes_with_its_limits(tmp_path: Path) -> None:
    text, content = written(tmp_path, 0.0)
    assert NOTICE in text and content["notice"] == NOTICE
    assert "Every form may be exported" in text and "subjects held back" in text
    assert "[0.999]" in text and "[±0.002]" in text and "refused" not in text
    assert content["windows"] == COUNT and content["va"] == 20
    text, content = written(tmp_path, 30.0)
    assert "**Nothing is exported.**" in text and "- **refused**: embedding correlation" in text
    assert not content["forms"][0]["faults"] and content["forms"][1]["faults"]


def test_every_picture_of_the_page_is_there_and_stays_the_same(tmp_path: Path) -> None:
    text, _ = written(tmp_path / "one", 1.0)
    written(tmp_path / "two", 1.0)
    pictures = sorted(path.name for path in (tmp_path / "one").glob("*.png"))
    assert len(pictures) == 4
    for name in pictures:
        assert f"({name})" in text
        data = (tmp_path / "one" / name).read_bytes()
        assert data.startswith(b"\x89PNG") and data == (tmp_path / "two" / name).read_bytes()


def test_a_release_writes_it(released: tuple[Packed, Release]) -> None:
    packed, release = released
    assert release.report is not None
    content = json.loads((release.report / "parity.json").read_text())
    assert [form["form"] for form in content["forms"]] == list(packed.parities)
    assert len(list(release.report.glob("*.png"))) == 2 * len(packed.parities)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="Cannot write"):
        written(tmp_path / "file" / "folder", 0.0)

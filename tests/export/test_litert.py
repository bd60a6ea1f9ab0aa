"""The network as LiteRT runs it."""

import numpy as np
import pytest
import torch

from fewbeats.device.backbone import LitertBackbone
from fewbeats.errors import ExportError, MissingExtraError
from fewbeats.export.litert import export_litert, litert_step
from fewbeats.export.pack import Packed, Release
from fewbeats.export.windows import range_windows
from fewbeats.training.datasets import Dataset
from fewbeats.training.trained import Trained


@pytest.fixture(scope="module")
def model(released: tuple[Packed, Release]) -> bytes:
    return released[0].bundle.on("litert").model


def test_the_same_network_gives_the_same_bytes(
    model: bytes, trained: Trained, dataset: Dataset
) -> None:
    assert export_litert(trained.network, range_windows(trained, dataset.subjects)) == model


def test_it_embeds_as_the_network_does(model: bytes, trained: Trained, dataset: Dataset) -> None:
    windows = np.concatenate([dataset.subjects[name].windows for name in trained.held_back])
    backbone = LitertBackbone(model)
    assert (backbone.samples, backbone.features) == (250, trained.recipe.network.features)
    fp32, int8 = trained.embed(windows), backbone.embed(windows)
    assert np.corrcoef(fp32.ravel(), int8.ravel())[0, 1] > 0.999


def test_the_step_is_that_of_the_embeddings(model: bytes, dataset: Dataset) -> None:
    step = litert_step(model)
    values = LitertBackbone(model).embed(dataset.subjects["made/6"].windows) / step
    np.testing.assert_allclose(values, np.rint(values), atol=1e-3)
    assert np.ptp(values) <= 255 and len(np.unique(np.rint(values))) > 50


def test_the_highest_peaks_are_not_cut_off(
    model: bytes, trained: Trained, dataset: Dataset
) -> None:
    """Ranges reach from the lowest to the highest value that any window gives, as they must for
    fibrillation that comes before quieter windows; a moving average would forget it."""
    windows = range_windows(trained, dataset.subjects)
    fp32, int8 = trained.embed(windows), LitertBackbone(model).embed(windows)
    step = litert_step(model)
    assert abs(fp32.max() - int8.max()) < 6 * step and abs(fp32.min() - int8.min()) < 6 * step
    assert np.abs(fp32 - int8).max() < 12 * step


def test_nothing_of_this_machine_is_in_the_file(model: bytes) -> None:
    import re

    assert model[4:8] == b"TFL3"
    assert not re.search(rb"site-packages|/home/|/tmp/|/src/|\.py\b", model)


def test_too_few_windows_are_refused(trained: Trained) -> None:
    with pytest.raises(ExportError, match="at least 64"):
        export_litert(trained.network, np.zeros((10, 1, 250), dtype=np.float32))


def test_a_network_that_cannot_be_converted_is_refused(released: tuple[Packed, Release]) -> None:
    class Deciding(torch.nn.Module):
        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            return windows.mean(dim=2) if windows.sum() > 0 else windows.amax(dim=2)

    with pytest.raises(ExportError, match="cannot be converted to LiteRT"):
        export_litert(Deciding(), np.ones((64, 1, 250), dtype=np.float32))


def test_without_the_converter_its_extra_is_named(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "litert_torch", None)
    with pytest.raises(MissingExtraError, match=r"fewbeats\[export-litert\]"):
        export_litert(trained.network, np.ones((64, 1, 250), dtype=np.float32))

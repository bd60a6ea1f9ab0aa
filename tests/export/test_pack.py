"""From a training to a bundle."""

import re
from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.errors import ExportError, ParityError
from fewbeats.export import pack as pack_module
from fewbeats.export.pack import Packed, golden_windows, pack
from fewbeats.training.datasets import Subject
from fewbeats.training.pretrain import Trained

Subjects = dict[str, Subject]


@pytest.fixture(scope="module")
def packed(trained: Trained, subjects: Subjects) -> Packed:
    return pack(trained, subjects, "the command")


def test_a_bundle_that_proves_itself(packed: Packed, trained: Trained, subjects: Subjects) -> None:
    bundle = Bundle.unpack(packed.bundle.pack())
    assert bundle.backbone.features == trained.recipe.network.features
    held_back = np.concatenate([subjects[name].windows for name in trained.validation])
    fp32, int8 = trained.embed(held_back), bundle.backbone.embed(held_back)
    assert np.corrcoef(fp32.ravel(), int8.ravel())[0, 1] > 0.999
    assert packed.parity.windows == len(held_back)
    assert bundle.start.backbone_sha256 == bundle.backbone.sha256
    assert bundle.prototypes.shape[1] == trained.recipe.network.features


def test_the_card_says_who_was_seen_and_who_was_not(packed: Packed) -> None:
    card = packed.bundle.card
    assert card["subjects"] == {
        "training": [f"made/{n}" for n in range(6)],
        "held_back": ["made/6", "made/7"],
    }
    assert card["made_by"]["command"] == "the command" and card["made_by"]["seed"] == 1
    assert set(card["metrics_held_back_int8"]["random"]["subjects"]) == {"made/6", "made/7"}
    assert "no medical device" in card["intended_use"]


def test_the_same_training_gives_the_same_bytes(
    packed: Packed, trained: Trained, subjects: Subjects
) -> None:
    assert pack(trained, subjects, "the command").bundle.pack() == packed.bundle.pack()


def test_nothing_of_this_machine_is_in_a_bundle(packed: Packed) -> None:
    data = packed.bundle.pack()
    assert not re.search(rb"site-packages|/home/|/src/|\.py\b", data)


def test_parity_is_a_gate(
    trained: Trained, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges fitted to windows of another size ruin the int8 form; it must not be packed."""
    good = pack_module._calibration_windows
    monkeypatch.setattr(
        pack_module, "_calibration_windows", lambda *arguments: good(*arguments) * 0.01
    )
    with pytest.raises(ParityError, match="not exported"):
        pack(trained, subjects, "x")


def test_other_data_are_refused(trained: Trained, subjects: Subjects) -> None:
    with pytest.raises(ExportError, match="made/3"):
        pack(trained, {n: s for n, s in subjects.items() if n != "made/3"}, "x")
    with pytest.raises(ExportError, match="held none back"):
        pack(replace(trained, validation=()), subjects, "x")


def test_a_bundle_may_not_grow_too_large(
    trained: Trained, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_module, "MAX_BUNDLE_BYTES", 10_000)
    with pytest.raises(ExportError, match="smaller network"):
        pack(trained, subjects, "x")


def test_golden_windows_are_synthetic_and_stay_the_same(trained: Trained) -> None:
    one, other = (golden_windows(trained.recipe.window) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (8, 1, 250)

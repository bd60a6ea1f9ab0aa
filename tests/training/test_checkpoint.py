"""Checkpoints: whole or refused, and never run."""

import hashlib
import io
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.device import files
from fewbeats.errors import DataError
from fewbeats.training import checkpoint
from fewbeats.training.checkpoint import (
    CHECKPOINT_FILE,
    drop_checkpoint,
    load_checkpoint,
    save_checkpoint,
)

IDENTITY = {"recipe": {"network": {"channels": (4, 8)}}, "seed": 3, "data": "ab"}
CONTENT = {"weights": {"a": torch.arange(20.0)}, "step": 7, "loss": 0.25, "best": None}


@pytest.fixture
def kept(tmp_path) -> Path:
    save_checkpoint(tmp_path, IDENTITY, CONTENT)
    return tmp_path


def test_what_is_kept_comes_back(kept):
    found = load_checkpoint(kept, IDENTITY)
    assert torch.equal(found["weights"]["a"], CONTENT["weights"]["a"])
    assert (found["step"], found["loss"], found["best"]) == (7, 0.25, None)
    save_checkpoint(kept, IDENTITY, CONTENT | {"step": 8})
    assert load_checkpoint(kept, IDENTITY)["step"] == 8
    assert [path.name for path in kept.iterdir()] == [CHECKPOINT_FILE]
    drop_checkpoint(kept)
    assert load_checkpoint(kept, IDENTITY) is None
    drop_checkpoint(kept)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"seed": 4}, "another seed"),
        ({"data": "cd"}, "another data"),
        ({"recipe": {}, "seed": 4}, "another recipe, seed"),
        ({"subjects held back": ["x"]}, "another subjects held back"),
    ],
)
def test_another_training_is_refused_by_name(kept, change, match):
    with pytest.raises(DataError, match=match):
        load_checkpoint(kept, IDENTITY | change)


def test_another_version_or_format_is_refused(kept, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(DataError, match="fewbeats 99"):
        patch.setattr("fewbeats.__version__", "99")
        load_checkpoint(kept, IDENTITY)
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    with pytest.raises(DataError, match="this is format 99"):
        load_checkpoint(kept, IDENTITY)


@given(st.data())
def test_a_cut_or_altered_file_is_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run", numbered=True)
    save_checkpoint(folder, IDENTITY, CONTENT)
    path = folder / CHECKPOINT_FILE
    whole = path.read_bytes()
    if data.draw(st.booleans(), label="cut"):
        altered = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
        altered = bytearray(whole)
        altered[place] ^= 1 << bit
    path.write_bytes(altered)
    with pytest.raises(DataError, match="is damaged"):
        load_checkpoint(folder, IDENTITY)


def with_digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


class Malicious:
    """What unpickling would turn into a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_that_would_run_code_is_refused_and_runs_none(kept, tmp_path):
    trap, path = tmp_path / "run me", kept / CHECKPOINT_FILE
    buffer = io.BytesIO()
    torch.save({"format": 1, "content": Malicious(trap)}, buffer)
    for data in (buffer.getvalue(), pickle.dumps(Malicious(trap), protocol=2)):
        for file in (data, with_digest(data)):
            path.write_bytes(file)
            with pytest.raises(DataError, match="is damaged"):
                load_checkpoint(kept, IDENTITY)
    assert not trap.exists()


@pytest.mark.parametrize(
    "whole", [1, None, [], "text", {}, {"format": 1}, {"format": 1, "version": "1", "identity": 5}]
)
def test_something_else_that_torch_saved_is_refused(kept, whole):
    buffer = io.BytesIO()
    torch.save(whole, buffer)
    (kept / CHECKPOINT_FILE).write_bytes(with_digest(buffer.getvalue()))
    with pytest.raises(DataError, match="is damaged"):
        load_checkpoint(kept, IDENTITY)


def test_a_write_that_fails_leaves_the_old_one(kept, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="No space left"):
        patch.setattr(files.os, "replace", full)
        save_checkpoint(kept, IDENTITY, CONTENT | {"step": 8})
    assert load_checkpoint(kept, IDENTITY)["step"] == 7
    (kept / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write the checkpoint"):
        save_checkpoint(kept / "file", IDENTITY, CONTENT)


def test_a_folder_in_its_place_is_an_error(tmp_path):
    (tmp_path / CHECKPOINT_FILE).mkdir()
    with pytest.raises(DataError, match="is damaged"):
        load_checkpoint(tmp_path, IDENTITY)
    with pytest.raises(DataError, match="Cannot write"):
        save_checkpoint(tmp_path, IDENTITY, CONTENT)

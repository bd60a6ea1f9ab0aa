"""The proof that a new program gives on a gateway before it is put to use."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewbeats.deploy.proof import prove
from fewbeats.device.bundle import Bundle
from fewbeats.device.keys import DEVELOPMENT_KEY, SigningKey
from fewbeats.device.layout import Layout
from fewbeats.errors import BundleError, SignatureError


def test_a_sound_bundle_is_proven_in_every_runtime_that_is_here(
    gateway: Path, pack: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(pack("1.0.0"))
    assert "onnx" in prove([path], Layout(gateway))


def test_a_bundle_that_is_judged_otherwise_here_is_refused(
    gateway: Path, shipped: Bundle, owner_key: SigningKey, tmp_path: Path
) -> None:
    forms = tuple(
        replace(form, golden_embeddings=form.golden_embeddings + np.float32(1))
        for form in shipped.forms
    )
    path = tmp_path / "bundle"
    path.write_bytes(replace(shipped, forms=forms).pack(owner_key))
    with pytest.raises(BundleError, match="golden"):
        prove([path], Layout(gateway))


def test_a_stranger_proves_nothing(
    gateway: Path, pack: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(pack("1.0.0", SigningKey.generate("stranger")))
    with pytest.raises(SignatureError):
        prove([path, tmp_path / "empty slot"], Layout(gateway))


def test_production_proves_nothing_on_a_development_bundle_and_takes_the_one_before(
    gateway: Path, pack: Callable[..., bytes], tmp_path: Path
) -> None:
    paths = [tmp_path / "current", tmp_path / "before"]
    paths[0].write_bytes(pack("1.1.0", DEVELOPMENT_KEY))
    with pytest.raises(SignatureError, match="development key"):
        prove(paths, Layout(gateway))
    paths[1].write_bytes(pack("1.0.0"))
    assert "onnx" in prove(paths, Layout(gateway))


def test_it_runs_as_the_gateway_runs_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fewbeats.deploy.proof", tmp_path / "missing"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no gateway at /")

"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real records, or a skip that says why."""
    folder = os.environ.get("FEWBEATS_DATA")
    if not folder:
        pytest.skip("FEWBEATS_DATA is not set: no real records to test on")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.skip(f"FEWBEATS_DATA names {path}, which is no folder")
    return path

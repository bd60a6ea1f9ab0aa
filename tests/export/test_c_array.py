"""The C99 export as a whole: two files, the same each time, right on real windows."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewbeats.device.backbone import OnnxBackbone
from fewbeats.device.bundle import NOTICE
from fewbeats.device.preprocess import WindowSpec, windows_of
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import ExportError
from fewbeats.export.c_array import CompiledBackbone, c_sources, write_c
from fewbeats.firmware_bridge.records import open_record

RECORDS = ("vfdb/418", "cudb/cu01", "mitdb/100", "nsrdb/16265")


@pytest.fixture(scope="module")
def model() -> bytes:
    return load_bundle(runtime="onnx").model


def test_two_files_are_written(model: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    sources = write_c(folder, model)
    assert sorted(path.name for path in folder.iterdir()) == [
        "fewbeats_backbone.c",
        "fewbeats_backbone.h",
    ]
    assert (folder / "fewbeats_backbone.h").read_bytes() == sources.header.encode("ascii")
    assert (folder / "fewbeats_backbone.c").read_bytes() == sources.source.encode("ascii")
    assert write_c(folder, model) == sources


def test_the_same_model_gives_the_same_text_in_another_process(model: bytes) -> None:
    code = (
        "import sys, hashlib\n"
        "from fewbeats.export.c_array import c_sources\n"
        "s = c_sources(sys.stdin.buffer.read())\n"
        "print(hashlib.sha256((s.header + s.source).encode()).hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=model, capture_output=True)
    sources = c_sources(model)
    text = (sources.header + sources.source).encode()
    assert done.stdout.decode().strip() == hashlib.sha256(text).hexdigest(), done.stderr.decode()


def test_the_header_says_what_people_need(model: bytes) -> None:
    sources = c_sources(model)
    assert NOTICE in sources.header and NOTICE in sources.source
    assert hashlib.sha256(model).hexdigest() == sources.sha256
    assert sources.header.count(sources.sha256) == 2
    for figure in (sources.flash_bytes, sources.ram_bytes, sources.macs):
        assert f" {figure} " in sources.header
    assert "250 samples at 125 Hz (2 s) of the band 0.5-40 Hz" in sources.header
    assert max(map(len, (sources.header + sources.source).splitlines())) <= 100


def test_another_name_and_window(model: bytes, tmp_path: Path) -> None:
    sources = write_c(tmp_path, model, "va_net", WindowSpec(rate_hz=250, window_s=1, high_hz=100))
    assert {path.name for path in tmp_path.iterdir()} == {"va_net.c", "va_net.h"}
    assert "fewbeats_backbone" not in sources.header + sources.source
    assert "at 250 Hz (1 s) of the band 0.5-100 Hz" in sources.header
    assert "#define VA_NET_RATE_HZ 250" in sources.header


@pytest.mark.parametrize("name", ["", "1st", "a-b", "A", "../x", "a b", "ä", "x" * 41, "a\n"])
def test_names_that_c_cannot_take(model: bytes, name: str) -> None:
    with pytest.raises(ExportError, match="cannot begin the names"):
        c_sources(model, name)


def test_a_window_of_another_length_is_refused(model: bytes) -> None:
    with pytest.raises(ExportError, match="250 samples, those described have 500"):
        c_sources(model, window=WindowSpec(window_s=4))


def test_a_folder_that_cannot_be_written_to(model: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="ascii")
    with pytest.raises(ExportError, match="cannot be made"):
        write_c(tmp_path / "file", model)
    (tmp_path / "fewbeats_backbone.h").mkdir()
    with pytest.raises(ExportError, match="cannot be written"):
        write_c(tmp_path, model)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs the Debian package gcc")
def test_real_windows_give_the_same_bits(model: bytes, data_dir: Path) -> None:
    compiled, onnx = CompiledBackbone(c_sources(model)), OnnxBackbone(model)
    for name in RECORDS:
        record = open_record(data_dir / name)
        windows = windows_of(record.read(), record.rate_hz, WindowSpec()).samples[:1500]
        assert len(windows) > 100
        found, expected = compiled.embed(windows), onnx.embed(windows)
        assert np.array_equal(found.view(np.uint32), expected.view(np.uint32)), name

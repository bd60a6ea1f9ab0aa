"""The C on a microcontroller: bare metal in an emulator, bit for bit what the host computes."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewbeats.device.backbone import OnnxBackbone
from fewbeats.export.c_array import CSources, write_c

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
PREFIX = "arm-none-eabi-"
SOFT = ["-mthumb", "-mcpu=cortex-m3"]
SOFT_M4 = ["-mthumb", "-mcpu=cortex-m4"]
HARD = [*SOFT_M4, "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
TICK_NS = 40
"""The boards' clock runs at 25 MHz; the emulator counts one instruction a nanosecond."""

pytestmark = pytest.mark.skipif(
    not shutil.which(f"{PREFIX}gcc"), reason="needs the Debian package gcc-arm-none-eabi"
)
needs_qemu = pytest.mark.skipif(
    not shutil.which("qemu-system-arm"), reason="needs the Debian package qemu-system-arm"
)


def build(folder: Path, *arguments: str | Path) -> None:
    command = [f"{PREFIX}gcc", *STRICT, "-ffreestanding", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def output_of(folder: Path, tool: str, *arguments: str) -> str:
    command = [f"{PREFIX}{tool}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def sources(shipped_model: bytes, tmp_path: Path) -> CSources:
    return write_c(tmp_path, shipped_model)


@pytest.mark.parametrize("optimise", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("machine", [SOFT, SOFT_M4, HARD], ids=["m3", "m4", "m4f"])
def test_the_figures_of_the_header_are_the_compilers(
    sources: CSources, tmp_path: Path, machine: list[str], optimise: str
) -> None:
    build(tmp_path, *machine, optimise, "-fstack-usage", "-c", "fewbeats_backbone.c", "-o", "b.o")
    symbols = re.findall(r"\w+ (\w+) (\w) \w+", output_of(tmp_path, "nm", "-S", "b.o"))
    sizes = {kind: sum(int(s, 16) for s, k in symbols if k.lower() == kind) for kind in "rbdt"}
    assert sizes["r"] == sources.flash_bytes
    assert sizes["b"] == sources.ram_bytes and sizes["d"] == 0
    text, data, bss = map(int, output_of(tmp_path, "size", "b.o").split("\n")[1].split()[:3])
    assert text - sources.flash_bytes < 1500, "code without constants"
    assert (data, bss) == (0, sources.ram_bytes)
    (usage,) = tmp_path.glob("*.su")
    frames = [line.split("\t") for line in usage.read_text(encoding="ascii").splitlines()]
    assert all(kind == "static" for _, _, kind in frames), "no frame of variable size"
    assert sum(int(size) for _, size, _ in frames) < 250, "300 less what float calls take"


@pytest.mark.parametrize("machine", [SOFT, HARD], ids=["m3", "m4f"])
def test_nothing_is_called_but_the_compilers_own_float(
    sources: CSources, tmp_path: Path, machine: list[str]
) -> None:
    build(tmp_path, *machine, "-Os", "-c", "fewbeats_backbone.c", "-o", "b.o")
    called = set(output_of(tmp_path, "nm", "-u", "b.o").split()) - {"U"}
    assert all(name.startswith("__aeabi_") for name in called)
    assert not [name for name in called if name.startswith(("__aeabi_d", "__aeabi_mem"))]
    included = re.findall(r"#include (\S+)", sources.header + sources.source)
    assert included == ['"fewbeats_backbone.h"', "<stdint.h>"]
    assert not re.search(r"\b(malloc|calloc|free|alloca|goto)\b", sources.source)


@needs_qemu
@pytest.mark.parametrize(
    ("board", "machine", "most_instructions"),
    [
        ("mps2-an385", SOFT, 7_000_000),
        ("mps2-an386", HARD, 5_000_000),
    ],
    ids=["m3", "m4f"],
)
def test_a_bare_cortex_m_gives_the_same_bits(
    sources: CSources,
    shipped_model: bytes,
    golden_windows: np.ndarray,
    hard_windows: Callable[[int], np.ndarray],
    fixtures: Path,
    tmp_path: Path,
    board: str,
    machine: list[str],
    most_instructions: int,
    record_property: Callable[[str, object], None],
) -> None:
    windows = np.concatenate([golden_windows, hard_windows(250)[::5]])
    bits = ",\n".join(
        "{" + ", ".join(f"0x{word:08x}U" for word in window.ravel().view(np.uint32)) + "}"
        for window in windows
    )
    (tmp_path / "windows.h").write_text(
        f"#define WINDOWS {len(windows)}\n"
        f"static const uint32_t window_bits[WINDOWS][FEWBEATS_BACKBONE_SAMPLES] = {{{bits}}};\n",
        encoding="ascii",
    )
    links = ["-nostdlib", "-T", fixtures / "mps2.ld", "-I."]
    files = [fixtures / "firmware.c", "fewbeats_backbone.c", "-lgcc", "-o", "firmware.elf"]
    build(tmp_path, *machine, "-Os", *links, *files)
    # Semihosting lets the firmware end the emulator; the time limit kills one that hangs.
    command = ["qemu-system-arm", "-M", board, "-kernel", "firmware.elf", "-display", "none"]
    command += ["-monitor", "none", "-serial", "file:uart.txt"]
    command += ["-semihosting-config", "enable=on,target=native", "-icount", "shift=0,sleep=off"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "uart.txt").read_text(encoding="ascii").splitlines()
    words = np.array([[int(word, 16) for word in line.split()] for line in lines], dtype=np.uint32)
    expected = OnnxBackbone(shipped_model).embed(windows)
    assert np.array_equal(words[:, 1:], expected.view(np.uint32))
    instructions = int(words[:, 0].max()) * TICK_NS
    record_property("instructions_a_window", instructions)
    assert sources.macs < instructions < most_instructions

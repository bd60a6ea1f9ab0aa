"""The plan of the house: imports run downward only, and the device's floors stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fewbeats

ROOT = Path(fewbeats.__file__).parent
FLOORS = {
    "errors": 0,
    "firmware_bridge": 1,
    "device": 2,
    "training": 3,
    "export": 4,
    "deploy": 4,
    "cli": 5,
    "__main__": 6,
}
HEAVY = {"torch", "onnx", "tensorflow", "scipy", "pandas", "matplotlib", "wfdb"}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


SOURCES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downward(path: Path) -> None:
    own = part_of(path)
    assert own in FLOORS, f"{own} has no floor"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "fewbeats" or len(parts) < 2 or parts[1] == "__version__":
            continue
        other = parts[1]
        assert other == own or FLOORS[other] < FLOORS[own], f"{own} imports {other}"


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if FLOORS[part_of(p)] <= 2],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_device_floors_name_no_heavy_package_but_the_optional_reader(path: Path) -> None:
    heavy = {name.split(".")[0] for name in imported(path)} & HEAVY
    # records.py asks the wfdb package for layouts it does not read, inside a function.
    allowed = {"wfdb"} if path.name == "records.py" else set()
    assert heavy <= allowed


def test_device_floors_load_without_heavy_packages() -> None:
    modules = [
        ".".join(("fewbeats", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for path in SOURCES
        if FLOORS[part_of(path)] <= 2
    ]
    code = (
        "import sys, importlib\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "from fewbeats.device.shipped import load_bundle\n"
        "load_bundle().backbone\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_neither_numpy_nor_onnxruntime() -> None:
    code = (
        "import sys\n"
        "from fewbeats.cli.app import app\n"
        "print('numpy' in sys.modules, 'onnxruntime' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

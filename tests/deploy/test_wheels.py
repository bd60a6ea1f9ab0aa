"""Wheels for a machine that is not this one: own wheel, what a set lacks, and the cache."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

import fewbeats
from fewbeats.deploy import wheelhouse
from fewbeats.deploy.machine import Machine
from fewbeats.deploy.own_wheel import _check_checkout, own_wheel
from fewbeats.deploy.wheelhouse import (
    Wheelhouse,
    kept_wheelhouse,
    prepared_wheelhouse,
    wheelhouse_for,
)
from fewbeats.deploy.wheels import missing
from fewbeats.errors import TargetError
from gateways.made_wheels import wheel, wheels_for

PI = Machine("aarch64", "3.11", "Raspberry Pi OS")


def complete(**others: bytes) -> dict[str, bytes]:
    """Wheels with which nothing is missing, unless ``others`` say so."""
    wheels = {
        "fewbeats-1.0-py3-none-any.whl": wheel(
            "numpy", 'fewbeats[serial]; extra == "gateway"', 'pyserial; extra == "serial"'
        ),
        "numpy-2.0-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl": wheel(),
        "pyserial-3.5-py2.py3-none-any.whl": wheel(),
        "pip-26.0-py3-none-any.whl": wheel(),
    }
    return wheels | {name.replace("__", "-") + ".whl": data for name, data in others.items()}


def test_own_wheel_is_the_same_bytes_each_time_and_installs_by_itself(tmp_path: Path) -> None:
    name, data = own_wheel()
    assert own_wheel() == (name, data)
    assert parse_wheel_filename(name)[0] == "fewbeats"
    (tmp_path / name).write_bytes(data)
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [*command, "--disable-pip-version-check", "--target", target, tmp_path / name],
        check=True,
        capture_output=True,
    )
    code = "import fewbeats, sys; print(fewbeats.__file__, fewbeats.__version__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(target / "fewbeats/__init__.py"), fewbeats.__version__]
    source = Path(fewbeats.__file__).parent
    for path in ("device/bundles/default.fewbeats", "deploy/templates/steps.sh", "py.typed"):
        assert (target / "fewbeats" / path).read_bytes() == (source / path).read_bytes()
    assert (target / "bin/fewbeats").exists()


def test_nothing_is_missing_in_a_complete_set() -> None:
    assert missing(complete(), PI) == set()


def test_conditions_are_judged_for_the_gateways_python() -> None:
    wheels = complete()
    wheels["numpy-2.0-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl"] = wheel(
        'old; python_version < "3.12"',
        'new; python_version >= "3.12"',
        'arm; platform_machine == "aarch64"',
        'windows; sys_platform == "win32"',
        'more; extra == "test"',
        name="numpy",
    )
    assert missing(wheels, PI) == {"old", "arm"}


def test_needs_of_needs_are_followed_and_circles_end() -> None:
    wheels = complete(
        a__1__py3__none__any=wheel("b>=2"), b__2__py3__none__any=wheel("a", "c>=3; extra == 'x'")
    )
    wheels["pip-26.0-py3-none-any.whl"] = wheel("a", "B[x]")
    assert missing(wheels, PI) == {"c>=3"}


def test_a_wheel_for_another_machine_counts_for_nothing() -> None:
    wheels = complete()
    del wheels["numpy-2.0-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl"]
    for tag in (
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp312-cp312-manylinux_2_28_aarch64",
        "cp311-cp311-musllinux_1_2_aarch64",
        "cp311-cp311-manylinux_2_39_aarch64",
    ):
        assert missing({**wheels, f"numpy-2.0-{tag}.whl": wheel()}, PI) == {"numpy"}
    assert (
        missing({**wheels, "numpy-2.0-cp38-abi3-manylinux2014_aarch64.whl": wheel()}, PI) == set()
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("thing.whl", wheel()),
        ("thing-1-py3-none-any.whl", b"no zip"),
        ("thing-1-py3-none-any.whl", wheel("not a requirement !")),
    ],
)
def test_what_is_no_wheel_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(TargetError, match="wheel"):
        missing({**complete(), name: data}, PI)


def test_a_release_is_named_by_its_wheels() -> None:
    house = Wheelhouse(PI, complete())
    assert house.version == "1.0"
    assert house.installer == "pip-26.0-py3-none-any.whl"
    assert house.release == Wheelhouse(PI, complete()).release
    assert house.release != Wheelhouse(PI, complete(a__1__py3__none__any=wheel())).release
    assert house.release != Wheelhouse(Machine("aarch64", "3.13", ""), complete()).release


def test_a_folder_of_wheels_must_be_complete(tmp_path: Path) -> None:
    Wheelhouse(PI, complete()).save(tmp_path)
    with pytest.raises(TargetError, match=r"lacks wheels of .*--wheels-only"):
        prepared_wheelhouse(PI, tmp_path)


def test_a_version_that_will_not_do_is_missing() -> None:
    wheels = complete(a__1__py3__none__any=wheel("b>=2"), b__1__py3__none__any=wheel())
    wheels["pip-26.0-py3-none-any.whl"] = wheel("a")
    assert missing(wheels, PI) == {"b>=2"}
    del wheels["b-1-py3-none-any.whl"]
    assert missing({**wheels, "b-2.1rc1-py3-none-any.whl": wheel()}, PI) == set()


def test_a_wheel_for_another_python_is_missing() -> None:
    wheels = complete()
    wheels["pyserial-3.5-py2.py3-none-any.whl"] = wheel(python=">=3.12")
    assert missing(wheels, PI) == {"pyserial"}
    assert "pyserial" not in missing(wheels, Machine("aarch64", "3.13", ""))
    with pytest.raises(TargetError, match="no sound wheel"):
        missing({**wheels, "pip-26.0-py3-none-any.whl": wheel(python="new")}, PI)


def test_two_wheels_of_one_project_are_refused() -> None:
    with pytest.raises(TargetError, match="two wheels of numpy"):
        missing(complete(numpy__1__py3__none__any=wheel()), PI)


@pytest.mark.parametrize(
    "changed",
    [
        {"requires": []},
        {"requires": ["numpy>=1"]},
        {"scripts": ""},
    ],
)
def test_a_checkout_that_needs_more_than_is_recorded_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object]
) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\nname = "fewbeats"\ndependencies = ["numpy>=2"]\n'
        '[project.optional-dependencies]\ngateway = ["fewbeats[serial]"]\n'
        'serial = ["pyserial>=3.5"]\nother = ["torch"]\n'
        '[project.scripts]\nfewbeats = "fewbeats.cli:main"\n',
        encoding="utf-8",
    )
    monkeypatch.setattr(fewbeats, "__file__", str(tmp_path / "src/fewbeats/__init__.py"))
    recorded = {
        "requires": ["numpy>=2", 'fewbeats[serial]; extra == "gateway"'],
        "scripts": "[console_scripts]\nfewbeats = fewbeats.cli:main\n",
    }
    serial = 'pyserial>=3.5; extra == "serial"'
    _check_checkout(distribution(tmp_path / "whole", [*recorded["requires"], serial], recorded))
    with pytest.raises(TargetError, match="install it anew"):
        _check_checkout(distribution(tmp_path / "without", recorded["requires"], recorded))
    given = {**recorded, **changed}
    with pytest.raises(TargetError, match="install it anew"):
        _check_checkout(distribution(tmp_path / "stale", [*given["requires"], serial], given))


def distribution(
    folder: Path, requires: list[object], given: dict[str, object]
) -> metadata.Distribution:
    folder.mkdir()
    lines = ["Metadata-Version: 2.1", "Name: fewbeats", "Version: 1.0"]
    lines += [f"Requires-Dist: {need}" for need in requires]
    (folder / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "entry_points.txt").write_text(str(given["scripts"]), encoding="utf-8")
    return metadata.PathDistribution(folder)


def brought(lacking_first: list[str]) -> object:
    """A pip that brings what it is asked for, and forgets some the first time."""
    asked: list[list[str]] = []

    def download(machine: Machine, wanted: list[str], folder: Path) -> None:
        asked.append([str(word) for word in wanted])
        for name, data in wheels_for(PI).items():
            if len(asked) > 1 or not name.startswith(tuple(lacking_first)):
                (folder / name).write_bytes(data)

    download.asked = asked  # type: ignore[attr-defined]
    return download


def test_wheels_are_kept_and_what_pip_forgets_is_asked_for_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = brought(["numpy"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(wheelhouse, "_download", download)
    assert kept_wheelhouse(PI) is None
    first = wheelhouse_for(PI)
    assert len(download.asked) == 2  # type: ignore[attr-defined]
    assert download.asked[1][-1].startswith("numpy")  # type: ignore[attr-defined]
    assert download.asked[1][:2] == download.asked[0]  # type: ignore[attr-defined]
    kept = kept_wheelhouse(PI)
    assert kept is not None
    assert kept.release == first.release
    folder = tmp_path / "fewbeats/wheels" / PI.tag
    assert [path.name for path in folder.parent.iterdir()] == [PI.tag]  # nothing half done is left
    assert prepared_wheelhouse(PI, folder).release == first.release
    # Damaged, it is brought again.
    next(folder.glob("pip-*.whl")).write_bytes(b"damaged")
    assert kept_wheelhouse(PI) is None
    repaired = wheelhouse_for(PI)
    assert missing(repaired.wheels, PI) == set()


def test_a_pip_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(TargetError, match=r"pip cannot bring .*--wheels"):
        wheelhouse_for(PI)
    assert not list((tmp_path / "fewbeats/wheels").iterdir())

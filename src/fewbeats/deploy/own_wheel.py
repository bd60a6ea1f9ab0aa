"""This fewbeats, as it is installed here, as a wheel: what is tested is what is sent.

A wheel is a zip file (PyPA binary distribution format 1.0). Files are stored in the order of
their names, uncompressed and with one date, so that the same code gives the same bytes.
"""

import base64
import hashlib
import io
import re
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

import fewbeats
from fewbeats.deploy.wheels import WANTED
from fewbeats.errors import TargetError

_EPOCH = (1980, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: fewbeats\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_MODE = 0o100644 << 16
_EXTRA = re.compile(r"""extra == ["']([^"']+)["']""")


def own_wheel() -> tuple[str, bytes]:
    """File name and bytes of the wheel.

    Raises:
        TargetError: this fewbeats is not installed, or its record is of another version.
    """
    try:
        installed = metadata.distribution("fewbeats")
    except metadata.PackageNotFoundError as error:
        raise TargetError(
            "This fewbeats runs without being installed, so that nobody knows what it needs; "
            "install it (pip install .) and run it again."
        ) from error
    version = fewbeats.__version__
    about = installed.read_text("METADATA") or installed.read_text("PKG-INFO")
    entry_points = installed.read_text("entry_points.txt")
    if installed.version != version or not about or not entry_points:
        raise TargetError(
            f"This fewbeats is version {version}, but is recorded as {installed.version}; install "
            f"it anew (pip install .) and run it again."
        )
    _check_checkout(installed)
    record = f"fewbeats-{version}.dist-info"
    files = _package_files(Path(fewbeats.__file__).parent)
    files |= {
        f"{record}/METADATA": about.encode(),
        f"{record}/WHEEL": _WHEEL.encode(),
        f"{record}/entry_points.txt": entry_points.encode(),
    }
    lines = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in sorted(files.items())]
    lines.append(f"{record}/RECORD,,\n")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [*sorted(files.items()), (f"{record}/RECORD", "".join(lines).encode())]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, _MODE
            archive.writestr(entry, data)
    return f"fewbeats-{version}-py3-none-any.whl", content.getvalue()


def _check_checkout(installed: metadata.Distribution) -> None:
    """See to it that a checkout that is installed as it stands still is what is recorded.

    Raises:
        TargetError: a gateway would lack what it needs by now, or a program.
    """
    project = Path(fewbeats.__file__).parents[2] / "pyproject.toml"
    if not project.is_file():
        return
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    new = _needed(about) - _recorded(installed.requires or [])
    scripts = {f"{name} = {value}" for name, value in about["scripts"].items()}
    new |= scripts - {
        f"{point.name} = {point.value}"
        for point in installed.entry_points.select(group="console_scripts")
    }
    if new:
        raise TargetError(
            f"This checkout needs {', '.join(sorted(new))}, which was not so when it was "
            f"installed; install it anew (pip install --editable .) and run it again."
        )


def _needed(about: Mapping[str, Any]) -> set[str]:
    """What a gateway needs as the project says now: its extra, and those that this one names."""
    extras, waiting = set[str](), [*Requirement(WANTED).extras]
    needs = {_bare(Requirement(text)) for text in about["dependencies"]}
    while waiting:
        extra = waiting.pop()
        if extra in extras:
            continue
        extras.add(extra)
        for need in map(Requirement, about["optional-dependencies"].get(extra, [])):
            waiting += need.extras if need.name == about["name"] else ()
            needs.add(_bare(need, extra))
    return needs


def _recorded(requires: Sequence[str]) -> set[str]:
    """What was recorded when it was installed, in the same words."""
    needs = set[str]()
    for need in map(Requirement, requires):
        extra = _EXTRA.search(str(need.marker or ""))
        needs.add(_bare(need, extra[1] if extra else ""))
    return needs


def _bare(need: Requirement, extra: str = "") -> str:
    """A requirement without its conditions, with the extra that it belongs to."""
    extras = f"[{','.join(sorted(need.extras))}]" if need.extras else ""
    return f"{need.name}{extras}{need.specifier}{f' for [{extra}]' if extra else ''}"


def _package_files(folder: Path) -> dict[str, bytes]:
    """What a wheel of this package holds: name in the wheel -> bytes."""
    return {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix != ".pyc"
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()

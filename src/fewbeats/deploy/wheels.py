"""What a set of wheels lacks on a machine that is not this one.

pip answers that only for the Python that it runs on. Wheels say it themselves, in their names
(PEP 425, PEP 600) and in their METADATA (PEP 508).
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from itertools import chain

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from fewbeats.deploy.machine import OLDEST_GLIBC_MINOR, Machine
from fewbeats.errors import TargetError

WANTED = "fewbeats[gateway]"
INSTALLER = "pip"
"""Comes along, so that the gateway needs none: a wheel of pip runs from its zip file."""
_FIRST_GLIBC_MINOR = 17


@dataclass(frozen=True, slots=True)
class _Wheel:
    name: str
    version: Version
    needs: list[Requirement]


def platforms_of(machine: Machine) -> list[str]:
    """The platform tags that a machine takes, the newest first."""
    minors = range(OLDEST_GLIBC_MINOR, _FIRST_GLIBC_MINOR - 1, -1)
    names = [f"manylinux_2_{minor}" for minor in minors]
    return [f"{name}_{machine.architecture}" for name in [*names, "manylinux2014"]]


def missing(wheels: Mapping[str, bytes], machine: Machine) -> set[str]:
    """What the wheels need and do not hold, as the gateway's own Python would see it.

    Args:
        wheels: file name -> bytes; those for other machines count for nothing.
        machine: where they are to be installed.

    Returns:
        Requirements without their conditions, which hold. What is there in a version that will
        not do, or for another Python, is missing.

    Raises:
        TargetError: one of them is no wheel, or there are two of one project.
    """
    held = _held(wheels, machine)
    environment = {
        "python_version": machine.python,
        "python_full_version": f"{machine.python}.0",
        "platform_machine": machine.architecture,
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    lacking: set[str] = set()
    waiting = [Requirement(WANTED), Requirement(INSTALLER)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        project = canonicalize_name(wanted.name)
        wheel = held.get(project)
        if wheel is None or not wanted.specifier.contains(wheel.version, prereleases=True):
            wanted.marker = None
            lacking.add(str(wanted))
            continue
        for extra in {"", *wanted.extras}:
            if (project, extra) in seen:
                continue
            seen.add((project, extra))
            waiting += [
                need
                for need in wheel.needs
                if not need.marker or need.marker.evaluate({**environment, "extra": extra})
            ]
    return lacking


def requirements_of(name: str, wheel: bytes) -> list[Requirement]:
    """What a wheel's METADATA says that it needs.

    Raises:
        TargetError: it is no wheel.
    """
    try:
        return [Requirement(line) for line in _about(name, wheel).get_all("Requires-Dist", [])]
    except InvalidRequirement as error:
        raise TargetError(f"{name} is no sound wheel ({error}); bring it again.") from error


def _held(wheels: Mapping[str, bytes], machine: Machine) -> dict[str, _Wheel]:
    """The wheels that the machine's Python takes, by their projects."""
    taken, held = _tags_of(machine), dict[str, _Wheel]()
    for name, data in wheels.items():
        if not _tags_in(name) & taken or not _fits(name, data, machine):
            continue
        project, version, *_ = parse_wheel_filename(name)
        if project in held:
            raise TargetError(
                f"There are two wheels of {project}, {held[project].name} and {name}, and nobody "
                f"said which one counts: take one away."
            )
        held[project] = _Wheel(name, version, requirements_of(name, data))
    return held


def _fits(name: str, wheel: bytes, machine: Machine) -> bool:
    """Whether a wheel is for the machine's Python, as its METADATA says."""
    try:
        pythons = SpecifierSet(_about(name, wheel).get("Requires-Python") or "")
    except InvalidSpecifier as error:
        raise TargetError(f"{name} is no sound wheel ({error}); bring it again.") from error
    return pythons.contains(f"{machine.python}.0")


def _about(name: str, wheel: bytes) -> Message:
    """A wheel's METADATA."""
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            records = [
                path
                for path in archive.namelist()
                if path.count("/") == 1 and path.endswith(".dist-info/METADATA")
            ]
            return BytesParser().parsebytes(archive.read(records[0]))
    except (zipfile.BadZipFile, LookupError) as error:
        raise TargetError(f"{name} is no sound wheel ({error}); bring it again.") from error


def _tags_of(machine: Machine) -> set[Tag]:
    """Every tag that the machine's Python takes."""
    version = [int(part) for part in machine.python.split(".")]
    interpreter = f"cp{version[0]}{version[1]}"
    platforms = platforms_of(machine)
    return set(
        chain(
            cpython_tags(version, platforms=platforms),
            compatible_tags(version, interpreter, platforms),
        )
    )


def _tags_in(name: str) -> frozenset[Tag]:
    try:
        return parse_wheel_filename(name)[3]
    except InvalidWheelFilename as error:
        raise TargetError(f"{name} is no wheel's name ({error}); bring it again.") from error

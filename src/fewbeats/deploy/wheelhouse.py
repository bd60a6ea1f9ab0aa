"""Everything that a gateway installs, gathered on the host: a gateway never goes on the network.

Wheels are brought by pip for the gateway's processor and Python, whatever this machine is. pip
reads conditions such as ``python_version < "3.13"`` for the Python that it runs on; what the
gateway's Python needs besides is found by ``missing`` and brought too.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fewbeats.deploy.machine import Machine
from fewbeats.deploy.own_wheel import own_wheel
from fewbeats.deploy.wheels import INSTALLER, WANTED, missing, platforms_of, requirements_of
from fewbeats.errors import TargetError

FORMAT = 1
_RECORD = "wheelhouse.json"
_TIMEOUT_S = 1800.0
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """Wheels that install fewbeats on one kind of machine.

    Attributes:
        machine: which.
        wheels: file name -> bytes, in the order of the names.
    """

    machine: Machine
    wheels: dict[str, bytes]

    @property
    def release(self) -> str:
        """Names what is installed from it: the same wheels give the same name."""
        digest = hashlib.sha256(self.machine.tag.encode())
        for name, data in self.wheels.items():
            digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
        return f"{self.version}-{digest.hexdigest()[:12]}"

    @property
    def version(self) -> str:
        """Of fewbeats."""
        return self._wheel("fewbeats").split("-")[1]

    @property
    def installer(self) -> str:
        """File name of pip's own wheel."""
        return self._wheel(INSTALLER)

    @property
    def size_bytes(self) -> int:
        """Of all wheels."""
        return sum(len(data) for data in self.wheels.values())

    def _wheel(self, project: str) -> str:
        return next(name for name in self.wheels if name.startswith(f"{project}-"))

    def save(self, folder: Path) -> None:
        """Write the wheels to a folder, for a host without a network.

        Raises:
            TargetError: they cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, data in self.wheels.items():
                (folder / name).write_bytes(data)
        except OSError as error:
            raise TargetError(f"Cannot write wheels to {folder}: {error.strerror}.") from error


def cache_folder() -> Path:
    """Where brought wheels are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fewbeats" / "wheels"


def prepared_wheelhouse(machine: Machine, folder: Path) -> Wheelhouse:
    """This fewbeats, and the wheels of somebody's folder for the rest.

    Raises:
        TargetError: one is missing or no wheel, or the folder cannot be read.
    """
    name, own = own_wheel()
    try:
        found = {path.name: path.read_bytes() for path in sorted(folder.glob("*.whl"))}
    except OSError as error:
        raise TargetError(f"Cannot read the wheels in {folder}: {error.strerror}.") from error
    others = {key: data for key, data in found.items() if not key.startswith("fewbeats-")}
    wheels = {name: own, **others}
    if lacking := missing(wheels, machine):
        raise TargetError(
            f"{folder} lacks wheels of {', '.join(sorted(lacking))} for {machine.tag}; gather "
            f"them on a host with a network: fewbeats provision --wheels-only {folder} "
            f"--machine {machine.tag}"
        )
    return Wheelhouse(machine, dict(sorted(wheels.items())))


def kept_wheelhouse(machine: Machine) -> Wheelhouse | None:
    """The wheels that an earlier run brought, if they still are what fewbeats needs."""
    name, own = own_wheel()
    folder = cache_folder() / machine.tag
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        kept: dict[str, str] = record["wheels"]
        wheels = {key: (folder / key).read_bytes() for key in kept}
        sound = record["format"] == FORMAT and all(
            hashlib.sha256(wheels[key]).hexdigest() == digest for key, digest in kept.items()
        )
        wheels[name] = own
        needed = [str(need) for need in requirements_of(name, own)]
        if not sound or record["requires"] != needed or missing(wheels, machine):
            return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, TargetError):
        return None  # nothing kept, or not whole: it is brought again
    return Wheelhouse(machine, dict(sorted(wheels.items())))


def wheelhouse_for(machine: Machine) -> Wheelhouse:
    """The wheels for a machine: those kept from before, else brought by pip and kept.

    Raises:
        TargetError: pip is missing, finds no wheel, or has no network.
    """
    if kept := kept_wheelhouse(machine):
        return kept
    name, own = own_wheel()
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{machine.tag}.", dir=folder) as made:
            wheels = _brought(machine, name, own, Path(made))
            others = {key: data for key, data in wheels.items() if key != name}
            record = {
                "format": FORMAT,
                "requires": [str(need) for need in requirements_of(name, own)],
                "wheels": {key: hashlib.sha256(data).hexdigest() for key, data in others.items()},
            }
            (Path(made) / name).unlink(missing_ok=True)
            (Path(made) / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
            shutil.rmtree(folder / machine.tag, ignore_errors=True)
            shutil.copytree(made, folder / machine.tag, dirs_exist_ok=True)
    except OSError as error:
        raise TargetError(f"Cannot keep wheels in {folder}: {error.strerror}.") from error
    return Wheelhouse(machine, dict(sorted(wheels.items())))


def _brought(machine: Machine, name: str, own: bytes, folder: Path) -> dict[str, bytes]:
    """Own wheel and all that it needs, brought by pip to a folder."""
    (folder / name).write_bytes(own)
    _, _, extras = WANTED.partition("[")
    wanted = [f"{folder / name}[{extras}", INSTALLER]
    for _ in range(_ROUNDS):
        _download(machine, wanted, folder)
        wheels = {path.name: path.read_bytes() for path in sorted(folder.glob("*.whl"))}
        lacking = missing(wheels, machine)
        if not lacking:
            return wheels
        # All is asked for together, so that pip finds versions that fit each other.
        wanted += sorted(lacking)
        for other in wheels.keys() - {name}:
            (folder / other).unlink()
    raise TargetError(
        f"pip brings no complete set of wheels for {machine.tag}; still missing: "
        f"{', '.join(sorted(lacking))}. Gather them by hand and name their folder with --wheels."
    )


def _download(machine: Machine, wanted: Iterable[str], folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", machine.python, "--dest", str(folder)]
    # pip takes exactly the platforms that are named: each older one too.
    for platform in platforms_of(machine):
        command += ["--platform", platform]
    try:
        done = subprocess.run(
            [*command, *wanted],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(
            f"pip has not brought the wheels for {machine.tag} within {_TIMEOUT_S:g} s; look at "
            f"the network and run it again, or name a folder of wheels with --wheels."
        ) from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        words = (errors or done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise TargetError(
            f"pip cannot bring the wheels for {machine.tag} ({words.removeprefix('ERROR: ')}). "
            f"Look at the network, or name a folder of wheels with --wheels."
        )

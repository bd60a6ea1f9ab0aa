"""What a gateway's processor and Python are, which decides what can be installed on it."""

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fewbeats.device.container import MAX_BYTES
from fewbeats.device.keys import PUBLIC_BYTES, SIGNATURE_BYTES
from fewbeats.errors import TargetError

OLDEST_PYTHON = (3, 11)
OLDEST_GLIBC_MINOR = 28
_ARCHITECTURES = {183: "aarch64", 62: "x86_64"}
"""ELF's e_machine of what fewbeats is installed on (System V ABI, chapter 4)."""
_ELF = struct.Struct("<4sBB10xHH")
_WIDE = 2
"""ELF's class of 64-bit programs."""
_PYTHON = re.compile(r"python(3\.\d+)")
_NAMED = re.compile(r"(aarch64|x86_64)-(3\.\d+)")

# Told by the gateway's own Python; the size of a pointer tells a 32-bit system with a 64-bit
# kernel, of which uname would say aarch64. What is there of a gateway is told with it.
PROBE = f"""
MOST_BYTES = {MAX_BYTES}
SIGNATURE_BYTES = {SIGNATURE_BYTES}
TRAILER_BYTES = {PUBLIC_BYTES + SIGNATURE_BYTES}
"""
PROBE += """
import glob, hashlib, json, os, platform, struct, sys
def text(path):
    with open(path, encoding="utf-8") as file:
        return file.read(100000)
def held(path):
    with open(path, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    return [hashlib.sha256(data).hexdigest(), data[-TRAILER_BYTES:-SIGNATURE_BYTES].hex()]
try:
    release = platform.freedesktop_os_release()
except OSError:
    release = {}
config = "/etc/fewbeats/gateway.toml"
keys = glob.glob("/etc/fewbeats/keys/*.pub")
slots = glob.glob("/var/lib/fewbeats/slots/[ab]/bundle.fewbeats")
print(json.dumps({
    "architecture": os.uname().machine,
    "bits": struct.calcsize("P") * 8,
    "python": list(sys.version_info[:2]),
    "libc": list(platform.libc_ver()),
    "system": release.get("PRETTY_NAME", "an unnamed system"),
    "config": text(config) if os.path.isfile(config) else None,
    "keys": {os.path.basename(path): text(path) for path in keys},
    "has_bundle": os.path.lexists("/var/lib/fewbeats/current"),
    "held": [held(path) for path in sorted(slots)],
}))
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A gateway as far as wheels are concerned.

    Attributes:
        architecture: as wheels name it, ``aarch64`` or ``x86_64``.
        python: "3.11".
        system: for people.
    """

    architecture: str
    python: str
    system: str

    def __post_init__(self) -> None:
        if tuple(int(part) for part in self.python.split(".")) < OLDEST_PYTHON:
            raise TargetError(
                f"The gateway's {self.system} has Python {self.python}; fewbeats needs "
                f"{'.'.join(map(str, OLDEST_PYTHON))} or newer: Debian or Raspberry Pi OS 12 "
                f"(bookworm) or newer."
            )

    @property
    def tag(self) -> str:
        """By which it is named in file names and options: ``aarch64-3.11``."""
        return f"{self.architecture}-{self.python}"

    @classmethod
    def named(cls, tag: str) -> Self:
        """The machine that a tag names.

        Raises:
            TargetError: it names none.
        """
        match = _NAMED.fullmatch(tag)
        if not match:
            raise TargetError(f"{tag!r} names no machine; give one such as aarch64-3.11.")
        return cls(match[1], match[2], "its system")

    @classmethod
    def told(cls, text: str) -> Self:
        """The machine that ``PROBE`` describes.

        Raises:
            TargetError: fewbeats cannot be installed there, or it describes none.
        """
        try:
            told: dict[str, Any] = json.loads(text)
            bits, libc = int(told["bits"]), told["libc"]
            system, architecture = str(told["system"]), str(told["architecture"])
            python = ".".join(str(int(part)) for part in told["python"])
            glibc_minor = int(libc[1].split(".")[1]) if libc[0] == "glibc" else 0
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise TargetError(
                f"The gateway's Python describes itself as {text[:80]!r}, which tells nothing; "
                f"look whether python3 works there."
            ) from error
        _check_wide(bits, architecture, system)
        if glibc_minor < OLDEST_GLIBC_MINOR:
            raise TargetError(
                f"The gateway's {system} has the C library {' '.join(libc) or 'unknown'}; "
                f"fewbeats needs glibc 2.{OLDEST_GLIBC_MINOR} or newer, as Debian and Raspberry "
                f"Pi OS have."
            )
        return cls(architecture, python, system)

    @classmethod
    def of_root(cls, root: Path) -> Self:
        """The machine whose mounted root file system this is.

        Raises:
            TargetError: it has no Python, or fewbeats cannot be installed there.
        """
        system = _system_of(root)
        programs = root / "usr" / "bin"
        link = programs / "python3"
        target = link.readlink().name if link.is_symlink() else ""
        match = _PYTHON.fullmatch(target)
        program = programs / target
        if not match or not program.is_file() or program.is_symlink():
            raise TargetError(
                f"{root} has no Python ({system}): start it once with a network and install "
                f"python3, or take an image that has it, such as Raspberry Pi OS 64-bit."
            )
        with program.open("rb") as file:
            head = file.read(_ELF.size)
        if len(head) < _ELF.size or not head.startswith(b"\x7fELF"):
            raise TargetError(f"{program} is no Linux program: the card is damaged.")
        _, width, _, _, number = _ELF.unpack(head)
        architecture = _ARCHITECTURES.get(number, f"number {number}")
        _check_wide(64 if width == _WIDE else 32, architecture, system)
        return cls(architecture, match[1], system)


def _check_wide(bits: int, architecture: str, system: str) -> None:
    if bits != 64 or architecture not in _ARCHITECTURES.values():
        raise TargetError(
            f"The gateway's {system} is {bits}-bit ({architecture}); fewbeats needs a 64-bit "
            f"system on aarch64 or x86_64. On a Raspberry Pi, write 'Raspberry Pi OS Lite "
            f"(64-bit)' to the card."
        )


def _system_of(root: Path) -> str:
    """The system's name for people, from its ``os-release``."""
    for place in ("usr/lib/os-release", "etc/os-release"):
        path = root / place
        if path.is_file() and not path.is_symlink():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                key, _, value = line.partition("=")
                if key == "PRETTY_NAME":
                    return value.strip("\"'")
    return "system without a name"

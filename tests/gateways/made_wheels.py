"""Wheels with nothing in them but what they need, and a card with nothing on it but its kind."""

import io
import struct
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

from fewbeats.deploy.machine import Machine
from fewbeats.deploy.own_wheel import own_wheel
from fewbeats.deploy.wheels import missing

MACHINE = Machine("aarch64", "3.11", "Debian GNU/Linux 12 (bookworm)")


def wheel(*requires: str, name: str = "thing", python: str = ">=3.9") -> bytes:
    """A wheel with nothing in it but what it needs."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
        lines += [f"Requires-Python: {python}"]
        lines += [f"Requires-Dist: {need}" for need in requires]
        archive.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(lines) + "\n")
    return content.getvalue()


def wheels_for(machine: Machine) -> dict[str, bytes]:
    """Empty wheels of everything that this fewbeats says it needs there."""
    name, own = own_wheel()
    wheels: dict[str, bytes] = {}
    while lacking := missing({name: own, **wheels}, machine):
        for need in lacking:
            wanted = Requirement(need)
            versions = [*(part.version for part in wanted.specifier), "99"]
            version = next(each for each in versions if each in wanted.specifier)
            wheels[f"{wanted.name}-{version}-py3-none-any.whl"] = wheel(name=wanted.name)
    return wheels


def elf(number: int, width: int) -> bytes:
    """The start of a program for some processor (System V ABI, chapter 4)."""
    return struct.pack("<4sBB10xHH", b"\x7fELF", width, 1, 2, number) + bytes(40)


def card_of(root: Path, program: bytes = elf(183, 2), python: str = "python3.11") -> Path:
    """What a Debian's root has that provisioning looks at."""
    for name in ("usr/bin", "usr/sbin", "usr/lib", "etc", "var/lib", "opt"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for tool in ("usr/sbin/runuser", "usr/sbin/useradd", "usr/bin/sha256sum"):
        (root / tool).touch()
    (root / "usr/lib/os-release").write_text(
        f'PRETTY_NAME="{MACHINE.system}"\nID=debian\n', encoding="ascii"
    )
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n", encoding="ascii")
    (root / "etc/group").write_text("root:x:0:\ndialout:x:20:\n", encoding="ascii")
    (root / "usr/bin" / python).write_bytes(program)
    (root / "usr/bin/python3").symlink_to(python)
    return root

"""A provisioned gateway in a folder, with bundle 1.0.0 confirmed and a key that it trusts."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from fewbeats.device.keys import SigningKey
from fewbeats.device.shipped import load_bundle
from fewbeats.device.slots import open_slots


@dataclass(frozen=True, slots=True)
class Gateway:
    """Its root folder, and the key that signs for it."""

    root: Path
    key: SigningKey

    def bundle(self, path: Path, version: str, key: SigningKey | None = None) -> Path:
        """Write the shipped bundle under another version, signed with the gateway's key."""
        path.write_bytes(replace(load_bundle(), version=version).pack(key or self.key))
        return path


def make_gateway(root: Path, key: SigningKey | None = None, mode: str = "production") -> Gateway:
    """What provisioning leaves, as far as flashing sees it; the program is this one."""
    gateway = Gateway(root, key or SigningKey.generate("clinic"))
    for name in ("etc/fewbeats/keys", "var/lib/fewbeats", "usr/bin", "opt/fewbeats/current/bin"):
        (root / name).mkdir(parents=True)
    gateway.key.public.save(root / "etc/fewbeats/keys/clinic.pub")
    (root / "etc/fewbeats/gateway.toml").write_text(f'mode = "{mode}"\n', encoding="utf-8")
    program = root / "opt/fewbeats/current/bin/fewbeats"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fewbeats "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    slots = open_slots(root)
    slots.install(gateway.bundle(root / "first", "1.0.0").read_bytes())
    slots.confirm()
    return gateway

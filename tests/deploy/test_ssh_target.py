"""Flashing over ssh: the gateway's own verbs on a real server, and everything that goes wrong."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fewbeats.deploy.ssh_target import SshTarget
from fewbeats.deploy.target import open_target
from fewbeats.device.bundle import Bundle
from fewbeats.device.files import only_one
from fewbeats.device.keys import SigningKey
from fewbeats.device.layout import Layout
from fewbeats.device.slots import open_slots
from fewbeats.errors import BundleError, KeyFileError, TargetError, TargetLostError
from gateways.ssh_server import SshServer


@pytest.fixture
def target(server: SshServer, gateway: Path) -> SshTarget:
    opened = open_target(server.address(gateway))
    assert isinstance(opened, SshTarget)
    return opened


def runs(gateway: Path) -> str:
    """Version of the bundle that the gateway would start now, proven."""
    return str(open_slots(gateway).status()["current"]["version"])


def test_a_bundle_is_flashed_confirmed_and_given_up(
    target: SshTarget, gateway: Path, pack: Callable[..., bytes]
) -> None:
    sent: list[tuple[int, int]] = []
    data = pack("1.1.0")
    installed = target.install(data, False, lambda done, total: sent.append((done, total)))
    assert installed["current"]["state"] == "trial"
    assert installed["previous"]["version"] == "1.0.0"
    assert sent[-1] == (len(data), len(data))
    assert target.status()["current"]["version"] == runs(gateway) == "1.1.0"
    assert target.confirm()["current"]["state"] == "confirmed"
    assert target.fall_back()["current"]["version"] == "1.0.0"


def test_keys_are_trusted_listed_and_revoked(
    target: SshTarget, gateway: Path, pack: Callable[..., bytes]
) -> None:
    second = SigningKey.generate("second")
    with pytest.raises(BundleError, match="not trusted here"):
        target.install(pack("1.1.0", second), False)
    target.trust(second.public)
    assert {key["name"] for key in target.keys()["keys"]} == {"clinic", "second"}
    assert target.install(pack("1.1.0", second), False)["current"]["signer"] == "second"
    with pytest.raises((BundleError, KeyFileError), match="force"):
        target.revoke("second")
    target.revoke("second", force=True)
    assert {key["name"] for key in target.keys()["keys"]} == {"clinic"}


def test_a_downgrade_needs_its_flag(target: SshTarget, pack: Callable[..., bytes]) -> None:
    with pytest.raises(BundleError, match="--allow-downgrade"):
        target.install(pack("0.9.0"), False)
    assert target.install(pack("0.9.0"), True)["current"]["version"] == "0.9.0"


def test_a_damaged_bundle_is_refused_by_the_gateway(
    target: SshTarget, gateway: Path, pack: Callable[..., bytes]
) -> None:
    data = bytearray(pack("1.1.0"))
    data[len(data) // 2] ^= 1
    with pytest.raises(BundleError, match="damaged"):
        target.install(bytes(data), False)
    assert runs(gateway) == "1.0.0"


def test_a_connection_lost_half_way_leaves_the_old_bundle(
    server: SshServer, gateway: Path, shipped: Bundle, owner_key: SigningKey, tmp_path: Path
) -> None:
    card = {**shipped.card, "padding": "x" * 6_000_000}
    data = replace(shipped, version="1.1.0", card=card).pack(owner_key)
    pid_file, client = tmp_path / "pid", tmp_path / "ssh"
    client.write_text(f'#!/bin/sh\necho $$ >{pid_file}\nexec {server.command} "$@"\n')
    client.chmod(0o755)

    def cut(done: int, total: int) -> None:
        if done > total // 3:
            os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as env:
        env.setenv("FEWBEATS_SSH", str(client))
        with pytest.raises(TargetLostError, match="still runs its old one"):
            open_target(server.address(gateway)).install(data, False, cut)
    assert runs(gateway) == "1.0.0"
    # The same again, unhurt, goes through: what broke off is in nobody's way.
    assert open_target(server.address(gateway)).install(data, False)["current"]["state"] == "trial"


def test_another_flash_at_the_same_time_is_refused(
    target: SshTarget, gateway: Path, pack: Callable[..., bytes]
) -> None:
    with only_one(Layout(gateway).lock), pytest.raises(BundleError):
        target.install(pack("1.1.0"), False)
    assert runs(gateway) == "1.0.0"


def test_two_flashes_at_once_leave_one_whole_bundle(
    server: SshServer, gateway: Path, pack: Callable[..., bytes]
) -> None:
    outcomes: dict[str, object] = {}

    def flash(version: str) -> None:
        try:
            outcomes[version] = open_target(server.address(gateway)).install(pack(version), False)
        except BundleError as error:
            outcomes[version] = error

    threads = [threading.Thread(target=flash, args=(version,)) for version in ("1.1.0", "1.2.0")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    taken = {version for version, outcome in outcomes.items() if isinstance(outcome, dict)}
    assert len(outcomes) == 2
    assert taken
    assert runs(gateway) in taken


@pytest.fixture
def nearly_full(gateway: Path) -> Iterator[Path]:
    """The gateway's state on a disk of its own with room for one bundle, not for two."""
    home = gateway / "var/lib/fewbeats"
    aside = home.rename(home.with_name("aside"))
    home.mkdir()
    size_kb = 40 + sum(path.stat().st_size for path in aside.rglob("*") if path.is_file()) // 1024
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", home], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", home], check=True)
        yield gateway
    finally:
        subprocess.run(["umount", home], check=True)


def test_a_full_disk_leaves_the_old_bundle(
    server: SshServer, nearly_full: Path, pack: Callable[..., bytes]
) -> None:
    with pytest.raises(BundleError, match=r"space|room|full"):
        open_target(server.address(nearly_full)).install(pack("1.1.0"), False)
    assert runs(nearly_full) == "1.0.0"


def test_a_machine_that_is_no_gateway_is_told(server: SshServer, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="fewbeats provision"):
        open_target(server.address(tmp_path)).status()


def test_a_program_that_cannot_run_is_told(
    target: SshTarget, gateway: Path, pack: Callable[..., bytes]
) -> None:
    program = gateway / "opt/fewbeats/current/bin/fewbeats"
    program.write_text("#!/nonexistent/python\n", encoding="utf-8")
    with pytest.raises(TargetError, match="Provision it anew"):
        target.status()
    program.write_text("#!/bin/sh\necho 'Hello'\n", encoding="utf-8")
    with pytest.raises(TargetError, match="instead of JSON"):
        target.status()
    program.write_text(
        "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n", encoding="utf-8"
    )
    with pytest.raises(TargetError, match="sudoers"):
        target.status()


def test_names_cannot_become_options_or_commands(target: SshTarget, tmp_path: Path) -> None:
    for name in ("--force", f"$(touch {tmp_path}/x)", f"'; touch {tmp_path}/x; '"):
        with pytest.raises((BundleError, TargetError)):
            target.revoke(name)
    assert not (tmp_path / "x").exists()

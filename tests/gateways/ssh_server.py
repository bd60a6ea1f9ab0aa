"""A real OpenSSH server on loopback, with keys and settings of its own."""

import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVER = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class SshServer:
    """Where it listens, and how to be let in without touching anybody's home."""

    port: int
    client_config: Path
    pid: int

    @property
    def command(self) -> str:
        """For FEWBEATS_SSH."""
        return f"ssh -F {shlex.quote(str(self.client_config))}"

    def address(self, root: Path | str = "") -> str:
        return f"ssh://127.0.0.1:{self.port}{root}"


def needed() -> None:
    """Skip with a reason where there is no server, or this user may not start one."""
    if not SERVER or not shutil.which("ssh"):
        pytest.skip("needs the Debian packages openssh-server and openssh-client")


def make_key(path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=30
    )
    return path


@contextmanager
def ssh_server(folder: Path, *settings: str) -> Iterator[SshServer]:
    """A server that lets one key in; ``settings`` are lines for its configuration."""
    needed()
    folder.mkdir(parents=True, exist_ok=True)
    host_key, user_key = make_key(folder / "host_key"), make_key(folder / "user_key")
    allowed = folder / "authorized_keys"
    allowed.write_bytes(user_key.with_suffix(".pub").read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    known = folder / "known_hosts"
    host = host_key.with_suffix(".pub").read_text(encoding="ascii")
    known.write_text(f"[127.0.0.1]:{port} {host}", encoding="ascii")
    server_config = folder / "sshd_config"
    lines = [
        f"ListenAddress 127.0.0.1:{port}",
        f"HostKey {host_key}",
        f"AuthorizedKeysFile {allowed}",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "PidFile none",
        "MaxStartups 100",
        *settings,
    ]
    server_config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    client_config = folder / "ssh_config"
    client_config.write_text(
        f"IdentityFile {user_key}\nIdentitiesOnly yes\nIdentityAgent none\n"
        f"UserKnownHostsFile {known}\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n",
        encoding="utf-8",
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(
            exist_ok=True
        )  # Debian's server wants it, for its unprivileged half
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [str(SERVER), "-D", "-e", "-f", server_config], stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        _await_port(process, port, folder / "sshd.log")
        yield SshServer(port, client_config, process.pid)
    finally:
        process.terminate()
        process.wait(WAIT_S)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.skip(f"sshd does not start here: {log.read_text(encoding='utf-8')[-300:]}")

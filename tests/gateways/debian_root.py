"""A minimal Debian in a folder, as it comes: neither pip nor a network, of this or another machine.

Built once with mmdebstrap and kept as an archive in the cache; unpacked for each use. Nothing is
mounted but inside name spaces, which end with the processes in them.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INCLUDED = "python3,systemd,udev"
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
BINFMT = Path("/proc/sys/fs/binfmt_misc")
# Processes in the root see its /proc and this machine's /dev, and none of its mounts.
ENTER = (
    'mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && cd / && '
    'exec chroot "$1" /bin/sh -c "$2"'
)


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fewbeats" / "test-roots"


def needed(architecture: str) -> None:
    """Skip with a reason where such a root cannot be made or used."""
    if os.environ.get("FEWBEATS_EMULATION") != "1":
        pytest.skip("FEWBEATS_EMULATION is not 1: building a Debian takes minutes (make emulation)")
    if os.geteuid() != 0:
        pytest.skip("only root may change its root folder")
    for program, package in {"mmdebstrap": "mmdebstrap", "unshare": "util-linux"}.items():
        if not shutil.which(program):
            pytest.skip(f"needs the Debian package {package}")
    if ARCHITECTURES[architecture] == platform.machine():
        return
    emulator = f"qemu-{ARCHITECTURES[architecture]}"
    if not shutil.which(f"{emulator}-static"):
        pytest.skip("needs the Debian packages qemu-user-static and binfmt-support")
    if not (BINFMT / emulator).exists():
        if not (BINFMT / "register").exists():
            _run("mount", "-t", "binfmt_misc", "none", BINFMT)
        _run("update-binfmts", "--enable", emulator)
    if not (BINFMT / emulator).exists():
        pytest.skip(f"{BINFMT / emulator} cannot be registered here")


def _run(*command: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(word) for word in command], capture_output=True)


def archive_of(architecture: str, suite: str = "bookworm") -> Path:
    """The archive of a root, built if it is not there yet."""
    needed(architecture)
    archive = cache_folder() / f"{suite}-{architecture}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        partial = archive.with_name(f"partial-{os.getpid()}-{archive.name}")
        done = _run(
            "mmdebstrap",
            "--quiet",
            f"--architectures={architecture}",
            "--variant=minbase",
            f"--include={INCLUDED}",
            suite,
            partial,
        )
        if done.returncode:
            partial.unlink(missing_ok=True)
            pytest.skip(f"mmdebstrap cannot build it here: {done.stderr.decode()[-300:]}")
        partial.rename(archive)
    return archive


@contextmanager
def debian_root(folder: Path, architecture: str) -> Iterator[Path]:
    """An unpacked root, removed at the end."""
    archive = archive_of(architecture)
    root = folder / architecture
    root.mkdir(parents=True)
    try:
        subprocess.run(
            ["tar", "-xf", archive, "-C", root, "--numeric-owner", "--exclude=./dev/*"], check=True
        )
        yield root
    finally:
        mounted = Path("/proc/self/mounts").read_text(encoding="utf-8")
        assert str(root) not in mounted, "something is still mounted there: not removed"
        shutil.rmtree(root)


def enter(root: Path, command: str) -> list[str]:
    """What runs a shell command inside a root, with mounts that end with it."""
    return ["unshare", "--mount", "--net", "sh", "-c", ENTER, "enter", str(root), command]


def inside(root: Path, command: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a shell command inside a root."""
    return subprocess.run(
        enter(root, command), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def force_command(folder: Path, root: Path) -> str:
    """A line for an SSH server whose every command runs inside a root."""
    wrapper = folder / "into-the-root"
    command = f"unshare --mount --net sh -c '{ENTER}' enter '{root}' \"$SSH_ORIGINAL_COMMAND\""
    wrapper.write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
    wrapper.chmod(0o755)
    return f"ForceCommand {wrapper}"

"""As whom things are done on a gateway: the service's user for bundles, root for trust.

The far side's ``id``, ``sudo`` and ``runuser`` are stand-ins that note how they were called.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fewbeats.deploy.provision import open_place
from fewbeats.deploy.target import open_target
from fewbeats.device.keys import SigningKey
from fewbeats.errors import TargetError
from gateways.ssh_server import SshServer, ssh_server

ID = """#!/bin/sh
case $1 in
  -un) cat {folder}/me ;;
  -u) [ "$(cat {folder}/me)" = root ] && echo 0 || echo 1000 ;;
  *) echo 997 ;;
esac
"""
BECOME = """#!/bin/sh
echo "{name} $*" >>{folder}/calls
[ -e {folder}/no ] && {{ echo "sudo: a password is required" >&2; exit 1; }}
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def far(tmp_path: Path) -> Iterator[tuple[SshServer, Path]]:
    """A server whose logins find the stand-ins first."""
    folder = tmp_path / "far"
    folder.mkdir()
    texts = {"id": ID, "sudo": BECOME, "runuser": BECOME}
    for name, text in texts.items():
        (folder / name).write_text(text.format(folder=folder, name=name), encoding="ascii")
        (folder / name).chmod(0o755)
    path = f"SetEnv PATH={folder}:/usr/local/bin:/usr/bin:/bin"
    with ssh_server(tmp_path / "sshd", path) as server, pytest.MonkeyPatch.context() as env:
        env.setenv("FEWBEATS_SSH", server.command)
        yield server, folder


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


@pytest.mark.parametrize(
    ("me", "status", "trust"),
    [
        ("pi", "sudo -n -u fewbeats -- ", "sudo -n -- "),
        ("root", "runuser -u fewbeats -- ", ""),
        ("fewbeats", "", "sudo -n -- "),
    ],
)
def test_verbs_run_as_whom_they_concern(
    far: tuple[SshServer, Path], gateway: Path, me: str, status: str, trust: str
) -> None:
    server, folder = far
    (folder / "me").write_text(me, encoding="ascii")
    target = open_target(server.address(gateway))
    program = f"{gateway}/opt/fewbeats/current/bin/fewbeats gateway"
    target.status()
    assert calls(folder) == (
        [f"{status}{program} status --json --root {gateway}"] if status else []
    )
    target.trust(SigningKey.generate("second").public)
    expected = [f"{trust}{program} trust --json --root {gateway} -"] if trust else []
    assert calls(folder) == expected


def test_a_login_that_may_not_become_another_is_told(
    far: tuple[SshServer, Path], gateway: Path
) -> None:
    server, folder = far
    (folder / "me").write_text("pi", encoding="ascii")
    (folder / "no").touch()
    with pytest.raises(TargetError, match="sudoers"):
        open_target(server.address(gateway)).status()
    with pytest.raises(TargetError, match="sudoers"):
        open_place(server.address()).find()
    assert calls(folder)[1].startswith("sudo -n -- sh -c ")

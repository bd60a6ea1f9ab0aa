"""The way over ssh, on a real server: what comes through, and what is said when nothing does."""

import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbeats.deploy.openssh import OpenSsh, SshAddress
from fewbeats.errors import TargetError, TargetLostError
from gateways.ssh_server import SshServer, make_key


def reached(server: SshServer, silent_s: float = 20) -> OpenSsh:
    return OpenSsh(SshAddress.parse(server.address()), silent_s)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://pi@gateway.local", SshAddress("gateway.local", "pi")),
        ("ssh://gateway:2222/srv/a%20root", SshAddress("gateway", None, 2222, "/srv/a root")),
        ("ssh://pi@WardPi:22", SshAddress("WardPi", "pi", 22)),
        ("ssh://root@[fe80::1%25eth0]:22", SshAddress("fe80::1%eth0", "root", 22)),
    ],
)
def test_addresses_are_read(text: str, expected: SshAddress) -> None:
    assert SshAddress.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ssh://",
        "ssh://-oProxyCommand=touch%20x",
        "ssh://-lroot@host",
        "ssh://pi:secret@host",
        "ssh://host:99999",
        "ssh://host:0",
        "ssh://host/a?b",
        "ssh://ho st",
        "ssh://host/a%0Ab",
    ],
)
def test_addresses_that_are_none_or_would_be_options_are_refused(text: str) -> None:
    with pytest.raises(TargetError):
        SshAddress.parse(text)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_an_address_never_becomes_an_option(text: str) -> None:
    try:
        address = SshAddress.parse(f"ssh://{text}")
    except TargetError:
        return
    assert not address.host.startswith("-")
    assert not (address.user or "x").startswith("-")


def test_arguments_and_bytes_come_through_as_they_are(server: SshServer) -> None:
    words = ["", "a b", "'", '"$(id)`', "*", "\\", "-n", "ä\nb"]
    data = bytes(range(256)) * 4000
    sent: list[int] = []
    answer = reached(server).run(
        'printf "<%s>" "$@"; echo; sha256sum; echo oops >&2; exit 7',
        words,
        data,
        lambda done, total: sent.append(done) if total == len(data) else None,
    )
    import hashlib

    expected = "".join(f"<{word}>" for word in words)
    assert answer.out.startswith(expected)
    assert hashlib.sha256(data).hexdigest() in answer.out
    assert (answer.code, answer.last_words) == (7, "oops")
    assert sent == sorted(sent)
    assert sent[-1] == len(data)


def test_a_login_that_greets_does_not_spoil_the_answer(tmp_path: Path, server: SshServer) -> None:
    noisy = tmp_path / "noisy-ssh"
    noisy.write_text(f'#!/bin/sh\necho "Welcome!"\nexec {server.command} "$@"\n', encoding="utf-8")
    noisy.chmod(0o755)
    with pytest.MonkeyPatch.context() as env:
        env.setenv("FEWBEATS_SSH", str(noisy))
        lines: list[str] = []
        answer = reached(server).run("echo one; echo two", on_line=lines.append)
    assert answer.out == "one\ntwo\n"
    assert lines == ["one", "two"]


def test_a_far_side_that_wants_no_bytes_is_heard_all_the_same(server: SshServer) -> None:
    answer = reached(server).run("exec <&-; echo full >&2; exit 3", (), bytes(5_000_000))
    assert (answer.code, answer.last_words) == (3, "full")


def test_silence_ends_the_connection(server: SshServer) -> None:
    begun = time.monotonic()
    with pytest.raises(TargetLostError, match=r"silent for 0\.5 s"):
        reached(server, silent_s=0.5).run("echo here; sleep 30")
    assert time.monotonic() - begun < 20


def test_a_client_that_is_killed_half_way_is_a_lost_connection(
    tmp_path: Path, server: SshServer
) -> None:
    pid_file, client = tmp_path / "pid", tmp_path / "ssh"
    client.write_text(
        f'#!/bin/sh\necho $$ >{pid_file}\nexec {server.command} "$@"\n', encoding="utf-8"
    )
    client.chmod(0o755)

    def cut(done: int, _: int) -> None:
        if done > 1_000_000:
            os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as env, pytest.raises(TargetLostError, match="of 9000000"):
        env.setenv("FEWBEATS_SSH", str(client))
        reached(server).run("cat >/dev/null", (), bytes(9_000_000), cut)


def test_an_unknown_host_key_is_refused_with_what_to_do(tmp_path: Path, server: SshServer) -> None:
    with pytest.MonkeyPatch.context() as env, pytest.raises(TargetError, match="not known here"):
        env.setenv("FEWBEATS_SSH", f"{server.command} -oUserKnownHostsFile={tmp_path}/none")
        reached(server).run("true")


def test_a_host_key_that_changed_is_refused_with_what_to_do(
    tmp_path: Path, server: SshServer
) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text(encoding="ascii")
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {other}", encoding="ascii")
    with pytest.MonkeyPatch.context() as env, pytest.raises(TargetError, match="stands in between"):
        env.setenv("FEWBEATS_SSH", f"{server.command} -oUserKnownHostsFile={tmp_path}/known")
        reached(server).run("true")


def test_a_key_that_is_not_let_in_is_told(tmp_path: Path, server: SshServer) -> None:
    key = make_key(tmp_path / "stranger")
    config = server.client_config.read_text(encoding="utf-8").splitlines()
    (tmp_path / "config").write_text("\n".join([f"IdentityFile {key}", *config[1:]]) + "\n")
    with pytest.MonkeyPatch.context() as env, pytest.raises(TargetError, match="none of your keys"):
        env.setenv("FEWBEATS_SSH", f"ssh -F {tmp_path}/config")
        reached(server).run("true")


def test_nobody_there_is_told(server: SshServer) -> None:
    with pytest.raises(TargetError, match="cannot be reached"):
        OpenSsh(SshAddress("127.0.0.1", port=1)).run("true")


def test_a_missing_client_is_told() -> None:
    with pytest.MonkeyPatch.context() as env, pytest.raises(TargetError, match="openssh-client"):
        env.setenv("FEWBEATS_SSH", "/nonexistent/ssh")
        OpenSsh(SshAddress("127.0.0.1")).run("true")


def test_a_configuration_that_takes_any_host_key_is_overruled(
    tmp_path: Path, server: SshServer
) -> None:
    lines = server.client_config.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "StrictHost" not in line and "UserKnown" not in line]
    config = tmp_path / "config"
    for value in ("no", "accept-new"):
        rules = [f"UserKnownHostsFile {tmp_path}/none", f"StrictHostKeyChecking {value}"]
        config.write_text("\n".join([*kept, *rules]) + "\n", encoding="utf-8")
        with pytest.MonkeyPatch.context() as env, pytest.raises(TargetError, match="not known"):
            env.setenv("FEWBEATS_SSH", f"ssh -F {config}")
            reached(server).run("true")
    assert not (tmp_path / "none").exists()


def test_a_command_with_an_open_quote_is_told(server: SshServer) -> None:
    with pytest.MonkeyPatch.context() as env, pytest.raises(TargetError, match="quotes"):
        env.setenv("FEWBEATS_SSH", "ssh 'x")
        reached(server).run("true")

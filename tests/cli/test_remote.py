"""``fewbeats remote``: what a gateway runs and whom it trusts, for people and for scripts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fewbeats.device.bundle import NOTICE
from fewbeats.device.keys import SigningKey
from gateways.made_gateway import Gateway, make_gateway
from gateways.ssh_server import ssh_server


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return make_gateway(tmp_path / "card")


def test_status_confirm_and_fall_back(
    fewbeats_here: Callable[..., object], gateway: Gateway, tmp_path: Path
) -> None:
    target = f"dir:{gateway.root}"
    fewbeats_here("flash", gateway.bundle(tmp_path / "b", "1.1.0"), target)
    status = fewbeats_here("remote", "status", target).stdout
    assert "current:  fewbeats-default 1.1.0" in status
    assert "on trial, 3 starts left" in status
    assert "previous: fewbeats-default 1.0.0" in status
    assert NOTICE in status
    assert "confirmed" in fewbeats_here("remote", "confirm", target).stdout
    back = fewbeats_here("remote", "fall-back", target, "--json")
    assert json.loads(back.stdout)["current"]["version"] == "1.0.0"
    assert "failed:   fewbeats-default 1.1.0" in fewbeats_here("remote", "status", target).stdout


def test_keys_trust_and_revoke(
    fewbeats_here: Callable[..., object], gateway: Gateway, tmp_path: Path
) -> None:
    target, second = f"dir:{gateway.root}", SigningKey.generate("second").public
    second.save(tmp_path / "second.pub")
    listed = fewbeats_here("remote", "trust", target, tmp_path / "second.pub").stdout
    assert f"second  {second.fingerprint}" in listed
    refused = fewbeats_here("remote", "revoke", target, "clinic")
    assert (refused.returncode, "--force" in refused.stderr) == (6, True)
    assert "second" not in fewbeats_here("remote", "revoke", target, "second").stdout
    keys = json.loads(fewbeats_here("remote", "keys", target, "--json").stdout)
    assert [key["name"] for key in keys["keys"]] == ["clinic"]
    missing = fewbeats_here("remote", "trust", target, tmp_path / "none.pub")
    assert missing.returncode == 6


def test_the_same_over_ssh(
    fewbeats_here: Callable[..., object],
    gateway: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ssh_server(tmp_path / "sshd") as server:
        monkeypatch.setenv("FEWBEATS_SSH", server.command)
        target = server.address(gateway.root)
        done = fewbeats_here("flash", gateway.bundle(tmp_path / "b", "1.1.0"), target)
        assert done.returncode == 0, done.stderr
        assert "It is on trial: it is kept once" in done.stdout
        status = json.loads(fewbeats_here("remote", "status", target, "--json").stdout)
        assert status["current"]["version"] == "1.1.0"
        assert fewbeats_here("remote", "status", server.address("/nowhere")).returncode == 10

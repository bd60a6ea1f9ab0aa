"""Gateways to flash: a provisioned root in a temporary folder, and a way to it over ssh."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.device.keys import SigningKey
from fewbeats.device.shipped import load_bundle
from gateways.made_gateway import make_gateway
from gateways.ssh_server import SshServer, ssh_server

Pack = Callable[..., bytes]


@pytest.fixture(scope="session")
def owner_key() -> SigningKey:
    return SigningKey.generate("clinic")


@pytest.fixture(scope="session")
def shipped() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="session")
def pack(shipped: Bundle, owner_key: SigningKey) -> Pack:
    """``pack("1.2.0")``: the shipped bundle under another version, signed by the clinic."""

    def packed(version: str, key: SigningKey = owner_key) -> bytes:
        return replace(shipped, version=version).pack(key)

    return packed


@pytest.fixture
def gateway(tmp_path: Path, owner_key: SigningKey) -> Path:
    """The root of a provisioned gateway in production, with bundle 1.0.0 confirmed."""
    return make_gateway(tmp_path / "card", owner_key).root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A server on loopback, which FEWBEATS_SSH leads to."""
    with (
        ssh_server(tmp_path_factory.mktemp("sshd")) as running,
        pytest.MonkeyPatch.context() as env,
    ):
        env.setenv("FEWBEATS_SSH", running.command)
        yield running

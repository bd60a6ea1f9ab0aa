"""``fewbeats flash``: a bundle to a card, and what is said of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fewbeats.device.bundle import NOTICE
from fewbeats.device.keys import DEVELOPMENT_KEY, DEVELOPMENT_NOTICE
from gateways.made_gateway import Gateway, make_gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return make_gateway(tmp_path / "card")


def test_before_and_now_are_shown_and_what_the_trial_means(
    fewbeats_here: Callable[..., object], gateway: Gateway, tmp_path: Path
) -> None:
    bundle = gateway.bundle(tmp_path / "b", "1.1.0")
    done = fewbeats_here("flash", bundle, f"dir:{gateway.root}")
    assert done.returncode == 0, done.stderr
    words = done.stdout
    assert "before: fewbeats-default 1.0.0" in words
    assert "now:    fewbeats-default 1.1.0" in words
    assert "on trial from the card's next start on" in words
    assert f"fewbeats remote confirm dir:{gateway.root}" in words
    assert NOTICE in words
    again = fewbeats_here("flash", bundle, f"dir:{gateway.root}")
    assert "already; nothing was changed" in again.stdout


def test_json_is_one_document(
    fewbeats_here: Callable[..., object], gateway: Gateway, tmp_path: Path
) -> None:
    bundle = gateway.bundle(tmp_path / "b", "1.1.0")
    done = fewbeats_here("flash", bundle, f"dir:{gateway.root}", "--json")
    content = json.loads(done.stdout)
    assert content["before"]["version"] == "1.0.0"
    assert content["current"]["version"] == "1.1.0"
    assert content["notice"] == NOTICE


def test_a_damaged_bundle_is_refused_here_before_anything_is_asked(
    fewbeats_here: Callable[..., object], gateway: Gateway, tmp_path: Path
) -> None:
    path = gateway.bundle(tmp_path / "b", "1.1.0")
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    done = fewbeats_here("flash", path, "ssh://127.0.0.1:1")  # nobody is there to be asked
    assert done.returncode == 6
    assert "damaged" in done.stderr


def test_a_downgrade_needs_its_flag(
    fewbeats_here: Callable[..., object], gateway: Gateway, tmp_path: Path
) -> None:
    bundle = gateway.bundle(tmp_path / "b", "0.9.0")
    refused = fewbeats_here("flash", bundle, f"dir:{gateway.root}")
    assert (refused.returncode, "--allow-downgrade" in refused.stderr) == (6, True)
    assert (
        fewbeats_here("flash", bundle, f"dir:{gateway.root}", "--allow-downgrade").returncode == 0
    )


def test_the_development_key_is_loud(fewbeats_here: Callable[..., object], tmp_path: Path) -> None:
    gateway = make_gateway(tmp_path / "bench", mode="development")
    bundle = gateway.bundle(tmp_path / "b", "1.1.0", DEVELOPMENT_KEY)
    done = fewbeats_here("flash", bundle, f"dir:{gateway.root}")
    assert DEVELOPMENT_NOTICE in done.stdout
    production = make_gateway(tmp_path / "ward")
    refused = fewbeats_here("flash", bundle, f"dir:{production.root}")
    assert (refused.returncode, "development key" in refused.stderr) == (6, True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bundle"],
        ["--sensor", "image"],
        ["--sensor", "image", "a", "b"],
        ["--sensor", "image", "a", "--allow-downgrade"],
    ],
)
def test_wrong_usage_is_told(fewbeats_here: Callable[..., object], arguments: list[str]) -> None:
    assert fewbeats_here("flash", *arguments).returncode == 2


def test_a_sensor_is_flashed_at_its_own_address(
    fewbeats_here: Callable[..., object], tmp_path: Path
) -> None:
    pytest.importorskip("smpclient")
    (tmp_path / "image.bin").write_bytes(b"no image")
    done = fewbeats_here("flash", "--sensor", tmp_path / "image.bin", "serial:///dev/nothing")
    assert done.returncode == 10, done.stderr

"""``fewbeats provision`` and ``deprovision``, on a card's folder."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fewbeats.device.bundle import NOTICE
from fewbeats.device.keys import SigningKey
from fewbeats.device.shipped import load_bundle
from gateways.made_wheels import MACHINE, card_of, wheels_for

Options = list[object]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """A key to trust, a bundle that it signed, wheels."""
    folder = tmp_path_factory.mktemp("given")
    key = SigningKey.generate("clinic")
    key.public.save(folder / "clinic.pub")
    bundle = folder / "first.fewbeats"
    bundle.write_bytes(replace(load_bundle(), version="1.0.0").pack(key))
    for name, data in wheels_for(MACHINE).items():
        (folder / name).write_bytes(data)
    return ["--trust", folder / "clinic.pub", "--bundle", bundle, "--wheels", folder]


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return card_of(tmp_path / "rootfs")


def test_a_dry_run_lists_every_step_with_its_reason(
    fewbeats_here: Callable[..., object], card: Path, options: Options
) -> None:
    before = sorted(card.rglob("*"))
    done = fewbeats_here("provision", f"dir:{card}", *options, "--dry-run")
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    for text in ("user", "program", "Nothing was touched", "as few rights as it can", NOTICE):
        assert text in words
    assert sorted(card.rglob("*")) == before


def test_a_card_is_prepared_and_says_when_it_is_done(
    fewbeats_here: Callable[..., object], card: Path, options: Options
) -> None:
    done = fewbeats_here("provision", f"dir:{card}", *options, "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["notice"] == NOTICE
    assert {step["state"] for step in content["steps"] if step["name"] == "program"} == {"later"}
    assert (card / "opt/fewbeats/setup/steps.sh").is_file()
    text = fewbeats_here("provision", f"dir:{card}", *options)
    assert "at the first start" in text.stdout


def test_production_without_a_key_is_refused_and_development_is_loud(
    fewbeats_here: Callable[..., object], card: Path, options: Options
) -> None:
    refused = fewbeats_here("provision", f"dir:{card}")
    assert refused.returncode == 10
    assert "--trust KEY.pub" in refused.stderr
    loud = fewbeats_here("provision", f"dir:{card}", "--development", *options[-2:], "--dry-run")
    assert loud.returncode == 0, loud.stderr
    assert "DEVELOPMENT MODE" in loud.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--wheels-only", "w"],
        ["--wheels-only", "w", "--machine", "aarch64-3.11", "dir:x"],
        ["dir:x", "--machine", "aarch64-3.11"],
        ["dir:x", "--undo", "--now"],
        ["dir:x", "--undo", "--bundle", "b"],
        ["dir:x", "--undo", "--sensor-usb", "any"],
        ["--wheels-only", "w", "--machine", "aarch64-3.11", "--development"],
        ["--wheels-only", "w", "--machine", "aarch64-3.11", "--dry-run"],
    ],
)
def test_wrong_usage_is_told(fewbeats_here: Callable[..., object], arguments: list[str]) -> None:
    assert fewbeats_here("provision", *arguments).returncode == 2


def test_a_sensor_is_named_as_lsusb_does(
    fewbeats_here: Callable[..., object], card: Path, options: Options
) -> None:
    bad = fewbeats_here("provision", f"dir:{card}", *options, "--sensor-usb", "x")
    assert (bad.returncode, "lsusb" in bad.stderr) == (10, True)
    good = fewbeats_here("provision", f"dir:{card}", *options, "--sensor-usb", "2e8a:000a:E66")
    assert good.returncode == 0
    rules = (card / "opt/fewbeats/setup/70-fewbeats-sensor.rules").read_text(encoding="ascii")
    assert 'ATTRS{serial}=="E66"' in rules


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_deprovision_asks_and_tells(
    fewbeats: Callable[..., object],
    fewbeats_here: Callable[..., object],
    card: Path,
    options: Options,
) -> None:
    assert fewbeats_here("provision", f"dir:{card}", *options).returncode == 0
    dry = fewbeats_here("deprovision", f"dir:{card}", "--dry-run")
    assert "Nothing was touched" in dry.stdout
    asked = fewbeats("deprovision", f"dir:{card}")  # standard input is empty: nobody says yes
    assert asked.returncode == 1
    assert (card / "opt/fewbeats/setup").exists()
    assert fewbeats_here("deprovision", f"dir:{card}", "--yes", "--json").returncode == 0
    assert not (card / "opt/fewbeats").exists()
    assert not (card / "etc/systemd/system/fewbeats-setup.service").exists()


def test_undoing_dry_switches_nothing(fewbeats_here: Callable[..., object], card: Path) -> None:
    programs = card / "opt/fewbeats"
    for name in "ab":
        (programs / "releases" / name).mkdir(parents=True)
        (programs / "releases" / name / "whole").touch()
    (programs / "current").symlink_to("releases/b")
    (programs / "previous").symlink_to("releases/a")
    dry = fewbeats_here("provision", f"dir:{card}", "--undo", "--dry-run")
    assert (dry.returncode, "Nothing was touched" in dry.stdout) == (0, True)
    assert (programs / "current").readlink() == Path("releases/b")
    done = fewbeats_here("provision", f"dir:{card}", "--undo")
    assert done.returncode == 0, done.stderr
    assert (programs / "current").readlink() == Path("releases/a")
    assert (programs / "previous").readlink() == Path("releases/b")


def test_a_card_cannot_steer_the_terminal(
    fewbeats_here: Callable[..., object], card: Path, options: Options
) -> None:
    (card / "usr/lib/os-release").write_text('PRETTY_NAME="Deb\x1b]0;x\x07"\n', encoding="ascii")
    done = fewbeats_here("provision", f"dir:{card}", *options, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "\x1b]0;" not in done.stdout
    assert "Deb" in done.stdout

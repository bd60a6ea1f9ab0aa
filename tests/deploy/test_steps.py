"""Steps as a script: done or not, in order, once; and the texts that they lay down."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from fewbeats.deploy.payload import RULES, SCRIPT, UNIT, Payload, SensorUsb
from fewbeats.deploy.step import Step, Told, script_of, template, told
from fewbeats.deploy.steps import (
    FIRST_START,
    GOING_BACK,
    RUNNING,
    Wanted,
    steps_for,
    undoing_steps,
)
from fewbeats.device.gateway_config import GatewayConfig
from fewbeats.device.keys import SigningKey
from fewbeats.device.settings import settings_of
from fewbeats.errors import TargetError

KNOWN_TO_NEWER_SYSTEMD = {"RestartSteps", "RestartMaxDelaySec"}  # 254


def wanted(payload: Payload | None = None) -> Wanted:
    made = payload or Payload.of(b'mode = "development"\n', (SigningKey.generate("k").public,))
    return Wanted(made, "1.0-abc", "1.0", "pip-26-py3-none-any.whl", 10_000_000, False, False)


def run(script: str, mode: str, root: Path) -> tuple[int, list[Told], str]:
    done = subprocess.run(
        ["sh", "-s", mode, root], input=script, capture_output=True, text=True, timeout=60
    )
    return (
        done.returncode,
        [t for line in done.stdout.splitlines() if (t := told(line))],
        done.stderr,
    )


def step(name: str, done: str, act: str) -> Step:
    return Step(name, "why", "what", done, act)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "opt").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n", encoding="ascii")
    (tmp_path / "etc/group").write_text("root:x:0:\ndialout:x:20:\n", encoding="ascii")
    return tmp_path


def test_steps_are_done_once_and_in_order(root: Path) -> None:
    steps = [
        step(name, f'[ -e "$ROOT/{name}" ]', f'echo {name} >>"$ROOT/log"; : >"$ROOT/{name}"')
        for name in ("one", "two", "three")
    ]
    script = script_of(steps)
    (root / "two").touch()
    assert run(script, "check", root)[1] == [
        Told("one", "todo"),
        Told("two", "already"),
        Told("three", "todo"),
    ]
    assert not (root / "log").exists()
    code, states, _ = run(script, "run", root)
    assert code == 0
    assert [(t.name, t.state) for t in states] == [
        ("one", "doing"),
        ("one", "done"),
        ("two", "already"),
        ("three", "doing"),
        ("three", "done"),
    ]
    assert (root / "log").read_text(encoding="ascii") == "one\nthree\n"
    assert [t.state for t in run(script, "run", root)[1]] == ["already"] * 3


def test_a_step_that_fails_at_any_line_ends_it_all(root: Path) -> None:
    steps = [
        step("bad", '[ -e "$ROOT/bad" ]', 'false\n: >"$ROOT/bad"'),
        step("next", "false", ': >"$ROOT/next"'),
    ]
    code, states, _ = run(script_of(steps), "run", root)
    assert code == 1
    assert states == [Told("bad", "doing"), Told("bad", "failed")]
    assert not (root / "bad").exists()
    assert not (root / "next").exists()


def test_a_step_that_does_not_come_to_be_done_has_failed(root: Path) -> None:
    code, states, _ = run(script_of([step("idle", "false", "true")]), "run", root)
    assert (code, states[-1].state) == (1, "failed")


def test_two_set_ups_at_once_are_refused(root: Path) -> None:
    act = 'read -r _ <"$ROOT/fifo"; : >"$ROOT/end"'
    slow = script_of([step("slow", '[ -e "$ROOT/end" ]', act)])
    subprocess.run(["mkfifo", root / "fifo"], check=True)
    with subprocess.Popen(
        ["sh", "-c", slow, "sh", "run", str(root)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout
        assert told(first.stdout.readline().rstrip()) == Told("slow", "doing")
        code, _, words = run(script_of([]), "run", root)
        assert code == 1
        assert "another set-up" in words
        (root / "fifo").write_text("go\n", encoding="ascii")
        first.communicate(timeout=60)
    assert first.returncode == 0


def test_files_that_were_damaged_on_the_way_are_not_used(root: Path, tmp_path: Path) -> None:
    payload = Payload.of(b"x = 1\n").with_script(script_of([]), {})
    folder = tmp_path / "brought"
    folder.mkdir()
    for name, data in payload.files.items():
        (folder / name).write_bytes(data)
    command = ["sh", folder / SCRIPT, "run", root]
    assert subprocess.run(command, capture_output=True).returncode == 0
    (folder / RULES).write_bytes(b"damaged")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "damaged" in done.stderr


def test_nothing_is_done_on_a_bare_root_and_looking_changes_nothing(root: Path) -> None:
    before = sorted(root.rglob("*"))
    steps = steps_for(wanted())
    code, states, _ = run(script_of(steps), "check", root)
    assert code == 0
    assert [t.name for t in states] == [each.name for each in steps]
    assert {t.name for t in states if t.state == "already"} <= {"running"}
    assert sorted(root.rglob("*")) == before


def test_every_step_says_what_and_why() -> None:
    steps = (*steps_for(wanted()), *undoing_steps(False), *undoing_steps(True), FIRST_START)
    steps += GOING_BACK
    for each in steps:
        assert re.fullmatch(r"[a-z-]+", each.name)
        assert each.why.endswith(".")
        assert each.what
        for text in (each.done, each.act):
            subprocess.run(["sh", "-n", "-c", text], check=True)


def test_the_script_is_sound_for_the_shell_and_its_checker(tmp_path: Path) -> None:
    script = tmp_path / "steps.sh"
    script.write_text(script_of(steps_for(wanted())), encoding="utf-8")
    subprocess.run(["sh", "-n", script], check=True)
    if not shutil.which("shellcheck"):
        pytest.skip("needs the Debian package shellcheck for the rest")
    plain = tmp_path / "template.sh"
    plain.write_text(template("steps.sh"), encoding="utf-8")
    # SC2016: what is quoted is meant for the shell of a step.
    subprocess.run(["shellcheck", "--shell=sh", "--exclude=SC2016", plain], check=True)


def unit(tmp_path: Path) -> Path:
    path = tmp_path / UNIT
    text = template(UNIT).replace("/opt/fewbeats/current/bin/fewbeats", "/bin/true")
    path.write_text(text, encoding="utf-8")
    return path


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs the Debian package systemd")
    setup = tmp_path / "fewbeats-setup.service"
    setup.write_text(template(setup.name), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit(tmp_path), setup],
        capture_output=True,
        text=True,
    )
    lines = [
        line
        for line in done.stderr.splitlines()
        if str(tmp_path) in line and not any(word in line for word in KNOWN_TO_NEWER_SYSTEMD)
    ]
    assert lines == []


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs the Debian package systemd")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit(tmp_path)],
        capture_output=True,
        text=True,
    )
    if "exposure level" not in done.stdout:
        pytest.skip(f"this systemd judges no files: {done.stderr.strip()[-200:]}")
    level = float(re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)[1])  # type: ignore[index]
    assert level <= 1.0, done.stdout


def test_the_unit_never_gives_up() -> None:
    text = template(UNIT)
    for line in (
        "Type=notify",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "WatchdogSec=30",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "DevicePolicy=closed",
        "CapabilityBoundingSet=",
    ):
        assert f"\n{line}\n" in text


def test_the_plain_settings_are_a_gateways() -> None:
    import tomllib

    for mode in ("production", "development"):
        text = template("gateway.toml").replace("@MODE@", mode)
        assert settings_of(GatewayConfig, tomllib.loads(text)) == GatewayConfig(mode=mode)


def rule(sensor: SensorUsb | None) -> str:
    return Payload.of(b"", sensor=sensor).files[RULES].decode()


def test_the_sensors_port_is_any_or_the_one_that_is_named() -> None:
    assert "ATTRS" not in rule(None)
    assert 'SYMLINK+="fewbeats-sensor"' in rule(None)
    assert rule(SensorUsb.parse("any")) == rule(None)
    pinned = rule(SensorUsb.parse("2E8A:000a:E661:4103"))
    expected = 'ATTRS{idVendor}=="2e8a", ATTRS{idProduct}=="000a", ATTRS{serial}=="E661:4103"'
    assert expected in pinned
    assert "serial" not in rule(SensorUsb.parse("2e8a:000a"))


@pytest.mark.parametrize(
    "text",
    ["", "2e8a", "2e8a:", "2e8a:000g", "12e8a:000a", "2e8a:000a:", '2e8a:000a:x"', "2e8a:000a:*",
     "2e8a:000a:a b", "2e8a:000a:$x", "2e8a:000a:x\n"],
)  # fmt: skip
def test_what_is_no_usb_device_is_refused(text: str) -> None:
    with pytest.raises(TargetError, match="lsusb"):
        SensorUsb.parse(text)


def test_a_payload_is_the_same_bytes_each_time_and_keeps_settings_private() -> None:
    import io
    import tarfile

    key = SigningKey.generate("clinic").public
    made = [Payload.of(b"a = 1\n", (key,)).with_script("true\n", {"x.whl": b"x"}) for _ in range(2)]
    assert made[0].as_tar() == made[1].as_tar()
    with tarfile.open(fileobj=io.BytesIO(made[0].as_tar())) as archive:
        modes = {entry.name: entry.mode for entry in archive}
    assert modes["gateway.toml"] == 0o600
    assert modes["keys/clinic.pub"] == modes["wheels/x.whl"] == 0o644


def test_a_port_that_was_pinned_stays_unless_another_is_asked_for(root: Path) -> None:
    rules = root / "etc/udev/rules.d" / RULES
    rules.parent.mkdir(parents=True)
    pinned = Payload.of(b"", sensor=SensorUsb.parse("2e8a:000a:E661")).files[RULES]
    rules.write_bytes(pinned)
    for replace_rule, expected in ((False, "already"), (True, "todo")):
        steps = steps_for(replace(wanted(Payload.of(b"")), replace_rule=replace_rule))
        states = {t.name: t.state for t in run(script_of(steps), "check", root)[1]}
        assert states["port"] == expected


def booted(steps: Iterable[Step], root: Path) -> str:
    """A script that takes a folder for a system that runs; a restart is noted in ``calls``."""
    folder = root / "stand-ins"
    folder.mkdir(exist_ok=True)
    noting = f'echo "${{0##*/}} $*" >>{root}/calls'
    texts = {
        "udevadm": noting,
        "systemctl": f'[ "$2" = is-active ] || {noting}\n'
        f'[ "$1" != restart ] || {{ cp -P {root}/opt/fewbeats/current {root}/runs; '
        f'[ ! -e {root}/"$(readlink {root}/runs)".bad ]; }}',
    }
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    script = script_of(steps).replace("PATH=", f"PATH={folder}:", 1)
    return script.replace('[ -z "$ROOT" ] && [ -d /run/systemd/system ]', "true", 1)


def restarts(root: Path) -> int:
    calls = root / "calls"
    lines = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    assert ("systemctl daemon-reload" in lines) == ("systemctl restart fewbeats.service" in lines)
    return lines.count("systemctl restart fewbeats.service")


@pytest.fixture
def programs(root: Path) -> Path:
    """Programs ``a`` and ``b``, of which ``b`` is the current one."""
    for name in "ab":
        (root / "opt/fewbeats/releases" / name).mkdir(parents=True)
        (root / "opt/fewbeats/releases" / name / "whole").touch()
        (root / "releases").mkdir(exist_ok=True)
    (root / "opt/fewbeats/current").symlink_to("releases/b")
    (root / "opt/fewbeats/previous").symlink_to("releases/a")
    return root / "opt/fewbeats"


def test_what_a_cut_left_undone_is_done_by_the_next_run(root: Path, programs: Path) -> None:
    made = Step("made", "why", "what", '[ -e "$ROOT/made" ]', ': >"$ROOT/made"', restart=True)
    cut = Step("cut", "why", "what", '[ -e "$ROOT/there" ]', "exit 1")
    assert run(booted((RUNNING,), root), "run", root)[1] == [Told("running", "already")]
    assert run(booted((made, RUNNING), root), "check", root)[1][-1].state == "todo"
    assert not (programs / "restart-needed").exists()
    assert run(booted((made, cut, RUNNING), root), "run", root)[0] == 1
    assert restarts(root) == 0
    assert (programs / "restart-needed").read_text(encoding="ascii") == "releases/b\n"
    # Every step is done by now, and yet the old program runs.
    script = booted((made, RUNNING), root)
    assert [t.state for t in run(script, "check", root)[1]] == ["already", "todo"]
    assert run(script, "run", root)[0] == 0
    assert restarts(root) == 1
    assert not (programs / "restart-needed").exists()
    assert [t.state for t in run(script, "run", root)[1]] == ["already"] * 2
    assert restarts(root) == 0


def test_a_program_that_does_not_start_gives_way_to_the_one_that_ran_before_the_cut(
    root: Path, programs: Path
) -> None:
    (programs / "restart-needed").write_text("releases/a\n", encoding="ascii")
    (root / "releases/b.bad").touch()
    code, states, _ = run(booted((RUNNING,), root), "run", root)
    assert (code, states[-1].state) == (1, "failed")
    assert (programs / "current").readlink() == (root / "runs").readlink() == Path("releases/a")


def test_going_back_after_a_cut_ends_where_it_was_meant_to(root: Path, programs: Path) -> None:
    script = booted(GOING_BACK, root)
    *steps, _ = GOING_BACK
    assert run(booted(steps, root), "run", root)[0] == 0  # cut before the restart
    assert run(script, "run", root)[0] == 0
    assert (root / "runs").readlink() == Path("releases/a")
    assert (programs / "previous").readlink() == Path("releases/b")
    # Once more it is another wish: back again.
    assert run(script, "run", root)[0] == 0
    assert (root / "runs").readlink() == Path("releases/b")
    # Cut between its two links.
    (programs / "restart-needed").write_text("releases/b\nreleases/a\n", encoding="ascii")
    (programs / "previous").unlink()
    (programs / "previous").symlink_to("releases/b")
    assert run(script, "run", root)[0] == 0
    assert (root / "runs").readlink() == Path("releases/a")
    assert (programs / "previous").readlink() == Path("releases/b")


def test_going_back_where_there_is_nothing_changes_nothing(root: Path, programs: Path) -> None:
    (programs / "releases/a/whole").unlink()
    code, states, words = run(booted(GOING_BACK, root), "run", root)
    assert (code, states[-1]) == (1, Told("earlier", "failed"))
    assert "no whole program" in words
    assert (programs / "current").readlink() == Path("releases/b")


def test_a_first_start_that_failed_is_tried_again_once_the_card_has_grown() -> None:
    text = template("fewbeats-setup.service")
    for line in ("Restart=on-failure", "RestartSec=30", "StartLimitIntervalSec=0"):
        assert f"\n{line}\n" in text
    assert "After=resize2fs_once.service" in text

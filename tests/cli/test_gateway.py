"""The gateway's verbs, as they are run on it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fewbeats.device.keys import DEVELOPMENT_KEY, SigningKey
from fewbeats.device.slot_state import EARLIEST
from fewbeats.device.slots import open_slots
from made_bundles import made_config, packed, packed_unsound


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made_config(tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "made.fewbeats"
    path.write_bytes(packed(1))
    return path


def verb(fewbeats_here, root: Path, name: str, *arguments: object):  # type: ignore[no-untyped-def]
    """A verb with --json: its answer, or its one sentence of refusal and its exit code."""
    done = fewbeats_here("gateway", name, "--root", root, "--json", *arguments)
    if done.returncode == 0:
        assert done.stderr == ""
        return json.loads(done.stdout)
    assert done.stdout == "" and done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    return done.returncode, done.stderr


def test_install_status_confirm_fall_back(fewbeats_here, root: Path, tmp_path: Path) -> None:
    paths = []
    for seed in (1, 2):
        paths.append(tmp_path / f"{seed}.fewbeats")
        paths[-1].write_bytes(packed(seed))
    installed = verb(fewbeats_here, root, "install", paths[0])
    assert set(installed) == {"changed", "current", "previous", "refitted", "to_be_calibrated"}
    assert installed["current"] == {
        "slot": "a",
        "name": "made-1",
        "version": "1.0",
        "sha256": hashlib.sha256(packed(1)).hexdigest(),
        "backbone_sha256": installed["current"]["backbone_sha256"],
        "runtime": "onnx",
        "signer": "development",
        "development": True,
        "state": "trial",
        "starts_left": 3,
    }
    status = verb(fewbeats_here, root, "confirm")
    assert status["format"] == 1 and status["mode"] == "development"
    assert status["current"]["state"] == "confirmed" and status["previous"] is None
    assert verb(fewbeats_here, root, "install", paths[0])["changed"] is False
    assert verb(fewbeats_here, root, "install", paths[1])["previous"]["name"] == "made-1"
    status = verb(fewbeats_here, root, "fall-back")
    assert status == verb(fewbeats_here, root, "status")
    assert status["current"]["name"] == "made-1"
    assert status["failed"]["name"] == "made-2" and status["failed"]["reason"]
    assert status["patients"] == []


def test_for_people(fewbeats_here, root: Path, bundle: Path) -> None:
    said = fewbeats_here("gateway", "status", "--root", root).stdout
    assert "no medical device" in said and "current   none" in said
    said = fewbeats_here("gateway", "install", bundle, "--root", root).stdout
    assert "installed made-1 1.0, on trial (3 starts left), in slot a" in said
    said = fewbeats_here("gateway", "install", bundle, "--root", root).stdout
    assert "already; nothing was changed" in said
    said = fewbeats_here("gateway", "status", "--root", root).stdout
    assert "WHICH ANYBODY CAN SIGN WITH" in said


def test_refusals_are_one_sentence_and_an_exit_code(
    fewbeats_here, root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    for data, word in (
        (packed(1)[:-1], "damaged"),
        (packed_unsound(1), "golden windows"),
        (packed(1, key=SigningKey.generate("foe")), "not trusted"),
        (bytes(17_000_000), "larger than"),
        (b"", "no fewbeats bundle"),
    ):
        path.write_bytes(data)
        code, error = verb(fewbeats_here, root, "install", path)
        assert code == 6 and word in error
    code, error = verb(fewbeats_here, root, "install", tmp_path / "none")
    assert code == 6 and "No such file" in error
    assert verb(fewbeats_here, root, "fall-back")[0] == 6
    assert verb(fewbeats_here, root, "confirm")[0] == 6
    code, error = verb(fewbeats_here, tmp_path, "status")
    assert code == 10 and "no gateway at" in error
    assert not (tmp_path / "var").exists()


def piped(root: Path, data: bytes, *options: object) -> subprocess.CompletedProcess[bytes]:
    command = [
        sys.executable,
        "-m",
        "fewbeats",
        "gateway",
        "install",
        "-",
        "--root",
        root,
        "--json",
    ]
    return subprocess.run([*map(str, command), *map(str, options)], input=data, capture_output=True)


def test_a_bundle_from_standard_input(root: Path) -> None:
    data = packed(1)
    announced = ("--bytes", len(data), "--sha256", hashlib.sha256(data).hexdigest())
    broken = piped(root, data[:-100], *announced)
    assert broken.returncode == 10 and b"the connection broke" in broken.stderr
    for wrong in (data + b"x", data[:-1] + b"x"):
        done = piped(root, wrong, *announced)
        assert done.returncode == 6 and b"Other bytes" in done.stderr
    assert not open_slots(root).layout.slot("a").exists()
    assert json.loads(piped(root, data, *announced).stdout)["changed"]
    endless = piped(root, bytes(16_000_001))
    assert endless.returncode == 6 and b"larger than" in endless.stderr


def test_keys_are_trusted_and_revoked(fewbeats_here, root: Path, tmp_path: Path) -> None:
    made_config(root, mode="production")
    ours, next_one = SigningKey.generate("ours"), SigningKey.generate("next")
    ours.public.save(tmp_path / "ours.pub")
    (tmp_path / "ours.fewbeats").write_bytes(packed(1, key=ours))
    assert verb(fewbeats_here, root, "keys") == {
        "production": True,
        "keys": [],
        "problems": [],
    }
    assert verb(fewbeats_here, root, "install", tmp_path / "ours.fewbeats")[0] == 6
    trusted = verb(fewbeats_here, root, "trust", tmp_path / "ours.pub")["trusted"]
    assert (trusted["name"], trusted["fingerprint"]) == ("ours", ours.public.fingerprint)
    verb(fewbeats_here, root, "trust", tmp_path / "ours.pub")  # again: no harm
    verb(fewbeats_here, root, "install", tmp_path / "ours.fewbeats")
    verb(fewbeats_here, root, "confirm")
    next_one.public.save(tmp_path / "next.pub")
    with (tmp_path / "next.pub").open() as file:
        command = ["gateway", "trust", "-", "--root", str(root)]
        subprocess.run([sys.executable, "-m", "fewbeats", *command], stdin=file, check=True)
    assert [k["name"] for k in verb(fewbeats_here, root, "keys")["keys"]] == ["next", "ours"]
    code, error = verb(fewbeats_here, root, "revoke", "ours")
    assert code == 6 and "signed the bundle that runs" in error
    (tmp_path / "next.fewbeats").write_bytes(packed(2, key=next_one))
    verb(fewbeats_here, root, "install", tmp_path / "next.fewbeats")
    code, error = verb(fewbeats_here, root, "revoke", "ours")
    assert code == 6 and "the last good bundle" in error
    verb(fewbeats_here, root, "confirm")
    assert verb(fewbeats_here, root, "revoke", "--", "ours")["revoked"]["name"] == "ours"
    assert [k["name"] for k in verb(fewbeats_here, root, "keys")["keys"]] == ["next"]
    code, error = verb(fewbeats_here, root, "revoke", "ours")
    assert code == 6 and "trusted are: next" in error
    assert verb(fewbeats_here, root, "revoke", "--force", "next")["revoked"]
    assert verb(fewbeats_here, root, "status")["current"] is None


def test_keys_that_are_not_trusted(fewbeats_here, root: Path, tmp_path: Path) -> None:
    made_config(root, mode="production")
    path = tmp_path / "x.pub"
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    SigningKey.generate("old", yesterday).public.save(path)
    code, error = verb(fewbeats_here, root, "trust", path)
    assert code == 6 and "expired on" in error
    DEVELOPMENT_KEY.public.save(path)
    code, error = verb(fewbeats_here, root, "trust", path)
    assert code == 6 and "Anybody can sign" in error
    for _ in range(2):
        SigningKey.generate("same").public.save(path)
        answer = verb(fewbeats_here, root, "trust", path)
    assert answer[0] == 6 and "Another key is trusted under the name same" in answer[1]
    path.write_text("{}")
    assert verb(fewbeats_here, root, "trust", path)[0] == 6
    listed = fewbeats_here("gateway", "keys", "--root", root).stdout
    assert listed.startswith("same") and "without an end" in listed
    made_config(root)
    assert "DEVELOPMENT KEY" in fewbeats_here("gateway", "keys", "--root", root).stdout


def test_calibrating_a_patient(fewbeats_here, root: Path, record: Path, tmp_path: Path) -> None:
    from fewbeats.device.shipped import SHIPPED

    source = ("--source", f"file:{record}", "--speed", 0)
    code, error = verb(fewbeats_here, root, "calibrate", "--patient", "anna", *source)
    assert code == 6 and "No bundle is installed" in error
    verb(fewbeats_here, root, "install", SHIPPED)
    code, error = verb(fewbeats_here, root, "calibrate", "--patient", "../x", *source)
    assert code == 6 and "code" in error
    done = verb(fewbeats_here, root, "calibrate", "--patient", "anna", *source)
    assert done["calibrated"] and done["reason"] is None and done["va_side"] == "prototypes"
    status = verb(fewbeats_here, root, "status")
    assert status["patients"] == [{"patient": "anna", "calibrated": True, "reason": None}]
    said = fewbeats_here("gateway", "calibrate", "--root", root, "--patient", "anna", *source)
    assert "patient anna is calibrated" in said.stdout
    assert open_slots(root).patients.newest("anna") == 2
    code, error = verb(
        fewbeats_here, root, "calibrate", "--patient", "anna", "--shots", 500, *source
    )
    assert code == 7 and open_slots(root).patients.newest("anna") == 2


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A gateway's root that every user can reach."""
    with TemporaryDirectory(prefix="fewbeats-") as name:
        root = Path(name)
        root.chmod(0o755)
        made_config(root)
        yield root


def test_what_root_writes_is_the_services_own(open_root: Path) -> None:
    """Root may run a verb by hand; afterwards the service can still replace every file."""
    if os.geteuid() != 0:
        pytest.skip("only root can act for the service's user")
    home = open_slots(open_root).layout.home
    home.mkdir()
    os.chown(home, 12345, 12345)
    bundle = open_root / "mine.fewbeats"
    bundle.write_bytes(packed(1))
    bundle.chmod(0o600)
    command = [sys.executable, "-m", "fewbeats", "gateway", "install", str(bundle)]
    done = subprocess.run([*command, "--root", str(open_root)], capture_output=True, text=True)
    if "Permission denied" in done.stderr and "error: " not in done.stderr:
        pytest.skip("this Python cannot be read by another user")
    assert done.returncode == 0, done.stderr
    assert {path.lstat().st_uid for path in home.rglob("*")} == {12345}


def test_keys_beside_a_bad_file(fewbeats_here, root: Path, bundle: Path) -> None:
    keys = root / "etc/fewbeats/keys"
    SigningKey.generate("ours").public.save(keys / "ours.pub")
    (keys / "._ours.pub").write_bytes(b"\x00\x05\x16\x07")
    (keys / "ssh.pub").write_text("ssh-ed25519 AAAA me@here")
    verb(fewbeats_here, root, "install", bundle)
    listed = verb(fewbeats_here, root, "keys")
    assert [key["name"] for key in listed["keys"]] == ["ours", "development"]
    assert "ssh.pub" in listed["problems"][0] and len(listed["problems"]) == 1
    assert "problem: " in fewbeats_here("gateway", "keys", "--root", root).stdout
    assert "ssh.pub" in verb(fewbeats_here, root, "status")["problems"][0]
    assert verb(fewbeats_here, root, "revoke", "ours")["revoked"]["name"] == "ours"


def test_a_trusted_key_can_be_read_by_all(fewbeats_here, root: Path, tmp_path: Path) -> None:
    SigningKey.generate("ours").public.save(tmp_path / "ours.pub")
    keys = root / "etc/fewbeats/keys"
    keys.rmdir()
    before = os.umask(0o077)
    try:
        verb(fewbeats_here, root, "trust", tmp_path / "ours.pub")
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert (keys / "ours.pub").stat().st_mode & 0o777 == 0o644
    assert keys.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["install", "trust"])
def test_standard_input_that_is_closed(root: Path, name: str) -> None:
    command = f'exec "$0" -m fewbeats gateway {name} - --root "$1" <&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, str(root)], capture_output=True, text=True
    )
    assert done.returncode == 6 and done.stderr.startswith("error: Standard input is closed")


def test_nothing_to_confirm(fewbeats_here, root: Path) -> None:
    code, error = verb(fewbeats_here, root, "confirm")
    assert code == 6 and "No bundle is installed" in error


def test_the_clock_can_be_forgotten(fewbeats_here, root: Path, bundle: Path) -> None:
    verb(fewbeats_here, root, "install", bundle)
    said = fewbeats_here("gateway", "status", "--root", root).stdout
    assert "running   nothing" in said and "have expired" in said
    status = verb(fewbeats_here, root, "forget-clock")
    assert status["clock_floor"] == EARLIEST and status["running"] is None


@pytest.mark.parametrize("name", ["install", "confirm", "fall-back", "run", "status"])
def test_a_card_that_leads_out_of_itself(fewbeats_here, root: Path, tmp_path: Path, name) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "elsewhere").mkdir()
    (root / "var/lib/fewbeats").symlink_to(tmp_path / "elsewhere")
    path = tmp_path / "made.fewbeats"
    path.write_bytes(packed(1))
    code, error = verb(fewbeats_here, root, name, *([path] if name == "install" else []))
    assert code == 6 and "leads out of" in error
    assert list((tmp_path / "elsewhere").iterdir()) == []

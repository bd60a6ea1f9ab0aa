"""``fewbeats keys``: making and listing keys, and never showing a private half."""

import json
import os
import pty
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from fewbeats.device.keys import DEVELOPMENT_KEY, PublicKey, SigningKey
from fewbeats.device.shipped import SHIPPED

WORDS = "correct horse"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config" / "keys"
    monkeypatch.setenv("FEWBEATS_KEYS", str(folder))
    monkeypatch.delenv("FEWBEATS_KEY_PASSPHRASE", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    return folder


def private_text(path: Path, passphrase: str | None = None) -> list[str]:
    """The private half as it might be printed."""
    loaded = serialization.load_pem_private_key(
        path.read_bytes(), passphrase.encode() if passphrase else None
    )
    raw = loaded.private_bytes_raw()
    pem = path.read_text().splitlines()[1:-1]
    return [raw.hex(), raw.hex().upper(), repr(raw), *pem]


def test_a_new_key_is_for_its_owner_alone(fewbeats_here, folder: Path) -> None:
    done = fewbeats_here("keys", "new", "ward-3", "--no-passphrase")
    assert done.returncode == 0, done.stderr
    path = folder / "ward-3.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    key = SigningKey.load(path)
    assert key.public == PublicKey.load(folder / "ward-3.pub") and key.public.expires is None
    assert key.public.fingerprint in done.stdout and "no passphrase" in done.stdout
    for text in private_text(path):
        assert text not in done.stdout + done.stderr


def test_a_passphrase_from_the_environment(fewbeats_here, folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("FEWBEATS_KEY_PASSPHRASE", WORDS)
    done = fewbeats_here("keys", "new", "ward-3", "--expires", "30d")
    assert done.returncode == 0, done.stderr
    assert WORDS not in done.stdout + done.stderr
    path = folder / "ward-3.key"
    assert b"ENCRYPTED" in path.read_bytes()
    key = SigningKey.load(path, WORDS)
    assert key.public.expires == datetime.now(UTC).date() + timedelta(30)
    for text in private_text(path, WORDS):
        assert text not in done.stdout
    out = folder / "signed.fewbeats"
    signing = ["bundle", "sign", SHIPPED, "--from-development", "--key", path, "--out", out]
    assert fewbeats_here(*signing).returncode == 0
    out.unlink()
    monkeypatch.setenv("FEWBEATS_KEY_PASSPHRASE", "wrong")
    done = fewbeats_here(*signing)
    assert done.returncode == 6 and "passphrase is wrong" in done.stderr and not out.exists()
    monkeypatch.delenv("FEWBEATS_KEY_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115
    done = fewbeats_here(*signing)
    sys.stdin.close()
    assert done.returncode == 6 and "FEWBEATS_KEY_PASSPHRASE" in done.stderr


def test_a_passphrase_is_asked_for_on_a_terminal_and_not_shown(folder: Path) -> None:
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "fewbeats", "keys", "new", "ward-3"]
    with subprocess.Popen(
        command,
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
        env=os.environ | {"TERM": "dumb"},
    ) as process:
        os.close(secondary)
        shown = b""
        for prompts in (1, 2):
            while shown.count(b": ") < prompts:
                shown += os.read(primary, 1000)
            os.write(primary, WORDS.encode() + b"\n")
        while True:
            try:
                more = os.read(primary, 1000)
            except OSError:  # the other end is closed
                break
            shown += more
    os.close(primary)
    assert process.returncode == 0, shown
    assert WORDS.encode() not in shown
    assert SigningKey.load(folder / "ward-3.key", WORDS)


def test_without_a_terminal_nothing_is_guessed(fewbeats, folder: Path) -> None:
    command = [sys.executable, "-m", "fewbeats", "keys", "new", "ward-3"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 6
    assert "--no-passphrase" in done.stderr and not folder.exists()


def test_a_key_is_never_overwritten(fewbeats_here, folder: Path) -> None:
    fewbeats_here("keys", "new", "ward-3", "--no-passphrase")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = fewbeats_here("keys", "new", "ward-3", "--no-passphrase")
    assert done.returncode == 6 and "never overwritten" in done.stderr
    (folder / "ward-3.key").unlink()
    assert fewbeats_here("keys", "new", "ward-3", "--no-passphrase").returncode == 6
    assert (folder / "ward-3.pub").read_bytes() == before["ward-3.pub"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["../evil"],
        [""],
        ["a b"],
        ["good", "--expires", "2001-01-01"],
        ["good", "--expires", "soon"],
        ["good", "--expires", "0d"],
        ["good", "--expires", "99999999d"],
        ["good", "--expires", "-3d"],
        ["good", "--folder", "/proc/none"],
    ],
)
def test_what_cannot_be_a_key_is_refused(fewbeats_here, folder: Path, arguments) -> None:
    done = fewbeats_here("keys", "new", "--no-passphrase", *arguments)
    assert done.returncode == 6
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
    assert not folder.exists()


def test_list_says_who_can_sign(fewbeats_here, folder: Path) -> None:
    fewbeats_here("keys", "new", "mine", "--no-passphrase", "--expires", "2099-12-31")
    foreign = SigningKey.generate("foreign", datetime(2020, 1, 1, tzinfo=UTC).date())
    foreign.public.save(folder / "foreign.pub")
    done = fewbeats_here("keys", "list")
    assert done.returncode == 0, done.stderr
    assert "EXPIRED" in done.stdout and "2099-12-31" in done.stdout
    assert "anybody can sign with it" in done.stdout
    rows = {
        row["name"]: row
        for row in json.loads(fewbeats_here("keys", "list", "--json").stdout)["keys"]
    }
    assert rows["mine"]["signs"] and not rows["mine"]["expired"]
    assert rows["foreign"]["expired"] and not rows["foreign"]["signs"]
    assert rows["development"]["development"]
    assert rows["mine"]["fingerprint"] == PublicKey.load(folder / "mine.pub").fingerprint
    for text in private_text(folder / "mine.key"):
        assert text not in done.stdout


def test_an_empty_folder_has_the_development_key_alone(fewbeats_here) -> None:
    content = json.loads(fewbeats_here("keys", "list", "--json").stdout)
    assert [row["name"] for row in content["keys"]] == ["development"]


def test_show_takes_either_half_and_shows_the_public_one(fewbeats_here, folder: Path) -> None:
    fewbeats_here("keys", "new", "mine", "--no-passphrase")
    public = PublicKey.load(folder / "mine.pub")
    for name in ("mine.pub", "mine.key"):
        done = fewbeats_here("keys", "show", folder / name)
        assert public.fingerprint in done.stdout and public.raw.hex() in done.stdout
        for text in private_text(folder / "mine.key"):
            assert text not in done.stdout
    content = json.loads(fewbeats_here("keys", "show", folder / "mine.pub", "--json").stdout)
    assert content["key"] == public.raw.hex() and not content["development"]
    DEVELOPMENT_KEY.public.save(folder / "dev.pub")
    assert "THIS IS THE DEVELOPMENT KEY" in fewbeats_here("keys", "show", folder / "dev.pub").stdout
    done = fewbeats_here("keys", "show", folder / "none.pub")
    assert done.returncode == 6 and "none.pub" in done.stderr

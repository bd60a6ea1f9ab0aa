"""Keys: kept by their owner, named, ended in time, and never mistaken for one another."""

import json
import stat
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fewbeats.device.keys import DEVELOPMENT_KEY, Keyring, PublicKey, SigningKey, own_keyring
from fewbeats.errors import KeyFileError, SignatureError


def test_the_signature_of_rfc_8032() -> None:
    """Section 7.1, test 2: the message is one byte."""
    seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)), "rfc")
    assert key.public.raw.hex() == (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    )
    signature = key.sign(b"\x72")
    assert signature.hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert key.public.verifies(signature, b"\x72")
    assert not key.public.verifies(signature, b"\x73")
    assert not key.public.verifies(b"short", b"\x72")


@pytest.mark.parametrize("passphrase", [None, "four words of mine"])
def test_a_key_comes_back_from_its_files(tmp_path: Path, passphrase: str | None) -> None:
    key = SigningKey.generate("ward-3", date(2030, 1, 31))
    path = tmp_path / "ward-3.key"
    public_path = key.save(path, passphrase)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"PRIVATE" not in public_path.read_bytes()
    back = SigningKey.load(path, passphrase)
    assert back.public == key.public == PublicKey.load(public_path)
    assert back.sign(b"x") == key.sign(b"x")
    assert len(key.public.fingerprint) == 16 and not key.public.development


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.key"
    SigningKey.generate("mine").save(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        SigningKey.generate("mine").save(path)
    assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(KeyFileError, match="never overwritten"):  # its public half would go
        SigningKey.generate("mine").save(path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.key"
    key = SigningKey.generate("mine")
    key.save(path, "right")
    with pytest.raises(KeyFileError, match="needs its passphrase"):
        SigningKey.load(path)
    with pytest.raises(KeyFileError, match="passphrase is wrong"):
        SigningKey.load(path, "wrong")
    other = tmp_path / "other.key"
    SigningKey.generate("other").save(other)
    with pytest.raises(KeyFileError, match="has no passphrase"):
        SigningKey.load(other, "right")
    (tmp_path / "other.pub").write_bytes((tmp_path / "mine.pub").read_bytes())
    with pytest.raises(KeyFileError, match="not of one key"):
        SigningKey.load(other)
    with pytest.raises(KeyFileError, match="Cannot read"):
        SigningKey.load(tmp_path / "none.key")
    for text in ("", "[]", "{}", "null", '{"fewbeats_key": 1, "name": "a", "key": "zz"}'):
        (tmp_path / "bad.pub").write_text(text)
        with pytest.raises(KeyFileError):
            PublicKey.load(tmp_path / "bad.pub")
        with pytest.raises(KeyFileError):
            Keyring.from_folder(tmp_path)
    newer = key.public.as_dict() | {"fewbeats_key": 9}
    with pytest.raises(KeyFileError, match="format 9"):
        PublicKey.parse(json.dumps(newer).encode(), "it")


@pytest.mark.parametrize("name", ["", "../etc", "a/b", ".hidden", "a b", "x" * 65, "a\n"])
def test_a_name_is_a_files_name(name: str) -> None:
    with pytest.raises(KeyFileError, match="named"):
        SigningKey.generate(name)


def test_a_ring_of_several_keys(tmp_path: Path) -> None:
    old, new = SigningKey.generate("old", date(2026, 1, 1)), SigningKey.generate("new")
    for key in (old, new):
        key.public.save(tmp_path / f"{key.public.name}.pub")
    ring = Keyring.from_folder(tmp_path)
    assert ring.names == ("new", "old")
    assert ring.check(old.public.raw) == old.public, "its time does not matter here"
    assert ring.check(old.public.raw, date(2026, 1, 1)) == old.public
    with pytest.raises(SignatureError, match="expired"):
        ring.check(old.public.raw, date(2026, 1, 2))
    stranger = SigningKey.generate("stranger").public
    with pytest.raises(SignatureError, match=f"{stranger.fingerprint}; trusted: new, old"):
        ring.check(stranger.raw)
    assert Keyring.from_folder(tmp_path / "none") == Keyring()


def test_the_development_key_is_known_and_refused_in_production() -> None:
    public = DEVELOPMENT_KEY.public
    assert public.development and public.fingerprint == "af8df9b7b47f162c"
    assert Keyring().check(public.raw) == public
    with pytest.raises(SignatureError, match="refused in production"):
        Keyring(production=True).check(public.raw)
    # Not even where somebody put it among the trusted ones.
    with pytest.raises(SignatureError, match="refused in production"):
        Keyring((public,), production=True).check(public.raw)


def test_a_users_own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWBEATS_KEYS", str(tmp_path))
    key = SigningKey.generate("mine").public
    key.save(tmp_path / "mine.pub")
    assert own_keyring().keys == (key,)
    monkeypatch.delenv("FEWBEATS_KEYS")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert own_keyring() == Keyring()


def test_a_gateway_skips_what_is_no_key(tmp_path: Path) -> None:
    ours = SigningKey.generate("ours").public
    ours.save(tmp_path / "ours.pub")
    (tmp_path / "._ours.pub").write_bytes(b"\x00\x05\x16\x07")
    assert Keyring.from_folder(tmp_path).keys == (ours,)  # hidden files are nobody's keys
    (tmp_path / "ssh.pub").write_text("ssh-ed25519 AAAA me@here")
    (tmp_path / "folder.pub").mkdir()
    with pytest.raises(KeyFileError):
        Keyring.from_folder(tmp_path)
    ring = Keyring.of_gateway(tmp_path, production=True)
    assert ring.keys == (ours,) and ring.production and len(ring.skipped) == 2
    assert all("does not count" in text and "\n" not in text for text in ring.skipped)
    assert ring.check(ours.raw) == ours


def test_a_folder_of_keys_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Keyring.of_gateway(tmp_path / "none", production=True).keys == ()
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="Cannot read the keys"):
        Keyring.of_gateway(tmp_path / "file", production=True)

    def refuse(_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fewbeats.device.keys.os.listdir", refuse)
    for ring in (Keyring.from_folder, lambda folder: Keyring.of_gateway(folder, True)):
        with pytest.raises(KeyFileError, match="Permission denied"):
            ring(tmp_path)

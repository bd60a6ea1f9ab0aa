"""Who may sign a bundle: Ed25519 keys (RFC 8032), and the ring of those that are trusted.

A private key is a PEM file (PKCS #8), with a passphrase or without. A public key is a small JSON
file ``NAME.pub`` that a gateway keeps in its folder of trusted keys. Several may be trusted at
once, so that a new key can be handed out before the old one goes.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from fewbeats.device.files import read_bounded, write_atomically
from fewbeats.errors import KeyFileError, SignatureError

FORMAT = 1
SIGNATURE_BYTES = 64
PUBLIC_BYTES = 32
MAX_FILE_BYTES = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEVELOPMENT_NAME = "development"
DEVELOPMENT_NOTICE = (
    "DEVELOPMENT KEY: anybody can sign such a bundle. For trials alone; refused in production."
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half of a key that checks signatures.

    Attributes:
        name: for people; letters, digits, dot, dash and underscore.
        raw: its 32 bytes.
        expires: the last day on which a bundle that it signed may be installed; None: never ends.
    """

    name: str
    raw: bytes
    expires: date | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise KeyFileError(
                f"A key is named with up to 64 letters, digits, '.', '-' and '_', not "
                f"{self.name!r}."
            )
        if len(self.raw) != PUBLIC_BYTES:
            raise KeyFileError(f"An Ed25519 key has {PUBLIC_BYTES} bytes, not {len(self.raw)}.")

    @property
    def fingerprint(self) -> str:
        """By which people tell keys apart: 16 hexadecimal digits."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @property
    def development(self) -> bool:
        """Whether anybody can sign with it, because its private half is in this file."""
        return self.raw == DEVELOPMENT_KEY.public.raw

    def verifies(self, signature: bytes, data: bytes | memoryview) -> bool:
        """Whether ``signature`` is this key's over ``data``."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True

    def as_dict(self) -> dict[str, str | int | None]:
        """What a ``.pub`` file holds."""
        return {
            "fewbeats_key": FORMAT,
            "name": self.name,
            "key": self.raw.hex(),
            "expires": self.expires.isoformat() if self.expires else None,
        }

    def save(self, path: Path) -> None:
        """Write a ``.pub`` file.

        Raises:
            KeyFileError: it cannot be written.
        """
        try:
            write_atomically(path, (json.dumps(self.as_dict()) + "\n").encode())
        except OSError as error:
            raise KeyFileError(f"Cannot write the key to {path}: {error.strerror}.") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a ``.pub`` file.

        Raises:
            KeyFileError: it cannot be read, or holds no key.
        """
        return cls.parse(_read(path), str(path))

    @classmethod
    def parse(cls, data: bytes, origin: str) -> Self:
        """A public key from the contents of a ``.pub`` file.

        Raises:
            KeyFileError: it holds no key.
        """
        try:
            content = json.loads(data)
            if content["fewbeats_key"] != FORMAT:
                raise KeyFileError(
                    f"{origin} has key format {content['fewbeats_key']!r}, this fewbeats reads "
                    f"format {FORMAT}: update fewbeats."
                )
            expires = content["expires"]
            return cls(
                str(content["name"]),
                bytes.fromhex(content["key"]),
                None if expires is None else date.fromisoformat(expires),
            )
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise KeyFileError(
                f"{origin} is no public key of fewbeats ({error}); give the .pub file that "
                f"'fewbeats keys new' wrote."
            ) from error


class SigningKey:
    """The half of a key that signs; whoever has it can make bundles that gateways accept."""

    def __init__(self, private: Ed25519PrivateKey, name: str, expires: date | None = None) -> None:
        self._private = private
        self.public = PublicKey(name, private.public_key().public_bytes_raw(), expires)

    @classmethod
    def generate(cls, name: str, expires: date | None = None) -> Self:
        """A new key.

        Raises:
            KeyFileError: the name cannot be a file's.
        """
        return cls(Ed25519PrivateKey.generate(), name, expires)

    def sign(self, data: bytes) -> bytes:
        """The signature of ``data``, 64 bytes; the same for the same data."""
        return self._private.sign(data)

    def save(self, path: Path, passphrase: str | None = None) -> Path:
        """Write the private half, for its owner's eyes only, and the public half beside it.

        Returns:
            The ``.pub`` file.

        Raises:
            KeyFileError: there is such a file already, or it cannot be written.
        """
        public_path = path.with_suffix(".pub")
        if taken := [p for p in (path, public_path) if p.exists()]:
            raise KeyFileError(
                f"{taken[0]} exists; a key is never overwritten. Choose another name."
            )
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase.encode())
        pem = self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        try:
            write_atomically(path, pem, mode=0o600)
        except OSError as error:
            raise KeyFileError(f"Cannot write the key to {path}: {error.strerror}.") from error
        self.public.save(public_path)
        return public_path

    @classmethod
    def load(cls, path: Path, passphrase: str | None = None) -> Self:
        """Read the private half; its name and end come from the ``.pub`` file beside it.

        Raises:
            KeyFileError: one of the files cannot be read, or the passphrase is wrong.
        """
        public = PublicKey.load(path.with_suffix(".pub"))
        data = _read(path)
        try:
            private = serialization.load_pem_private_key(
                data, passphrase.encode() if passphrase else None
            )
        except TypeError as error:
            need = "needs its passphrase" if not passphrase else "has no passphrase"
            raise KeyFileError(f"The key {path} {need}.") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(
                f"{path} is no private key, or the passphrase is wrong ({error})."
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFileError(f"{path} is no Ed25519 key; make one with 'fewbeats keys new'.")
        key = cls(private, public.name, public.expires)
        if key.public.raw != public.raw:
            raise KeyFileError(f"{path} and {path.with_suffix('.pub')} are not of one key.")
        return key


DEVELOPMENT_KEY = SigningKey(
    Ed25519PrivateKey.from_private_bytes(
        hashlib.sha256(b"fewbeats development key: known to everybody, proves nothing").digest()
    ),
    _DEVELOPMENT_NAME,
)
"""For trials on the bench. Gateways in production mode refuse what it signed."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that are trusted here.

    Attributes:
        keys: in the order of their names.
        production: refuse the development key; otherwise it is trusted too.
        skipped: why files of the folder count for nothing, a sentence each.
    """

    keys: tuple[PublicKey, ...] = ()
    production: bool = False
    skipped: tuple[str, ...] = ()

    @classmethod
    def from_folder(cls, folder: Path, production: bool = False) -> Self:
        """All ``.pub`` files of a folder; none where there is no folder.

        Raises:
            KeyFileError: one of them cannot be read: nobody should guess which keys count.
        """
        return cls(tuple(PublicKey.load(path) for path in key_files(folder)), production)

    @classmethod
    def of_gateway(cls, folder: Path, production: bool = False) -> Self:
        """The sound ``.pub`` files of a folder: a bad one beside them does not end a watch.

        Raises:
            KeyFileError: the folder itself cannot be read.
        """
        keys, skipped = [], []
        for path in key_files(folder):
            try:
                keys.append(PublicKey.load(path))
            except KeyFileError as error:
                skipped.append(f"{error} It does not count: put it right, or remove it.")
        return cls(tuple(keys), production, tuple(skipped))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the keys that are trusted."""
        return tuple(key.name for key in self.keys)

    def check(self, raw: bytes, today: date | None = None) -> PublicKey:
        """The trusted key with these bytes.

        Args:
            raw: the signer's public key.
            today: to refuse keys whose time is over; None where that does not matter, as for a
                bundle that was installed in time.

        Raises:
            SignatureError: it is not trusted here, or no longer.
        """
        if raw == DEVELOPMENT_KEY.public.raw:
            if self.production:
                raise SignatureError(
                    "it is signed with the development key, which anybody can sign with and "
                    "which is refused in production. Sign it with a key of yours: "
                    "fewbeats bundle sign --from-development"
                )
            return DEVELOPMENT_KEY.public
        for key in self.keys:
            if key.raw != raw:
                continue
            if today is not None and key.expires is not None and today > key.expires:
                raise SignatureError(
                    f"it is signed with the key {key.name!r}, which expired on {key.expires}. "
                    f"Sign it with a key that is valid today, {today}"
                )
            return key
        known = ", ".join(self.names) or "none"
        raise SignatureError(
            f"it is signed with a key that is not trusted here "
            f"({PublicKey('unknown', raw).fingerprint}; trusted: {known}). If you know whose it "
            f"is, get its .pub file from there and trust it first"
        )


def key_files(folder: Path) -> list[Path]:
    """The ``.pub`` files of a folder, without hidden ones; none where there is no folder.

    Raises:
        KeyFileError: the folder cannot be read.
    """
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208  glob() hides why it cannot read
    except FileNotFoundError:
        return []
    except OSError as error:
        raise KeyFileError(f"Cannot read the keys in {folder}: {error.strerror}.") from error
    return [folder / name for name in names if name.endswith(".pub") and name[0] != "."]


def own_folder() -> Path:
    """Where this user's keys are: ``$FEWBEATS_KEYS``, else ``~/.config/fewbeats/keys``."""
    named = os.environ.get("FEWBEATS_KEYS")
    return Path(named) if named else Path.home() / ".config" / "fewbeats" / "keys"


def own_keyring() -> Keyring:
    """The keys that this user trusts, and the development key.

    Raises:
        KeyFileError: one of them cannot be read.
    """
    return Keyring.from_folder(own_folder())


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_FILE_BYTES)
    except OSError as error:
        raise KeyFileError(f"Cannot read the key {path}: {error.strerror}.") from error

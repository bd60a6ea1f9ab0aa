"""What is brought to a gateway that is to be provisioned: one folder of files, whole or refused."""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from fewbeats.deploy.step import template
from fewbeats.device.bundle import Bundle
from fewbeats.device.keys import PublicKey
from fewbeats.errors import TargetError

BUNDLE = "bundle.fewbeats"
CONFIG = "gateway.toml"
RULES = "70-fewbeats-sensor.rules"
UNIT = "fewbeats.service"
SCRIPT = "steps.sh"
WHEELS = "wheels"
KEYS = "keys"
SUMS = "SHA256SUMS"
_PRIVATE_MODE, _MODE = 0o600, 0o644
_NUMBER = re.compile(r"[0-9a-fA-F]{4}")
_SERIAL = re.compile(r"[A-Za-z0-9._:+-]{1,64}")


@dataclass(frozen=True, slots=True)
class SensorUsb:
    """Which USB device the sensor is.

    Attributes:
        vendor: four hexadecimal digits; empty, as the product: any serial port.
        product: four hexadecimal digits.
        serial: of the one sensor; empty: any of that product.
    """

    vendor: str
    product: str
    serial: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``VID:PID`` or ``VID:PID:SERIAL``, as lsusb shows them, or ``any``.

        Raises:
            TargetError: it is none.
        """
        if text == "any":
            return cls("", "")
        vendor, _, rest = text.partition(":")
        product, _, serial = rest.partition(":")
        if not (
            _NUMBER.fullmatch(vendor)
            and _NUMBER.fullmatch(product)
            and (_SERIAL.fullmatch(serial) or rest == product)
        ):
            raise TargetError(
                f"{text!r} names no USB device; give VID:PID or VID:PID:SERIAL as lsusb shows "
                f"them, such as 2e8a:000a:E6614103E7, or 'any' for every serial port."
            )
        return cls(vendor.lower(), product.lower(), serial)

    @property
    def rule(self) -> str:
        """What udev must find on the port's device."""
        parts = {"idVendor": self.vendor, "idProduct": self.product, "serial": self.serial}
        return "".join(f', ATTRS{{{key}}}=="{value}"' for key, value in parts.items() if value)


@dataclass(frozen=True, slots=True, eq=False)
class Payload:
    """Files for a gateway.

    Attributes:
        files: path below the payload's folder -> bytes.
        bundle_title: name and version of the first bundle, for people; empty: none is brought.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    bundle_title: str = ""

    @classmethod
    def of(
        cls,
        config: bytes,
        keys: Sequence[PublicKey] = (),
        bundle: tuple[Bundle, bytes] | None = None,
        sensor: SensorUsb | None = None,
    ) -> Self:
        """All but the wheels and the script.

        Args:
            config: the gateway's settings.
            keys: to be trusted.
            bundle: the first one, with its file's bytes.
            sensor: None for whichever serial port there is.
        """
        contents = {
            CONFIG: config,
            RULES: template(RULES).replace("@MATCH@", sensor.rule if sensor else "").encode(),
            UNIT: template(UNIT).encode(),
        }
        contents |= {f"{KEYS}/{key.name}.pub": _key_file(key) for key in keys}
        title = ""
        if bundle:
            contents[BUNDLE] = bundle[1]
            title = f"{bundle[0].name} {bundle[0].version}"
        return cls(contents, title)

    @property
    def keys(self) -> dict[str, str]:
        """File name -> SHA-256 of the keys that are brought."""
        return {
            path.removeprefix(f"{KEYS}/"): self.digest(path)
            for path in self.files
            if path.startswith(f"{KEYS}/")
        }

    def digest(self, path: str) -> str:
        """SHA-256 of a file."""
        return hashlib.sha256(self.files[path]).hexdigest()

    def with_script(self, script: str, wheels: Mapping[str, bytes]) -> "Payload":
        """The same with what installs it, and with the sums by which the gateway checks it."""
        contents = {**self.files, SCRIPT: script.encode()}
        contents |= {f"{WHEELS}/{name}": data for name, data in wheels.items()}
        sums = "".join(
            f"{hashlib.sha256(data).hexdigest()}  {path}\n"
            for path, data in sorted(contents.items())
        )
        return Payload({**contents, SUMS: sums.encode()}, self.bundle_title)

    def mode(self, path: str) -> int:
        """Permissions of a file: settings may name a patient's code."""
        return _PRIVATE_MODE if path == CONFIG else _MODE

    def as_tar(self) -> bytes:
        """All files as a tar archive, the same bytes for the same files."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path, data in sorted(self.files.items()):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(data), self.mode(path)
                archive.addfile(entry, io.BytesIO(data))
        return content.getvalue()


def _key_file(key: PublicKey) -> bytes:
    return (json.dumps(key.as_dict()) + "\n").encode()

"""A sensor with MCUboot and an SMP server: messages in, messages out, over whatever carries them.

Headers and CBOR are those of the packages ``smp`` and ``cbor2``. Its two slots behave as
MCUboot's in swap mode: what is marked runs once after a reset, and is swapped back by the next
one unless it was confirmed. Faults make it do what a sound sensor cannot be made to do.
"""

import hashlib
import struct
from enum import Enum, auto
from typing import Any

import cbor2
from smp.header import OP, Header

OS, IMAGE = 0, 1
RESET, PARAMETERS = 5, 6
STATE, UPLOAD = 0, 1
NOT_SUPPORTED, NO_FREE_SLOT, HASH_NOT_FOUND, DENIED = 8, 9, 8, 33
BOOT_S = 0.15


class RefusedError(Exception):
    """By a group of commands; by none of them where there is no such command."""

    def __init__(self, group: int | None, code: int) -> None:
        super().__init__(group, code)
        self.group, self.code = group, code


class Then(Enum):
    """What comes after a message."""

    STAYS = auto()
    LOST = auto()
    """The connection goes, the sensor runs on."""
    RESETS = auto()


class Sensor:
    def __init__(self, running: bytes, faults: dict[str, Any]) -> None:
        self.slots: list[bytes] = [running, b""]
        self.faults = faults
        self.confirmed, self.pending = True, False
        self.part, self.sha = b"", b""
        self.length = 0
        self.trial_reads = self.requests = 0

    def serve(self, message: bytes) -> tuple[bytes | None, Then]:
        """The answer to a message, if there is one, and what follows it."""
        header = Header.loads(message[: Header.SIZE])
        self.requests += 1
        if self.requests % self.faults.get("loses_every", self.requests + 1) == 0:
            return None, Then.STAYS
        asked = cbor2.loads(message[Header.SIZE :])
        try:
            said = self.answer(int(header.group_id), int(header.command_id), asked)
        except RefusedError as refusal:
            old = "old_refusals" in self.faults or refusal.group is None
            said = {"err": {"group": refusal.group, "rc": refusal.code}}
            said = {"rc": refusal.code, "rsn": "no"} if old else said
        cut = self.faults.get("cut_at")
        if cut is not None and len(self.part) >= cut:
            del self.faults["cut_at"]
            return None, Then.LOST
        resets = (header.group_id, header.command_id) == (OS, RESET)
        silent = resets and "resets_without_answer" in self.faults
        if header.group_id == IMAGE and header.command_id == STATE and not self.confirmed:
            self.trial_reads += 1
            resets = self.trial_reads == self.faults.get("crashes_after_reads")
        answer = None if silent else framed(header, said)
        return answer, Then.RESETS if resets else Then.STAYS

    def boot(self) -> None:
        """What the bootloader does at each start."""
        self.part = self.sha = b""
        if self.pending and "bad_signature" in self.faults:
            self.slots[1], self.pending = b"", False
        elif self.pending:
            self.slots.reverse()
            self.pending, self.confirmed, self.trial_reads = False, False, 0
            if "crashes_at_start" in self.faults:
                self.boot()
        elif not self.confirmed:
            self.slots.reverse()
            self.confirmed = True

    def answer(self, group: int, command: int, asked: dict[str, Any]) -> dict[str, Any]:
        if (group, command) == (OS, PARAMETERS):
            if "tells_no_buffer" in self.faults:
                raise RefusedError(None, NOT_SUPPORTED)
            return {"buf_size": self.faults.get("buffer", 512), "buf_count": 4}
        if (group, command) == (OS, RESET):
            return {}
        if (group, command) == (IMAGE, STATE):
            return self.set_state(asked) if asked else self.state()
        if (group, command) == (IMAGE, UPLOAD):
            return self.upload(asked)
        raise RefusedError(None, NOT_SUPPORTED)

    def state(self) -> dict[str, Any]:
        images = []
        for slot, data in enumerate(self.slots):
            if not data:
                continue
            digest, version = described(data)
            if slot and "wrong_hash" in self.faults:
                digest = bytes(32)
            images.append(
                {
                    "slot": slot,
                    "version": version,
                    "hash": digest,
                    "bootable": True,
                    "pending": bool(slot and self.pending),
                    "confirmed": self.confirmed if not slot else not self.confirmed,
                    "active": not slot,
                    "permanent": False,
                }
            )
        return {"images": images, "splitStatus": 0}

    def set_state(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = asked.get("hash")
        slots = [described(data)[0] if data else None for data in self.slots]
        if wanted is not None and wanted not in slots:
            raise RefusedError(IMAGE, HASH_NOT_FOUND)
        slot = slots.index(wanted) if wanted is not None else 0
        if asked.get("confirm") and slot == 0:
            self.confirmed = "never_keeps" not in self.faults
        elif slot == 0:
            raise RefusedError(IMAGE, DENIED)
        else:
            self.pending = True
        return self.state()

    def upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "refuse_upload" in self.faults:
            raise RefusedError(*self.faults["refuse_upload"])
        if self.pending or not self.confirmed:
            raise RefusedError(IMAGE, NO_FREE_SLOT)
        if asked["off"] == 0 and (not self.sha or asked.get("sha") != self.sha):
            self.part, self.sha, self.length = b"", asked.get("sha") or b"", asked["len"]
            self.slots[1] = b""
        if asked["off"] != len(self.part):
            return {"off": len(self.part)}
        if len(self.part) < self.faults.get("stuck_at", self.length):
            self.part += asked["data"]
        if len(self.part) < self.length:
            return {"off": len(self.part)}
        whole, sha, self.sha = self.part, self.sha, b""
        self.slots[1] = whole
        matches = hashlib.sha256(whole).digest() == sha and "mismatch" not in self.faults
        return {"off": len(whole), "match": matches}


def framed(asked: Header, said: dict[str, Any]) -> bytes:
    """An answer under the header that belongs to what was asked."""
    body = cbor2.dumps(said)
    header = Header(
        op=OP.READ_RSP if asked.op == OP.READ else OP.WRITE_RSP,
        version=asked.version,
        flags=asked.flags,
        length=len(body),
        group_id=asked.group_id,
        sequence=asked.sequence,
        command_id=asked.command_id,
    )
    return header.BYTES + body


def make_image(version: tuple[int, int, int], size: int = 6000) -> bytes:
    """By the layout at https://docs.mcuboot.com/design.html#image-format, without imgtool."""
    body = bytes(range(256)) * (size // 256) + bytes([version[2]]) * (size % 256)
    header = struct.pack("<LLHHLLBBHL4x", 0x96F3B83D, 0, 512, 0, size, 0, *version, 0)
    hashed = header.ljust(512, b"\0") + body
    entry = struct.pack("<BxH", 0x10, 32) + hashlib.sha256(hashed).digest()
    return hashed + struct.pack("<HH", 0x6907, 4 + len(entry)) + entry


def described(image: bytes) -> tuple[bytes, str]:
    """(hash, version) of an image with one SHA-256 entry first."""
    header_size, size = struct.unpack_from("<8xH2xL", image)
    major, minor, revision = struct.unpack_from("<BBH", image, 20)
    start = header_size + size + 8
    return image[start : start + 32], f"{major}.{minor}.{revision}"

"""A sensor that is not ours: Zephyr's own SMP server under MCUboot, on an emulated nRF51 board.

The firmware comes with the source of smpclient, whose integration tests run on it
(``tests/fixtures/smp-server``; built from Zephyr 4.4.0 with MCUboot in swap mode). qemu emulates
the microcontroller, its flash and its serial port; the port is offered as a pseudo-terminal that
goes away with each reset and comes back, as a USB port does.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import tty
from pathlib import Path
from typing import Any

SOURCE = "smpclient-7.3.0.tar.gz"
SERVERS = "smpclient-7.3.0/tests/fixtures/smp-server/"
NAME = "zephyr_4.4.0_smp_server_0eae053d_qemu_cortex_m0_serial"
SHA256 = {
    "merged.hex": "2e0cda996515b444f324f26d794e55e5f08b3ddff210d6fcec6f994647eb289e",
    "signed.bin": "e96f3b40d10418018caa1c3f9776d3bbdd542f5612e3caad3a223bb0b2a24c54",
}
QEMU = ("qemu-system-arm", "-cpu", "cortex-m0", "-machine", "microbit", "-display", "none")
APPLICATION = 0x8000
"""Where the slot that runs begins; MCUboot lies below."""
RUNS_S = 1.0
"""The port comes back when the firmware has run for so long. MCUboot swaps for seconds, and the
emulated UART stops for good if it is sent bytes meanwhile."""


class UnavailableError(Exception):
    """The board cannot be had here, and why."""


def fetch(cache: Path) -> dict[str, Path]:
    """The board's firmware, from smpclient's source on PyPI; kept in a folder for the next time."""
    if shutil.which(QEMU[0]) is None:
        raise UnavailableError("no qemu-system-arm: apt-get install qemu-system-arm")
    cache.mkdir(parents=True, exist_ok=True)
    found = {kind: cache / f"{NAME}.{kind}" for kind in SHA256}
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(map(_whole, found.values())):
            with tempfile.TemporaryDirectory() as folder:
                for path in found.values():
                    path.write_bytes(_from_source(Path(folder), SERVERS + path.name))
    if not all(map(_whole, found.values())):
        raise UnavailableError(f"{SOURCE} holds other firmware than it did")
    return found


def _whole(path: Path) -> bool:
    if not path.is_file():
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[path.name[len(NAME) + 1 :]]


def _from_source(folder: Path, member: str) -> bytes:
    if not (folder / SOURCE).exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--disable-pip-version-check", "--no-binary", "smpclient", "smpclient==7.3.0"]
        done = subprocess.run([*pip, "--dest", folder], capture_output=True, timeout=90)
        if done.returncode:
            raise UnavailableError(f"no network to fetch {SOURCE} from PyPI")
    with tarfile.open(folder / SOURCE) as archive:
        file = archive.extractfile(member)
        assert file is not None
        return file.read()


def other_version(image: bytes, code: bytes | None = None) -> bytes:
    """The same firmware as version 0.0.1, or other code in its place, with its hash made anew."""
    header_size, size = struct.unpack_from("<8xH2xL", image)
    body = image[header_size : header_size + size] if code is None else code
    header = bytearray(image[:header_size])
    struct.pack_into("<L", header, 12, len(body))
    struct.pack_into("<BBHL", header, 20, 0, 0, 1, 0)
    hashed = bytes(header) + body
    entry = struct.pack("<HH", 0x10, 32) + hashlib.sha256(hashed).digest()
    return hashed + struct.pack("<HH", 0x6907, 4 + len(entry)) + entry


RESETS_AT_ONCE = struct.pack("<LL", 0x20001000, 0x8200 + 0xC1).ljust(0xC0, b"\0") + bytes.fromhex(
    "0148"
    "0249"
    "0860"
    "fee7"  # ldr r0, =0x05fa0004; ldr r1, =0xe000ed0c; str r0, [r1]; b .
    "0400fa05"
    "0ced00e0"  # AIRCR: SYSRESETREQ with its key
)
"""Firmware that does nothing but reset its microcontroller: a vector table and instructions.

Arm v6-M Architecture Reference Manual, B3.2.6.
"""


class Board:
    """The board in a folder; ``port`` is where its serial port appears."""

    def __init__(self, folder: Path, flash: Path) -> None:
        self.port = folder / "ttyBoard"
        self.resets = 0
        self._cut_after_bytes: int | None = None
        self._ended = threading.Event()
        console, control = folder / "console", folder / "control"
        self._qemu = _qemu(console, control, "-incoming", f"exec:cat {flash}")
        self._console = _connected(console)
        self._control = Control(control)
        self._relay = threading.Thread(target=self._carry)
        self._relay.start()
        while not self.port.exists():
            time.sleep(0.05)

    def cut_after(self, sent_bytes: int) -> None:
        """Pull the plug once, after so many bytes to the board; it is back a second later."""
        self._cut_after_bytes = sent_bytes

    def end(self) -> None:
        self._ended.set()
        self._relay.join()
        self._console.close()
        self._control.close()
        self._qemu.kill()
        self._qemu.wait()

    def _carry(self) -> None:
        """Carry bytes both ways; a reset of the board takes the port away for a while."""
        while not self._ended.is_set():
            host, device = os.openpty()
            tty.setraw(device)
            self.port.symlink_to(os.ttyname(device))
            away_s = self._carry_until_gone(host)
            self.port.unlink()
            os.close(device)
            os.close(host)
            back_at_s = time.monotonic() + away_s
            while time.monotonic() < back_at_s and not self._ended.wait(0.1):
                if self._saw_reset() or self._control.program_counter() < APPLICATION:
                    back_at_s = time.monotonic() + RUNS_S
            with contextlib.suppress(BlockingIOError):
                self._console.recv(1 << 20, socket.MSG_DONTWAIT)

    def _carry_until_gone(self, host: int) -> float:
        """For how long the port is to stay away."""
        while not self._ended.is_set():
            ready, _, _ = select.select([host, self._console], [], [], 0.05)
            if self._saw_reset():
                return RUNS_S
            if self._console in ready:
                os.write(host, self._console.recv(65536))
            if host in ready:
                data = os.read(host, 4096)
                for line in data.splitlines(keepends=True):
                    self._console.sendall(line)
                    time.sleep(0.004)  # a UART takes 11 ms for a line of 128 bytes
                if self._cut_after_bytes is not None:
                    self._cut_after_bytes -= len(data)
                    if self._cut_after_bytes <= 0:
                        self._cut_after_bytes = None
                        return 1.0
        return 0.0

    def _saw_reset(self) -> bool:
        before, self.resets = self.resets, self._control.count_resets()
        return self.resets > before


def started(folder: Path, firmware: Path) -> Path:
    """The state of a board that has booted, to start others from.

    qemu would write a loaded file into the flash again with each reset, and undo the swap.
    """
    console, control, state = folder / "console", folder / "control", folder / "state"
    qemu = _qemu(console, control, "-device", f"loader,file={firmware}")
    try:
        time.sleep(1.5)
        monitor = Control(control)
        monitor.ask("migrate", uri=f"exec:cat > {state}")
        while monitor.ask("query-migrate").get("status") != "completed":
            time.sleep(0.05)
        monitor.close()
    finally:
        qemu.kill()
        qemu.wait()
    return state


class Control:
    """qemu's control socket (QMP): commands, and word of each reset."""

    def __init__(self, path: Path) -> None:
        self._socket = _connected(path)
        self._lines = b""
        self._resets = 0
        self._next_line()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: str) -> Any:
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while "return" not in (said := self._next_line()):
            assert "error" not in said, said
        return said["return"]

    def program_counter(self) -> int:
        registers = self.ask("human-monitor-command", **{"command-line": "info registers"})
        return int(registers.split("R15=")[1].split()[0], 16)

    def count_resets(self) -> int:
        """How often the microcontroller has reset itself."""
        while select.select([self._socket], [], [], 0)[0] or b"\n" in self._lines:
            self._next_line()
        return self._resets

    def close(self) -> None:
        self._socket.close()

    def _next_line(self) -> dict[str, Any]:
        while b"\n" not in self._lines:
            self._lines += self._socket.recv(65536)
        line, _, self._lines = self._lines.partition(b"\n")
        said = json.loads(line)
        # qemu tells of a reset that the microcontroller asked for, and of carrying it out.
        self._resets += said.get("event") == "RESET" and said["data"]["guest"]
        return said


def _qemu(console: Path, control: Path, *options: str) -> subprocess.Popen[bytes]:
    for path in (console, control):
        path.unlink(missing_ok=True)
    sockets = ("-chardev", f"socket,id=console,path={console},server=on,wait=off")
    sockets += ("-serial", "chardev:console", "-monitor", "none")
    sockets += ("-qmp", f"unix:{control},server=on,wait=off")
    return subprocess.Popen([*QEMU, *sockets, *options], stdin=subprocess.DEVNULL)


def _connected(path: Path) -> socket.socket:
    for _ in range(200):
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
            return client
        except OSError:
            client.close()
            time.sleep(0.05)
    raise UnavailableError(f"qemu offers no {path.name}")

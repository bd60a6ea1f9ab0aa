"""The sensor of ``smp_sensor.py`` on a pseudo-terminal: a process of its own.

    python smp_peer.py LINK RUNNING.bin [FAULTS.json]

Frames are those of the package ``smp``. It ends when its standard input closes.
"""

import json
import os
import select
import sys
import time
import tty
from pathlib import Path

from smp import packet
from smp_sensor import BOOT_S, Sensor, Then


class Port:
    """A pseudo-terminal under a name of its own; it vanishes and comes back as USB ports do."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.host = -1
        self.plug()

    def plug(self) -> None:
        self.host, device = os.openpty()
        tty.setraw(device)
        self.device = device  # held open: a port without a reader is no broken port
        partial = self.link.with_suffix(".new")
        partial.symlink_to(os.ttyname(device))
        partial.rename(self.link)

    def unplug(self) -> None:
        self.link.unlink()
        os.close(self.device)
        os.close(self.host)
        self.host = -1


def serve(port: Port, sensor: Sensor) -> None:
    buffer, decoder = b"", None
    while True:
        ready, _, _ = select.select([port.host, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        buffer += os.read(port.host, 65536)
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            line += b"\n"
            if line.startswith(packet.START_DELIMITER):
                decoder = packet.decode()
                next(decoder)
            if decoder is None:
                continue
            try:
                decoder.send(line)
                continue
            except StopIteration as whole:
                decoder, message = None, whole.value
            answer, then = sensor.serve(message)
            if answer is not None:
                reply(port, answer, log_lines="log_lines" in sensor.faults)
            if then is Then.STAYS:
                continue
            if then is Then.RESETS:
                time.sleep(0.05)  # the answer is on the line before the port is gone
            port.unplug()
            if then is Then.RESETS:
                if "stays_away" in sensor.faults:
                    sys.stdin.read()
                    return
                sensor.boot()
            time.sleep(BOOT_S)
            port.plug()
            buffer, decoder = b"", None


def reply(port: Port, answer: bytes, log_lines: bool) -> None:
    if log_lines:
        os.write(port.host, b"*** Booting Zephyr OS ***\r\n[00:00:01] <inf> ecg: 250 Hz\r\n")
    for line in packet.encode(answer):
        os.write(port.host, line)


def main(link: str, running: str, faults: str = "{}") -> None:
    port = Port(Path(link))
    sensor = Sensor(Path(running).read_bytes(), json.loads(faults))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serve(port, sensor)
    Path(link).unlink(missing_ok=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

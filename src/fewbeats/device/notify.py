"""Word to systemd: that the service is ready, what it does, that it is alive.

The protocol of sd_notify(3): datagrams of ``NAME=value`` lines to the socket that the environment
names. Without systemd nothing is sent.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

MOST_STATUS = 200


class Notifier:
    """Sends notifications; never waits and never fails, for the watch matters more."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        """Name the socket.

        Args:
            address: path of a Unix socket, or "@" and the name of an abstract one; None: send
                nothing.
            watchdog_s: after how long without a sign of life the service is ended; None: never.
        """
        self._socket = None
        self._every_s = watchdog_s / 4 if watchdog_s else None
        self._alive_s = float("-inf")
        if address is not None and address[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            self._address = "\0" + address[1:] if address[0] == "@" else address

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The socket and the watchdog that systemd has set up for this process."""
        usec = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
        watchdog_s = int(usec) / 1e6 if meant and usec.isascii() and usec.isdigit() else None
        return cls(environment.get("NOTIFY_SOCKET"), watchdog_s or None)

    def ready(self) -> None:
        """The service watches, or says why not."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={' '.join(text.split())[:MOST_STATUS]}")

    def alive(self) -> None:
        """The loop has turned; call it often, it is sent as often as the watchdog needs."""
        if self._every_s is not None and time.monotonic() - self._alive_s >= self._every_s:
            self._alive_s = time.monotonic()
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service ends in order."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, text: str) -> None:
        # If nobody listens, systemd notices by itself: it ends a service that is not heard.
        with suppress(OSError):
            if self._socket is not None:
                self._socket.sendto(text.encode(errors="replace"), self._address)

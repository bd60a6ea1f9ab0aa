"""A sensor that is not there: it speaks the fewbeats wire format on a pseudo-terminal.

Whatever opens a serial port can read it. It keeps a sensor's manners: it waits for START, answers
GET_INFO, stops at STOP, says why it ends, and drops whole packets when the line is full.
"""

import contextlib
import fcntl
import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from fewbeats.errors import PortBusyError, PortNotFoundError
from fewbeats.firmware_bridge.codecs.fewbeats import CommandDecoder
from fewbeats.firmware_bridge.codecs.fewbeats_packets import (
    MAX_SAMPLES,
    Command,
    Info,
    Resolution,
    StopReason,
    encode_ecg,
    encode_info,
    encode_stopped,
)
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.firmware_bridge.simulate.line_faults import LineFaults

STOP_POLL_S: Final = 0.1
"""How late the sensor may notice that it has been asked to end."""
END_PATIENCE_S: Final = 10.0
"""How long a sensor at the end of its recording waits for a reader that takes nothing more."""
OFF_PATIENCE_S: Final = 1.0
"""The same for a sensor that is being switched off."""
MAX_OUTBOX_BYTES: Final = 4096
"""Answers to commands beyond this are left out: the host does not read."""
FIRMWARE: Final = "virtual 1"


class VirtualSerialSensor:
    """A sensor on a pseudo-terminal, fed with chunks of ECG (POSIX systems)."""

    def __init__(
        self,
        feeder: Iterable[EcgChunk],
        *,
        name: str = "fewbeats virtual sensor",
        lead: str = "I",
        resolution: Resolution | None = None,
        packet_samples: int = 25,
        speed: float = 1.0,
        autostart: bool = False,
        link: Path | None = None,
        faults: LineFaults | None = None,
        boot: int | None = None,
    ) -> None:
        """Describe the sensor; ``with`` opens its port, ``run`` lets it send.

        Args:
            feeder: the ECG, in microvolts. Its gaps are sent as gaps.
            name: what it says of itself.
            lead: the lead it says it measures.
            resolution: how it writes voltages; 16 bits of 1 uV unless told.
            packet_samples: samples a packet; longer chunks are cut, shorter ones sent as they are.
            speed: times faster than real time, 0 for as fast as the reader takes it.
            autostart: send at once, without waiting for START.
            link: a stable path to the port, made as a symbolic link.
            faults: what the line does to packets.
            boot: which start of the sensor this is; drawn at random unless told.
        """
        if not 0 < packet_samples <= MAX_SAMPLES:
            raise ValueError(f"A packet carries 1 to {MAX_SAMPLES} samples, got {packet_samples}.")
        if not speed >= 0:
            raise ValueError(f"A speed is 0 or more, got {speed}.")
        self._packets = _packets_of(feeder, packet_samples)
        self._name = name
        self._lead = lead
        self._rate_hz = 0.0
        self._resolution = resolution or Resolution()
        self._speed = speed
        self._streaming = autostart
        self._link = link
        self._line = (faults or LineFaults()).line()
        self._boot = int.from_bytes(os.urandom(1)) or 1 if boot is None else boot
        self._commands = CommandDecoder()
        self._outbox = b""
        """Bytes that the line has not taken yet: at most one packet and some answers."""
        self._next_sequence = 0
        self._sent_until_s = 0.0
        self._stopped_s: float | None = None
        self._paused_s = 0.0
        """Where the stream stands, in seconds of its own time line."""
        self._origin_s: float | None = None
        """Moment of the monotonic clock at which the stream was at zero; None while paused."""
        self._master = self._slave = -1
        self._terminal = Path()
        self.port = Path()
        """The port to open: the link if there is one, else the pseudo-terminal itself."""
        self.dropped_packets = 0
        """Packets that did not fit on a full line."""

    def __enter__(self) -> Self:
        """Open the pseudo-terminal.

        Raises:
            PortBusyError: the link's path is taken by something that is no link.
            PortNotFoundError: no link can be made there.
        """
        # The far end stays open here as well: readers may come and go, as on a real port.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = self._terminal = Path(os.ttyname(self._slave))
        if self._link is not None:
            try:
                self._make_link(self._link)
            except BaseException:
                self._close()
                raise
            self.port = self._link
        return self

    def _make_link(self, link: Path) -> None:
        try:
            # A link to a terminal is one that a sensor like this left behind.
            ours = link.is_symlink() and (
                not link.exists() or link.readlink().is_relative_to(self._terminal.parent)
            )
            if (link.exists() or link.is_symlink()) and not ours:
                raise PortBusyError(f"{link} exists and is no link to a port; choose another path.")
            link.unlink(missing_ok=True)
            link.symlink_to(self._terminal)
        except OSError as error:
            raise PortNotFoundError(
                f"No link can be made at {link}: {error.strerror}. Choose a path in a folder that "
                f"exists and that you may write to."
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def run(self, stop: threading.Event) -> StopReason:
        """Send until the feeder ends or ``stop`` is set, and say which in a last packet.

        Returns:
            What the sensor told its reader.
        """
        for packet in self._packets:
            self._rate_hz = packet.rate_hz
            if not self._await_turn(packet.end_ns / 1e9, stop):
                self._say_goodbye(StopReason.SWITCHED_OFF, OFF_PATIENCE_S, stop=None)
                return StopReason.SWITCHED_OFF
            self._emit(packet)
        self._say_goodbye(StopReason.END_OF_RECORDING, END_PATIENCE_S, stop)
        return StopReason.END_OF_RECORDING

    def _await_turn(self, due_s: float, stop: threading.Event) -> bool:
        """Serve the host until a packet that ends at ``due_s`` may go; False if asked to end."""
        while not stop.is_set():
            wait_s = self._wait_s(due_s)
            # In real time a full line costs the packet, as on a real sensor; else it costs time.
            if wait_s <= 0 and self._outbox and self._speed != 1:
                wait_s = STOP_POLL_S
            self._serve(max(0.0, min(wait_s, STOP_POLL_S)))
            if wait_s <= 0 and self._streaming:
                return True
        return False

    def _wait_s(self, due_s: float) -> float:
        if not self._streaming:
            self._origin_s = None
            return STOP_POLL_S
        if self._speed == 0:
            return 0.0
        now_s = time.monotonic()
        if self._origin_s is None:
            self._origin_s = now_s - self._sent_until_s / self._speed
        # Deadlines hang on the origin, not on the packet before: delays do not add up.
        return self._origin_s + due_s / self._speed - now_s

    def _emit(self, packet: EcgChunk) -> None:
        paused = replace(packet, start_ns=packet.start_ns + round(self._paused_s * 1e9))
        frame = encode_ecg(paused, self._resolution, boot=self._boot)
        self._next_sequence = packet.sequence + 1
        self._sent_until_s = packet.end_ns / 1e9
        if self._outbox:
            self.dropped_packets += 1
        else:
            self._outbox = self._line.carry(frame)
            self._flush()

    def _serve(self, wait_s: float) -> None:
        """Wait for commands, or for room on the line; obey and send."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN | (select.POLLOUT if self._outbox else 0))
        for _, events in poll.poll(wait_s * 1000):
            if events & select.POLLOUT:
                self._flush()
            if events & select.POLLIN:
                for command in self._commands.feed(os.read(self._master, 4096)):
                    self._obey(command)

    def _obey(self, command: Command) -> None:
        if command == Command.START:
            if self._stopped_s is not None and not self._streaming:
                # The ECG waits, the sensor's clock does not: the pause shows.
                self._paused_s += (time.monotonic() - self._stopped_s) * self._speed
            self._streaming = True
        elif command == Command.STOP:
            if self._streaming:
                self._stopped_s = time.monotonic()
            self._streaming = False
            self._answer(self._stopped(StopReason.HOST_ASKED))
        elif command == Command.GET_INFO:
            info = Info(self._name, FIRMWARE, self._lead, self._rate_hz, self._resolution.bits)
            self._answer(encode_info(info))

    def _answer(self, frame: bytes) -> None:
        if len(self._outbox) < MAX_OUTBOX_BYTES:
            self._outbox += frame
            self._flush()

    def _stopped(self, reason: StopReason) -> bytes:
        return encode_stopped(reason, next_sequence=self._next_sequence, boot=self._boot)

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._outbox = self._outbox[os.write(self._master, self._outbox) :]

    def _say_goodbye(
        self, reason: StopReason, patience_s: float, stop: threading.Event | None
    ) -> None:
        """Send the last packet and wait until it has been read: closing a port empties it."""
        self._outbox += self._stopped(reason)
        streaming = self._streaming
        left = None
        quiet_polls = 0
        deadline_s = time.monotonic() + patience_s
        # Behind the bytes that can be counted the kernel may hold more, for a moment.
        while quiet_polls < 5 and time.monotonic() < deadline_s:
            if (stop is not None and stop.is_set()) or (streaming and not self._streaming):
                return  # The reader has said STOP: it has what it wanted, and leaves.
            self._serve(0.02 if self._outbox else 0.0)
            before, left = left, (len(self._outbox), self._unread_bytes())
            if left != before:
                deadline_s = time.monotonic() + patience_s
            quiet_polls = 0 if any(left) else quiet_polls + 1
            time.sleep(0.01)

    def _unread_bytes(self) -> int:
        count = fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4))
        return int.from_bytes(count, sys.byteorder)

    def _close(self) -> None:
        for end in (self._master, self._slave):
            if end >= 0:
                os.close(end)
        self._master = self._slave = -1
        link = self._link
        with contextlib.suppress(OSError):
            if link is not None and link.is_symlink() and link.readlink() == self._terminal:
                link.unlink()


def _packets_of(feeder: Iterable[EcgChunk], size: int) -> Iterator[EcgChunk]:
    """The feeder's chunks cut to packets, on the clock and with the numbers of a sensor."""
    sequence = 0
    first = previous = None
    for chunk in feeder:
        first = chunk if first is None else first
        if previous is not None and not chunk.follows(previous):
            sequence += 1
        previous = chunk
        for at in range(0, len(chunk), size):
            part = chunk.part(at, at + size)
            yield replace(part, start_ns=part.start_ns - first.start_ns, sequence=sequence)
            sequence += 1

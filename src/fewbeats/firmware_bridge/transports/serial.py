"""A sensor on a serial port: a UART, a USB cable, or the virtual sensor's pseudo-terminal."""

import asyncio
import contextlib
import errno
import os
import termios
import time
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Final, Self

from fewbeats.errors import (
    AddressError,
    MissingExtraError,
    PortBusyError,
    PortNotFoundError,
    SourceError,
    SourceLostError,
)
from fewbeats.firmware_bridge.clock import SensorClock
from fewbeats.firmware_bridge.codecs.fewbeats_packets import StopReason
from fewbeats.firmware_bridge.codecs.registry import find_codec
from fewbeats.firmware_bridge.samples import EcgChunk, SensorInfo
from fewbeats.firmware_bridge.stats import StreamStats

READ_BYTES: Final = 65536
TICK_S: Final = 1.0
"""How often the source looks whether samples come, and asks for them again if not.

Boards that reset when a port is opened boot for a second or two and miss the first command; a
sensor whose supply dipped waits for a new one.
"""
LEFTOVER_S: Final = 0.1
"""What arrives so soon after opening has waited in some buffer since nobody knows when.

The first packet fixes the time of all later ones, so an old one must not be the first.
"""
INFO_WAIT_S: Final = 0.5
"""How long opening waits for a sensor to identify itself; one that only sends never does."""
CONSUMER_TICKS: Final = 3
"""For how many ticks a full queue waits for its consumer before the oldest chunks go."""
RUBBISH_S: Final = 3.0
RUBBISH_BYTES: Final = 256
RUBBISH_TICKS: Final = 3
"""So long, and so many bytes, without one good packet: this is not the sensor we think it is."""


class SerialSource:
    """Streams from a sensor on a serial port (POSIX systems).

    One source is one stream; a new stream needs a new source. A consumer that takes its time
    slows a simulated sensor down; one that does not come back loses the oldest chunks, not the
    newest: what the heart does now matters most. That gap shows in ``EcgChunk.sequence`` and in
    ``stats.lost_packets``.
    """

    def __init__(
        self, port: str, *, codec: str = "fewbeats", baud: int = 115200, queue_chunks: int = 1024
    ) -> None:
        """Name the port; it is opened by ``async with``.

        Args:
            port: path of the device, such as /dev/ttyUSB0.
            codec: wire format that the sensor speaks.
            baud: bits a second on the line.
            queue_chunks: how many decoded chunks wait before the port is left unread.

        Raises:
            AddressError: no codec of that name.
        """
        self._path = port
        self._baud = baud
        self._codec = find_codec(codec)
        self._decoder = self._codec.decoder()
        self._clock = SensorClock()
        self._queue_chunks = queue_chunks
        self._chunks: deque[EcgChunk] = deque()
        self._port: Any = None  # serial.Serial: pyserial carries no types
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._failure: SourceError | None = None
        self._ended = False
        self._full_ticks: int | None = None
        """For how many ticks the queue has been full and the port left unread."""
        self._received_bytes = 0
        self._received_since_s = 0.0
        self._packets_at_tick = 0
        self._received_at_tick = 0
        self._rubbish_ticks = 0

    @property
    def info(self) -> SensorInfo:
        """What is known of the sensor; more once it has identified itself."""
        said = self._decoder.info
        return SensorInfo(
            name=(said.name if said else "") or f"sensor on {self._path}",
            codec=self._codec.name,
            address=f"serial://{self._path}?codec={self._codec.name}&baud={self._baud}",
            rate_hz=said.rate_hz or None if said else None,
            lead=said.lead or None if said else None,
            firmware=said.firmware or None if said else None,
        )

    @property
    def stats(self) -> StreamStats:
        """What the stream has cost so far."""
        return self._decoder.stats

    async def __aenter__(self) -> Self:
        """Open the port and ask the sensor to stream.

        Raises:
            MissingExtraError: pyserial is not installed.
            PortNotFoundError: there is no such port.
            PortBusyError: another program has it, or this user may not open it.
            AddressError: it is no serial port, or cannot run at that rate.
        """
        if self._loop is not None:
            raise RuntimeError("A source is opened once; make a new one for a new stream.")
        self._port = _open_port(self._path, self._baud)
        try:
            self._loop = asyncio.get_running_loop()
            await asyncio.sleep(LEFTOVER_S)
            self._forget_leftovers()
            self._read_on()
            self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INFO_WAIT_S):
                    while self._decoder.info is None and not self._ended:
                        await self._next_news()
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    async def __aiter__(self) -> AsyncIterator[EcgChunk]:
        """Chunks in UTC as they arrive, until the sensor stops.

        Raises:
            SourceLostError: the sensor went away without a word.
            SourceError: bytes arrive, but nothing that a sensor of this codec would send.
        """
        if self._loop is None:
            raise RuntimeError("A source streams inside `async with`; open it first.")
        while True:
            while self._chunks:
                yield self._chunks.popleft()
                if self._full_ticks is not None and len(self._chunks) <= self._queue_chunks // 2:
                    self._read_on()
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return
            await self._next_news()

    def _forget_leftovers(self) -> None:
        # An empty line ends this at once; one that was hung up says so again to the reader.
        with contextlib.suppress(OSError):
            for _ in range(32):
                if not os.read(self._port.fileno(), READ_BYTES):
                    return

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _read_on(self) -> None:
        self._full_ticks = None
        if self._loop is not None and not self._ended:
            self._loop.add_reader(self._port.fileno(), self._on_readable)

    def _look(self) -> None:
        """Every second: ask again for samples that do not come, and judge what comes instead."""
        assert self._loop is not None  # noqa: S101  (runs only between open and close)
        packets = self._decoder.stats.packets
        if self._full_ticks is not None:
            self._full_ticks += 1
            if self._full_ticks > CONSUMER_TICKS:
                self._drop_oldest()
        elif packets == 0 or packets == self._packets_at_tick:
            self._send(self._codec.opening)
            self._judge()
        self._packets_at_tick = packets
        if not self._ended:
            self._tick = self._loop.call_later(TICK_S, self._look)

    def _drop_oldest(self) -> None:
        while len(self._chunks) > self._queue_chunks // 2:
            self._chunks.popleft()
            self._decoder.stats.lost_packets += 1
        self._read_on()

    def _judge(self) -> None:
        if self._decoder.heard or self._received_bytes < RUBBISH_BYTES:
            return
        # A board that resets when its port is opened prints a greeting first, and then falls
        # silent until it measures: only what goes on is rubbish.
        grown = self._received_bytes > self._received_at_tick
        self._received_at_tick = self._received_bytes
        self._rubbish_ticks = self._rubbish_ticks + 1 if grown else 0
        waited_s = time.monotonic() - self._received_since_s
        version = self._decoder.unsupported_version
        if waited_s < RUBBISH_S or (version is None and self._rubbish_ticks < RUBBISH_TICKS):
            return
        if version is not None:
            advice = (
                f"the sensor speaks version {version} of the wire format, which this release of "
                f"fewbeats does not know. Update fewbeats, or the sensor's firmware."
            )
        else:
            advice = (
                f"none of them a good {self._codec.name} packet. Check the baud rate (now "
                f"{self._baud}), that the sensor speaks {self._codec.name}, and the wiring."
            )
        self._end(
            SourceError(
                f"{self._path} sent {self._received_bytes} bytes in {waited_s:.0f} s: {advice}"
            )
        )

    def _on_readable(self) -> None:
        assert self._loop is not None  # noqa: S101  (the loop itself calls this)
        try:
            data = os.read(self._port.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if not data:
            # Readable and nothing to read: the far end has hung up.
            self._lose("the line was hung up")
            return
        arrival_ns = time.time_ns()
        if not self._received_bytes:
            self._received_since_s = time.monotonic()
        self._received_bytes += len(data)
        for chunk in self._decoder.feed(data):
            self._chunks.append(self._clock.stamp(chunk, arrival_ns))
        if len(self._chunks) >= self._queue_chunks:
            # What arrives meanwhile waits in the kernel, some 60 KB of it.
            self._full_ticks = 0
            self._loop.remove_reader(self._port.fileno())
        if self._decoder.stopped not in (None, StopReason.HOST_ASKED):
            # "The host asked" while this one did not is an echo of a host before us.
            self._end()
        self._news.set()

    def _lose(self, why: str) -> None:
        self._end(
            SourceLostError(
                f"The sensor on {self._path} went away after {self.stats.packets} packets "
                f"({why}). Check the cable and the sensor's supply."
            )
        )

    def _end(self, failure: SourceError | None = None) -> None:
        """No more bytes from here on; the consumer still gets what has been decoded."""
        if self._ended:
            return
        self._ended = True
        self._failure = failure
        if self._loop is not None:
            self._loop.remove_reader(self._port.fileno())
        if self._tick is not None:
            self._tick.cancel()
        self._decoder.finish()
        self._news.set()

    def _send(self, data: bytes) -> None:
        try:
            os.write(self._port.fileno(), data)
        except BlockingIOError:
            return  # It does not listen, as a sensor may; the next tick says it again.
        except OSError as error:
            self._lose(error.strerror or str(error))

    def _close(self) -> None:
        """Stop the sensor and let go of the port, whatever happened before."""
        self._end()
        with contextlib.suppress(OSError, termios.error):
            # What waits to be sent is older, and on a full line it would be in the way.
            termios.tcflush(self._port.fileno(), termios.TCOFLUSH)
        with contextlib.suppress(OSError):
            os.write(self._port.fileno(), self._codec.closing)
        self._port.close()


def _open_port(path: str, baud: int) -> Any:  # noqa: ANN401  (pyserial carries no types)
    try:
        import serial
    except ImportError as error:
        raise MissingExtraError("serial", f"Reading {path}") from error
    try:
        # Exclusive: two readers of one line would each get half of the bytes.
        return serial.Serial(path, baud, timeout=0, exclusive=True)
    except serial.SerialException as error:
        raise _sentence(path, error) from error
    except (ValueError, OverflowError) as error:
        raise AddressError(f"{path} cannot run at {baud} baud: {error}") from error


def _sentence(path: str, error: OSError) -> SourceError:
    """What a failed open means to the person who typed the address."""
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
        from serial.tools import list_ports

        ports = sorted(port.device for port in list_ports.comports())
        there = f"There is: {', '.join(ports)}" if ports else "This machine has no serial port now"
        return PortNotFoundError(f"There is no port {path}. {there}; is the sensor plugged in?")
    if error.errno in (errno.EAGAIN, errno.EBUSY):
        return PortBusyError(
            f"{path} is taken by another program; close it (`fuser {path}` names it) and try again."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return PortBusyError(
            f"This user may not open {path}. Join its group, `sudo usermod -aG dialout $USER` on "
            f"Debian and Raspberry Pi OS, and log in again."
        )
    return AddressError(f"{path} does not open as a serial port: {error}")

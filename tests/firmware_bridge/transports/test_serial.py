"""A serial source on real pseudo-terminals."""

import asyncio
import errno
import os
import select
import sys
import tty
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from fewbeats.errors import (
    AddressError,
    MissingExtraError,
    PortBusyError,
    PortNotFoundError,
    SourceError,
    SourceLostError,
)
from fewbeats.firmware_bridge.codecs.fewbeats import CommandDecoder
from fewbeats.firmware_bridge.codecs.fewbeats_packets import (
    Command,
    Info,
    Resolution,
    StopReason,
    encode_ecg,
    encode_info,
    encode_stopped,
)
from fewbeats.firmware_bridge.codecs.framing import frame
from fewbeats.firmware_bridge.samples import EcgChunk, chunk_of
from fewbeats.firmware_bridge.transports import serial as module
from fewbeats.firmware_bridge.transports.serial import SerialSource


class Line:
    """The sensor's end of a serial line, moved by hand."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self.slave)
        self._ear = CommandDecoder()

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data) :]

    def commands(self) -> list[Command]:
        """All that the host has said; the kernel may take a moment to bring it."""
        said = []
        while select.select([self.master], [], [], 0.05)[0]:
            said += self._ear.feed(os.read(self.master, 65536))
        return said

    def pull(self) -> None:
        for end in (self.master, self.slave):
            if end >= 0:
                os.close(end)
        self.master = self.slave = -1


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.pull()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of patience become hundredths."""
    monkeypatch.setattr(module, "TICK_S", 0.02)
    monkeypatch.setattr(module, "LEFTOVER_S", 0.01)
    monkeypatch.setattr(module, "RUBBISH_S", 0.1)
    monkeypatch.setattr(module, "INFO_WAIT_S", 0.02)


INFO = encode_info(Info("demo", "1.2", "II", 250.0, 16))
END = StopReason.END_OF_RECORDING


def packet(number: int) -> EcgChunk:
    return chunk_of(np.arange(25.0) + number, 250.0, start_ns=number * 10**8, sequence=number)


def packets(*numbers: int) -> bytes:
    return b"".join(encode_ecg(packet(n), Resolution(), boot=1) for n in numbers)


def stopped(reason: StopReason, next_sequence: int = 0) -> bytes:
    return encode_stopped(reason, next_sequence=next_sequence, boot=1)


async def read_all(source: SerialSource) -> list[EcgChunk]:
    return [chunk async for chunk in source]


def test_samples_arrive_as_they_were_sent(line: Line):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            assert line.commands() == [Command.GET_INFO, Command.START]
            line.send(INFO + packets(0, 1, 2) + stopped(END, 3))
            chunks = await read_all(source)
            assert [c.sequence for c in chunks] == [0, 1, 2]
            for number, chunk in enumerate(chunks):
                assert np.array_equal(chunk.samples_uv, packet(number).samples_uv)
            assert all(b.follows(a) for a, b in pairwise(chunks))
            assert source.stats.samples == 75
            assert source.info.name == "demo"
            assert (source.info.lead, source.info.rate_hz, source.info.firmware) == (
                "II",
                250.0,
                "1.2",
            )
        assert line.commands() == [Command.STOP]

    asyncio.run(scene())


def test_opening_waits_for_the_sensor_to_identify_itself(line: Line):
    async def scene() -> None:
        asyncio.get_running_loop().call_later(0.2, line.send, packets(0) + INFO)
        async with SerialSource(line.port) as source:
            assert source.info.name == "demo"
            assert (await anext(aiter(source))).sequence == 0

    asyncio.run(scene())


def test_a_sensor_that_only_sends_is_read_without_info(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            line.send(packets(7) + stopped(END, 8))
            assert len(await read_all(source)) == 1
            assert source.info.name == f"sensor on {line.port}"
            assert source.info.rate_hz is None

    asyncio.run(scene())


def test_time_is_utc_of_the_gateway(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            before_ns = module.time.time_ns()
            line.send(packets(5000, 5001) + stopped(END, 5002))
            first, second = await read_all(source)
            assert before_ns <= first.end_ns <= module.time.time_ns()
            assert second.start_ns == first.end_ns

    asyncio.run(scene())


def test_what_waited_in_a_buffer_is_not_taken_for_now(line: Line):
    async def scene() -> None:
        leftover = packets(0, 1) + packets(2)[:40]
        line.send(leftover)
        asyncio.get_running_loop().call_later(0.02, line.send, leftover)
        async with SerialSource(line.port) as source:
            before_ns = module.time.time_ns()
            line.send(packets(900) + stopped(END, 901))
            (chunk,) = await read_all(source)
            assert chunk.sequence == 900
            assert chunk.end_ns >= before_ns
            assert source.stats.corrupt_packets == 0

    asyncio.run(scene())


def test_a_pulled_cable_loses_the_source_after_its_last_chunk(line: Line):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            line.send(INFO + packets(0, 1))
            stream = aiter(source)
            assert [(await anext(stream)).sequence for _ in range(2)] == [0, 1]
            line.pull()
            with pytest.raises(SourceLostError, match=r"after 2 packets .* cable"):
                await anext(stream)
            with pytest.raises(SourceLostError):
                await anext(aiter(source))

    asyncio.run(scene())


def test_an_unfinished_packet_counts_when_the_cable_is_pulled(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            line.send(packets(0) + packets(1)[:-1])
            stream = aiter(source)
            await anext(stream)
            line.pull()
            with pytest.raises(SourceLostError):
                await anext(stream)
            assert source.stats.discarded_bytes == len(packets(1)) - 2

    asyncio.run(scene())


@pytest.mark.parametrize("way_out", ["exception", "cancelled", "cancelled while opening"])
def test_the_sensor_is_stopped_on_every_way_out(line: Line, way_out: str):
    async def scene() -> None:
        opened = asyncio.Event()

        async def use() -> None:
            async with SerialSource(line.port) as source:
                opened.set()
                if way_out == "exception":
                    raise ZeroDivisionError
                await read_all(source)

        task = asyncio.create_task(use())
        if way_out == "cancelled while opening":
            await asyncio.sleep(0.2)
            assert not opened.is_set()
        else:
            await opened.wait()
        task.cancel()
        with pytest.raises((ZeroDivisionError, asyncio.CancelledError)):
            await task
        assert line.commands() == [Command.GET_INFO, Command.START, Command.STOP]
        async with SerialSource(line.port):
            pass  # the port is free again

    asyncio.run(scene())


def test_start_is_repeated_until_ecg_comes_and_when_it_ceases(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            await asyncio.sleep(0.1)
            assert line.commands().count(Command.START) >= 2
            stream = aiter(source)
            line.send(packets(0))
            await anext(stream)
            await asyncio.sleep(0.1)
            assert line.commands().count(Command.START) >= 1

    asyncio.run(scene())


def test_a_sensor_that_never_listens_is_still_read(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            with pytest.raises(BlockingIOError):
                while True:
                    os.write(source._port.fileno(), bytes(4096))
            await asyncio.sleep(0.1)
            line.send(packets(0))
            assert (await anext(aiter(source))).sequence == 0

    asyncio.run(scene())


def test_silence_is_waited_out(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            stream = aiter(source)
            waiting = asyncio.create_task(anext(stream))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            line.send(packets(0))
            assert (await waiting).sequence == 0

    asyncio.run(scene())


def test_an_echo_of_the_host_before_us_ends_nothing(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            line.send(stopped(StopReason.HOST_ASKED) + packets(0))
            assert (await anext(aiter(source))).sequence == 0

    asyncio.run(scene())


@pytest.mark.parametrize("reason", [StopReason.SWITCHED_OFF, StopReason.BATTERY_EMPTY, END])
def test_a_sensor_that_stops_on_purpose_ends_the_stream(line: Line, quick: None, reason):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            line.send(packets(0) + stopped(reason, 3))
            assert len(await read_all(source)) == 1
            assert source.stats.lost_packets == 2

    asyncio.run(scene())


def test_rubbish_is_named_as_such(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port, baud=9600) as source:
            reading = asyncio.ensure_future(read_all(source))
            sent = 0
            while not reading.done() and sent < 30_000:
                line.send(b"\x55" * 100)
                sent += 100
                await asyncio.sleep(0.01)
            with pytest.raises(SourceError, match=r"bytes .* baud rate \(now 9600\)"):
                await reading
        assert 256 <= source.stats.discarded_bytes <= sent

    asyncio.run(scene())


def test_a_greeting_of_the_board_is_no_rubbish(line: Line, quick: None):
    """Boards that reset when their port is opened print a page, and measure seconds later."""

    async def scene() -> None:
        async with SerialSource(line.port) as source:
            line.send(b"rst:0x1 (POWERON_RESET), boot:0x13\r\n" * 12)
            await asyncio.sleep(0.4)
            line.send(packets(0))
            assert (await anext(aiter(source))).sequence == 0

    asyncio.run(scene())


def test_a_little_noise_before_a_sensor_wakes_is_none_of_our_business(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            line.send(b"\x55" * 200)
            await asyncio.sleep(0.3)
            line.send(packets(0))
            assert (await anext(aiter(source))).sequence == 0

    asyncio.run(scene())


def test_another_version_is_named(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port) as source:
            line.send(frame(b"\x09\x01" + b"future" * 10) * 5)
            with pytest.raises(SourceError, match="version 9"):
                await read_all(source)

    asyncio.run(scene())


def test_a_consumer_that_takes_its_time_loses_nothing(line: Line):
    async def scene() -> None:
        async with SerialSource(line.port, queue_chunks=4) as source:
            line.send(INFO)
            received = []

            async def consume() -> None:
                async for chunk in source:
                    received.append(chunk.sequence)
                    await asyncio.sleep(0.001)

            consumer = asyncio.create_task(consume())
            for n in range(100):
                line.send(packets(n))
                await asyncio.sleep(0)
            line.send(stopped(END, 100))
            await consumer
            assert received == list(range(100))
            assert source.stats.lost_packets == 0

    asyncio.run(scene())


def test_a_consumer_that_stays_away_loses_the_oldest(line: Line, quick: None):
    async def scene() -> None:
        async with SerialSource(line.port, queue_chunks=8) as source:
            for n in range(100):
                line.send(packets(n))
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.2)
            line.send(stopped(END, 100))
            numbers = [c.sequence for c in await read_all(source)]
            assert numbers[-1] == 99
            assert len(numbers) < 30
            assert numbers == sorted(set(numbers))
            assert source.stats.lost_packets == 100 - len(numbers)

    asyncio.run(scene())


def test_a_port_that_is_taken(line: Line):
    async def scene() -> None:
        line.send(INFO)
        async with SerialSource(line.port):
            with pytest.raises(PortBusyError, match="another program"):
                async with SerialSource(line.port):
                    pass

    asyncio.run(scene())


def test_a_port_that_is_not_there(tmp_path, monkeypatch):
    from serial.tools import list_ports

    async def scene() -> str:
        with pytest.raises(PortNotFoundError) as caught:
            async with SerialSource(str(tmp_path / "ttyUSB9")):
                pass
        return str(caught.value)

    monkeypatch.setattr(list_ports, "comports", list)
    assert "no serial port now" in asyncio.run(scene())
    there = [type("Port", (), {"device": "/dev/ttyACM0"})()]
    monkeypatch.setattr(list_ports, "comports", lambda: there)
    assert "There is: /dev/ttyACM0" in asyncio.run(scene())


def test_a_file_is_no_port(tmp_path):
    async def scene() -> None:
        path = tmp_path / "file"
        path.touch()
        with pytest.raises(AddressError, match="does not open as a serial port"):
            async with SerialSource(str(path)):
                pass

    asyncio.run(scene())


def test_a_rate_that_the_port_cannot_run_at(line: Line):
    async def scene() -> None:
        with pytest.raises(AddressError, match="baud"):
            async with SerialSource(line.port, baud=-5):
                pass

    asyncio.run(scene())


def test_a_port_that_is_not_ours_names_the_group():
    """Tests run as root too, who may open anything; so the sentence alone is met here."""
    error = module._sentence("/dev/ttyUSB0", PermissionError(errno.EACCES, "denied"))
    assert isinstance(error, PortBusyError)
    assert "dialout" in str(error)


def test_without_pyserial_a_sentence_says_what_to_install(line: Line, monkeypatch):
    async def scene() -> None:
        with pytest.raises(MissingExtraError, match=r"fewbeats\[serial\]"):
            async with SerialSource(line.port):
                pass

    monkeypatch.setitem(sys.modules, "serial", None)
    asyncio.run(scene())


def test_a_source_is_opened_once_and_before_it_streams(line: Line, quick: None):
    async def scene() -> None:
        source = SerialSource(line.port)
        with pytest.raises(RuntimeError, match="open it first"):
            await read_all(source)
        async with source:
            with pytest.raises(RuntimeError, match="opened once"):
                await source.__aenter__()
        assert await read_all(source) == []

    asyncio.run(scene())

"""The virtual sensor, read by the same source that reads a real one."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fewbeats.errors import PortBusyError, PortNotFoundError
from fewbeats.firmware_bridge.codecs.fewbeats import FewbeatsDecoder
from fewbeats.firmware_bridge.codecs.fewbeats_packets import (
    Command,
    Resolution,
    StopReason,
    encode_command,
    encode_ecg,
)
from fewbeats.firmware_bridge.samples import EcgChunk, chunk_of
from fewbeats.firmware_bridge.simulate import virtual_serial
from fewbeats.firmware_bridge.simulate.line_faults import LineFaults
from fewbeats.firmware_bridge.simulate.virtual_serial import VirtualSerialSensor
from fewbeats.firmware_bridge.transports.serial import SerialSource


def recording(seconds: int, first: int = 0) -> Iterator[EcgChunk]:
    """Whole microvolts at 250 Hz, one chunk a second."""
    rng = np.random.default_rng(1)
    for i in range(first, first + seconds):
        samples = rng.integers(-2000, 2000, 250).astype(float)
        yield chunk_of(samples, 250.0, start_ns=10**18 + i * 10**9, sequence=i)


@contextmanager
def running(sensor: VirtualSerialSensor) -> Iterator[threading.Event]:
    """The sensor at work in a thread of its own."""
    stop = threading.Event()
    with sensor:
        thread = threading.Thread(target=sensor.run, args=(stop,))
        thread.start()
        try:
            yield stop
        finally:
            stop.set()
            thread.join()


async def read_all(port: Path) -> tuple[list[EcgChunk], SerialSource]:
    async with SerialSource(str(port)) as source:
        return [chunk async for chunk in source], source


def joined(chunks: list[EcgChunk]) -> np.ndarray:
    return np.concatenate([chunk.samples_uv for chunk in chunks])


@pytest.mark.parametrize(
    ("resolution", "packet_samples"),
    [(Resolution(), 25), (Resolution(24, 100_000), 255), (Resolution(24, 1_000), 1)],
)
def test_what_is_fed_arrives(resolution: Resolution, packet_samples: int):
    sensor = VirtualSerialSensor(
        recording(8), resolution=resolution, packet_samples=packet_samples, speed=0, lead="MLII"
    )
    with running(sensor):
        chunks, source = asyncio.run(read_all(sensor.port))
    assert np.array_equal(joined(chunks), joined(list(recording(8))))
    assert all(b.follows(a) for a, b in pairwise(chunks))
    assert source.stats.lost_packets == source.stats.corrupt_packets == 0
    assert source.info.lead == "MLII"
    assert source.info.rate_hz == 250.0


def test_invalid_samples_lead_off_and_battery_arrive():
    chunk = next(recording(1))
    samples = chunk.samples_uv.copy()
    samples[10:20] = np.nan
    nothing = np.full(250, np.nan, np.float32)
    fed = [
        replace(chunk, samples_uv=samples, valid=np.isfinite(samples), battery_percent=55),
        replace(
            chunk,
            samples_uv=nothing,
            valid=np.zeros(250, bool),
            lead_off=True,
            start_ns=chunk.end_ns,
            sequence=1,
        ),
    ]
    sensor = VirtualSerialSensor(fed, packet_samples=250, speed=0)
    with running(sensor):
        (first, second), _ = asyncio.run(read_all(sensor.port))
    assert np.array_equal(first.samples_uv, samples, equal_nan=True)
    assert np.array_equal(first.valid, np.isfinite(samples))
    assert (first.battery_percent, second.battery_percent) == (55, None)
    assert second.lead_off
    assert not second.valid.any()


def test_gaps_of_the_feeder_are_sent_as_gaps():
    fed = [*recording(2), *recording(2, first=5)]
    sensor = VirtualSerialSensor(fed, packet_samples=250, speed=0)
    with running(sensor):
        chunks, source = asyncio.run(read_all(sensor.port))
    assert [c.sequence for c in chunks] == [0, 1, 3, 4]
    assert chunks[2].start_ns - chunks[1].end_ns == 3 * 10**9
    assert source.stats.lost_packets == 1


def test_the_pace_is_kept_without_drift():
    sensor = VirtualSerialSensor(recording(40), speed=40)
    with running(sensor):
        began_s = time.monotonic()
        chunks, _ = asyncio.run(read_all(sensor.port))
    assert time.monotonic() - began_s >= 40 / 40 - 0.05
    assert chunks[-1].end_ns - chunks[0].start_ns == 40 * 10**9


@pytest.mark.parametrize(
    "faults", [LineFaults(corrupt_rate=0.1), LineFaults(drop_rate=0.1), LineFaults(0.1, 0.1, 0.5)]
)
def test_a_bad_line_makes_gaps_and_alters_nothing(faults: LineFaults):
    sensor = VirtualSerialSensor(recording(40), speed=0, faults=faults)
    with running(sensor):
        chunks, source = asyncio.run(read_all(sensor.port))
    truth = joined(list(recording(40))).reshape(-1, 25)
    assert 200 < len(chunks) < 400
    for chunk in chunks:
        assert np.array_equal(chunk.samples_uv, truth[chunk.sequence])
    # The last word of the sensor tells even what was lost at the end; what was lost before the
    # first packet nobody can know.
    assert source.stats.lost_packets == 400 - len(chunks) - chunks[0].sequence
    if faults.corrupt_rate or faults.garbage_rate:
        assert source.stats.corrupt_packets > 0


def test_the_same_seed_makes_the_same_faults():
    fed = [replace(chunk, start_ns=0) for chunk in recording(5)]
    frames = [encode_ecg(chunk, Resolution()) for chunk in fed]
    lines = [LineFaults(0.3, 0.3, 0.3, seed).line() for seed in (1, 1, 2)]
    one, again, other = ([line.carry(f) for f in frames * 4] for line in lines)
    assert one == again != other
    clean = LineFaults().line()
    assert [clean.carry(f) for f in frames] == frames


class Host:
    """A host's end of the line, moved by hand."""

    def __init__(self, port: Path) -> None:
        self.fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
        self.decoder = FewbeatsDecoder()

    def say(self, *commands: Command) -> None:
        os.write(self.fd, b"".join(encode_command(command) for command in commands))

    def hear(self, quiet_s: float = 0.2) -> list[EcgChunk]:
        """All that arrives until nothing does for a while."""
        chunks = []
        while select.select([self.fd], [], [], quiet_s)[0]:
            chunks += self.decoder.feed(os.read(self.fd, 65536))
        return chunks

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def test_it_waits_for_start_and_obeys_stop():
    sensor = VirtualSerialSensor(recording(3600), speed=1, packet_samples=5)
    with running(sensor), Host(sensor.port) as host:
        host.say(Command.GET_INFO)
        assert host.hear() == []
        assert host.decoder.info is not None
        assert host.decoder.info.name == "fewbeats virtual sensor"
        host.say(Command.START, Command.START)
        time.sleep(0.2)
        host.say(Command.STOP)
        first = host.hear()
        assert host.decoder.stopped is StopReason.HOST_ASKED
        assert len(first) > 2
        host.say(Command.START)
        time.sleep(0.1)
        host.say(Command.STOP)
        second = host.hear()
        assert second[0].sequence == first[-1].sequence + 1
        assert second[0].start_ns > first[-1].end_ns  # the sensor's clock shows the pause
        assert host.decoder.stats.lost_packets == 0


def test_readers_may_come_and_go():
    async def visit(port: Path) -> list[EcgChunk]:
        async with SerialSource(str(port)) as source:
            stream = aiter(source)
            return [await anext(stream) for _ in range(5)]

    sensor = VirtualSerialSensor(recording(3600), speed=1, packet_samples=5)
    with running(sensor):
        first, second = asyncio.run(visit(sensor.port)), asyncio.run(visit(sensor.port))
        with Host(sensor.port) as gone:
            gone.say(Command.START)  # and leaves without a word
        third = asyncio.run(visit(sensor.port))
    for before, after in ((first, second), (second, third)):
        assert after[0].sequence > before[-1].sequence
        assert after[0].start_ns > before[-1].end_ns


def test_autostart_needs_no_host_to_begin():
    sensor = VirtualSerialSensor(recording(3600), speed=0, autostart=True)
    with running(sensor), Host(sensor.port) as host:
        assert select.select([host.fd], [], [], 5)[0]
        assert host.decoder.feed(os.read(host.fd, 4096))


def test_in_real_time_a_full_line_costs_whole_packets(monkeypatch: pytest.MonkeyPatch):
    # 255 samples at 16 kHz: some 35 KB a second fill the kernel's buffer soon.
    fast = (
        chunk_of(np.zeros(255), 16_000.0, start_ns=i * 15_937_500, sequence=i) for i in range(10**6)
    )
    sensor = VirtualSerialSensor(
        fast, packet_samples=255, autostart=True, resolution=Resolution(24, 10**6)
    )
    with running(sensor), Host(sensor.port) as host:
        while sensor.dropped_packets < 5:
            time.sleep(0.05)
        chunks = host.hear(quiet_s=0.0)
        chunks += [c for _ in range(20) for c in host.decoder.feed(os.read(host.fd, 4096))]
        assert host.decoder.stats.lost_packets >= 5
        assert host.decoder.stats.corrupt_packets == 0
        assert host.decoder.stats.discarded_bytes == 0
        assert sum(not b.follows(a) for a, b in pairwise(chunks)) >= 1


def test_a_sensor_without_a_reader_can_be_ended():
    for autostart in (True, False):
        sensor = VirtualSerialSensor(recording(3600), speed=0, autostart=autostart)
        with running(sensor):
            time.sleep(0.1)


def test_switching_off_is_said():
    sensor = VirtualSerialSensor(recording(3600), speed=1)
    with running(sensor) as stop, Host(sensor.port) as host:
        stop.set()
        host.hear()
        assert host.decoder.stopped is StopReason.SWITCHED_OFF


def test_at_the_end_it_waits_for_its_reader_but_not_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(virtual_serial, "END_PATIENCE_S", 0.2)
    sensor = VirtualSerialSensor(recording(1), speed=0, autostart=True)
    with sensor:
        assert sensor.run(threading.Event()) is StopReason.END_OF_RECORDING


def test_a_host_that_never_reads_answers_does_not_fill_the_memory():
    sensor = VirtualSerialSensor(recording(3600), speed=1)
    with running(sensor), Host(sensor.port) as host:
        for _ in range(3000):
            host.say(Command.GET_INFO)
        assert len(sensor._outbox) < 2 * virtual_serial.MAX_OUTBOX_BYTES


def test_a_link_gives_the_port_a_stable_name(tmp_path: Path):
    link = tmp_path / "ecg"
    link.symlink_to(tmp_path / "left over")
    sensor = VirtualSerialSensor(recording(1), speed=0, link=link)
    with running(sensor):
        assert sensor.port == link
        chunks, _ = asyncio.run(read_all(link))
    assert len(chunks) == 10
    assert not link.is_symlink()


def test_a_link_replaces_no_file(tmp_path: Path):
    link = tmp_path / "ecg"
    link.write_text("precious")
    with pytest.raises(PortBusyError, match="no link"), VirtualSerialSensor([], link=link):
        pass
    assert link.read_text() == "precious"


def test_a_link_into_nowhere_says_so(tmp_path: Path):
    sensor = VirtualSerialSensor([], link=tmp_path / "nowhere" / "ecg")
    with pytest.raises(PortNotFoundError, match="folder that exists"), sensor:
        pass


def test_a_sensor_takes_only_its_own_link_away(tmp_path: Path):
    link = tmp_path / "ecg"
    with VirtualSerialSensor([], link=link), VirtualSerialSensor([], link=link) as second:
        terminal = link.readlink()
        with VirtualSerialSensor([]):
            pass
        assert link.readlink() == terminal == second._terminal
        link.unlink()
        link.symlink_to("/dev/null")
    assert link.is_symlink()


@pytest.mark.parametrize("wrong", [{"packet_samples": 0}, {"packet_samples": 256}, {"speed": -1}])
def test_what_no_sensor_can_do(wrong: dict[str, int]):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        VirtualSerialSensor([], **wrong)


SENSOR_PROCESS = """
import itertools, signal, threading
import numpy as np
from fewbeats.firmware_bridge.samples import chunk_of
from fewbeats.firmware_bridge.simulate.virtual_serial import VirtualSerialSensor

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
ramp = (
    chunk_of(np.arange(250.0) + i, 250.0, start_ns=i * 10**9, sequence=i)
    for i in itertools.count()
)
with VirtualSerialSensor(ramp, speed=20) as sensor:
    print(sensor.port, flush=True)
    print(sensor.run(stop).name, flush=True)
"""


def test_a_sensor_in_a_process_of_its_own_ends_cleanly_on_a_signal():
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SENSOR_PROCESS], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()

        async def scene() -> list[EcgChunk]:
            chunks = []
            async with SerialSource(port) as source:
                async for chunk in source:
                    chunks.append(chunk)
                    if len(chunks) == 50:
                        process.send_signal(signal.SIGTERM)
            return chunks

        chunks = asyncio.run(scene())
        assert process.stdout.readline().strip() == "SWITCHED_OFF"
        assert process.wait(10) == 0
    assert len(chunks) >= 50
    assert all(b.follows(a) for a, b in pairwise(chunks))
    expected = np.concatenate([np.arange(250.0) + i for i in range(100)])
    assert np.array_equal(joined(chunks), expected[: 25 * len(chunks)])


def test_a_link_to_somebodys_file_is_not_taken(tmp_path: Path):
    file, link = tmp_path / "notes", tmp_path / "port"
    file.write_text("mine")
    link.symlink_to(file)
    sensor = VirtualSerialSensor(recording(1), link=link)
    with pytest.raises(PortBusyError, match="no link to a port"), sensor:
        pass
    assert link.readlink() == file and file.read_text() == "mine"


def test_a_link_that_a_sensor_left_behind_is_taken(tmp_path: Path):
    link = tmp_path / "port"
    link.symlink_to("/dev/pts/99999")
    with VirtualSerialSensor(recording(1), link=link) as sensor:
        assert sensor.port == link and link.exists()
    assert not link.is_symlink()

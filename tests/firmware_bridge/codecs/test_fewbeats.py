"""The fewbeats wire format against its page, against itself, and against a bad line."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbeats.errors import AddressError, SignalError
from fewbeats.firmware_bridge.codecs.fewbeats import CommandDecoder, FewbeatsDecoder
from fewbeats.firmware_bridge.codecs.fewbeats_packets import (
    MAX_SAMPLES,
    Command,
    Info,
    Resolution,
    StopReason,
    encode_command,
    encode_ecg,
    encode_info,
    encode_stopped,
)
from fewbeats.firmware_bridge.codecs.framing import (
    MAX_FRAME_BYTES,
    MAX_PAYLOAD_BYTES,
    FrameReader,
    crc16,
    frame,
)
from fewbeats.firmware_bridge.codecs.registry import find_codec
from fewbeats.firmware_bridge.codecs.sequence import SequenceTracker
from fewbeats.firmware_bridge.samples import EcgChunk, chunk_of
from fewbeats.firmware_bridge.stats import StreamStats

PAGE = Path(__file__).parents[3] / "docs" / "wire-format.md"
ADS1299 = Resolution(24, 22_352)
MICROVOLT = Resolution(16, 1_000_000)


def golden(name: str) -> dict[str, bytes]:
    block = re.search(rf"```golden {name}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block, f"{PAGE} shows no frame named {name}"
    rows = (line.split(maxsplit=1) for line in block[1].splitlines())
    return {key: bytes.fromhex(value) for key, value in rows}


def counts_chunk(
    counts: list[int], resolution: Resolution, rate_hz: float, **rest: int
) -> EcgChunk:
    """What a decoder has to make of these counts, computed the slow way."""
    samples = [
        np.nan if c == resolution.no_measurement else c * resolution.scale_pv / 1e6 for c in counts
    ]
    return replace(chunk_of(np.array(samples), rate_hz), **rest)


def same(a: EcgChunk, b: EcgChunk) -> bool:
    """Bit for bit, NaN included."""
    return (
        a.samples_uv.tobytes() == b.samples_uv.tobytes()
        and a.valid.tobytes() == b.valid.tobytes()
        and (a.rate_hz, a.start_ns, a.lead_off, a.battery_percent)
        == (b.rate_hz, b.start_ns, b.lead_off, b.battery_percent)
    )


def decode(data: bytes) -> list[EcgChunk]:
    return FewbeatsDecoder().feed(data)


def stream(packets: int, samples: int = 8, seed: int = 0, first: int = 0) -> list[EcgChunk]:
    """Contiguous chunks of whole microvolts at 250 Hz."""
    rng = np.random.default_rng(seed)
    return [
        chunk_of(
            rng.integers(-300, 300, samples).astype(float),
            250.0,
            start_ns=i * samples * 4_000_000,
            sequence=first + i,
        )
        for i in range(packets)
    ]


def on_the_line(chunks: list[EcgChunk], resolution: Resolution = MICROVOLT) -> bytes:
    return b"".join(encode_ecg(chunk, resolution, boot=1) for chunk in chunks)


# --- The page -------------------------------------------------------------------------------


def slow_crc(data: bytes) -> int:
    """CRC-16/CCITT-FALSE bit by bit, as the page defines it."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def slow_unstuff(data: bytes) -> bytes:
    out = bytearray()
    while data:
        run, data = data[1 : data[0]], data[data[0] :] if data[0] < len(data) else b""
        out += run
        if data and len(run) < 254:
            out.append(0)
    return bytes(out)


NAMES = ["start", "stop", "get-info", "ecg-16", "ecg-24", "lead-off", "info", "stopped"]


@pytest.mark.parametrize("name", NAMES)
def test_golden_frames_follow_from_the_rules_of_the_page(name: str):
    row = golden(name)
    assert row["crc"] == slow_crc(row["payload"]).to_bytes(2, "big")
    assert row["frame"][:1] == row["frame"][-1:] == b"\0"
    assert slow_unstuff(row["frame"][1:-1]) == row["payload"] + row["crc"]
    assert frame(row["payload"]) == row["frame"]


def test_crc_check_value():
    """CRC-16/IBM-3740 (also CCITT-FALSE) in the catalogue of parametrised CRC algorithms."""
    assert crc16(b"123456789") == 0x29B1


ECG_16 = counts_chunk([0, 1, -1, 1000, -32768], MICROVOLT, 250.0)
ECG_24 = counts_chunk(
    [1, -1, 8388607, -8388608],
    ADS1299,
    500.0,
    start_ns=1_000_000_000,
    sequence=65535,
    battery_percent=87,
)
LEAD_OFF = replace(
    chunk_of(np.full(3, np.nan), 250.0), start_ns=20_000_000, sequence=1, lead_off=True
)


@pytest.mark.parametrize(
    ("name", "chunk", "resolution", "bitmap"),
    [
        ("ecg-16", ECG_16, MICROVOLT, False),
        ("ecg-24", ECG_24, ADS1299, True),
        ("lead-off", LEAD_OFF, MICROVOLT, False),
    ],
)
def test_golden_ecg(name: str, chunk: EcgChunk, resolution: Resolution, bitmap: bool):
    row = golden(name)
    assert encode_ecg(chunk, resolution, boot=7, validity_bitmap=bitmap) == row["frame"]
    (decoded,) = decode(row["frame"])
    assert same(decoded, chunk)
    assert decoded.sequence == chunk.sequence


def test_golden_info_and_stopped():
    info = Info("demo", "1.0", "I", 250.0, 24)
    assert encode_info(info) == golden("info")["frame"]
    last_word = encode_stopped(StopReason.BATTERY_EMPTY, next_sequence=0x0102, boot=7)
    assert last_word == golden("stopped")["frame"]
    decoder = FewbeatsDecoder()
    assert decoder.feed(golden("info")["frame"] + golden("stopped")["frame"]) == []
    assert decoder.info == info
    assert decoder.stopped is StopReason.BATTERY_EMPTY


def test_golden_commands():
    commands = {"start": Command.START, "stop": Command.STOP, "get-info": Command.GET_INFO}
    for name, command in commands.items():
        assert encode_command(command) == golden(name)["frame"]
        assert CommandDecoder().feed(golden(name)["frame"]) == [command]


def test_the_page_names_the_longest_frame():
    assert f"at most {MAX_FRAME_BYTES} bytes" in PAGE.read_text()
    assert len(frame(bytes([1]) * MAX_PAYLOAD_BYTES)) == MAX_FRAME_BYTES + 2
    with pytest.raises(ValueError, match="1024"):
        frame(bytes(MAX_PAYLOAD_BYTES + 1))


# --- There and back -------------------------------------------------------------------------


@given(
    data=st.data(),
    bits=st.sampled_from([16, 24]),
    scale_pv=st.integers(1, 2**32 - 1),
    count=st.integers(1, MAX_SAMPLES),
    rate_mhz=st.integers(1_000, 16_000_000),
    time_us=st.integers(0, 2**48 - 1),
    sequence=st.integers(0, 65535),
    battery=st.none() | st.integers(0, 100),
    bitmap=st.booleans(),
)
def test_round_trip(data, bits, scale_pv, count, rate_mhz, time_us, sequence, battery, bitmap):
    resolution = Resolution(bits, scale_pv)
    lowest = resolution.no_measurement
    seed = data.draw(st.integers(0, 2**32))
    counts = np.random.default_rng(seed).integers(lowest, -lowest, count)
    counts[0] = data.draw(st.sampled_from([lowest, lowest + 1, -lowest - 1, -1, 0, 1]))
    chunk = counts_chunk(
        counts.tolist(),
        resolution,
        rate_mhz / 1000,
        start_ns=time_us * 1000,
        sequence=sequence,
        battery_percent=battery,
    )
    (decoded,) = decode(encode_ecg(chunk, resolution, validity_bitmap=bitmap))
    assert same(decoded, chunk)
    assert decoded.sequence == sequence


def test_a_bitmap_takes_out_samples_that_have_a_count():
    payload = bytearray(golden("ecg-24")["payload"])
    payload[-1] = 0b1111_0010
    (decoded,) = decode(frame(bytes(payload)))
    assert decoded.valid.tolist() == [False, True, False, False]
    assert np.isnan(decoded.samples_uv[[0, 2, 3]]).all()


def test_lead_off_overrules_counts_and_bitmap():
    for name, flags in (("ecg-16", 0x04), ("ecg-24", 0x07)):
        payload = bytearray(golden(name)["payload"])
        payload[21] = flags
        (decoded,) = decode(frame(bytes(payload)))
        assert decoded.lead_off
        assert not decoded.valid.any()
        assert np.isnan(decoded.samples_uv).all()


def test_a_voltage_beyond_the_range_is_sent_as_no_measurement():
    chunk = chunk_of(np.array([32767.0, 32768.0, -32767.0, -32768.0, 1e9, -np.inf]), 250.0)
    (decoded,) = decode(encode_ecg(chunk, MICROVOLT))
    assert decoded.valid.tolist() == [True, False, True, False, False, False]


@pytest.mark.parametrize(
    "chunk",
    [
        chunk_of(np.zeros(0), 250.0),
        chunk_of(np.zeros(256), 250.0),
        chunk_of(np.zeros(1), 0.5),
        chunk_of(np.zeros(1), 16_001.0),
        chunk_of(np.zeros(1), 250.0, start_ns=-1),
        chunk_of(np.zeros(1), 250.0, start_ns=1000 << 48),
        replace(chunk_of(np.zeros(1), 250.0), battery_percent=101),
    ],
)
def test_the_encoder_refuses_what_the_format_cannot_carry(chunk: EcgChunk):
    with pytest.raises(SignalError):
        encode_ecg(chunk, MICROVOLT)


def test_resolution_refuses_what_the_format_cannot_carry():
    for bits, scale_pv in ((12, 1), (16, 0), (24, 1 << 32)):
        with pytest.raises(SignalError):
            Resolution(bits, scale_pv)


def test_info_texts_are_cut_whole_and_lose_control_characters():
    decoder = FewbeatsDecoder()
    decoder.feed(encode_info(Info("µ" * 40, "\x1b[31mred\n", "", 130.0, 14)))
    assert decoder.info == Info("µ" * 31, "[31mred", "", 130.0, 14)


# --- Packets that break the format ----------------------------------------------------------


def altered(name: str, at: int, value: bytes) -> bytes:
    payload = bytearray(golden(name)["payload"])
    payload[at : at + len(value)] = value
    return frame(bytes(payload))


@pytest.mark.parametrize(
    "bad",
    [
        altered("ecg-16", 10, b"\x01"),  # a clock of nine years
        altered("ecg-16", 12, bytes(4)),  # 0 Hz
        altered("ecg-16", 12, b"\xff\xff\xff\xff"),
        altered("ecg-16", 16, bytes(4)),  # 0 pV a count: any ECG becomes a flat line
        altered("ecg-16", 20, b"\x04"),
        altered("ecg-16", 20, b"\x06"),
        altered("ecg-16", 21, b"\x01"),
        altered("ecg-16", 21, b"\x08"),
        frame(golden("ecg-16")["payload"] + b"\0"),
        frame(golden("ecg-16")["payload"][:24]),
        frame(golden("ecg-16")["payload"][:23]),
        frame(golden("info")["payload"][:-1]),
        frame(golden("info")["payload"][:6]),
        altered("info", 7, b"\x40"),
        frame(golden("stopped")["payload"] + b"\0"),
        frame(b"\x01"),
    ],
)
def test_a_good_checksum_does_not_make_a_good_packet(bad: bytes):
    decoder = FewbeatsDecoder()
    assert decoder.feed(bad) == []
    assert decoder.stats.corrupt_packets == 1
    assert decoder.stats.discarded_bytes > 0
    assert not decoder.heard
    assert decoder.info is None
    assert decoder.stopped is None


def test_another_version_is_refused_and_remembered():
    decoder = FewbeatsDecoder()
    assert decoder.feed(altered("ecg-16", 0, b"\x02")) == []
    assert decoder.unsupported_version == 2
    assert decoder.stats.corrupt_packets == 1
    assert not decoder.heard


def test_types_of_a_later_firmware_are_ignored():
    decoder = FewbeatsDecoder()
    assert decoder.feed(frame(b"\x01\x7fsomething new")) == []
    assert decoder.stats == StreamStats()
    assert decoder.heard


def test_longer_info_is_read():
    decoder = FewbeatsDecoder()
    decoder.feed(frame(golden("info")["payload"] + b"more"))
    assert decoder.info == Info("demo", "1.0", "I", 250.0, 24)


def test_an_unknown_battery_and_reason_are_unknown():
    (chunk,) = decode(altered("ecg-16", 22, b"\x65"))
    assert chunk.battery_percent is None
    decoder = FewbeatsDecoder()
    decoder.feed(altered("stopped", 2, b"\x63"))
    assert decoder.stopped is StopReason.UNKNOWN


def test_the_ear_counts_what_is_no_command():
    ear = CommandDecoder()
    junk = golden("ecg-16")["frame"] + frame(b"\x01\x81\0") + frame(b"\x02\x81") + b"noise\0"
    assert ear.feed(junk + golden("stop")["frame"]) == [Command.STOP]
    assert ear.stats.corrupt_packets == 4


# --- Sequence and restarts ------------------------------------------------------------------


def at(sequence: int, time_s: float, boot: int = 1) -> bytes:
    chunk = chunk_of(np.zeros(25), 250.0, start_ns=round(time_s * 1e9), sequence=sequence)
    return encode_ecg(chunk, MICROVOLT, boot=boot)


def running(*frames: bytes) -> tuple[list[int], StreamStats]:
    decoder = FewbeatsDecoder()
    chunks = decoder.feed(b"".join(frames))
    return [chunk.sequence for chunk in chunks], decoder.stats


def test_the_sequence_is_unwrapped():
    numbers, stats = running(*(at(i % 65536, i / 10) for i in range(65534, 65540)))
    assert numbers == list(range(65534, 65540))
    assert stats.lost_packets == 0


def test_a_loss_across_the_wrap_is_counted():
    numbers, stats = running(at(65535, 0), at(2, 0.3))
    assert numbers == [65535, 65538]
    assert stats.lost_packets == 2


def test_repeated_and_late_packets_are_dropped():
    numbers, stats = running(at(5, 0.5), at(5, 0.5), at(7, 0.7), at(6, 0.6), at(8, 0.8))
    assert numbers == [5, 7, 8]
    assert (stats.duplicate_packets, stats.lost_packets) == (2, 1)


def test_an_outage_of_more_than_half_the_range_is_no_late_packet():
    numbers, stats = running(at(0, 0), at(40_000, 4000.0), at(40_000, 4000.0 + 6553.6))
    assert numbers == [0, 40_000, 105_536]
    assert stats.lost_packets == 39_999 + 65_535


def test_a_restart_shows_as_a_gap_by_the_clock_alone():
    numbers, stats = running(at(500, 50.0, 0), at(501, 50.1, 0), at(0, 0.0, 0), at(1, 0.1, 0))
    assert numbers == [500, 501, 503, 504]
    assert (stats.lost_packets, stats.duplicate_packets) == (1, 0)


def test_a_restart_right_after_the_start_shows_by_its_boot_number():
    numbers, stats = running(at(3, 0.3, 7), at(0, 0.0, 8), at(4, 0.4, 8))
    assert numbers == [3, 5, 9]
    assert stats.duplicate_packets == 0


@pytest.mark.parametrize("back_us", [50_000, 200_000, 900_000])
def test_the_next_number_at_an_earlier_time_is_a_gap(back_us: int):
    stats = StreamStats()
    tracker = SequenceTracker(stats)
    assert tracker.accept(7, 10_000_000, 1) == 7
    assert tracker.accept(8, 10_000_000 - back_us, 1) == 9
    assert tracker.accept(9, 10_100_000 - back_us, 1) == 10
    assert stats.lost_packets == 1


def test_a_restart_that_happens_to_continue_the_numbers_is_still_a_gap():
    numbers, _ = running(at(3, 0.3, 7), at(4, 0.4, 8))
    assert numbers == [3, 5]


def test_stopped_tells_what_is_missing_at_the_end():
    decoder = FewbeatsDecoder()
    decoder.feed(at(65534, 0) + encode_stopped(StopReason.HOST_ASKED, next_sequence=2, boot=1))
    assert decoder.stats.lost_packets == 3
    (chunk,) = decoder.feed(at(2, 60.0))
    assert chunk.sequence == 65538
    assert decoder.stats.lost_packets == 3
    assert decoder.stopped is None


def test_stopped_of_another_start_or_out_of_the_blue_counts_nothing():
    decoder = FewbeatsDecoder()
    decoder.feed(encode_stopped(StopReason.SWITCHED_OFF, next_sequence=9, boot=1))
    decoder.feed(at(9, 0.9) + encode_stopped(StopReason.SWITCHED_OFF, next_sequence=50, boot=2))
    assert decoder.stats.lost_packets == 0


# --- A bad line -----------------------------------------------------------------------------

SENT = [*stream(4), *stream(2, samples=255, seed=1, first=4)]
SENT[4:] = [replace(c, start_ns=c.start_ns + SENT[3].end_ns) for c in SENT[4:]]
LINE = (
    encode_info(Info("demo", "1", "I", 250.0, 16))
    + on_the_line(SENT[:4])
    + on_the_line(SENT[4:], Resolution(24, 1_000_000))
    + encode_stopped(StopReason.END_OF_RECORDING, next_sequence=6, boot=1)
)


def check_nothing_altered(decoder: FewbeatsDecoder, received: list[EcgChunk]) -> None:
    """Bit-equal originals in order; what is missing shows in the sequence or in the counters."""
    originals = {chunk.sequence: chunk for chunk in SENT}
    numbers = [chunk.sequence for chunk in received]
    assert numbers == sorted(set(numbers))
    assert all(same(chunk, originals[chunk.sequence]) for chunk in received)
    assert decoder.stats.packets == len(received)
    assert decoder.stats.samples == sum(map(len, received))
    if len(received) < len(SENT):
        inner = numbers[-1] - numbers[0] + 1 - len(numbers)
        assert decoder.stats.lost_packets >= inner
        # A stream cut off between two frames shows by the STOPPED that is not there.
        stats = decoder.stats
        seen = stats.corrupt_packets or stats.lost_packets or stats.discarded_bytes
        assert seen or decoder.stopped is None


@given(st.data())
def test_any_split_gives_the_same(data):
    noisy = b"\x07noise" + LINE[:200] + bytes(range(256)) * 6 + LINE[200:]
    whole, split = FewbeatsDecoder(), FewbeatsDecoder()
    expected = whole.feed(noisy)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(noisy)), max_size=40)))
    received = []
    for a, b in zip([0, *cuts], [*cuts, len(noisy)], strict=True):
        received += split.feed(noisy[a:b])
    assert [c.sequence for c in received] == [c.sequence for c in expected]
    assert all(same(a, b) for a, b in zip(received, expected, strict=True))
    assert split.stats == whole.stats


def test_byte_by_byte():
    decoder = FewbeatsDecoder()
    received = [chunk for i in range(len(LINE)) for chunk in decoder.feed(LINE[i : i + 1])]
    assert len(received) == len(SENT)
    check_nothing_altered(decoder, received)


@pytest.mark.parametrize("act", ["change", "drop", "repeat", "cut"])
def test_one_bad_byte_anywhere_alters_no_sample(act: str):
    rng = np.random.default_rng(3)
    for at_byte in range(len(LINE)):
        if act == "change":
            middle = bytes([LINE[at_byte] ^ int(rng.integers(1, 256))])
        else:
            middle = {"drop": b"", "repeat": LINE[at_byte : at_byte + 1] * 2, "cut": b"\0"}[act]
        decoder = FewbeatsDecoder()
        received = decoder.feed(LINE[:at_byte] + middle + LINE[at_byte + 1 :])
        decoder.finish()
        assert len(received) >= len(SENT) - 1
        check_nothing_altered(decoder, received)


@settings(derandomize=True)
@given(st.integers(0, len(LINE)), st.integers(0, 400), st.binary(max_size=60))
def test_a_burst_of_any_bytes_for_any_others_alters_no_sample(start, length, burst):
    decoder = FewbeatsDecoder()
    received = decoder.feed(LINE[:start] + burst + LINE[start + length :])
    decoder.finish()
    check_nothing_altered(decoder, received)


@settings(derandomize=True)
@given(st.lists(st.binary(max_size=80), min_size=len(SENT) + 1, max_size=len(SENT) + 1))
def test_rubbish_between_frames_costs_no_packet(rubbish):
    decoder = FewbeatsDecoder()
    line = rubbish[0]
    for chunk, junk in zip(SENT, rubbish[1:], strict=True):
        line += encode_ecg(chunk, Resolution(24, 1_000_000), boot=1) + junk
    received = decoder.feed(line)
    decoder.finish()
    assert [c.sequence for c in received] == [c.sequence for c in SENT]
    check_nothing_altered(decoder, received)
    # bytes.split keeps what lies between delimiters, which belong to nobody
    assert decoder.stats.discarded_bytes == sum(len(j.replace(b"\0", b"")) for j in rubbish)


def test_endless_rubbish_is_not_kept():
    stats = StreamStats()
    reader = FrameReader(stats)
    for _ in range(1000):
        assert reader.feed(b"\x55" * 5000) == []
        assert len(reader._partial) <= MAX_FRAME_BYTES
    assert reader.feed(b"\0" + golden("stop")["frame"]) == [golden("stop")["payload"]]
    assert stats == StreamStats(corrupt_packets=1, discarded_bytes=5_000_000)


def test_an_unfinished_last_frame_is_counted():
    decoder = FewbeatsDecoder()
    decoder.feed(LINE + golden("ecg-16")["frame"][:-1])
    decoder.finish()
    assert decoder.stats.discarded_bytes == len(golden("ecg-16")["frame"]) - 2


# --- The registry ---------------------------------------------------------------------------


def test_codecs_are_found_by_name():
    codec = find_codec("fewbeats")
    assert codec.decoder().feed(LINE)[0].sequence == 0
    assert CommandDecoder().feed(codec.opening) == [Command.GET_INFO, Command.START]
    assert CommandDecoder().feed(codec.closing) == [Command.STOP]
    with pytest.raises(AddressError, match="fewbeats"):
        find_codec("morse")

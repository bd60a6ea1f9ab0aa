"""The service: it watches, whatever becomes of the sensor, the bundle, or the disk."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewbeats.device import backbone, service, watching
from fewbeats.device import slots as slots_module
from fewbeats.device.files import only_one
from fewbeats.device.gateway_config import GatewayConfig
from fewbeats.device.keys import SigningKey
from fewbeats.device.layout import Layout
from fewbeats.device.notify import Notifier
from fewbeats.device.service import Service
from fewbeats.device.shipped import load_bundle
from fewbeats.device.slot_state import State
from fewbeats.errors import (
    AddressError,
    BundleError,
    KeyFileError,
    RateError,
    SlotError,
    SourceLostError,
)
from fewbeats.firmware_bridge.samples import EcgChunk, SensorInfo, chunk_of
from fewbeats.firmware_bridge.stats import StreamStats
from made_bundles import calibrated, made_bundle, made_config, made_slots, packed

Line = dict[str, Any]
T_S = np.arange(250) / 250
NORMAL = 600 * np.exp(8 * (np.cos(2 * np.pi * T_S) - 1))
VA = 600 * np.sin(2 * np.pi * 4 * T_S)


class MadeSensor:
    """Sends what it is told second by second, faster than real time."""

    info = SensorInfo("made", "none", "test:")
    stats = StreamStats()

    def __init__(self, seconds: Iterator[np.ndarray | str], clock: "itertools.count[int]") -> None:
        self.seconds, self.clock = seconds, clock

    async def __aenter__(self) -> "MadeSensor":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[EcgChunk]:
        for second in self.seconds:
            if isinstance(second, str):
                for _ in range(5):  # seconds that nobody measures
                    next(self.clock)
                if second == "lost":
                    raise SourceLostError("the cable was pulled")
                if second == "rate":
                    raise RateError("50 Hz cannot be taken")
                return
            number = next(self.clock)
            yield chunk_of(second, 250.0, (1_700_000_000 + number) * 10**9, number)
            await asyncio.sleep(0.002)


class Ward:
    """A gateway, its service, and a sensor on whose every second the test decides."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.layout = root, Layout(root)
        self.lines: list[Line] = []
        self.seconds: Iterator[np.ndarray | str] = itertools.repeat(NORMAL)
        clock = itertools.count()
        patch.setattr(watching, "open_source", lambda _: MadeSensor(self.seconds, clock))
        patch.setattr(watching, "FIRST_WAIT_S", 0.01)
        patch.setattr(service, "FIRST_WAIT_S", 0.01)
        patch.setattr(watching, "POLL_S", 0.01)
        made_config(root, trial_judged_s=60)
        self.slots = made_slots(root)

    def settings(self, **settings: str | float) -> None:
        made_config(self.root, **{"trial_judged_s": 60, **settings})

    def watch(self, until: Callable[[Line], bool], most_s: float = 20) -> list[Line]:
        """Run the service until a line is told, then stop it in order; gives all lines."""
        self.lines = []
        seen = asyncio.Event()

        def tell(line: Line) -> None:
            self.lines.append(line)
            if until(line):
                seen.set()

        async def run() -> None:
            config = GatewayConfig.load(self.layout)
            task = asyncio.ensure_future(Service(self.layout, config, tell, Notifier()).run())
            waiting = asyncio.ensure_future(seen.wait())
            await asyncio.wait({task, waiting}, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert seen.is_set(), self.lines

        asyncio.run(run())
        return self.lines

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    def starts(self) -> dict[str, int]:
        return dict(State.read(self.layout.state).trials)


def event(name: str) -> Callable[[Line], bool]:
    return lambda line: line["event"] == name


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ward:
    return Ward(tmp_path, monkeypatch)


def confirm(ward: Ward, seed: int = 1) -> None:
    ward.slots.install(packed(seed))
    ward.slots.confirm()


def test_it_says_what_it_watches_with(ward: Ward) -> None:
    confirm(ward)
    ward.slots.keep_calibration("anna", calibrated(made_bundle(1)))
    ward.settings(patient="anna")
    start, *rest = ward.watch(event("start"))
    assert start["bundle"]["name"] == "made-1" and start["bundle"]["state"] == "confirmed"
    assert start["mode"] == "development" and start["warning"].startswith("DEVELOPMENT KEY")
    assert start["patient"] == "anna" and start["calibrated"]
    assert "no medical device" in start["notice"]
    assert [line["event"] for line in rest] == ["stop"]


def test_va_is_an_alarm(ward: Ward) -> None:
    confirm(ward)
    ward.seconds = iter([*[NORMAL] * 20, *[VA] * 20, *[NORMAL] * 100])
    lines = ward.watch(event("episode-ended"))
    assert ward.events()[:3] == ["start", "alarm", "episode-ended"]
    assert lines[1]["onset"].startswith("2023-11-14T22:13:") and lines[1]["end"] is None
    assert lines[2]["reasons"] == ["rhythm-ended"]


def test_an_episode_that_goes_on_at_the_stop_is_told(ward: Ward) -> None:
    confirm(ward)
    ward.seconds = iter([*[NORMAL] * 10, *[VA] * 1000])
    ward.watch(event("alarm"))
    assert ward.events() == ["start", "alarm", "episode-ended", "stop"]
    assert ward.lines[-2]["reasons"] == ["stream-ended"]


def test_a_trial_is_confirmed_by_judged_signal(ward: Ward) -> None:
    ward.slots.install(packed(1))
    ward.watch(event("trial-confirmed"))
    assert ward.lines[-2]["bundle"]["state"] == "confirmed"
    status = ward.slots.status()
    assert status["current"]["state"] == "confirmed" and ward.starts() == {}


def test_an_orderly_stop_does_not_use_up_the_trial(ward: Ward) -> None:
    ward.slots.install(packed(1))
    ward.settings(trial_judged_s=10_000)
    for _ in range(5):
        ward.watch(event("start"))
    assert list(ward.starts().values()) == [0]


def test_a_lost_sensor_is_told_at_once_and_does_not_end_the_watch(ward: Ward) -> None:
    ward.slots.install(packed(1))
    ward.settings(trial_judged_s=10_000)
    ward.seconds = iter([*[NORMAL] * 10, "lost", "lost", "lost", *[NORMAL] * 1000])
    starts: list[dict[str, int]] = []

    def until(line: Line) -> bool:
        starts.append(ward.starts())
        return line["event"] == "judging-again"

    lines = ward.watch(until)
    assert ward.events()[:5] == [
        "start",
        "source-lost",
        "cannot-judge",
        "source-back",
        "judging-again",
    ]
    assert "cable" in lines[1]["reason"] and lines[2]["reason"] == "no-data"
    # While there is no sensor the start does not stand against the bundle.
    assert [*starts[0].values(), *starts[2].values(), *starts[4].values()] == [1, 0, 1]


def test_no_sensor_from_the_beginning(ward: Ward) -> None:
    ward.slots.install(packed(1))
    ward.seconds = itertools.repeat("lost")
    lines = ward.watch(event("cannot-judge"))
    assert ward.events() == ["start", "source-lost", "cannot-judge", "stop"]
    assert lines[2]["since"] is None
    assert list(ward.starts().values()) == [0]


def test_an_alarm_outlives_a_lost_sensor(ward: Ward) -> None:
    confirm(ward)
    ward.seconds = iter([*[VA] * 20, "lost", *[VA] * 10, *[NORMAL] * 1000])
    lines = ward.watch(event("episode-ended"))
    assert ward.events().count("alarm") == 1
    (ended,) = [line for line in lines if line["event"] == "episode-ended"]
    assert ended["reasons"] == ["signal-lost", "rhythm-ended"]


def test_a_sensor_that_ends_its_stream_is_lost_too(ward: Ward) -> None:
    confirm(ward)
    ward.seconds = iter([*[NORMAL] * 10, "over", *[NORMAL] * 1000])
    lines = ward.watch(event("source-back"))
    assert any("ended its stream" in line.get("reason", "") for line in lines)


def failing_backbone(patch: pytest.MonkeyPatch, sha256: str, fail: Callable[[], None]) -> None:
    """From its golden windows on, a backbone does something else than it should."""
    real = backbone.OnnxBackbone.embed

    def embed(self: backbone.OnnxBackbone, windows: np.ndarray) -> np.ndarray:
        golden = len(windows) == len(made_bundle(2).golden_windows)
        if self.sha256 == sha256 and not golden:
            fail()
        return real(self, windows)

    patch.setattr(backbone.OnnxBackbone, "embed", embed)


def test_a_bundle_that_fails_on_trial_is_given_up(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm(ward)
    ward.slots.install(packed(2))

    def fail() -> None:
        raise BundleError("ONNX Runtime cannot run the backbone: made up")

    failing_backbone(monkeypatch, made_bundle(2).form.sha256, fail)
    starts = itertools.count()
    ward.watch(lambda line: line["event"] == "start" and next(starts) == 1)
    assert ward.events() == ["start", "trial-failed", "start", "stop"]
    assert ward.lines[2]["bundle"]["name"] == "made-1"
    assert "made up" in ward.slots.status()["failed"]["reason"]


def test_a_rate_that_only_the_old_bundle_takes_ends_the_trial(ward: Ward) -> None:
    confirm(ward)
    ward.slots.install(packed(2))
    ward.seconds = iter([*[NORMAL] * 5, "rate", "rate", *[NORMAL] * 1000])
    lines = ward.watch(event("source-back"))
    assert ward.events()[:3] == ["start", "trial-failed", "start"]
    # For a confirmed bundle it is the sensor that is wrong.
    assert lines[3]["event"] == "source-lost" and "50 Hz" in lines[3]["reason"]


def test_a_confirmed_bundle_that_fails_ends_the_service(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm(ward, 2)

    def fail() -> None:
        raise BundleError("made up")

    failing_backbone(monkeypatch, made_bundle(2).form.sha256, fail)
    lines: list[Line] = []
    config = GatewayConfig.load(ward.layout)
    with pytest.raises(BundleError, match="made up"):
        asyncio.run(Service(ward.layout, config, lines.append, Notifier()).run())
    assert lines[-1]["event"] == "cannot-judge" and "made up" in lines[-1]["sentence"]


def test_a_bundle_that_cannot_keep_up_is_given_up(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("gateway", "monitor"):
        monkeypatch.setattr(f"fewbeats.device.{module}.UNJUDGED_NS", 200_000_000)
    monkeypatch.setattr(watching, "LATE_S", 0.5)
    monkeypatch.setattr(watching, "LATE_SHARE", 0.2)
    confirm(ward)
    ward.slots.install(packed(2))

    def toil() -> None:
        until_s = time.thread_time() + 1.2  # for one second of signal
        while time.thread_time() < until_s:
            pass

    failing_backbone(monkeypatch, made_bundle(2).form.sha256, toil)
    starts = itertools.count()
    ward.watch(lambda line: line["event"] == "start" and next(starts) == 1)
    assert "trial-failed" in ward.events()
    assert "cannot keep up" in ward.slots.status()["failed"]["reason"]


def test_another_bundle_takes_over(ward: Ward) -> None:
    confirm(ward)
    ward.settings(trial_judged_s=10_000)
    installed: list[bool] = []

    def until(line: Line) -> bool:
        if line["event"] == "start" and not installed:
            installed.append(ward.slots.install(packed(2)).changed)
            return False
        return line["event"] == "start"

    ward.watch(until)
    assert ward.events() == ["start", "changing-over", "start", "stop"]
    assert [ward.lines[i]["bundle"]["name"] for i in (0, 2)] == ["made-1", "made-2"]
    assert list(ward.starts().values()) == [0]


def test_a_new_calibration_takes_over(ward: Ward) -> None:
    confirm(ward)
    ward.settings(patient="anna")
    seen: list[str] = []

    def until(line: Line) -> bool:
        seen.append(line["event"])
        if seen == ["start", "to-be-calibrated"]:
            ward.slots.keep_calibration("anna", calibrated(made_bundle(1)))
        return seen.count("start") == 2

    lines = ward.watch(until)
    assert [line["calibrated"] for line in lines if line["event"] == "start"] == [False, True]


def test_nothing_changes_over_while_an_episode_goes_on(ward: Ward) -> None:
    confirm(ward)
    ward.settings(trial_judged_s=10_000)
    ward.seconds = iter([*[VA] * 200, *[NORMAL] * 1000])

    def until(line: Line) -> bool:
        if line["event"] == "alarm" and line["end"] is None:
            ward.slots.install(packed(2))
        return line["event"] == "start" and line["bundle"]["name"] == "made-2"

    ward.watch(until)
    assert ward.events()[:6] == [
        "start",
        "alarm",
        "change-over-waits",
        "episode-ended",
        "changing-over",
        "start",
    ]


def test_who_is_to_be_calibrated_is_told(ward: Ward) -> None:
    confirm(ward)
    ward.settings(patient="anna")
    ward.slots.keep_calibration("ben", calibrated(made_bundle(1)))
    head = ward.slots.patients.files("ben")[0].path
    head.write_bytes(b"ruined")
    ward.watch(lambda line: line.get("patient") == "anna" and line["event"] != "start")
    told = {
        line["patient"]: line["reason"]
        for line in ward.lines
        if line["event"] == "to-be-calibrated"
    }
    assert "never calibrated" in told["anna"] and "no head file" in told["ben"]
    assert not ward.lines[0]["calibrated"]


def test_without_a_sound_bundle_development_watches_with_the_shipped_one(ward: Ward) -> None:
    lines = ward.watch(event("start"))
    assert ward.events() == ["problem", "start", "stop"]
    assert "No bundle is installed" in lines[0]["reason"]
    assert lines[1]["bundle"]["name"] == load_bundle().name
    assert lines[1]["bundle"]["slot"] is None


def test_without_a_sound_bundle_production_says_so_and_ends(ward: Ward) -> None:
    ward.settings(mode="production")
    ward.slots.install(packed(1))  # signed with the development key
    lines: list[Line] = []
    config = GatewayConfig.load(ward.layout)
    with pytest.raises(SlotError, match="development key"):
        asyncio.run(Service(ward.layout, config, lines.append, Notifier()).run())
    (line,) = lines
    assert line["event"] == "cannot-judge" and "development key" in line["sentence"]


def test_production_with_a_key_of_ones_own_warns_of_nothing(ward: Ward) -> None:
    ward.settings(mode="production")
    key = SigningKey.generate("ours")
    key.public.save(ward.layout.keys / "ours.pub")
    service_slots = made_slots(ward.root)
    assert service_slots.keyring.keys == ()
    from fewbeats.device.slots import open_slots

    open_slots(ward.root).install(packed(1, key=key))
    start = ward.watch(event("start"))[0]
    assert start["warning"] is None and start["bundle"]["signer"] == "ours"


def test_a_source_that_is_none_is_told_before_anything_else(ward: Ward) -> None:
    ward.settings(source="carrier-pigeon:coop7")
    with pytest.raises(AddressError, match="carrier-pigeon"):
        Service(ward.layout, GatewayConfig.load(ward.layout), print, Notifier())


def test_the_watchdog_hears_of_a_loop_that_turns(ward: Ward) -> None:
    said: list[str] = []

    class Heard(Notifier):
        def _send(self, text: str) -> None:
            said.append(text)

    confirm(ward)
    ward.seconds = iter([*[NORMAL] * 30, "lost", *["lost"] * 3, *[NORMAL] * 1000])

    async def run() -> None:
        heard = Heard(None, watchdog_s=0.001)
        config = GatewayConfig.load(ward.layout)
        task = asyncio.ensure_future(Service(ward.layout, config, lambda _: None, heard).run())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert said.count("WATCHDOG=1") > 20
    assert said.index("READY=1") < said.index("WATCHDOG=1")
    assert said[-1] == "STOPPING=1"
    statuses = [text for text in said if text.startswith("STATUS=")]
    assert statuses[0] == "STATUS=watching with made-1 1.0"
    assert any("cable" in text for text in statuses)


def status_lines(ward: Ward, until: Callable[[Line], bool]) -> list[str]:
    """What systemd shows while the service runs until a line is told."""
    said: list[str] = []

    class Heard(Notifier):
        def _send(self, text: str) -> None:
            said.append(text)

    async def run() -> None:
        seen = asyncio.Event()

        def tell(line: Line) -> None:
            ward.lines.append(line)
            if until(line):
                seen.set()

        config = GatewayConfig.load(ward.layout)
        task = asyncio.ensure_future(Service(ward.layout, config, tell, Heard()).run())
        await asyncio.wait_for(seen.wait(), 20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    return [text for text in said if text.startswith("STATUS=")]


def test_a_failing_trial_without_a_refuge_says_that_it_cannot_judge(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.slots.install(packed(2))
    left = iter(range(3))

    def fail() -> None:
        if next(left, None) is not None:
            raise BundleError("made up")

    failing_backbone(monkeypatch, made_bundle(2).form.sha256, fail)
    rests: list[float] = []
    rest = Service._rest

    async def noted(self: Service, wait_s: float) -> None:
        rests.append(wait_s)
        await rest(self, wait_s)

    monkeypatch.setattr(Service, "_rest", noted)
    statuses = status_lines(ward, event("judging-again"))
    assert ward.events().count("cannot-judge") == 3
    assert [round(wait_s / rests[0]) for wait_s in rests] == [1, 2, 4]
    # From the first failure until something is judged again nobody is told that it watches.
    assert statuses[0].startswith("STATUS=watching with")
    assert statuses[1:4] == ["STATUS=cannot judge: made up"] * 3
    assert statuses[4].startswith("STATUS=watching with")


def test_without_a_refuge_a_rate_is_the_sensors_fault(ward: Ward) -> None:
    ward.slots.install(packed(1))
    ward.seconds = iter(["rate", *[NORMAL] * 1000])
    ward.watch(event("source-back"))
    assert "trial-failed" not in ward.events()


ALWAYS = itertools.repeat(VA)


def test_a_bundle_that_a_person_gave_up_goes_at_once(ward: Ward) -> None:
    confirm(ward)
    ward.slots.install(packed(2))
    ward.settings(trial_judged_s=10_000)
    ward.seconds = ALWAYS

    def until(line: Line) -> bool:
        if line["event"] == "alarm" and line["end"] is None and "changing-over" not in seen:
            ward.slots.fall_back("it is loud")
        seen.append(line["event"])
        return line["event"] == "start" and line["bundle"]["name"] == "made-1"

    seen: list[str] = []
    ward.watch(until)
    assert "change-over-waits" not in seen


def test_a_bundle_that_alarms_all_the_time_is_replaced_in_the_end(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_DELAY_S", 0.3)
    monkeypatch.setattr(watching, "FRESH_S", 0.0)
    confirm(ward)
    ward.settings(trial_judged_s=10_000)
    ward.seconds = ALWAYS
    installed: list[bool] = []

    def until(line: Line) -> bool:
        if line["event"] == "alarm" and not installed:
            installed.append(ward.slots.install(packed(2)).changed)
        return line["event"] == "start" and line["bundle"]["name"] == "made-2"

    ward.watch(until)
    events = ward.events()
    assert events.index("change-over-waits") < events.index("changing-over")


def test_a_fresh_alarm_holds_a_change_up_for_longer(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_DELAY_S", 0.0)
    monkeypatch.setattr(watching, "LONGEST_DELAY_S", 1.0)
    confirm(ward)
    ward.settings(trial_judged_s=10_000)
    ward.seconds = ALWAYS
    at_s: dict[str, float] = {}

    def until(line: Line) -> bool:
        if line["event"] == "alarm" and not at_s:
            ward.slots.install(packed(2))
        at_s.setdefault(line["event"], time.monotonic())
        if line["event"] == "start" and "alarm" not in at_s:
            at_s.clear()
        return "changing-over" in at_s

    ward.watch(until)
    assert at_s["changing-over"] - at_s["change-over-waits"] >= 1.0


def test_a_start_that_could_not_be_recorded_is_made_up_for(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots_module, "WAIT_S", 0.1)
    monkeypatch.setattr(service, "RETRY_S", 0.1)
    confirm(ward)
    ward.slots.install(packed(2))
    ward.settings(trial_judged_s=10_000)
    lock, told = only_one(ward.layout.lock), []
    lock.__enter__()

    def until(line: Line) -> bool:
        if line["event"] == "start" and not told:
            status = ward.slots.status()
            told.append((status["current"]["name"], status["running"]["name"]))
            lock.__exit__(None, None, None)
        return line["event"] == "start" and line["bundle"]["name"] == "made-2"

    ward.watch(until)
    assert told == [("made-2", "made-1")]
    assert "fell-back" not in ward.events()
    assert ward.slots.status()["running"] is None  # it was stopped


def test_power_offs_do_not_wear_a_healthy_bundle_out(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged signal adds up, and a start that has judged a minute does not count."""
    confirm(ward)
    ward.slots.install(packed(2))
    ward.settings(trial_judged_s=400)
    monkeypatch.setattr(Service, "_end_run", lambda _: None)  # the power goes
    for run in range(1, 5):
        ward.seconds = iter([*[NORMAL] * 80, *[VA] * 1000])
        ward.watch(event("alarm"))
        state = State.read(ward.layout.state)
        assert list(state.trials.values()) == [0]
        assert next(iter(state.judged.values())) >= 60 * run
    ward.seconds = itertools.repeat(NORMAL)
    ward.watch(event("trial-confirmed"))
    assert ward.slots.status()["current"]["name"] == "made-2"


def test_a_worn_out_trial_without_a_refuge_still_adds_up(ward: Ward) -> None:
    ward.slots.install(packed(1))
    for _ in range(3):
        ward.slots.start()
    ward.settings(trial_judged_s=10_000)
    ward.seconds = iter([*[NORMAL] * 20, *[VA] * 1000])
    ward.watch(event("alarm"))
    assert next(iter(State.read(ward.layout.state).judged.values())) > 10


def test_an_orderly_stop_keeps_what_was_judged(ward: Ward) -> None:
    ward.slots.install(packed(1))
    ward.settings(trial_judged_s=10_000)
    ward.seconds = iter([*[NORMAL] * 20, *[VA] * 1000])
    ward.watch(event("alarm"))
    state = State.read(ward.layout.state)
    assert list(state.trials.values()) == [0] and 10 < next(iter(state.judged.values())) < 60


def test_what_could_not_be_taken_back_is_taken_back_later(ward: Ward) -> None:
    ward.slots.install(packed(1))
    ward.settings(trial_judged_s=10_000)
    ward.seconds = iter([*[NORMAL] * 5, *["lost"] * 10_000])
    lock, told = only_one(ward.layout.lock), []

    def until(line: Line) -> bool:
        if line["event"] == "start":
            lock.__enter__()
        if line["event"] == "problem" and not told:
            told.append(ward.starts())
            lock.__exit__(None, None, None)
        if told:
            told.append(ward.starts())
        return False

    async def run() -> None:
        config = GatewayConfig.load(ward.layout)
        task = asyncio.ensure_future(Service(ward.layout, config, until, Notifier()).run())
        for _ in range(400):
            await asyncio.sleep(0.05)
            if told and list(ward.starts().values()) == [0]:
                break
        taken_back = ward.starts()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert list(taken_back.values()) == [0]

    asyncio.run(run())
    assert list(told[0].values()) == [1]


def test_a_bad_file_among_the_keys_is_told(ward: Ward) -> None:
    confirm(ward)
    (ward.layout.keys / "ssh.pub").write_text("ssh-ed25519 AAAA me@here")
    ward.watch(event("start"))
    assert ward.events()[0] == "problem" and "ssh.pub" in ward.lines[0]["reason"]


def test_a_folder_of_keys_that_cannot_be_read_is_told(ward: Ward) -> None:
    confirm(ward)
    ward.layout.keys.rmdir()
    ward.layout.keys.write_text("")
    lines: list[Line] = []
    config = GatewayConfig.load(ward.layout)
    with pytest.raises(KeyFileError, match="Cannot read the keys"):
        asyncio.run(Service(ward.layout, config, lines.append, Notifier()).run())
    assert lines[-1]["event"] == "cannot-judge"

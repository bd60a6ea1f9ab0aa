"""The whole way on a real Debian: bare root, provisioning over ssh, golden windows, a planted VF.

Of this machine's architecture, and of a Raspberry Pi's under emulation. The roots have neither pip
nor a network. It takes minutes, so that it runs only where FEWBEATS_EMULATION is 1.
"""

import json
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fewbeats.deploy.step import told
from fewbeats.device.backbone import installed_runtimes
from fewbeats.device.bundle import Bundle
from fewbeats.device.keys import SigningKey
from gateways.debian_root import ARCHITECTURES, debian_root, enter, force_command, inside
from gateways.ssh_server import SshServer, ssh_server

pytestmark = pytest.mark.timeout(2400)

SETTINGS = """
mode = "production"
source = "serial:///srv/sensor"
trial_judged_s = 5.0
"""
# The golden windows, judged there: every embedding, to the last bit.
JUDGE = """
import sys
from pathlib import Path
from fewbeats.device.bundle import Bundle
from fewbeats.device.keys import Keyring
bundle = Bundle.load(Path(sys.argv[1]), Keyring.from_folder(Path("/etc/fewbeats/keys")))
sys.stdout.write(bundle.on("onnx").backbone.embed(bundle.golden_windows).tobytes().hex())
"""
PROGRAM = "/opt/fewbeats/current/bin"
WATCHED_S = 240.0
AS_SERVICE = "runuser -u fewbeats -- env ORT_DISABLE_TELEMETRY=1"


def fewbeats(*arguments: object, code: int = 0) -> str:
    """Run a verb here, and give its output."""
    command = [sys.executable, "-m", "fewbeats", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if not code else done.stderr


@dataclass(frozen=True, slots=True)
class Site:
    """A bare Debian, an address that leads into it, and what it is provisioned with."""

    root: Path
    server: SshServer
    options: list[object]

    @property
    def address(self) -> str:
        return self.server.address()


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    owner_key: SigningKey,
    pack: Callable[..., bytes],
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(request.param)
    folder.chmod(0o755)
    owner_key.public.save(folder / "clinic.pub")
    (folder / "first.fewbeats").write_bytes(pack("1.0.0"))
    (folder / "gateway.toml").write_text(SETTINGS, encoding="utf-8")
    options: list[object] = ["--trust", folder / "clinic.pub"]
    options += ["--bundle", folder / "first.fewbeats", "--config", folder / "gateway.toml"]
    with (
        debian_root(folder / "roots", request.param) as root,
        ssh_server(folder / "sshd", force_command(folder, root)) as server,
        pytest.MonkeyPatch.context() as env,
    ):
        env.setenv("FEWBEATS_SSH", server.command)
        yield Site(root, server, options)


def states(text: str) -> dict[str, str]:
    return {step["name"]: step["state"] for step in json.loads(text)["steps"]}


def all_files(root: Path) -> set[str]:
    folders = ("etc", "opt", "var/lib", "var/tmp", "srv", "usr/local")
    return {str(path) for folder in folders for path in (root / folder).rglob("*")}


def test_a_bare_debian_becomes_a_gateway_watches_and_is_given_back(
    site: Site, shipped: Bundle, pack: Callable[..., bytes], tmp_path: Path
) -> None:
    bare = all_files(site.root)
    # Looking touches nothing.
    looked = states(fewbeats("provision", site.address, *site.options, "--dry-run", "--json"))
    assert looked["program"] == looked["bundle"] == "todo"
    assert all_files(site.root) == bare
    assert "no gateway yet" in fewbeats("remote", "status", site.address, code=10)

    # Provisioned once, it is so; again, there is nothing to do.
    done = states(fewbeats("provision", site.address, *site.options, "--json"))
    assert set(done.values()) <= {"done", "already"}
    assert done["program"] == done["switch"] == done["bundle"] == "done"
    again = states(fewbeats("provision", site.address, *site.options, "--json"))
    assert set(again.values()) == {"already"}
    assert not list((site.root / "var/tmp").iterdir())

    # The golden windows, judged by the gateway's own program, are this machine's to the last bit.
    slot = "/var/lib/fewbeats/current/bundle.fewbeats"
    judged = inside(site.root, f"{AS_SERVICE} {PROGRAM}/python3 -c '{JUDGE}' {slot}")
    embeddings = np.frombuffer(bytes.fromhex(judged.stdout), dtype=np.float32)
    expected = shipped.on("onnx").backbone.embed(shipped.golden_windows)
    assert "onnx" in installed_runtimes()
    assert embeddings.tobytes() == expected.tobytes()
    assert expected.tobytes() == shipped.on("onnx").golden_embeddings.tobytes()

    # Its service finds the VF that the sensor plays, and confirms the bundle by itself.
    events = watched(site.root, "sinus:20,vf:20,sinus:30")
    names = [event["event"] for event in events]
    assert names.count("alarm") == 1, events
    assert names.index("trial-confirmed") < names.index("alarm") < names.index("episode-ended")
    status = json.loads(fewbeats("remote", "status", site.address, "--json"))
    assert status["current"]["state"] == "confirmed"

    # A flash goes the same way.
    second = tmp_path / "second.fewbeats"
    second.write_bytes(pack("1.1.0"))
    flashed = json.loads(fewbeats("flash", second, site.address, "--json"))
    assert (flashed["current"]["version"], flashed["previous"]["version"]) == ("1.1.0", "1.0.0")
    fewbeats("remote", "fall-back", site.address)

    # The service may write its state, and neither its program, nor its trust, nor its settings.
    for place in ("/opt/fewbeats/x", "/etc/fewbeats/x", "/etc/fewbeats/keys/x"):
        assert inside(site.root, f"{AS_SERVICE} touch {place}").returncode != 0

    # Given back, with patients' data for root's eyes; then wholly.
    fewbeats("deprovision", site.address, "--yes")
    assert (site.root / "var/lib/fewbeats").stat().st_mode & 0o777 == 0o700
    fewbeats("deprovision", site.address, "--yes", "--purge")
    left = {path for path in all_files(site.root) - bare if not path.endswith("-")}
    assert left <= {str(site.root / "etc/systemd/system/multi-user.target.wants")}
    assert set(states(fewbeats("deprovision", site.address, "--dry-run", "--json")).values()) == {
        "already"
    }


def test_a_card_is_set_up_at_once_where_its_programs_run(site: Site, tmp_path: Path) -> None:
    card = f"dir:{site.root}"
    done = states(fewbeats("provision", card, *site.options, "--now", "--json"))
    assert done["program"] == done["bundle"] == "done"
    status = json.loads(fewbeats("remote", "status", card, "--json"))
    assert status["current"]["version"] == "1.0.0"
    assert not (site.root / "opt/fewbeats/setup").exists()
    fewbeats("deprovision", card, "--yes", "--purge")
    assert not (site.root / "opt/fewbeats").exists()


def test_a_card_sets_itself_up_at_its_first_start(site: Site) -> None:
    if ARCHITECTURES[site.root.name] != platform.machine():
        pytest.skip("once is enough, and without an emulator it is quicker")
    card = f"dir:{site.root}"
    assert states(fewbeats("provision", card, *site.options, "--json"))["program"] == "later"
    assert "awaits its first start" in fewbeats("remote", "status", card, code=10)
    first_start = "sh /opt/fewbeats/setup/steps.sh run"
    done = inside(site.root, first_start)
    assert done.returncode == 0, done.stderr
    final = {t.name: t.state for line in done.stdout.splitlines() if (t := told(line))}
    assert set(final.values()) <= {"done", "already"}
    assert final["first-start"] == "done"
    assert json.loads(fewbeats("remote", "status", card, "--json"))["current"]["state"] == "trial"
    fewbeats("deprovision", card, "--yes", "--purge")


def watched(root: Path, scenario: str) -> list[dict[str, object]]:
    """Let the gateway's service watch a virtual sensor until an episode has ended."""
    command = [sys.executable, "-m", "fewbeats", "simulate", "--scenario", scenario]
    command += ["--autostart", "--once", "--tied", "--json"]
    sensor = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with sensor:
        assert sensor.stdin and sensor.stdout
        port = Path(json.loads(sensor.stdout.readline())["address"].removeprefix("serial://"))
        port.chmod(0o666)
        (root / "srv/sensor").symlink_to(port)
        try:
            return events_of(root)
        finally:
            (root / "srv/sensor").unlink()
            sensor.stdin.close()


def events_of(root: Path) -> list[dict[str, object]]:
    """What the service tells until an episode has ended, or for some minutes."""
    events: list[dict[str, object]] = []
    command = enter(root, f"exec {AS_SERVICE} {PROGRAM}/fewbeats gateway run")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as service:
        assert service.stdout
        limit = threading.Timer(WATCHED_S, service.terminate)
        limit.start()
        for line in service.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "episode-ended":
                service.terminate()
        limit.cancel()
    return events

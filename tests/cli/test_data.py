"""``fewbeats data``: fetching from a server, and saying what a folder holds."""

import functools
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def mirror(record: Path, tmp_path: Path) -> Iterator[str]:
    """A server with one record, under the name of a known database."""
    pytest.importorskip("wfdb")
    base = tmp_path / "served" / "vfdb" / "1.0.0"
    base.mkdir(parents=True)
    for extension in ("hea", "dat"):
        data = record.with_name(f"synth1.{extension}").read_bytes()
        (base / f"synth1.{extension}").write_bytes(data)
    # "(N" at sample 0, "(VF" at 60 s, "(N" at 85 s: annot(5), each with a SKIP before it.
    annotations = bytes.fromhex(
        "00ec00000000 0070 02fc284e00ec0000983a 0070 03fc2856460000ec00006a18 0070 02fc284e"
    )
    (base / "synth1.atr").write_bytes(annotations + b"\0\0")
    (base / "RECORDS").write_text("synth1\n")
    sums = [f"{hashlib.sha256(f.read_bytes()).hexdigest()} {f.name}\n" for f in base.iterdir()]
    (base / "SHA256SUMS.txt").write_text("".join(sums))
    handler = functools.partial(_Silent, directory=str(tmp_path / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetch_then_list(fewbeats, mirror: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = fewbeats("data", "fetch", "vfdb", "--out", data, "--mirror", mirror)
    assert done.returncode == 0, done.stderr
    assert "4 of them loaded now" in done.stdout
    assert "ODC-By 1.0" in done.stdout and "Greenwald" in done.stdout
    again = fewbeats("data", "fetch", "vfdb", "--out", data, "--mirror", mirror, "--json")
    (vfdb,) = json.loads(again.stdout)["databases"]
    assert (vfdb["database"], vfdb["files"], vfdb["loaded"]) == ("vfdb", 5, 0)
    listed = fewbeats("data", "list", data, "--json")
    assert listed.returncode == 0, listed.stderr
    content = json.loads(listed.stdout)
    held = content["databases"]["vfdb"]
    assert (held["subjects"], held["with_va"], held["records"], held["excluded"]) == (1, 1, 1, 0)
    assert held["hours"] == pytest.approx(120 / 3600)
    assert 10 <= held["va"] <= 13 and 40 <= held["non_va"] <= 48
    assert "ODC-By" in held["licence"]
    assert content["excluded"] == {}


def test_list_says_what_is_left_out_and_why(fewbeats, mirror: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    fewbeats("data", "fetch", "vfdb", "--out", data, "--mirror", mirror)
    (data / "ward").mkdir()
    (data / "ward" / "p1.hea").write_text("p1 1 250 500\np1.dat 16 200 16 0 0 0 0 I\n")
    (data / "ward" / "p1.dat").write_bytes(bytes(1000))
    done = fewbeats("data", "list", data)
    assert done.returncode == 0, done.stderr
    assert "vfdb" in done.stdout and "ward" in done.stdout
    assert "left out: ward/p1: No annotations" in done.stdout


def test_names_that_are_none_and_servers_that_are_none(fewbeats, tmp_path: Path) -> None:
    pytest.importorskip("wfdb")
    done = fewbeats("data", "fetch", "VFDB!", "--out", tmp_path)
    assert done.returncode == 8
    assert "known are cudb, mitdb, nsrdb, vfdb" in done.stderr


def test_an_empty_folder_is_told_how_to_fill_it(fewbeats, tmp_path: Path) -> None:
    done = fewbeats("data", "list", tmp_path)
    assert done.returncode == 8
    assert "fewbeats data fetch" in done.stderr


def test_without_the_wfdb_package(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['wfdb'] = None; from fewbeats.cli import main; "
        f"sys.argv = ['fewbeats', 'data', 'fetch', 'vfdb', '--out', {str(tmp_path)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "pip install 'fewbeats[wfdb]'" in done.stderr

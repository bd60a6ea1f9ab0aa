"""Fetching from a server that keeps PhysioNet's layout, and is cut, overloaded or wrong."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fewbeats.errors import DataError

wfdb = pytest.importorskip("wfdb")

from fewbeats.training.fetch import Fetched, fetch_database  # noqa: E402


@dataclass
class PhysioNet:
    """What the server has, what goes wrong next, and what was asked of it."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[object]] = field(default_factory=dict)
    """For each path what happens to the next requests: a status, bytes after which the connection
    is cut (negative), or None for nothing."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True

    def publish(self, database: str, files: dict[str, bytes], version: str = "1.0.0") -> None:
        sums = "".join(f"{hashlib.sha256(d).hexdigest()} {name}\n" for name, d in files.items())
        base = f"/files/{database}/{version}"
        self.files |= {f"{base}/{name}": data for name, data in files.items()}
        self.files[f"{base}/SHA256SUMS.txt"] = sums.encode()

    def paths(self) -> list[str]:
        return [path.rpartition("/")[2] for path, _ in self.asked]


BLOCK = 16384  # what is written at a time
DAT = bytes(range(256)) * 4096  # one MiB
FILES = {
    "RECORDS": b"418\n419\n",
    "ANNOTATORS": b"atr\treference\n",
    "418.hea": b"418 1 250 1000\n418.dat 212 200 12 0 0 0 0 ECG\n",
    "418.dat": DAT,
    "418.atr": b"\0\0",
    "419.hea": b"419 1 250 1000\n419.dat 212 200 12 0 0 0 0 ECG\n",
    "419.dat": DAT[::-1],
    "419.atr": b"\0\0",
    "doc/page.html": b"not a record",
}


@pytest.fixture
def physionet() -> Iterator[PhysioNet]:
    net = PhysioNet()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            net.asked.append((self.path, wanted))
            fault = net.faults[self.path].pop(0) if net.faults.get(self.path) else None
            data = net.files.get(self.path)
            if isinstance(fault, int) and fault > 0:
                self.send_response(fault)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if data is None:
                self.send_error(404)
                return
            start = int(wanted[6:-1]) if wanted and net.ranges else 0
            if start and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            stop = len(data) if fault is None else start - fault
            self.wfile.write(data[start:stop])
            self.close_connection = fault is not None

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that goes away is part of the tests
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    net.url = f"http://127.0.0.1:{server.server_port}"
    wfdb.set_db_index_url(f"{net.url}/files/")
    net.publish("vfdb", FILES)
    yield net
    wfdb.set_db_index_url()
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(out: Path, name: str = "vfdb") -> Fetched:
    return fetch_database(name, out, first_pause_s=0.01)


def test_records_come_whole_and_the_second_time_nothing_comes(physionet, tmp_path):
    seen = []
    first = fetch_database("vfdb", tmp_path, lambda *now: seen.append(now), 0.01)
    folder = tmp_path / "vfdb"
    assert first.folder == folder
    there = {path.name for path in folder.iterdir()}
    assert there == {*FILES, "SHA256SUMS.txt"} - {"doc/page.html"}
    assert all((folder / name).read_bytes() == FILES[name] for name in there & set(FILES))
    assert (first.files, first.loaded, first.version) == (9, 8, "1.0.0")
    assert first.loaded_bytes == sum(map(len, FILES.values())) - len(FILES["doc/page.html"])
    assert "ODC-By" in first.licence and "Goldberger" in first.citation
    assert seen[-1] == (8, 8, "vfdb")
    physionet.asked.clear()
    second = fetch(tmp_path)
    assert (second.files, second.loaded, second.loaded_bytes) == (9, 0, 0)
    assert physionet.paths() == ["SHA256SUMS.txt"]


def test_a_cut_connection_goes_on_where_it_was(physionet, tmp_path):
    path = "/files/vfdb/1.0.0/418.dat"
    physionet.faults[path] = [-20 * BLOCK, -1, -10 * BLOCK]
    fetched = fetch(tmp_path)
    assert (tmp_path / "vfdb/418.dat").read_bytes() == DAT
    asked = [wanted for name, wanted in physionet.asked if name == path]
    assert asked == [None, "bytes=327680-", "bytes=327680-", "bytes=491520-"]
    assert fetched.loaded_bytes == sum(map(len, FILES.values())) - len(FILES["doc/page.html"])


def test_an_interrupted_run_goes_on_and_a_part_is_never_taken_for_whole(physionet, tmp_path):
    path = "/files/vfdb/1.0.0/418.dat"
    physionet.faults[path] = [-20 * BLOCK, 500, 500, 500, 500, 500]
    with pytest.raises(DataError, match=r"5 tries: the server answers 500.*same command"):
        fetch(tmp_path)
    folder = tmp_path / "vfdb"
    assert not (folder / "418.dat").exists()
    assert (folder / "418.dat.part").stat().st_size == 20 * BLOCK
    physionet.asked.clear()
    fetch(tmp_path)
    assert (path, "bytes=327680-") in physionet.asked
    assert (folder / "418.dat").read_bytes() == DAT
    assert not list(folder.glob("*.part"))


def test_a_server_without_ranges_is_loaded_from_the_start(physionet, tmp_path):
    physionet.ranges = False
    physionet.faults["/files/vfdb/1.0.0/418.dat"] = [-20 * BLOCK]
    fetch(tmp_path)
    assert (tmp_path / "vfdb/418.dat").read_bytes() == DAT


@pytest.mark.parametrize("rubbish", [b"another beginning", DAT[::-1], DAT + b"more"])
def test_a_part_of_something_else_is_replaced(physionet, tmp_path, rubbish):
    (tmp_path / "vfdb").mkdir()
    (tmp_path / "vfdb/418.dat.part").write_bytes(rubbish)
    fetch(tmp_path)
    assert (tmp_path / "vfdb/418.dat").read_bytes() == DAT


def test_a_part_that_was_whole_only_gets_its_name(physionet, tmp_path):
    (tmp_path / "vfdb").mkdir()
    (tmp_path / "vfdb/418.dat.part").write_bytes(DAT)
    fetch(tmp_path)
    assert (tmp_path / "vfdb/418.dat").read_bytes() == DAT


def test_a_damaged_file_is_fetched_again(physionet, tmp_path):
    fetch(tmp_path)
    (tmp_path / "vfdb/418.dat").write_bytes(DAT[:-1] + b"\0")
    physionet.asked.clear()
    assert fetch(tmp_path).loaded == 1
    assert physionet.paths() == ["SHA256SUMS.txt", "418.dat"]
    assert (tmp_path / "vfdb/418.dat").read_bytes() == DAT


def test_a_wrong_checksum_is_refused_and_not_kept(physionet, tmp_path):
    physionet.files["/files/vfdb/1.0.0/418.dat"] = DAT[::-1]
    with pytest.raises(DataError, match=r"418.dat does not have the checksum"):
        fetch(tmp_path)
    assert not list((tmp_path / "vfdb").glob("418.dat*"))
    assert (tmp_path / "vfdb/418.hea").exists()


def test_an_overloaded_server_is_asked_again(physionet, tmp_path):
    physionet.faults["/files/vfdb/1.0.0/SHA256SUMS.txt"] = [503, 503]
    physionet.faults["/files/vfdb/1.0.0/418.hea"] = [503, 429]
    assert fetch(tmp_path).loaded == 8


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(403, "not open to everybody"), (301, "status 301"), (404, "missing"), (410, "missing")],
)
def test_a_refusal_is_final(physionet, tmp_path, status, sentence):
    path = "/files/vfdb/1.0.0/418.hea"
    physionet.faults[path] = [status]
    with pytest.raises(DataError, match=sentence):
        fetch(tmp_path)
    assert [name for name, _ in physionet.asked].count(path) == 1


def test_without_checksums_nothing_is_fetched(physionet, tmp_path):
    del physionet.files["/files/vfdb/1.0.0/SHA256SUMS.txt"]
    with pytest.raises(DataError, match=r"no SHA256SUMS.txt.*not fetched.*cudb, mitdb"):
        fetch(tmp_path)
    assert not (tmp_path / "vfdb").exists()


@pytest.mark.parametrize(
    "line",
    ["<html>", *(f"{'0' * 64} {path}" for path in ("../../evil", "/etc/evil", ".", "./", "a\0b"))],
)
def test_sums_that_are_none_are_refused(physionet, tmp_path, line):
    physionet.files["/files/vfdb/1.0.0/SHA256SUMS.txt"] += line.encode()
    with pytest.raises(DataError, match="line 10: that is no checksum"):
        fetch(tmp_path)


@pytest.mark.parametrize("name", ["fewbeats.toml", "./Fewbeats.TOML", "sub/fewbeats.toml"])
def test_a_server_cannot_plant_a_label_map(physionet, tmp_path, name):
    planted = {**FILES, "RECORDS": b"fewbeats\nsub/fewbeats\n418\n", name: b"[symbols]"}
    physionet.publish("vfdb", planted)
    with pytest.raises(DataError, match=r"fewbeats\.toml says how records are labelled"):
        fetch(tmp_path)
    assert not (tmp_path / "vfdb").exists()


def test_a_database_without_records_is_none(physionet, tmp_path):
    physionet.publish("vfdb", {"table.csv": b"1"})
    with pytest.raises(DataError, match="no WFDB database"):
        fetch(tmp_path)


@pytest.mark.parametrize("name", ["MITDB", "mit db", "../vfdb", "", "vfdb/latest", "vfdb/"])
def test_what_looks_like_no_database_is_told_the_known_ones(tmp_path, name):
    with pytest.raises(DataError, match="cudb, mitdb, nsrdb, vfdb"):
        fetch(tmp_path, name)


def test_another_database_by_version_or_by_its_page(physionet, tmp_path, monkeypatch):
    files = {
        "RECORDS": b"sub/\n",
        "sub/RECORDS": b"s1\n",
        "sub/s1.hea": b"s1/2 1 250 20\nseg_0 10\nseg_1 10\n",
        "sub/seg_0.hea": b"seg_0 1 250 10\nodd-name.bin 16\n",
        "sub/seg_1.hea": b"seg_1 1 250 10\nseg_1.dat 16\n",
        "sub/odd-name.bin": b"1",
        "sub/seg_1.dat": b"2",
        "sub/other.dat": b"3",
    }
    physionet.publish("otherdb", files, "2.1")
    monkeypatch.setattr(wfdb.io.download, "PN_CONTENT_URL", f"{physionet.url}/content/")
    fetched = fetch(tmp_path, "otherdb/2.1")
    assert fetched.loaded == len(files) - 1
    assert not (tmp_path / "otherdb/sub/other.dat").exists()
    assert "otherdb/2.1" in fetched.licence
    with pytest.raises(DataError, match=r"no open database 'otherdb'; known are cudb"):
        fetch(tmp_path, "otherdb")
    physionet.files["/content/otherdb/"] = b"<p>Published: May 1. <strong>Version:</strong> 2.1</p>"
    assert fetch(tmp_path, "otherdb").loaded == 0


def test_a_full_disk_is_one_sentence(physionet, tmp_path):
    (tmp_path / "vfdb").mkdir()
    (tmp_path / "vfdb/418.dat.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"disk is full.*418\.dat could not be written"):
        fetch(tmp_path)
    assert not (tmp_path / "vfdb/418.dat").exists()


def test_a_place_that_cannot_be_written_is_one_sentence(physionet, tmp_path):
    (tmp_path / "vfdb").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be written"):
        fetch(tmp_path)


def test_nobody_there_is_one_sentence(tmp_path):
    wfdb.set_db_index_url("http://127.0.0.1:1/files/")
    try:
        with pytest.raises(DataError, match="no connection"):
            fetch(tmp_path)
    finally:
        wfdb.set_db_index_url()

"""Databases from PhysioNet: whole files whose checksums fit, or nothing.

The wfdb package knows where PhysioNet is (``wfdb.set_db_index_url`` names a mirror), but it loads a
file in one piece, waits for ever, and checks nothing. Here a file grows as ``NAME.part``, goes on
where a cut connection left it, and gets its name once it has the SHA-256 that the database's
``SHA256SUMS.txt`` gives.
"""

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests
from wfdb.io import download

import fewbeats
from fewbeats.device.files import write_atomically
from fewbeats.errors import DataError
from fewbeats.training.label_map import FILE_NAME, known_databases

Progress = Callable[[int, int, str], None]

SUMS = "SHA256SUMS.txt"
TIMEOUT_S = (10.0, 60.0)
"""To connect, and without a byte."""
MOST_FAILURES = 5
"""In a row, without a byte gained."""
LONGEST_PAUSE_S = 60.0
_BLOCK_BYTES = 1 << 14  # what a cut connection may cost
_MOST_TEXT_BYTES = 64 << 20  # of a list of files

_SLUG = re.compile(r"(?P<slug>[a-z0-9][a-z0-9-]{0,63})(?:/(?P<version>\d+(?:\.\d+){1,3}))?")
_SUM_LINE = re.compile(r"(?P<sha256>[0-9a-fA-F]{64}) [ *]?(?P<path>\S.*)")
_VERSION = re.compile(r"Version:\s*(?:</\w+>\s*)?(\d+(?:\.\d+){1,3})")
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A database that is whole on this disk.

    Attributes:
        database: its name on PhysioNet.
        version: of the database.
        folder: where it lies.
        files: how many files it has here.
        loaded: how many of them came over the network this time.
        loaded_bytes: how much that was.
        licence: name and licence, or where to read it.
        citation: whom to name.
    """

    database: str
    version: str
    folder: Path
    files: int
    loaded: int
    loaded_bytes: int
    licence: str
    citation: str


def fetch_database(
    name: str, out: Path, progress: Progress | None = None, first_pause_s: float = 1.0
) -> Fetched:
    """Bring the records of one database to ``out/name``; what is there and whole, stays.

    Args:
        name: a PhysioNet database, "vfdb", or one version of it, "vfdb/1.0.0".
        out: the folder of databases.
        progress: called with (files done, files known, the next one's name).
        first_pause_s: before the second try of a request; doubled from try to try.

    Raises:
        DataError: no such database, no checksums, a file that does not fit its own, a server or
            a network that does not deliver, or a disk that is full.
    """
    match = _SLUG.fullmatch(name)
    if match is None:
        raise DataError(
            f"{name!r} is no name of a PhysioNet database; known are "
            f"{', '.join(sorted(known_databases()))}, and any other is written as in its address, "
            f"such as sddb or sddb/1.0.0."
        )
    slug, version = match["slug"], match["version"]
    with requests.Session() as session:
        session.headers["User-Agent"] = f"fewbeats/{fewbeats.__version__}"
        session.headers["Accept-Encoding"] = "identity"
        server = _Server(session, first_pause_s)
        if version is None:
            version = "1.0.0" if slug in known_databases() else _latest_version(server, slug)
        url = f"{download.config.db_index_url.rstrip('/')}/{slug}/{version}"
        return _Fetch(server, slug, version, url, out / slug).run(progress)


def _latest_version(server: "_Server", slug: str) -> str:
    """The version that the database's page names first."""
    page = server.text(f"{download.PN_CONTENT_URL.rstrip('/')}/{slug}/", _unknown(slug))
    match = _VERSION.search(page)
    if match is None:
        raise DataError(
            f"PhysioNet's page of {slug!r} names no version; name one yourself, as in {slug}/1.0.0."
        )
    return match[1]


def _unknown(slug: str) -> str:
    return (
        f"PhysioNet has no open database {slug!r}; known are {', '.join(sorted(known_databases()))}"
    )


class _Server:
    """Requests that are tried again, within bounds."""

    def __init__(self, session: requests.Session, first_pause_s: float) -> None:
        self._session = session
        self._first_pause_s = first_pause_s

    def text(self, url: str, missing: str) -> str:
        """A small file, whole."""
        data = bytearray()

        def take(response: requests.Response) -> None:
            data.clear()
            for block in response.iter_content(_BLOCK_BYTES):
                data.extend(block)
                if len(data) > _MOST_TEXT_BYTES:
                    raise DataError(f"{url} is larger than any list of files; is it a mirror?")

        self.get(url, missing, lambda: 0, take)
        return data.decode("utf-8", errors="replace")

    def get(
        self,
        url: str,
        missing: str,
        have: Callable[[], int],
        take: Callable[[requests.Response], None],
    ) -> None:
        """Ask for what is not there yet and hand over the answer, until ``take`` had all of it.

        Args:
            url: of the file.
            missing: the sentence for a file that the server does not have.
            have: how many bytes of it are here.
            take: writes the answer down; the network may fail it at any byte.

        Raises:
            DataError: a refusal, or no byte gained in several tries.
        """
        failures = 0
        while True:
            before = have()
            headers = {"Range": f"bytes={before}-"} if before else {}
            pause_s = self._first_pause_s * 2**failures
            try:
                with self._session.get(
                    url, headers=headers, stream=True, timeout=TIMEOUT_S
                ) as response:
                    status = response.status_code
                    if status in (200, 206, 416):
                        take(response)
                        return
                    if status not in _WORTH_ANOTHER_TRY:
                        raise DataError(_refused(url, status, missing))
                    trouble = f"the server answers {status} {response.reason}"
                    after = response.headers.get("Retry-After", "")
                    pause_s = max(pause_s, float(after)) if after.isdecimal() else pause_s
            except requests.RequestException as error:
                trouble = _in_short(error)
            failures = 0 if have() > before else failures + 1
            if failures >= MOST_FAILURES:
                raise DataError(
                    f"{url} could not be loaded in {failures} tries: {trouble}. What is here "
                    f"already is kept: run the same command again to go on."
                )
            time.sleep(min(pause_s, LONGEST_PAUSE_S))


def _refused(url: str, status: int, missing: str) -> str:
    if status in (404, 410):
        return f"{missing} (the server has no {url})."
    if status in (401, 403):
        return f"{url} is not open to everybody ({status}); fetch it by hand, with your account."
    return f"{url} was refused with status {status}; is it PhysioNet, or a mirror of it?"


def _in_short(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__


class _Fetch:
    """One database: which files its records are, and each of them whole."""

    def __init__(self, server: _Server, slug: str, version: str, url: str, folder: Path) -> None:
        self._server = server
        self._slug, self._version, self._url, self._folder = slug, version, url, folder
        self._sums: dict[str, str] = {}
        self._loaded = self._loaded_bytes = 0

    def run(self, progress: Progress | None) -> Fetched:
        text = self._server.text(
            f"{self._url}/{SUMS}",
            f"{self._slug} {self._version} has no {SUMS}, or is not there at all: what cannot be "
            f"checked is not fetched. Known are {', '.join(sorted(known_databases()))}",
        )
        self._sums = _parsed_sums(text, f"{self._url}/{SUMS}")
        if "RECORDS" not in self._sums:
            raise DataError(f"{self._slug} has no RECORDS among its files: it is no WFDB database.")
        names: list[str] = [
            name for name in ("RECORDS", "ANNOTATORS", "LICENSE.txt") if name in self._sums
        ]
        known = set(names)
        for done, name in enumerate(names):  # which grows: some files name others
            if progress:
                progress(done, len(names), f"{self._slug}/{name}")
            self._bring(name)
            more = [file for file in self._named_in(name) if file not in known]
            names += more
            known.update(more)
        try:
            write_atomically(self._folder / SUMS, text.encode())
        except OSError as error:
            raise _unwritable(self._folder / SUMS, error) from error
        if progress:
            progress(len(names), len(names), self._slug)
        known_map = known_databases().get(self._slug)
        page = f"{download.PN_CONTENT_URL.rstrip('/')}/{self._slug}/{self._version}/"
        return Fetched(
            database=self._slug,
            version=self._version,
            folder=self._folder,
            files=len(names) + 1,
            loaded=self._loaded,
            loaded_bytes=self._loaded_bytes,
            licence=known_map.terms if known_map else f"see {page}",
            citation=known_map.citation if known_map else f"see {page}",
        )

    def _named_in(self, name: str) -> list[str]:
        """The files that a list of records, or a header, asks for; those that the sums have."""
        folder = PurePosixPath(name).parent
        if PurePosixPath(name).name == "RECORDS":
            lines = self._lines(name)
            stems = {str(folder / line) for line in lines if not line.endswith("/")}
            lists = [str(folder / line / "RECORDS") for line in lines if line.endswith("/")]
            files = [
                file for file in self._sums if str(PurePosixPath(file).with_suffix("")) in stems
            ]
            return [file for file in lists if file in self._sums] + files
        if name.endswith(".hea"):
            tokens = [str(folder / line.split()[0]) for line in self._lines(name)[1:]]
            return [
                file for token in tokens for file in (token, f"{token}.hea") if file in self._sums
            ]
        return []

    def _lines(self, name: str) -> list[str]:
        try:
            text = (self._folder / name).read_text("utf-8", errors="replace")
        except OSError as error:
            raise DataError(f"{self._folder / name} cannot be read: {error.strerror}.") from error
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    def _bring(self, name: str) -> None:
        """See to it that a file is here, whole, under its own name."""
        path = self._folder / name
        part = path.with_name(path.name + ".part")
        try:
            if path.is_file() and _sha256(path) == self._sums[name]:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            # A part may be the beginning of something else: if it ends wrong, once more from zero.
            for _ in range(2):
                self._load(name, part)
                if _sha256(part) == self._sums[name]:
                    _settle(part, path)
                    self._loaded += 1
                    return
                part.unlink()
        except requests.RequestException:
            raise
        except OSError as error:
            raise _unwritable(path, error) from error
        raise DataError(
            f"{self._url}/{name} does not have the checksum that {SUMS} gives, twice: it is "
            f"not kept. If it stays so, the server or something on the way alters it."
        )

    def _load(self, name: str, part: Path) -> None:
        def have() -> int:
            return part.stat().st_size if part.exists() else 0

        def take(response: requests.Response) -> None:
            if response.status_code == 416:  # nothing comes after what is here
                return
            went_on = response.status_code == 206 and response.headers.get(
                "Content-Range", ""
            ).startswith(f"bytes {have()}-")
            with part.open("ab" if went_on else "wb") as file:
                begin = file.tell()
                for block in response.iter_content(_BLOCK_BYTES):
                    file.write(block)
                    self._loaded_bytes += len(block)
                file.flush()
                os.fsync(file.fileno())
                promised = response.headers.get("Content-Length", "")
                if promised.isdecimal() and file.tell() - begin < int(promised):
                    raise requests.exceptions.ChunkedEncodingError  # cut, whatever urllib3 thinks

        self._server.get(
            f"{self._url}/{name}",
            f"{name} is listed in {SUMS} of {self._slug}, but missing",
            have,
            take,
        )


def _parsed_sums(text: str, source: str) -> dict[str, str]:
    """Path to SHA-256, of every file.

    A path that would lead out of the folder is refused, and so is a label map: the server would
    say what counts as VA, and which seconds are not looked at.
    """
    sums = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _SUM_LINE.fullmatch(line.rstrip())
        path = PurePosixPath(match["path"]) if match else None
        if match is None or path is None or not _stays_inside(path):
            raise DataError(f"{source} has {line[:80]!r} in line {number}: that is no checksum.")
        if any(part.casefold() == FILE_NAME for part in path.parts):
            raise DataError(
                f"{source} has {line[:80]!r} in line {number}: {FILE_NAME} says how records are "
                f"labelled, and no database on PhysioNet has one. Is it a mirror? Fetch from "
                f"another server, and write that file yourself where one is needed."
            )
        sums[str(path)] = match["sha256"].lower()
    return sums


def _stays_inside(path: PurePosixPath) -> bool:
    """Whether it is the name of a file in the folder, and one that every system takes."""
    named = bool(path.name) and "\0" not in str(path)
    return named and not path.is_absolute() and ".." not in path.parts


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _settle(part: Path, path: Path) -> None:
    """Give a file its name, durably."""
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _unwritable(path: Path, error: OSError) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"The disk is full: {path} could not be written. What is here already is kept: make "
            f"room and run the same command again."
        )
    return DataError(f"{path} cannot be written: {error.strerror or error}.")

"""The installed OpenSSH client as a way to a gateway: one command, bytes in, text out.

The user's own configuration, keys, agent and known hosts apply, but for one thing: a host key that
is not known already is refused, whatever ``StrictHostKeyChecking`` says there, ``accept-new`` too.
``FEWBEATS_SSH`` names another command in place of ``ssh``; its options are the user's own word.
"""

import os
import re
import selectors
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Self
from urllib.parse import unquote, urlsplit

from fewbeats.errors import TargetError, TargetLostError

OPTIONS = (
    "-T",  # no terminal: what is sent must arrive as it is
    "-a",  # the gateway gets neither our agent
    "-x",  # nor our screen
    "-oStrictHostKeyChecking=yes",  # whoever stands in between must not become a gateway's root
    "-oBatchMode=yes",  # nobody is there to type a password
    "-oControlMaster=no",  # a shared connection left behind would hold our pipes open
    "-oConnectTimeout=15",
    "-oServerAliveInterval=5",
    "-oServerAliveCountMax=6",
)
SILENT_S = 300.0
"""How long a command may neither take nor give a byte: an install proves its golden windows."""
MAX_ANSWER_BYTES = 4_000_000
_CONNECTED = "fewbeats-connected"
_CHUNK_BYTES = 32_768
_SSH_FAILED = 255
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")
_HOST = re.compile(r"[A-Za-z0-9_:%][A-Za-z0-9_.:%-]*")

Progress = Callable[[int, int], None]
"""Is told (bytes sent, bytes in all)."""


@dataclass(frozen=True, slots=True)
class SshAddress:
    """``ssh://[user@]host[:port][/root]``.

    Attributes:
        host: name or number, as ``ssh`` takes it: an alias of the user's configuration too.
        user: None: as the user's configuration has it.
        port: None: as the user's configuration has it.
        root: folder on the gateway that stands for its root.
    """

    host: str
    user: str | None = None
    port: int | None = None
    root: str = "/"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises:
            TargetError: it is none.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise TargetError(f"{text!r} is no address ({error}); give ssh://pi@host.") from error
        host, user = unquote(_host_in(parts.netloc)), unquote(parts.username or "") or None
        if parts.scheme != "ssh" or parts.query or parts.fragment or not _HOST.fullmatch(host):
            raise TargetError(f"{text!r} names no host; give ssh://pi@host[:port][/root].")
        if port == 0:
            raise TargetError(f"{text!r}: there is no port 0; leave it away, or give 22.")
        if parts.password is not None:
            raise TargetError(
                "An address with a password would end up in logs; set up a key for the gateway "
                "with ssh-copy-id instead."
            )
        if user is not None and not _USER.fullmatch(user):
            raise TargetError(f"{user!r} is no user's name; give ssh://pi@host.")
        root = unquote(parts.path) or "/"
        if "\0" in root or "\n" in root:
            raise TargetError(f"{root!r} is no folder's name.")
        return cls(host, user, port, root)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"ssh://{user}{host}{port}{'' if self.root == '/' else self.root}"


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command on the gateway ended.

    Attributes:
        code: its exit code.
        out: its standard output.
        err: its standard error, and the ssh client's.
        sent_bytes: how much of its input it was given.
    """

    code: int
    out: str
    err: str
    sent_bytes: int

    @property
    def last_words(self) -> str:
        """The last line of standard error that says something."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return lines[-1] if lines else ""


class OpenSsh:
    """Runs commands on one gateway, a connection for each.

    Args:
        address: where.
        silent_s: how long a command may neither take nor give a byte.
    """

    def __init__(self, address: SshAddress, silent_s: float = SILENT_S) -> None:
        self.address = address
        self._silent_s = silent_s

    def run(
        self,
        script: str,
        arguments: Sequence[str] = (),
        send: bytes = b"",
        progress: Progress | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Answer:
        """Run a POSIX shell script on the gateway, with bytes for its standard input.

        Args:
            script: its text; ``$1`` and so on are the arguments.
            arguments: quoted here, whatever they hold.
            send: for standard input, which ends after them.
            progress: is told the bytes taken by the client, and all of them.
            on_line: is given each line of standard output when it comes.

        Returns:
            How the command ended, whatever its exit code.

        Raises:
            TargetError: no connection came about.
            TargetLostError: the connection broke, or all was silent for too long.
        """
        told = f"echo {_CONNECTED}\n{script}"
        remote = shlex.join(["sh", "-c", told, "fewbeats", *arguments])
        client = _client()
        command = [*client, *OPTIONS, *self._where(), "--", self.address.host, remote]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            raise TargetError(
                f"Cannot run {client[0]!r} ({error.strerror}); install the OpenSSH client "
                f"(Debian: openssh-client)."
            ) from error
        with process:
            try:
                talk = _Talk(process, send, progress, on_line)
                heard = talk.until_end(self._silent_s)
            except BaseException:
                process.kill()
                raise
            if not heard:
                process.kill()
        answer = Answer(process.returncode, talk.out, talk.err, talk.sent_bytes)
        if not heard:
            raise TargetLostError(
                f"{self.address} has been silent for {self._silent_s:g} s, and the connection was "
                f"closed. Look whether the gateway has power and network, then run it again."
            )
        if not talk.connected:
            raise TargetError(self._why_not(answer))
        if answer.code == _SSH_FAILED or answer.code < 0:
            raise TargetLostError(
                f"The connection to {self.address} broke after {answer.sent_bytes} of "
                f"{len(send)} bytes ({answer.last_words or 'the ssh client ended'})."
            )
        return answer

    def _where(self) -> list[str]:
        user = ["-l", self.address.user] if self.address.user else []
        return user + (["-p", str(self.address.port)] if self.address.port else [])

    def _why_not(self, answer: Answer) -> str:
        """One sentence from what the client said before there was a connection."""
        where, err = self.address, answer.err
        if "REMOTE HOST IDENTIFICATION HAS CHANGED" in err:
            return (
                f"The host key of {where} is not the one known from before: it was set up anew, "
                f"or somebody stands in between. Find out which; only then remove the old key "
                f"with: ssh-keygen -R {where.host}"
            )
        if "Host key verification failed" in err:
            return (
                f"The host key of {where} is not known here. Connect once by hand with ssh, "
                f"compare the fingerprint with the gateway's own, accept it, then run this again."
            )
        if "Permission denied" in err or "Too many authentication failures" in err:
            return (
                f"{where} lets none of your keys in ({answer.last_words}). Name the user "
                f"(ssh://pi@host), or bring your key there with ssh-copy-id."
            )
        return (
            f"{where} cannot be reached ({answer.last_words or f'ssh ended with {answer.code}'}). "
            f"Look whether it has power and network, and whether the name is right."
        )


def _host_in(netloc: str) -> str:
    """The host as it was written: names in the user's configuration tell capitals apart."""
    place = netloc.rpartition("@")[2]
    return place[1:].partition("]")[0] if place.startswith("[") else place.partition(":")[0]


def _client() -> list[str]:
    """The command that connects.

    Raises:
        TargetError: FEWBEATS_SSH is none.
    """
    text = os.environ.get("FEWBEATS_SSH") or "ssh"
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise TargetError(
            f"FEWBEATS_SSH is {text!r}, which is no command ({error}); put its quotes right."
        ) from error
    return words or ["ssh"]


class _Talk:
    """Feeds a process and listens to it at once, so that neither waits for the other."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        send: bytes,
        progress: Progress | None,
        on_line: Callable[[str], None] | None,
    ) -> None:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, they are pipes
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._left, self._all_bytes = memoryview(send), len(send)
        self._progress, self._on_line = progress, on_line
        self._heard: dict[IO[bytes], bytearray] = {
            self._stdout: bytearray(),
            self._stderr: bytearray(),
        }
        self._told_lines = 0
        self.connected = False

    @property
    def sent_bytes(self) -> int:
        """What the client has taken; part of it may still be on the way."""
        return self._all_bytes - len(self._left)

    @property
    def out(self) -> str:
        """Standard output since the connection stood: a login's own greetings are left out."""
        text = self._text(self._stdout)
        return text.partition(f"{_CONNECTED}\n")[2] if self.connected else ""

    @property
    def err(self) -> str:
        """Standard error."""
        return self._text(self._stderr)

    def until_end(self, silent_s: float) -> bool:
        """Talk until the other side has closed; False if it fell silent before."""
        os.set_blocking(self._stdin.fileno(), False)
        with selectors.DefaultSelector() as ready:
            for stream in (self._stdout, self._stderr):
                ready.register(stream, selectors.EVENT_READ, partial(self._read, stream))
            deadline, sending = time.monotonic() + silent_s, False
            while ready.get_map():
                moved = ready.select(max(0.0, deadline - time.monotonic()))
                if not moved:
                    return False
                deadline = time.monotonic() + silent_s
                for key, _ in moved:
                    turn: Callable[[], bool] = key.data
                    if not turn():
                        ready.unregister(key.fileobj)
                        if key.fileobj is self._stdin:
                            self._stdin.close()
                # Nothing is sent before the far side is there to take it.
                if self.connected and not sending:
                    sending = True
                    ready.register(self._stdin, selectors.EVENT_WRITE, self._write)
        return True

    def _write(self) -> bool:
        """Send some; False when there is no more to send, or nobody to take it."""
        try:
            taken = os.write(self._stdin.fileno(), self._left[:_CHUNK_BYTES])
        except BlockingIOError:
            return True
        except OSError:
            return False  # the far side wants no more: its answer says why
        self._left = self._left[taken:]
        if self._progress and taken:
            self._progress(self.sent_bytes, self._all_bytes)
        return bool(self._left)

    def _read(self, stream: IO[bytes]) -> bool:
        """Hear some; False when the stream is over."""
        data = os.read(stream.fileno(), _CHUNK_BYTES)
        if not data:
            return False
        heard = self._heard[stream]
        if len(heard) + len(data) > MAX_ANSWER_BYTES:
            raise TargetError(
                f"The gateway answers with more than {MAX_ANSWER_BYTES} bytes: it is none."
            )
        heard += data
        if stream is self._stdout:
            self._tell()
        return True

    def _tell(self) -> None:
        """Hand over the lines that have become whole."""
        self.connected = self.connected or f"{_CONNECTED}\n" in self._text(self._stdout)
        if not self.connected or not self._on_line:
            return
        lines = self.out.split("\n")[:-1]
        for line in lines[self._told_lines :]:
            self._on_line(line)
        self._told_lines = len(lines)

    def _text(self, stream: IO[bytes]) -> str:
        return self._heard[stream].decode("utf-8", errors="replace")

"""Provisioning over ssh: one archive and one script, run as root."""

from collections.abc import Callable, Sequence

from fewbeats.deploy.machine import PROBE
from fewbeats.deploy.openssh import Answer, OpenSsh, Progress, SshAddress
from fewbeats.deploy.payload import Payload
from fewbeats.deploy.place import Found, OnStep
from fewbeats.deploy.step import Told, told
from fewbeats.errors import TargetError, TargetLostError

SILENT_S = 1800.0
"""Unpacking wheels on a slow card takes minutes in which nothing is said."""

_AS_ROOT = """
if [ "$(id -u)" = 0 ]; then exec sh -c "$@"; fi
exec sudo -n -- sh -c "$@"
"""
_FIND = """
[ -x /usr/bin/python3 ] || exit 79
exec /usr/bin/python3 -c "$1"
"""
# An archive that is not whole counts for nothing: tar tells, and the script checks the sums.
_BRING = """
trap 'exit 1' HUP INT TERM PIPE
folder=$(mktemp -d /var/tmp/fewbeats-setup.XXXXXX) || exit 77
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
tar -xf - -C "$folder" >&2 || exit 77
sh "$folder/steps.sh" run
"""
_NOT_WHOLE, _NO_PYTHON = 77, 79
_LINES = 3


class SshPlace:
    """A running machine."""

    later = False

    def __init__(self, address: SshAddress) -> None:
        """Name the machine.

        Raises:
            TargetError: the address names a folder on it.
        """
        if address.root != "/":
            raise TargetError(
                f"Over ssh a whole machine is provisioned, not its folder {address.root}; give "
                f"the address without it, or dir:FOLDER for a card that is mounted here."
            )
        self._address = address
        self._ssh = OpenSsh(address, SILENT_S)

    def find(self) -> Found:
        """Ask the machine's own Python.

        Raises:
            TargetError: it cannot be reached, or has no Python, or none that will do.
        """
        answer = self._as_root(_FIND, [PROBE])
        if answer.code == _NO_PYTHON:
            raise TargetError(
                f"{self._address} has no /usr/bin/python3: install it there (apt install "
                f"python3), or take an image that has it, such as Raspberry Pi OS 64-bit."
            )
        if answer.code:
            raise TargetError(f"{self._address} cannot be looked at: {self._words(answer)}")
        return Found.told(answer.out)

    def look(self, script: str) -> list[Told]:
        """Which steps are done; nothing is touched."""
        answer = self._as_root("exec sh -s check", send=script.encode())
        if answer.code:
            raise TargetError(f"{self._address} cannot be looked at: {self._words(answer)}")
        return [step for line in answer.out.splitlines() if (step := told(line))]

    def bring(self, payload: Payload, on_step: OnStep, progress: Progress | None = None) -> None:
        """Send the files and go through their script.

        Raises:
            TargetError: a step failed.
            TargetLostError: the connection broke; run it again, done steps stay done.
        """
        self._steps(_BRING, payload.as_tar(), on_step, progress)

    def carry_out(self, script: str, on_step: OnStep) -> None:
        """Go through a script that needs no files.

        Raises:
            TargetError: a step failed.
            TargetLostError: the connection broke; run it again, done steps stay done.
        """
        self._steps("exec sh -s run", script.encode(), on_step)

    def _steps(
        self, script: str, send: bytes, on_step: OnStep, progress: Progress | None = None
    ) -> None:
        last = "the set-up"

        def on_line(line: str) -> None:
            nonlocal last
            if step := told(line):
                last = step.name
                on_step(step)

        try:
            answer = self._as_root(script, (), send, progress, on_line)
        except TargetLostError as error:
            raise TargetLostError(
                f"{error} Run the same command again: steps that are done stay done, and a "
                f"program that was at work before still is."
            ) from error
        if answer.code == _NOT_WHOLE:
            raise TargetError(
                f"{self._address} could not take the files ({self._words(answer)}): look at its "
                f"free space in /var/tmp, then run this again. Nothing was changed."
            )
        if answer.code:
            raise TargetError(
                f"The step '{last}' failed on {self._address}: {self._words(answer)}. What was "
                f"at work before still is; put that right and run this again."
            )

    def _as_root(
        self,
        script: str,
        arguments: Sequence[str] = (),
        send: bytes = b"",
        progress: Progress | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Answer:
        """Run a script as root.

        Raises:
            TargetError: no connection, or the login user may not become root.
            TargetLostError: the connection broke.
        """
        given = [script, "fewbeats", *arguments]
        answer = self._ssh.run(_AS_ROOT, given, send, progress, on_line)
        if answer.code and answer.last_words.startswith("sudo:"):
            raise TargetError(
                f"On {self._address} the login user may not become root without a password "
                f"({answer.last_words}). Log in as root, or allow it in /etc/sudoers.d."
            )
        return answer

    @staticmethod
    def _words(answer: Answer) -> str:
        lines = [line.strip() for line in answer.err.splitlines() if line.strip()]
        return " / ".join(lines[-_LINES:]) or f"it ended with {answer.code}"

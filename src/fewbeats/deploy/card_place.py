"""Provisioning a mounted card: it is prepared here, and set up at its first start or at once."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from fewbeats.deploy.card import check_links
from fewbeats.deploy.machine import Machine
from fewbeats.deploy.openssh import Progress
from fewbeats.deploy.payload import Payload
from fewbeats.deploy.place import Found, Held, OnStep
from fewbeats.deploy.step import Told, template, told
from fewbeats.deploy.steps import SETUP_ENABLED, SETUP_FOLDER, SETUP_PLACE
from fewbeats.device.container import read_bundle
from fewbeats.device.files import make_folder, remove, replace_link, write_atomically
from fewbeats.device.gateway_config import MAX_FILE_BYTES
from fewbeats.device.keys import Keyring
from fewbeats.device.layout import SLOT_NAMES, Layout
from fewbeats.device.trust import readable_by_all
from fewbeats.errors import BundleError, TargetError

# In a name space of its own, so that the mounts are gone when the work is, however it ends.
_INSIDE = """
mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" || exit 1
exec chroot "$1" /bin/sh "$2" run
"""
_LINES = 3
_TRIED_S = 60.0
_LONGEST_S = 7200.0
"""For all steps: under an emulator, wheels are unpacked and compiled for half an hour."""


class CardPlace:
    """A mounted root file system.

    Args:
        root: as ``card_root`` has checked it.
        now: set it up at once, with the card's own programs.
    """

    def __init__(self, root: Path, now: bool = False) -> None:
        self._root = root
        self._layout = Layout(root)
        self.later = not now

    def find(self) -> Found:
        """Look at the card's files.

        Raises:
            TargetError: fewbeats cannot be installed there; or with ``now``, this machine cannot
                run the card's programs.
            KeyFileError: one of its keys cannot be read.
        """
        machine = Machine.of_root(self._root)
        if not self.later:
            self._check_runs(machine)
        config = self._layout.config
        try:
            text = config.read_text(encoding="utf-8") if config.is_file() else None
            held = tuple(self._held())
            has_bundle = self._layout.current.is_symlink()
        except (OSError, ValueError) as error:
            raise TargetError(
                f"Cannot look at the card in {self._root} ({error}); run this as root (sudo)."
            ) from error
        return Found(
            machine,
            None if text is None else text[:MAX_FILE_BYTES],
            Keyring.of_gateway(self._layout.keys).keys,
            has_bundle,
            held,
            prepared=self._inside(SETUP_ENABLED).is_symlink(),
        )

    def look(self, script: str) -> list[Told]:
        """Which steps are done; nothing is touched."""
        return self._run(["sh", "-s", "check", str(self._root)], script, lambda _: None)

    def bring(self, payload: Payload, on_step: OnStep, progress: Progress | None = None) -> None:
        """Lay the files down, with a unit that sets the card up when it is first started.

        Raises:
            TargetError: the card cannot be written to; or with ``now``, a step failed.
        """
        check_links(self._root)
        folder, enabled = self._inside(SETUP_FOLDER), self._inside(SETUP_ENABLED)
        written, all_bytes = 0, sum(len(data) for data in payload.files.values())
        try:
            with readable_by_all():
                remove(enabled)  # what is half written must not be started
                if folder.exists():
                    shutil.rmtree(folder)
                make_folder(folder, 0o755)
                folder.parent.chmod(0o755)  # perhaps of an earlier try
                for path, data in payload.files.items():
                    make_folder((folder / path).parent, 0o755)
                    write_atomically(folder / path, data, payload.mode(path))
                    written += len(data)
                    if progress:
                        progress(written, all_bytes)
                make_folder(enabled.parent, 0o755)
                unit = template("fewbeats-setup.service").encode()
                write_atomically(self._inside(SETUP_PLACE), unit, 0o644)
                replace_link(enabled, f"../{Path(SETUP_PLACE).name}")
        except OSError as error:
            raise TargetError(
                f"Cannot prepare the card in {self._root} ({error.strerror}): look at its free "
                f"space, and run this as root (sudo). It is not set up by halves."
            ) from error
        if not self.later:
            inside = ["unshare", "--mount", "sh", "-c", _INSIDE, "fewbeats", str(self._root)]
            self._run([*inside, f"{SETUP_FOLDER}/steps.sh"], "", on_step)

    def carry_out(self, script: str, on_step: OnStep) -> None:
        """Go through a script that works on files below the card's root.

        Raises:
            TargetError: a step failed.
        """
        check_links(self._root)
        self._run(["sh", "-s", "run", str(self._root)], script, on_step)

    def _held(self) -> Iterator[Held]:
        """The bundles in the card's slots; one that is no bundle would not start anyway."""
        for path in map(self._layout.slot, SLOT_NAMES):
            if path.is_file():
                with contextlib.suppress(BundleError):
                    yield Held.of(read_bundle(path))

    def _inside(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _check_runs(self, machine: Machine) -> None:
        """See to it that the card's own programs run here."""
        if os.geteuid() != 0:
            raise TargetError("--now works inside the card: run it as root (sudo).")
        try:
            done = subprocess.run(
                ["/usr/sbin/chroot", str(self._root), "/usr/bin/python3", "-c", ""],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TRIED_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TargetError(
                f"The card's own python3 has not ended within {_TRIED_S:g} s: leave --now away, "
                f"and the card is set up at its first start."
            ) from error
        if done.returncode:
            words = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
            raise TargetError(
                f"This machine cannot run the card's programs for {machine.architecture} "
                f"({words}): leave --now away, and the card is set up at its first start; or "
                f"install qemu-user-static and binfmt-support."
            )

    def _run(self, command: list[str], script: str, on_step: OnStep) -> list[Told]:
        """Run a script and hand over each step as it is told."""
        steps: list[Told] = []
        lines: list[str] = []
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that all that it has started ends with it
        ) as process:
            end = threading.Timer(_LONGEST_S, os.killpg, (process.pid, signal.SIGKILL))
            end.start()
            try:
                assert process.stdin and process.stdout  # noqa: S101, they are pipes
                with contextlib.suppress(BrokenPipeError):  # its answer says why it wants no more
                    process.stdin.write(script)
                    process.stdin.close()
                for line in process.stdout:
                    if step := told(line.rstrip("\n")):
                        steps.append(step)
                        on_step(step)
                    elif line.strip():
                        lines.append(line.strip())
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            finally:
                end.cancel()
        if process.returncode:
            words = " / ".join(lines[-_LINES:]) or f"it ended with {process.returncode}"
            failed = steps[-1].name if steps else "the first one"
            raise TargetError(
                f"The step {failed!r} failed on the card in {self._root}: {words}. Put that right "
                f"and run this again; steps that are done stay done."
            )
        return steps

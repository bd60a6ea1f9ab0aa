"""The patients' heads on a gateway: a folder each, a file for each calibration and backbone.

A file is named by the number of its calibration and the first digits of its backbone's hash. The
number grows from one calibration to the next: a gateway has no clock to be trusted. All files of
one number hold the same windows, each with the head that these give on another backbone.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from fewbeats.device.files import make_folder, remove
from fewbeats.device.head import PatientHead
from fewbeats.errors import HeadError

MOST_CALIBRATIONS = 4
"""So many of the newest calibrations of a patient are kept."""
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE = re.compile(r"([0-9]{6})-([0-9a-f]{16})\.head")
_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class HeadFile:
    """A head's file by its name alone; what it holds is checked when it is read.

    Attributes:
        path: of the file.
        number: of the calibration, from 1.
        backbone: the first 16 digits of the backbone's hash.
    """

    path: Path
    number: int
    backbone: str

    def of(self, backbone_sha256: str) -> bool:
        """Whether the head should be one for a backbone."""
        return self.backbone == backbone_sha256[:_HASH_DIGITS]

    @property
    def sound(self) -> bool:
        """Whether it can be read."""
        try:
            PatientHead.load(self.path)
        except HeadError:
            return False
        return True


def check_code(code: str) -> str:
    """A patient's code, which is also the name of a folder.

    Raises:
        HeadError: it cannot be one.
    """
    if not _CODE.fullmatch(code):
        raise HeadError(
            f"A patient's code has up to 64 letters, digits, '.', '-' and '_', and starts with a "
            f"letter or digit; {code!r} is none."
        )
    return code


class Patients:
    """The heads of all patients of a gateway."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def codes(self) -> list[str]:
        """The patients who have a head, or a folder that may not be read.

        Raises:
            HeadError: the folder may not be read.
        """
        try:
            names = sorted(p.name for p in self._folder.iterdir() if p.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HeadError(f"Cannot read {self._folder}: {error.strerror}.") from error
        return [name for name in names if _CODE.fullmatch(name) and not self._is_empty(name)]

    def files(self, code: str) -> list[HeadFile]:
        """A patient's heads, newest calibration first.

        Raises:
            HeadError: the code is none, or the folder may not be read.
        """
        folder = self._folder / check_code(code)
        try:
            paths = sorted(folder.iterdir(), reverse=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HeadError(f"Cannot read {folder}: {error.strerror}.") from error
        named = ((path, _FILE.fullmatch(path.name)) for path in paths)
        return [HeadFile(path, int(match[1]), match[2]) for path, match in named if match]

    def calibrations(self, code: str) -> Iterator[tuple[int, list[HeadFile]]]:
        """A patient's calibrations, newest first, each with its heads."""
        for number, group in groupby(self.files(code), key=lambda file: file.number):
            yield number, list(group)

    def newest(self, code: str) -> int:
        """Number of a patient's newest calibration, 0 where there is none."""
        return max((file.number for file in self.files(code)), default=0)

    def add(self, code: str, head: PatientHead, number: int | None = None) -> Path:
        """Write a head, durably.

        Args:
            code: whose it is.
            head: what to keep.
            number: of the calibration it was fitted to; None for a new one.

        Raises:
            HeadError: the code is none, or the file cannot be written.
        """
        number = self.newest(code) + 1 if number is None else number
        folder = self._folder / check_code(code)
        try:
            make_folder(folder, 0o700)  # an ECG is nobody else's business
        except OSError as error:
            raise HeadError(f"Cannot make {folder}: {error.strerror}.") from error
        path = folder / f"{number:06d}-{head.head.backbone_sha256[:_HASH_DIGITS]}.head"
        head.save(path)
        return path

    def prune(self, code: str, backbones: Collection[str]) -> None:
        """Remove what is not needed any more, and never the last of anything.

        Of the newest calibrations stays one file each for the ``backbones`` in the slots, or any
        that can be read where there is none; older calibrations go. Nothing goes before what
        replaces it has been read back.

        Raises:
            HeadError: a file cannot be removed.
        """
        kept = 0
        for _, files in self.calibrations(code):
            sound = [file for file in files if file.sound]
            wanted = [f for f in sound if any(f.of(b) for b in backbones)] or sound[:1]
            if kept == MOST_CALIBRATIONS:
                self._remove(files)
            elif wanted:
                kept += 1
                self._remove([file for file in files if file not in wanted])

    def _is_empty(self, code: str) -> bool:
        """Whether a calibration was cut off before its head was there."""
        try:
            return not self.files(code)
        except HeadError:
            return False

    def _remove(self, files: list[HeadFile]) -> None:
        for file in files:
            try:
                remove(file.path)
            except OSError as error:
                raise HeadError(f"Cannot remove {file.path}: {error.strerror}.") from error

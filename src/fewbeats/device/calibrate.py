"""Collecting a support set from a stream of windows, and fitting the head to it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.adapt import adapt
from fewbeats.device.bundle import Bundle
from fewbeats.device.head import PatientHead
from fewbeats.device.preprocess import Windows
from fewbeats.device.quality import Quality
from fewbeats.device.support import MOST_BYTES, Support, kind_of
from fewbeats.errors import CalibrationError

MOST_SUSPECT = 0.5
"""Share of the normals that may look like VA to the bundle's own head."""
LEAST_FOUND = 0.5
"""Share of the support's VA that the fitted head must find."""


@dataclass(slots=True)
class SupportSet:
    """The first K good windows of each class, none overlapping another.

    Attributes:
        bundle: whose backbone embeds them.
        shots: K, windows a class.
        normals_only: take no VA window; the bundle's prototypes stand in for that class.
        confirmed: somebody who can tell has said that the normals are no VA. Without it normals
            that the bundle's own head takes for VA are refused.
    """

    bundle: Bundle
    shots: int
    normals_only: bool = True
    confirmed: bool = False
    refused: dict[str, int] = field(default_factory=dict)
    """Windows that were offered and not taken, by reason."""
    _windows: dict[bool, list[NDArray[np.float32]]] = field(
        default_factory=lambda: {False: [], True: []}
    )
    _embeddings: dict[bool, list[NDArray[np.float32]]] = field(
        default_factory=lambda: {False: [], True: []}
    )
    _taken_to_ns: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise CalibrationError(f"A calibration needs at least 1 window, got {self.shots}.")
        most = MOST_BYTES // (4 * self.bundle.window.samples * (1 if self.normals_only else 2))
        if self.shots > most:
            raise CalibrationError(
                f"A calibration of this kind keeps at most {most} windows a class, got "
                f"{self.shots}; ten are plenty."
            )

    @classmethod
    def of(cls, bundle: Bundle, support: Support) -> Self:
        """The set that a calibration was made from, embedded by another backbone.

        Raises:
            CalibrationError: the bundle's windows are of another kind.
        """
        if not support.fits(bundle.window):
            raise CalibrationError(
                f"The calibration was made from {kind_of(support.window)}, and {bundle.name} "
                f"{bundle.version} takes windows of another kind."
            )
        normals_only, shots = not support.va.any(), int((~support.va).sum())
        again = cls(bundle, shots, normals_only=normals_only, confirmed=support.confirmed)
        for window, va in zip(support.windows, support.va.tolist(), strict=True):
            again._take(window, va)
        return again

    def missing(self, va: bool) -> int:
        """How many windows of a class are still needed."""
        if va and self.normals_only:
            return 0
        return self.shots - len(self._embeddings[va])

    @property
    def complete(self) -> bool:
        """Whether nothing more is needed."""
        return not (self.missing(False) or self.missing(True))

    def offer(self, windows: Windows, va: bool | None) -> None:
        """Take what is still needed of windows that share one label.

        Args:
            windows: in the order of time.
            va: their class; None where it is not known, which is refused and counted.
        """
        for index in range(len(windows)):
            quality = Quality(windows.quality[index])
            start_ns = int(windows.start_ns[index])
            if quality is not Quality.GOOD:
                self._refuse(quality.reason)
            elif va is None:
                self._refuse("no single rhythm known for the whole window")
            elif self.missing(va) > 0 and start_ns >= self._taken_to_ns[va]:
                self._take(windows.samples[index], va)
                self._taken_to_ns[va] = start_ns + windows.duration_ns

    def fit(self, note: dict[str, Any] | None = None) -> PatientHead:
        """Pre-fine-tune and fine-tune the bundle's head on the support set.

        Args:
            note: what else to keep with the head (operator, source, patient's code).

        Raises:
            CalibrationError: windows are missing, the normals look like VA, or the fitted head
                would no longer find VA.
        """
        if not self.complete:
            raise CalibrationError(
                f"The calibration still needs {self.missing(False)} normal and "
                f"{self.missing(True)} VA windows of good signal"
                + (f" (refused so far: {self.refused})" if self.refused else "")
                + "; let it run longer or lower the number of shots."
            )
        normals = np.stack(self._embeddings[False])
        arrhythmias = (
            self.bundle.prototypes if self.normals_only else np.stack(self._embeddings[True])
        )
        embeddings = np.concatenate([normals, arrhythmias])
        va = np.arange(len(embeddings)) >= len(normals)
        before = self.bundle.start.probability(normals) >= self.bundle.start.threshold
        if self.normals_only and not self.confirmed and before.mean() > MOST_SUSPECT:
            raise CalibrationError(
                f"{before.mean():.0%} of the windows given as normal look like ventricular "
                f"arrhythmia. Check the patient first; if the rhythm is confirmed to be normal "
                f"for this patient, calibrate again and say so (--confirmed-normal)."
            )
        head = adapt(self.bundle.start, embeddings, va, self.bundle.adapt)
        after = head.probability(normals)
        found = float((head.probability(arrhythmias) >= head.threshold).mean())
        if found < LEAST_FOUND:
            raise CalibrationError(
                f"The fitted head would find only {found:.0%} of the VA windows that it was "
                f"fitted to: the two classes are too much alike. The old head stays; check the "
                f"labels and the electrodes, then calibrate again."
            )
        story = {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "bundle": f"{self.bundle.name} {self.bundle.version}",
            "shots": self.shots,
            "va_side": "prototypes" if self.normals_only else "patient",
            "refused": self.refused,
            "confirmed": self.confirmed,
            "normals_over_threshold_before": float(before.mean()),
            "normals_over_threshold_after": float((after >= head.threshold).mean()),
            "va_over_threshold_after": found,
            "highest_normal_probability": float(after.max()),
        }
        kept = Support(
            np.stack(self._windows[False] + self._windows[True]),
            np.repeat([False, True], [len(self._windows[va]) for va in (False, True)]),
            self.bundle.window,
            self.confirmed,
        )
        return PatientHead(head, story | (note or {}), kept)

    def _take(self, window: NDArray[np.float32], va: bool) -> None:
        """Keep a window, (1, samples), and its embedding."""
        self._windows[va].append(window.copy())
        self._embeddings[va].append(self.bundle.backbone.embed(window[None])[0])

    def _refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1

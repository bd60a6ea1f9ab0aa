"""Which windows an export fits its int8 ranges to, proves itself on, and hands to gateways."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.preprocess import WindowSpec, windows_of
from fewbeats.firmware_bridge.simulate.scenario import Scenario
from fewbeats.firmware_bridge.simulate.synthetic import synthetic_ecg
from fewbeats.training.datasets import Subject
from fewbeats.training.trained import Trained

RANGE_WINDOWS = 2048
GOLDEN_SCENARIO = Scenario.parse("sinus:6,pvc:6,vt:6,vfl:6,vf:6,svt:6")
GOLDEN_WINDOWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class ProofWindows:
    """Windows that no range was fitted to, and where each comes from.

    Attributes:
        windows: float32 (windows, 1, samples).
        va: bool (windows,), the truth.
        subject: (windows,), whose.
        record: int64 (windows,), number of the subject's record.
        start_s: float64 (windows,), from the record's first sample.
        window_s: length of a window.
        held_back: whether they are of subjects that had no part in the training.
    """

    windows: NDArray[np.float32]
    va: NDArray[np.bool_]
    subject: NDArray[np.str_]
    record: NDArray[np.int64]
    start_s: NDArray[np.float64]
    window_s: float
    held_back: bool

    @property
    def told(self) -> str:
        """Whose windows they are, for a card or a report."""
        return "subjects held back" if self.held_back else "other windows of the training"


def range_windows(trained: Trained, subjects: Mapping[str, Subject]) -> NDArray[np.float32]:
    """Windows of training subjects to fit the int8 ranges to: as many VA as others."""
    training = [subjects[name] for name in trained.training]
    fitted = _fitted(trained, training)
    return np.concatenate([s.windows for s in training])[fitted]


def proof_windows(trained: Trained, subjects: Mapping[str, Subject]) -> ProofWindows:
    """Windows to prove parity on: of those held back, or else what is left of the training's."""
    names = trained.held_back or trained.training
    apart = [subjects[name] for name in names]
    kept = slice(None) if trained.held_back else ~_fitted(trained, apart)
    return ProofWindows(
        windows=np.concatenate([s.windows for s in apart])[kept],
        va=np.concatenate([s.va for s in apart])[kept],
        subject=np.repeat([s.name for s in apart], [len(s.va) for s in apart])[kept],
        record=np.concatenate([s.record for s in apart])[kept],
        start_s=np.concatenate([s.start_s for s in apart])[kept],
        window_s=apart[0].window_s,
        held_back=bool(trained.held_back),
    )


def golden_windows(spec: WindowSpec) -> NDArray[np.float32]:
    """Synthetic windows of many rhythms, on which every runtime must answer alike."""
    ecg = synthetic_ecg(GOLDEN_SCENARIO, seed=0)
    windows = windows_of(ecg.samples_uv, ecg.rate_hz, spec)
    chosen = np.linspace(0, len(windows) - 1, GOLDEN_WINDOWS).round().astype(np.int64)
    return windows.samples[chosen]


def _fitted(trained: Trained, training: Iterable[Subject]) -> NDArray[np.bool_]:
    """Which of the training subjects' windows, one after another, ranges are fitted to."""
    va = np.concatenate([s.va for s in training])
    rng = np.random.default_rng(trained.seed)
    chosen = np.zeros(len(va), dtype=np.bool_)
    for of_class in (False, True):
        candidates = np.flatnonzero(va == of_class)
        # At least a quarter of a class stays apart, to prove parity on.
        count = min(RANGE_WINDOWS // 2, 3 * len(candidates) // 4)
        chosen[rng.choice(candidates, count, replace=False)] = True
    return chosen

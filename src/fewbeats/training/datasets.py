"""Folders of WFDB records to windows, subject by subject.

A folder holds records, or folders of records, one a database: ``DATA/cudb/cu04.hea``. Subjects
are named after both, "cudb/cu04". NumPy alone, so that a gateway can evaluate a bundle.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.preprocess import Windows, WindowSpec, windows_of
from fewbeats.device.quality import Quality
from fewbeats.errors import DataError, RecordError
from fewbeats.firmware_bridge.codecs.wfdb_annotations import read_annotations
from fewbeats.firmware_bridge.records import Record, open_record
from fewbeats.firmware_bridge.rhythms import RhythmLabels
from fewbeats.training.labels import WindowCounts, WindowLabel, label_record, label_windows

STRETCH_S = 2.8
"""Length of the stretches that training cuts its windows from, moved and scaled in time."""
_VA_HOP_S = 0.4
_OTHER_HOPS = 4  # so many VA hops from one non-VA stretch to the next
_MOST_OTHER = 2000  # non-VA stretches of one record; hours of sinus rhythm are much alike

_ONE_PERSON = {"mitdb/202": "mitdb/201"}
"""MITDB 201 and 202 are of one person (MIT-BIH Arrhythmia Database Directory)."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """What training cuts its windows from: longer than a window, baseline still in.

    Attributes:
        samples: float16 (stretches, samples), zero mean and unit variance.
        va: bool (stretches,).
    """

    samples: NDArray[np.float16]
    va: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One person's windows: labelled, usable, none overlapping another, in order of time.

    Attributes:
        name: database and record, "vfdb/418".
        windows: float32 (windows, 1, samples).
        va: bool (windows,).
        record: int64 (windows,), number of the record that each comes from.
        start_s: float64 (windows,), from the record's first sample.
        window_s: length of a window.
        counts: what became of all windows, these and those set aside.
        stretches: for training; None where they were not asked for.
    """

    name: str
    windows: NDArray[np.float32]
    va: NDArray[np.bool_]
    record: NDArray[np.int64]
    start_s: NDArray[np.float64]
    window_s: float
    counts: WindowCounts
    stretches: Stretches | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """All subjects of a folder.

    Attributes:
        subjects: by name, in order.
        excluded: why a subject is not among them.
    """

    subjects: dict[str, Subject]
    excluded: dict[str, str] = field(default_factory=dict)

    def only(self, names: Iterable[str]) -> dict[str, Subject]:
        """The named subjects, in order."""
        wanted = set(names)
        return {name: subject for name, subject in self.subjects.items() if name in wanted}


def find_subjects(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The headers of each subject's records, in a folder or in the folders in it.

    Raises:
        DataError: there is no such folder, or no record in it.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name the one that holds the records.")
    headers = sorted([*folder.glob("*.hea"), *folder.glob("*/*.hea")])
    if not headers:
        raise DataError(
            f"No records in {folder}: looked for *.hea there and one level below. PhysioNet's "
            f"databases can be fetched with wfdb.dl_database('vfdb', '{folder}/vfdb')."
        )
    subjects: dict[str, tuple[Path, ...]] = {}
    for header in headers:
        # Under one name even where only one of the two records is at hand: a bundle that was
        # trained on either has seen the person.
        name = f"{header.parent.name}/{header.stem}"
        name = _ONE_PERSON.get(name, name)
        subjects[name] = (*subjects.get(name, ()), header)
    return dict(sorted(subjects.items()))


def read_labels(record: Record) -> RhythmLabels:
    """The truth about a record, from the annotations beside it.

    Raises:
        RecordError: they are missing or damaged.
        DataError: there is none, or they count in another rate than the signals.
    """
    annotations = read_annotations(record.path)
    if annotations.rate_hz not in (None, record.rate_hz):
        raise DataError(
            f"The annotations of {record.name} count {annotations.rate_hz:g} samples a second, "
            f"its signals {record.rate_hz:g}; convert one to the other's rate."
        )
    return label_record(annotations, record.length, record.rate_hz, record.name)


def load_subject(
    name: str, headers: Iterable[Path], spec: WindowSpec, stretches: bool = False
) -> Subject:
    """Read one subject's records.

    Args:
        name: what to call the subject.
        headers: its records.
        spec: what a window is. Windows lie end to end, whatever its hop.
        stretches: whether to cut training stretches, of all leads, too.

    Raises:
        RecordError: a record or its annotations are missing or damaged.
        DataError: nothing in it is labelled.
        RateError: its sampling rate cannot be resampled.
    """
    apart = replace(spec, hop_s=spec.window_s)
    parts: list[tuple[Windows, NDArray[np.uint8]]] = []
    cuts: list[Stretches] = []
    for header in headers:
        record = open_record(header)
        labels = read_labels(record)
        samples_uv = record.read(lead=0)
        windows = windows_of(samples_uv, record.rate_hz, apart)
        parts.append((windows, label_windows(labels, windows.start_ns / 1e9, spec.window_s)))
        if stretches:
            cuts.append(_cut(samples_uv, labels, spec))
            cuts += [_cut(other_uv, labels, spec) for other_uv in _other_leads(record)]
    kept = [_judged(windows, names) for windows, names in parts]
    names = np.concatenate([names for _, names in parts])
    usable = np.concatenate([windows.usable for windows, _ in parts])
    known = names <= WindowLabel.VA
    if not (known & usable).any():
        raise DataError(f"{name} has no window that is both labelled and usable.")

    def count(label: WindowLabel) -> int:
        return int((usable & (names == label)).sum())

    return Subject(
        name=name,
        windows=np.concatenate([w.samples[keep] for (w, _), keep in zip(parts, kept, strict=True)]),
        va=np.concatenate(
            [n[keep] == WindowLabel.VA for (_, n), keep in zip(parts, kept, strict=True)]
        ),
        record=np.repeat(np.arange(len(parts)), [int(keep.sum()) for keep in kept]),
        start_s=np.concatenate(
            [w.start_ns[keep] / 1e9 for (w, _), keep in zip(parts, kept, strict=True)]
        ),
        window_s=spec.window_s,
        counts=WindowCounts(
            va=count(WindowLabel.VA),
            non_va=count(WindowLabel.NON_VA),
            mixed=count(WindowLabel.MIXED),
            noisy=count(WindowLabel.NOISY),
            unlabelled=count(WindowLabel.UNLABELLED),
            unusable=int((~usable).sum()),
        ),
        stretches=_joined(cuts) if stretches else None,
    )


def load_dataset(
    folder: Path,
    spec: WindowSpec,
    stretches: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Dataset:
    """Read every subject of a folder. What is damaged is left out, with the reason.

    Args:
        folder: the records.
        spec: what a window is.
        stretches: whether to cut training stretches too.
        progress: called before each subject with (done, total, name).

    Raises:
        DataError: there is no record, or none that can be used.
    """
    found = find_subjects(folder)
    dataset = Dataset({})
    for done, (name, headers) in enumerate(found.items()):
        if progress:
            progress(done, len(found), name)
        try:
            dataset.subjects[name] = load_subject(name, headers, spec, stretches)
        except (RecordError, DataError) as error:
            dataset.excluded[name] = str(error)
    if progress:
        progress(len(found), len(found), "")
    if not dataset.subjects:
        name, reason = next(iter(dataset.excluded.items()))
        raise DataError(f"None of the {len(found)} subjects can be used. {name}: {reason}")
    return dataset


def sha256_of(subjects: Iterable[Subject]) -> str:
    """One hash of what was trained on: names, windows and classes."""
    digest = hashlib.sha256()
    for subject in sorted(subjects, key=lambda subject: subject.name):
        digest.update(subject.name.encode())
        digest.update(np.ascontiguousarray(subject.windows).tobytes())
        digest.update(subject.va.tobytes())
    return digest.hexdigest()


def _other_leads(record: Record) -> Iterator[NDArray[np.float32]]:
    """Leads beside the first, as more training material; one that is no ECG is passed over."""
    for lead in range(1, len(record.leads)):
        try:
            yield record.read(lead=lead)
        except RecordError:
            continue


def _judged(windows: Windows, names: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return windows.usable & (names <= WindowLabel.VA)


def _cut(samples_uv: NDArray[np.float32], labels: RhythmLabels, spec: WindowSpec) -> Stretches:
    """Stretches of one lead: VA densely, the rest sparsely."""
    wide = replace(spec, window_s=STRETCH_S, hop_s=_VA_HOP_S, low_hz=0.0)
    windows = windows_of(samples_uv, labels.rate_hz, wide)
    names = label_windows(labels, windows.start_ns / 1e9, STRETCH_S)
    good = windows.quality == Quality.GOOD
    va = np.flatnonzero(good & (names == WindowLabel.VA))
    other = np.flatnonzero(good & (names == WindowLabel.NON_VA))
    step = max(_OTHER_HOPS, -(-len(other) // _MOST_OTHER))
    chosen = np.sort(np.concatenate([va, other[::step]]))
    return Stretches(windows.samples[chosen, 0].astype(np.float16), names[chosen] == WindowLabel.VA)


def _joined(cuts: list[Stretches]) -> Stretches:
    return Stretches(
        np.concatenate([cut.samples for cut in cuts]), np.concatenate([cut.va for cut in cuts])
    )

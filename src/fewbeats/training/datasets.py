"""Folders of WFDB records to windows, subject by subject.

A folder holds records, or folders of records, one a database: ``DATA/cudb/cu04.hea``. Subjects
are named after both, "cudb/cu04". What their annotations mean, the folder's label map says. NumPy
alone, so that a gateway can evaluate a bundle.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.preprocess import Windows, WindowSpec, windows_of
from fewbeats.errors import DataError, RateError, RecordError
from fewbeats.firmware_bridge.codecs.wfdb_annotations import read_annotations
from fewbeats.firmware_bridge.records import Record, open_record
from fewbeats.firmware_bridge.rhythms import RhythmLabels
from fewbeats.training.label_map import FILE_NAME, label_map_of
from fewbeats.training.labels import WindowCounts, WindowLabel, label_record, label_windows
from fewbeats.training.stretches import Stretches, cut_stretches, joined

_STEPS = 64  # of a standard deviation, by which windows are told apart


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What was measured of a subject in one go, and the truth about it.

    Attributes:
        leads_uv: float32 (samples,) each, microvolts, NaN where nothing was measured. Windows are
            cut from the first, stretches from all.
        labels: rhythm and noise, at the leads' own rate.
    """

    leads_uv: tuple[NDArray[np.float32], ...]
    labels: RhythmLabels


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
        synthetic: whether the person is made up.
    """

    name: str
    windows: NDArray[np.float32]
    va: NDArray[np.bool_]
    record: NDArray[np.int64]
    start_s: NDArray[np.float64]
    window_s: float
    counts: WindowCounts
    stretches: Stretches | None = None
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """All subjects of a folder.

    Attributes:
        subjects: by name, in order.
        excluded: why a subject is not among them.
        licences: name and licence of each database that a subject comes from.
        citations: whom to name for it, where the database says so.
        synthetic: whether the people are made up.
    """

    subjects: dict[str, Subject]
    excluded: dict[str, str] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    citations: dict[str, str] = field(default_factory=dict)
    synthetic: bool = False

    def only(self, names: Iterable[str]) -> dict[str, Subject]:
        """The named subjects, in order."""
        wanted = set(names)
        return {name: subject for name, subject in self.subjects.items() if name in wanted}


def find_subjects(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The headers of each subject's records, in a folder or in the folders in it.

    Raises:
        DataError: there is no such folder, no record in it, or a label map that cannot be used.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name the one that holds the records.")
    headers = sorted([*folder.glob("*.hea"), *folder.glob("*/*.hea")])
    if not headers:
        raise DataError(
            f"No records in {folder}: looked for *.hea there and one level below. PhysioNet's "
            f"databases can be fetched: fewbeats data fetch vfdb cudb mitdb nsrdb --out {folder}"
        )
    subjects: dict[str, tuple[Path, ...]] = {}
    for header in headers:
        # Under one name even where only one of the two records is at hand: a bundle that was
        # trained on either has seen the person.
        people = label_map_of(header.parent, header.stem).subjects
        name = f"{header.parent.name}/{people.get(header.stem, header.stem)}"
        subjects[name] = (*subjects.get(name, ()), header)
    return dict(sorted(subjects.items()))


def read_labels(record: Record) -> RhythmLabels:
    """The truth about a record, from the annotations beside it.

    Raises:
        RecordError: they are damaged.
        DataError: they are missing or empty, count in another rate than the signals, or their
            label map cannot be used.
    """
    folder, name = record.path.parent, record.path.stem
    label_map = label_map_of(folder, name)
    file = folder / f"{name}.{label_map.extension}"
    if not file.exists():
        raise DataError(
            f"No annotations of {name}: looked for {file}. If they have another extension, name it "
            f"in {folder / FILE_NAME}: [annotator] extension."
        )
    annotations = read_annotations(record.path, label_map.extension)
    if annotations.rate_hz not in (None, record.rate_hz):
        raise DataError(
            f"The annotations of {name} count {annotations.rate_hz:g} samples a second, "
            f"its signals {record.rate_hz:g}; convert one to the other's rate."
        )
    return label_record(annotations, record.length, record.rate_hz, name, label_map)


def used_lead(record: Record) -> int:
    """Number of the lead that windows are cut from: the first, or the one that its map names.

    Raises:
        RecordError: the record has no such lead.
        DataError: its label map cannot be used.
    """
    return record.lead_number(label_map_of(record.path.parent, record.path.stem).lead)


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
    recordings = (_read(open_record(header), all_leads=stretches) for header in headers)
    return subject_of(name, recordings, spec, stretches)


def _read(record: Record, all_leads: bool) -> Recording:
    labels, lead = read_labels(record), used_lead(record)
    others = _leads_but(lead, record) if all_leads else ()
    return Recording((record.read(lead=lead), *others), labels)


def subject_of(
    name: str, recordings: Iterable[Recording], spec: WindowSpec, stretches: bool = False
) -> Subject:
    """Cut one subject's recordings into windows, and name them.

    Args:
        name: what to call the subject.
        recordings: what was measured, in order of time.
        spec: what a window is. Windows lie end to end, whatever its hop.
        stretches: whether to cut training stretches, of all leads, too.

    Raises:
        DataError: nothing in it is both labelled and usable.
        RateError: its sampling rate cannot be resampled.
    """
    apart = replace(spec, hop_s=spec.window_s)
    parts: list[tuple[Windows, NDArray[np.uint8]]] = []
    cuts: list[Stretches] = []
    for recording in recordings:
        labels = recording.labels
        windows = windows_of(recording.leads_uv[0], labels.rate_hz, apart)
        parts.append((windows, label_windows(labels, windows.start_ns / 1e9, spec.window_s)))
        if stretches:
            cuts.append(cut_stretches(recording.leads_uv, labels, spec))
    kept = [_judged(windows, names) for windows, names in parts]
    names = np.concatenate([names for _, names in parts])
    usable = np.concatenate([windows.usable for windows, _ in parts])

    def count(label: WindowLabel) -> int:
        return int((usable & (names == label)).sum())

    counts = WindowCounts(
        va=count(WindowLabel.VA),
        non_va=count(WindowLabel.NON_VA),
        mixed=count(WindowLabel.MIXED),
        noisy=count(WindowLabel.NOISY),
        unlabelled=count(WindowLabel.UNLABELLED),
        unusable=int((~usable).sum()),
    )
    if not counts.va + counts.non_va:
        raise DataError(
            f"{name} has no window that is both labelled and usable: of {len(names)} windows "
            f"{counts.unusable} are flat, clipped or implausible, {counts.unlabelled} unlabelled, "
            f"{counts.noisy} noisy, {counts.mixed} part VA."
        )
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
        counts=counts,
        stretches=joined(cuts) if stretches else None,
    )


def load_dataset(
    folder: Path,
    spec: WindowSpec,
    stretches: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Dataset:
    """Read every subject of a folder. What is damaged is left out, with the reason.

    So is a copy: who has a window of a subject before, sample by sample, is the same person, who
    must not be trained on under one name and tested under another.

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
    window_of: dict[bytes, str] = {}
    for done, (name, headers) in enumerate(found.items()):
        if progress:
            progress(done, len(found), name)
        try:
            subject = load_subject(name, headers, spec, stretches)
        except (RecordError, RateError, DataError) as error:
            dataset.excluded[name] = str(error)
            continue
        digests = _window_digests(subject)
        twins = [window_of[digest] for digest in digests if digest in window_of]
        if twins:
            dataset.excluded[name] = (
                f"{len(twins)} of its {len(digests)} windows are windows of {twins[0]}: "
                f"one person under two names. Keep one of the two."
            )
            continue
        window_of |= dict.fromkeys(digests, name)
        dataset.subjects[name] = subject
        database = name.partition("/")[0]
        label_map = label_map_of(headers[0].parent, headers[0].stem)
        dataset.licences[database] = label_map.terms
        if label_map.citation:
            dataset.citations[database] = label_map.citation
    if progress:
        progress(len(found), len(found), "")
    if not dataset.subjects:
        name, reason = next(iter(dataset.excluded.items()))
        raise DataError(f"None of the {len(found)} subjects can be used. {name}: {reason}")
    return dataset


def sha256_of(subjects: Iterable[Subject]) -> str:
    """One hash of what is judged: names, windows and classes."""
    digest = hashlib.sha256()
    for subject in sorted(subjects, key=lambda subject: subject.name):
        digest.update(subject.name.encode())
        digest.update(np.ascontiguousarray(subject.windows).tobytes())
        digest.update(subject.va.tobytes())
    return digest.hexdigest()


def subject_mark(subject: Subject) -> str:
    """The begin of ``subject_sha256``, as model cards list it: enough to tell people apart."""
    return subject_sha256(subject)[:16]


def material_sha256(subjects: Iterable[Subject]) -> str:
    """One hash of what training cuts its windows from: names, and the stretches of all leads.

    Two folders may have the same windows, and one of them a second lead.

    Raises:
        DataError: a subject was read without stretches.
    """
    digest = hashlib.sha256()
    for subject in sorted(subjects, key=lambda subject: subject.name):
        cut = subject.stretches
        if cut is None:
            raise DataError(
                f"{subject.name} was read without stretches; read it with stretches=True."
            )
        digest.update(f"{subject.name}\0{cut.samples.shape}\0".encode())
        for part in (cut.samples.astype("<f2"), cut.va, cut.partner.astype("<i8")):
            digest.update(part.tobytes())
    return digest.hexdigest()


def subject_sha256(subject: Subject) -> str:
    """What a person is known by, under whichever name: the least SHA-256 of a window.

    Neither name nor class has a part in it. Most other labels of the same signal give the same
    hash as well, although they set other windows aside: with all but a tenth of the windows in
    common it is the same nine times in ten (Broder, "On the resemblance and containment of
    documents", 1997).
    """
    return min(_window_digests(subject)).hex()


def _window_digests(subject: Subject) -> list[bytes]:
    """SHA-256 of each window, rounded: other processors differ in the last bits."""
    rounded = np.rint(subject.windows * _STEPS).astype("<i2")
    return [hashlib.sha256(window.tobytes()).digest() for window in rounded]


def _leads_but(first: int, record: Record) -> Iterator[NDArray[np.float32]]:
    """The other leads, as more training material; one that is no ECG is passed over."""
    for lead in range(len(record.leads)):
        if lead != first:
            with suppress(RecordError):
                yield record.read(lead=lead)


def _judged(windows: Windows, names: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return windows.usable & (names <= WindowLabel.VA)

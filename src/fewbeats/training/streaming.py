"""Whole records, watched as the device watches: no window is chosen beforehand. NumPy alone.

Every sample of a record goes through the device's own monitor, and what it reports is held
against the annotations. Rules beside those of ``episodes`` and ``by_rhythm``:

* A calibration takes the first good windows of the subject's first record, as ``fewbeats
  calibrate`` does; the annotations confirm what is normal, and how many subjects the device
  would have asked that of is counted. The watch begins 2 s after the last of the windows with a
  fresh monitor; what comes before is not scored. Further records of the subject are watched from
  their beginning. A calibration that the device refuses leaves it the bundle's own head, as on
  the device; such are counted too.
* EC57's learning period of five minutes is not applied: many records of CUDB and VFDB have less
  before their first episode.
* Figures are gross: episodes, seconds and alarms are added up over the records, then divided.
* Every episode counts, however short. EC57 asks for runs of three beats; a device that reports
  only what lasts cannot confirm these, so those of 5 s and more are counted apart as well.
* An episode that begins while an alarm sounds is found, by EC57's rule, but no alarm was raised
  about it: such are counted as ``already_alarmed``, and have no delay.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from fewbeats.device.bundle import Bundle
from fewbeats.device.calibrate import MOST_SUSPECT, SupportSet
from fewbeats.device.detector import EpisodeEnded, Judgement
from fewbeats.device.head import Head
from fewbeats.device.monitor import CannotJudge, Event, JudgingAgain, Monitor
from fewbeats.device.preprocess import Preprocessor
from fewbeats.errors import CalibrationError, DataError, RateError, RecordError
from fewbeats.firmware_bridge.records import open_record
from fewbeats.firmware_bridge.samples import EcgChunk, chunk_of
from fewbeats.training.by_rhythm import Strip, strip_s, strips_of, summarise_strips
from fewbeats.training.datasets import find_subjects, read_labels, used_lead
from fewbeats.training.episodes import Reported, measure_durations, score_episodes
from fewbeats.training.evaluate import Support
from fewbeats.training.labels import WindowLabel, label_windows
from fewbeats.training.watched import Watched, summary
from fewbeats.training.workers import all_or_none

CHUNK_S = 60.0
"""Seconds of ECG that the monitor gets at a time; it judges the same in smaller pieces."""
AFTER_SUPPORT_S = 2.0
"""From the end of the last support window to the beginning of the watch."""
REFUSED = "refused: "
"""What the story of a calibration that the device refused begins with."""


@dataclass(frozen=True, slots=True)
class StreamingEvaluation:
    """All records under one way of calibrating.

    Attributes:
        support: what each head was fitted to.
        shots: windows a class.
        window_s: length of a window.
        hop_s: from one window to the next.
        strip_s: length of a strip.
        records: those that were watched.
        excluded: why a subject is not among them.
    """

    support: Support
    shots: int
    window_s: float
    hop_s: float
    strip_s: float
    records: tuple[Watched, ...]
    excluded: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report or a JSON file.

        Among them, of the subjects that were watched: ``refused``, whose calibration the device
        refused, and ``needed_confirmation``, whose normals look so much like VA that the device
        takes them only from somebody who confirms that they are none.
        """
        records = sorted(self.records, key=lambda w: w.record)
        refused = {w.subject for w in records if w.calibration.startswith(REFUSED)}
        databases: dict[str, list[Watched]] = {}
        strips: dict[str, list[Strip]] = {}
        for watched in records:
            databases.setdefault(watched.record.split("/")[0], []).append(watched)
            strips.setdefault(watched.subject, []).extend(watched.strips)
        return {
            "support": self.support.value,
            "shots": self.shots,
            "window_s": self.window_s,
            "hop_s": self.hop_s,
            "strip_s": self.strip_s,
            "refused": len(refused),
            "needed_confirmation": len({w.subject for w in records if w.needed_confirmation}),
            "databases": {name: summary(own) for name, own in databases.items()},
            "total": summary(records),
            "records": {watched.record: watched.as_dict() for watched in records},
            "by_rhythm": summarise_strips(strips),
            "excluded": dict(sorted(self.excluded.items())),
        }


def stream_dataset(
    records: Path | Mapping[str, Iterable[Path]],
    bundle_of: Callable[[str], Bundle | None],
    support: Support = Support.NONE,
    shots: int = 10,
    progress: Callable[[int, int, str], None] | None = None,
    workers: int = 1,
) -> StreamingEvaluation:
    """Watch every record of every subject with a bundle that never saw the subject.

    Args:
        records: a folder, or each subject's headers.
        bundle_of: gives for a subject's name the bundle to watch with; None where there is none
            that did not train on the subject, who is then not scored.
        support: how each subject is calibrated.
        shots: support windows a class.
        progress: called before each subject with (done, total, name).
        workers: processes that share the work; the result is the same with any number.

    Raises:
        DataError: no records, no bundle for anybody, bundles whose windows or strips differ in
            length, a support that has no place in time, or a process that died.
        MissingExtraError: a record needs a package that is not installed.
        BundleError: a bundle's backbone does not run here.
    """
    if support is Support.RANDOM:
        raise DataError("Windows drawn at random have no place in time: choose another support.")
    subjects = find_subjects(records) if isinstance(records, Path) else dict(records)
    excluded: dict[str, str] = {}
    jobs: dict[str, tuple[tuple[Path, ...], Bundle]] = {}
    for name, headers in subjects.items():
        if bundle := bundle_of(name):
            jobs[name] = tuple(headers), bundle
        else:
            excluded[name] = "no bundle at hand that was not trained on this subject"
    lengths = {
        (bundle.window.window_s, bundle.window.hop_s, strip_s(bundle.window, bundle.detector))
        for _, bundle in jobs.values()
    }
    if len(lengths) != 1:
        raise DataError(
            f"A streaming evaluation needs bundles of one window, hop and strip length, got "
            f"{sorted(lengths) or 'no bundle that was not trained on the subjects'}."
        )
    watched: list[Watched] = []
    with _outcomes(jobs, support, shots, workers) as outcomes:
        for done, name in enumerate(jobs):
            if progress:
                progress(done, len(jobs), name)
            outcome = next(outcomes)
            if isinstance(outcome, str):
                excluded[name] = outcome
            else:
                watched += outcome
    if progress:
        progress(len(jobs), len(jobs), "")
    return StreamingEvaluation(support, shots, *lengths.pop(), tuple(watched), excluded)


def stream_subject(
    name: str, headers: Iterable[Path], bundle: Bundle, support: Support, shots: int
) -> list[Watched]:
    """Calibrate on a subject's first record, then watch all of them.

    Raises:
        RecordError: a record or its annotations are missing or damaged.
        DataError: the first record has too few windows to calibrate from, or nothing is left
            to watch after them.
        RateError: the sampling rate cannot be resampled.
        MissingExtraError: a record needs a package that is not installed.
        BundleError: the bundle's backbone does not run here.
    """
    watched = []
    calibrated = _Calibrated(bundle.start, 0.0, "none")
    for number, header in enumerate(headers):
        record = _Annotated(header)
        if number == 0 and support is not Support.NONE:
            calibrated = _calibrated(record, bundle, support, shots)
        begin = ceil(calibrated.to_s * record.labels.rate_hz) if number == 0 else 0
        if begin < len(record.labels):
            watched.append(_watched(record, begin, bundle, calibrated, name))
    if not watched:
        raise DataError(f"{name} ends with its calibration: nothing is left to watch.")
    return watched


class _Annotated:
    """A record with its truth; times count from its first sample."""

    def __init__(self, header: Path) -> None:
        self.name = f"{header.parent.name}/{header.stem}"
        self.record = open_record(header)
        self.labels = read_labels(self.record)
        self.samples_uv = self.record.read(lead=used_lead(self.record))

    def chunks(self, begin: int = 0) -> Iterator[EcgChunk]:
        """The record from sample ``begin`` on, as a sensor would send it."""
        rate_hz = self.record.rate_hz
        step = max(1, round(CHUNK_S * rate_hz))
        for sequence, start in enumerate(range(begin, len(self.samples_uv), step)):
            start_ns = self.record.time_ns(start) - self.record.start_ns
            yield chunk_of(self.samples_uv[start : start + step], rate_hz, start_ns, sequence)


@dataclass(frozen=True, slots=True)
class _Calibrated:
    """The head to watch with, until when its record was used up for it, and how it came about."""

    head: Head
    to_s: float
    story: str
    needed_confirmation: bool = False


def _calibrated(record: _Annotated, bundle: Bundle, support: Support, shots: int) -> _Calibrated:
    chosen = SupportSet(bundle, shots, normals_only=support is Support.NORMALS, confirmed=True)
    preprocessor = Preprocessor(bundle.window)
    looks_like_va: list[bool] = []
    for chunk in record.chunks():
        windows = preprocessor.feed(chunk)
        names = label_windows(record.labels, windows.start_ns / 1e9, bundle.window.window_s)
        for index in np.flatnonzero(names <= WindowLabel.VA).tolist():
            window, va = windows[index : index + 1], bool(names[index] == WindowLabel.VA)
            missing = chosen.missing(False)
            chosen.offer(window, va)
            if chosen.missing(False) < missing:
                probability = bundle.start.probability(bundle.backbone.embed(window.samples))
                looks_like_va.append(bool(probability[0] >= bundle.start.threshold))
            if not chosen.complete:
                continue
            to_s = (int(window.start_ns[0]) + window.duration_ns) / 1e9 + AFTER_SUPPORT_S
            # Asked for on the device only where no VA of the patient stands against them.
            asks = support is Support.NORMALS and float(np.mean(looks_like_va)) > MOST_SUSPECT
            try:
                return _Calibrated(chosen.fit().head, to_s, "fitted", asks)
            except CalibrationError as error:
                return _Calibrated(bundle.start, to_s, f"{REFUSED}{error}", asks)
    raise DataError(
        f"{record.name} lacks {chosen.missing(False)} normal and {chosen.missing(True)} VA "
        f"windows of the {shots} a class to calibrate from."
    )


def _watched(
    record: _Annotated, begin: int, bundle: Bundle, calibrated: _Calibrated, subject: str
) -> Watched:
    """Feed a record from sample ``begin`` on to a fresh monitor, and score what it reports."""
    labels = record.labels
    from_s, end_s = begin / labels.rate_hz, len(labels) / labels.rate_hz
    monitor = Monitor(bundle, calibrated.head)
    events = [event for chunk in record.chunks(begin) for event in monitor.feed(chunk)]
    events += monitor.finish()
    reported = [
        Reported(e.onset_ns / 1e9, e.confirmed_ns / 1e9, (e.end_ns or e.confirmed_ns) / 1e9)
        for e in (event.episode for event in events if isinstance(event, EpisodeEnded))
    ]
    strips = strips_of(
        record.samples_uv,
        labels,
        [event for event in events if isinstance(event, Judgement)],
        bundle.window,
        bundle.detector,
        calibrated.head.threshold,
        from_s,
    )
    return Watched(
        record=record.name,
        subject=subject,
        calibration=calibrated.story,
        needed_confirmation=calibrated.needed_confirmation,
        from_s=from_s,
        watched_s=end_s - from_s,
        judged_s=monitor.judged_ns / 1e9,
        unreadable_s=_unreadable_s(events, end_s),
        score=score_episodes(labels, reported, from_s),
        durations=measure_durations(labels, reported, from_s),
        strips=tuple(strips),
    )


def _unreadable_s(events: Iterable[Event], end_s: float) -> float:
    """How long it stood announced that nothing can be judged."""
    total_ns, since_ns = 0, None
    for event in events:
        match event:
            case CannotJudge() if since_ns is None:
                since_ns = event.at_ns
            case JudgingAgain() if since_ns is not None:
                total_ns, since_ns = total_ns + event.at_ns - since_ns, None
    open_s = 0.0 if since_ns is None else max(0.0, end_s - since_ns / 1e9)
    return total_ns / 1e9 + open_s


@contextmanager
def _outcomes(
    jobs: Mapping[str, tuple[tuple[Path, ...], Bundle]], support: Support, shots: int, workers: int
) -> Iterator[Iterator[list[Watched] | str]]:
    """What becomes of each subject, in order: its records, or why there are none.

    Left by an exception, whatever it is, nothing more is begun and nobody waits.
    """
    if workers <= 1:
        yield (_outcome(name, own, bundle, support, shots) for name, (own, bundle) in jobs.items())
        return
    headers = [headers for headers, _ in jobs.values()]
    bundles = [bundle.pack() for _, bundle in jobs.values()]
    # Not forked: a copy of a process whose libraries run threads may lock up.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    with all_or_none(pool):
        yield pool.map(_outcome, jobs, headers, bundles, repeat(support), repeat(shots))


def _outcome(
    name: str, headers: Iterable[Path], bundle: Bundle | bytes, support: Support, shots: int
) -> list[Watched] | str:
    if isinstance(bundle, bytes):
        # Made by the process that handed it over: it may hold any operators.
        bundle = replace(Bundle.unpack(bundle), signer=None)
    try:
        return stream_subject(name, headers, bundle, support, shots)
    except (RecordError, RateError, DataError) as error:
        return str(error)

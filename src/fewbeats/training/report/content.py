"""What a report is drawn from: ``report.json``, format 1.

The types below are the format: ``load_report`` checks a file against them, and what draws it
reads values that are known to be there. A figure that does not exist is null, never 0 or 1.
"""

import json
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args

from fewbeats.device.files import read_bounded, write_atomically
from fewbeats.errors import DataError
from fewbeats.training.report.schema import Limits, checked

FORMAT = 1
FILE_NAME = "report.json"
MOST_BYTES = 64 * 2**20

Share = Annotated[float, Limits(0, 1)]
Amount = Annotated[float, Limits(0)]
Count = Annotated[int, Limits(0)]
FigureName = Literal["auc", "average_precision", "f1", "sensitivity", "specificity"]
FIGURE_NAMES: tuple[FigureName, ...] = get_args(FigureName)
SupportName = Literal["none", "normals", "first", "random"]
SUPPORTS: tuple[SupportName, ...] = get_args(SupportName)
"""In the order of what they ask of the wearer."""


class Figures(TypedDict):
    """The figures of a subject, or their mean or percentile over the subjects."""

    auc: Share | None
    average_precision: Share | None
    f1: Share | None
    sensitivity: Share | None
    specificity: Share | None


class SubjectFigures(Figures):
    """One subject's figures, and how many windows they rest on."""

    va_windows: Amount
    non_va_windows: Amount


class Intervals(TypedDict):
    """(low, high) of the mean over the subjects, 95 %, for each figure."""

    auc: tuple[Share, Share] | None
    average_precision: tuple[Share, Share] | None
    f1: tuple[Share, Share] | None
    sensitivity: tuple[Share, Share] | None
    specificity: tuple[Share, Share] | None


class Worst(TypedDict):
    """The subject with the lowest AUC."""

    subject: str
    auc: Share


class Roc(TypedDict):
    """Mean over the subjects of their ROC curves, on one grid."""

    false_positive_rate: list[Share]
    sensitivity: list[Share]


class Strip(TypedDict):
    """One window that was judged wrongly; samples in standard deviations of the window."""

    subject: str
    start_s: float
    va: bool
    probability: Share
    samples: list[float | None]


class Protocol(TypedDict):
    """How the subjects were calibrated."""

    support: SupportName
    shots: Count


class FalsePositives(TypedDict):
    """Windows of one subject without VA."""

    windows: Count
    false_positive_rate: Share


class NonVaOnly(TypedDict):
    """Subjects without VA: they have no AUC, but may have false positives."""

    subjects: dict[str, FalsePositives]
    windows: Count
    false_positive_rate: Share | None


class Evaluation(TypedDict):
    """Windows of all subjects under one protocol."""

    protocol: Protocol
    window_s: Amount
    count: Count
    subjects: dict[str, SubjectFigures]
    mean: Figures
    interval: Intervals
    percentile_10: Figures
    worst: Worst | None
    roc: Roc | None
    strips: list[Strip]
    non_va_only: NonVaOnly
    set_aside: dict[str, Count]
    excluded: dict[str, str]


class Delay(TypedDict):
    """Seconds from the onset of an episode to its alarm."""

    median: float | None
    p90: float | None
    values: list[float]


class Summary(TypedDict):
    """Records watched from end to end."""

    records: Count
    hours: Amount
    judged_hours: Amount
    unreadable_hours: Amount
    hours_outside_va: Amount
    episodes: Count
    found: Count
    episodes_5s: NotRequired[Count]
    found_5s: NotRequired[Count]
    episode_sensitivity: Share | None
    episode_positive_predictivity: Share | None
    duration_sensitivity: Share | None
    duration_positive_predictivity: Share | None
    delay_s: Delay
    false_alarms: Count
    false_alarms_per_hour: Amount | None
    overlong: Count
    unscored: Count


class Goal(TypedDict):
    """Performance goal of an AED for one rhythm."""

    figure: Literal["sensitivity", "specificity"]
    value: Share
    lower_limit: Share


class RhythmScore(TypedDict):
    """Strips of one rhythm; ``met`` is null where there is no goal or too little to tell."""

    rhythm: str
    goal: Goal | None
    strips: Count
    subjects: Count
    right: Count
    value: Share | None
    lower_limit_90: Share | None
    met: bool | None


class TrueEpisode(TypedDict):
    """An annotated episode; the delay is null where it was missed."""

    rhythm: str
    onset_s: float
    end_s: float
    delay_s: float | None


class WatchedRecord(TypedDict, total=False):
    """What became of one record, where it is told."""

    calibration: str
    truth: list[TrueEpisode]
    false_alarms_at_s: list[float]


class StreamingEvaluation(TypedDict):
    """Whole records through the detector, under one support."""

    support: SupportName
    shots: Count
    window_s: Amount
    hop_s: Amount
    databases: dict[str, Summary]
    total: Summary
    records: dict[str, WatchedRecord]
    by_rhythm: list[RhythmScore]
    strip_s: NotRequired[Amount]
    excluded: NotRequired[dict[str, str]]


class MeanAndInterval(TypedDict):
    """Mean over the subjects with its 95 % interval."""

    mean: Share | None
    low: Share | None
    high: Share | None


class AblationResult(TypedDict):
    """One way of pre-training with one way of adapting."""

    method: str
    curriculum: bool
    adaptation: str
    precision: Literal["fp32", "int8"]
    support: SupportName
    shots: Count
    subjects: Count
    auc: MeanAndInterval
    f1: MeanAndInterval
    worst: Worst | None
    parameters: Count | None
    macs: Count | None


class Parity(TypedDict):
    """How far the int8 form of one fold strays from its network."""

    fold: Count
    windows: Count
    correlation: Annotated[float, Limits(-1, 1)]
    agreement: Share
    auc_fp32: Share
    auc_int8: Share
    worst_difference: Amount


class MadeBy(TypedDict):
    """What to type to make it again."""

    command: str
    seed: int
    versions: dict[str, str]


class BundleName(TypedDict):
    """Which bundle was judged; the backbone is its SHA-256."""

    name: str
    version: str
    backbone: str


class Data(TypedDict):
    """Which records, and which of them could not be used."""

    sha256: str
    subjects: dict[str, Count]
    excluded: dict[str, str]


class Report(TypedDict):
    """The whole; a section that was not measured is empty or absent."""

    format: int
    title: str
    notice: str
    precision: Literal["fp32", "int8"]
    made_by: MadeBy
    recipe: dict[str, Any] | None
    bundle: BundleName | None
    data: Data
    windows: NotRequired[list[Evaluation]]
    streaming: NotRequired[list[StreamingEvaluation]]
    ablation: NotRequired[list[AblationResult]]
    parity: NotRequired[list[Parity]]


def load_report(path: Path) -> Report:
    """Read and check a report; a folder stands for the ``report.json`` in it.

    Raises:
        DataError: it cannot be read, is no JSON, is of another format, or lacks something.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        content = json.loads(read_bounded(file, MOST_BYTES), parse_constant=_refuse)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"Cannot read the report {file}: {reason}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no JSON: {error}. Was its writing interrupted?") from error
    try:
        return checked_report(content)
    except DataError as error:
        raise DataError(f"{file} cannot be drawn: {error}") from error


def save_report(folder: Path, content: Report) -> Path:
    """Check a report and write it as ``report.json``, wholly or not at all.

    Raises:
        DataError: it lacks something that a report needs, or cannot be written.
    """
    path = folder / FILE_NAME
    report = checked_report(content)
    try:
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
        data = f"{text}\n".encode()
    except ValueError as error:
        raise DataError(f"The report cannot be written as JSON: {error}.") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror or error}.") from error
    return path


def checked_report(content: object) -> Report:
    """The content with every value that a report needs, of its type.

    Raises:
        DataError: another format, something missing or of the wrong type, or two results that
            claim the same protocol, of which one would hide the other.
    """
    if isinstance(content, dict) and content.get("format") != FORMAT:
        raise DataError(
            f"format is {content.get('format')!r}; this version of fewbeats reads {FORMAT}."
        )
    report: Report = checked(content, Report, "report")
    for i, evaluation in enumerate(report.get("windows", [])):
        roc = evaluation["roc"]
        if roc and len(roc["false_positive_rate"]) != len(roc["sensitivity"]):
            raise DataError(f"report.windows[{i}].roc has two lists of unequal length.")
    protocols = (e["protocol"] for e in report.get("windows", []))
    _refuse_twice("windows", ((p["support"], p["shots"]) for p in protocols))
    streamed = report.get("streaming", [])
    _refuse_twice("streaming", ((s["support"], s["shots"]) for s in streamed))
    keys = ("method", "curriculum", "adaptation", "precision", "support", "shots")
    results = report.get("ablation", [])
    _refuse_twice("ablation", (tuple(dict(r)[key] for key in keys) for r in results))
    return report


def support_order(support: SupportName, shots: int) -> tuple[int, int]:
    """Key to sort protocols by: what they ask of the wearer, then K."""
    return SUPPORTS.index(support), shots


def named(support: SupportName, shots: int) -> str:
    """A protocol for people."""
    return support if support == "none" else f"{support}, K = {shots}"


def watched_in_order(content: Report) -> list[StreamingEvaluation]:
    """The streaming evaluations by support, then by K."""
    streaming = content.get("streaming", [])
    return sorted(streaming, key=lambda s: support_order(s["support"], s["shots"]))


def in_order(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """By support, then by K."""
    return sorted(evaluations, key=_order)


def most_shots(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Of each support the evaluation with the largest K, in order."""
    return list({e["protocol"]["support"]: e for e in in_order(evaluations)}.values())


def _order(evaluation: Evaluation) -> tuple[int, int]:
    return support_order(evaluation["protocol"]["support"], evaluation["protocol"]["shots"])


def _refuse_twice(section: str, protocols: Iterable[Hashable]) -> None:
    seen = set()
    for protocol in protocols:
        if protocol in seen:
            raise DataError(f"report.{section} has {protocol} twice; which one is right?")
        seen.add(protocol)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number; a figure that does not exist is null")

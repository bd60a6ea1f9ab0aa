"""What a demo's detectors did, held against the truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from fewbeats.cli.calibrate import offer_windows
from fewbeats.cli.report import Report
from fewbeats.device.calibrate import SupportSet
from fewbeats.device.monitor import Monitor
from fewbeats.device.preprocess import Windows
from fewbeats.errors import CalibrationError
from fewbeats.firmware_bridge.rhythms import RhythmLabels
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.training.episodes import EpisodeScore, Reported, TrueEpisode, score_episodes


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one way of calibrating did.

    Attributes:
        name: of the way.
        score: None if the stream did not hold enough windows to calibrate from.
        from_s: when the calibration was done and the watch began.
        report: what the watch reported, as plain data.
        wanting: what was missing where there is no score.
    """

    name: str
    score: EpisodeScore | None
    from_s: float
    report: dict[str, Any]
    wanting: str

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain data."""
        if self.score is None:
            return {"calibration": self.name, "calibrated": False, "reason": self.wanting}
        return {
            "calibration": self.name,
            "calibrated": True,
            "watched_from_s": round(self.from_s, 3),
            "perfect": self.score.perfect,
            "planted": [
                {
                    "rhythm": e.rhythm.name,
                    "onset_s": round(e.onset_s, 3),
                    "end_s": round(e.end_s, 3),
                    "reported": e.delay_s is not None,
                    "delay_s": None if e.delay_s is None else round(e.delay_s, 3),
                }
                for e in self.score.episodes
            ],
            "missed": len(self.score.missed),
            "false_alarms": [
                {"onset_s": r.onset_s, "end_s": r.end_s} for r in self.score.false_alarms
            ],
            "overlong": [{"onset_s": r.onset_s, "end_s": r.end_s} for r in self.score.overlong],
            "not_scored": [{"onset_s": r.onset_s, "end_s": r.end_s} for r in self.score.unscored],
            "report": self.report,
        }


class Watch:
    """One way of calibrating: collects its support set, then watches with its own head."""

    def __init__(self, name: str, support: SupportSet, labels: RhythmLabels) -> None:
        self.name = name
        self._support = support
        self._labels = labels
        self._report: Report | None = None
        self._from_s = 0.0
        self._refused = ""

    def feed(self, chunk: EcgChunk, windows: Windows, start_ns: int) -> Iterator[tuple[str, str]]:
        """Take a chunk and the windows it completed; give lines to show, with their styles."""
        if self._report is not None:
            yield from self._report.take(self._report.monitor.feed(chunk))
            return
        if self._refused:
            return
        offer_windows(self._support, windows, self._labels, start_ns)
        if self._support.complete:
            try:
                head = self._support.fit().head
            except CalibrationError as error:
                self._refused = str(error)
                yield f"not calibrated: {error}", "red"
                return
            self._report = Report(Monitor(self._support.bundle, head), start_ns)
            self._from_s = (chunk.end_ns - start_ns) / 1e9
            yield f"{self._from_s:9.1f} s  calibrated; now watching", "cyan"

    def finish(self) -> Iterator[tuple[str, str]]:
        """The stream is over."""
        if self._report is not None:
            yield from self._report.take(self._report.monitor.finish())

    def status(self) -> tuple[str, str]:
        """The state of now, and its style."""
        if self._report is not None:
            return self._report.status()
        if self._refused:
            return "not calibrated", "red"
        normals, arrhythmias = (self._support.missing(va) for va in (False, True))
        return f"calibrating: {normals} normal and {arrhythmias} VA windows to go", "cyan"

    def verdict(self) -> Verdict:
        """How it did, once the stream is over."""
        if self._report is None:
            missing = {va: self._support.missing(va) for va in (False, True)}
            wanting = (
                f"the stream ended with {missing[False]} normal and {missing[True]} VA windows "
                f"still missing"
            )
            return Verdict(self.name, None, 0.0, {}, self._refused or wanting)
        reported = [
            Reported(
                self._report.seconds(e.onset_ns),
                self._report.seconds(e.confirmed_ns),
                self._report.seconds(e.end_ns or e.confirmed_ns),
            )
            for e in self._report.episodes
        ]
        score = score_episodes(self._labels, reported, self._from_s)
        return Verdict(self.name, score, self._from_s, self._report.as_dict(), "")


def print_verdict(console: Console, verdicts: list[Verdict], good: bool) -> None:
    """A table of the planted episodes and what became of each."""
    table = Table(title="planted VA, and the delay of its alarm")
    table.add_column("rhythm")
    table.add_column("onset", justify="right")
    table.add_column("length", justify="right")
    scored = [verdict for verdict in verdicts if verdict.score]
    found: dict[float, dict[str, TrueEpisode]] = {}
    for verdict in scored:
        table.add_column(f"calibrated from {verdict.name}", justify="right")
        for episode in verdict.score.episodes if verdict.score else ():
            found.setdefault(episode.onset_s, {})[verdict.name] = episode
    for onset_s, by_name in sorted(found.items()):
        episode = next(iter(by_name.values()))
        cells = [_cell(by_name.get(verdict.name)) for verdict in scored]
        length_s = episode.end_s - onset_s
        table.add_row(episode.rhythm.name, f"{onset_s:.1f} s", f"{length_s:.1f} s", *cells)
    console.print(table)
    for verdict in verdicts:
        if verdict.score is None:
            console.print(f"{verdict.name}: not calibrated, {verdict.wanting}")
            continue
        delays = [e.delay_s for e in verdict.score.episodes if e.delay_s is not None]
        delay = f", median delay {median(delays):.1f} s" if delays else ""
        console.print(
            f"{verdict.name}: {len(delays)} of {len(verdict.score.episodes)} episodes reported"
            f"{delay}, {len(verdict.score.false_alarms)} false alarms"
            + "".join(f" (at {r.onset_s:.1f} s)" for r in verdict.score.false_alarms)
            + "".join(
                f", one report from {r.onset_s:.1f} to {r.end_s:.1f} s goes on where there is no VA"
                for r in verdict.score.overlong
            )
            + ("" if verdict.score.episodes else "; no VA was left to find")
        )
    if good:
        console.print("[bold green]Every planted VA was reported, and nothing else.[/]")
    else:
        console.print("[bold red]Not every planted VA was reported, or something else was.[/]")


def _cell(episode: TrueEpisode | None) -> str:
    if episode is None:
        return "[dim]calibrating[/]"
    return "[bold red]missed[/]" if episode.delay_s is None else f"{episode.delay_s:.1f} s"

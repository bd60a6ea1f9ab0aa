"""``fewbeats calibrate``: fit the head to a wearer."""

import json
import time
from contextlib import aclosing
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fewbeats.cli.interrupt import run_until_stopped
from fewbeats.device.calibrate import SupportSet
from fewbeats.device.files import check_writable
from fewbeats.device.gateway import attend
from fewbeats.device.head import PatientHead
from fewbeats.device.monitor import UNJUDGED_NS
from fewbeats.device.preprocess import Preprocessor, Windows
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import CalibrationError, HeadError
from fewbeats.firmware_bridge.records import open_record
from fewbeats.firmware_bridge.rhythms import RhythmLabels
from fewbeats.firmware_bridge.source import open_source, record_of
from fewbeats.training.datasets import read_labels
from fewbeats.training.labels import WindowLabel, label_windows


def calibrate_head(
    address: str,
    out: Path,
    shots: int,
    labelled: bool,
    bundle_path: Path | None,
    speed: float | None,
    patient: str,
    timeout_s: float | None,
    confirmed: bool,
    as_json: bool,
) -> None:
    """Collect the support set, fit the head, and write it to ``out``.

    Raises:
        CalibrationError: the source ended, or the time was up, before enough good windows came.
        FewbeatsError: the source, the bundle or the file is not usable.
    """
    try:
        check_writable(out)
    except OSError as error:
        raise HeadError(f"The head cannot be written to {out}: {error.strerror}.") from error
    labels: RhythmLabels | None = None
    if labelled:
        record = record_of(address)
        if record is None:
            raise CalibrationError(
                f"--labelled takes its labels from a record's annotations; {address!r} is no "
                f"record. Leave it out to calibrate from the wearer's own normal rhythm."
            )
        labels = read_labels(open_record(record))
    bundle = load_bundle(bundle_path)
    support = SupportSet(bundle, shots, normals_only=labels is None, confirmed=confirmed)
    collect_support(support, address, speed, timeout_s, labels, quiet=as_json)
    patient_head = support.fit({"source": address, "patient": patient})
    patient_head.save(out)
    if as_json:
        typer.echo(json.dumps({"head": str(out), **patient_head.calibration}))
        return
    typer.echo(
        f"head written to {out}\n{told_of(patient_head)}\n"
        f"watch with: fewbeats run --source {address} --head {out}"
    )


def told_of(patient_head: PatientHead) -> str:
    """A calibration in a sentence."""
    story = patient_head.calibration
    return (
        f"normal windows over the threshold: "
        f"{story['normals_over_threshold_before']:.0%} before, "
        f"{story['normals_over_threshold_after']:.0%} after; "
        f"highest probability {story['highest_normal_probability']:.2f}"
    )


def collect_support(
    support: SupportSet,
    address: str,
    speed: float | None,
    timeout_s: float | None,
    labels: RhythmLabels | None,
    *,
    quiet: bool,
) -> None:
    """Offer a source's windows to a support set until it is complete, and show how far it is.

    Args:
        support: takes what it needs.
        address: of the source.
        speed: times real time, for a recording.
        timeout_s: when to give up, by the wall clock or the signal's; None: never.
        labels: the truth of a recording; None: all is taken for the wearer's normal rhythm.
        quiet: show nothing.

    Raises:
        KeyboardInterrupt: it was stopped before the set was complete.
        SourceError: the source cannot be opened, or is lost.
    """
    console = Console(stderr=True, quiet=quiet)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )

    async def collect() -> None:
        preprocessor = Preprocessor(support.bundle.window)
        wanted = {False: "normal windows"} | ({True: "VA windows"} if labels else {})
        rows = {va: bar.add_task(text, total=support.shots, note="") for va, text in wanted.items()}
        start_ns: int | None = None
        begun_s = time.monotonic()
        async with open_source(address, speed=speed) as source, aclosing(attend(source)) as news:
            async for arrival in news:
                chunk, passed_s = arrival.chunk, time.monotonic() - begun_s
                note = "no data from the sensor" if arrival.late_ns > UNJUDGED_NS else ""
                if chunk is not None:
                    start_ns = chunk.start_ns if start_ns is None else start_ns
                    passed_s = max(passed_s, (chunk.end_ns - start_ns) / 1e9)
                    offer_windows(support, preprocessor.feed(chunk), labels, start_ns)
                    refused = ", ".join(f"{n} x {why}" for why, n in support.refused.items())
                    note = f"refused: {refused}" if refused else ""
                for va, row in rows.items():
                    bar.update(row, completed=support.shots - support.missing(va), note=note)
                if support.complete or (timeout_s is not None and passed_s > timeout_s):
                    return

    with bar:
        finished = run_until_stopped(collect())
    if not finished and not support.complete:
        raise KeyboardInterrupt


def offer_windows(
    support: SupportSet, windows: Windows, labels: RhythmLabels | None, start_ns: int
) -> NDArray[np.uint8]:
    """Offer windows to a support set by their labels, or all as normal where there are none.

    Args:
        support: takes what it needs.
        windows: in the order of time.
        labels: the truth, of which the first sample lies at ``start_ns``.
        start_ns: time of the stream's first sample.

    Returns:
        uint8 (windows,), the ``WindowLabel`` of each.
    """
    names = np.full(len(windows), int(WindowLabel.NON_VA), dtype=np.uint8)
    if labels is not None and len(windows):
        start_s = (windows.start_ns - start_ns) / 1e9
        names = label_windows(labels, start_s, windows.duration_ns / 1e9)
    known = {int(WindowLabel.NON_VA): False, int(WindowLabel.VA): True}
    for index, name in enumerate(names.tolist()):
        support.offer(windows[index : index + 1], known.get(name))
    return names

"""``fewbeats run``: watch a source and say what is seen."""

import json
import time
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from fewbeats.cli.interrupt import run_until_stopped
from fewbeats.cli.report import LossWatch, Report
from fewbeats.cli.screen import Screen
from fewbeats.device.detector import Alarm, EpisodeEnded
from fewbeats.device.gateway import watch
from fewbeats.device.head import PatientHead
from fewbeats.device.monitor import CannotJudge, Event, JudgingAgain, Monitor
from fewbeats.device.shipped import load_bundle
from fewbeats.errors import FewbeatsError
from fewbeats.firmware_bridge.source import open_source

WARN_EVERY_S = 1.0


def watch_source(
    address: str,
    bundle_path: Path | None,
    head_path: Path | None,
    speed: float | None,
    duration_s: float | None,
    as_json: bool,
    as_events: bool,
) -> None:
    """Watch until the source ends, ``duration_s`` of signal is over, or a signal to stop.

    Raises:
        FewbeatsError: whatever keeps it from watching; what was seen is reported first.
    """
    bundle = load_bundle(bundle_path)
    head = None
    if head_path:
        kept = PatientHead.load(head_path)
        kept.check_fits(bundle.start.backbone_sha256, bundle.window)
        head = kept.head
    source = open_source(address, speed=speed)
    report = Report(Monitor(bundle, head))
    console = Console(quiet=as_json or as_events, highlight=False)
    warnings = Console(stderr=True, highlight=False)

    def tell(screen: Screen, events: list[Event]) -> None:
        if as_events:
            for event in events:
                if line := _event_as_dict(report, event):
                    typer.echo(json.dumps(line))
        for text, style in report.take(events):
            screen.log(text, style)

    async def work(screen: Screen) -> None:
        losses, warned_s = LossWatch(), 0.0
        async with source, aclosing(watch(source, report.monitor, duration_s)) as stream:
            screen.log(f"watching {source.info.name} ({address}) with {bundle.name}")
            async for chunk, events in stream:
                tell(screen, events)
                if chunk is not None:
                    screen.show(chunk, {"state": report.status()})
                if time.monotonic() - warned_s >= WARN_EVERY_S or chunk is None:
                    warned_s = time.monotonic()
                    if news := losses.news(source.stats):
                        warnings.print(news, style="yellow")

    failure: FewbeatsError | None = None
    with Screen(console) as screen:
        screen.greet(bundle)
        try:
            run_until_stopped(work(screen))
        except FewbeatsError as error:
            failure = error
        tell(screen, report.monitor.finish())
    content: dict[str, Any] = {
        "source": address,
        "bundle": {
            "name": bundle.name,
            "version": bundle.version,
            "signer": bundle.signer.name if bundle.signer else None,
        },
        "head": str(head_path) if head_path else None,
        **report.as_dict(),
        "stream": asdict(source.stats),
        "error": str(failure) if failure else None,
    }
    if as_json:
        typer.echo(json.dumps(content))
    if failure and report.monitor.start_ns is None:
        raise failure
    console.print(
        f"{content['duration_s']:.0f} s watched, {content['judged_s']:.0f} s of them judged, "
        f"{len(report.episodes)} episode{'' if len(report.episodes) == 1 else 's'} of VA."
    )
    if failure:
        raise failure


def _event_as_dict(report: Report, event: Event) -> dict[str, Any] | None:
    """An event as a line for a script; single judgements are not reported."""
    match event:
        case Alarm(episode):
            return {"event": "alarm", **report.episode_as_dict(episode)}
        case EpisodeEnded(episode):
            return {"event": "episode-ended", **report.episode_as_dict(episode)}
        case CannotJudge():
            return {"event": "cannot-judge", **report.blind_as_dict(event)}
        case JudgingAgain(at_ns):
            return {"event": "judging-again", "at_s": report.seconds(at_ns)}
    return None

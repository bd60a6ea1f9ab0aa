"""Whole records through the detector: what a wearer would live with."""

from collections.abc import Callable, Mapping

from fewbeats.training.report.cells import amount, folded, image, plain, share, table, whole
from fewbeats.training.report.content import (
    Report,
    RhythmScore,
    StreamingEvaluation,
    Summary,
    named,
    watched_in_order,
)

_RULES = (
    "Gross figures by the rules of ANSI/AAMI EC57, without its learning period: an episode is "
    "found if an alarm touches it, and a report is right if it touches an episode and is not "
    "false. A report is false if all the evidence that led to its alarm is labelled and holds no "
    "VA, whatever it reaches later. +P is the positive predictive value; the delay runs from the "
    "onset of an episode to its alarm. An overlong report is not false, but goes on where there is "
    "no VA; one where the truth is not known is not scored. Unreadable are the hours in which the "
    "detector said that it cannot judge."
)
_GOALS = (
    "Strips of one rhythm against the goals of the AHA (Circulation 95: 1677, 1997), as in IEC "
    "60601-2-4. A goal is met if the share exceeds it and its one-sided 90 % lower limit reaches "
    "the limit; *too few* are fewer strips than the AHA asks for. The limit is that of independent "
    "strips, which those of one person are not: how many subjects there are stands beside it."
)
_EPISODES = (
    *("calibrated from", "database", "VA episodes", "found", "of 5 s and more", "found"),
    *("episode sensitivity", "episode +P", "duration sensitivity", "duration +P"),
    *("median delay, s", "90 % within, s"),
)
_ALARMS = (
    *("calibrated from", "database", "records", "hours", "judged", "unreadable", "outside VA"),
    *("false alarms", "an hour outside VA", "overlong", "not scored"),
)


def streaming_section(content: Report, links: Mapping[str, str]) -> list[str]:
    """Tables by database and by rhythm, and what was missed when."""
    watched = watched_in_order(content)
    if not watched:
        return []
    first = watched[0]
    lines = [
        "## Whole records, as a wearer would live with it",
        "",
        f"Windows of {first['window_s']:g} s every {first['hop_s']:g} s. {_RULES}",
        "",
        *table(_EPISODES, _by_database(watched, _episodes), texts=2),
        *table(_ALARMS, _by_database(watched, _alarms), texts=2),
    ]
    for name, caption in (
        ("delay", "Time from the onset of an episode to its alarm, of the episodes found."),
        ("false-alarms", "False alarms an hour outside VA, by database."),
    ):
        if name in links:
            lines += image(links[name], caption)
    return [*lines, *_records(watched), *_not_watched(watched), *_rhythms(watched)]


def _protocol(evaluation: StreamingEvaluation) -> str:
    return plain(named(evaluation["support"], evaluation["shots"]))


def _by_database(
    watched: list[StreamingEvaluation], cells: Callable[[Summary], list[str]]
) -> list[list[str]]:
    rows = []
    for evaluation in watched:
        databases = {plain(k): of for k, of in sorted(evaluation["databases"].items())}
        for name, summary in (databases | {"**total**": evaluation["total"]}).items():
            rows.append([_protocol(evaluation), name, *cells(summary)])
    return rows


def _episodes(of: Summary) -> list[str]:
    return [
        whole(of["episodes"]),
        whole(of["found"]),
        whole(of.get("episodes_5s")),
        whole(of.get("found_5s")),
        share(of["episode_sensitivity"]),
        share(of["episode_positive_predictivity"]),
        share(of["duration_sensitivity"]),
        share(of["duration_positive_predictivity"]),
        amount(of["delay_s"]["median"]),
        amount(of["delay_s"]["p90"]),
    ]


def _alarms(of: Summary) -> list[str]:
    hours = ("hours", "judged_hours", "unreadable_hours", "hours_outside_va")
    return [
        whole(of["records"]),
        *(f"{dict(of)[key]:,.2f}" for key in hours),
        whole(of["false_alarms"]),
        amount(of["false_alarms_per_hour"], 2),
        whole(of["overlong"]),
        whole(of["unscored"]),
    ]


def _records(watched: list[StreamingEvaluation]) -> list[str]:
    missed, alarms, refused = [], [], []
    for evaluation in watched:
        for record, of in sorted(evaluation["records"].items()):
            start = [plain(record), _protocol(evaluation)]
            for episode in of.get("truth", []):
                if episode["delay_s"] is None:
                    length_s = episode["end_s"] - episode["onset_s"]
                    times = [f"{episode['onset_s']:.1f}", f"{length_s:.1f}"]
                    missed.append([*start, plain(episode["rhythm"]), *times])
            at_s = of.get("false_alarms_at_s", [])
            if at_s:
                alarms.append([*start, str(len(at_s)), ", ".join(f"{s:.0f}" for s in at_s)])
            if of.get("calibration", "").startswith("refused"):
                refused.append([*start, plain(of["calibration"])])
    lines = []
    if missed:
        head = ("record", "calibrated from", "rhythm", "onset, s", "length, s")
        lines += folded("Every missed episode", table(head, missed, texts=3))
    if alarms:
        head_of_alarms = ("record", "calibrated from", "false alarms", "at, s")
        lines += folded("Records with false alarms", table(head_of_alarms, alarms, texts=2))
    if refused:
        head_of_refused = ("record", "calibrated from", "watched with the bundle's own head")
        lines += folded("Refused calibrations", table(head_of_refused, refused, texts=3))
    return lines


def _not_watched(watched: list[StreamingEvaluation]) -> list[str]:
    rows = [
        [plain(subject), _protocol(evaluation), plain(reason)]
        for evaluation in watched
        for subject, reason in sorted(evaluation.get("excluded", {}).items())
    ]
    if not rows:
        return []
    head = ("subject", "calibrated from", "reason")
    return folded("Subjects that were not watched, and why", table(head, rows, texts=3))


def _rhythms(watched: list[StreamingEvaluation]) -> list[str]:
    rows = [
        [_protocol(e), plain(rhythm["rhythm"]), *_rhythm(rhythm)]
        for e in watched
        for rhythm in e["by_rhythm"]
    ]
    if not rows:
        return []
    head = (
        *("calibrated from", "rhythm", "figure", "goal", "verdict"),
        *("strips", "subjects", "right", "value", "one-sided 90 % lower limit"),
    )
    length = watched[0].get("strip_s")
    return [
        "## By rhythm, against the goals for an AED",
        "",
        f"Strips have {length:g} s. {_GOALS}" if length else _GOALS,
        "",
        *table(head, rows, texts=5),
    ]


def _rhythm(of: RhythmScore) -> list[str]:
    goal = of["goal"]
    if goal:
        aim = f"over {goal['value']:g}, limit {goal['lower_limit']:g}"
        verdict = {True: "met", False: "**not met**", None: "too few"}[of["met"]]
        value, limit = of["value"], of["lower_limit_90"]
        under = value is not None and value <= goal["value"]
        if of["met"] is None and (under or (limit is not None and limit < goal["lower_limit"])):
            verdict = "too few, **under it so far**"
    else:
        aim, verdict = "none", "no goal"
    return [
        goal["figure"] if goal else "share right",
        aim,
        verdict,
        whole(of["strips"]),
        whole(of["subjects"]),
        whole(of["right"]),
        share(of["value"]),
        share(of["lower_limit_90"]),
    ]

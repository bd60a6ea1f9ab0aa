"""A report as Markdown: first what was done with what, then figures, then what was left out."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from operator import itemgetter

from fewbeats.training.report.ablation_section import ablation_section, parity_section
from fewbeats.training.report.cells import (
    between,
    folded,
    image,
    percent,
    plain,
    share,
    table,
    whole,
)
from fewbeats.training.report.content import (
    FIGURE_NAMES,
    Evaluation,
    Report,
    in_order,
    most_shots,
)
from fewbeats.training.report.published import published_section
from fewbeats.training.report.streaming_section import streaming_section

_SUPPORTS = {
    "none": "no calibration (K only decides which subjects have enough windows to be scored)",
    "normals": "the wearer's first K normal windows, and the VA prototypes that the bundle brings",
    "first": "the first K windows of each class in time order; what comes later is scored",
    "random": "K windows of each class at random, mean over several draws",
}


def report_markdown(
    content: Report, figures: Mapping[str, str] | None = None, drawn_by: str = ""
) -> str:
    """The report as Markdown.

    Args:
        content: what ``load_report`` gives.
        figures: relative links of the figures that were drawn, by name (see ``draw_figures``).
        drawn_by: the command that makes this page of the content, for a page that is kept.
    """
    links = figures or {}
    lines = [
        *_opening(content, drawn_by),
        *_windows(content, links),
        *published_section(content),
        *streaming_section(content, links),
        *ablation_section(content, links),
        *parity_section(content),
        *_worst_windows(content, links),
        *_without_va(content),
        *_left_out(content),
        *_recipe(content),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _opening(content: Report, drawn_by: str) -> list[str]:
    made_by, data, bundle = content["made_by"], content["data"], content["bundle"]
    subjects = ", ".join(f"{plain(db)} {n}" for db, n in sorted(data["subjects"].items()))
    versions = ", ".join(f"{plain(k)} {plain(v)}" for k, v in sorted(made_by["versions"].items()))
    rows = [
        ["precision", content["precision"]],
        ["seed", str(made_by["seed"])],
        ["subjects", f"{sum(data['subjects'].values())} ({subjects or 'none'})"],
        ["left out before scoring", str(len(data["excluded"]))],
        ["data, SHA-256", f"`{plain(data['sha256'])}`"],
        ["versions", versions],
    ]
    if bundle:
        name = f"{plain(bundle['name'])} {plain(bundle['version'])}"
        rows.insert(0, ["bundle", f"{name}, backbone `{plain(bundle['backbone'])[:16]}`"])
    return [
        f"# {plain(content['title'])}",
        "",
        f"> **{plain(content['notice'])}**",
        "",
        "Made by",
        "",
        *(f"    {line}" for line in (*made_by["command"].splitlines(), *drawn_by.splitlines())),
        "",
        *table(("", ""), rows, texts=2),
    ]


def _windows(content: Report, links: Mapping[str, str]) -> list[str]:
    evaluations = in_order(content.get("windows", []))
    if not evaluations:
        return []
    head = (
        *("calibrated from", "K", "subjects", "AUC", "worst subject's AUC"),
        *("AUC, 10th percentile", "average precision", "F1", "sensitivity", "specificity"),
    )
    used = dict.fromkeys(e["protocol"]["support"] for e in evaluations)
    return [
        "## Subjects never seen, window by window",
        "",
        "Means over subjects, each counting once, with the 95 % interval of the mean in brackets. "
        "K is the number of calibration windows a class; F1, sensitivity and specificity are taken "
        "at the operating point that the device would use.",
        "",
        *table(head, [_window_row(e) for e in evaluations]),
        *(f"- `{name}`: {_SUPPORTS[name]}" for name in used),
        "",
        *_figure(links, "roc", "ROC curves, mean over subjects."),
        *_figure(links, "subjects", "AUC and F1 of each subject, lowest AUC first."),
        *_every_subject(evaluations),
    ]


def _window_row(evaluation: Evaluation) -> list[str]:
    protocol, worst = evaluation["protocol"], evaluation["worst"]
    mean, interval = evaluation["mean"], evaluation["interval"]
    figures = {name: between(mean[name], interval[name]) for name in FIGURE_NAMES}
    return [
        f"`{protocol['support']}`",
        str(protocol["shots"]),
        str(evaluation["count"]),
        figures["auc"],
        f"{share(worst['auc'])} ({plain(worst['subject'])})" if worst else share(None),
        share(evaluation["percentile_10"]["auc"]),
        *(figures[name] for name in FIGURE_NAMES[1:]),
    ]


def _every_subject(evaluations: list[Evaluation]) -> list[str]:
    head = (
        *("subject", "calibrated from", "K", "AUC", "average precision", "F1"),
        *("sensitivity", "specificity", "VA windows", "others"),
    )
    rows = [
        [
            plain(subject),
            f"`{evaluation['protocol']['support']}`",
            str(evaluation["protocol"]["shots"]),
            *(share(figures[name]) for name in FIGURE_NAMES),
            whole(figures["va_windows"]),
            whole(figures["non_va_windows"]),
        ]
        for evaluation in most_shots(evaluations)
        for subject, figures in sorted(evaluation["subjects"].items())
    ]
    return folded(
        "Every subject, at the largest K", table(head, sorted(rows, key=itemgetter(0)), texts=2)
    )


def _worst_windows(content: Report, links: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for evaluation in most_shots(content.get("windows", [])):
        support, strips = evaluation["protocol"]["support"], evaluation["strips"]
        if not strips:
            continue
        rows = [
            [
                plain(strip["subject"]),
                f"{strip['start_s']:.1f}",
                "VA" if strip["va"] else "no VA",
                share(strip["probability"]),
            ]
            for strip in strips
        ]
        head = ("subject", "time, s", "truth", "probability of VA")
        title = f"Support `{support}`, K = {evaluation['protocol']['shots']}"
        caption = (
            f"The most wrongly judged windows, support {support}, at most two a subject: those "
            f"farthest beyond the subject's own operating point, which need not be 0.5."
        )
        lines += [*_figure(links, f"worst-{support}", caption), *folded(title, table(head, rows))]
    return ["## The most wrongly judged windows", "", *lines] if lines else []


def _without_va(content: Report) -> list[str]:
    rows, subjects = [], []
    for evaluation in in_order(content.get("windows", [])):
        protocol, alone = evaluation["protocol"], evaluation["non_va_only"]
        if not alone["subjects"]:
            continue
        start = [f"`{protocol['support']}`", str(protocol["shots"])]
        rate = percent(alone["false_positive_rate"])
        rows.append([*start, str(len(alone["subjects"])), whole(alone["windows"]), rate])
        subjects += [
            [plain(name), *start, whole(of["windows"]), percent(of["false_positive_rate"])]
            for name, of in alone["subjects"].items()
        ]
    if not rows:
        return []
    subjects.sort(key=itemgetter(0))
    head = ("calibrated from", "K", "subjects", "windows", "over the threshold")
    each = ("subject", "calibrated from", "K", "windows", "over the threshold")
    return [
        "## Subjects with a single class",
        "",
        "Without VA there is no sensitivity and no AUC: these subjects are not counted above, but "
        "each of their windows over the threshold is a false positive.",
        "",
        *table(head, rows),
        *folded(
            "Every subject without VA", table(each, sorted(subjects, key=itemgetter(0)), texts=2)
        ),
    ]


def _left_out(content: Report) -> list[str]:
    evaluations = in_order(content.get("windows", []))
    where: dict[tuple[str, str], list[str]] = defaultdict(list)
    for subject, reason in content["data"]["excluded"].items():
        where[subject, reason].append("everywhere")
    for evaluation in evaluations:
        protocol = f"{evaluation['protocol']['support']} {evaluation['protocol']['shots']}"
        for subject, reason in evaluation["excluded"].items():
            if where[subject, reason] != ["everywhere"]:
                where[subject, reason].append(protocol)
    kinds: dict[str, set[str]] = defaultdict(set)
    for subject, reason in where:
        kinds[re.sub(r"\d+", "n", reason)].add(subject)
    counts = [
        [plain(k), str(len(v))] for k, v in sorted(kinds.items(), key=lambda i: (-len(i[1]), i[0]))
    ]
    rows = [[plain(s), plain(r), plain(", ".join(at))] for (s, r), at in sorted(where.items())]
    lines = ["## Left out, and why", ""]
    if rows:
        lines += table(("reason", "subjects"), counts)
        head = ("subject", "reason", "support and K")
        lines += folded("Every subject that was left out", table(head, rows, texts=3))
    else:
        lines += ["No subject was left out.", ""]
    set_aside = {json.dumps(e["set_aside"]): e["set_aside"] for e in evaluations if e["set_aside"]}
    for windows in set_aside.values():
        named = ", ".join(f"{plain(why)} {whole(n)}" for why, n in sorted(windows.items()))
        lines += [f"Windows that nobody can score, of all subjects: {named}.", ""]
    return lines


def _recipe(content: Report) -> list[str]:
    if content["recipe"] is None:
        return []
    text = json.dumps(content["recipe"], indent=2, ensure_ascii=False)
    return folded("Recipe", [*(f"    {line}" for line in text.splitlines()), ""])


def _figure(links: Mapping[str, str], name: str, caption: str) -> list[str]:
    return image(links[name], caption) if name in links else []

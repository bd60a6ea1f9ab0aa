"""What others published, beside what is measured here, with what forbids a plain comparison.

Source of the published figures and of the method: "A lightweight deep neural network for
personalized detecting ventricular arrhythmias from a single-lead ECG device" (MetaVA), PLOS
Digital Health 4(10): e0001037, 2025, and the code released with it.
"""

from fewbeats.training.report.cells import between, share, table
from fewbeats.training.report.content import Evaluation, Report, in_order

SHOTS = 10
"""Windows a class in the published figures."""

_CAVEAT = (
    "**Not like for like.** The code released with the publication splits the windows of each "
    "patient at random, so neighbouring windows of one recording stand on both sides of the "
    "split; it standardises each record over its whole length, the test part included; it counts "
    "a test subject with a single class as AUC 1; and it uses 20 labelled windows a class, ten "
    "of them to stop by. It computes no F1, and neither its data nor its weights are released. "
    "Here no window of a scored subject was seen in training, and a subject with a single class "
    "has no AUC."
)
_PROTOTYPE = (
    "The floor is a quick prototype of the method (6 705 parameters, fp32, 400 outer steps, no "
    "tuning): five folds disjoint by subject over MITDB, VFDB and CUDB, 47 subjects, K = 10, F1 "
    "at threshold 0.5. The released functions, made to fit each other, were run on the same "
    "folds with 20 labels a class and fine-tuning of all weights. Which subjects and windows are "
    "scored differs from this report."
)
_FLOOR = {
    "none": (0.986, 0.827, 0.815),
    "normals": (0.985, 0.767, 0.808),
    "first": (0.984, 0.785, 0.847),
    "random": (0.988, 0.752, 0.889),
}
"""AUC, worst AUC and F1 of the prototype, by support."""
_RELEASED = {"first": (0.899, 0.23, 0.712), "random": (0.980, 0.848, 0.880)}
"""The same of the released functions."""


def published_section(content: Report) -> list[str]:
    """The comparison, where something was measured at the K of the published figures."""
    ours = [e for e in in_order(content.get("windows", [])) if e["protocol"]["shots"] == SHOTS]
    if not ours:
        return []
    published = [
        ["published, public databases, windows split within patients", "0.984", "0.940"],
        ["published, portable single-lead cohort (not public)", "0.965", "0.937"],
    ]
    measured = [
        [f"**here, subjects never seen, support `{e['protocol']['support']}`**", *_means(e)]
        for e in ours
    ]
    head = (
        "support",
        *("AUC here", "prototype", "released code"),
        *("worst AUC here", "prototype", "released code"),
        *("F1 here", "prototype", "released code"),
    )
    floor = [_beside_floor(e) for e in ours]
    return [
        "## Beside the published figures",
        "",
        *table((f"K = {SHOTS} a class", "AUC", "F1"), [*published, *measured]),
        _CAVEAT,
        "",
        _PROTOTYPE,
        "",
        *table(head, floor),
    ]


def _means(evaluation: Evaluation) -> list[str]:
    mean, interval = evaluation["mean"], evaluation["interval"]
    return [between(mean["auc"], interval["auc"]), between(mean["f1"], interval["f1"])]


def _beside_floor(evaluation: Evaluation) -> list[str]:
    support = evaluation["protocol"]["support"]
    worst = evaluation["worst"]
    mean = evaluation["mean"]
    here = (mean["auc"], worst["auc"] if worst else None, mean["f1"])
    nothing = (None, None, None)
    columns = zip(here, _FLOOR.get(support, nothing), _RELEASED.get(support, nothing), strict=True)
    return [f"`{support}`", *(share(value) for figures in columns for value in figures)]

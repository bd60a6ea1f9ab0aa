"""Ways of pre-training against ways of adapting, and int8 against fp32."""

from collections import defaultdict
from collections.abc import Mapping

from fewbeats.training.report.cells import between, image, plain, share, table, whole
from fewbeats.training.report.content import AblationResult, Report, SupportName, support_order

METHODS = ("peaks", "reference", "supervised", "maml", "anil")
ADAPTATIONS = ("none", "fine-tuning", "pre-fine-tuning", "full")
_METHOD_NAMES = {
    "peaks": "peak counter",
    "reference": "published network",
    "supervised": "supervised",
    "maml": "MAML",
    "anil": "ANIL",
}
_ADAPTATION_NAMES = {
    "none": "no adaptation",
    "fine-tuning": "head, fine-tuning",
    "pre-fine-tuning": "head, pre-fine-tuning and fine-tuning",
    "full": "all weights",
}


def method_name(result: AblationResult) -> str:
    """How the network was pre-trained, for people."""
    name = _METHOD_NAMES.get(result["method"], result["method"])
    return f"{name} + curriculum" if result["curriculum"] else name


def adaptation_name(adaptation: str) -> str:
    """How it was fitted to a subject, for people."""
    return _ADAPTATION_NAMES.get(adaptation, adaptation)


def ablation_groups(content: Report) -> dict[tuple[SupportName, int], list[AblationResult]]:
    """Results by (support, K), each from the simplest method to the fullest."""
    groups = defaultdict(list)
    for result in content.get("ablation", []):
        groups[result["support"], result["shots"]].append(result)
    return {
        key: sorted(groups[key], key=_order)
        for key in sorted(groups, key=lambda k: support_order(*k))
    }


def adaptations_of(results: list[AblationResult]) -> list[str]:
    """The ways of adapting, from the simplest on."""
    return sorted({r["adaptation"] for r in results}, key=lambda a: _rank(a, ADAPTATIONS))


def ablation_section(content: Report, links: Mapping[str, str]) -> list[str]:
    """One table a figure; rows are ways of pre-training, columns ways of adapting."""
    groups = ablation_groups(content)
    if not groups:
        return []
    lines = [
        "## What each part is worth",
        "",
        "Means over subjects with the 95 % interval of the mean in brackets; – was not run.",
        "",
    ]
    for (support, shots), results in groups.items():
        counts = sorted({r["subjects"] for r in results})
        people = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
        lines += [f"### Support `{support}`, K = {shots}, {people} subjects", ""]
        name = f"ablation-{support}-{shots}"
        if name in links:
            lines += image(links[name], f"Ablation, support {support}, K = {shots}.")
        for title in ("AUC", "F1", "worst subject's AUC"):
            lines += _grid(title, results)
    return lines + _costs(content)


def _grid(title: str, results: list[AblationResult]) -> list[str]:
    columns = adaptations_of(results)
    rows: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for result in results:
        row = rows[method_name(result), result["precision"]]
        row[result["adaptation"]] = _cell(title, result)
    head = (f"{title}: pre-trained by", "precision", *(adaptation_name(a) for a in columns))
    cells = [[*map(plain, key), *(row.get(a, "–") for a in columns)] for key, row in rows.items()]
    return table(head, cells, texts=2)


def _cell(title: str, result: AblationResult) -> str:
    if title == "worst subject's AUC":
        worst = result["worst"]
        return f"{share(worst['auc'])} ({plain(worst['subject'])})" if worst else share(None)
    figure = result["auc"] if title == "AUC" else result["f1"]
    return between(figure["mean"], (figure["low"], figure["high"]))


def _costs(content: Report) -> list[str]:
    costs = dict.fromkeys(
        (_METHOD_NAMES.get(r["method"], r["method"]), whole(r["parameters"]), whole(r["macs"]))
        for results in ablation_groups(content).values()
        for r in results
    )
    head = ("network", "parameters", "multiply-adds a window")
    return table(head, [[plain(name), *numbers] for name, *numbers in costs])


def parity_section(content: Report) -> list[str]:
    """What the quantisation costs, fold by fold."""
    folds = content.get("parity", [])
    if not folds:
        return []
    rows = [
        [
            str(of["fold"]),
            whole(of["windows"]),
            f"{of['correlation']:.5f}",
            share(of["agreement"], 4),
            share(of["auc_fp32"], 4),
            share(of["auc_int8"], 4),
            f"{of['worst_difference']:.2f}",
        ]
        for of in sorted(folds, key=lambda f: f["fold"])
    ]
    head = (
        *("fold", "windows", "correlation of embeddings", "same decision"),
        *("AUC fp32", "AUC int8", "largest difference of log-odds"),
    )
    return [
        "## int8 against fp32",
        "",
        "The exported backbone against the network that it was made from, on windows of subjects "
        "that neither training nor quantisation has seen; AUC over all windows together.",
        "",
        *table(head, rows),
    ]


def _order(result: AblationResult) -> tuple[tuple[int, str], bool, tuple[int, str], str]:
    return (
        _rank(result["method"], METHODS),
        result["curriculum"],
        _rank(result["adaptation"], ADAPTATIONS),
        result["precision"],
    )


def _rank(name: str, names: tuple[str, ...]) -> tuple[int, str]:
    return (names.index(name) if name in names else len(names)), name

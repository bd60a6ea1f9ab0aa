"""Numbers and tables as Markdown. What does not exist reads n/a, never 0."""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

NOTHING = "n/a"


def share(value: float | None, places: int = 3) -> str:
    """A figure from 0 to 1; one that is not quite 0 or 1 is never rounded to it."""
    if value is None:
        return NOTHING
    step = 10.0**-places
    text = f"{value:.{places}f}"
    if value < 1 and float(text) >= 1:
        return f">{1 - step:.{places}f}"
    if value > 0 and float(text) <= 0:
        return f"<{step:.{places}f}"
    return text


def between(value: float | None, interval: tuple[float | None, float | None] | None) -> str:
    """A mean with its interval in brackets."""
    if value is None or interval is None or None in interval:
        return share(value)
    low, high = interval
    return f"{share(value)} [{share(low)}, {share(high)}]"


def percent(value: float | None) -> str:
    """A share of small things, such as false positives, with two digits that count."""
    return NOTHING if value is None else f"{100 * value:.2g} %"


def amount(value: float | None, places: int = 1) -> str:
    """Seconds, hours, a rate: fixed places from 1 up, three digits that count below."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    return f"{value:,.{places}f}" if abs(value) >= 1 else f"{value:.3g}"


def whole(value: float | None) -> str:
    """A count, in groups of three digits."""
    return NOTHING if value is None else f"{value:,.0f}"


def plain(text: str) -> str:
    """Somebody else's words, so that they neither break a table nor become mark-up."""
    for mark in "\\|<>*`[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> list[str]:
    """A table; the first ``texts`` columns are texts, the others numbers to the right."""
    rule = ["---" if i < texts else "---:" for i in range(len(head))]
    lines = [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
    return [*lines, ""]


def folded(summary: str, lines: Iterable[str]) -> list[str]:
    """Lines that a reader opens if he wants them."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "</details>", ""]


def image(link: str, caption: str) -> list[str]:
    """A picture with its caption."""
    return [f"![{caption}]({quote(link)})", "", f"*{caption}*", ""]

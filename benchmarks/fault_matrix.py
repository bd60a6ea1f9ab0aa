"""What was tried to break a gateway, and what came of it.

    python benchmarks/fault_matrix.py [--quick] [--json FILE] [--markdown docs/faults.md]

Needs the development install. Ends with 1 if anything was found that must not be.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from faults.matrix import ROWS, Effort, matrix  # noqa: E402
from faults.page import page  # noqa: E402
from faults.rows import COLUMNS, PARTS, Row, total  # noqa: E402
from fewbeats.cli.progress import progress_bar  # noqa: E402
from fewbeats.device.bundle import NOTICE  # noqa: E402

QUICK = Effort(every=10, bits=1, lengths=50, mutations=100, kills=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every point, but fewer cases at each")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--markdown", type=Path, help="write the page to this file")
    options = parser.parse_args()
    begin, rows = time.perf_counter(), []
    with progress_bar("breaking a gateway") as report:
        for row in matrix(QUICK if options.quick else Effort()):
            rows.append(row)
            report(len(rows), ROWS, row.name)
    console = Console(highlight=False, markup=False)
    for part in PARTS:
        console.print(_table(part, rows))
    violations = [violation for row in rows for violation in row.violations]
    for violation in violations:
        console.print(violation, style="red", soft_wrap=True)
    states = sum(row.states for row in rows)
    console.print(
        f"{states} states judged in {time.perf_counter() - begin:.0f} s, "
        f"{len(violations)} violations\n{NOTICE}"
    )
    if options.json:
        content = {"rows": [row.as_dict() for row in rows], "notice": NOTICE}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(page(rows), encoding="utf-8")
    sys.exit(bool(violations))


def _table(part: str, rows: list[Row]) -> Table:
    table = Table(title=part)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        if row.part == part:
            table.add_row(*row.cells(), style="bold red" if row.violations else "")
    table.add_section()
    table.add_row(*total(rows, part).cells(), style="bold")
    return table


if __name__ == "__main__":
    main()

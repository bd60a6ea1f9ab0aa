"""The command that prints the matrix, and the page that it writes."""

import json
import subprocess
import sys
from pathlib import Path

from faults.matrix import ROWS
from faults.outcome import BrokenError
from faults.page import page
from faults.rows import COLUMNS, PARTS, POWER, Row, total
from fewbeats.device.bundle import NOTICE

ROOT = Path(__file__).parents[2]


def broken() -> str:
    raise BrokenError("neither old nor new")


def test_rows_count_what_came_of_the_states() -> None:
    row = Row(POWER, "install", points=3, cases=1200)
    row.judge("a", lambda: "old")
    row.judge("b", lambda: "new")
    row.judge("c", broken)
    assert row.cells() == ["install", "3", "1 200", "3", "1", "1", "0", "1"]
    assert row.violations == ["install, c: neither old nor new"]
    assert total([row, row], POWER).cells()[1:] == ["6", "2 400", "6", "2", "2", "0", "2"]
    text = page([row])
    assert NOTICE in text and "| install | 3 |" in text and "- install, c: neither" in text


def test_the_page_in_the_documentation_is_of_this_matrix() -> None:
    text = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
    assert NOTICE in text and "with 0 violations" in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) == ROWS + 2 * len(PARTS)  # with a head and a sum for each part
    assert all(row.endswith("| 0 |") for row in rows if f"| {COLUMNS[-1]} |" not in row)


def test_the_command_explains_itself() -> None:
    command = [sys.executable, ROOT / "benchmarks/fault_matrix.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--markdown" in done.stdout and "--json" in done.stdout


def test_a_row_is_plain_data() -> None:
    assert json.loads(json.dumps(Row(POWER, "x").as_dict()))["violations"] == []

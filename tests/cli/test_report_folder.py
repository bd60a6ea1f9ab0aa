"""``fewbeats report``: from report.json to a page with figures."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fewbeats.training.report.content import save_report


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A report of one ablation: the least that has a figure."""
    figures = {"mean": 0.9, "low": 0.8, "high": 0.95}
    result = {"method": "anil", "curriculum": True, "adaptation": "none", "precision": "int8"}
    result |= {"support": "none", "shots": 10, "subjects": 7, "auc": figures, "f1": figures}
    result |= {"worst": {"subject": "vfdb/418", "auc": 0.7}, "parameters": 9, "macs": 99}
    content = {
        "format": 1,
        "title": "A small one",
        "notice": "Research software, no medical device.",
        "precision": "int8",
        "made_by": {"command": "fewbeats evaluate --data DATA", "seed": 0, "versions": {}},
        "recipe": None,
        "bundle": None,
        "data": {"sha256": "0" * 64, "subjects": {"vfdb": 7}, "excluded": {}},
        "ablation": [result],
    }
    save_report(tmp_path / "run", content)
    return tmp_path / "run"


def test_page_and_figures_beside_the_report(fewbeats, run_folder: Path) -> None:
    done = fewbeats("report", run_folder / "report.json")
    assert done.returncode == 0, done.stderr
    assert "report.md" in done.stdout
    page = (run_folder / "report.md").read_text(encoding="utf-8")
    assert "0.900 [0.800, 0.950]" in page and "(figures/ablation-none-10.png)" in page
    assert (run_folder / "figures" / "ablation-none-10.png").stat().st_size > 5_000


def test_a_page_of_documentation(fewbeats, run_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results.md"
    done = fewbeats("report", run_folder, "--docs", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    head = text.split("\n## ")[0]
    assert "fewbeats evaluate --data DATA" in head
    assert re.search(r"fewbeats report \S+/run --docs docs/results.md\n", head)
    assert str(tmp_path) not in text
    for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert link.startswith("results/") and (page.parent / link).is_file()
    assert sorted(p.name for p in run_folder.iterdir()) == ["report.json"]


def test_another_folder_and_documentation_too(fewbeats, run_folder: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out", tmp_path / "page.md"
    done = fewbeats("report", run_folder, "--out", out, "--docs", page)
    assert done.returncode == 0, done.stderr
    assert (out / "report.md").is_file() and page.is_file() and (tmp_path / "page").is_dir()


def test_what_is_no_report(fewbeats, run_folder: Path, tmp_path: Path) -> None:
    done = fewbeats("report", run_folder, "--docs", tmp_path / "docs")
    assert done.returncode == 8 and "give it an ending" in done.stderr
    report = run_folder / "report.json"
    content = json.loads(report.read_text(encoding="utf-8"))
    report.write_text(json.dumps(content | {"format": 7}), encoding="utf-8")
    done = fewbeats("report", run_folder)
    assert done.returncode == 8 and "format is 7" in done.stderr


def test_without_matplotlib_the_extra_is_named(run_folder: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        f"sys.argv = ['fewbeats', 'report', {str(run_folder)!r}]\n"
        "from fewbeats.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3 and "fewbeats[training]" in done.stderr

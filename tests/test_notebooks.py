"""The notebooks under plain papermill and nbconvert: from anywhere, on the demo, on an empty case, with a wrong ID."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from tests.test_committed import OTHERS_PARAMETERS, PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TASK = "c93afef4-105f-425c-af86-9ced40d30ee0"


def papermill(path: Path, target: Path, cwd: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", str(path), str(target), "--no-progress-bar", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env=environment)


def outputs(path: Path) -> list[nbformat.NotebookNode]:
    notebook = nbformat.read(path, as_version=4)
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_every_notebook_runs_on_an_empty_case_and_one_of_them_from_anywhere(tmp_path):
    # On the demo nbmake runs them all, in their own folder.
    (tmp_path / "empty").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    runs: list[tuple[Path, Path, tuple[str, ...]]] = []
    runs += [(path, elsewhere, ("-p", "case", str(tmp_path / "empty"))) for path in NOTEBOOKS]
    runs += [(ROOT / "notebooks" / "bulk_patterns.ipynb", cwd, ()) for cwd in (ROOT, elsewhere)]
    targets = [tmp_path / f"{number}.ipynb" for number in range(len(runs))]
    with ThreadPoolExecutor(2) as pool:
        finished = list(pool.map(lambda run, target: papermill(run[0], target, run[1], *run[2]), runs, targets))
    for (path, _, _), target, done in zip(runs, targets, finished, strict=True):
        assert done.returncode == 0, f"{path.name}: {done.stderr[-2000:]}"
        shown = outputs(target)
        assert shown
        assert [output.get("name") for output in shown if output.output_type == "stream"] == [], path.name
        assert all(output.data.get("text/html") or output.data.get("image/svg+xml") for output in shown), path.name
    assert list(elsewhere.iterdir()) == []


def test_papermill_by_hand_and_the_command_give_the_same_verdict_and_page(tmp_path):
    by_hand, command = tmp_path / "hand", tmp_path / "command"
    target = tmp_path / "deletion_investigation.ipynb"
    options = ("-r", "task_id", TASK[:9], "-r", "out", str(by_hand))
    done = papermill(ROOT / "notebooks" / "deletion_investigation.ipynb", target, tmp_path, *options)
    assert done.returncode == 0, done.stderr[-2000:]
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "investigation", str(target)], check=True, capture_output=True
    )
    arguments = ["investigate", TASK[:9], str(ROOT / "data" / "demo"), "--out", str(command), "--quiet"]
    subprocess.run([sys.executable, "-m", "analysis", *arguments], check=True, capture_output=True, cwd=ROOT)
    assert (by_hand / TASK / "verdict.json").read_bytes() == (command / TASK / "verdict.json").read_bytes()
    page = target.with_suffix(".html").read_text(encoding="utf-8")
    assert page == (command / TASK / "deletion_investigation.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "kind"), [("1e10", "float"), ("00123", "int"), ("None", "NoneType"), ("True", "bool")]
)
def test_an_id_that_papermill_changed_stops_in_one_line_that_says_what_to_do(tmp_path, given, kind):
    target = tmp_path / "out.ipynb"
    done = papermill(ROOT / "notebooks" / "deletion_investigation.ipynb", target, tmp_path, "-p", "task_id", given)
    assert done.returncode != 0
    [error] = [output for output in outputs(target) if output.output_type == "error"]
    assert error.ename == "Unusable"
    assert len(error.traceback) == 1 and "\n" not in error.traceback[0]
    assert kind in error.evalue and "-r task_id" in error.evalue


def test_the_help_of_papermill_explains_every_parameter():
    for path in NOTEBOOKS:
        command = [sys.executable, "-m", "papermill", "--help-notebook", str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        for name in PARAMETERS.get(path.stem, OTHERS_PARAMETERS):
            assert re.search(rf'^\s+{name}: str \(default ".*"\)\s+\w+', said, re.MULTILINE), f"{path.stem}: {said}"


def test_out_leaves_the_numbers_behind_every_chart(tmp_path):
    behind = {
        "ttl_distributions": {"bins", "quantiles"},
        "bulk_patterns": {"by_family", "by_hour"},
        "overview": {"families", "hours", "looked"},
    }
    for name, frames in behind.items():
        target = tmp_path / f"{name}.ipynb"
        done = papermill(ROOT / "notebooks" / f"{name}.ipynb", target, tmp_path, "-r", "out", str(tmp_path / "out"))
        assert done.returncode == 0, done.stderr[-2000:]
        left = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert left["headline"] and frames <= set(left)

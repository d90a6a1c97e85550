"""What is committed is clean: notebooks without output or traces of a run, no path of somebody's machine, no case."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = {"deletion_investigation": ["task_id", "case", "out"], "start_here": ["case"]}
OTHERS_PARAMETERS = ["case", "out"]
SHIPPED = ("data/demo/", "data/demo-with-source/")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def _notebook(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _code(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in _notebook(path)["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {
        "deletion_investigation",
        "overview",
        "ttl_distributions",
        "bulk_patterns",
    }


@every_notebook
def test_notebook_has_no_trace_of_a_run(path: Path) -> None:
    notebook = _notebook(path)
    nbformat.validate(nbformat.from_dict(notebook))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "papermill" not in notebook["metadata"]
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        assert not {"papermill", "execution"} & set(cell["metadata"])


@every_notebook
def test_no_cell_may_be_skipped_or_fail(path: Path) -> None:
    tags = {tag for cell in _notebook(path)["cells"] for tag in cell["metadata"].get("tags", [])}
    assert {tag for tag in tags if re.search(r"skip|raises", tag)} == set()


@every_notebook
def test_one_cell_of_literal_explained_parameters(path: Path) -> None:
    cells = [cell for cell in _code(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(cells) == 1
    lines = "".join(cells[0]["source"]).splitlines()
    matches = [re.fullmatch(r'(\w+): str = "[^"\\]*"  # \S.*', line) for line in lines]
    assert [match and match[1] for match in matches] == PARAMETERS.get(path.stem, OTHERS_PARAMETERS)


@every_notebook
def test_notebook_says_how_to_point_it_at_ones_own_case(path: Path) -> None:
    told = ["".join(cell["source"]) for cell in _notebook(path)["cells"] if cell["cell_type"] == "markdown"]
    assert any("your own case" in text and re.search(r"set `case` to it(s folder)?\b", text) for text in told)


@every_notebook
def test_notebook_holds_no_logic(path: Path) -> None:
    for cell in _code(path):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            logic = ast.FunctionDef | ast.Lambda | ast.For | ast.While | ast.Try | ast.If | ast.ClassDef
            assert not isinstance(node, logic), f"line {getattr(node, 'lineno', 0)} of {''.join(cell['source'])}"


def _committed() -> list[str]:
    """Names of what is committed, or would be by ``git add .``."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout: nothing tells what is committed")
    return [name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


def test_no_file_names_a_path_of_this_machine() -> None:
    here = [str(ROOT).encode()] + [f"{home}/".encode() for home in [Path.home()] if home != Path("/")]
    assert [name for name in _committed() if any(path in (ROOT / name).read_bytes() for path in here)] == []


def test_of_the_cases_only_the_shipped_ones_are_committed() -> None:
    assert [name for name in _committed() if name.startswith("data/") and not name.startswith(SHIPPED)] == []

"""Every kind of report on every hard kind of case, as files, for tests that look at them.

In: a folder. Out: cases in it, and pages made by the exporter from notebooks that were run in this process: what a
kernel would do, without the time it takes to start.
"""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.formatters import DisplayFormatter

from analysis.report.exporter import InvestigationExporter
from tests.evidence.rdb_writer import Rdb

ROOT = Path(__file__).resolve().parents[2]
# Where to start is for the person at the notebook, and no report.
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if path.stem != "start_here"}
TASK = "c93afef4-105f-425c-af86-9ced40d30ee0"
HOSTILE = [
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "\u202etxt.exe\u202c and \u200bhidden",
    "</style></title></main></details>",
    '<tr id="file-abc"><td class="c"><code>dump.rdb</code>',
    "Z" + "\u0301" * 40 + "W" * 400,
]
_DONE = '{"status": "SUCCESS", "result": 1, "task_id": "%s", "date_done": "2026-03-01T12:00:00+00:00"}'
_TAKEN = 1772366400  # 2026-03-01 12:00:00 UTC


def execute(name: str, **parameters: str) -> nbformat.NotebookNode:
    """A notebook of the kit with its outputs, the parameters in place of those that its cell has."""
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    show = DisplayFormatter()
    names: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        if "parameters" in cell.metadata.get("tags", ()):
            names.update({given: value for given, value in parameters.items() if given in names})
        if isinstance(last, ast.Expr):
            data, noted = show.format(eval(compile(ast.Expression(last.value), name, "eval"), names))
            cell.outputs.append(nbformat.v4.new_output("display_data", data=data, metadata=noted))
    return notebook


def make_page(path: Path, name: str, **parameters: str) -> Path:
    """The page of a notebook, written to ``path``."""
    body, _ = InvestigationExporter().from_notebook_node(execute(name, **parameters))
    path.write_text(body, encoding="utf-8")
    return path


def make_cases(folder: Path) -> dict[str, tuple[Path, str]]:
    """The hard cases: name → folder, and the ID of a task to ask for."""
    demo = ROOT / "data" / "demo"
    cases: dict[str, tuple[Path, str]] = {"demo": (demo, TASK)}
    for name in ("loss", "unknown", "empty", "one-key", "hostile"):
        (folder / name).mkdir()
        cases[name] = (folder / name, TASK)
    _lose(demo, folder / "loss")
    shutil.copy(demo / "clients.txt", folder / "unknown")
    (folder / "unknown" / "app.log").write_text("2025-07-24 02:05:00 INFO purge deleted=4\n")
    one = _taken().select(2).text(f"celery-task-meta-{TASK}", _DONE % TASK, ms=(_TAKEN + 86400) * 1000)
    (folder / "one-key" / "dump.rdb").write_bytes(one.end())
    _write_hostile(folder / "hostile")
    cases["hostile"] = (folder / "hostile", HOSTILE[0])
    return cases


def _taken() -> Rdb:
    return Rdb(11).aux("redis-ver", b"7.2.4").aux("ctime", _TAKEN)


def _lose(demo: Path, case: Path) -> None:
    """The demo, and what its server shows half an hour later: the results' database was flushed in between."""
    shutil.copytree(demo, case, dirs_exist_ok=True, ignore=shutil.ignore_patterns("slowlog.json"))
    said = (demo / "info-20250724T023838Z.txt").read_text()
    later = re.sub(r"uptime_in_seconds:(\d+)", lambda found: f"uptime_in_seconds:{int(found[1]) + 1800}", said)
    later = re.sub(r"(?m)^db2:.*$", "", later)
    later = later.replace("cmdstat_del:", "cmdstat_flushdb:calls=1,usec=40,usec_per_call=40.00\ncmdstat_del:")
    (case / "info-20250724T030838Z.txt").write_text(later)
    after = Rdb(9).aux("redis-ver", b"6.0.16").aux("ctime", 1753326518).select(1).text("celery", "x")
    (case / "later.rdb").write_bytes(after.end())


def _write_hostile(case: Path) -> None:
    """Text that wants to be more than text, wherever a case holds text."""
    snapshot = _taken().select(2)
    for number, text in enumerate(HOSTILE):
        body = _DONE % text.replace("\\", "\\\\").replace('"', '\\"')
        snapshot.text(f"celery-task-meta-{text}", body, ms=(_TAKEN + 86400 + number) * 1000)
    snapshot.text("W" * 3000, "x" * 3000)
    snapshot.text(b"\xff\xfe\x00", "no text")
    (case / "dump.rdb").write_bytes(snapshot.end())
    lines = [f"2026-03-01 11:5{number}:00,000 INFO {text} {HOSTILE[0]}" for number, text in enumerate(HOSTILE)]
    (case / f"worker {HOSTILE[2]} <b>.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (case / "case.toml").write_text(f"name = '''{HOSTILE[1]}{HOSTILE[5]}'''\nenvironment = '{HOSTILE[0]}'\n")


def make_pages(folder: Path) -> dict[str, Path]:
    """A page of every kind: each case investigated, and each other notebook on the demo and on what is hard."""
    cases = make_cases(folder)
    pages = {}
    for name in NOTEBOOKS:
        for case, (place, task) in cases.items():
            if name == "deletion_investigation" or case in ("demo", "empty", "hostile"):
                path = folder / f"{name} {case}.html"
                given: dict[str, Any] = {"case": str(place), "task_id": task, "out": ""}
                pages[path.stem] = make_page(path, name, **given)
    return pages

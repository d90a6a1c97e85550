"""What a report costs in a batch, beside papermill's and nbconvert's command lines and papermill's API: ``python
tests/benchmarks/batch.py [--tasks 50] [--keys 100000]``.

All make the same report from the same notebook, one after the other in one run, the peers with a warm cache of the
snapshot. A batch is measured whole, with the reading of the case and the index; the peers by a few reports a round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]

from tests.benchmarks.celery_file import make  # noqa: E402 - found once the path is set
from tests.servers import find_redis  # noqa: E402

NOTEBOOK = ROOT / "notebooks" / "deletion_investigation.ipynb"
API = """
import json, sys, tempfile
import nbformat, papermill
from analysis.report.exporter import InvestigationExporter
notebook, case, out, *tasks = sys.argv[1:]
exporter = InvestigationExporter()
for task in tasks:
    target = f"{out}/{task}.ipynb"
    papermill.execute_notebook(notebook, target, {"task_id": task, "case": case, "out": out}, progress_bar=False,
                               request_save_on_cell_execute=False, kernel_name="python3")
    body, _ = exporter.from_notebook_node(nbformat.read(target, as_version=4))
    open(f"{out}/{task}.html", "w").write(body)
"""


def seconds(*command: object, given: str = "") -> float:
    """How long a command takes; it must end well."""
    began = time.perf_counter()
    subprocess.run([*map(str, command)], input=given, text=True, check=True, capture_output=True, env=_environment())
    return time.perf_counter() - began


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def batch(case: Path, tasks: list[str], out: Path, jobs: int) -> float:
    """Seconds a report."""
    shutil.rmtree(out, ignore_errors=True)
    given = "\n".join(tasks)
    command = [sys.executable, "-m", "analysis", "batch", case, "--tasks", "-", "--out", out, "--jobs", jobs, "--quiet"]
    return seconds(*command, given=given) / len(tasks)


def by_command_line(case: Path, tasks: list[str], out: Path) -> float:
    """Seconds a report, by papermill's and nbconvert's commands."""
    took = 0.0
    for task in tasks:
        target = out / f"{task}.ipynb"
        raw = ["-r", "task_id", task, "-r", "case", case, "-r", "out", out]
        took += seconds(sys.executable, "-m", "papermill", NOTEBOOK, target, "--no-progress-bar", *raw)
        took += seconds(sys.executable, "-m", "nbconvert", "--to", "investigation", target)
    return took / len(tasks)


def by_api(case: Path, tasks: list[str], out: Path) -> float:
    """Seconds a report, by papermill's API in one process with one exporter."""
    return seconds(sys.executable, "-c", API, NOTEBOOK, case, out, *tasks) / len(tasks)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tasks", type=int, default=50)
    options.add_argument("--keys", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--peers", type=int, default=5, help="reports of each peer a round")
    options.add_argument("--json", action="store_true", help="an object in the last line")
    given = options.parse_args()
    binary = find_redis()
    assert binary is not None, "no redis-server"
    with tempfile.TemporaryDirectory(prefix="batch-") as scratch:
        folder = Path(scratch)
        (folder / "case").mkdir()
        case = make(binary, folder / "redis", given.keys, folder / "case" / "dump.rdb").parent
        import analysis

        ids = analysis.open_case(case).tasks["task_id"].astype("str")
        tasks = list(ids.iloc[:: max(1, len(ids) // given.tasks)].head(given.tasks))
        (peer := folder / "peer").mkdir()
        took: dict[str, list[float]] = {"one job": [], "two jobs": [], "command lines": [], "API": []}
        for number in range(given.rounds):
            some = tasks[number * given.peers : (number + 1) * given.peers]
            took["one job"].append(batch(case, tasks, folder / "one", 1))
            took["command lines"].append(by_command_line(case, some, peer))
            took["two jobs"].append(batch(case, tasks, folder / "two", 2))
            took["API"].append(by_api(case, some, peer))
        # What has several names lies there once.
        blocks = {(told := path.stat()).st_ino: told.st_blocks for path in (folder / "one").rglob("*")}
        size = sum(blocks.values()) * 512
    found = {name: sum(rounds) / len(rounds) for name, rounds in took.items()}
    for name, each in found.items():
        print(f"{name:>14}: {each:6.2f} s a report   {', '.join(f'{one:.2f}' for one in took[name])}")
    ratios = {
        "vs_cli": found["command lines"] / found["one job"],
        "vs_cli_2_jobs": found["command lines"] / found["two jobs"],
        "vs_api": found["API"] / found["one job"],
    }
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"ratios: {', '.join(f'{name} {ratio:.1f}' for name, ratio in ratios.items())}")
    print(f"largest process {peak:.0f} MB; {size / len(tasks) / 1024:.0f} kB a report on the disk")
    summary: dict[str, Any] = {"tasks": len(tasks), "keys": given.keys, "seconds": found, "peak_mb": round(peak)}
    if given.json:
        print(json.dumps(summary | {"ratios": {name: round(ratio, 2) for name, ratio in ratios.items()}}))


if __name__ == "__main__":
    main()

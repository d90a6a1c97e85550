"""A batch: the case read once, a report of each task, and the index of all; what is there already is not made again.

In: a case, which tasks, and how. Out: a folder of reports, a row a task as it is done, and how it went as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.batch.journal import Journal, alone_in
from analysis.batch.listing import of_tasks
from analysis.batch.warm import FORKED, Refused, warm_process
from analysis.batch.work import Making, clear_up, make_reports
from analysis.case import Case, share
from analysis.errors import Unusable
from analysis.investigation import look_into
from analysis.report.bundle import folder_name, keep_tasks
from analysis.report.closing import kit
from analysis.report.index_page import write_index
from analysis.report.show import shown


@dataclass
class Batch:
    """How a batch stands: rows by task in the order in which they were asked for, how many tasks there are, and how
    many of them were there before.
    """

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: int = 0
    before: int = 0

    @property
    def failed(self) -> int:
        return sum(1 for row in self.rows.values() if row.get("error"))


def run_batch(
    case: Case,
    which: str,
    given: Sequence[str],
    out: Path,
    *,
    jobs: int,
    engine: str,
    timeout: float | None = None,
    memory: int | None = None,
    cache: Path | None = None,
    begun: Callable[[Batch], None] = lambda batch: None,
    done: Callable[[dict[str, Any]], None] = lambda row: None,
) -> Batch:
    """Make the reports that are not there yet, and the index of all. ``begun`` is told what there is to do, ``done``
    each row, also of a report that was there. However it ends, the index is of what is there then.

    Raises Unusable where nothing can be made.
    """
    out = out.absolute()  # a kernel works in a folder of its own
    with alone_in(out):
        making = Making(os.fspath(case.path), out, engine, cache, timeout, memory)
        listed = of_tasks(case, which, given)
        batch = Batch(asked=len(listed))
        with Journal(out, _key(case)) as journal:
            _go(case, batch, listed, making, jobs, journal, begun, done)
    return batch


@contextmanager
def _kernels(case: Case, making: Making) -> Iterator[None]:
    """Where kernels are forked, the process that forks them."""
    if making.engine != FORKED:
        yield
        return
    tasks_file = making.out / f".writing-tasks-{os.getpid()}"
    try:
        _share(case, tasks_file)
        with tempfile.TemporaryDirectory(prefix="analysis-") as scratch, warm_process(Path(scratch)):
            yield
    except Refused as refused:
        raise Unusable(str(refused), file="--engine forked") from None
    finally:
        tasks_file.unlink(missing_ok=True)


def _share(case: Case, tasks_file: Path) -> None:
    """Have all reports share the case, and what of it is the same for each: one look finds that."""
    share(case)
    looked = look_into(case, "no task has such an ID")
    assert looked.bulk and looked.retention is not None
    keep_tasks(case, tasks_file)


def _go(
    case: Case, batch: Batch, listed: list[dict[str, Any]], making: Making, jobs: int, journal: Journal,
    begun: Callable[[Batch], None], done: Callable[[dict[str, Any]], None],
) -> None:  # fmt: skip
    made = journal.made()
    batch.rows = {row["task_id"]: made[row["task_id"]] for row in listed if row["task_id"] in made}
    batch.before = len(batch.rows)
    begun(batch)
    by_id = {row["task_id"]: row for row in listed}

    def add(row: dict[str, Any]) -> None:
        batch.rows[row["task_id"]] = row
        journal.add(row)
        done(row)

    try:
        for row in batch.rows.values():
            done(row)
        left = [row for row in listed if row["task_id"] not in made]
        for row in left:
            if row["error"]:
                add({**row, "folder": ""})
        wanted = [row["task_id"] for row in left if not row["error"]]
        # What a batch that was killed left behind.
        for folder in (making.out, *(making.out / folder_name(task_id) for task_id in wanted)):
            clear_up(folder)
        began: dict[str, float] = {}
        if wanted:
            with _kernels(case, making), closing(make_reports(_noted(wanted, began), making, jobs)) as reports:
                for task_id, reason in reports:
                    seconds = round(time.monotonic() - began.pop(task_id), 3)
                    add({**_row(by_id[task_id], making.out, reason), "seconds": seconds})
    finally:
        batch.rows = {task_id: batch.rows[task_id] for task_id in by_id if task_id in batch.rows}
        write_index(list(batch.rows.values()), batch.asked, case.name, case.shortcomings, making.out)


def _noted(tasks: Sequence[str], began: dict[str, float]) -> Iterator[str]:
    for task in tasks:
        began[task] = time.monotonic()
        yield task


def _key(case: Case) -> str:
    """Of what and by what a report is made: what it says follows from this and its task alone."""
    rows = zip(case.evidence["path"].astype(str), case.evidence["sha256"].astype(str), strict=True)
    stated = case.path / "case.toml"
    words = [f"{sha256}  {path}" for path, sha256 in sorted(rows)]
    words += [stated.read_text(encoding="utf-8", errors="replace")] if stated.is_file() else []
    words += map(str, (*case.ignored, kit(), shown()))
    return hashlib.sha256("\n".join(words).encode("utf-8", "backslashreplace")).hexdigest()


def _row(listed: dict[str, Any], out: Path, reason: str | None) -> dict[str, Any]:
    """What the index says of a task: what was known before, and its verdict or why there is none."""
    row = {**listed, "folder": folder_name(listed["task_id"]), "error": reason}
    if reason is not None:
        return row
    try:
        verdict = json.loads((out / row["folder"] / "verdict.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return row | {"error": f"verdict.json: {error}"}
    return row | {"verdict": verdict, **_to_send_again(out / row["folder"], verdict)}


def _to_send_again(folder: Path, verdict: dict[str, Any]) -> dict[str, Any]:
    """With what the task was called, where that is known: the arguments as its result or its message has them."""
    if not verdict["unexpected_loss"]:
        return {}
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("task_detailed_analysis_*.json"))[-1:]:
        details = json.loads(path.read_text(encoding="utf-8"))
        found |= {name: details["result"][name] for name in ("args", "kwargs") if details["result"].get(name)}
        found |= {"name": details["name"]} if details.get("name") else {}
    for path in folder.glob("task_deletion_evidence_*/recovered/message.json"):
        content = json.loads(path.read_text(encoding="utf-8"))["content"]
        if isinstance(content, dict):
            known = {name: content[name] for name in ("args", "kwargs") if content.get(name)}
            found = known | ({"name": content["task"]} if content.get("task") else {}) | found
    return found

"""Which tasks a batch is about, and what is known of each before it is looked into.

In: a case, and how they were asked for. Out: plain rows. Decides nothing about what became of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.case import Case
from analysis.errors import Unusable
from analysis.findings.bulk import looks
from analysis.findings.lost import lost_tasks
from analysis.findings.traces import whole_id
from analysis.findings.view import policy
from analysis.investigation import tasks_of
from analysis.report.bundle import rows

ALL, LOST, GIVEN = "all", "lost", "given"


def of_tasks(case: Case, which: str, given: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each task, each once: asked (the ID as given), task_id, name, queue, worker, state, at (when it was
    seen last, or ended), error (why it cannot be looked into; None = it can). ``which``: all that any witness names,
    those that are lost (``lost.lost_tasks``), or the ``given`` ones.
    """
    known = tasks_of(case)
    known = known.assign(queue=_first(case, known, "queue"), worker=_first(case, known, "worker"))
    known = known.rename(columns={"last_at": "at"})[["task_id", "name", "queue", "worker", "state", "at"]]
    if which == ALL:
        return rows(known.assign(asked=known["task_id"], error=None))
    if which == LOST:
        lost = _lost(case)
        found = lost[["task_id"]].merge(known, on="task_id", how="left")
        return rows(found.assign(asked=found["task_id"], error=None))
    return _given(given, known)


def _lost(case: Case) -> pd.DataFrame:
    jobs = case.settings.jobs
    kept = policy(case.tasks, {part.source for part in case.archives}, case.settings.result_expires).seconds
    shots = looks(case.evidence)
    return lost_tasks(case.tasks, case.jobs, case.events, case.commands, shots, kept, jobs.expires if jobs else None)


def _given(given: Sequence[str], known: pd.DataFrame) -> list[dict[str, Any]]:
    ids = known["task_id"].astype("str")
    places = {task_id: place for place, task_id in enumerate(ids)}
    nothing = dict.fromkeys(("name", "queue", "worker", "state", "at"))
    found: dict[str, dict[str, Any]] = {}
    for asked in given:
        row: dict[str, Any] = {"task_id": asked, **nothing}
        error = None
        try:
            whole = asked if asked in places else whole_id(asked, ids)
            row = rows(known.iloc[[places[whole]]])[0] if whole in places else row | {"task_id": whole}
        except Unusable as refused:
            error = str(refused)
        found.setdefault(row["task_id"], row | {"asked": asked, "error": error})
    return list(found.values())


def _first(case: Case, known: pd.DataFrame, name: str) -> pd.Series:
    """A queue or a worker of each task, as its result, its message or a log names it first."""
    parts = [frame[["task_id", name]].dropna().astype("str") for frame in (case.tasks, case.messages, case.events)
             if name in frame]  # fmt: skip
    told = pd.concat(parts).drop_duplicates("task_id").set_index("task_id")[name]
    return known["task_id"].map(told)

"""Commands of a stream built row by row, for tests of what is found in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from analysis.findings.bulk import BulkFindings, bulk_findings, looks
from analysis.frames import frame
from tests.findings.cases import START, at

AOF = "appendonlydir/appendonly.aof.1.incr.aof"
HOUR = 3_600.0
DAY = 86_400.0


def key_of(number: int, stem: str = "celery-task-meta-") -> str:
    """A key whose own part looks like a task's ID."""
    return f"{stem}{number * 2_654_435_761 % 2**32:08x}-0000-4000-8000-{number:012x}"


def wrote(when: float, key: str, *, lives: float | None = DAY, db: int = 2) -> dict[str, Any]:
    """A row of ``commands``: a SET."""
    return _row(when, "SET", [key], db) | {"expires_at": None if lives is None else at(when + lives)}


def took(when: float, *keys: str, by: str = "client", db: int = 2, **more: Any) -> dict[str, Any]:
    """A row of ``commands``: a DEL of keys, by whom it is said to be; at an expiry it is due now."""
    due = at(when) if by == "expiry" else None
    return _row(when, "DEL", list(keys), db) | {"removed_by": by, "due_at": due, **more}


def _row(when: float, verb: str, keys: list[str], db: int) -> dict[str, Any]:
    row = {"server": "", "source": AOF, "witness": "append-only file", "verb": verb, "keys": keys, "db": db}
    if keys and keys[0].startswith("job:"):
        row["task_id"] = keys[0][4:]
    return {**row, "not_before": at(when), "not_after": at(when + 1)}


def results(begin: float, end: float, each: float, *, lives: float = DAY, first: int = 0) -> list[dict[str, Any]]:
    """Results written every so many seconds, and removed at their expiry where that comes before ``end``."""
    rows = []
    for number, when in enumerate(np.arange(begin, end, each), start=first):
        rows.append(wrote(float(when), key_of(number), lives=lives))
        if when + lives < end:
            rows.append(took(float(when + lives), key_of(number), by="expiry"))
    return rows


def commands(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The rows in order of time, as the frame ``commands``."""
    ordered = sorted(rows, key=lambda row: row["not_before"])
    return frame("commands", [{**row, "offset": number} for number, row in enumerate(ordered)])


def found_in(rows: Iterable[dict[str, Any]] | pd.DataFrame, **more: Any) -> BulkFindings:
    """What is found in a case that has these commands alone."""
    seen = rows if isinstance(rows, pd.DataFrame) else commands(rows)
    empty = {name: frame(name) for name in ("keys", "tasks", "jobs", "events")} | more
    shots = looks(frame("evidence", more.pop("evidence", ())))
    return bulk_findings(
        empty["keys"], empty["tasks"], shots, frame("changes"), jobs=empty["jobs"], commands=seen,
        events=empty["events"], retention_seconds=int(DAY), jobs_expire=more.get("jobs_expire"),
    )  # fmt: skip


def told(found: BulkFindings) -> list[tuple[str, bool]]:
    """Name of each pattern that is one, and whether it says that keys were removed before they were due."""
    rows = found.patterns.loc[found.patterns["pattern"].ne("nothing")]
    return list(rows[["pattern", "removal"]].itertuples(index=False, name=None))


__all__ = ["AOF", "DAY", "HOUR", "START", "commands", "found_in", "key_of", "results", "told", "took", "wrote"]

"""Small views of a task, built frame by frame, for tests of single rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.findings.view import View
from analysis.frames import frame
from analysis.settings import Settings

TASK = "3f2c1a7e-9d4b-4c55-8a66-0b1c2d3e4f50"
START = pd.Timestamp("2026-03-01T12:00:00Z").as_unit("us")


def at(seconds: float) -> pd.Timestamp:
    """``seconds`` after START."""
    return START + pd.Timedelta(seconds=seconds)


def result(
    snapshot: str, *, stored: float = 0, expires: float | None = 86400, db: int = 2, **more: Any
) -> dict[str, Any]:
    """A row of ``tasks``."""
    row = {
        "server": "",
        "snapshot": snapshot,
        "db": db,
        "key": f"celery-task-meta-{more.get('task_id', TASK)}",
        "task_id": TASK,
        "kind": "task",
        "status": "SUCCESS",
        "date_done": at(stored),
        "stored_at": at(stored),
        "stored_from": "date_done",
        "expires_at": None if expires is None else at(expires),
        "serializer": "json",
        "size": 300,
        "offset": 100,
        "expired": False,
    }
    return {**row, **more}


def message(snapshot: str, *, db: int = 1, key: str = "celery", state: str = "queued", **more: Any) -> dict[str, Any]:
    """A row of ``messages``."""
    row = {"server": "", "snapshot": snapshot, "db": db, "key": key, "task_id": TASK, "queue": "celery", "state": state}
    return {**row, "offset": 50, **more}


def snapshot(path: str, taken: float | None, *, complete: bool = True, server: str = "") -> dict[str, Any]:
    """A row of ``evidence``."""
    when = None if taken is None else at(taken)
    return {"server": server, "path": path, "kind": "snapshot", "from": when, "to": when, "complete": complete}


def event(kind: str, when: float, **more: Any) -> dict[str, Any]:
    """A row of ``events`` of the task in question."""
    row = {"server": "", "at": at(when), "not_after": at(when), "source": "worker.log", "line": 1, "process": "worker"}
    return {**row, "kind": kind, "task_id": TASK, "text": kind, **more}


def info(when: float, *, uptime: float, counters: Mapping[str, float] | None = None, **more: Any) -> dict[str, Any]:
    """A row of ``servers``, with its counters under ``counters``."""
    row = {
        "server": "",
        "source": "info.txt",
        "at": at(when),
        "at_from": "server clock",
        "flavor": "redis",
        "version": "7.0.15",
        "role": "master",
        "run_id": "r1",
        "uptime": uptime,
        "started_at": at(when - uptime),
        "counters_since": at(when - uptime),
        "counters_reset": False,
        "maxmemory": 1_000_000,
        "maxmemory_policy": "allkeys-lru",
        "expired_keys": 0,
        "evicted_keys": 0,
        "counters": {"cmdstat_info": 1.0, **(counters or {})},
    }
    return {**row, **more}


def view(
    *,
    task_id: str = TASK,
    stated: Settings | None = None,
    evidence: Iterable[Mapping[str, Any]] = (),
    tasks: Iterable[Mapping[str, Any]] = (),
    messages: Iterable[Mapping[str, Any]] = (),
    jobs: Iterable[Mapping[str, Any]] = (),
    events: Iterable[Mapping[str, Any]] = (),
    infos: Iterable[Mapping[str, Any]] = (),
    keys: Iterable[Mapping[str, Any]] = (),
    config: Mapping[str, str] | None = None,
) -> View:
    """A view over the given rows; everything else is empty."""
    answers = [dict(one) for one in infos]
    counters = [
        {"server": one["server"], "source": one["source"], "at": one["at"], "counter": name, "value": value}
        for one in answers
        for name, value in one.pop("counters", {}).items()
    ]
    listed = [dict(row) for row in evidence]
    listed += [{"server": "", "path": "worker.log", "kind": "worker log", "complete": True}] if events else []
    return View(
        task_id,
        stated or Settings(),
        frame("evidence", listed),
        frame("keys", keys),
        frame("tasks", tasks),
        frame("messages", messages),
        frame("jobs", jobs),
        frame("events", events),
        frame("servers", answers),
        frame("counters", counters),
        {"": dict(config)} if config is not None else {},
    )

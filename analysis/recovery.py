"""Content of records that are gone, wherever a witness still has it.

In: a case, and one task's ``View``. Out: ``Copy``s, the fullest first. Every copy is what its witness had, which need
not be the last that was there. Opens nothing but JSON; what is pickled stays closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.case import Case
from analysis.celery.jobs import job_record
from analysis.celery.messages import message_body
from analysis.celery.results import body_of
from analysis.evidence.log_forms import succeeded_value
from analysis.evidence.rdb_values import ValueUnreadable
from analysis.findings.deeds import place_of
from analysis.findings.view import View
from analysis.frames import words_in

MOST_COPIES = 50


@dataclass(frozen=True)
class Copy:
    """One copy of a record's content. ``record`` is result, job or message; ``what`` says what kind of copy it is,
    ``source`` where it stands, ``content`` is JSON-like data.
    """

    record: str
    what: str
    source: dict[str, Any]
    content: Any


def copies(case: Case, view: View, record: str) -> list[Copy]:
    """Copies of one record, those that differ, the fullest and latest first; no more than ``MOST_COPIES``."""
    found: dict[str, Copy] = {}
    for copy in {"result": _results, "job": _jobs, "message": _messages}[record](case, view):
        found.setdefault(json.dumps(copy.content, sort_keys=True, default=repr), copy)
        if len(found) == MOST_COPIES:
            break
    return list(found.values())


def _results(case: Case, view: View) -> Iterator[Copy]:
    seen = view.looked_at(view.results)
    for _, row in seen.loc[seen["serializer"].eq("json")].iloc[::-1].iterrows():
        try:
            value = case.value(str(row["snapshot"]), int(row["offset"]))
        except ValueUnreadable:
            continue
        if isinstance(value, bytes) and (meta := body_of(value).meta):
            yield Copy("result", "stored in a snapshot", _in_snapshot(row), dict(meta))
    wanted = view.keys_of("result")
    removes = view.deeds["removed_by"].notna()
    known = view.deeds.loc[view.deeds["payload_at"].notna()].iloc[::-1]
    # The write itself says more of its content than what took it away, which points at the same.
    published = pd.Series(words_in(known["verb"], ("PUBLISH",)), known.index)
    writes = ~(published | removes.reindex(known.index))
    for _, row in pd.concat([known.loc[writes], known.loc[published], known.loc[~writes & ~published]]).iterrows():
        keys = row["keys"] if isinstance(row["keys"], list) else []
        of_channel = str(row["verb"]).upper() == "PUBLISH"
        if wanted.isdisjoint(keys) and not of_channel:
            continue
        meta = body_of(raw).meta if (raw := _content(case, row)) is not None else {}
        if meta and meta.get("task_id") in (None, view.task_id):
            what = "taken away by a command" if pd.notna(row["removed_by"]) else "written by a command"
            what = "published when it was stored" if of_channel else what
            yield Copy("result", what, _in_commands(row), dict(meta))
    for copy, value in _archived(case, view.results, "result"):
        if meta := body_of(value).meta:
            yield replace(copy, content=dict(meta))
    for _, line in view.log.loc[view.log["kind"].eq("succeeded")].iloc[::-1].iterrows():
        if (logged := succeeded_value(str(line["text"]))) is not None:
            source = {"log": line["source"], "line": int(line["line"])}
            # The value as Python wrote it, cut by Celery at 1,024 characters and by the kit where it is longer.
            yield Copy("result", "the value as the worker logged it", source, {"result_as_logged": logged})


def _jobs(case: Case, view: View) -> Iterator[Copy]:
    for _, row in view.looked_at(view.records).iloc[::-1].iterrows():
        try:
            fields = job_record(case.value(str(row["snapshot"]), int(row["offset"]))).fields
        except ValueUnreadable:
            continue
        if fields:
            yield Copy("job", "stored in a snapshot", _in_snapshot(row), fields)
    for copy, value in _archived(case, view.records, "job"):
        if fields := job_record(value).fields:
            yield replace(copy, content=fields)


def _archived(case: Case, rows: pd.DataFrame, record: str) -> Iterator[tuple[Copy, bytes]]:
    """What archives kept of a record, the last first, with the value of each: after the copies of witnesses that have
    it whole, for secrets may be left out.
    """
    archives = {part.source: part for part in case.archives}
    for _, row in rows.loc[rows["snapshot"].isin(archives)].iloc[::-1].iterrows():
        part, place = archives[str(row["snapshot"])], int(row["offset"])
        try:
            value, redacted = part.value(place), part.is_redacted(place)
        except ValueUnreadable:
            continue
        source = {"archive": part.source, "row": place, "seen_in": part.seen_in}
        source |= {"db": int(row["db"]), "key": row["key"]}
        what = "kept in an archive" + (", without its secrets" if redacted else "")
        yield Copy(record, what, source, None), value


def _messages(case: Case, view: View) -> Iterator[Copy]:
    pushed = words_in(view.deeds["verb"], ("LPUSH", "RPUSH", "HSET"))
    for _, row in view.deeds.loc[pushed & view.deeds["payload_at"].notna() & view.deeds["task_id"].notna()].iterrows():
        raw = _content(case, row)
        body = message_body(raw) if raw is not None else None
        if body is not None and body.args is not None:
            content = {"task": view.name or None, "id": view.task_id, "args": body.args, "kwargs": body.kwargs}
            yield Copy("message", "the message as it was sent", _in_commands(row), content)


def _content(case: Case, row: pd.Series) -> bytes | None:
    try:
        return case.content(str(row["source"]), int(row["payload_at"]))
    except ValueUnreadable:
        return None


def _in_snapshot(row: pd.Series) -> dict[str, Any]:
    return {"snapshot": row["snapshot"], "byte": int(row["offset"]), "db": int(row["db"]), "key": row["key"]}


def _in_commands(row: pd.Series) -> dict[str, Any]:
    db = None if pd.isna(row["db"]) else int(row["db"])
    return {"command": place_of(row), "verb": str(row["verb"]), "db": db, "keys": row["keys"]}

"""One ordered frame of what happened to a task, and to the server around it, from every source.

In: a ``View`` and its verdict. Out: the ``timeline`` frame. What is inferred is marked so; contradictions stand side
by side.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.findings.lived import purge_of
from analysis.findings.sighted import NOUN
from analysis.findings.tell import sure
from analysis.findings.verdict import Verdict
from analysis.findings.view import View
from analysis.findings.words import count, duration
from analysis.frames import frame

# Log lines of the server (evidence/log_events.py) that change, or may have changed, what it holds.
_SERVER_KINDS = (
    "server_started",
    "rdb_loaded",
    "expired_on_load",
    "load_failed",
    "saved_by_server",
    "shutdown_requested",
    "server_stopped",
    "server_crashed",
    "became_replica",
    "became_master",
    "resync_flush",
    "aof_truncated",
    "flush",
)


def timeline(view: View, verdict: Verdict) -> pd.DataFrame:
    """Everything with a time that bears on the task: the frame ``timeline``, ordered by time."""
    rows = [*_server(view), *_task(view), *_records(view), *_gone(view, verdict), *_purge(view, verdict), *_case(view)]
    ordered = frame("timeline", [row for row in rows if pd.notna(row["at"])])
    return ordered.sort_values("at", kind="stable", ignore_index=True)


def _row(
    lane: str, kind: str, at: Any, says: str, source: str, certainty: str = "shown", until: Any = None
) -> dict[str, Any]:
    end = at if until is None or pd.isna(until) else until
    return {
        "at": at,
        "not_after": end,
        "lane": lane,
        "kind": kind,
        "says": says,
        "source": source,
        "certainty": certainty,
    }


def _server(view: View) -> list[dict[str, Any]]:
    rows = []
    for (server, _run), answers in view.servers.groupby(["server", "run_id"], dropna=False):
        first = answers.iloc[0]
        if pd.isna(first["started_at"]):
            continue
        name = f"Server {server}" if server else "Redis"
        says = f"{name} {first['version']} started (uptime {duration(first['uptime'])} at the first INFO)"
        rows.append(
            _row(
                "server",
                "server_started",
                first["started_at"],
                says,
                f"{first['source']}, uptime_in_seconds",
                "derived",
            )
        )
    logged = view.events.loc[view.events["kind"].isin(_SERVER_KINDS)]
    started = [row["at"] for row in rows]
    for line in logged.itertuples():
        if line.kind == "server_started" and any(abs((line.at - at).total_seconds()) < 5 for at in started):
            continue
        rows.append(
            _row("server", line.kind, line.at, str(line.text)[:200], f"{line.source}:{line.line}", until=line.not_after)
        )
    return rows


def _task(view: View) -> list[dict[str, Any]]:
    rows = []
    for line in view.log.itertuples():
        took = f" after {line.seconds:,.2f} s" if pd.notna(line.seconds) else ""
        says = f"{line.process}: {line.kind}{took}"
        rows.append(_row("task", line.kind, line.at, says, f"{line.source}:{line.line}", until=line.not_after))
    for message in view.waiting.itertuples():
        if pd.notna(message.reserved_at):
            says = "a worker took the message (score in unacked_index)"
            rows.append(
                _row("message", "reserved", message.reserved_at, says, f"{message.snapshot}, byte {message.offset}")
            )
        if pd.notna(message.eta):
            source = f"{message.snapshot}, byte {message.offset}"
            rows.append(_row("message", "eta", message.eta, "the message is not to run before", source))
    return rows


def _records(view: View) -> list[dict[str, Any]]:
    rows = []
    seen: set[tuple[Any, ...]] = set()
    for result in view.results.itertuples():
        source = f"{result.snapshot}, byte {result.offset}"
        identity = (result.server, result.db, result.key, result.stored_at, result.expires_at)
        if identity in seen:
            continue
        seen.add(identity)
        says = f"result stored in DB {result.db} ({result.status}), by its own {result.stored_from}"
        rows.append(_row("result", "stored", result.stored_at, says, source))
        rows.append(_row("result", "expires", result.expires_at, "its TTL ends: the key expires", source))
    if not len(view.results) and view.stored is not None:
        says = "the result was stored by then: a worker logs success after it has stored the result"
        rows.append(_row("result", "stored", view.stored.at, says, view.stored.source, "derived"))
    if not len(view.results) and view.stored is not None and view.expires is not None:
        says = f"its TTL would end, if it was kept {duration(view.retention.seconds)} ({view.retention.certainty})"
        rows.append(_row("result", "expires", view.expires.at, says, view.expires.source, "derived"))
    for job in view.records.itertuples():
        source = f"{job.snapshot}, byte {job.offset}"
        rows.append(_row("job", "created", job.created_at, f"job record created (DB {job.db})", source))
        rows.append(_row("job", "expires", job.expires_at, "the job record's TTL ends", source))
    return rows


def _gone(view: View, verdict: Verdict) -> list[dict[str, Any]]:
    """When a record that was once there was first seen, or said, to be gone, unless its own end is in the timeline."""
    rows = []
    for name in ("result", "job"):
        record, missed = verdict.records.get(name), view.missed_by(name)
        known = view.born(name) is not None
        if record is None or record.status != "absent" or missed is None or not known:
            continue
        if record.cause in ("natural_expiry", "purged_by_cleanup"):
            continue
        if missed == view.stated.noticed_at:
            source, says, certainty = "case.toml, noticed_at", f"the {NOUN[name]} was gone, as reported", "stated"
        else:
            shots = view.shots.loc[view.shots["taken_at"].eq(missed), "snapshot"]
            source, says, certainty = str(shots.iloc[0]), f"the {NOUN[name]} was gone by then", "shown"
        rows.append(_row(name, "gone", missed, says, source, certainty))
    return rows


def _purge(view: View, verdict: Verdict) -> list[dict[str, Any]]:
    job, purge = verdict.records.get("job"), purge_of(view)
    if purge is None or job is None or job.cause != "purged_by_cleanup":
        return []
    number = f" of {count(int(purge['count']), 'record')}" if pd.notna(purge["count"]) else ""
    says = f"a purge{number} was logged; that this job record was among them is {sure(job.confidence)}"
    source = f"{purge['source']}:{purge['line']}"
    return [_row("job", "purged", purge["at"], says, source, "inferred", until=purge["not_after"])]


def _case(view: View) -> list[dict[str, Any]]:
    rows = []
    for shot in view.shots.itertuples():
        holds = [
            name
            for name, record in (("result", view.results), ("message", view.waiting), ("job record", view.records))
            if record["snapshot"].eq(shot.snapshot).any()
        ]
        says = (
            f"snapshot {shot.snapshot}: holds the {' and the '.join(holds)}"
            if holds
            else f"snapshot {shot.snapshot}: holds none of its records"
        )
        rows.append(_row("case", "snapshot", shot.taken_at, says, shot.snapshot))
    for answer in view.servers.itertuples():
        rows.append(_row("case", "info", answer.at, "INFO was read", answer.source, "shown"))
    if view.stated.noticed_at is not None:
        says = "somebody missed it (testimony)"
        rows.append(_row("case", "noticed", view.stated.noticed_at, says, "case.toml, noticed_at", "stated"))
    return rows

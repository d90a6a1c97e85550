"""One ordered frame of what happened to a task, and to the server around it, from every source.

In: a ``View`` and its verdict. Out: the ``timeline`` frame. What is inferred is marked so, and what contradicts
another row.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.findings.contradictions import with_contradictions
from analysis.findings.deeds import WRITES, place_of
from analysis.findings.rules.lived import purge_of
from analysis.findings.rules.sighted import NOUN
from analysis.findings.telling.tell import sure
from analysis.findings.verdict import Verdict
from analysis.findings.view import View
from analysis.findings.words import count, duration, spot, stamp
from analysis.frames import frame, words_in

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
    rows = [
        *_server(view),
        *_flushes(view),
        *_task(view),
        *_deeds(view),
        *_records(view),
        *_gone(view, verdict),
        *_purge(view, verdict),
        *_case(view),
    ]
    ordered = frame("timeline", [row for row in rows if pd.notna(row["at"])])
    return with_contradictions(ordered.sort_values("at", kind="stable", ignore_index=True))


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
    named = view.log["kind"].eq("mentioned")
    for source, lines in view.log.loc[named].groupby("source", sort=False):
        first, last = lines.iloc[0], lines.iloc[-1]
        says = f"{first['process']}: named in {count(len(lines), 'line')}"
        rows.append(_row("task", "mentioned", first["at"], says, f"{source}:{first['line']}", until=last["not_after"]))
    for line in view.log.loc[~named].itertuples():
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


def _flushes(view: View) -> list[dict[str, Any]]:
    """Commands on a whole database, whoever saw them; one that was denied did not run."""
    wanted = words_in(view.commands["verb"], ("FLUSHDB", "FLUSHALL", "SWAPDB"))
    seen = view.commands.loc[wanted & view.commands["witness"].ne("ACL LOG")]
    rows = []
    for _, row in _few(seen, set()).iterrows():
        where = f" of DB {row['db']}" if str(row["verb"]).upper() == "FLUSHDB" and pd.notna(row["db"]) else ""
        detail = f" ({row['detail']})" if pd.notna(row["detail"]) else ""
        says = f"{row['verb']}{where}{detail}{_sent_by(row)}"
        rows.append(_of_command("server", "flush", row, says))
    return rows


# What a command on the message of a task does to it (kombu/transport/redis.py).
_OF_MESSAGE = {
    "LPUSH": ("published", "the message was put into {key}"),
    "RPUSH": ("restored", "the message was put back into {key}, to be taken next"),
    "RPOP": ("received", "a worker took the message out of {key}"),
    "LREM": ("removed", "the message was taken out of {key} by its content"),
    "HSET": ("reserved", "the message was noted in {key} as taken"),
    "HDEL": ("acknowledged", "the message was acknowledged: taken out of {key}"),
}
_MOMENT = pd.Timedelta(seconds=1)
_MOST = 500
_GONE_AS = {"expiry": "expired", "eviction": "evicted"}


def _deeds(view: View) -> list[dict[str, Any]]:
    """The task's own commands, in the lane of the record that they are about."""
    results, jobs = view.keys_of("result"), view.keys_of("job")
    taken = {name: {fate.row.name: fate for fate in view.fates(name)} for name in ("result", "job")}
    rows: list[dict[str, Any]] = []
    created: set[str] = set()
    ended = {label for fates in taken.values() for label in fates}
    for label, row in _few(view.deeds, ended).iterrows():
        keys = row["keys"] if isinstance(row["keys"], list) else []
        verb = str(row["verb"]).upper()
        fate = next(((name, fates[label]) for name, fates in taken.items() if label in fates), None)
        if fate is not None:
            name, end = fate
            kind = _GONE_AS.get(end.by, "renamed" if verb in ("RENAME", "MOVE", "MIGRATE") else "deleted")
            says = f"{row['verb']} took the {NOUN[name]} away{_sent_by(row)}"
            certainty = "inferred" if end.or_by or end.by == "unknown" else "shown"
            rows.append(_of_command(name, kind, row, says, certainty))
        elif not results.isdisjoint(keys) or not jobs.isdisjoint(keys):
            lane = "result" if not results.isdisjoint(keys) else "job"
            if told := _written(row, verb, lane, created):
                rows.append(_of_command(lane, *told))
                if len(rows) > 1 and _one_write(*rows[-2:]):
                    rows.pop()
        elif verb in _OF_MESSAGE and keys:
            kind, says = _OF_MESSAGE[verb]
            rows.append(_of_command("message", kind, row, says.format(key=keys[0])))
    for name, ends in taken.items():
        rows += [
            _of_command(name, "flushed", end.row, f"{end.verb} took the {NOUN[name]} away")
            for label, end in ends.items()
            if label not in view.deeds.index
        ]
    return rows


def _few(rows: pd.DataFrame, kept: set[Any]) -> pd.DataFrame:
    """Of a great many rows the first and the last, and those in ``kept``."""
    if len(rows) <= 2 * _MOST:
        return rows
    middle = rows.iloc[_MOST:-_MOST]
    return pd.concat([rows.head(_MOST), middle.loc[middle.index.isin(list(kept))], rows.tail(_MOST)])


def _one_write(before: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether a record is only written on, in the same moment as before: field by field, or in one transaction."""
    if before["lane"] != row["lane"] or row["kind"] != "updated" or before["kind"] not in ("created", "updated"):
        return False
    return bool(row["at"] - before["at"] < _MOMENT and row["not_after"] - before["not_after"] < _MOMENT)


def _written(row: pd.Series, verb: str, lane: str, created: set[str]) -> tuple[str, pd.Series, str] | None:
    """What a command does to a record that it does not take away: kind, row and sentence."""
    noun = NOUN[lane]
    if verb in WRITES:
        kind = "stored" if lane == "result" else "updated" if row["source"] in created else "created"
        created.add(str(row["source"]))
        until = f", to expire at {stamp(row['expires_at'])}" if pd.notna(row["expires_at"]) else ""
        return kind, row, f"{row['verb']} wrote the {noun} (DB {row['db']}){until}{_sent_by(row)}"
    if pd.notna(row["expires_at"]) or pd.notna(row["ttl"]):
        until = stamp(row["expires_at"]) if pd.notna(row["expires_at"]) else f"in {duration(row['ttl'] / 1000)}"
        return "expiry_set", row, f"{row['verb']} set the {noun} to expire {until}{_sent_by(row)}"
    return None


def _sent_by(row: pd.Series) -> str:
    if pd.isna(row["client"]):
        return ""
    name = f" ({row['client_name']})" if pd.notna(row["client_name"]) else ""
    return f", sent by {row['client']}{name}"


def _of_command(lane: str, kind: str, row: pd.Series, says: str, certainty: str = "shown") -> dict[str, Any]:
    """A row whose time is the command's: where only one end of it is known, that one, and then it is derived."""
    first, last = row["not_before"], row["not_after"]
    begin = first if pd.notna(first) else last
    says = f"{row['server']}: {says}" if row["server"] else says
    if pd.isna(first) != pd.isna(last):
        says += " or later" if pd.notna(first) else " or earlier"
        certainty = "derived" if certainty == "shown" else certainty
    return _row(lane, kind, begin, says, place_of(row), certainty, until=last)


def _records(view: View) -> list[dict[str, Any]]:
    rows = []
    seen: set[tuple[Any, ...]] = set()
    for result in view.results.itertuples():
        source = spot(result.snapshot, result.offset)
        identity = (result.server, result.db, result.key, result.stored_at, result.expires_at)
        if identity in seen:
            continue
        seen.add(identity)
        says = f"result stored in DB {result.db} ({result.status}), by its own {result.stored_from}"
        rows.append(_row("result", "stored", result.stored_at, says, source))
        rows.append(_row("result", "expires", result.expires_at, "its TTL ends: the key expires", source))
    if not len(view.results) and not len(view.written) and view.stored is not None:
        says = "the result was stored by then: a worker logs success after it has stored the result"
        rows.append(_row("result", "stored", view.stored.at, says, view.stored.source, "derived"))
    if not len(view.results) and view.stored is not None and view.expires is not None:
        says = f"its TTL would end, if it was kept {duration(view.retention.seconds)} ({view.retention.certainty})"
        rows.append(_row("result", "expires", view.expires.at, says, view.expires.source, "derived"))
    for job in view.records.itertuples():
        source = spot(job.snapshot, job.offset)
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
        if record.cause in ("natural_expiry", "purged_by_cleanup") or view.fates(name):
            continue
        shots = view.shots.loc[view.shots["taken_at"].eq(missed) | view.shots["taken_at"].eq(missed.floor("s"))]
        if len(shots) and missed.floor("s") != view.stated.noticed_at:
            source, says, certainty = str(shots["snapshot"].iloc[-1]), f"the {NOUN[name]} was gone by then", "shown"
        elif missed.floor("s") == view.stated.noticed_at or missed == view.stated.noticed_at:
            source, says, certainty = "case.toml, noticed_at", f"the {NOUN[name]} was gone, as reported", "stated"
        else:
            continue
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


def _kept(view: View) -> tuple[tuple[str, pd.DataFrame], ...]:
    return ("result", view.results), ("job record", view.records)


def _case(view: View) -> list[dict[str, Any]]:
    rows = []
    append_only = set(view.evidence.loc[view.evidence["kind"].eq("append-only file"), "path"])
    for shot in view.shots.itertuples():
        holds = [
            name
            for name, record in (("result", view.results), ("message", view.waiting), ("job record", view.records))
            if record["snapshot"].eq(shot.snapshot).any()
        ]
        what = "the state at the end of" if shot.snapshot in append_only else "snapshot"
        held = f"holds the {' and the '.join(holds)}" if holds else "holds none of its records"
        says = f"{what} {shot.snapshot}: {held}"
        rows.append(_row("case", "snapshot", shot.taken_at, says, shot.snapshot))
    for name, seen in view.archives.items():
        holds = [noun for noun, record in _kept(view) if record["snapshot"].eq(name).any()]
        if holds:
            says = f"a snapshot held the {' and the '.join(holds)}, as kept in {name}"
            rows.append(_row("case", "archive", seen, says, name))
    for answer in view.servers.itertuples():
        rows.append(_row("case", "info", answer.at, "INFO was read", answer.source, "shown"))
    if view.stated.noticed_at is not None:
        says = "somebody missed it (testimony)"
        rows.append(_row("case", "noticed", view.stated.noticed_at, says, "case.toml, noticed_at", "stated"))
    return rows

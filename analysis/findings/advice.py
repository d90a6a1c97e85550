"""What is missing and how to have it, and what to do next: gaps and actions that fit the server's version and role.

In: a ``View`` and what was concluded. Out: ``Gap``s and sentences. The first action never writes to the server, and
each says what it changes.
"""

from __future__ import annotations

import shlex
from collections.abc import Container, Mapping

import pandas as pd

from analysis.findings.causes import RECORDS
from analysis.findings.verdict import Gap, Record
from analysis.findings.view import View
from analysis.findings.words import duration, listed, on


def _flavor_of(view: View) -> str:
    flavors = view.servers["flavor"].dropna()
    return str(flavors.iloc[-1]) if len(flavors) else ""


def version_of(view: View) -> tuple[int, ...]:
    """The server's version as numbers, (0,) where no INFO says it. Valkey 7.2 and later count as what they are."""
    versions = view.servers["version"].dropna()
    text = str(versions.iloc[-1]) if len(versions) else ""
    return tuple(int(part) for part in text.split(".") if part.isdigit()) or (0,)


# What each kind of evidence can tell apart. A kind that is not in a case is a gap for those of its causes that compete.
DECIDES: dict[str, tuple[str, ...]] = {
    "append-only file": (
        "deleted_by_client",
        "bulk_deleted",
        "forgotten",
        "db_swapped",
        "renamed_or_moved",
        "natural_expiry",
        "db_flushed",
        "server_flushed",
        "evicted",
        "ttl_shortened",
        "never_published",
    ),
    "snapshot": (
        "present",
        "wrong_database",
        "wrong_prefix",
        "wrong_node",
        "queued",
        "reserved",
        "natural_expiry",
        "ttl_shortened",
    ),
    "an earlier snapshot": ("purged_by_cleanup", "deleted_by_client", "never_published"),
    "info": ("evicted", "db_flushed", "server_flushed", "restart_data_loss", "deleted_by_client", "never_published"),
    "worker log": ("consumed", "natural_expiry", "never_published", "wrong_id"),
    "redis log": ("restart_data_loss", "server_flushed"),
    "application log": ("purged_by_cleanup", "never_published"),
    "replication backlog": ("deleted_by_client", "bulk_deleted", "db_flushed", "server_flushed", "natural_expiry"),
    "slowlog": ("bulk_deleted", "server_flushed"),
    "clients": ("deleted_by_client", "forgotten"),
    "source code": ("purged_by_cleanup", "deleted_by_client", "forgotten"),
}
# Witnesses that only matter where no fuller one is there, or that a person cannot get from a stock tool.
_INSTEAD = {"replication backlog": ("append-only file", "append-only commands"), "clients": ()}


def gaps(view: View, competing: Container[str], judged: Container[str] = RECORDS) -> tuple[Gap, ...]:
    """Evidence that is not there and would tell causes in ``competing`` apart, the most telling first, and how to
    have it.
    """
    version = version_of(view)
    kinds = {*view.evidence["kind"]} | ({"an earlier snapshot"} if view.shots["server"].duplicated().any() else set())
    if "snapshot" not in kinds:
        kinds.add("an earlier snapshot")
    if "job" not in judged:
        kinds |= {"application log", "source code"}
    kinds |= {kind for kind, fuller in _INSTEAD.items() if kinds.intersection(fuller)}
    if _no_backlog(view):
        kinds.add("replication backlog")
    found = []
    for kind, causes in DECIDES.items():
        would = tuple(cause for cause in causes if cause in competing)
        if kind not in kinds and would:
            found.append(Gap(_NAMES.get(kind, kind), would, _how(kind, view, version)))
    return tuple(found)


_NAMES = {"info": "INFO", "redis log": "Redis server log", "slowlog": "SLOWLOG", "clients": "CLIENT LIST"}


def _no_backlog(view: View) -> bool:
    """Whether the server said that it keeps no backlog: it never had a replica, or has none for an hour
    (facts/signals.md, 2.1). Without INFO that is not known, and nobody is sent for it.
    """
    active = view.counters.loc[view.counters["counter"].eq("repl_backlog_active"), "value"]
    return not len(active) or float(active.iloc[-1]) == 0


def _how(kind: str, view: View, version: tuple[int, ...]) -> str:
    stamp = "$(date -u +%Y%m%dT%H%M%SZ)"
    match kind:
        case "append-only file":
            if any(config.get("appendonly") == "no" for config in view.config.values()):
                return "this server keeps none (appendonly no); one turned on today tells only of what comes after"
            named = [config["dir"] for config in view.config.values() if config.get("dir")]
            place = f" in {named[0]}" if named else ""
            folder = next((c["appenddirname"] for c in view.config.values() if c.get("appenddirname")), "appendonlydir")
            single = next(
                (c["appendfilename"] for c in view.config.values() if c.get("appendfilename")), "appendonly.aof"
            )
            # Valkey counts on from Redis 7.2: it has the folder too.
            many = version >= (7,) or _flavor_of(view) == "valkey"
            file = f"the folder {folder}" if many else f"the file {single}"
            return f"copy {file}{place}, if the server keeps one, before it is rewritten: cp -a, not a restart"
        case "replication backlog":
            return (
                "the server still keeps one: have it read before its replica leaves; each write pushes older ones out"
            )
        case "slowlog":
            return f"redis-cli --json SLOWLOG GET -1 > slowlog-{stamp}.json"
        case "clients":
            return f"redis-cli CLIENT LIST > clients-{stamp}.txt"
        case "snapshot":
            return "copy the server's dump.rdb, or take a snapshot from a replica"
        case "an earlier snapshot":
            return "look for a backup of dump.rdb from before the record was missed"
        case "info":
            return f"redis-cli INFO {'everything' if version >= (7,) else 'all'} > info-{stamp}.txt"
        case "worker log":
            return "copy the logs of every Celery worker into logs/"
        case "redis log":
            return "copy the file that CONFIG GET logfile names"
        case "application log":
            return "copy the application's own log into logs/"
        case _:
            return "a checkout of the application in src/, to look for code that deletes"


def actions(view: View, records: Mapping[str, Record], loss: bool | None) -> tuple[str, ...]:
    """What to do, in the order in which one would do it."""
    return tuple(
        [
            *_now(view, records),
            *_recover(view, records),
            *_about_the_cause(view, records),
            *_next_time(view, records, loss),
        ]
    )


def _now(view: View, records: Mapping[str, Record]) -> list[str]:
    result = records["result"]
    if result.status == "present":
        row = view.main("result")
        command = f"redis-cli -n {row['db']} GET {shlex.quote(str(row['key']))}"
        until = (
            f"before it expires on {on(row['expires_at'])}" if pd.notna(row["expires_at"]) else "if it is to be kept"
        )
        return [f"Copy the result {until}: {command} reads it and changes nothing but its idle time."]
    if result.status == "in_flight":
        expires = view.main("message")["expires"]
        if pd.notna(expires) and view.as_of is not None and expires <= view.as_of:
            return [f"Send the task again if it is still wanted: this message is to be discarded after {on(expires)}."]
        return [
            "Leave the message where it is and look at the workers of its queue: a worker that comes up will take it."
        ]
    version = version_of(view)
    aof = "appendonlydir/" if version >= (7,) else "appendonly.aof"
    info = "INFO everything" if version >= (7,) else "INFO all"
    return [
        f"Copy dump.rdb and {aof} from the server's disk, then save the answer of {info}, before anything rewrites "
        "them; copying changes nothing on the server."
    ]


def _recover(view: View, records: Mapping[str, Record]) -> list[str]:
    """Where content of a result that is gone was found."""
    if records["result"].status != "absent":
        return []
    places = {
        "a snapshot": bool(len(view.results)),
        "the commands": bool(len(view.written) and view.written["payload_at"].notna().any()),
        "a worker's log": bool(view.log["kind"].eq("succeeded").any()),
    }
    named = [place for place, has in places.items() if has]
    if not named:
        return []
    shown = "" if places["a snapshot"] or places["the commands"] else ", cut where it is long"
    return [f"Its content is still in {listed(named)}{shown}: see recovered/result.json beside this report."]


def _about_the_cause(view: View, records: Mapping[str, Record]) -> list[str]:
    result, advice = records["result"], []
    match result.cause:
        case "wrong_database" | "wrong_prefix" | "wrong_node":
            advice.append(
                f"Read it where it is: {result.where[0]}; then make reader and workers use the same result_backend URL."
            )
        case "natural_expiry":
            advice.append(
                f"If results are needed for longer than {duration(view.retention.seconds)}, raise result_expires (now "
                f"{view.retention.seconds:,} s): it costs memory for every result kept."
            )
        case "wrong_id":
            advice.append(
                "Look the task up by its own ID, which the sender got from apply_async and workers write to their logs."
            )
        case "queued":
            advice.append("Check that a worker consumes exactly this list (priority lists have names of their own).")
        case "reserved":
            advice.append(
                "Wait for the visibility timeout (3,600 s unless set) to pass: then Celery gives the message back."
            )
        case "never_published":
            advice.append(
                "Look in the sender's log for the moment of sending: a transaction rolled back, or an error there."
            )
        case "restart_data_loss":
            advice.append(
                "Set appendonly yes, on a volume that outlives the container; it costs disk and some write speed."
            )
        case "evicted":
            advice.append(
                "Give Celery a Redis of its own with maxmemory-policy noeviction; writes then fail when memory is full."
            )
        case "db_flushed" | "server_flushed":
            advice.append(
                "Find who calls FLUSHDB or FLUSHALL (cache.clear() and test suites do), and give them another server."
            )
        case "present":
            if view.retention.seconds:
                advice.append(
                    f"If results are needed for longer than {duration(view.retention.seconds)}, raise result_expires "
                    f"(now {view.retention.seconds:,} s) or archive them; a longer retention costs memory."
                )
    if (job := records.get("job")) and job.cause == "purged_by_cleanup":
        advice.append(
            "Write down how long job records are kept, and keep what is needed for audits elsewhere before the purge; "
            "let the purge log the IDs it deletes."
        )
    return advice


def _next_time(view: View, records: Mapping[str, Record], loss: bool | None) -> list[str]:
    if all(record.confidence >= 0.99 for record in records.values()) and loss is False:
        return []
    how = "To be able to tell next time: "
    if version_of(view) >= (7,):
        how += "turn on the append-only file with aof-timestamp-enabled yes (a change of configuration; it costs disk)"
    else:
        how += "turn on the append-only file (a change of configuration; it costs disk; times in it need Redis 7.0)"
    return [f"{how}, and keep worker and application logs as long as results."]

"""What evidence is missing or too poor, which causes it would tell apart, and how to have it, now and next time.

In: a ``View`` and the causes that still compete. Out: ``Gap``s, the most telling first. Adding a kind of evidence is
adding a row to ``DECIDES`` and one to ``_HAVE``, or to ``_QUALITIES``.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.findings.causes import RECORDS
from analysis.findings.telling.ends import to_the_second
from analysis.findings.telling.servers import (
    flavor_of,
    has,
    info_command,
    on_replica,
    saves_nothing,
    setting,
    through_disk,
    version_of,
)
from analysis.findings.verdict import Gap
from analysis.findings.view import SLACK, View

_STREAM = (
    "deleted_by_client", "bulk_deleted", "forgotten", "db_flushed", "server_flushed", "db_swapped", "renamed_or_moved",
    "overwritten", "natural_expiry", "ttl_shortened", "evicted", "queue_purged", "lost_in_pop", "queue_expired",
)  # fmt: skip

# What each kind of evidence can tell apart. A kind that is not in a case is a gap for those of its causes that compete.
DECIDES: dict[str, tuple[str, ...]] = {
    "append-only file": (
        *_STREAM, "purged_by_cleanup", "worker_killed", "result_ignored", "result_never_stored", "never_published",
        "unroutable", "chord_state_expired", "expired_on_load", "restart_data_loss",
    ),
    "replication backlog": _STREAM,
    "snapshot": (
        "present", "wrong_database", "wrong_prefix", "wrong_node", "queued", "reserved", "natural_expiry",
        "ttl_shortened", "undecodable", "db_swapped", "renamed_or_moved", "rpc_backend", "unroutable",
        "overwritten", "queue_expired",
    ),
    "an earlier snapshot": (
        "purged_by_cleanup", "deleted_by_client", "never_published", "overwritten", "stale_snapshot_restored",
        "result_never_stored", "worker_killed", "result_ignored",
    ),
    "info": (
        "evicted", "db_flushed", "server_flushed", "restart_data_loss", "deleted_by_client", "bulk_deleted",
        "ttl_shortened", "db_swapped", "expired_on_load", "failover_lost_writes", "replaced_by_resync",
        "result_never_stored", "never_published",
    ),
    "worker log": (
        "consumed", "worker_killed", "running", "revoked", "discarded", "result_never_stored", "result_ignored",
        "lost_in_pop", "queue_purged", "rpc_backend", "chord_state_expired", "natural_expiry", "never_published",
        "wrong_id",
    ),
    "redis log": (
        "restart_data_loss", "stale_snapshot_restored", "replaced_by_resync", "failover_lost_writes",
        "expired_on_load", "clock_jump", "server_flushed",
    ),
    "application log": ("purged_by_cleanup", "never_published", "unroutable", "revoked", "forgotten", "queue_purged"),
    "slowlog": ("bulk_deleted", "db_flushed", "server_flushed"),
    "clients": ("deleted_by_client", "forgotten"),
    "config": ("restart_data_loss", "evicted"),
    "source code": (
        "purged_by_cleanup", "forgotten", "result_ignored", "rpc_backend", "deleted_by_client", "bulk_deleted",
        "db_flushed", "queue_expired", "undecodable", "ttl_shortened",
    ),
}  # fmt: skip
# How far a kind decides by itself, where the same causes compete: what shows the command, what shows a trace of it.
_TELLING = {
    "append-only file": 1.0, "replication backlog": 0.95, "snapshot": 0.9, "worker log": 0.85, "redis log": 0.8,
    "info": 0.6, "application log": 0.6, "an earlier snapshot": 0.5, "slowlog": 0.4, "source code": 0.3,
    "clients": 0.2, "config": 0.2,
}  # fmt: skip
_NAMES = {
    "info": "INFO",
    "redis log": "Redis server log",
    "slowlog": "SLOWLOG",
    "clients": "CLIENT LIST",
    "config": "CONFIG GET",
}
_STREAMS = ("append-only file", "append-only commands", "replication backlog")


def gaps(
    view: View,
    competing: Container[str],
    judged: Container[str] = RECORDS,
    chances: Mapping[str, float] | None = None,
) -> tuple[Gap, ...]:
    """Evidence that is not there, or not good enough, and would tell causes in ``competing`` apart; the most telling
    first, and how to have it.

    ``chances``: how probable each cause is; with it, what bears on the likelier ones counts as more telling.
    """
    found: list[tuple[float, Gap]] = []

    def add(name: str, causes: tuple[str, ...], telling: float, how: str) -> None:
        would = tuple(cause for cause in causes if cause in competing)
        if would:
            much = len(would) if chances is None else sum(chances.get(cause, 0.0) for cause in would)
            found.append((telling * much, Gap(name, would, how)))

    absent = [kind for kind in DECIDES if not _there(view, kind, judged)]
    for kind in absent:
        # What the server never kept decides nothing now: it stands behind what can still be had.
        never = kind == "append-only file" and setting(view, "appendonly") == "no"
        add(_NAMES.get(kind, kind), DECIDES[kind], _TELLING[kind] / 2 if never else _TELLING[kind], _HAVE[kind](view))
    for quality in _QUALITIES:
        for name, how in quality.lacking(view):
            add(name, quality.causes, quality.telling, how)
    return tuple(gap for _, gap in sorted(found, key=lambda entry: -entry[0]))


def _there(view: View, kind: str, judged: Container[str]) -> bool:
    """Whether the case has this kind of evidence, or it could tell nothing here."""
    if kind == "append-only file":
        return has(view, kind) or has(view, "append-only commands")
    if kind == "snapshot":
        return has(view, kind) or has(view, "append-only file")  # for its end is a state as well
    if kind == "replication backlog":
        return has(view, kind) or has(view, "append-only file") or not keeps_backlog(view)
    if kind == "an earlier snapshot":
        return not has(view, "snapshot") or bool(view.shots["server"].duplicated().any())
    if kind == "application log" and "job" not in judged:
        return True
    return has(view, kind)


def keeps_backlog(view: View) -> bool:
    """Whether the server said that it keeps a backlog: it does with a replica, or within an hour of one
    (facts/signals.md, 2.1). Without INFO that is not known, and nobody is sent for it.
    """
    active = view.counters.loc[view.counters["counter"].eq("repl_backlog_active"), "value"]
    return bool(len(active)) and float(active.iloc[-1]) != 0


def stamped(name: str, suffix: str) -> str:
    """``info-$(date -u +%Y%m%dT%H%M%SZ).txt``: a file's name with the moment in it, for a shell."""
    return f"{name}-$(date -u +%Y%m%dT%H%M%SZ).{suffix}"


def _have_aof(view: View) -> str:
    dated = "aof-timestamp-enabled yes, 7.0 and later, dates its commands"
    if setting(view, "appendonly") == "no":
        return (
            "This server keeps none (appendonly no); one turned on today tells only of what comes after. Next time: "
            f"CONFIG SET appendonly yes on the running server (a change that costs disk and write speed); {dated}."
        )
    folder = setting(view, "dir")
    # Valkey counts on from Redis 7.2: it has the folder too.
    many = version_of(view) >= (7,) or flavor_of(view) == "valkey"
    name = (
        setting(view, "appenddirname") or "appendonlydir"
        if many
        else setting(view, "appendfilename") or "appendonly.aof"
    )
    path = shlex.quote(f"{folder.rstrip('/')}/{name}" if folder else name)
    return (
        f"Copy it, if the server keeps one, before it is rewritten: cp -a {path} CASE/, without a restart. Next time: "
        f"keep one; {dated}."
    )


def _have_snapshot(view: View) -> str:
    folder, file = setting(view, "dir"), setting(view, "dbfilename") or "dump.rdb"
    path = shlex.quote(f"{folder.rstrip('/')}/{file}" if folder else file)
    copy = f"Copy the server's own file first: cp -a {path} CASE/."
    if saves_nothing(view):
        copy = "This server saves none by itself."
    if through_disk(view):
        return (
            f"{copy} Do not use redis-cli --rdb on this server: it syncs through its disk, or may, and then overwrites "
            "that file. A replica's own file is as good."
        )
    where = "here, on the replica," if on_replica(view) else "on a replica, if there is one,"
    alone = "" if on_replica(view) else ", and one that never had a replica gets a new replication ID"
    return f"{copy} Then redis-cli --rdb CASE/dump.rdb {where} has it write one: the server forks once{alone}."


def _have_info(view: View) -> str:
    of_master = ", of the master too" if on_replica(view) else ""
    return (
        f"{info_command(view)} > {stamped('info', 'txt')}{of_master}; it reads counters only. Next time: save one "
        "every few minutes."
    )


_HAVE: dict[str, Callable[[View], str]] = {
    "append-only file": _have_aof,
    "replication backlog": lambda view: (
        "The server still keeps one: have it read before its replica leaves, for each write pushes older ones out. "
        "Next time: a larger repl-backlog-size, set only once this one is read."
    ),
    "snapshot": _have_snapshot,
    "an earlier snapshot": lambda view: (
        "Look for a backup of dump.rdb from before the record was missed. Next time: keep dated copies; "
        "analysis archive CASE keeps results and job records of each before they expire."
    ),
    "info": _have_info,
    "worker log": lambda view: (
        "Copy the logs of every Celery worker into logs/. Next time: --loglevel=INFO, kept as long as results; "
        "task_track_started=True also stores when a task began (one more write each)."
    ),
    "redis log": lambda view: (
        f"Copy the server's log ({shlex.quote(path)})."
        if (path := setting(view, "logfile"))
        else "Copy the file that CONFIG GET logfile names; where that is empty, what the service or container kept."
    ),
    "application log": lambda view: (
        "Copy the application's own log into logs/. Next time: let it log the IDs that it sends and deletes."
    ),
    "slowlog": lambda view: (
        f"redis-cli --json SLOWLOG GET -1 > {stamped('slowlog', 'json')}; it reads only, and holds the last 128 "
        "commands of over 10 ms unless set. Next time: slowlog-log-slower-than 1000 and slowlog-max-len 1024 (some "
        "memory)."
    ),
    "clients": lambda view: (
        f"redis-cli CLIENT LIST > {stamped('clients', 'txt')}; it reads only. Next time: CLIENT SETNAME and a user for "
        "each application."
    ),
    "config": lambda view: (
        "redis-cli --json CONFIG GET '*' > config.json; it reads only, and holds the server's passwords: keep it close."
    ),
    "source code": lambda view: (
        "Put a checkout of the application into src/, to look for code that deletes: what it could have done, it need "
        "not have done."
    ),
}


@dataclass(frozen=True)
class _Quality:
    """Evidence that is there and falls short: the causes that a better one would tell apart, how telling it is, and
    what is lacking, as name and how to have it.
    """

    causes: tuple[str, ...]
    telling: float
    lacking: Callable[[View], Iterator[tuple[str, str]]]


def _undated(view: View) -> Iterator[tuple[str, str]]:
    """An append-only file without ``#TS``: its commands have an order, and times only from what else they carry."""
    streams = [kind for kind in _STREAMS[:2] if has(view, kind)]
    if not streams or setting(view, "aof-timestamp-enabled") == "yes":
        return
    rows = view.commands.loc[view.commands["witness"].eq("append-only file")]
    width = (rows["not_after"] - rows["not_before"]).dt.total_seconds()
    loose = width.isna() | width.gt(60)
    if setting(view, "aof-timestamp-enabled") == "no" or (len(rows) and bool(loose.mean() > 0.5)):
        yield (
            "times in the append-only file",
            "They cannot be had afterwards: the file keeps the order, and expiries and logs bound the times. Next "
            "time: CONFIG SET aof-timestamp-enabled yes (7.0 and later; a change of configuration, one line a second).",
        )


def _counters(view: View) -> Iterator[tuple[str, str]]:
    """INFO only from after the loss, or counters that began only then."""
    servers = view.servers_of("result")
    answers = view.servers.loc[view.servers["server"].isin(servers)] if servers else view.servers
    missed = view.missed_by("result")
    if not len(answers) or missed is None:
        return
    history = "Ask the monitoring system (redis_exporter, the provider's metrics) for"
    since, born = answers["counters_since"], view.born("result")
    if since.isna().any() or (born is not None and bool((since > born).any())):
        began = since.dropna()
        from_when = f" on {to_the_second(began.max())}" if len(began) else " at a time that is not known"
        yield (
            "the counters from before they began",
            f"INFO's counters began{from_when}, after a restart or a reset. {history} evicted_keys, expired_keys and "
            "the calls of each command before that. Next time: save INFO every few minutes, and do not call CONFIG "
            "RESETSTAT.",
        )
    elif not (answers["at"] < missed).any():
        yield (
            "INFO from before the loss",
            f"There is none from before, so no counter shows its growth. {history} evicted_keys, expired_keys and the "
            "calls of each command. Next time: save INFO every few minutes; it only reads.",
        )


def _logs_of(kind: str) -> Callable[[View], Iterator[tuple[str, str]]]:
    def lacking(view: View) -> Iterator[tuple[str, str]]:
        """Logs that end before the time in question, or begin after it."""
        logs = view.evidence.loc[view.evidence["kind"].eq(kind)]
        times = logs.loc[logs["from"].notna() & logs["to"].notna()]
        if not len(times) or (kind == "worker log" and view.ended is not None):
            return
        begin, end = times["from"].min(), times["to"].max()
        born, missed = view.born("result"), view.missed_by("result") or view.as_of
        early = born is not None and begin > born + SLACK
        late = missed is not None and end < missed - pd.Timedelta(minutes=1)
        if early or late:
            name = "worker" if kind == "worker log" else "Redis server"
            span = f"from {to_the_second(begin)} to {to_the_second(end)}"
            yield (
                f"a {name} log of the whole time",
                f"What is there reaches {span}. Copy the rotated files (and those of every other {name.lower()}) into "
                "logs/. Next time: keep them as long as results.",
            )

    return lacking


def _cut(view: View) -> Iterator[tuple[str, str]]:
    """Files that were read in part."""
    rows = view.evidence.loc[
        view.evidence["kind"].isin(("snapshot", *_STREAMS, "append-only part"))
        & ~view.evidence["complete"].fillna(True).astype(bool)
    ]
    for row in rows.head(3).itertuples():
        place = f" at byte {int(row.stopped_at):,}" if pd.notna(row.stopped_at) else ""
        yield (
            f"the rest of {row.path}",
            f"Reading stopped{place}: the file is cut or damaged there. Copy it again from the server, if it is still "
            "there, or from a backup; compare the sizes first.",
        )


_QUALITIES = (
    _Quality(
        ("natural_expiry", "ttl_shortened", "evicted", "deleted_by_client", "forgotten", "clock_jump"), 0.7, _undated
    ),
    _Quality(
        (
            "evicted", "db_flushed", "server_flushed", "db_swapped", "deleted_by_client", "bulk_deleted", "forgotten",
            "natural_expiry", "restart_data_loss", "result_never_stored",
        ),
        0.6,
        _counters,
    ),
    _Quality(DECIDES["worker log"], 0.8, _logs_of("worker log")),
    _Quality(DECIDES["redis log"], 0.75, _logs_of("redis log")),
    _Quality((*_STREAM, *DECIDES["snapshot"]), 0.9, _cut),
)  # fmt: skip

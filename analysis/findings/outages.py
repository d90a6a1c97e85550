"""What a server's memory went through: starts with what they loaded, resyncs, promotions, steps of its clock.

In: the frames ``events``, ``servers`` and ``counters``. Out: ``Start``s, ``Change``s of role and ``Jump``s of the
clock. Weighs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.findings.moment import SLACK
from analysis.findings.words import duration
from analysis.frames import holds

# A server that loads for longer than this writes more about it.
_LOADING = pd.Timedelta(minutes=10)
# Clocks kept by NTP are not off by so much.
_STEP = pd.Timedelta(seconds=60)
_SAVES = ("saved_by_server", "saved_by_child", "final_save")
_SHUTDOWN = ("shutdown_requested", "server_stopped", "final_save")
_ROLES = ("became_replica", "resync_flush", "became_master", "replid_changed", "failover", "resync_full", "resync_done")


@dataclass(frozen=True)
class Start:
    """A start of the server at ``at``. ``loaded`` is how many keys it loaded (None: not told), ``saved`` between which
    times what it loaded had been saved (None: not told), ``from_aof`` whether that was an append-only file, ``expired``
    how many keys it left out because they had expired, ``cut`` whether the end of its file was cut off. ``ended`` is
    the last that was heard of the run before, ``orderly`` whether that shut down.
    """

    at: pd.Timestamp
    source: str
    logged: bool
    loaded: int | None = None
    saved: tuple[pd.Timestamp, pd.Timestamp] | None = None
    from_aof: bool = False
    expired: int | None = None
    cut: bool = False
    ended: pd.Timestamp | None = None
    orderly: bool | None = None


def starts(events: pd.DataFrame, servers: pd.DataFrame, counters: pd.DataFrame, server: str) -> list[Start]:
    """Every known start of a server, in order, with what its log or INFO says that it loaded. A log without a server's
    name is taken for each one's.
    """
    log = events.loc[events["server"].isin((server, "")) & events["at"].notna()]
    found = [_logged(log, first) for _, first in log.loc[log["kind"].eq("server_started")].iterrows()]
    answers = servers.loc[servers["server"].eq(server) & servers["started_at"].notna()].sort_values("at")
    # One run has one start, which each of its answers tells to the second.
    for _, answer in answers.drop_duplicates("run_id").iterrows():
        if not any(abs(one.at - answer["started_at"]) <= SLACK for one in found if one.logged):
            found.append(_counted(answers, counters, answer))
    return sorted(found, key=lambda start: start.at)


def _logged(log: pd.DataFrame, first: pd.Series) -> Start:
    own = log.loc[log["source"].eq(first["source"]) & (log["line"] > first["line"])]
    again = own.loc[own["kind"].eq("server_started"), "line"]
    own = own.loc[own["line"] < again.min()] if len(again) else own
    own = own.loc[own["at"].le(first["at"] + _LOADING)]
    ready = own.loc[own["kind"].eq("server_ready"), "line"]
    own = own.loc[own["line"] <= ready.min()] if len(ready) else own
    kinds = set(own["kind"])
    loaded, age = _told(own, "rdb_loaded", "count"), _told(own, "rdb_age", "seconds")
    if loaded is None and len(ready) and not kinds & {"data_loaded", "rdb_loaded"}:
        loaded = 0  # a server that loads anything says so before it is ready
    before = log.loc[log["source"].eq(first["source"]) & (log["line"] < first["line"])]
    data = own.loc[own["kind"].eq("data_loaded"), "text"]
    return Start(
        at=first["at"],
        source=f"{first['source']}:{first['line']}",
        logged=True,
        loaded=None if loaded is None else int(loaded),
        saved=None if age is None else _saved(before, first["at"] - pd.Timedelta(seconds=age)),
        from_aof=bool(data.str.contains("append only", case=False, regex=False).any()),
        expired=int(_told(own, "expired_on_load", "count") or 0) if "rdb_loaded" in kinds else None,
        cut="aof_truncated" in kinds,
        ended=before["at"].iloc[-1] if len(before) else None,
        orderly=bool(before["kind"].tail(20).isin(_SHUTDOWN).any()) if len(before) else None,
    )


def _saved(before: pd.DataFrame, told: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Between which times the loaded snapshot was begun: its age is told in whole seconds, of a time in whole seconds.
    Where the log tells of saves in that time, it was one of these.
    """
    first, last = told - pd.Timedelta(seconds=1), told + pd.Timedelta(seconds=1)
    saves = before.loc[before["kind"].isin(_SAVES) & before["at"].between(first, last), "at"]
    return (saves.min(), saves.max()) if len(saves) else (first, last)


def _told(own: pd.DataFrame, kind: str, column: str) -> float | None:
    told = own.loc[own["kind"].eq(kind), column].dropna()
    return float(told.iloc[-1]) if len(told) else None


def _counted(answers: pd.DataFrame, counters: pd.DataFrame, answer: pd.Series) -> Start:
    """From the first INFO answer after the start (rdb_last_load_keys_*, Redis 7.0+)."""
    figures = counters.loc[counters["source"].eq(answer["source"])].set_index("counter")["value"]
    before = answers.loc[answers["at"].lt(answer["started_at"]), "at"]
    loaded, expired = (figures.get(f"rdb_last_load_keys_{name}") for name in ("loaded", "expired"))
    # Where an append-only file was loaded these stay at 0, though keys came from it; of a replica they tell its sync.
    counts = loaded is not None and not holds(answer["aof_enabled"]) and answer["role"] == "master"
    return Start(
        answer["started_at"],
        f"{answer['source']}, uptime_in_seconds",
        False,
        loaded=int(loaded) if counts and loaded is not None else None,
        expired=int(expired) if expired is not None else None,
        from_aof=holds(answer["aof_enabled"]),
        ended=before.max() if len(before) else None,
    )


@dataclass(frozen=True)
class Change:
    """A server was made a replica, took over another's data, or was promoted: ``kind`` as in the log's kinds, ``at``
    between ``since`` and ``at`` where only INFO tells it.
    """

    kind: str
    at: pd.Timestamp
    since: pd.Timestamp
    source: str
    says: str
    server: str


def changes_of_role(
    events: pd.DataFrame, infos: pd.DataFrame, counters: pd.DataFrame, servers: set[str]
) -> list[Change]:
    """What logs, and INFO answers one after the other, show of roles and resyncs, in order."""
    log = events.loc[events["kind"].isin(_ROLES) & events["at"].notna() & events["server"].isin({*servers, ""})]
    found = [
        Change(row.kind, row.at, row.at, f"{row.source}:{row.line}", str(row.text)[:200], row.server)
        for row in log.itertuples()
    ]
    for server in sorted(servers):
        answers = infos.loc[infos["server"].eq(server)].sort_values("at")
        for one, two in _pairs(answers):
            kind = _TURNS.get((one["role"], two["role"]))
            if kind:
                says = f"role:{one['role']} at {one['at']:%H:%M:%S} and role:{two['role']} at {two['at']:%H:%M:%S} UTC"
                found.append(Change(kind, two["at"], one["at"], f"{two['source']}, role", says, server))
        found += _promoted(counters, server, answers)
    return sorted(found, key=lambda change: change.at)


_TURNS = {("master", "slave"): "became_replica", ("slave", "master"): "became_master"}


def _pairs(answers: pd.DataFrame) -> list[tuple[pd.Series, pd.Series]]:
    rows = [row for _, row in answers.iterrows()]
    return list(zip(rows, rows[1:], strict=False))


def _promoted(counters: pd.DataFrame, server: str, answers: pd.DataFrame) -> list[Change]:
    """A master with a second replication ID was a replica of another (Redis replication.c, shiftReplicationId)."""
    second = counters.loc[counters["counter"].eq("second_repl_offset") & counters["value"].ge(0)]
    masters = answers.loc[answers["role"].eq("master") & answers["started_at"].notna()]
    for answer in masters.loc[masters["source"].isin(second["source"])].itertuples():
        offset = int(second.loc[second["source"].eq(answer.source), "value"].iloc[0])
        says = f"second_repl_offset:{offset}: it had been a replica, and was promoted"
        source = f"{answer.source}, second_repl_offset"
        return [Change("replid_changed", answer.at, answer.started_at, source, says, server)]
    return []


@dataclass(frozen=True)
class Jump:
    """A step of a server's clock by ``by``, seen between ``since`` and ``at``."""

    by: pd.Timedelta
    since: pd.Timestamp
    at: pd.Timestamp
    source: str
    says: str


def jumps(events: pd.DataFrame, infos: pd.DataFrame, servers: set[str]) -> list[Jump]:
    """Steps of the clock: the server's against the collector's between two INFO answers of one run, and backwards in
    the server's own log.
    """
    found = []
    for server in sorted(servers):
        answers = infos.loc[infos["server"].eq(server) & infos["at_from"].eq("file name") & infos["uptime"].notna()]
        for one, two in _pairs(answers.sort_values("at")):
            if one["run_id"] != two["run_id"] or pd.isna(one["run_id"]):
                continue
            # uptime is the clock's time less that of the start, so it jumps with the clock (Redis server.c).
            grew, passed = int(two["uptime"] - one["uptime"]), two["at"] - one["at"]
            by = pd.Timedelta(seconds=grew) - passed
            if abs(by) > _STEP:
                says = f"uptime grew by {grew:,} s in {duration(passed.total_seconds())}"
                found.append(Jump(by, one["at"], two["at"], f"{two['source']}, uptime_in_seconds", says))
    log = events.loc[events["at"].notna() & events["server"].isin({*servers, ""})]
    log = log.loc[log["process"].fillna("").str.startswith("redis")]
    for source, lines in log.groupby("source", sort=False):
        lines = lines.sort_values("line")
        steps, earlier = lines["at"].diff(), lines["at"].shift()
        for label in steps.index[(steps < -_STEP).to_numpy()]:
            row, before = lines.loc[label], earlier.loc[label]
            says = f"the log goes back from {before:%H:%M:%S} to {row['at']:%H:%M:%S} UTC"
            found.append(Jump(-steps.loc[label], row["at"], before, f"{source}:{row['line']}", says))
    return found

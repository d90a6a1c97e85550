"""Each server as its last INFO answer and its settings show it, in facts with their field.

In: the frames ``servers``, ``counters`` and ``events``, and the settings. Out: a ``Sight`` of each server, and rows of
text. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pandas as pd

from analysis.findings.outages import Start, starts
from analysis.findings.words import at, count, duration, listed, percentage, size, stamp

_FLAVORS = {"redis": "Redis", "valkey": "Valkey"}
# Errors by which a server refuses to write (facts/causes.md, C19).
REFUSALS = ("OOM", "MISCONF", "READONLY", "NOREPLICAS")
_OF_SERVERS = (
    "snapshot", "append-only file", "replication backlog", "info", "config", "clients", "MEMORY STATS", "LATENCY",
    "slowlog", "ACL LOG",
)  # fmt: skip
_SAME = pd.Timedelta(seconds=2)


@dataclass(frozen=True)
class Sight:
    """One server: ``answer`` is its last INFO answer (a row of ``servers``, None where none was asked), ``figures``
    that answer's counters by name and ``grown`` by how much they grew since the answer before, ``config`` its settings
    and ``config_from`` their file. ``starts`` are all starts that are known.
    """

    server: str
    answer: pd.Series | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    grown: Mapping[str, float] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    config_from: str = ""
    starts: tuple[Start, ...] = ()

    def __getitem__(self, name: str) -> float | None:
        """A figure of INFO, or None where it is not reported."""
        return self.figures.get(name)

    def text(self, column: str) -> str:
        """A column of the answer as text, empty where it is missing."""
        return "" if self.answer is None or pd.isna(self.answer[column]) else str(self.answer[column])

    def number(self, column: str) -> int | None:
        """A column of the answer as a number, or None."""
        return None if self.answer is None or pd.isna(self.answer[column]) else int(self.answer[column])

    def time(self, column: str) -> pd.Timestamp | None:
        """A column of the answer as a time, or None."""
        return None if self.answer is None or pd.isna(self.answer[column]) else self.answer[column]

    def source(self, name: str) -> str:
        """Where a figure of INFO stands."""
        return f"{self.text('source')}, {name}"

    @property
    def replica(self) -> bool:
        return self.text("role") == "slave"

    @property
    def limit(self) -> int | None:
        """``maxmemory`` in bytes; 0 = none, None = not known."""
        told = self.number("maxmemory")
        set_to = self.config.get("maxmemory", "")
        return told if told is not None else int(set_to) if set_to.isdecimal() and len(set_to) < 19 else None

    @property
    def policy(self) -> str:
        return self.text("maxmemory_policy") or self.config.get("maxmemory-policy", "")

    @property
    def fullness(self) -> float | None:
        """Share of ``maxmemory`` in use, where there is a limit. ``used_memory`` also counts buffers that do not count
        for eviction, so it may pass 1.
        """
        used = self.number("used_memory")
        return used / self.limit if used is not None and self.limit else None

    @property
    def appends(self) -> bool | None:
        """Whether it keeps an append-only file."""
        if self.answer is not None and pd.notna(self.answer["aof_enabled"]):
            return bool(self.answer["aof_enabled"])
        return {"yes": True, "no": False}.get(self.config.get("appendonly", ""))

    @property
    def saved_at(self) -> pd.Timestamp | None:
        """When the last snapshot was written, None where none was since the start, or it is not known: the field equals
        the start where nothing was saved (facts/causes.md, 2.16).
        """
        saved, began = self.time("rdb_last_save_time"), self.time("started_at")
        if saved is None or began is None or (abs(saved - began) <= _SAME and not self["rdb_saves"]):
            return None
        return saved

    @property
    def since(self) -> str:
        """From when its counters run, for the end of a sentence."""
        began = self.time("counters_since")
        return f"since {at(began)}" if began is not None else "since a time that is not known"


def servers_of(evidence: pd.DataFrame) -> list[str]:
    """The servers of a case: those of which something but a log is there, in order of name."""
    return sorted(set(evidence.loc[evidence["kind"].isin(_OF_SERVERS), "server"].dropna()))


def last_counters(servers: pd.DataFrame, counters: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``counters`` of each server's last INFO answer."""
    last = servers.loc[~servers["server"].duplicated(keep="last"), ["server", "source"]]
    return counters.merge(last, on=["server", "source"])


def sights(
    evidence: pd.DataFrame,
    servers: pd.DataFrame,
    counters: pd.DataFrame,
    events: pd.DataFrame,
    config: Mapping[str, Mapping[str, str]],
) -> list[Sight]:
    """A sight of each server of a case (``servers_of``)."""
    last, settings = last_counters(servers, counters), evidence.loc[evidence["kind"].eq("config")]
    found = []
    for name in servers_of(evidence):
        files = settings.loc[settings["server"].eq(name), "path"]
        answers = servers.loc[servers["server"].eq(name)]
        mine = last.loc[last["server"].eq(name)]
        grown = mine.loc[mine["delta"].notna()]
        found.append(
            Sight(
                name,
                answers.iloc[-1] if len(answers) else None,
                dict(zip(mine["counter"], mine["value"], strict=True)),
                dict(zip(grown["counter"], grown["delta"], strict=True)),
                config.get(name, {}),
                str(files.iloc[-1]) if len(files) else "config",
                tuple(starts(events, servers, counters, name)),
            )
        )
    return found


def server_facts(sight: Sight) -> pd.DataFrame:
    """What is known of one server: columns server, fact, value, source (file and field)."""
    rows = [] if sight.answer is None else [*_process(sight), *_memory(sight), *_counted(sight), *_traffic(sight)]
    rows += _disk(sight)
    table = pd.DataFrame(rows, columns=["fact", "value", "source"], dtype=object)
    table.insert(0, "server", sight.server)
    return table


Fact = tuple[str, str, str]


def _process(sight: Sight) -> Iterator[Fact]:
    name = _FLAVORS.get(sight.text("flavor"), sight.text("flavor"))
    kind = ", ".join(part for part in (f"{name} {sight.text('version')}".strip(), sight.text("mode")) if part)
    yield "Software", kind, sight.source("redis_version")
    roles = {"slave": "replica", "master": "master"}
    yield "Role", roles.get(sight.text("role"), sight.text("role") or "not reported"), sight.source("role")
    asked = sight.time("at")
    if asked is not None:
        yield "Asked at", stamp(asked), f"{sight.text('source')}, dated by {sight.text('at_from')}"
    if (began := sight.time("started_at")) is not None:
        up = duration(sight.number("uptime") or 0)
        yield "Running since", f"{stamp(began)} (for {up})", sight.source("uptime_in_seconds")
    if len(sight.starts) > 1:
        told = listed([stamp(one.at) for one in sight.starts], most=4)
        yield (
            "Starts that are known",
            f"{len(sight.starts):,}: {told}",
            listed([s.source for s in sight.starts], most=3),
        )


def _memory(sight: Sight) -> Iterator[Fact]:
    if (used := sight.number("used_memory")) is not None:
        peak = sight["used_memory_peak"]
        text = size(used) + (f" (at most {size(peak)} since the start)" if peak is not None else "")
        yield "Memory used", text, sight.source("used_memory")
    if sight.limit is not None:
        share = f", {percentage(sight.fullness)} of it used" if sight.fullness is not None else ""
        yield "Memory limit", f"{size(sight.limit)}{share}" if sight.limit else "none", sight.source("maxmemory")
    if sight.policy:
        means = POLICIES.get(sight.policy, "not a known policy")
        yield "When memory is full", f"{sight.policy}: {means}", sight.source("maxmemory_policy")
    if (ratio := sight["mem_fragmentation_ratio"]) is not None:
        text = f"{ratio:.2f} (memory of the process over memory used; tells little below some 100 MB)"
        yield "Fragmentation", text, sight.source("mem_fragmentation_ratio")


POLICIES = {
    "noeviction": "nothing is removed, and writes are refused",
    "allkeys-lru": "any key can go, the least recently used first",
    "allkeys-lfu": "any key can go, the least frequently used first",
    "allkeys-random": "any key can go, at random",
    "volatile-lru": "keys with a TTL can go, the least recently used first",
    "volatile-lfu": "keys with a TTL can go, the least frequently used first",
    "volatile-random": "keys with a TTL can go, at random",
    "volatile-ttl": "keys with a TTL can go, those nearest to their expiry first",
}
"""``maxmemory-policy``, and what each takes (redis.conf)."""


def _counted(sight: Sight) -> Iterator[Fact]:
    for column, name in (("expired_keys", "Removed by their TTL"), ("evicted_keys", "Evicted")):
        if (number := sight.number(column)) is not None:
            grown = sight.grown.get(column)
            more = f"; {int(grown):,} of them since the INFO answer before" if grown is not None else ""
            yield name, f"{count(number, 'key')} {sight.since}{more}", sight.source(column)
    errors = {name.removeprefix("errorstat_"): n for name, n in sight.figures.items() if name.startswith("errorstat_")}
    if errors:
        ordered = sorted(errors.items(), key=lambda item: -item[1])
        text = listed([f"{name} {int(number):,}" for name, number in ordered], most=5)
        yield "Errors answered", f"{text} {sight.since}", sight.source("errorstats")


def _disk(sight: Sight) -> Iterator[Fact]:
    if sight.appends is not None:
        status = sight.text("aof_last_write_status")
        text = ("kept" + (f"; last write {status}" if status else "")) if sight.appends else "not kept"
        where = f"{sight.config_from}, appendonly" if sight.answer is None else sight.source("aof_enabled")
        yield "Append-only file", text, where
    if "save" in sight.config:
        yield (
            "Snapshots by itself",
            f"save {sight.config['save']}" if sight.config["save"] else "none",
            f"{sight.config_from}, save",
        )
    if sight.answer is None:
        return
    if sight.saved_at is not None:
        yield "Last snapshot written", stamp(sight.saved_at), sight.source("rdb_last_save_time")
    elif sight.time("rdb_last_save_time") is not None and sight.time("started_at") is not None:
        yield "Last snapshot written", "none since the start", sight.source("rdb_last_save_time")
    if (unsaved := sight["rdb_changes_since_last_save"]) is not None:
        yield "Changes since then", f"{int(unsaved):,}", sight.source("rdb_changes_since_last_save")
    if status := sight.text("rdb_last_bgsave_status"):
        yield "Last background save", status, sight.source("rdb_last_bgsave_status")


def _traffic(sight: Sight) -> Iterator[Fact]:
    if (connected := sight.number("connected_clients")) is not None:
        blocked, most = sight["blocked_clients"], sight["maxclients"]
        text = count(connected, "connection")
        text += f", {int(blocked):,} of them waiting for a list or a lock" if blocked else ""
        text += f"; at most {int(most):,}" if most else ""
        yield "Clients", text, sight.source("connected_clients")
    if refused := sight["rejected_connections"]:
        yield "Connections refused", f"{int(refused):,} {sight.since}", sight.source("rejected_connections")
    if (total := sight.number("total_commands_processed")) is not None:
        yield "Commands", f"{total:,} {sight.since}", sight.source("total_commands_processed")
    hits, misses = sight["keyspace_hits"], sight["keyspace_misses"]
    if hits is not None and misses is not None and hits + misses:
        share = hits / (hits + misses)
        yield (
            "Reads that found their key",
            f"{percentage(share)} of {int(hits + misses):,}",
            sight.source("keyspace_hits"),
        )
    if sight.replica:
        link = sight.text("master_link_status") or "not reported"
        yield "Link to its master", link, sight.source("master_link_status")
    elif (replicas := sight["connected_slaves"]) is not None:
        yield "Replicas", f"{int(replicas):,} connected", sight.source("connected_slaves")
    if sight["repl_backlog_active"] is not None:
        holds = size(sight["repl_backlog_histlen"] or 0)
        text = f"holds {holds} of the last writes" if sight["repl_backlog_active"] else "none"
        yield "Replication backlog", text, sight.source("repl_backlog_active")


def glance(
    found: list[Sight], families: pd.DataFrame, queues: pd.DataFrame, unacked: pd.DataFrame, looked_at: set[str]
) -> pd.DataFrame:
    """The servers side by side, a row each: columns server, software, role, keys, results, waiting, unacked, memory
    (bytes), limit (bytes, 0 = none), full (share), policy, evicted, expired, clients, up (seconds). Counts are missing
    where no snapshot looked at the server (``looked_at`` has those it did), what INFO tells where none was asked.
    """
    rows = []
    for sight in found:
        held = families.loc[families["server"].eq(sight.server)]
        looked = sight.server in looked_at
        rows.append(
            {
                "server": sight.server,
                "software": f"{_FLAVORS.get(sight.text('flavor'), '')} {sight.text('version')}".strip() or None,
                "role": {"slave": "replica"}.get(sight.text("role"), sight.text("role") or None),
                "keys": int(held["keys"].sum()) if looked else None,
                "results": int(held.loc[held["family"].eq("result"), "keys"].sum()) if looked else None,
                "waiting": int(queues.loc[queues["server"].eq(sight.server), "waiting"].sum()) if looked else None,
                "unacked": int(unacked.loc[unacked["server"].eq(sight.server), "held"].sum()) if looked else None,
                "memory": sight.number("used_memory"),
                "limit": sight.limit,
                "full": sight.fullness,
                "policy": sight.policy or None,
                "evicted": sight.number("evicted_keys"),
                "expired": sight.number("expired_keys"),
                "clients": sight.number("connected_clients"),
                "up": sight.number("uptime"),
            }
        )
    columns = ["server", "software", "role", "keys", "results", "waiting", "unacked", "memory", "limit", "full",
               "policy", "evicted", "expired", "clients", "up"]  # fmt: skip
    whole = ["keys", "results", "waiting", "unacked", "memory", "limit", "evicted", "expired", "clients", "up"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(whole, "Int64"))

"""What of a server's state is a risk to results and messages, in plain words, with the fact each rests on.

In: a ``Sight``, and what the last look at its server found. Out: ``Remark``s. Each says what may happen, never that it
did: whether something was lost is for an investigation to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.celery.claims import UNCLAIMED
from analysis.findings.overview.health import REFUSALS, Sight
from analysis.findings.ttl import Retention
from analysis.findings.words import at, count, duration, listed, on, percentage, size
from analysis.frames import holds

RISK, NOTE = "risk", "note"
COLUMNS = ["server", "weight", "says", "because", "source"]
NEARLY_FULL = 0.9
"""Share of maxmemory from which a limit counts as reached: buffers make the figure unsure by some percent."""
VISIBILITY = 3600.0
"""Seconds after which kombu gives an unacknowledged message back, by default (``visibility_timeout``)."""


@dataclass(frozen=True)
class Remark:
    """``weight`` is RISK where records can get lost or cannot be written as things stand, else NOTE."""

    weight: str
    says: str
    because: str
    source: str


@dataclass(frozen=True)
class Looked:
    """One server, with the rows of its last look: ``families``, ``queues``, ``unacked`` and ``growth`` as the rooms
    beside this give them, ``clients`` as the frame has them. ``at`` is the time of the look, ``source`` its file; None
    and empty where none looked.
    """

    sight: Sight
    families: pd.DataFrame
    queues: pd.DataFrame
    unacked: pd.DataFrame
    clients: pd.DataFrame
    growth: pd.DataFrame
    retention: Retention
    at: pd.Timestamp | None = None
    source: str = ""

    def keys(self, *names: str, column: str = "keys") -> int:
        """Keys of these families, or another column of them."""
        return int(self.families.loc[self.families["family"].isin(names), column].sum())


def remarks(server: Looked) -> pd.DataFrame:
    """All remarks on one server, risks first: columns server, weight, says, because, source."""
    found = [remark for rule in _RULES for remark in rule(server)]
    found.sort(key=lambda remark: remark.weight != RISK)
    rows = [(server.sight.server, one.weight, one.says, one.because, one.source) for one in found]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def _memory(server: Looked) -> Iterator[Remark]:
    sight = server.sight
    used, limit, full, policy = sight.number("used_memory"), sight.limit, sight.fullness, sight.policy
    if used is None or not limit or full is None:
        return
    near, source = full >= NEARLY_FULL, sight.source("used_memory, maxmemory")
    state = f"{size(used)} of the {size(limit)} that it may use are in use ({percentage(full)}), under {policy}"
    if policy.startswith("allkeys-"):
        says = "any key can be evicted, results and whole queues too"
        because = "under an allkeys policy Redis removes any kind of key to make room; a queue is one key"
    elif policy.startswith("volatile-"):
        says = "keys with a TTL can be evicted, and Celery's results have one; queues and unacked messages have none"
        because = "under a volatile policy Redis removes only keys with a TTL to make room"
    elif policy == "noeviction":
        says = "writes are refused, so results are not stored and tasks cannot be sent"
        because = "under noeviction Redis answers OOM to writes; a task that cannot store its result leaves none"
    else:
        return
    when = "" if near else "once it is full, "
    if near and policy == "noeviction":
        when = "once it is at its limit, "
    yield Remark(RISK if near else NOTE, f"{state}: {when}{says}.", because, source)


def _evicted(server: Looked) -> Iterator[Remark]:
    number = server.sight.number("evicted_keys")
    if number:
        yield Remark(
            RISK,
            f"{count(number, 'key was', 'keys were')} evicted {server.sight.since}; the counter does not tell which.",
            "evicted_keys counts what was removed under maxmemory, of whatever kind",
            server.sight.source("evicted_keys"),
        )


def _disk(server: Looked) -> Iterator[Remark]:
    sight = server.sight
    if sight.text("rdb_last_bgsave_status") == "err":
        yield Remark(
            RISK,
            "The last background save failed: a restart would bring back an older state, and Redis may refuse writes.",
            "with stop-writes-on-bgsave-error, the default, Redis answers MISCONF to writes after a failed save",
            sight.source("rdb_last_bgsave_status"),
        )
    if sight.text("aof_last_write_status") == "err" and sight.appends:
        yield Remark(
            RISK,
            "The last write to the append-only file failed: what was written since is in memory only.",
            "what is not on disk is gone after a restart",
            sight.source("aof_last_write_status"),
        )
    if sight.appends is not False or sight.replica:
        return
    because = "without an append-only file a server loads its last snapshot when it starts, and nothing else"
    changed = sight["rdb_changes_since_last_save"]
    unsaved = f" ({count(int(changed), 'unsaved change')} by then)" if changed else ""
    where = sight.source("aof_enabled") if sight.answer is not None else f"{sight.config_from}, appendonly"
    if sight.config.get("save") == "":
        last = f"what was written since {at(sight.saved_at)}" if sight.saved_at is not None else "all keys"
        yield Remark(
            RISK,
            f"It saves nothing by itself, neither snapshots nor an append-only file: a restart loses {last}{unsaved}.",
            because,
            f"{where}; {sight.config_from}, save",
        )
    elif sight.saved_at is not None:
        yield Remark(
            NOTE,
            f"It keeps no append-only file: a crash would have lost what was written since the snapshot of "
            f"{at(sight.saved_at)}{unsaved}.",
            because,
            f"{where}; {sight.source('rdb_last_save_time')}",
        )
    elif changed and sight.time("rdb_last_save_time") is not None:
        yield Remark(
            RISK,
            f"It keeps no append-only file and had saved nothing since its start{unsaved}: a crash loses that.",
            because,
            f"{where}; {sight.source('rdb_changes_since_last_save')}",
        )


def _started(server: Looked) -> Iterator[Remark]:
    sight, kept = server.sight, server.retention.seconds
    seen = server.at if server.at is not None else sight.time("at")
    if not sight.starts or seen is None:
        return
    last = sight.starts[-1]
    if last.at > seen:
        yield Remark(
            RISK,
            f"It was started again on {on(last.at)}, after the look of {at(seen)}: what is told of its keys is older.",
            "a start empties the memory; only what was written to disk comes back",
            last.source,
        )
        return
    if kept and seen - last.at > pd.Timedelta(seconds=kept):
        return
    loaded = f"it loaded {count(last.loaded, 'key')}" if last.loaded is not None else "what it loaded is not told"
    yield Remark(
        NOTE,
        f"It was started on {on(last.at)}, {duration((seen - last.at).total_seconds())} before; {loaded}. Of results "
        "stored before that only those are left that were on disk.",
        "a start empties the memory and all counters; only what was written to disk comes back",
        last.source,
    )


def _replication(server: Looked) -> Iterator[Remark]:
    sight = server.sight
    if not sight.replica:
        return
    if sight.text("master_link_status") == "down":
        yield Remark(
            RISK,
            "It is a replica whose link to its master was down: what it held may have been out of date.",
            "a replica holds its master's data as far as it received them",
            sight.source("master_link_status"),
        )
    yield Remark(
        NOTE,
        "It is a replica: its counters of expired and evicted keys do not tell what its master removed.",
        "a replica removes keys when its master tells it to, and counts these as calls of DEL or UNLINK",
        sight.source("role"),
    )


def _refused(server: Looked) -> Iterator[Remark]:
    sight = server.sight
    told = {name: int(number) for name in REFUSALS if (number := sight[f"errorstat_{name}"])}
    if told:
        yield Remark(
            RISK,
            f"It refused {listed([f'{number:,} with {name}' for name, number in told.items()])} {sight.since}: results "
            "of that time may not have been stored, nor tasks sent.",
            "Redis answers OOM, MISCONF, READONLY or NOREPLICAS to a write it does not take",
            sight.source("errorstats"),
        )
    if refused := sight["rejected_connections"]:
        yield Remark(
            RISK,
            f"It refused {count(int(refused), 'connection')} {sight.since}: workers or senders may have failed.",
            "Redis refuses connections beyond maxclients",
            sight.source("rejected_connections"),
        )


def _emptied(server: Looked) -> Iterator[Remark]:
    sight = server.sight
    for verb, what in (("flushall", "all databases"), ("flushdb", "a database")):
        if calls := sight[f"cmdstat_{verb}"]:
            times = "once" if calls == 1 else f"{int(calls):,} times"
            yield Remark(
                NOTE,
                f"{verb.upper()} was called {times} {sight.since}: what {what} held at that time went with it. Whether "
                "that was anything, the counter does not tell.",
                f"{verb.upper()} removes every key of {what} and leaves no other mark than its count",
                sight.source(f"cmdstat_{verb}"),
            )


def _reset(server: Looked) -> Iterator[Remark]:
    sight = server.sight
    if sight.answer is not None and holds(sight.answer["counters_reset"]):
        yield Remark(
            NOTE,
            "Its counters were reset at a time that is not known: they tell nothing of what was before.",
            "CONFIG RESETSTAT sets evicted_keys, expired_keys and the counts of commands to 0",
            sight.source("commandstats"),
        )


def _endless(server: Looked) -> Iterator[Remark]:
    number = server.keys("result", "group_result", column="without_ttl")
    if number:
        yield Remark(
            NOTE,
            f"{count(number, 'result has', 'results have')} no TTL: they stay, and take memory, until somebody removes "
            "them.",
            "with result_expires 0 or None Celery stores a result without a TTL",
            server.source,
        )


def _shared(server: Looked) -> Iterator[Remark]:
    for db, rows in server.families.groupby("db"):
        held = rows.set_index("family")["keys"]
        results, others = held.reindex(["result", "group_result"]).sum(), held.get(UNCLAIMED, 0)
        if results and others:
            yield Remark(
                NOTE,
                f"DB {db} holds {count(int(results), 'result')} beside {count(int(others), 'key')} that are not "
                "Celery's: clearing those with FLUSHDB, as caches do, would take the results too.",
                "FLUSHDB removes all keys of a database, whoever wrote them",
                server.source,
            )


def _queued(server: Looked) -> Iterator[Remark]:
    for row in server.queues.loc[server.queues["expires_at"].notna()].itertuples():
        yield Remark(
            RISK,
            f"The queue {row.queue} has a TTL: with no push or pull before {at(row.expires_at)} all its "
            f"{count(int(row.waiting), 'message')} go at once.",
            "a queue declared with x-expires is one key with a TTL (kombu 5.7 and later)",
            server.source,
        )
    late = int(server.queues["past_expires"].sum())
    if late:
        yield Remark(
            NOTE,
            f"{count(late, 'message that waited', 'messages that waited')} had passed their expires: a worker discards "
            "these when it takes them.",
            "a worker revokes a task whose expires has passed; the queue itself does not drop it",
            server.source,
        )
    waiting = int(server.queues["waiting"].sum())
    listening = server.clients["cmd"].fillna("").str.startswith(("brpop", "blmove")).any()
    if waiting and len(server.clients) and not listening:
        yield Remark(
            NOTE,
            f"{count(waiting, 'message')} waited, and no client in CLIENT LIST was waiting on a queue: "
            "consistent with no worker running, or with workers that are busy.",
            "a worker with room for a task waits in BRPOP",
            str(server.clients["source"].iloc[0]),
        )


def _unrouted(server: Looked) -> Iterator[Remark]:
    tables = server.growth.loc[server.growth["family"].eq("binding")]
    for db, rows in tables.groupby("db"):
        then, now = int(rows["then"].sum()), int(rows["now"].sum())
        if then and not now:
            yield Remark(
                RISK,
                f"Its routing tables, {count(then, 'key')} in DB {db} on {on(rows['before_at'].iloc[0])}, were gone: "
                "messages to a named exchange are dropped until a worker declares its queues again.",
                "kombu (5.2 and later) sends a message without a binding nowhere; its sender gets an ID all the same",
                f"{rows['before'].iloc[0]}; {server.source}",
            )


def _held(server: Looked) -> Iterator[Remark]:
    old = server.unacked.loc[server.unacked["age"] > VISIBILITY]
    if not len(old):
        return
    oldest = old.loc[old["age"].idxmax()]
    yield Remark(
        NOTE,
        f"A worker has held a message of {oldest['queue'] or 'a queue'} since {at(oldest['oldest_at'])} "
        f"({duration(oldest['age'])}): consistent with a long task, one with an ETA, or a worker that is gone.",
        "an unacknowledged message is given back after visibility_timeout (3,600 s unless set), by a worker that runs",
        server.source,
    )


_RULES: tuple[Callable[[Looked], Iterator[Remark]], ...] = (
    _memory,
    _evicted,
    _disk,
    _refused,
    _queued,
    _unrouted,
    _replication,
    _held,
    _started,
    _endless,
    _shared,
    _emptied,
    _reset,
)

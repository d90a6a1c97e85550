"""Evidence from the server's counters: what cannot have happened because its counter stood still, and what may have.

In: a ``View``. Out: findings for evicted, db_flushed, server_flushed, deleted_by_client, restart_data_loss,
natural_expiry. A counter that the server does not report is missing, never zero; one that covers only a part of the
record's life speaks only for that part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log10

import pandas as pd

from analysis.findings.lived import purge_of
from analysis.findings.rules import DECISIVE, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.view import View
from analysis.findings.weigh import Finding
from analysis.findings.words import at, count, duration

# Commands by which a client removes a key by name, or makes a script do it.
REMOVING = (
    "del",
    "unlink",
    "getdel",
    "eval",
    "evalsha",
    "fcall",
    "rename",
    "move",
    "migrate",
    "restore",
    "set",
    "getex",
)
_BY_TTL = ("natural_expiry", "ttl_shortened")
_BY_HAND = ("deleted_by_client", "bulk_deleted", "forgotten")
_BY_NAME = ("del", "unlink", "getdel")
_RECORDS = ("result", "job", "message")


@dataclass(frozen=True)
class Window:
    """A record's life as one INFO answer's counters see it: from ``since`` (born) to ``until`` (missed).

    ``watched`` is the share of that life that lies before the answer, ``covered`` the share in which its counters ran
    too; 0 where they say nothing about it.
    """

    answer: pd.Series
    watched: float
    covered: float
    born: pd.Timestamp | None

    @property
    def refutes(self) -> float:
        """Decibans that a counter at zero takes from its cause."""
        return silence(self.covered)


def silence(share: float) -> float:
    """Decibans against a cause that left no mark in ``share`` of the time: had it struck at a random moment, it would
    have struck in the rest with probability 1 − share.
    """
    return -DECISIVE if share >= 0.99 else max(10 * log10(1 - share), -DECISIVE)


def window(view: View, record: str) -> Window | None:
    """The last INFO answer of the server that held, or would hold, the record, and how much of its life it covers."""
    answers = view.servers
    rows = view.rows(record)
    if len(rows):
        answers = answers.loc[answers["server"].isin(rows["server"])]
    elif view.stated.environment in set(answers["server"]):
        answers = answers.loc[answers["server"].eq(view.stated.environment)]
    elif answers["server"].nunique() > 1:
        return None
    if not len(answers) or len(view.held(record)):
        return None
    answer = answers.iloc[-1]
    born, missed = view.born(record), view.missed_by(record) or view.as_of
    since = answer["counters_since"]
    # Where a RESETSTAT can be neither seen nor ruled out, the counters may have begun later than they seem to.
    trust = 0.9 if pd.isna(answer["counters_reset"]) else 1.0
    if born is None:
        # When the record was written is not known: the counters may have begun after it was gone.
        return Window(answer, 0.0, 0.9 if pd.notna(since) else 0.0, None)
    if missed is None or answer["at"] <= born:
        return Window(answer, 0.0, 0.0, born)
    watched = min((answer["at"] - born).total_seconds() / max((missed - born).total_seconds(), 1.0), 1.0)
    return Window(answer, watched, watched * trust if pd.notna(since) and since <= born else 0.0, born)


def _figure(view: View, seen: Window, counter: str) -> float | None:
    """A counter of the window's answer; 0 for a command never called where commandstats are there; None where not
    reported.
    """
    figures = view.counters.loc[view.counters["source"].eq(seen.answer["source"])]
    mine = figures.loc[figures["counter"].eq(counter), "value"]
    if len(mine):
        return float(mine.iloc[0])
    if counter.startswith("cmdstat_") and figures["counter"].str.startswith("cmdstat_").any():
        return 0.0
    return None


def _grown(view: View, seen: Window, counter: str) -> bool:
    """Did the counter grow between two answers, the later of which came after the record was born?"""
    deltas = view.counters.loc[view.counters["counter"].eq(counter) & view.counters["server"].eq(seen.answer["server"])]
    return bool((deltas["delta"].gt(0) & (seen.born is None or deltas["at"].gt(seen.born))).any())


def _since(seen: Window) -> str:
    since = seen.answer["counters_since"]
    return f"from {at(since)} to {at(seen.answer['at'])}" if pd.notna(since) else f"up to {at(seen.answer['at'])}"


@rule(
    "no-eviction",
    rests_on="evicted_keys counts every eviction; without maxmemory, or with noeviction, there is none (Redis evict.c)",
)
def eviction(view: View) -> Iterator[Finding]:
    for record in _RECORDS:
        if (seen := window(view, record)) is None or seen.answer["role"] != "master":
            continue
        source, evicted = str(seen.answer["source"]), seen.answer["evicted_keys"]
        limit, policy = seen.answer["maxmemory"], str(seen.answer["maxmemory_policy"])
        if pd.notna(limit) and (int(limit) == 0 or policy == "noeviction"):
            what = "no memory limit is set" if int(limit) == 0 else "the policy is noeviction"
            says = f"Nothing can have been evicted: {what}, and evicted_keys is {evicted}."
            weight = -DECISIVE if evicted == 0 or pd.isna(evicted) else -WEAK
            yield Finding("no-eviction", record, f"{source}, maxmemory", says, {"evicted": weight})
        elif pd.notna(evicted) and int(evicted) == 0:
            says = f"No key was evicted {_since(seen)}."
            yield Finding("no-eviction", record, f"{source}, evicted_keys", says, {"evicted": seen.refutes})
        elif pd.notna(evicted):
            grew = _grown(view, seen, "evicted_keys")
            ttl_only = policy.startswith("volatile") and record == "message"
            says = f"{count(int(evicted), 'key was', 'keys were')} evicted {_since(seen)} under {policy}"
            says += (
                ", which spares keys without a TTL such as queues." if ttl_only else ", this one perhaps among them."
            )
            weight = -DECISIVE if ttl_only else STRONG if grew else SUPPORTIVE if seen.covered else WEAK
            yield Finding("evictions", record, f"{source}, evicted_keys", says, {"evicted": weight})


@rule(
    "flushes",
    rests_on="commandstats count FLUSHDB and FLUSHALL since start or RESETSTAT; an absent command was not called",
)
def flushes(view: View) -> Iterator[Finding]:
    for record in _RECORDS:
        if (seen := window(view, record)) is None or seen.answer["role"] != "master":
            continue
        for cause, counter in (("db_flushed", "cmdstat_flushdb"), ("server_flushed", "cmdstat_flushall")):
            calls = _figure(view, seen, counter)
            source = f"{seen.answer['source']}, {counter}"
            name = counter.removeprefix("cmdstat_").upper()
            if calls == 0:
                says = f"{name} was not called {_since(seen)}."
                yield Finding("no-flush", record, source, says, {cause: seen.refutes})
            elif calls:
                grew = _grown(view, seen, counter)
                says = (
                    f"{name} was called {count(int(calls), 'time')} {_since(seen)}; of which database is not recorded."
                )
                yield Finding("flush-called", record, source, says, {cause: STRONG if grew else WEAK})


@rule("older-neighbours", rests_on="a flush takes every key of its database, older ones too")
def older_neighbours(view: View) -> Iterator[Finding]:
    latest = set(view.shots.loc[view.shots["latest"], "snapshot"])
    held = view.tasks.loc[view.tasks["snapshot"].isin(latest) & view.tasks["stored_at"].notna()]
    for record in _RECORDS:
        born = view.born(record)
        if born is None or len(view.held(record)):
            continue
        older = held.loc[(held["stored_at"] < born) & held["server"].isin(view.servers_of(record))]
        if not len(older):
            continue
        row = older.iloc[0]
        says = f"{count(len(older), 'result is', 'results are')} still in DB {row['db']} that had been stored before."
        weights = {"server_flushed": -DECISIVE}
        if record == "result" and set(older["db"]) & set(
            view.results["db"].fillna(view.stated.databases.get("results", -1))
        ):
            weights["db_flushed"] = -DECISIVE
        elif record == "result" and view.stated.databases.get("results") in set(older["db"]):
            weights["db_flushed"] = -DECISIVE
        yield Finding("older-neighbours", record, str(row["snapshot"]), says, weights, event="neighbours")


@rule(
    "removals",
    rests_on="commandstats count DEL, UNLINK and GETDEL since start; a master counts no expiry there",
)
def removals(view: View) -> Iterator[Finding]:
    for record in _RECORDS:
        if (seen := window(view, record)) is None or seen.answer["role"] != "master":
            continue
        calls = {name: _figure(view, seen, f"cmdstat_{name}") for name in REMOVING}
        if any(value is None for value in calls.values()):
            continue
        called = {name: int(value or 0) for name, value in calls.items() if value}
        source = f"{seen.answer['source']}, commandstats"
        if not set(called) - {"set"}:
            says = f"No command that removes keys by name was called {_since(seen)}."
            weights = dict.fromkeys((*_BY_HAND, "purged_by_cleanup"), seen.refutes)
            yield Finding("no-removal", record, source, says, weights)
        elif by_name := {name: number for name, number in called.items() if name in _BY_NAME}:
            listed = ", ".join(f"{name.upper()} {number:,}×" for name, number in by_name.items())
            says = (
                f"Keys were removed by name {_since(seen)} ({listed}); workers do so too; which keys is not recorded."
            )
            weights = dict.fromkeys((*_BY_HAND, "purged_by_cleanup"), WEAK)
            purge = "purge" if record == "job" and purge_of(view) is not None else ""
            if purge:
                says += " The purge is among them and counted once."
            yield Finding("removed-by-name", record, source, says, weights, event=purge)


@rule(
    "expired-keys",
    rests_on="expired_keys counts what a master removes by TTL; a replica leaves it at 0 (Redis expire.c)",
)
def expired_keys(view: View) -> Iterator[Finding]:
    for record in ("result", "job"):
        seen = window(view, record)
        if seen is None or pd.isna(seen.answer["expired_keys"]) or seen.answer["role"] != "master":
            continue
        source, expired = f"{seen.answer['source']}, expired_keys", int(seen.answer["expired_keys"])
        if expired == 0 and seen.covered:
            # A due key may wait in memory, unseen, until it is reclaimed: the counter alone is not decisive.
            says = f"No key was removed by its TTL {_since(seen)}."
            yield Finding("none-expired", record, source, says, dict.fromkeys(_BY_TTL, max(seen.refutes, -STRONG)))
        elif expired:
            says = f"{count(expired, 'key', 'keys')} ran out {_since(seen)}; which ones is not recorded."
            yield Finding("some-expired", record, source, says, dict.fromkeys(_BY_TTL, WEAK if seen.covered else 0.0))


@rule(
    "restart",
    rests_on="a start begins with an empty memory and loads what was saved; uptime shows it (Redis server.c)",
)
def restart(view: View) -> Iterator[Finding]:
    for record in _RECORDS:
        seen = window(view, record)
        if seen is None or seen.born is None or not (starts := view.starts(str(seen.answer["server"]))):
            continue
        started, source = starts[-1].at, starts[-1].source
        if started <= seen.born:
            before = duration((seen.born - started).total_seconds())
            says = f"The server had been up since {at(started)}, {before} before the record was written."
            weights = {"restart_data_loss": silence(seen.watched)}
            yield Finding("up-all-along", record, source, says, weights)
            continue
        missed = view.missed_by(record)
        if missed is not None and missed < started:
            continue
        says = f"The server was started at {at(started)}, after the record was written"
        kept = view.config.get(str(seen.answer["server"]), {})
        bare = kept.get("save") == "" and kept.get("appendonly") == "no"
        says += ", and was set to write nothing to disk." if bare else "."
        weights = {"restart_data_loss": DECISIVE + SUPPORTIVE if bare else STRONG}
        yield Finding("restarted", record, source, says, weights)

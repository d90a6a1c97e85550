"""Evidence from the server's counters: what cannot have happened because its counter stood still, and what may have.

In: a ``View``. Out: findings for every cause that has a counter. A counter that the server does not report is missing,
never zero; one that covers only a part of the record's life speaks only for that part, and of what it counted outside
of that life nothing is made. A replica's counters tell of its master's deletions (facts/causes.md 2.3): left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.findings.causes import RECORDS
from analysis.findings.rules import DECISIVE, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.rules.lived import purge_of
from analysis.findings.tally import Tally, commands, databases, tally, window
from analysis.findings.view import View
from analysis.findings.weigh import Finding
from analysis.findings.words import at, count

_BY_TTL = ("natural_expiry", "ttl_shortened")
_BY_HAND = ("deleted_by_client", "bulk_deleted", "forgotten", "purged_by_cleanup", "queue_purged")
_BY_NAME = ("del", "unlink", "getdel")
_BY_SCRIPT = ("eval", "evalsha", "fcall")
_SHORTENING = ("expire", "pexpire", "expireat", "pexpireat", "getex")
_MOVING = ("rename", "renamenx", "move", "migrate", "restore", "copy")


@rule(
    "no-eviction",
    rests_on="evicted_keys counts every eviction; without maxmemory, or with noeviction, there is none (Redis evict.c)",
)
def eviction(view: View) -> Iterator[Finding]:
    for record in RECORDS:
        if (seen := window(view, record)) is None or seen.answer["role"] != "master":
            if seen is None and not len(view.held(record)):
                yield from _never_evicts(view, record)
            continue
        source, evicted = str(seen.answer["source"]), seen.answer["evicted_keys"]
        limit, policy = seen.answer["maxmemory"], str(seen.answer["maxmemory_policy"])
        counted = tally(view, record, "evicted_keys")
        place, id, event = f"{source}, evicted_keys", "no-eviction", "eviction"
        if pd.notna(limit) and (int(limit) == 0 or policy == "noeviction"):
            what = "no memory limit is set" if int(limit) == 0 else "the policy is noeviction"
            says = f"Nothing can have been evicted: {what}, and evicted_keys is {evicted}."
            weight = -DECISIVE if evicted == 0 or pd.isna(evicted) else -WEAK
            place = f"{source}, maxmemory"
        elif counted is None:
            continue
        elif counted.grew == 0:
            says = f"No key was evicted {counted.when}."
            weight = counted.refutes
        else:
            ttl_only = policy.startswith("volatile") and record == "message"
            says = f"{count(int(counted.grew), 'key was', 'keys were')} evicted {counted.when} under {policy}"
            says += (
                ", which spares keys without a TTL such as queues." if ttl_only else ", this one perhaps among them."
            )
            # That keys go for want of memory makes it likely that this one did; that all of them are counted, more.
            weight = -DECISIVE if ttl_only else STRONG + counted.for_it
            id = "evictions"
        yield Finding(id, record, place, says, {"evicted": weight}, event=event)


def _never_evicts(view: View, record: str) -> Iterator[Finding]:
    """By CONFIG alone, which tells of the time when it was asked."""
    for server in sorted(view.servers_of(record)):
        config = view.config.get(server, {})
        limit, policy = config.get("maxmemory"), config.get("maxmemory-policy")
        if limit == "0" or policy == "noeviction":
            told = f"maxmemory {limit}" if limit == "0" else f"maxmemory-policy {policy}"
            says = f"With {told} nothing is evicted."
            named = view.evidence.loc[view.evidence["kind"].eq("config") & view.evidence["server"].eq(server), "path"]
            source = str(named.iloc[-1]) if len(named) else "CONFIG"
            yield Finding("no-eviction", record, source, says, {"evicted": -STRONG}, event="eviction")


@rule(
    "flushes",
    rests_on="commandstats count FLUSHDB and FLUSHALL since start or RESETSTAT; an absent command was not called",
)
def flushes(view: View) -> Iterator[Finding]:
    for record in RECORDS:
        for cause, counter in (("db_flushed", "cmdstat_flushdb"), ("server_flushed", "cmdstat_flushall")):
            calls = tally(view, record, counter)
            if calls is None:
                continue
            name = counter.removeprefix("cmdstat_").upper()
            if calls.grew == 0:
                says = f"{name} was not called {calls.when}."
                yield Finding("no-flush", record, calls.source, says, {cause: calls.refutes}, event=name)
                continue
            says = f"{name} was called {count(int(calls.grew), 'time')} {calls.when}"
            if view.followed(record):
                continue  # the stream itself shows what was flushed
            weight, more = _emptied(view, record, calls, every=cause == "server_flushed")
            weights = {cause: weight + calls.for_it if weight > 0 else weight}
            yield Finding("flush-called", record, calls.source, f"{says}{more}.", weights, event=name)


def _emptied(view: View, record: str, calls: Tally, *, every: bool) -> tuple[float, str]:
    """How much a flush counts by what INFO keyspace says of the databases before and after, and the words for it."""
    untold = (STRONG, "") if every else (WEAK, "; of which database is not recorded")
    before, after = _keyspaces(view, record)
    dbs = set(before) if every else databases(view, record)
    if after is None or (not every and not dbs):
        return untold
    was, left = ({db: sizes.get(db, 0) for db in sorted(dbs)} for sizes in (before, after))
    if before:
        others = [db for db in before if db not in dbs and before[db] and not after.get(db, 0)]
        if not every and len(others) >= calls.grew and all(left.values()):
            return -STRONG, f", and DB {min(others)} was emptied; DB {min(dbs)} still has keys"
        evicted = tally(view, record, "evicted_keys")
        if sum(was.values()) and sum(left.values()) * 2 <= sum(was.values()):
            if evicted is not None and evicted.grew >= sum(was.values()) - sum(left.values()):
                return STRONG, ", but as many keys were evicted as it lost"
            shown = ", ".join(f"those of DB {db} from {was[db]:,} to {left[db]:,}" for db in list(was)[:4] if was[db])
            return DECISIVE + STRONG, f", and its keys went down: {shown}"
        if not every and any(left[db] >= was[db] > 0 for db in dbs):
            return -STRONG, f", and DB {min(dbs)} kept its keys"
        return untold
    if every or any(left.values()):
        return untold
    return STRONG, f", and DB {min(dbs)} is empty"


def _keyspaces(view: View, record: str) -> tuple[dict[int, int], dict[int, int] | None]:
    """Keys by database in the server's first answer, where there are several, and in its last; None where not told."""
    answers = view.servers.loc[view.servers["server"].isin(view.servers_of(record)), "source"]
    found: list[dict[int, int] | None] = []
    for source in answers:
        figures = view.counters.loc[view.counters["source"].eq(source)]
        sizes = figures.loc[figures["counter"].str.fullmatch(r"db\d+\.keys")]
        told = len(sizes) or figures["counter"].eq("cmdstat_info").any()
        found.append({int(row.counter[2:-5]): int(row.value) for row in sizes.itertuples()} if told else None)
    return (found[0] or {} if len(found) > 1 else {}), found[-1] if found else None


@rule(
    "saved-in-flush",
    rests_on="where save points are set FLUSHALL saves at once, and :M logs DB saved on disk (Redis db.c)",
)
def saved_in_flush(view: View) -> Iterator[Finding]:
    shutting = view.events["kind"].isin(("final_save", "shutdown_requested", "shutdown_signal"))
    ends = view.events.loc[shutting, ["source", "line"]]
    for record in RECORDS:
        born, missed = view.born(record), view.missed_by(record) or view.as_of
        if len(view.held(record)) or born is None or missed is None:
            continue
        lines = view.events.loc[view.events["kind"].eq("saved_by_server") & view.events["at"].between(born, missed)]
        saves = commands(view, record, ("save",))
        if saves is not None and saves.grew > 0:
            continue
        for line in lines.itertuples():
            if (ends["source"].eq(line.source) & (ends["line"] - line.line).abs().le(5)).any():
                continue
            says = f"The server itself saved its data at {at(line.at)}, which it does on FLUSHALL"
            says += ", and SAVE was not called." if saves is not None else ", or on SAVE."
            flushed = tally(view, record, "cmdstat_flushall")
            counted = saves is not None and flushed is not None and flushed.grew > 0
            weight = DECISIVE + STRONG if counted else STRONG if saves is not None else SUPPORTIVE
            weights = {"server_flushed": weight}
            yield Finding("saved-in-flush", record, f"{line.source}:{line.line}", says, weights, event="FLUSHALL")
            break


@rule("older-neighbours", rests_on="a flush takes every key of its database, older ones too")
def older_neighbours(view: View) -> Iterator[Finding]:
    latest = set(view.shots.loc[view.shots["latest"], "snapshot"])
    held = view.tasks.loc[view.tasks["snapshot"].isin(latest) & view.tasks["stored_at"].notna()]
    for record in RECORDS:
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
        yield Finding("older-neighbours", record, str(row["snapshot"]), says, weights, event="scope")


@rule(
    "removals",
    rests_on="commandstats count DEL, UNLINK and GETDEL; kombu's locks and chords call DEL too (facts/causes.md 2.2)",
)
def removals(view: View) -> Iterator[Finding]:
    for record in RECORDS:
        named, scripts = commands(view, record, _BY_NAME), commands(view, record, _BY_SCRIPT)
        if named is None or scripts is None:
            continue
        event = "removed by name"
        if named.grew == 0 and scripts.grew == 0:
            says = f"No command that removes keys by name was called {named.when}."
            weights = dict.fromkeys(_BY_HAND, named.refutes)
            yield Finding("no-removal", record, named.source, says, weights, event=event)
            continue
        if view.followed(record) and named.grew:
            # What took it is in the stream, and only whether a client can have done it is open.
            says = f"DEL, UNLINK or GETDEL were called {count(int(named.grew), 'time')} {named.when}."
            yield Finding("removed-by-name", record, named.source, says, dict.fromkeys(_BY_HAND, WEAK), event=event)
            continue
        baseline = scripts.grew + _purged(view)
        calls = count(int(named.grew), "call")
        if named.grew <= baseline:
            says = f"Of DEL, UNLINK and GETDEL there were {calls} {named.when}: no more than workers' own locks make."
            weights = dict.fromkeys(_BY_HAND, -SUPPORTIVE)
            yield Finding("removals-of-workers", record, named.source, says, weights, event=event)
            continue
        says = (
            f"Keys were removed by name {named.when}: {calls} of DEL, UNLINK or GETDEL, {baseline:,.0f} of which can "
            "be the workers' own; which keys is not recorded."
        )
        if record == "job" and purge_of(view) is not None:
            event = "purge"
            says += " The purge is among them and counted once."
        weights = dict.fromkeys(_BY_HAND, max(SUPPORTIVE + named.for_it, 0.0))
        yield Finding("removed-by-name", record, named.source, says, weights, event=event)


def _purged(view: View) -> float:
    """DELs of `celery purge`: one for each of a queue's four priority lists."""
    return 4.0 * float(view.events["kind"].eq("queue_purged").sum())


def removed_by_name(view: View, record: str) -> float:
    """How many calls that remove keys by name fall in the time in which a record was taken; 0 where not known."""
    named = commands(view, record, _BY_NAME)
    return 0.0 if named is None else named.expected


@rule(
    "expired-keys",
    rests_on="expired_keys counts what a master removes by TTL; a replica leaves it at 0 (Redis expire.c)",
)
def expired_keys(view: View) -> Iterator[Finding]:
    for record in ("result", "job"):
        if (counted := tally(view, record, "expired_keys")) is None:
            continue
        if counted.grew == 0:
            # A due key may wait in memory, unseen, until it is reclaimed: the counter alone is not decisive. EXPIRE
            # with a time past is no expiry to it (facts/causes.md 2.5).
            says = f"No key was removed by its TTL {counted.when}."
            less = max(counted.refutes, -STRONG)
            weights = {"natural_expiry": less, "clock_jump": less, "ttl_shortened": max(less, -SUPPORTIVE)}
            yield Finding("none-expired", record, counted.source, says, weights)
        else:
            if view.followed(record):
                continue  # the stream itself shows what ran out
            says = f"{count(int(counted.grew), 'key', 'keys')} ran out {counted.when}; which ones is not recorded."
            weights = dict.fromkeys(_BY_TTL, max(WEAK + counted.for_it, 0.0))
            yield Finding("some-expired", record, counted.source, says, weights)


@rule(
    "expiry-changes",
    rests_on="commandstats count EXPIRE and its kin; results get their TTL by SETEX (celery/backends/redis.py)",
)
def expiry_changes(view: View) -> Iterator[Finding]:
    for record in ("result", "job"):
        if (calls := commands(view, record, _SHORTENING)) is None:
            continue
        number = count(int(calls.grew), "time")
        if view.followed(record) and (
            calls.grew or any("expiry" in (fate.by, fate.or_by) for fate in view.fates(record))
        ):
            continue  # the stream itself shows whose expiry was changed; but for one that deletes at once
        if calls.grew == 0:
            says = f"No command that changes an expiry was called {calls.when}."
            weight = max(calls.refutes, -STRONG)
        else:
            says = f"An expiry was changed {number} {calls.when}; of which keys is not recorded."
            weight = max(SUPPORTIVE + calls.for_it, 0.0)
        yield Finding("expiry-changes", record, calls.source, says, {"ttl_shortened": weight})


@rule(
    "moves",
    rests_on="SWAPDB, RENAME, MOVE and MIGRATE each have a count of their own in commandstats (facts/causes.md 4)",
)
def moves(view: View) -> Iterator[Finding]:
    for record in RECORDS:
        for cause, names, weight in (("db_swapped", ("swapdb",), DECISIVE), ("renamed_or_moved", _MOVING, STRONG)):
            if (calls := commands(view, record, names)) is None:
                continue
            shown = " or ".join(name.upper() for name in names)
            if calls.grew == 0:
                says = f"{shown} was not called {calls.when}."
                yield Finding("no-moves", record, calls.source, says, {cause: calls.refutes})
            elif not view.followed(record):
                says = f"{shown} was called {count(int(calls.grew), 'time')} {calls.when}"
                pair = _exchanged(view, record) if cause == "db_swapped" else None
                if pair is not None:
                    says += f", and DB {pair[0]} has as many keys as DB {pair[1]} had, and the other way about."
                    weights = {cause: DECISIVE + STRONG}
                else:
                    says += "; of what is not recorded."
                    weights = {cause: max(weight + calls.for_it, 0.0)}
                yield Finding("moves-called", record, calls.source, says, weights)


def _exchanged(view: View, record: str) -> tuple[int, int] | None:
    """The record's database and the one that has its number of keys now, where each has what the other had."""
    before, after = _keyspaces(view, record)
    if after is None:
        return None

    def alike(one: int, two: int) -> bool:
        return abs(one - two) <= max(3, max(one, two) // 10)

    for db in databases(view, record):
        for other in set(before) | set(after):
            was, is_now = ((sizes.get(db, 0), sizes.get(other, 0)) for sizes in (before, after))
            if other != db and alike(was[0], is_now[1]) and alike(was[1], is_now[0]) and not alike(*was):
                return db, other
    return None

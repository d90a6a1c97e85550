"""Evidence of one's own eyes: what the snapshots hold of a task, where, and what they do not hold.

In: a ``View``. Out: findings for the causes present, queued, reserved, wrong_*, natural_expiry and ttl_shortened.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

import pandas as pd

from analysis.findings.deeds import STREAMS
from analysis.findings.moment import end_of_second
from analysis.findings.rules import DECISIVE, SEEN, SHOWN, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.tally import commands
from analysis.findings.traces import nearly
from analysis.findings.view import LOOKED_IN, SLACK, View
from analysis.findings.weigh import Finding
from analysis.findings.words import at, count, duration, listed, spot

NOUN = {"result": "result", "job": "job record", "message": "message"}
# What a sound snapshot without the record speaks against: the search covered every database and prefix of that server.
_THERE = ("present", "wrong_database", "wrong_prefix", "queued", "reserved")
_SIBLINGS = 3
# What `unknown` starts with (causes.PRIORS): an old sighting is held against it.
_EVEN = 10.0


@rule("held", rests_on="a snapshot holds every key of the server at its ctime (Redis rdb.c)")
def held(view: View) -> Iterator[Finding]:
    for record, noun in NOUN.items():
        rows = view.held(record)
        if not len(rows):
            continue
        row = view.main(record)
        cause = _cause_of(view, record, row)
        weight, stale = _still(view, record, row, cause)
        source = f"{row.snapshot}, byte {row.offset}"
        taken = _taken(view, row.snapshot)
        says = f"{row.snapshot}{taken} holds the {noun} in DB {row.db}{_elsewhere(view, record, cause)}"
        weights = {cause: weight}
        if record == "message":
            weights["consumed"] = -weight
        yield Finding(f"{record}-held", record, source, f"{says}.{stale}", weights, event=f"{record} sighted")
        if record == "message" and not len(view.results):
            yield Finding(
                "message-held", "result", source, f"{says}, so there is no result yet.{stale}", {cause: weight}
            )


def _cause_of(view: View, record: str, row: pd.Series) -> str:
    """present, queued or reserved, or the wrong place it is in, by what ``case.toml`` says about where it was looked
    for.
    """
    server, db = str(row.server), int(row.db)
    servers = set(view.evidence["server"])
    if view.stated.environment in servers - {""} and server != view.stated.environment:
        return "wrong_node"
    if view.stated.databases.get(LOOKED_IN[record], db) != db:
        return "wrong_database"
    if record == "result" and view.stated.key_prefix is not None:
        prefix = view.keys.loc[view.keys["snapshot"].eq(row.snapshot) & view.keys["offset"].eq(row.offset), "prefix"]
        found = str(prefix.fillna("").iloc[0]) if len(prefix) else ""
        # Celery adds "_" to its prefix by itself, so "app1" is the prefix of "app1_celery-task-meta-…".
        if found not in (view.stated.key_prefix, f"{view.stated.key_prefix}_"):
            return "wrong_prefix"
    if record == "message":
        return "reserved" if row.state == "unacked" else "queued"
    return "present"


def _elsewhere(view: View, record: str, cause: str) -> str:
    match cause:
        case "wrong_database":
            return f", and it was looked for in DB {view.stated.databases[LOOKED_IN[record]]}"
        case "wrong_prefix":
            return f", under another prefix than {view.stated.key_prefix!r}, with which it was looked for"
        case "wrong_node":
            return f", on another server than {view.stated.environment}, where it was looked for"
        case _:
            return ""


def _still(view: View, record: str, row: pd.Series, cause: str) -> tuple[float, str]:
    """How surely what a snapshot held is there as of the case, in decibans, and the sentence that says why it is not
    sure.

    A record that was held for an hour is as likely as not to be held for another (Laplace's rule with nothing else
    known), so the odds of its being there after a gap are the time held over the gap. A report that it is missing,
    made after the snapshot, halves them, unless something else explains the report.
    """
    taken = view.taken_at(row.snapshot)
    if taken is None or view.as_of is None:
        return _EVEN + STRONG, " When that snapshot was taken is not known."
    if without := view.contested(row):
        later = view.stated.noticed_at is not None and view.stated.noticed_at >= taken.floor("s")
        says = f" {without[0]}, taken in the same second, does not; which of the two came first is not told."
        return _EVEN - (SUPPORTIVE if later else WEAK), says
    for start in view.starts(str(row.server)):
        sure = start.from_aof or (start.saved is not None and start.saved[0] > end_of_second(taken))
        if start.at > end_of_second(taken) and not sure:
            says = f" But the server started anew at {at(start.at)} ({start.source}), with data of an unknown time."
            return _EVEN - WEAK, says
    own = row.get("stored_at")
    gap = (view.as_of - (max(taken, own) if pd.notna(own) else taken)).total_seconds()
    if gap <= 1:
        return SHOWN, ""
    if view.shots.loc[view.shots["snapshot"].eq(row.snapshot), "kind"].ne("snapshot").any():
        # A file that is written to until it is copied ends at least there, and likely when the case was collected.
        return _EVEN + STRONG, f" When that file ended is not told; the evidence goes on for {duration(gap)}."
    born = view.born(record)
    held_for = max((taken - born).total_seconds(), 1.0) if born is not None and born < taken else gap
    noticed = view.stated.noticed_at
    reported = noticed is not None and noticed > taken and cause == "present"
    odds = _EVEN + 10 * log10(held_for / gap)
    if not reported:
        stale = f" The evidence goes on for {duration(gap)} after that snapshot." if gap > 60 else ""
        return min(SHOWN, odds + DECISIVE), stale
    explained = record == "result" and not len(view.held("job")) and _has_jobs(view)
    stale = f" It was reported missing {duration(gap)} after that snapshot"
    if explained:
        return min(SHOWN, odds + 10), f"{stale}, which the missing job record explains as well."
    return min(SHOWN, odds - WEAK), f"{stale}."


def _has_jobs(view: View) -> bool:
    return view.stated.jobs is not None or bool(len(view.jobs))


def _taken(view: View, snapshot: str) -> str:
    taken = view.taken_at(snapshot)
    return f" ({at(taken)})" if taken is not None else ""


@rule(
    "moved-there",
    rests_on="SWAPDB, MOVE and RENAME change where a key is (facts/causes.md, C14, C15)",
)
def moved_there(view: View) -> Iterator[Finding]:
    """It is held in another place than it was seen in, or looked for."""
    for record in ("result", "job"):
        if not len(view.held(record)):
            continue
        row = view.main(record)
        cause = _cause_of(view, record, row)
        rows = view.rows(record)
        earlier = rows.loc[rows["server"].eq(row["server"]) & ~(rows["db"].eq(row["db"]) & rows["key"].eq(row["key"]))]
        earlier = earlier.loc[~earlier["snapshot"].isin(view.held(record)["snapshot"])]
        if cause not in ("wrong_database", "wrong_prefix") and not len(earlier):
            continue
        was = earlier.iloc[-1] if len(earlier) else None
        renamed = cause == "wrong_prefix" if was is None else was["db"] == row["db"]
        says = f"It is in DB {row['db']} as {row['key']}"
        if was is not None:
            says += f", and was in DB {was['db']} as {was['key']} in {was['snapshot']}"
        if was is None and _always_there(view, record, row):
            continue
        weights, told = _movers(view, record, renamed=renamed)
        if was is not None:
            weights |= dict.fromkeys(("wrong_database", "wrong_prefix"), -DECISIVE - STRONG)
        elif record == "result" and (alone := _alone(view, row)):
            says += f", where no other result is; {alone} are where it was looked for"
            weights |= dict.fromkeys(("wrong_database", "wrong_prefix"), -STRONG)
        yield Finding("moved-there", record, f"{row['snapshot']}, byte {row['offset']}", f"{says}{told}.", weights)


def _always_there(view: View, record: str, row: pd.Series) -> bool:
    """Whether it was stored where it is: an earlier snapshot holds it there, a command wrote it there, or the worker's
    banner names that database.
    """
    rows = view.rows(record)
    same = rows["server"].eq(row["server"]) & rows["db"].eq(row["db"]) & rows["key"].eq(row["key"])
    shots = [*view.shots.loc[view.shots["kind"].eq("snapshot"), "snapshot"], *view.archives]
    if rows.loc[same & rows["snapshot"].isin(shots), "snapshot"].nunique() > 1:
        return True
    if record != "result":
        return False
    if view.written["db"].eq(row["db"]).fillna(False).any():
        return True
    banners = view.events.loc[view.events["kind"].eq("worker_results"), "text"].fillna("")
    return bool(banners.str.contains(rf"://\S*/{int(row['db'])}(?:\?|\s|$)").any())


def _alone(view: View, row: pd.Series) -> int:
    """How many other results of its snapshot are in the stated place, where none is beside it; else 0. Workers that
    store one result in another place store others there too.
    """
    stored = view.keys.loc[view.keys["snapshot"].eq(row["snapshot"]) & view.keys["family"].eq("result")]
    others = stored.loc[stored["offset"].ne(row["offset"])]
    mine = stored.loc[stored["offset"].eq(row["offset"]), "prefix"].fillna("")
    prefix, db = view.stated.key_prefix, view.stated.databases.get("results")
    beside = others["db"].eq(row["db"]) & others["prefix"].fillna("").isin(mine)
    stated = others["db"].eq(row["db"] if db is None else db)
    if prefix is not None:
        stated &= others["prefix"].fillna("").isin((prefix, f"{prefix}_"))
    return int(stated.sum()) if stated.sum() >= _SIBLINGS and not beside.any() else 0


def _movers(view: View, record: str, *, renamed: bool) -> tuple[dict[str, float], str]:
    """Decibans for each way to move a key: as much as its being held there, and what its counter adds."""
    ways: list[tuple[str, tuple[str, ...]]] = [("renamed_or_moved", ("rename", "renamenx"))]
    if not renamed:
        ways = [("db_swapped", ("swapdb",)), ("renamed_or_moved", ("move", "migrate", "copy", "restore"))]
    weights: dict[str, float] = {}
    told = ""
    for cause, names in ways:
        calls = commands(view, record, names, held=True)
        if calls is not None and calls.grew:
            weights[cause] = SHOWN + DECISIVE + calls.for_it
            called = " or ".join(name.upper() for name in names)
            told += f"; {called} was called {count(int(calls.grew), 'time')} {calls.when} ({calls.source})"
        else:
            weights[cause] = SHOWN + (calls.refutes if calls is not None else 0.0)
    return weights, told


@rule(
    "expired-in-file", rests_on="a snapshot keeps keys past their expiry until the server reclaims them (Redis rdb.c)"
)
def expired_in_file(view: View) -> Iterator[Finding]:
    for record in ("result", "job"):
        past = view.past(record)
        if not len(past) or len(view.held(record)):
            continue
        if any(fate.row["witness"] in STREAMS for fate in view.fates(record)):
            continue  # a stream that shows the end tells of changes of the expiry too
        row, missed = past.iloc[-1], view.missed_by(record)
        if missed is not None and missed < row["expires_at"] - SLACK:
            continue
        when = f"its expiry, {at(row['expires_at'])}, is written beside it in {row['snapshot']}"
        life, policy = _life(view, record, row), _policy(view, record)
        shortened = life is not None and policy is not None and policy > 0 and life < policy * 0.99 - 2
        says = f"The {NOUN[record]} had reached its expiry: {when}"
        if shortened:
            says += f", {duration(life or 0)} after it was stored and not the {duration(policy or 0)} of the policy"
        cause = "ttl_shortened" if shortened else "natural_expiry"
        source = spot(row["snapshot"], row["offset"])
        # It had come to its end; whether the server removed it then, or left it out on a start, is not told by that.
        weights = {cause: DECISIVE + STRONG} | ({} if shortened else {"expired_on_load": DECISIVE + STRONG})
        yield Finding("expired-in-file", record, source, says + ".", weights, event=f"{record} expiry")


def _life(view: View, record: str, row: pd.Series) -> float | None:
    start = row.get("stored_at") if record == "result" else row.get("created_at")
    return None if pd.isna(start) else float((row["expires_at"] - start).total_seconds())


def _policy(view: View, record: str) -> int | None:
    if record == "job":
        return view.stated.jobs.expires if view.stated.jobs else None
    return view.retention.seconds if view.retention.certainty != "assumed" else None


@rule("not-in-snapshot", rests_on="a complete snapshot holds every key of every database (Redis rdb.c)")
def not_in_snapshot(view: View) -> Iterator[Finding]:
    every = view.shots.loc[view.shots["complete"] & view.shots["latest"] & view.shots["taken_at"].notna()]
    for record, noun in NOUN.items():
        servers = view.servers_of(record)
        sound = every.loc[every["server"].isin(servers)]
        if not len(sound) or servers - set(sound["server"]):
            continue
        # Of several servers the one whose last snapshot is the oldest decides how far the search reaches.
        last = sound.sort_values("taken_at").iloc[0]
        if len(view.held(record)) or view.rows(record)["snapshot"].eq(last["snapshot"]).any():
            continue
        born = view.born(record)
        if born is not None and born > last["taken_at"]:
            continue
        kept = [seen for name in view.rows(record)["snapshot"].unique() if (seen := view.archives.get(name))]
        if any(seen > end_of_second(last["taken_at"]) for seen in kept):
            continue  # it was there after that
        sure = born is not None or (view.stated.noticed_at is not None and view.stated.noticed_at <= last["taken_at"])
        weight = -SEEN if sure else -DECISIVE
        says = f"No database of {last['snapshot']} ({at(last['taken_at'])}) holds the {noun}."
        weights = dict.fromkeys(_THERE, weight)
        if record == "result" and len(view.held("message")):
            weights = {"present": weight, "wrong_database": weight, "wrong_prefix": weight}
        yield Finding("not-in-snapshot", record, last["snapshot"], says, weights)


@rule(
    "wiped-after",
    rests_on="a start loads what was saved, a resync drops everything, INFO keyspace lists each database with a key",
)
def wiped_after(view: View) -> Iterator[Finding]:
    for record, noun in NOUN.items():
        rows = view.in_latest(record)
        if not len(rows) or len(view.held(record)):
            continue
        if (wiped := view.wiped(record, rows.iloc[-1])) is None:
            continue
        says = f"{rows.iloc[-1]['snapshot']} holds the {noun}, but later, by {at(wiped.at)}, {wiped.says}."
        causes = ("present", "queued", "reserved", "wrong_database", "wrong_prefix", "wrong_node")
        yield Finding("wiped-after", record, wiped.source, says, dict.fromkeys(causes, -SHOWN))


@rule("another-kind-of-id", rests_on="group and chord IDs are no task IDs; root and parent IDs are (celery/canvas.py)")
def another_kind_of_id(view: View) -> Iterator[Finding]:
    own = len(view.results) + len(view.waiting) + len(view.own_log)
    traces = view.traces
    chord = traces["family"].eq("chord")
    others = traces.loc[traces["role"].isin(("group_id", "root_id", "parent_id")) | chord]
    if own or not len(others):
        return
    groups = others.loc[others["role"].eq("group_id") | chord]
    kind = "a group" if len(groups) else "a parent or root task"
    weight = SEEN if len(groups) else STRONG
    first = (groups if len(groups) else others).iloc[0]
    named = listed(sorted(set(others["task_id"].dropna()) - {view.task_id}), most=3)
    named = f" ({named})" if named else ""
    says = f"The ID is that of {kind}: {count(len(others), 'record')} of other tasks name it so{named}."
    for record in NOUN:
        yield Finding("another-kind-of-id", record, first["source"], says, {"wrong_id": weight})


@rule("nearly-a-known-id", rests_on="random UUIDs differ in some thirty of their digits: two or fewer is a slip")
def nearly_a_known_id(view: View) -> Iterator[Finding]:
    frames = (view.tasks, view.messages, view.jobs, view.events)
    known = pd.Index(pd.concat([part["task_id"] for part in frames]).dropna().unique())
    if view.task_id in known:
        return
    close = nearly(view.task_id, known)
    if len(close) == 1:
        says = f"No witness knows this ID, but nearly the same one: {close[0]}."
        for record in NOUN:
            yield Finding(
                "nearly-a-known-id", record, "all task IDs of the case", says, {"wrong_id": DECISIVE + STRONG}
            )


@rule("own-id", rests_on="a worker logs, and a result holds, the task's own ID")
def own_id(view: View) -> Iterator[Finding]:
    own = pd.concat([view.results["snapshot"], view.waiting["snapshot"], view.own_log["source"]])
    if len(own):
        says = "The ID is a task's own: a record or a log line carries it as such."
        for record in NOUN:
            # That a task exists does not say that the application ever wrote a record of it.
            refuted = ("wrong_id",) if record == "job" else ("wrong_id", "never_published")
            weights = dict.fromkeys(refuted, -SEEN)
            yield Finding("own-id", record, str(own.iloc[0]), says, weights)

"""Evidence that a server lost its memory: restarts and what they loaded, resyncs, failovers, steps of the clock.

In: a ``View``. Out: findings for restart_data_loss, stale_snapshot_restored, expired_on_load, replaced_by_resync,
failover_lost_writes and clock_jump.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.findings.causes import RECORDS
from analysis.findings.moment import end_of_second
from analysis.findings.outages import Change, Start, changes_of_role, jumps
from analysis.findings.rules import DECISIVE, SHOWN, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.rules.sighted import NOUN
from analysis.findings.tally import silence, window
from analysis.findings.view import SLACK, View
from analysis.findings.weigh import Finding
from analysis.findings.words import at, count, duration

_SECOND = pd.Timedelta(seconds=1)


@rule(
    "restart",
    rests_on="a start begins with an empty memory and loads what was saved; log and uptime show it (Redis server.c)",
)
def restart(view: View) -> Iterator[Finding]:
    for record in RECORDS:
        born = view.born(record)
        if len(view.held(record)) or born is None:
            continue
        missed = view.missed_by(record) or view.as_of
        for server in sorted(view.servers_of(record)):
            known = view.starts(server)
            # Of a start that only INFO tells, to the second, it is not known which came first where they are so near.
            after = [one for one in known if _came_after(one, born) and (missed is None or one.at <= missed + SLACK)]
            if after:
                for start in after:
                    yield from _started(view, record, server, start, born)
            elif known:
                yield from _up(view, record, server, known[-1], born)


def _came_after(start: Start, born: pd.Timestamp) -> bool:
    """Whether a start came after the record was written. INFO tells one to the second, unless the run before it still
    answered then.
    """
    if start.logged or (start.ended is not None and end_of_second(start.ended) >= born):
        return start.at > born
    return start.at > born + _SECOND


def _up(view: View, record: str, server: str, last: Start, born: pd.Timestamp) -> Iterator[Finding]:
    if last.at > born:
        return
    seen = window(view, record)
    share = seen.watched if seen is not None else 0.0
    before = duration((born - last.at).total_seconds())
    says = f"The server had been up since {at(last.at)}, {before} before the record was written."
    weights = dict.fromkeys(("restart_data_loss", "stale_snapshot_restored", "expired_on_load"), silence(share))
    yield Finding("up-all-along", record, last.source, says, weights)


def _started(view: View, record: str, server: str, start: Start, born: pd.Timestamp) -> Iterator[Finding]:
    noun = NOUN[record]
    says = f"The server was started at {at(start.at)}, after the {noun} was written"
    lost, stale = "restart_data_loss", "stale_snapshot_restored"
    # An expiry by Celery's default alone does not show that it was not due.
    known = view.expires if record == "result" and view.expires and view.expires.says != "assumed" else None
    due = known.at if known else None
    if start.saved and not start.from_aof:
        first, last = start.saved
        saved = f", and loaded {_keys(start)} saved at {at(last)}"
        if first < born < last:
            # An age in whole seconds leaves open which of the two came first.
            seen = [view.taken_at(name) for name in view.rows(record)["snapshot"].unique()]
            held = any(one is not None and one <= start.at for one in seen)
            says += f"{saved}; it was there before, and is not since." if held else f"{saved}."
            weights = {stale: DECISIVE + SUPPORTIVE if held else STRONG, lost: STRONG if held else SUPPORTIVE}
            yield Finding("loaded-about-then", record, start.source, says, weights, event="restart")
            return
        if last <= born:
            weights = {stale: DECISIVE + STRONG, lost: SUPPORTIVE, "natural_expiry": -WEAK}
            yield Finding(
                "loaded-older", record, start.source, f"{says}{saved}, before it was.", weights, event="restart"
            )
            return
        weights = {lost: -DECISIVE, stale: -DECISIVE}
        yield Finding("loaded-later", record, start.source, f"{says}{saved}: it was in that.", weights, event="restart")
        if (due is None or due <= start.at + SLACK) and start.expired:
            yield from _left_out(view, record, start, due)
        return
    if start.from_aof:
        cut = ", whose end was cut off" if start.cut else ""
        weights = {lost: STRONG if start.cut else -STRONG, stale: -SUPPORTIVE}
        yield Finding(
            "loaded-aof",
            record,
            start.source,
            f"{says}, and loaded its append-only file{cut}.",
            weights,
            event="restart",
        )
        return
    kept = view.config.get(server, {})
    bare = kept.get("save") == "" and kept.get("appendonly") == "no"
    older = _survivors(view, server, start)
    if start.loaded == 0:
        told = "its log says of nothing that it loaded" if start.logged else "rdb_last_load_keys_loaded is 0"
        weights = {lost: DECISIVE + STRONG, stale: -STRONG}
        yield Finding("loaded-nothing", record, start.source, f"{says}, and {told}.", weights, event="restart")
    elif older or start.loaded:
        if start.loaded:
            says += f", and loaded {_keys(start)}"
        else:
            says += f", and {count(older, 'key is', 'keys are')} there from before that: it loaded a file"
        weights = {stale: STRONG, lost: SUPPORTIVE}
        if start.expired and (due is None or due <= start.at + SLACK):
            weights = {stale: SUPPORTIVE, lost: WEAK}
            yield from _left_out(view, record, start, due)
        yield Finding("restarted", record, start.source, f"{says}.", weights, event="restart")
    else:
        says += ", and was set to write nothing to disk." if bare else "."
        weights = {lost: DECISIVE + SUPPORTIVE if bare else STRONG, stale: WEAK if bare else SUPPORTIVE}
        yield Finding("restarted", record, start.source, says, weights, event="restart")


def _keys(start: Start) -> str:
    return "a snapshot" if start.loaded is None else f"{count(start.loaded, 'key')}"


def _left_out(view: View, record: str, start: Start, due: pd.Timestamp | None) -> Iterator[Finding]:
    number = count(int(start.expired or 0), "key")
    says = f"While it loaded its file at {at(start.at)} the server left out {number} that had expired"
    if due is None:
        says += "; whether this one was due is not known."
        weights = {"expired_on_load": SUPPORTIVE}
    elif start.orderly and start.ended is not None and start.ended <= due:
        says += f"; this one was due at {at(due)}, when the server was down."
        weights = {"expired_on_load": DECISIVE + STRONG, "natural_expiry": -DECISIVE}
    else:
        # Where it was up at the expiry it may have removed the key itself, before its file was written.
        says += f"; this one was due at {at(due)}."
        weights = {"expired_on_load": STRONG}
    yield Finding("left-out", record, start.source, says, weights, event=f"{record} expiry on load")


def _survivors(view: View, server: str, start: Start) -> int:
    """Results in the last snapshot that had been stored before the start: what was loaded."""
    latest = set(view.shots.loc[view.shots["latest"], "snapshot"])
    held = view.tasks.loc[view.tasks["snapshot"].isin(latest) & view.tasks["server"].eq(server)]
    return int((held["stored_at"] < start.at - SLACK).sum())


@rule(
    "resync",
    rests_on="a full resync drops a replica's keys for its master's, and no counter of deletions moves (C23)",
)
def resync(view: View) -> Iterator[Finding]:
    for record in RECORDS:
        born = view.born(record)
        if len(view.held(record)) or born is None:
            continue
        missed = view.missed_by(record) or view.as_of
        after = [
            change
            for change in _roles(view, view.servers_of(record))
            if change.at > born and (missed is None or change.since <= missed + SLACK)
        ]
        flushed = [change for change in after if change.kind in ("resync_flush", "became_replica")]
        if flushed:
            # That it dropped its data is the plainest word of it.
            change = next((one for one in flushed if one.kind == "resync_flush"), flushed[0])
            weight = DECISIVE + STRONG if change.kind == "resync_flush" else DECISIVE
            says = f"After the {NOUN[record]} was written the server was made a replica and took over another's data"
            yield Finding(
                "resynced",
                record,
                change.source,
                f"{says} ({change.says}).",
                {"replaced_by_resync": weight},
                event="resync",
            )
            continue
        yield from _promoted(view, record, after, born)


def _roles(view: View, servers: set[str]) -> list[Change]:
    return changes_of_role(view.events, view.servers, view.counters, servers)


def _promoted(view: View, record: str, after: list[Change], born: pd.Timestamp) -> Iterator[Finding]:
    promoted = [one for one in after if one.kind in ("became_master", "replid_changed", "failover")]
    if not promoted:
        return
    change = promoted[0]
    says = f"After the {NOUN[record]} was written a replica was made the master ({change.says})"
    gap = (change.at - born).total_seconds()
    # Writes that had not reached the replica are seconds old at most.
    weight = STRONG if gap < 60 else SUPPORTIVE
    yield Finding(
        "promoted",
        record,
        change.source,
        f"{says}, {duration(gap)} later.",
        {"failover_lost_writes": weight},
        event="failover",
    )


@rule(
    "old-master",
    rests_on="what only the old master holds had not reached the replica that was promoted (facts/causes.md, C22)",
)
def old_master(view: View) -> Iterator[Finding]:
    """The record is on a server that another one has replaced."""
    stated = view.stated.environment
    servers = set(view.evidence["server"])
    if stated not in servers - {""}:
        return
    changes = [one for one in _roles(view, {stated}) if one.kind in ("became_master", "replid_changed", "failover")]
    if not changes:
        return
    for record, noun in NOUN.items():
        rows = view.looked_at(view.rows(record))
        if not len(rows) or rows["server"].eq(stated).any():
            continue
        row = rows.iloc[-1]
        other = row["server"] or "another server"
        says = f"{row['snapshot']} of {other} holds the {noun}, and {stated}, which was made the master, does not."
        weights = {"failover_lost_writes": SHOWN + STRONG}
        yield Finding("only-on-old-master", record, changes[-1].source, says, weights)


@rule("clock", rests_on="expiry goes by the server's wall clock; uptime and its log show a step (facts/causes.md, C07)")
def clock(view: View) -> Iterator[Finding]:
    for record in RECORDS:
        born = view.born(record)
        if len(view.held(record)) or born is None:
            continue
        forward = [
            jump for jump in jumps(view.events, view.servers, view.servers_of(record)) if jump.by > pd.Timedelta(0)
        ]
        if not forward:
            continue
        jump = forward[-1]
        due = view.expires.at if record == "result" and view.expires else None
        reaches = due is None or jump.at + jump.by >= due
        says = f"The server's clock went forward by {duration(jump.by.total_seconds())}: {jump.says}"
        says += "." if due is None else f"; the expiry, {at(due)}, {'lay within that' if reaches else 'lay beyond'}."
        yield Finding("clock-jumped", record, jump.source, says, {"clock_jump": DECISIVE + STRONG if reaches else WEAK})

"""Evidence from a message's way and a worker's hands: sent or not, popped, reserved, purged, revoked, run, killed.

In: a ``View``. Out: findings for the message, and for the result that never came to be: it carries the cause that its
message met.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.findings.deeds import first_keys, own_commands, place_of, when_of
from analysis.findings.journey import Journey
from analysis.findings.moment import end_of_second
from analysis.findings.rules import DECISIVE, SEEN, SHOWN, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.view import View, came_due
from analysis.findings.weigh import Finding
from analysis.findings.words import at, count, duration, spot
from analysis.frames import words_in

# What a message that was delivered, or a task that ran, did not meet.
_UNDELIVERED = ("queued", "reserved", "lost_in_pop", "queue_purged", "queue_expired", "never_published", "unroutable")
_THROWN_AWAY = ("unregistered", "invalid_message", "unknown_message", "undecodable", "rejected")
_ENDS = ("succeeded", "failed", "ignored", "retried", "rejected", "revoked", "unregistered", "hard_time_limit")
_BEGINS = ("worker_started", "worker_ready", "worker_transport", "worker_results")
_MOST = 5_000


def came_to_be(view: View) -> bool:
    """Whether anything shows that a result was stored, or that the task had ended and so had stored what it does."""
    return bool(len(view.results) or len(view.written) or view.ended is not None)


def concerned(view: View) -> tuple[str, ...]:
    """The records that what befell the message bears on: the result too, where it had not come to be."""
    return ("message",) if came_to_be(view) else ("message", "result")


@rule(
    "message-way",
    rests_on="BRPOP is written as RPOP, a reservation as HSET, an acknowledgement as HDEL (facts/causes.md 1.2)",
)
def message_way(view: View) -> Iterator[Finding]:
    for way in view.journeys:
        match way.state:
            case "acked":
                says = f"A worker took the message and acknowledged it{when_of(way.last)}: HDEL of {way.list_key}."
                weights = {"consumed": SEEN, **dict.fromkeys(_UNDELIVERED, -DECISIVE)}
                yield Finding("message-acked", "message", way.source, says, weights, event="delivered")
                refuted = dict.fromkeys(_UNDELIVERED, -DECISIVE - STRONG)
                yield Finding("message-acked", "result", way.source, says, refuted, event="delivered")
            case "popped":
                yield from _popped(view, way)
            case _ if way.gone is not None:
                yield from _taken_with_queue(view, way)
            case "sent" | "reserved" if not len(view.held("message")):
                cause = "queued" if way.state == "sent" else "reserved"
                says = f"The last that {way.last['source']} shows of the message is {way.last['verb']} {way.list_key}."
                # Whether a BRPOP took it MONITOR does not show.
                weight = STRONG if way.in_stream or way.state == "reserved" else WEAK
                for record in concerned(view):
                    yield Finding("message-last-seen", record, way.source, says, {cause: weight}, event="delivered")
                yield from _queue_with_ttl(view, way)
        first = f"{way.first['verb']} {way.first['keys'][0]} sent the message{when_of(way.first)}."
        for record in concerned(view):
            weights = dict.fromkeys(("never_published", "unroutable", "wrong_id"), -SEEN)
            yield Finding("message-sent", record, way.source, first, weights, event="sent")


def _queue_with_ttl(view: View, way: Journey) -> Iterator[Finding]:
    """A queue that was given an expiry, which has come: kombu renews that of x-expires at each push and get."""
    rows = view.commands.loc[words_in(view.commands["verb"], ("PEXPIRE", "EXPIRE")) & view.commands["ttl"].notna()]
    rows = rows.loc[rows["source"].eq(way.last["source"])].tail(_MOST)
    rows = rows.loc[[key == way.list_key for key in first_keys(rows)]]
    if way.state != "sent" or not len(rows) or view.as_of is None:
        return
    row = rows.iloc[-1]
    due = row["not_after"] + pd.Timedelta(milliseconds=int(row["ttl"]))
    if due > end_of_second(view.as_of):
        return
    says = f"{row['verb']} gave {way.list_key}, where the message was, {duration(int(row['ttl']) / 1000)} to live"
    says += f"{when_of(row)}, and nothing shows that it was taken before."
    for record in concerned(view):
        weights = {"queue_expired": DECISIVE + STRONG, "queued": -STRONG}
        yield Finding("queue-ttl", record, place_of(row), says, weights)


def _popped(view: View, way: Journey) -> Iterator[Finding]:
    if view.taken is not None or came_to_be(view):
        return  # where unacked is switched off (ack_emulation) a message is popped and nothing else
    says = f"{way.last['verb']} took the message off {way.list_key}{when_of(way.last)}, and nothing put it in unacked"
    if way.went_on:
        says += ", though the file goes on; no worker logged it."
        weights = {"lost_in_pop": DECISIVE + STRONG, "queued": -SEEN, "consumed": -STRONG}
    else:
        says += "; the file ends there."
        weights = {"lost_in_pop": SUPPORTIVE, "reserved": STRONG, "queued": -SEEN}
    for record in concerned(view):
        yield Finding("popped-not-reserved", record, way.source, says, weights)


def _taken_with_queue(view: View, way: Journey) -> Iterator[Finding]:
    """The queue, or the hash of the reserved, went with the message in it."""
    fate = way.gone
    assert fate is not None
    verb, gone = str(fate.row["verb"]), f"{fate.row['verb']}{when_of(fate.row)}"
    what = f"The message was in {way.list_key} of DB {fate.db} when {gone} took that away"
    weights: dict[str, float] = {}
    evicts = view.servers["evicted_keys"].fillna(0).gt(0).any()
    by_then, or_by = fate.by, fate.or_by
    if or_by == "expiry" and came_due(view, fate):
        by_then, or_by = or_by, by_then
    # A client must have come in the moment before the expiry; a server that evicts may well have taken it.
    doubt = -WEAK if or_by == "eviction" and evicts else -DECISIVE if by_then == "expiry" else -10.0
    for by, less in ((by_then, 0.0), (or_by, doubt)):
        for cause, weight in _by(view, way, by, verb).items():
            weights.setdefault(cause, weight + less)
    if not weights:
        return
    refuted = dict.fromkeys(("queued", "reserved", "never_published", "lost_in_pop", "running"), -SEEN)
    for record in concerned(view):
        yield Finding("queue-taken", record, fate.source, f"{what}.", refuted | weights, event="message removal")


def _by(view: View, way: Journey, by: str, verb: str) -> dict[str, float]:
    upper = verb.upper()
    whole = {"FLUSHDB": "db_flushed", "FLUSHALL": "server_flushed", "SWAPDB": "db_swapped"}.get(upper)
    if whole:
        return {whole: SEEN}
    if upper in ("RENAME", "RENAMENX", "MOVE", "MIGRATE"):
        return {"renamed_or_moved": SEEN}
    if by == "expiry":
        return {"queue_expired": SEEN}
    if by == "eviction":
        return {"evicted": SEEN}
    if by == "unknown":
        return {"queue_expired": STRONG, "deleted_by_client": STRONG, "queue_purged": STRONG}
    if by not in ("client", "script"):
        return {}
    # `celery purge` is one DEL in capitals for each list that is there (kombu/transport/redis.py, _purge).
    if verb == "DEL" and way.state == "sent":
        return {"queue_purged": SEEN, "deleted_by_client": SEEN - SUPPORTIVE}
    return {"deleted_by_client": SEEN}


@rule(
    "queue-purged",
    rests_on="`celery purge` and `worker --purge` say how many messages they erased (celery/bin/purge.py)",
)
def queue_purged(view: View) -> Iterator[Finding]:
    if came_to_be(view) or view.taken is not None or len(view.held("message")):
        return
    lines = view.events.loc[view.events["kind"].eq("queue_purged") & ~view.events["count"].eq(0).fillna(False)]
    if not len(lines):
        return
    line = lines.iloc[-1]
    number = "" if pd.isna(line["count"]) else f" of {count(int(line['count']), 'message')}"
    when = f" at {at(line['at'])}" if pd.notna(line["at"]) else ""
    says = f"A log tells of a purge{number}{when}, and no worker ever logged this task."
    for record in concerned(view):
        # Only what is known to have been sent can have been purged.
        weight = DECISIVE if len(view.sent) or len(view.waiting) else STRONG
        weights = {"queue_purged": weight}
        yield Finding("purge-of-queue", record, f"{line['source']}:{line['line']}", says, weights)


@rule(
    "revoked",
    rests_on="a worker logs that it discards a revoked or expired task, and runs nothing (celery/worker/request.py)",
)
def revoked(view: View) -> Iterator[Finding]:
    lines = view.log.loc[view.log["kind"].eq("revoked")]
    asked = view.log.loc[view.log["kind"].isin(("revoke_requested", "terminated"))]
    states = view.results.loc[view.results["status"].eq("REVOKED")]
    if len(lines):
        line = lines.iloc[-1]
        says = f"The worker discarded it as revoked or expired{_when(line)}."
        yield from _thrown(view, "revoked", "revoked-logged", f"{line['source']}:{line['line']}", says, SHOWN)
    elif len(states):
        row = states.iloc[-1]
        says = f"Its stored state in {row['snapshot']} is REVOKED."
        weights = {"revoked": SHOWN, "consumed": -DECISIVE}
        yield Finding("revoked-stored", "message", spot(row["snapshot"], row["offset"]), says, weights)
    elif len(asked) and not came_to_be(view):
        line = asked.iloc[-1]
        says = f"A worker was told to revoke it{_when(line)}."
        for record in concerned(view):
            weights = {"revoked": DECISIVE}
            yield Finding("revoke-asked", record, f"{line['source']}:{line['line']}", says, weights)
    yield from _expired_on_the_way(view)


def _expired_on_the_way(view: View) -> Iterator[Finding]:
    messages = view.own_messages
    expires = messages["expires"].dropna()
    if not len(expires) or came_to_be(view) or len(view.held("message")):
        return
    due = expires.iloc[-1]
    taken = [way.last["not_after"] for way in view.journeys if way.state == "acked"]
    before = [one for one in taken if pd.notna(one) and one <= due]
    if view.as_of is None or due > view.as_of or before:
        return
    row = messages.iloc[-1]
    says = f"The message itself says that it is to be discarded after {at(due)}, and nothing shows that it ran by then."
    for record in concerned(view):
        yield Finding(
            "message-expired", record, f"{row['snapshot']}, byte {row['offset']}", says, {"revoked": DECISIVE}
        )


@rule(
    "discarded",
    rests_on="what a worker does not know or cannot decode it logs, acknowledges and drops (celery/worker/consumer)",
)
def discarded(view: View) -> Iterator[Finding]:
    lines = view.log.loc[view.log["kind"].isin(_THROWN_AWAY)]
    if len(lines):
        line = lines.iloc[-1]
        how = {"rejected": "rejected it", "unregistered": "does not know such a task and discarded the message"}
        says = f"The worker {how.get(line['kind'], 'could not read the message and discarded it')}{_when(line)}."
        yield from _thrown(view, "discarded", "discarded-logged", f"{line['source']}:{line['line']}", says, SHOWN)
        return
    kind = view.meta.get("result")
    if isinstance(kind, dict) and kind.get("exc_type") in ("NotRegistered", "Reject"):
        row = view.results.iloc[-1]
        says = f"Its stored state in {row['snapshot']} is {kind['exc_type']}: a worker threw the message away."
        weights = {"discarded": SHOWN, "consumed": -DECISIVE}
        yield Finding("discarded-stored", "message", spot(row["snapshot"], row["offset"]), says, weights)
        return
    yield from _discarded_by_name(view)


def _discarded_by_name(view: View) -> Iterator[Finding]:
    """Celery does not log the ID of each message that it discards, but the name of its task."""
    named = view.events.loc[view.events["kind"].eq("unregistered") & view.events["task_id"].isna()]
    named = named.loc[named["name"].eq(view.name)] if view.name else named.iloc[:0]
    if not len(named) or came_to_be(view) or view.taken is not None:
        return
    line = named.iloc[-1]
    says = f"A worker discarded a message for {view.name}, which it does not know{_when(line)}; which one is not said."
    for record in concerned(view):
        yield Finding("discarded-by-name", record, f"{line['source']}:{line['line']}", says, {"discarded": DECISIVE})


def _thrown(view: View, cause: str, id: str, source: str, says: str, weight: float) -> Iterator[Finding]:
    """A message that was delivered and not run: the record carries that, and not that it was consumed."""
    weights = {cause: weight, "consumed": -DECISIVE, **dict.fromkeys(_UNDELIVERED, -DECISIVE)}
    yield Finding(id, "message", source, says, weights)
    if not came_to_be(view):
        refuted = dict.fromkeys(("worker_killed", "running", "result_never_stored"), -DECISIVE)
        yield Finding(id, "result", source, says, {cause: weight, **refuted})
    elif view.ended is None and not len(view.held("result")):
        # That it was discarded may have been stored as its state, and that have gone since.
        yield Finding(id, "result", source, says, {cause: DECISIVE})


def _when(line: pd.Series) -> str:
    return f" at {at(line['at'])}" if pd.notna(line["at"]) else ""


@rule(
    "not-ended",
    rests_on="a worker logs the end of every task after its result is stored (celery/app/trace.py)",
)
def not_ended(view: View) -> Iterator[Finding]:
    """A worker had it, and its log does not say that it ended: it runs, or its worker died."""
    begun = view.log.loc[view.log["kind"].isin(("received", "started"))]
    if not len(begun) or view.log["kind"].isin(_ENDS).any() or came_to_be(view):
        return
    line = begun.iloc[-1]
    source = f"{line['source']}:{line['line']}"
    says = f"A worker received it{_when(line)}, and no log says that it ended."
    # With its message still in unacked the record carries that; with none, one of these is what became of it.
    weights = {"worker_killed": STRONG, "running": STRONG, "result_never_stored": SUPPORTIVE}
    weights |= dict.fromkeys(("never_published", "lost_in_pop", "queue_purged", "unroutable", "wrong_id"), -SEEN)
    if not len(view.held("message")):
        weights |= dict.fromkeys(("queued", "reserved"), -SUPPORTIVE)
    yield Finding("not-ended", "result", source, says, weights)
    yield from _dead_or_alive(view, line)
    yield from _longer_than_usual(view, line)


def _dead_or_alive(view: View, line: pd.Series) -> Iterator[Finding]:
    own = view.events.loc[view.events["source"].eq(line["source"]) & (view.events["line"] > line["line"])]
    again = own.loc[own["kind"].isin(_BEGINS)]
    if len(again):
        first = again.iloc[0]
        stopped = own.loc[own["kind"].eq("worker_stopping") & (own["line"] < first["line"])]
        says = f"In the same log a worker starts anew{_when(first)}"
        says += (
            " after a shutdown: the one that had it is gone."
            if len(stopped)
            else " with no shutdown before: the one that had it is gone."
        )
        weights = {"worker_killed": DECISIVE, "running": -DECISIVE}
        yield Finding(
            "worker-anew", "result", f"{first['source']}:{first['line']}", says, weights, event="worker's end"
        )
        return
    crashed = own.loc[own["kind"].isin(("worker_crashed", "worker_lost"))]
    if len(crashed):
        first = crashed.iloc[0]
        says = f"After that its worker met its end{_when(first)}: {first['text'][:120]}."
        weights = {"worker_killed": STRONG, "running": -DECISIVE}
        yield Finding(
            "worker-crashed", "result", f"{first['source']}:{first['line']}", says, weights, event="worker's end"
        )
    others = view.events.loc[view.events["source"].ne(line["source"]) & view.events["kind"].isin(_BEGINS)]
    others = others.loc[others["at"].isna() | (others["at"] >= line["at"])] if pd.notna(line["at"]) else others.iloc[:0]
    ready = others.loc[others["at"].notna()]
    alive = own.loc[own["kind"].isin(("received", "succeeded", "failed"))]
    if len(ready) and not len(alive):
        first = ready.iloc[0]
        says = f"Its worker's log ends there, and another worker starts{_when(first)}."
        weights = {"worker_killed": STRONG, "running": -STRONG}
        yield Finding(
            "worker-replaced", "result", f"{first['source']}:{first['line']}", says, weights, event="worker's end"
        )
    elif len(alive):
        last = alive.iloc[-1]
        says = f"Its worker goes on with other tasks{_when(last)}, so it was not killed as a whole."
        weights = {"worker_killed": -STRONG, "running": WEAK}
        yield Finding("worker-alive", "result", f"{last['source']}:{last['line']}", says, weights, event="worker's end")


def _longer_than_usual(view: View, line: pd.Series) -> Iterator[Finding]:
    """How long others of its name took, against the time that it has had."""
    if pd.isna(line["at"]) or view.as_of is None or not view.name:
        return
    ended = view.events.loc[view.events["kind"].isin(("succeeded", "failed")) & view.events["name"].eq(view.name)]
    took = ended["seconds"].dropna()
    had = (view.as_of - line["at"]).total_seconds()
    if len(took) < 3 or had <= 0:
        return
    longest = float(took.max())
    source = f"{line['source']}:{line['line']}"
    if had > 10 * max(longest, 1.0):
        says = f"It has had {duration(had)}; none of {len(took)} others of its name took more than {duration(longest)}."
        yield Finding("longer-than-usual", "result", source, says, {"running": -STRONG})
    elif had <= longest:
        says = f"It has had {duration(had)}; others of its name take up to {duration(longest)}."
        yield Finding("not-longer-than-usual", "result", source, says, {"running": SUPPORTIVE, "worker_killed": -WEAK})


@rule(
    "chord-state",
    rests_on="a chord's body is sent by its last part, which finds it by keys that expire (celery/backends/redis.py)",
)
def chord_state(view: View) -> Iterator[Finding]:
    """The task is the body of a chord, or the next of a chain, and was never sent."""
    if not len(view.calling):
        return
    parts = set(view.calling["task_id"].dropna())
    source = f"{view.calling.iloc[0]['snapshot']}, byte {view.calling.iloc[0]['offset']}"
    ended = view.events.loc[view.events["task_id"].isin(parts) & view.events["kind"].eq("succeeded"), "task_id"]
    says = f"It was to be called behind {count(len(parts), 'other task')}"
    # The last part sends the body, unless it cannot find how many there were.
    weights = {"chord_state_expired": SUPPORTIVE, "wrong_id": -SEEN}
    if parts <= set(ended):
        says += ", and all of them succeeded"
        weights = {"chord_state_expired": DECISIVE + SUPPORTIVE, "wrong_id": -SEEN, "never_published": -SUPPORTIVE}
    for record in concerned(view):
        yield Finding("chord-body", record, source, f"{says}; it was never sent itself.", weights)
    for group in sorted(set(view.calling["group_id"].dropna())):
        deeds = own_commands(view.commands, group)
        gone = deeds.loc[deeds["removed_by"].isin(("expiry", "unknown")) | deeds["or_by"].eq("expiry")]
        if not len(gone):
            continue
        row = gone.iloc[0]
        sure = row["removed_by"] == "expiry"
        says = f"{row['keys'][0]}, the chord's bookkeeping, {'expired' if sure else 'was removed'}{when_of(row)}."
        weights = {"chord_state_expired": STRONG if sure else SUPPORTIVE}
        for record in concerned(view):
            yield Finding("chord-expired", record, place_of(row), says, weights)

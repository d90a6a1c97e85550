"""Evidence from commands: what append-only file, backlog, MONITOR, notifications and SLOWLOG show of a record's end.

In: a ``View``. Out: findings for the causes by which a key is taken away. An answer that the witness itself leaves open
stays open in the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

import pandas as pd

from analysis.findings.causes import PRIORS, RECORDS
from analysis.findings.deeds import EXPIRES, RECORDERS, STREAMS, Fate, in_bulk, place_of, when_of
from analysis.findings.moment import end_of_second
from analysis.findings.rules import DECISIVE, SEEN, SHOWN, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.rules.coded import places
from analysis.findings.rules.lived import purge_of
from analysis.findings.rules.sighted import NOUN
from analysis.findings.view import LOOKED_IN, SLACK, View, came_due
from analysis.findings.weigh import Finding
from analysis.findings.words import count, duration
from analysis.frames import words_in

# A witness that holds every write shows the end itself; what only a notification or SLOWLOG shows may be undone since.
_TOLD = DECISIVE + STRONG
# So far apart are two answers of which the witness makes one the likelier.
_LIKELIER = 10.0
_MOST_SEEN = 1_000
_OF_ALL = {"FLUSHDB": "db_flushed", "FLUSHALL": "server_flushed", "SWAPDB": "db_swapped"}
_MOVED = ("RENAME", "RENAMENX", "MOVE", "MIGRATE", "RENAME_FROM", "MOVE_FROM")


@rule(
    "taken-away",
    rests_on="an append-only file and a backlog hold every change of a key, in order (Redis aof.c, replication.c)",
)
def taken_away(view: View) -> Iterator[Finding]:
    for record in ("result", "job"):
        shown: set[str] = set()
        held = bool(len(view.held(record)))
        for fate in view.fates(record):
            if held and _put_elsewhere(view, record, fate):
                yield _put(view, record, fate)
                continue
            if held and not view.undated(record, fate):
                continue
            weights = _weights(view, record, fate)
            if held:
                # One of the two came later, and neither tells: what is held against what is gone.
                weights = {cause: SHOWN for cause, weight in weights.items() if weight > 0}
            if fate.row["witness"] in (*RECORDERS, "slowlog"):
                # It tells whose doing it was, which no stream does.
                less = DECISIVE + STRONG if fate.verb in EXPIRES else DECISIVE
                copied = ("renamed_or_moved",) if _copied(view, fate) is not None else ()
                weights |= {cause: -less for cause in _not_by(fate) if cause not in {*weights, *copied}}
                weights = {cause: weight for cause, weight in weights.items() if cause in PRIORS[record]}
                if shown & set(weights) and fate.row["witness"] == "keyspace log":
                    weights = {cause: weight for cause, weight in weights.items() if weight < 0 or cause in shown}
            elif shown and fate.row["witness"] not in STREAMS:
                # What holds every write has told more of the same end.
                weights = {cause: weight for cause, weight in weights.items() if cause in shown}
            elif fate.row["witness"] in STREAMS:
                shown |= {cause for cause, weight in weights.items() if weight > 0}
            kind = "removal-seen" if fate.row["witness"] in STREAMS else "removal-told"
            says = _says(view, record, fate)
            if held:
                says += " Whether that was before or after the snapshot that holds it is not told."
            yield Finding(kind, record, fate.source, says, weights, event=f"{record} removal")


@rule(
    "shortening-seen", rests_on="MONITOR and SLOWLOG show EXPIRE and its kin with what they set (facts/signals.md, 7.2)"
)
def shortening_seen(view: View) -> Iterator[Finding]:
    """Somebody brought the expiry near, and by then the record was gone; of a stream its end is told with it."""
    for record in ("result", "job"):
        meant = view.expires.at if record == "result" and view.expires else None
        ended = view.missed_by(record) or view.as_of
        if len(view.held(record)) or view.followed(record) or ended is None:
            continue
        rows = view.deeds.loc[
            words_in(view.deeds["verb"], EXPIRES) & view.deeds["witness"].isin((*RECORDERS, "slowlog"))
        ]
        wanted = view.keys_of(record)
        rows = rows.loc[[not wanted.isdisjoint(keys) for keys in rows["keys"]]]
        rows = rows.loc[rows["ttl"].notna() | rows["expires_at"].notna()]
        if not len(rows):
            continue
        row = rows.iloc[-1]
        lasts = pd.isna(row["ttl"])
        due = row["expires_at"] if lasts else row["not_after"] + pd.Timedelta(milliseconds=int(row["ttl"]))
        if due > end_of_second(ended) or (meant is not None and due >= meant - SLACK):
            continue
        says = f"{row['verb']} gave the {NOUN[record]} {duration((due - row['not_after']).total_seconds())} to live"
        says += f"{when_of(row)}, and it was gone after that."
        weights = {"ttl_shortened": DECISIVE + STRONG, "natural_expiry": -STRONG}
        yield Finding("shortening-seen", record, place_of(row), says, weights, event=f"{record} removal")


@rule("copied-before", rests_on="COPY and DEL of one key are a move in two commands (facts/causes.md, C15)")
def copied_before(view: View) -> Iterator[Finding]:
    for record in ("result", "job"):
        if len(view.held(record)):
            continue
        for fate in view.fates(record):
            row = _copied(view, fate)
            if fate.by not in ("client", "script") or row is None or in_bulk(fate):
                continue
            says = f"{row['verb']} had copied it to {row['keys'][1]}{when_of(row)}, before it was removed."
            weights = {"renamed_or_moved": DECISIVE, "forgotten": -STRONG, "deleted_by_client": -SUPPORTIVE}
            yield Finding("copied-before", record, f"{row['source']}, {row['offset']}", says, weights)
            break


def _copied(view: View, fate: Fate) -> pd.Series | None:
    """The COPY of the key before it was taken, by any witness; after it, there was nothing to copy."""
    copies = view.deeds.loc[words_in(view.deeds["verb"], ("COPY",))]
    copies = copies.loc[[keys[:1] == [fate.key] for keys in copies["keys"]]]
    return copies.iloc[-1] if len(copies) else None


def _put_elsewhere(view: View, record: str, fate: Fate) -> bool:
    """Whether the command took the record from where it was, to where it is held."""
    if fate.verb not in ("SWAPDB", *_MOVED) or fate.row["witness"] not in (*STREAMS, *RECORDERS):
        return False
    rows = view.held(record)
    return not (rows["key"].eq(fate.key) & (rows["db"].eq(fate.db) if fate.db is not None else True)).any()


def _put(view: View, record: str, fate: Fate) -> Finding:
    row = view.main(record)
    cause = _OF_ALL.get(fate.verb, "renamed_or_moved")
    says = f"{_says(view, record, fate).rstrip('.')}: it is now {row['key']} of DB {row['db']}."
    weights = {cause: SHOWN + DECISIVE + SUPPORTIVE}
    return Finding("put-elsewhere", record, fate.source, says, weights, event=f"{record} removal")


def _not_by(fate: Fate) -> tuple[str, ...]:
    """Causes that a recorder's account of the end rules out, unless it leads to them: MONITOR and SLOWLOG show the very
    command that a client sent, and a notification has the event's name.
    """
    if fate.row["witness"] != "keyspace log":
        return ("evicted", "natural_expiry", "ttl_shortened", *_BY_NAME)
    if fate.by in ("client", "script"):
        few = ("deleted_by_client", "forgotten") if in_bulk(fate) else ()
        return ("evicted", "natural_expiry", *few)
    if fate.by == "eviction":
        return ("natural_expiry", "ttl_shortened", *_BY_NAME)
    return ("evicted", *_BY_NAME) if fate.by == "expiry" else ()


_BY_NAME = ("deleted_by_client", "bulk_deleted", "forgotten", "purged_by_cleanup", "renamed_or_moved")


def _weights(view: View, record: str, fate: Fate) -> dict[str, float]:
    """Decibans for each cause that the command can mean; nothing for those that do not compete for the record."""
    # Of a file that is damaged, or of which a part is missing, what came after may be lost.
    sure = SEEN if fate.row["witness"] in STREAMS and view.is_whole(fate) else _TOLD
    lead, other = _causes(view, record, fate.by, fate), _causes(view, record, fate.or_by, fate)
    brought_near = fate.shortened is not None and "ttl_shortened" in other
    if fate.or_by == "expiry" and (brought_near or came_due(view, fate)):
        # Whoever brings an expiry near means the key to go by it; and where the case goes on beyond an expiry, the key
        # went by it unless somebody came before.
        lead, other = other, lead
    weights = dict.fromkeys(lead, sure)
    if fate.by == "unknown":
        # Of a key whose expiry was taken off, or may have been: it has none any more that is known.
        kept = fate.shortened is None or str(fate.shortened["verb"]).upper() != "PERSIST"
        either = [*_causes(view, record, "client", fate), *(_causes(view, record, "expiry", fate) if kept else ())]
        weights = dict.fromkeys(either, STRONG)
    room = -DECISIVE if brought_near else _room_for(fate)
    if fate.or_by == "eviction":
        room = _room_for_eviction(view, room)
    for cause in other:
        weights.setdefault(cause, sure + room)
    if "deleted_by_client" in weights and len(fate.row["keys"] or ()) == 1 and str(fate.row["verb"]) in ("DEL", "del"):
        # A client's EXPIRE with a time past, and MIGRATE, are written as one DEL too (facts/causes.md 2.5, C15).
        if fate.row["witness"] not in ("MONITOR log", "slowlog"):
            weights.setdefault("ttl_shortened", weights["deleted_by_client"] - WEAK)
            weights.setdefault("renamed_or_moved", weights["deleted_by_client"] - WEAK)
    if record == "job" and "purged_by_cleanup" in weights and purge_of(view) is None:
        # Without a word of a cleanup, in log or code, it may as well have been somebody's own doing.
        in_code = bool(len(places(view, "job", "deletes", "purges")))
        weights["purged_by_cleanup"] -= WEAK if in_code else SUPPORTIVE if fate.family > 1 else STRONG
    known = {cause: weight for cause, weight in weights.items() if cause in PRIORS[record]}
    if fate.row["witness"] in STREAMS and known:
        # The command took the key: what the record met is among these, whatever else would have been possible.
        for cause in ("present", "wrong_database", "wrong_prefix", "queued", "reserved", "never_published", "wrong_id"):
            if cause in PRIORS[record]:
                known.setdefault(cause, -DECISIVE)
    return known


def _room_for_eviction(view: View, room: float) -> float:
    """As ``room``, but by whether the server has a limit that it could have kept by eviction."""
    limits = [int(one) for one in view.servers["maxmemory"].dropna()]
    limits += [int(one["maxmemory"]) for one in view.config.values() if one.get("maxmemory", "").isdigit()]
    if not limits:
        return room
    return room / 2 if max(limits) else -_LIKELIER  # what has evicted without a limit had one before


def _room_for(fate: Fate) -> float:
    """Decibans between the likelier hand and the other one. For a client to have come before the expiry it must have
    come in what was left of the time until then: so much as that is of the life that the record was to have.
    """
    if fate.or_by == "eviction":
        # One DEL of the server's is as good as one of a client's: priors and counters must tell.
        return -WEAK
    due, earliest = fate.due, fate.row["not_before"]
    if fate.by != "expiry" or pd.isna(due) or pd.isna(earliest) or fate.written is None:
        return -_LIKELIER
    begun, meant = fate.written["not_before"], fate.written["expires_at"]
    end = max(due, meant) if pd.notna(meant) else due
    life = (end - begun).total_seconds() if pd.notna(begun) else 0.0
    if life <= 0:
        return -_LIKELIER
    left = max((due - max(earliest, begun)).total_seconds(), 0.0)
    return min(10 * log10(max(left / life, 0.001)), 0.0) - WEAK


def _causes(view: View, record: str, by: str, fate: Fate) -> list[str]:
    """What a removal by somebody means for a record; several where the command does not tell them apart."""
    if by == "expiry":
        return ["ttl_shortened" if _shortened(view, record, fate) else "natural_expiry"]
    if by == "eviction":
        return ["evicted"]
    if fate.verb in EXPIRES:
        return ["ttl_shortened"]
    if by not in ("client", "script"):
        return []
    if cause := _OF_ALL.get(fate.verb):
        return [cause]
    if fate.verb in _MOVED:
        return ["renamed_or_moved"]
    if record == "job":
        # The application's cleanup is a client too: which client it was no stream tells.
        return ["purged_by_cleanup", "bulk_deleted" if in_bulk(fate) else "deleted_by_client"]
    if in_bulk(fate):
        return ["bulk_deleted"]
    # Celery's forget() is one DEL in capitals, with one key (celery/backends/redis.py).
    return ["deleted_by_client", "forgotten"] if _as_forget_does(fate) else ["deleted_by_client"]


def _as_forget_does(fate: Fate) -> bool:
    keys = fate.row["keys"]
    return (
        str(fate.row["verb"]) in ("DEL", "del")
        and isinstance(keys, list)
        and len(keys) == 1
        and (str(fate.row["verb"]) == "DEL" or fate.row["witness"] == "keyspace log")
    )


def _shortened(view: View, record: str, fate: Fate) -> bool:
    """Whether the expiry that came was a shorter one than the policy's, or than the write had set."""
    due = fate.due
    if fate.shortened is not None and fate.written is not None:
        first, then = fate.written["expires_at"], fate.shortened["expires_at"]
        if pd.notna(first) and pd.notna(then) and then < first - SLACK:
            return True
        if pd.isna(first) and pd.notna(then) and record == "result" and view.retention.seconds == 0:
            return True
    policy = view.retention.seconds if record == "result" else _job_policy(view)
    if fate.written is None or pd.isna(due) or not policy or view.retention.certainty == "assumed":
        return False
    # From the earliest that it can have been written: a loose bound must not make the life look short.
    begun = fate.written["not_before"]
    return bool(pd.notna(begun) and (due - begun).total_seconds() < policy * 0.99 - 2)


def _job_policy(view: View) -> int:
    return (view.stated.jobs.expires or 0) if view.stated.jobs else 0


_BY = {
    "expiry": "at its expiry",
    "eviction": "to free memory",
    "client": "for a client",
    "script": "for a script",
    "unknown": "and who had it removed cannot be told",
}


def _says(view: View, record: str, fate: Fate) -> str:
    noun, verb = NOUN[record], str(fate.row["verb"])
    when = when_of(fate.row)
    told = f"{verb} removed the {noun}{when} {_BY.get(fate.by, '')}".rstrip()
    if fate.verb in _OF_ALL:
        where = (
            f" of DB {fate.db}"
            if fate.verb == "FLUSHDB"
            else f" ({fate.row['detail']})"
            if fate.verb == "SWAPDB"
            else ""
        )
        told = f"{verb}{where} took the {noun}{when}"
    elif fate.verb in _MOVED:
        told = f"{verb} moved the {noun} away{when}"
    if fate.family >= 2:
        told += f", {count(fate.family, 'key')} of its kind in all"
    due = fate.due
    if pd.notna(due) and fate.by in ("client", "script", "eviction") and pd.notna(fate.row["not_after"]):
        early = (due - fate.row["not_after"]).total_seconds()
        if early > 0:
            told += f", {duration(early)} before its expiry"
    if pd.notna(fate.row["client"]):
        name = f" ({fate.row['client_name']})" if pd.notna(fate.row["client_name"]) else ""
        told += f", sent by {fate.row['client']}{name}"
    if fate.or_by:
        told += f"; {_OR[fate.or_by]} is not ruled out"
    return f"{told}."


_OR = {"expiry": "its expiry", "eviction": "eviction", "client": "a client", "script": "a script"}


@rule("flush-witnessed", rests_on="MONITOR and SLOWLOG show FLUSHDB and FLUSHALL with time and client (Redis monitor)")
def flush_witnessed(view: View) -> Iterator[Finding]:
    seen = view.commands.loc[
        words_in(view.commands["verb"], ("FLUSHDB", "FLUSHALL"))
        & view.commands["witness"].isin(("MONITOR log", "slowlog"))
    ]
    for record in RECORDS:
        born, missed = view.born(record), view.missed_by(record)
        if len(view.held(record)) or born is None:
            continue
        rows = view.rows(record)
        servers, dbs = view.home(record), {int(db) for db in rows["db"].dropna()}
        if record == "result":
            dbs |= {int(db) for db in view.written["db"].dropna()}
        looked = view.stated.databases.get(LOOKED_IN[record])
        dbs |= {looked} if looked is not None and not dbs else set()
        for _, row in seen.tail(_MOST_SEEN).iterrows():
            if row["not_after"] <= born or (missed is not None and row["not_before"] > missed):
                continue
            verb = str(row["verb"]).upper()
            known = bool(dbs) and pd.notna(row["db"])
            if (servers and row["server"] not in servers) or (
                verb == "FLUSHDB" and known and int(row["db"]) not in dbs
            ):
                continue
            who = f", sent by {row['client']}" if pd.notna(row["client"]) else ""
            says = f"{verb} was seen{when_of(row)}, after the {NOUN[record]} was written{who}."
            weight = DECISIVE + STRONG if verb == "FLUSHALL" or known else WEAK
            source = f"{row['source']}, {row['offset']}"
            yield Finding("flush-witnessed", record, source, says, {_OF_ALL[verb]: weight}, event=f"{record} removal")


@rule("no-forget-in-code", rests_on="forget() is called by application code only (celery/result.py)")
def no_forget(view: View) -> Iterator[Finding]:
    read = view.evidence.loc[view.evidence["kind"].eq("source code") & view.evidence["complete"].fillna(False)]
    if not len(read) or len(view.held("result")):
        return
    places = view.cleanup.loc[view.cleanup["does"].eq("forgets")]
    source = str(read.iloc[0]["path"])
    if not len(places):
        yield Finding("no-forget", "result", source, "The source code calls forget() nowhere.", {"forgotten": -STRONG})
        return
    row = places.iloc[0]
    says = f"{row['function'] or row['file']} calls {row['call']}."
    where = f"{source}/{row['file']}:{row['line']}"
    yield Finding("forget-code", "result", where, says, {"forgotten": SUPPORTIVE})

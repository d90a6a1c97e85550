"""The particulars of an account, for each slot of a sentence: when, by which command, where it is, how long kept.

In: a ``View``, a record's name, and what was concluded of it. Out: a few words for the slot, or nothing where the
evidence does not say.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

from analysis.findings.rules.coded import places
from analysis.findings.rules.sighted import NOUN
from analysis.findings.telling.ends import End, end_of, fate_of, when
from analysis.findings.verdict import Record
from analysis.findings.view import View
from analysis.findings.words import at, confidence_word, count, duration, listed, on
from analysis.redact import shorten

# From here on a thing is said outright, and under OPEN it is not said at all, only named as the likeliest.
CERTAIN, OPEN = 0.99, 0.5
_LONGEST_KEY = 120


def hedge(probability: float) -> str:
    """How sure, as an adverb with a blank behind it: ``very likely ``; empty where it is certain, or not said at all.

    The words are those of ``words.CONFIDENCE``.
    """
    return "" if probability >= CERTAIN or probability < OPEN else f"{confidence_word(probability)} "


Slot = Callable[[View, str, Record], str]


def _holder(view: View, record: str) -> str:
    """Which of the task's records is held: the one that is asked about, else its message."""
    return record if len(view.held(record)) else "message" if len(view.held("message")) else ""


def _seen(view: View, record: str, found: Record) -> str:
    """``at 02:38 UTC on 24 July 2025 ``: when the snapshot was taken that holds it, else as of when this is said."""
    holder = _holder(view, record)
    taken = view.taken_at(str(view.main(holder)["snapshot"])) if holder else None
    moment = taken if taken is not None else view.as_of
    return f"at {at(moment)} " if moment is not None else ""


def _place(view: View, record: str, found: Record) -> str:
    """``in DB 2``; of a message its queue; of a record under another prefix its key; of another server that one."""
    holder = _holder(view, record)
    if not holder:
        return f"at {shorten(found.where[0], _LONGEST_KEY)}" if found.where else "in a place that is not told"
    row = view.main(holder)
    key, db = shorten(str(row["key"]), _LONGEST_KEY), f"DB {row['db']}"
    if found.cause in ("queued", "reserved"):
        name = row["queue"] if isinstance(row["queue"], str) else row["key"]
        before = "in" if found.cause == "queued" else "taken from"
        step = row["priority"] if found.cause == "queued" else None
        ranked = f", in its list for priority {step}," if pd.notna(step) and step else ""
        return f"{before} the queue {shorten(str(name), _LONGEST_KEY)}{ranked} of {db}"
    if found.cause == "wrong_node":
        return f"on the server {row['server'] or 'without a name'}"
    if found.cause in ("wrong_prefix", "renamed_or_moved"):
        return f"under the key {key} of {db}"
    return f"in {db}"


def _looked(view: View, record: str, found: Record) -> str:
    if found.cause == "wrong_node":
        return f", not on {view.stated.environment}" if view.stated.environment else ""
    if found.cause == "wrong_prefix":
        prefix = view.stated.key_prefix
        return f", not under the prefix {prefix}" if prefix else ", not without a prefix"
    named = {"result": "results", "job": "main", "message": "broker"}[_holder(view, record) or record]
    looked = view.stated.databases.get(named)
    return f", not in DB {looked}" if looked is not None else ""


def _when(view: View, record: str, found: Record) -> str:
    return when(end_of(view, record, found.cause))


def _due(view: View, record: str, found: Record) -> str:
    """When it was due, where that had come; else when it was seen to go."""
    past = view.past(record)
    expiry = view.expires.at if record == "result" and view.expires else None
    if len(past):
        expiry = past["expires_at"].max()
    if expiry is not None and view.as_of is not None and expiry <= view.as_of:
        return f" on {on(expiry)}"
    fate = fate_of(view, record, "natural_expiry")
    return when(End(None, fate.row["not_after"])) if fate is not None and pd.notna(fate.row["not_after"]) else ""


def kept_for(view: View, record: str) -> str:
    """``1 d``: how long records of this kind are kept; empty where nothing tells, or they are kept for ever."""
    seconds = view.retention.seconds if record == "result" else view.stated.jobs.expires if view.stated.jobs else 0
    return duration(seconds) if seconds else ""


def _kept(view: View, record: str, found: Record) -> str:
    kept = kept_for(view, record)
    noun = {"result": "results", "job": "job records", "message": "messages"}[record]
    if not kept:
        return ", as it was set to"
    assumed = " unless set otherwise" if record == "result" and view.retention.certainty == "assumed" else ""
    return f", after the {kept} for which {noun} are kept{assumed}"


def _cut(view: View, record: str, found: Record) -> str:
    fate = fate_of(view, record, "ttl_shortened")
    if fate is None or fate.shortened is None:
        return ""
    row = fate.shortened
    first, last = (row[name] if pd.notna(row[name]) else None for name in ("not_before", "not_after"))
    return f" by {str(row['verb']).upper()}{when(End(first, last))}"


def _verb(view: View, record: str, found: Record) -> str:
    fate = fate_of(view, record, found.cause)
    return str(fate.row["verb"]) if fate is not None and fate.by else "a command"


def _move(view: View, record: str, found: Record) -> str:
    fate = fate_of(view, record, "renamed_or_moved")
    return fate.verb.partition("_")[0] if fate is not None else "RENAME, MOVE or the like"


def _early(view: View, record: str, found: Record) -> str:
    """How long before its expiry it was taken, where both are known."""
    fate = fate_of(view, record, found.cause)
    if fate is None or pd.isna(fate.due) or pd.isna(fate.row["not_after"]) or fate.due <= fate.row["not_after"]:
        return ""
    return f", {duration((fate.due - fate.row['not_after']).total_seconds())} before it was due to expire"


def _family(view: View, record: str, found: Record) -> str:
    fate = fate_of(view, record, found.cause)
    return f", as one of {count(fate.family, 'key')} of its kind" if fate is not None and fate.family > 1 else ""


def _db(view: View, record: str, found: Record) -> str:
    fate = fate_of(view, record, found.cause)
    return f"DB {fate.db}" if fate is not None and fate.db is not None else "its database"


def _began(view: View, record: str, found: Record) -> str:
    return when(End(view.received.at, view.received.at)) if view.received is not None else ""


_WHY = {
    "unregistered": ", as a task that it does not know",
    "invalid_message": ", as malformed",
    "unknown_message": ", as no task's",
    "undecodable": ", as it could not decode it",
    "rejected": ", as the task rejected it",
}


def _why(view: View, record: str, found: Record) -> str:
    return next((why for kind, why in _WHY.items() if view.log["kind"].eq(kind).any()), "")


def _ignored(view: View, record: str, found: Record) -> str:
    if place := set_at(view, "ignore_result"):
        return f": ignore_result is set at {place}"
    if view.log["kind"].eq("ignored").any():
        return ": it raised Ignore"
    return ": results of this task are ignored"


def set_at(view: View, name: str) -> str:
    """``app/tasks.py:22``: where the code sets a setting, for this task if it does so for single ones; or empty."""
    rows = view.cleanup.loc[view.cleanup["does"].eq("sets")]
    rows = rows.loc[[name in re.split(r"\W+", str(settings)) for settings in rows["settings"]]]
    of_task = rows.loc[[bool(view.name) and view.name in str(reached) for reached in rows["reached"]]]
    rows = of_task if len(of_task) else rows
    return listed([f"{row.file}:{row.line}" for row in rows.itertuples()], most=3) if len(rows) else ""


_ROLES = {
    "group_id": "it is the ID of a group",
    "root_id": "it is the ID of the first task of a workflow",
    "parent_id": "it is the ID of the task that called others",
    "child": "it is the ID of a task that another one called",
    "correlation_id": "it is a message's correlation ID",
}


def _role(view: View, record: str, found: Record) -> str:
    roles = [told for role, told in _ROLES.items() if view.traces["role"].eq(role).any()]
    return f": {roles[0]}" if roles else ""


def _serialized(view: View, record: str, found: Record) -> str:
    holder = _holder(view, record)
    row = view.main(holder) if holder == "result" else None
    is_in = str(row["serializer"]) if row is not None and pd.notna(row["serializer"]) else "another serializer"
    others = view.tasks.loc[view.tasks["task_id"].ne(view.task_id), "serializer"].dropna()
    meant = view.stated.result_serializer or (str(others.mode().iloc[0]) if len(others) else "")
    return f"written as {is_in}" + (f", while {meant} is expected" if meant and meant != is_in else "")


SLOTS: dict[str, Slot] = {
    "noun": lambda view, record, found: NOUN[record],
    "sure": lambda view, record, found: hedge(found.confidence),
    "held": lambda view, record, found: NOUN[_holder(view, record) or record],
    "seen": _seen,
    "place": _place,
    "looked": _looked,
    "when": _when,
    "due": _due,
    "kept": _kept,
    "cut": _cut,
    "verb": _verb,
    "move": _move,
    "early": _early,
    "family": _family,
    "db": _db,
    "began": _began,
    "why": _why,
    "ignored": _ignored,
    "role": _role,
    "serialized": _serialized,
}


def code_of(view: View, record: str, *does: str) -> str:
    """``app/records.py:77 and app/jobs.py:12``: where the code does this to records such as this one; empty where the
    code is not there or does not.
    """
    if does == ("flushes",):
        rows = view.cleanup.loc[view.cleanup["does"].eq("flushes")]
    elif does == ("forgets",):
        rows = view.cleanup.loc[view.cleanup["does"].eq("forgets")]
    else:
        rows = places(view, record, *does)
    return listed([f"{row.file}:{row.line}" for row in rows.itertuples()], most=3) if len(rows) else ""

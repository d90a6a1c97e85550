"""The six questions of whoever gets the report, each answered in a line: was it deleted, by what, when, is that normal,
what else is affected, and how sure is all this?

In: a ``View`` and what was concluded. Out: pairs of question and answer, about the result. Says nothing that
``tell`` does not carry.
"""

from __future__ import annotations

from collections.abc import Mapping

from analysis.findings.causes import CAUSES
from analysis.findings.telling.accounts import ACCOUNTS, NEVER
from analysis.findings.telling.ends import bounds, end_of, to_the_second, when
from analysis.findings.telling.particulars import OPEN, hedge
from analysis.findings.telling.tell import Weighed, affected, basis, by_whom, never_came, normal
from analysis.findings.verdict import Record
from analysis.findings.view import View
from analysis.findings.words import at, listed, lower_first, on, percent

_MOST_RIVALS = 3


def answers(view: View, records: Mapping[str, Record], weighed: Weighed) -> tuple[tuple[str, str], ...]:
    """Question and answer, in the order in which they are asked."""
    result = records["result"]
    return (
        ("Was it deleted?", _deleted(view, records)),
        ("By what?", _by_what(view, records)),
        ("When?", _when(view, records)),
        ("Is it normal?", _is_normal(result, weighed)),
        ("What else is affected?", affected(view, records) or "That cannot be told from this evidence."),
        ("How sure is that?", _how_sure(result, weighed)),
    )


def _decided(result: Record) -> bool:
    return result.cause in ACCOUNTS and result.confidence >= OPEN


def _deleted(view: View, records: Mapping[str, Record]) -> str:
    result = records["result"]
    if not _decided(result):
        there = {"absent": "It is gone, but w", "unknown": "W"}.get(result.status, "W")
        return f"{there}hether it was deleted is not decided."
    adverb = hedge(result.confidence).strip().capitalize()
    no = "No" if not adverb else f"{adverb}, no" if adverb.endswith("not") else f"{adverb} not"
    match NEVER if never_came(view, records) else ACCOUNTS[result.cause].deleted:
        case "yes":
            return f"{adverb}, yes." if adverb else "Yes."
        case "never":
            return f"{no}: there never was one."
        case "lost":
            return f"{adverb}, not by a command: it was lost." if adverb else "Not by a command: it was lost."
        case _:
            return f"{no}."


def _by_what(view: View, records: Mapping[str, Record]) -> str:
    result = records["result"]
    if not _decided(result):
        return "Not decided."
    means = CAUSES[result.cause].means
    if result.status in ("present", "in_flight"):
        return f"By nothing: {means}."
    return " ".join(part for part in (f"{means[:1].upper()}{means[1:]}.", by_whom(view, records)) if part)


def _when(view: View, records: Mapping[str, Record]) -> str:
    """The moment of the event, or between which looks it lies; of what is there, when it was seen."""
    result, about = records["result"], "message" if never_came(view, records) else "result"
    if result.status in ("present", "in_flight"):
        return f"As of {at(view.as_of)}." if view.as_of is not None else "The evidence carries no time."
    due = view.expires
    if result.cause == "natural_expiry" and due is not None and view.as_of is not None and due.at <= view.as_of:
        return f"On {on(due.at)}."
    end = end_of(view, about, result.cause) if _decided(result) else bounds(view, "result")
    told = when(end).strip()
    if not told and result.cause in ACCOUNTS and ACCOUNTS[result.cause].deleted == NEVER:
        took = f"A worker took the task on {to_the_second(view.received.at)}" if view.received else "No moment is known"
        return f"{took}; nothing was ever stored."
    return f"{told[:1].upper()}{told[1:]}." if told else "Not known."


def _is_normal(result: Record, weighed: Weighed) -> str:
    if _decided(result):
        return normal(result)
    unwanted, harmless = (
        sum(h.probability for h in weighed["result"] if CAUSES[h.cause].loss == answer) for answer in ("yes", "no")
    )
    return (
        f"Not decided: {percent(unwanted)} for causes that nobody wanted, {percent(harmless)} for harmless ones, and "
        "the rest for what cannot be told."
    )


def _how_sure(result: Record, weighed: Weighed) -> str:
    rivals = [h for h in weighed["result"] if h.cause not in ("unknown", result.cause) and h.probability >= 0.01]
    named = listed(
        [f"“{lower_first(CAUSES[h.cause].title)}” ({percent(h.probability)})" for h in rivals[:_MOST_RIVALS]]
    )
    others = f" Next in line: {named}." if named else ""
    if result.cause == "unknown":
        return f"The evidence does not decide between the causes.{others}"
    return f"{basis(result, weighed['result'])}{others}"

"""Sentences of a verdict: the headline, the paragraphs under it, the facts, and what the evidence is worth.

In: a ``View`` and the hypotheses. Out: plain text in the past tense with absolute times in UTC. Claims nothing that the
hypotheses do not carry. How each cause is told stands in ``accounts``, the six questions in ``answers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from analysis.findings.causes import CAUSES, YES
from analysis.findings.deeds import STREAMS, when_of
from analysis.findings.rules.lived import names, purge_of
from analysis.findings.scope import scope, scope_sentence
from analysis.findings.telling.accounts import ACCOUNTS, likeliest, told
from analysis.findings.telling.ends import GONE, bounds, end_of, to_the_second
from analysis.findings.telling.particulars import OPEN
from analysis.findings.verdict import Fact, Hypothesis, Record
from analysis.findings.view import ENDED, View
from analysis.findings.words import QUALITY, at, confidence_word, count, duration, listed, lower_first, percent

Weighed = Mapping[str, tuple[Hypothesis, ...]]
_LOGS = ("worker log", "redis log", "application log", "MONITOR log", "keyspace log")
_LABEL = {"result": "Result", "job": "Job record", "message": "Queue message"}
_IN_FLIGHT = ("queued", "reserved", "running")
# Causes whose account says itself when the task began.
_BEGAN = ("worker_killed", "running")
# What only a message can meet.
OF_MESSAGES = ("queue_expired", "lost_in_pop", "queue_purged", "revoked", "discarded", "unroutable")
# Of what a client does the witness may name the client, and a reader asks for it.
_BY_CLIENT = (
    "deleted_by_client", "bulk_deleted", "db_flushed", "server_flushed", "db_swapped", "renamed_or_moved",
    "overwritten",
)  # fmt: skip


def sure(probability: float) -> str:
    """``very likely (95 %)``."""
    return f"{confidence_word(probability)} ({percent(probability)})"


def headline(view: View, records: Mapping[str, Record]) -> str:
    """What became of the result, as sure as it is and no surer; and of another record, if only that one was lost."""
    result = records["result"]
    if never_came(view, records):
        first = told(view, "message", records["message"]).replace("The message ", "its message ", 1)
        first = f"There is no result of this task, for {first}"
    elif result.cause in ACCOUNTS and result.confidence >= OPEN:
        first = told(view, "result", result)
    else:
        first = _unknown(view, result)
        if result.cause in ACCOUNTS:
            first += f" {likeliest(view, 'result', result)}"
    also = also_lost(records)
    return " ".join([first, *(told(view, name, records[name]) for name in also)])


def never_came(view: View, records: Mapping[str, Record]) -> bool:
    """Whether there is no result because the message met what takes any record, as an eviction or a flush does: nothing
    shows that a worker had the task, or that a result was stored.
    """
    result, message = records["result"], records.get("message")
    if message is None or message.cause != result.cause or not message.confidence > OPEN < result.confidence:
        return False
    return result.cause in GONE and result.cause not in OF_MESSAGES and view.taken is None and view.stored is None


def also_lost(records: Mapping[str, Record]) -> list[str]:
    """The records beside the result that met a loss nobody wanted, where the result itself did not."""
    if CAUSES[records["result"].cause].loss == YES:
        return []
    return [
        name
        for name, record in records.items()
        if name != "result" and CAUSES[record.cause].loss == YES and record.confidence > OPEN
    ]


def _unknown(view: View, result: Record) -> str:
    """What is known where the cause is not: that there is nothing to go by, or when it was there and when no more."""
    if not len(view.evidence):
        return "There is no evidence, so nothing can be said about this task."
    missed = view.missed_by("result")
    if result.status != "absent" or missed is None:
        return "What became of the result is not decided by this evidence."
    if view.born("result") is None:
        return f"No result of this task was there at {at(missed)}; what became of it is not decided."
    went = bounds(view, "result")
    held = [moment for name in view.results["snapshot"].unique() if (moment := view.taken_at(str(name))) is not None]
    known = f"The result was gone by {at(missed)}"
    if went.first is not None and held and max(held) == went.first:
        known = f"The result was there at {at(went.first)}, and gone by {at(missed)}"
    due = view.expires
    early = f", {duration((due.at - missed).total_seconds())} before it was due to expire" if due else ""
    return f"{known}{early if due and due.at > missed else ''}; what took it is not decided by this evidence."


def summary(view: View, records: Mapping[str, Record], weighed: Weighed) -> str:
    """The paragraphs under the headline: whether that is normal, by whom, how the task ended, and what became of the
    job record; then what else is affected, and the server.
    """
    paragraphs = (
        (
            _normal(records),
            by_whom(view, records),
            _ended(view, records),
            _undecided(records, weighed),
            _job(view, records),
        ),
        (affected(view, records), _restart(view)),
    )
    lines = (" ".join(sentence for sentence in paragraph if sentence) for paragraph in paragraphs)
    return "\n".join(line for line in lines if line)


def _ended(view: View, records: Mapping[str, Record]) -> str:
    if view.ended is not None:
        line = view.log.loc[view.log["kind"].isin(ENDED) & view.log["at"].notna()].iloc[-1]
        after = f", after {line['seconds']:,.2f} s" if pd.notna(line["seconds"]) else ""
        how = "finished normally" if line["kind"] == "succeeded" else "failed"
        return f"The task {how} on {to_the_second(line['at'])}{after}."
    done = view.results.loc[view.results["date_done"].notna()]
    if len(done):
        return f"Its result says {done.iloc[-1]['status']} on {to_the_second(done.iloc[-1]['date_done'])}."
    if view.received is not None and records["result"].cause not in _BEGAN:
        return f"A worker received it on {to_the_second(view.received.at)}; no log says that it ended."
    return ""


def by_whom(view: View, records: Mapping[str, Record]) -> str:
    """Which client sent the command that took the result, or that no witness names it; empty for other causes."""
    result = records["result"]
    if result.cause not in _BY_CLIENT or result.confidence < OPEN:
        return ""
    who = end_of(view, "result", result.cause).who
    return f"The command was sent by {who}." if who else "Which client sent the command is not recorded."


def _normal(records: Mapping[str, Record]) -> str:
    result = records["result"]
    return "" if result.cause == "present" or result.confidence < OPEN else normal(result)


def normal(record: Record) -> str:
    """Whether what a record met is part of normal operation; with a reserve where its cause is not all but certain."""
    if record.cause not in ACCOUNTS:
        return ""
    text = ACCOUNTS[record.cause].normal or "That is not part of normal operation."
    return text if record.confidence >= 0.9 else f"If so, {lower_first(text)}"


def _undecided(records: Mapping[str, Record], weighed: Weighed) -> str:
    result = records["result"]
    if result.cause != "unknown" and result.confidence >= OPEN:
        return ""
    rivals = [h for h in weighed["result"] if h.cause not in ("unknown", result.cause) and h.probability >= 0.02]
    named = listed([f"“{lower_first(CAUSES[h.cause].title)}” ({percent(h.probability)})" for h in rivals], most=4)
    return f"Still possible, among others: {named}." if named else ""


def _job(view: View, records: Mapping[str, Record]) -> str:
    job = records.get("job")
    if job is None or "job" in also_lost(records):
        return ""
    if job.cause == "present":
        return "The application's own job record was there as well."
    if job.status == "present" and job.where:
        return f"The application's own job record was at {job.where[0]}, not where it was looked for."
    if job.cause == "unknown" or job.confidence < OPEN:
        too = " too" if records["result"].status == "absent" else ""
        return f"The application's own job record is missing{too}, and why is not decided."
    if job.cause != "purged_by_cleanup":
        return told(view, "job", job)
    only = "Only the" if records["result"].cause == "present" else "The"
    said = f"{only} application's own job record is gone, {sure(job.confidence)} because {CAUSES[job.cause].means}"
    purge = purge_of(view)
    fate = next((fate for fate in view.fates("job") if fate.row["witness"] in STREAMS), None)
    seen = f"{fate.row['verb']} of its key{when_of(fate.row)} is in {fate.row['source']}" if fate is not None else ""
    if purge is None:
        return f"{said}: {seen}." if seen else f"{said}; no log shows it."
    number = f", took {count(int(purge['count']), 'record')}" if pd.notna(purge["count"]) else ""
    logged = f"{said}: a purge was logged at {at(purge['at'])}{number}"
    if names(purge, view.task_id):
        return f"{logged}, and names this one."
    if seen:
        return f"{logged}, and {seen}."
    return f"{logged}, and does not name them. That is inferred from log and counters; the snapshot does not show it."


def _restart(view: View) -> str:
    """What the server's last start can have cost this task."""
    starts = [start for server in sorted(view.servers_of("result")) for start in view.starts(server)]
    began = view.received or view.stored
    if not starts or began is None:
        return ""
    last = max(start.at for start in starts)
    if last > began.at:
        return f"The server restarted on {to_the_second(last)}, after the task had begun."
    phrase = "the task began" if began is view.received else "the result was stored"
    before = duration((began.at - last).total_seconds())
    return (
        f"The server had last restarted on {to_the_second(last)}, {before} before {phrase}: too early to have cost it "
        "anything, for what did not exist yet cannot be lost."
    )


def affected(view: View, records: Mapping[str, Record]) -> str:
    """What else vanished with the result (``scope``), or which other tasks lack their job record as well."""
    result = records["result"]
    if result.status == "absent":
        scopes = scope(view, "result")
        if result.cause in (*_NEVER_CAME, "result_ignored", "rpc_backend", "result_never_stored"):
            # What never was went with nothing: only who else has no result says something.
            scopes = tuple(one for one in scopes if one.witness == "logs")
        # That a witness cannot tell is said among the bulk patterns.
        scopes = tuple(one for one in scopes if one.extent != "not told")
        return scope_sentence(scopes) if scopes else ""
    if view.stated.jobs is None or len(view.held("job")):
        return ""
    if scopes := tuple(one for one in scope(view, "job") if one.extent != "not told"):
        return scope_sentence(scopes)
    ended = set(view.events.loc[view.events["kind"].isin(ENDED), "task_id"].dropna()) | set(
        view.looked_at(view.tasks)["task_id"].dropna()
    )
    others = ended - {view.task_id}
    without = others - set(view.looked_at(view.jobs)["task_id"].dropna())
    if not without:
        return ""
    if without == others:
        have = "has" if len(others) == 1 else "have"
        return f"The other {count(len(others), 'known task')} of this case {have} no job record either."
    return f"Of the other {count(len(others), 'known task')}, {len(without):,} have no job record either."


def facts(view: View, records: Mapping[str, Record], weighed: Weighed) -> tuple[Fact, ...]:
    """The cards under the summary: one for each record, and one for the evidence."""
    cards = [Fact(_LABEL[name], answer(name, record), basis(record, weighed[name])) for name, record in records.items()]
    if never_came(view, records):
        title = lower_first(CAUSES[records["result"].cause].title)
        cards[0] = replace(cards[0], answer=f"Never came to be: {title}")
    word, why = quality(view)
    return (*cards, Fact("Evidence", word.capitalize(), why))


def answer(name: str, record: Record) -> str:
    """What became of one record, in a few words: of a result that never came to be, that; of what is only the
    likeliest, that it is so.
    """
    title = CAUSES[record.cause].title
    if record.cause in ACCOUNTS and record.confidence < OPEN:
        return f"Perhaps: {lower_first(title)}"
    if record.status == "present" and record.cause in _THERE_BUT:
        return _THERE_BUT[record.cause]
    if name == "result" and record.cause in _IN_FLIGHT:
        return f"Not yet: {lower_first(title)}"
    if name == "result" and record.cause in _NEVER_CAME:
        return f"Never came to be: {lower_first(title)}"
    return title


# A record that is there, and not as it should be.
_THERE_BUT = {
    "result_never_stored": "An error in its place",
    "db_swapped": "In the swapped database",
    "renamed_or_moved": "Under another key",
}
# Causes that keep a result from being written.
_NEVER_CAME = (*OF_MESSAGES, "chord_state_expired", "worker_killed", "never_published")


def basis(record: Record, weighed: tuple[Hypothesis, ...]) -> str:
    """How sure that is and from what: the heaviest evidence for it; of what is not decided, the likeliest cause."""
    if record.cause == "unknown":
        best = next((h for h in weighed if h.cause != "unknown"), None)
        return (
            f"The likeliest is “{lower_first(CAUSES[best.cause].title)}” ({percent(best.probability)})." if best else ""
        )
    lead = next((h for h in weighed if h.cause == record.cause), None)
    says = next((e.says for e in lead.evidence if e.weight > 0), "") if lead is not None else ""
    word = "not decided, and only the likeliest" if record.confidence < OPEN else confidence_word(record.confidence)
    told_sure = f"{word} ({percent(record.confidence)})"
    return f"{told_sure.capitalize()}: {says}" if says else f"{told_sure.capitalize()}, by what is ruled out."


def quality(view: View) -> tuple[str, str]:
    """What the evidence is worth, as ``words.QUALITY`` defines it, and of what it consists."""
    kinds = view.evidence["kind"].value_counts()
    logs = int(kinds.loc[[kind for kind in kinds.index if str(kind) in _LOGS]].sum())
    streams = int(kinds.reindex(["append-only file", "append-only commands", "replication backlog"]).sum())
    numbers = ((int(kinds.get("snapshot", 0)), "snapshot"), (int(kinds.get("info", 0)), "INFO answer"), (logs, "log"))
    parts = [count(number, noun) for number, noun in numbers if number or not streams]
    if streams:
        parts.append(f"the commands of {count(streams, 'stream')}")
    parts += [count(int(kinds["archive"]), "archive file")] if "archive" in kinds else []
    parts += ["source code"] if kinds.get("source code", 0) else []
    sound = bool(view.shots["complete"].any())
    if not len(view.evidence):
        word = "none"
    elif not sound:
        word = "poor"
    else:
        word = "good" if kinds.get("info", 0) and logs else "fair"
    assert word in QUALITY
    return word, listed(parts, most=5) + ("" if streams else "; no append-only file")


def asked(view: View, name: str) -> str:
    """The line above the headline: what was asked, where and when."""
    parts = ["Deletion investigation"]
    if view.stated.environment:
        parts.append(view.stated.environment)
    when = f"missed at {at(view.stated.noticed_at)}" if view.stated.noticed_at is not None else ""
    parts += [part for part in (when, f"“{name}”" if name else "") if part]
    return " · ".join(parts)

"""Sentences of a verdict: the headline, the paragraph under it, the four facts, and what the evidence is worth.

In: a ``View`` and the hypotheses. Out: plain text in the past tense with absolute times in UTC. Claims nothing that the
hypotheses do not carry.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.findings.bulk import in_latest
from analysis.findings.causes import CAUSES
from analysis.findings.deeds import STREAMS, when_of
from analysis.findings.lived import names, purge_of
from analysis.findings.verdict import Fact, Hypothesis, Record
from analysis.findings.view import ENDED, View
from analysis.findings.words import QUALITY, at, confidence_word, count, duration, listed, lower_first, on, percent

Weighed = Mapping[str, tuple[Hypothesis, ...]]
_LOGS = ("worker log", "redis log", "application log", "MONITOR log", "keyspace log")
_LABEL = {"result": "Result", "job": "Job record", "message": "Queue message"}


def sure(probability: float) -> str:
    """``very likely (95 %)``."""
    return f"{confidence_word(probability)} ({percent(probability)})"


def headline(view: View, records: Mapping[str, Record]) -> str:
    """One sentence that answers what became of the result, as sure as it is and no surer."""
    result = records["result"]
    told = _told(view, result)
    if result.cause == "unknown" or result.confidence >= 0.99:
        return told
    return f"{confidence_word(result.confidence).capitalize()}: {lower_first(told)}"


def _told(view: View, result: Record) -> str:
    then = f"at {at(view.as_of)} " if view.as_of is not None else ""
    match result.cause:
        case "present":
            return _present(view)
        case "wrong_database" | "wrong_prefix" | "wrong_node":
            return f"The task was not deleted, but looked for in the wrong place: {then}{_elsewhere(view, result)}."
        case "wrong_id":
            return "No task of this case has this ID as its own."
        case "queued" | "reserved":
            row = view.main("message")
            name = row["queue"] if isinstance(row["queue"], str) else row["key"]
            where = f"the queue {name} of DB {row['db']}"
            had = "was waiting in" if result.cause == "queued" else "had been taken by a worker from"
            return f"The task was not deleted and had not finished: {then}its message {had} {where}."
        case "natural_expiry":
            due = view.expires
            when = f" on {on(due.at)}" if due and view.as_of is not None and due.at <= view.as_of else ""
            return f"The result was not deleted early: it expired{when}, as its retention says."
        case "never_published":
            return "There is no trace that this task was ever sent."
        case "unknown":
            if not len(view.evidence):
                return "There is no evidence, so nothing can be said about this task."
            missed = view.missed_by("result")
            if result.status == "absent" and missed is not None and view.born("result") is None:
                return f"No result of this task was there at {at(missed)}; what became of it is not decided."
            if result.status == "absent" and missed is not None:
                return f"The result was gone by {at(missed)}; what took it is not decided by this evidence."
            return "What became of the result is not decided by this evidence."
        case cause:
            fate = next((fate for fate in view.fates("result") if fate.row["witness"] in STREAMS), None)
            return f"The result is gone: {CAUSES[cause].means}{when_of(fate.row) if fate is not None else ''}."


def _present(view: View) -> str:
    """The record is there: where, in which state, until when, and as of when that was seen."""
    row = view.main("result")
    taken = view.taken_at(row["snapshot"])
    seen = f"at {at(taken)} " if taken is not None else ""
    until = f", and expires on {on(row['expires_at'])}" if pd.notna(row["expires_at"]) else ", and has no expiry"
    if taken is not None and view.as_of is not None and (view.as_of - taken).total_seconds() > 60:
        until += "; nothing later shows it gone"
    if row["kind"] == "group":
        return f"The group was not deleted: {seen}its saved result was in DB {row['db']}{until}."
    if row["status"] in ("SUCCESS", "FAILURE"):
        return f"The task was not deleted: {seen}its result was in DB {row['db']}{until}."
    return f"The task was not deleted: {seen}its record was in DB {row['db']} and said {row['status']}{until}."


def _elsewhere(view: View, result: Record) -> str:
    what = "result" if len(view.held("result")) else "message"
    row = view.main(what)
    if result.cause == "wrong_node":
        return f"its {what} was on the server {row['server'] or 'without a name'}, not on {view.stated.environment}"
    if result.cause == "wrong_prefix":
        return f"its {what} was under the key {row['key']} of DB {row['db']}"
    looked = view.stated.databases["results" if what == "result" else "broker"]
    return f"its {what} was in DB {row['db']}, not in DB {looked}"


def summary(view: View, records: Mapping[str, Record], weighed: Weighed) -> str:
    """The paragraphs under the headline: how the task ended and what else is gone; then the server, and other tasks."""
    paragraphs = (
        (_ended(view), _undecided(records, weighed), _job(view, records)),
        (_restart(view), _scope(view, records)),
    )
    lines = (" ".join(sentence for sentence in paragraph if sentence) for paragraph in paragraphs)
    return "\n".join(line for line in lines if line)


def _ended(view: View) -> str:
    if view.ended is not None:
        line = view.log.loc[view.log["kind"].isin(ENDED) & view.log["at"].notna()].iloc[-1]
        after = f", after {line['seconds']:,.2f} s" if pd.notna(line["seconds"]) else ""
        how = "finished normally" if line["kind"] == "succeeded" else "failed"
        return f"The task {how} on {_to_the_second(line['at'])}{after}."
    done = view.results.loc[view.results["date_done"].notna()]
    if len(done):
        return f"Its result says {done.iloc[-1]['status']} on {_to_the_second(done.iloc[-1]['date_done'])}."
    if view.received is not None:
        return f"A worker received it on {_to_the_second(view.received.at)}; no log says that it ended."
    return ""


def _to_the_second(moment: pd.Timestamp) -> str:
    return f"{moment.day} {moment:%B %Y} at {moment:%H:%M:%S} UTC"


def _undecided(records: Mapping[str, Record], weighed: Weighed) -> str:
    if records["result"].cause != "unknown":
        return ""
    rivals = [h for h in weighed["result"] if h.cause != "unknown" and h.probability >= 0.02]
    named = listed([f"“{lower_first(CAUSES[h.cause].title)}” ({percent(h.probability)})" for h in rivals], most=4)
    return f"Still possible, among others: {named}." if named else ""


def _job(view: View, records: Mapping[str, Record]) -> str:
    job = records.get("job")
    if job is None:
        return ""
    if job.cause == "present":
        return "The application's own job record was there as well."
    if job.status == "present":
        return f"The application's own job record was at {job.where[0]}, not where it was looked for."
    only = "Only the" if records["result"].cause == "present" else "The"
    if job.cause == "unknown":
        too = " too" if records["result"].status == "absent" else ""
        return f"The application's own job record is missing{too}, and why is not decided."
    told = f"{only} application's own job record is gone, {sure(job.confidence)} because {CAUSES[job.cause].means}"
    if job.cause != "purged_by_cleanup":
        return f"{told}."
    purge = purge_of(view)
    fate = next((fate for fate in view.fates("job") if fate.row["witness"] in STREAMS), None)
    seen = f"{fate.row['verb']} of its key{when_of(fate.row)} is in {fate.row['source']}" if fate is not None else ""
    if purge is None:
        return f"{told}: {seen}." if seen else f"{told}; no log shows it."
    number = f", took {count(int(purge['count']), 'record')}" if pd.notna(purge["count"]) else ""
    logged = f"{told}: a purge was logged at {at(purge['at'])}{number}"
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
        return f"The server restarted on {_to_the_second(last)}, after the task had begun."
    phrase = "the task began" if began is view.received else "the result was stored"
    before = duration((began.at - last).total_seconds())
    return (
        f"The server had last restarted on {_to_the_second(last)}, {before} before {phrase}: too early to have cost it "
        "anything, for what did not exist yet cannot be lost."
    )


def _scope(view: View, records: Mapping[str, Record]) -> str:
    """Whether other tasks share what happened to this one's result, or to its job record."""
    if records["result"].status == "absent" and view.shots["complete"].any():
        others = set(view.events.loc[view.events["kind"].eq("succeeded"), "task_id"].dropna()) - {view.task_id}
        left = others & set(in_latest(view.tasks, view.shots)["task_id"])
        if not others:
            return ""
        gone = len(others) - len(left)
        finished = count(len(others), "task")
        have = "has" if gone == 1 else "have"
        return f"Of the other {finished} that workers finished, {gone:,} {have} no result in the last snapshot."
    if view.stated.jobs is None or len(view.held("job")):
        return ""
    ended = set(view.events.loc[view.events["kind"].isin(ENDED), "task_id"].dropna()) | set(
        view.tasks["task_id"].dropna()
    )
    others = ended - {view.task_id}
    without = others - set(view.jobs["task_id"].dropna())
    if not without:
        return ""
    if without == others:
        have = "has" if len(others) == 1 else "have"
        return f"The other {count(len(others), 'known task')} of this case {have} no job record either."
    return f"Of the other {count(len(others), 'known task')}, {len(without):,} have no job record either."


def facts(view: View, records: Mapping[str, Record], weighed: Weighed) -> tuple[Fact, ...]:
    """The cards under the summary: one for each record, and one for the evidence."""
    cards = []
    for name, record in records.items():
        lead = weighed[name][0]
        basis = next((e.says for e in lead.evidence if e.weight > 0), "")
        if record.cause == "unknown":
            best = next((h for h in weighed[name] if h.cause != "unknown"), None)
            basis = (
                f"the likeliest is “{lower_first(CAUSES[best.cause].title)}” ({percent(best.probability)})"
                if best
                else ""
            )
            cards.append(Fact(_LABEL[name], CAUSES["unknown"].title, basis))
        else:
            cards.append(Fact(_LABEL[name], CAUSES[record.cause].title, f"{sure(record.confidence)}: {basis}"))
    word, why = quality(view)
    return (*cards, Fact("Evidence", word.capitalize(), why))


def quality(view: View) -> tuple[str, str]:
    """What the evidence is worth, as ``words.QUALITY`` defines it, and of what it consists."""
    kinds = view.evidence["kind"].value_counts()
    logs = int(kinds.loc[[kind for kind in kinds.index if str(kind) in _LOGS]].sum())
    streams = int(kinds.reindex(["append-only file", "append-only commands", "replication backlog"]).sum())
    numbers = ((int(kinds.get("snapshot", 0)), "snapshot"), (int(kinds.get("info", 0)), "INFO answer"), (logs, "log"))
    parts = [count(number, noun) for number, noun in numbers if number or not streams]
    if streams:
        parts.append(f"the commands of {count(streams, 'stream')}")
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

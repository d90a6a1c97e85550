"""Evidence from a task's life: what workers logged of it, when its result was due to expire, what was purged, what
was sent.

In: a ``View``. Out: findings for consumed, natural_expiry, purged_by_cleanup and never_published.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.findings.rules import DECISIVE, SHOWN, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.view import ENDED, SLACK, View
from analysis.findings.weigh import Finding
from analysis.findings.words import at, count, duration


@rule("worker-had-it", rests_on="a worker logs a task when it has received it (celery/worker/strategy.py)")
def worker_had_it(view: View) -> Iterator[Finding]:
    if view.taken is None:
        return
    says = f"A worker had the task by {at(view.taken.at)}."
    yield Finding("worker-had-it", "message", view.taken.source, says, {"consumed": DECISIVE + 10}, event="delivered")
    if view.ended is not None:
        says = f"The task had ended by {at(view.ended.at)}: what took keys from the server later took no message of it."
        lost = ("restart_data_loss", "db_flushed", "server_flushed", "evicted")
        yield Finding("ended-before", "message", view.ended.source, says, dict.fromkeys(lost, -DECISIVE))


@rule(
    "result-exists",
    rests_on="a result is stored by the worker that ran the task (celery/app/trace.py); a revoked one is not",
)
def result_exists(view: View) -> Iterator[Finding]:
    ran = view.results.loc[view.results["status"].isin(("SUCCESS", "FAILURE", "RETRY", "STARTED"))]
    if len(ran):
        row = ran.iloc[-1]
        says = f"Its result ({row['status']}) is in {row['snapshot']}, so a worker had been given the message."
        source = f"{row['snapshot']}, byte {row['offset']}"
        yield Finding("result-exists", "message", source, says, {"consumed": DECISIVE}, event="delivered")


@rule("expiry", rests_on="SETEX gives each result its TTL when it is written (celery/backends/redis.py)")
def expiry(view: View) -> Iterator[Finding]:
    due, missed = view.expires, view.missed_by("result")
    if due is None or view.as_of is None or len(view.held("result")):
        return
    weigh_by = {"stated": DECISIVE, "observed": DECISIVE, "assumed": STRONG}
    if missed is not None and missed < due.at - SLACK:
        shown = missed != view.stated.noticed_at
        by = f"by {at(missed)}" if shown else f"at {at(missed)}, as reported,"
        early = duration((due.at - missed).total_seconds())
        says = f"It was gone {by} {early} before it was due to expire ({at(due.at)})."
        weight = -(SHOWN - 15) if due.says == "recorded" and shown else -DECISIVE
        yield Finding("gone-early", "result", due.source, says, {"natural_expiry": weight}, event="result expiry")
    elif due.says == "recorded":
        return  # `expired-in-file` says it, from the snapshot itself
    elif due.at <= view.as_of:
        says = f"It was due to expire at {at(due.at)} ({_basis(view)}), before the case ends."
        yield Finding(
            "expiry-passed", "result", due.source, says, {"natural_expiry": weigh_by[due.says]}, event="result expiry"
        )
    else:
        says = f"It was not due to expire before {at(due.at)} ({_basis(view)})."
        yield Finding("not-yet-due", "result", due.source, says, {"natural_expiry": -DECISIVE}, event="result expiry")


def _basis(view: View) -> str:
    assert view.expires is not None
    return (
        f"stored at {view.stored.at:%H:%M:%S} UTC, kept {duration(view.retention.seconds)}, {view.retention.certainty}"
        if view.stored
        else ""
    )


@rule("kept-for-ever", rests_on="result_expires=0 stores results without a TTL (celery/backends/base.py)")
def kept_for_ever(view: View) -> Iterator[Finding]:
    if view.retention.seconds == 0 and not len(view.held("result")):
        says = f"Results have no TTL here ({view.retention.source}), so nothing expires."
        yield Finding("kept-for-ever", "result", view.retention.source, says, {"natural_expiry": -DECISIVE})


@rule("purge-logged", rests_on="the application's own log says what its cleanup deleted")
def purge_logged(view: View) -> Iterator[Finding]:
    line = purge_of(view)
    if line is None or len(view.held("job")):
        return
    number = "" if pd.isna(line["count"]) else f", which took {count(int(line['count']), 'record')}"
    says = f"A purge was logged at {at(line['at'])}{number}, and names none of them."
    source = f"{line['source']}:{line['line']}"
    yield Finding("purge-logged", "job", source, says, {"purged_by_cleanup": STRONG}, event="purge")
    ended = _ended_before(view, line["at"])
    recorded = set(view.jobs["task_id"].dropna())
    if pd.notna(line["count"]) and ended and not (ended & recorded) and line["count"] >= len(ended):
        says = (
            f"None of the {len(ended)} tasks that had ended by then has a job record left, and the purge took "
            f"{int(line['count'])}: it accounts for all of them."
        )
        yield Finding("purge-accounts", "job", source, says, {"purged_by_cleanup": SUPPORTIVE})


def purge_of(view: View) -> pd.Series | None:
    """The last logged purge that can have taken the task's job record: after the task was known, before the case
    ends.
    """
    born = view.born("job")
    kinds, texts = view.events["kind"], view.events["text"].fillna("")
    template = view.stated.jobs.key if view.stated.jobs else None
    named = (template or "job").partition("{id}")[0].rstrip(":_-./") or "job"
    of_jobs = kinds.eq("delete") & texts.str.contains(named, case=False, regex=False)
    lines = view.events.loc[(kinds.eq("purge") | of_jobs) & view.events["at"].notna()]
    lines = lines.loc[~lines["count"].eq(0).fillna(False).astype(bool)]
    if born is not None:
        lines = lines.loc[lines["at"] >= born]
    if view.as_of is not None:
        lines = lines.loc[lines["at"] <= view.as_of + SLACK]
    return lines.iloc[-1] if len(lines) else None


def _ended_before(view: View, moment: pd.Timestamp) -> set[str]:
    lines = view.events.loc[view.events["kind"].isin(ENDED) & (view.events["at"] <= moment)]
    stored = view.tasks.loc[view.tasks["stored_at"] <= moment]
    return {*lines["task_id"].dropna(), *stored["task_id"].dropna()}


@rule("job-expiry", rests_on="a key without a TTL never expires; [jobs] expires says what the application sets")
def job_expiry(view: View) -> Iterator[Finding]:
    if view.stated.jobs is None or len(view.held("job")) or len(view.past("job")):
        return
    expires, born = view.stated.jobs.expires, view.born("job")
    source = "case.toml, [jobs] expires"
    if not expires:
        says = "Job records are kept until purged." if expires == 0 else "Nothing says that job records expire."
        yield Finding("job-expiry", "job", source, says, {"natural_expiry": -STRONG if expires == 0 else -WEAK})
    elif born is not None and view.as_of is not None:
        due = born + pd.Timedelta(seconds=expires)
        passed = due <= view.as_of
        says = f"Job records are kept {duration(expires)}: this one was due to expire at about {at(due)}."
        yield Finding("job-expiry", "job", source, says, {"natural_expiry": DECISIVE if passed else -DECISIVE})


@rule(
    "pushes-accounted",
    rests_on="each publish is one LPUSH (kombu/transport/redis.py), and commandstats counts them since start",
)
def pushes_accounted(view: View) -> Iterator[Finding]:
    traces = view.traces
    if len(traces) and not (len(view.records) and len(traces) == len(view.records)):
        return
    for server, answers in view.servers.groupby("server"):
        answer = answers.iloc[-1]
        figures = view.counters.loc[view.counters["source"].eq(answer["source"])]
        if pd.isna(answer["counters_since"]) or not figures["counter"].str.startswith("cmdstat_").any():
            continue
        pushed = figures.loc[figures["counter"].eq("cmdstat_lpush"), "value"].sum()
        seen = set(pd.concat([view.messages["task_id"], view.events["task_id"], view.tasks["task_id"]]).dropna())
        if pushed > len(seen):
            continue
        where = f" on {server}" if server else ""
        says = (
            f"Since {at(answer['counters_since'])} {count(int(pushed), 'message was', 'messages were')} pushed{where}, "
            f"and {count(len(seen), 'task is', 'tasks are')} known: none is left over for this ID."
        )
        for record in ("result", "job", "message"):
            weight = DECISIVE + 2 if record != "job" else SUPPORTIVE
            source = f"{answer['source']}, cmdstat_lpush"
            yield Finding("pushes-accounted", record, source, says, {"never_published": weight})
        return

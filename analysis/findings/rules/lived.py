"""Evidence from a task's life: what workers logged of it, when its result was due to expire, what was purged, what
was sent.

In: a ``View``. Out: findings for consumed, natural_expiry, purged_by_cleanup and never_published.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.findings.causes import RECORDS
from analysis.findings.moment import end_of_second
from analysis.findings.rules import DECISIVE, SHOWN, STRONG, SUPPORTIVE, WEAK, rule
from analysis.findings.view import ENDED, NAMING, SLACK, View
from analysis.findings.weigh import Finding
from analysis.findings.words import at, count, duration, spot

# A record is seldom missed sooner than this after it was sent.
_LONG_BEFORE = pd.Timedelta(hours=1)


@rule("worker-had-it", rests_on="a worker logs a task when it has received it (celery/worker/strategy.py)")
def worker_had_it(view: View) -> Iterator[Finding]:
    if view.taken is None:
        return
    says = f"A worker had the task by {at(view.taken.at)}."
    # What it has received it may hold unacknowledged, until it begins or, with acks_late, ends.
    done = view.ended is not None or len(view.results)
    weights = {"consumed": DECISIVE + 10} if done else {"consumed": 10.0, "reserved": STRONG}
    yield Finding("worker-had-it", "message", view.taken.source, says, weights, event="delivered")
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
        source = spot(row["snapshot"], row["offset"])
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
        weight = -(SHOWN - 15) if due.says == "recorded" and shown else -weigh_by.get(due.says, DECISIVE)
        yield Finding("gone-early", "result", due.source, says, {"natural_expiry": weight}, event="result expiry")
    elif view.as_of < due.at <= end_of_second(view.as_of):
        return  # the case ends within that second
    elif due.at > view.as_of and any(pd.isna(fate.row["not_after"]) for fate in view.fates("result")):
        return  # a removal without a time may have come later than anything that has one
    elif due.at > view.as_of:
        basis = "as recorded" if due.says == "recorded" else _basis(view)
        says = f"It was not due to expire before {at(due.at)} ({basis})."
        yield Finding("not-yet-due", "result", due.source, says, {"natural_expiry": -DECISIVE}, event="result expiry")
    elif due.says == "recorded":
        return  # `expired-in-file` says it, from the snapshot itself
    else:
        says = f"It was due to expire at {at(due.at)} ({_basis(view)}), before the case ends."
        weight = weigh_by[due.says]
        if missing := _siblings_without(view):
            weight = WEAK
            says += f" But {missing} of the same name that ended within the retention have no result either."
        weights = {"natural_expiry": weight, "expired_on_load": weight}
        yield Finding("expiry-passed", "result", due.source, says, weights, event="result expiry")


def _siblings_without(view: View) -> int:
    """How many tasks of this name succeeded within the retention before the last sound snapshot, where none of them
    has a result there: then none is stored, or something else takes them, and time is not what took this one.
    """
    sound = view.shots.loc[view.shots["complete"] & view.shots["latest"] & view.shots["taken_at"].notna()]
    if len(sound) != 1 or not view.name:
        return 0
    taken = sound.iloc[0]["taken_at"]
    lines = view.events.loc[view.events["kind"].eq("succeeded") & view.events["name"].eq(view.name)]
    within = lines.loc[lines["at"].between(taken - pd.Timedelta(seconds=view.retention.seconds) + SLACK, taken - SLACK)]
    siblings = set(within["task_id"].dropna()) - {view.task_id}
    held = set(view.tasks.loc[view.tasks["snapshot"].eq(sound.iloc[0]["snapshot"]), "task_id"])
    return len(siblings) if len(siblings) >= 2 and not siblings & held else 0


def _basis(view: View) -> str:
    assert view.stored is not None  # an expiry that is not recorded is derived from it
    kept = f"kept {duration(view.retention.seconds)}, {view.retention.certainty}"
    return f"stored at {view.stored.at:%H:%M:%S} UTC, {kept}"


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
    named = names(line, view.task_id)
    says = f"A purge was logged at {at(line['at'])}{number}, and {'names this one' if named else 'does not name them'}."
    source = f"{line['source']}:{line['line']}"
    weight = DECISIVE if named else STRONG
    yield Finding("purge-logged", "job", source, says, {"purged_by_cleanup": weight}, event="purge")
    ended = _ended_before(view, line["at"])
    recorded = set(view.looked_at(view.jobs)["task_id"].dropna())
    # Where a stream shows which keys went, their number adds nothing.
    told = pd.notna(line["count"]) and not view.followed("job")
    if told and ended and not (ended & recorded) and line["count"] >= len(ended):
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
    # A line that names this task comes first; one that names only others tells nothing of it.
    own = lines.loc[[names(line, view.task_id) for _, line in lines.iterrows()]]
    lines = own if len(own) else lines.loc[lines["task_id"].isna()]
    if not len(lines):
        return None
    # Of one purge that two logs tell of (the application's own, its access log), the line that counts says more.
    last = lines.loc[lines["not_after"] >= lines["at"].iloc[-1] - SLACK]
    counted = last.loc[last["count"].notna()]
    return (counted if len(counted) else last).iloc[-1]


def names(line: pd.Series, task_id: str) -> bool:
    """Whether a log line names a task."""
    return line["task_id"] == task_id or (isinstance(line["text"], str) and task_id in line["text"])


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
        since, until, noticed = answer["counters_since"], answer["at"], view.stated.noticed_at
        if pd.isna(since) or pd.isna(answer["counters_reset"]) or answer["counters_reset"]:
            continue
        if not figures["counter"].str.startswith("cmdstat_").any():
            continue
        # Only what was missed while the counters ran, and long enough after their start, was sent under their eyes.
        if noticed is not None and not since <= noticed <= until + SLACK:
            continue
        sure = noticed is not None and noticed - since >= _LONG_BEFORE
        pushed = figures.loc[figures["counter"].eq("cmdstat_lpush"), "value"].sum()
        seen = _sent_between(view, since, until)
        if pushed > len(seen):
            continue
        where = f" on {server}" if server else ""
        says = (
            f"Since {at(answer['counters_since'])} {count(int(pushed), 'message was', 'messages were')} pushed{where}, "
            f"and {count(len(seen), 'task is', 'tasks are')} known: none is left over for this ID."
        )
        for record in RECORDS:
            weight = SUPPORTIVE if record == "job" else DECISIVE + 5 if sure else STRONG
            source = f"{answer['source']}, cmdstat_lpush"
            yield Finding("pushes-accounted", record, source, says, {"never_published": weight})
        return


def _sent_between(view: View, since: pd.Timestamp, until: pd.Timestamp) -> set[str]:
    """IDs of the tasks of which a worker, a result or a queue shows that they were sent in that time."""
    lines = view.events.loc[~view.events["kind"].isin(NAMING) & view.events["at"].between(since, until)]
    stored = view.tasks.loc[view.tasks["kind"].eq("task") & view.tasks["stored_at"].between(since, until)]
    return set(pd.concat([lines["task_id"], stored["task_id"], view.messages["task_id"]]).dropna())

"""The investigation of one task of a case: the one place that hands a case's frames to the findings.

In: a ``Case`` and a task ID (or a unique beginning of one). Out: an ``Investigation``, which the notebook and the
evidence bundle show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

import pandas as pd

from analysis.case import Case
from analysis.celery.messages import calls, sent_messages
from analysis.celery.results import body_of
from analysis.celery.routing import routings
from analysis.errors import Unusable
from analysis.evidence.rdb_values import ValueUnreadable
from analysis.findings.bulk import BulkFindings, bulk_findings, in_latest, looks
from analysis.findings.causes import CAUSES
from analysis.findings.conclude import conclude
from analysis.findings.inventory import known_tasks
from analysis.findings.overview import OverviewFindings, overview
from analysis.findings.rules.coded import code_about
from analysis.findings.survival import SurvivalFindings, survival_findings
from analysis.findings.telling.advice import DECIDES, gaps
from analysis.findings.timeline import timeline
from analysis.findings.traces import known_ids, whole_id
from analysis.findings.ttl import TtlFindings, retention_table, ttl_findings
from analysis.findings.verdict import Gap, Verdict
from analysis.findings.view import Registered, View, policy
from analysis.findings.words import count
from analysis.frames import frame, words_in
from analysis.recordings import recordings
from analysis.recovery import Copy, copies
from analysis.showing import ShowsItself

_MOST_MESSAGES = 100_000
_MOST_WRITES = 50

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Investigation(ShowsItself):
    """One task, looked at: ``asked`` is the ID as it was given, ``view.task_id`` the one it stands for."""

    case: Case
    asked: str
    view: View
    verdict: Verdict

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """The frame ``timeline`` of this task."""
        return timeline(self.view, self.verdict)

    @property
    def zone(self) -> ZoneInfo:
        """The case's own zone, shown beside UTC."""
        return self.case.settings.timezone

    @cached_property
    def bulk(self) -> BulkFindings:
        """Whether keys were removed in bulk, of the whole case."""
        return of_case(self.case, "bulk", find_bulk)

    @cached_property
    def shots(self) -> pd.DataFrame:
        """The snapshots of the case in order of time (``bulk.looks``)."""
        return looks(self.case.evidence)

    @cached_property
    def retention(self) -> pd.DataFrame:
        """Retention as stated and as observed (``ttl.retention.retention_table``), of the whole case."""
        return of_case(self.case, "retention", _retention)

    @cached_property
    def code(self) -> pd.DataFrame:
        """Places in source code, with what of this task they take (``coded.code_about``)."""
        return code_about(self.view)

    @cached_property
    def recovered(self) -> dict[str, list[Copy]]:
        """Copies of the content of each record that is gone and of which there is one (``recovery.copies``)."""
        absent = (name for name, record in self.verdict.records.items() if record.status == "absent")
        return {name: found for name in absent if (found := copies(self.case, self.view, name))}

    @cached_property
    def body(self) -> dict[str, Any]:
        """The stored metadata of the task's last known result, decoded; empty where there is none or it is not JSON."""
        return dict(self.view.meta)


def takes_a_case(function: Callable[Concatenate[Case, P], T]) -> Callable[Concatenate[Case, P], T]:
    """Says in one line what is wrong where something else is given, as whoever works by hand may do with a path."""

    @wraps(function)
    def checked(case: Case, /, *args: P.args, **more: P.kwargs) -> T:
        if not isinstance(case, Case):
            kind = type(case).__name__
            raise Unusable(f"{function.__name__} takes a case, as analysis.open_case(path) gives it, not {kind}")
        return function(case, *args, **more)

    return checked


def of_case(case: Case, name: str, find: Callable[[Case], T]) -> T:
    """What ``find`` finds of the case as a whole, found once."""
    if name not in case.once:
        case.once[name] = find(case)
    found: T = case.once[name]
    return found


def tasks_of(case: Case) -> pd.DataFrame:
    """Every task that any witness names (``inventory.known_tasks``)."""
    return of_case(case, "tasks", lambda of: known_tasks(of.tasks, of.messages, of.jobs, of.events, of.commands))


def _known_ids(case: Case) -> pd.Series:
    return known_ids(case.tasks, case.messages, case.jobs, case.events, case.commands)


def _retention(case: Case) -> pd.DataFrame:
    shots, jobs = looks(case.evidence), case.settings.jobs
    return retention_table(
        in_latest(case.tasks, shots),
        case.settings.result_expires,
        in_latest(case.jobs, shots),
        jobs.expires if jobs else None,
    )


@takes_a_case
def look_into(case: Case, task_id: str) -> Investigation:
    """Investigate one task. Raises Unusable for an ID that is empty, no text, or the beginning of several known
    ones.
    """
    view = _view(case, whole_id(task_id, of_case(case, "known IDs", _known_ids)))
    return Investigation(case, task_id, view, conclude(view, case.settings.name))


@takes_a_case
def investigate(case: Case, task_id: str) -> Verdict:
    """The verdict on one task of a case; see ``look_into`` for what else is known about it."""
    return look_into(case, task_id).verdict


@takes_a_case
def find_bulk(case: Case) -> BulkFindings:
    """The bulk patterns of a case."""
    return bulk_findings(
        case.keys,
        case.tasks,
        looks(case.evidence),
        case.changes,
        jobs=case.jobs,
        commands=case.commands,
        events=case.events,
        retention_seconds=policy(
            case.tasks, {part.source for part in case.archives}, case.settings.result_expires
        ).seconds,
        evidence=case.evidence,
        jobs_expire=case.settings.jobs.expires if case.settings.jobs else None,
        servers=case.servers,
    )


@takes_a_case
def find_ttl(case: Case) -> TtlFindings:
    """The TTLs of a case."""
    return ttl_findings(
        case.keys,
        case.tasks,
        case.jobs,
        looks(case.evidence),
        case.settings,
        events=case.events,
        commands=case.commands,
        cleanup=case.cleanup,
        servers=case.servers,
        config=case.config,
        evidence=case.evidence,
    )


@takes_a_case
def find_survival(case: Case) -> SurvivalFindings:
    """What of a case went before its expiry: shares between snapshots, and curves by age."""
    found, reasons = recordings(case)
    return survival_findings(case.keys, case.tasks, case.jobs, looks(case.evidence), case.changes, found, reasons)


@takes_a_case
def find_overview(case: Case) -> OverviewFindings:
    """What is in the Redis of a case, and how its servers are."""
    return overview(
        case.evidence, case.keys, case.tasks, case.messages, case.events, case.commands, case.servers, case.counters,
        case.clients, case.config, _declared(case), case.settings,
    )  # fmt: skip


def _declared(case: Case) -> pd.DataFrame:
    """The queues that routing tables name, but for those of control and events, which are no lists."""
    bound = case.keys.loc[case.keys["family"].eq("binding")]
    servers = dict(zip(bound["snapshot"], bound["server"].astype("str"), strict=True))
    named = {
        (servers[snapshot], snapshot, db, queue)
        for (snapshot, db), tables in routings(bound, case.value).items()
        for table in tables
        for exchange, routes in table.routes.items()
        if exchange != "celeryev" and not exchange.endswith("pidbox")
        for _, queue in routes
    }
    return pd.DataFrame(sorted(named), columns=["server", "snapshot", "db", "queue"])


def case_gaps(case: Case) -> tuple[Gap, ...]:
    """What the case as a whole lacks, whatever task is asked about."""
    return gaps(_view(case, ""), CAUSES)


def holding(case: Case) -> list[str]:
    """What a case holds and can decide, in lines for people."""
    families = case.keys["family"].value_counts()
    parts = [f"{number:,} {family}" for family, number in families.items()]
    kinds = set(case.evidence["kind"])
    can = dict.fromkeys(cause for kind, causes in DECIDES.items() if kind in kinds for cause in causes)
    cannot = dict.fromkeys(cause for causes in DECIDES.values() for cause in causes if cause not in can)
    lines = [f"Keys in snapshots: {len(case.keys):,}" + (f" ({', '.join(parts)})" if parts else "")]
    lines.append(f"Tasks named by any witness: {len(tasks_of(case)):,}")
    if case.archives:
        kept = [count(sum(len(part.tasks) for part in case.archives), "result")]
        kept += [count(sum(len(part.jobs) for part in case.archives), "job record")]
        lines.insert(1, f"Kept in archives: {' and '.join(kept)}")
    if len(case.commands):
        verbs = case.commands["verb"].value_counts()
        named = ", ".join(f"{number:,} {verb}" for verb, number in verbs.head(6).items())
        lines.append(
            f"Commands that any witness saw: {len(case.commands):,} ({named}{', …' if len(verbs) > 6 else ''})"
        )
    if len(case.cleanup):
        does = case.cleanup["does"].value_counts()
        named = ", ".join(f"{number:,} {word}" for word, number in does.items())
        lines.append(f"Places in source code: {len(case.cleanup):,} ({named})")
    if can:
        lines.append(f"Can help to decide: {', '.join(can)}")
    if cannot:
        lines.append(f"Nothing here speaks of: {', '.join(cannot)}")
    return lines


def _view(case: Case, task_id: str) -> View:
    view = View(
        task_id,
        case.settings,
        case.evidence,
        case.keys,
        case.tasks,
        case.messages,
        case.jobs,
        case.events,
        case.servers,
        case.counters,
        case.config,
        case.commands,
        case.cleanup,
        case.changes,
        case.clients,
    )
    view = replace(
        view,
        sent=sent_messages(view.deeds, case.content),
        meta=_meta(case, view),
        contents=_contents(case, view),
        registered=tuple(_registered(case, task_id)),
    )
    return replace(view, calling=_calling(case, view))


def _registered(case: Case, task_id: str) -> Iterator[Registered]:
    """Where RQ's registries and queues list the ID, in every snapshot."""
    queues = case.keys["family"].eq("rq") & case.keys["type"].eq("list")
    for row in case.keys.loc[case.keys["family"].eq("rq_registry") | queues].itertuples():
        try:
            members = case.value(str(row.snapshot), int(row.offset))
        except ValueUnreadable:
            continue
        for member in members if isinstance(members, list) else []:
            name, score = member if isinstance(member, tuple) else (member, None)
            if name == task_id.encode("utf-8", "surrogateescape"):
                # Scores are seconds; -1 and infinity stand for "never".
                known = isinstance(score, float) and 0 < score < 2**33
                until = pd.Timestamp(score, unit="s", tz="UTC").as_unit("us") if known and score else None
                yield Registered(str(row.snapshot), int(row.db), str(row.key), int(row.offset), until)


def _contents(case: Case, view: View) -> dict[int, dict[str, Any]]:
    """What the commands that wrote the task's result wrote, by their rows: decoded, empty where it is no result."""
    found = {}
    for label, row in view.written.loc[view.written["payload_at"].notna()].tail(_MOST_WRITES).iterrows():
        try:
            found[int(label)] = dict(body_of(case.content(str(row["source"]), int(row["payload_at"]))).meta)
        except ValueUnreadable:
            continue
    return found


def _meta(case: Case, view: View) -> dict[str, Any]:
    rows = view.results.loc[view.results["serializer"].eq("json")]
    if not len(rows):
        return {}
    try:
        value = case.value(str(rows.iloc[-1]["snapshot"]), int(rows.iloc[-1]["offset"]))
    except ValueUnreadable:
        return {}
    return dict(body_of(value).meta) if isinstance(value, bytes) else {}


def _calling(case: Case, view: View) -> pd.DataFrame:
    """The messages that ask for this task to be called behind them; looked for only where nothing else knows the ID."""
    known = (view.results, view.waiting, view.own_log, view.sent, view.written)
    if not view.task_id or any(len(rows) for rows in known):
        return frame("messages")
    pushed = case.commands.loc[
        words_in(case.commands["verb"], ("LPUSH", "RPUSH"))
        & case.commands["payload_at"].notna().to_numpy(dtype=bool)
        & case.commands["task_id"].notna().to_numpy(dtype=bool)
    ].tail(_MOST_MESSAGES)
    naming = []
    for row in pushed.itertuples():
        try:
            naming.append(calls(case.content(str(row.source), int(row.payload_at)), view.task_id))
        except ValueUnreadable:
            naming.append(False)
    return sent_messages(pushed.loc[naming], case.content)

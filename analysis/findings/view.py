"""One task as the evidence shows it: where its records are held, where they were held before, and its life so far.

In: the frames of a case and a task ID. Out: ``View``, from which every rule of evidence reads. Weighs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from analysis.celery.families import TASK_META
from analysis.findings.bulk import looks
from analysis.findings.deeds import STREAMS, WRITES, Fate, fates, is_job, is_result, own_commands, place_of, stream_of
from analysis.findings.traces import find_traces
from analysis.findings.ttl import Retention, retention
from analysis.frames import frame, words_in
from analysis.settings import Settings

# Kinds of log lines (evidence/logs.py) that say how a task ended, or that a worker had it.
ENDED = ("succeeded", "failed")
TAKEN = ("received", "started", *ENDED, "retried", "ignored", "rejected", "revoked")
# Kinds whose line names an ID without saying that it is a task's own.
NAMING = ("mentioned", "chord_failed", "group_gone", "purge", "delete", "flush", "not_done")

# Which of case.toml's [databases] each record was looked for in.
LOOKED_IN = {"result": "results", "job": "main", "message": "broker"}

# Clocks of a worker and of Redis may differ, and Celery stamps date_done some milliseconds before it stores.
SLACK = pd.Timedelta(seconds=2)


@dataclass(frozen=True)
class Moment:
    """A time and what it rests on."""

    at: pd.Timestamp
    source: str
    says: str = ""


@dataclass(frozen=True)
class View:
    """Everything known about one task. Frames are those of the whole case unless said otherwise; all times are UTC.

    ``results``, ``waiting``, ``records``, ``log`` and ``deeds`` are this task's own rows of ``tasks``, ``messages``,
    ``jobs``, ``events`` and ``commands``.
    """

    task_id: str
    stated: Settings
    evidence: pd.DataFrame
    keys: pd.DataFrame
    tasks: pd.DataFrame
    messages: pd.DataFrame
    jobs: pd.DataFrame
    events: pd.DataFrame
    servers: pd.DataFrame
    counters: pd.DataFrame
    config: Mapping[str, Mapping[str, str]]
    commands: pd.DataFrame = field(default_factory=lambda: frame("commands"))
    cleanup: pd.DataFrame = field(default_factory=lambda: frame("cleanup"))

    @cached_property
    def shots(self) -> pd.DataFrame:
        """The snapshots in order (``bulk.looks``)."""
        return looks(self.evidence)

    @cached_property
    def retention(self) -> Retention:
        return retention(self.tasks, self.stated.result_expires)

    @cached_property
    def as_of(self) -> pd.Timestamp | None:
        return as_of(self.evidence, self.servers, self.events, self.stated.noticed_at)

    @cached_property
    def results(self) -> pd.DataFrame:
        return self._in_time(self.tasks.loc[self.tasks["task_id"].eq(self.task_id)])

    @cached_property
    def waiting(self) -> pd.DataFrame:
        return self._in_time(self.messages.loc[self.messages["task_id"].eq(self.task_id)])

    @cached_property
    def records(self) -> pd.DataFrame:
        return self._in_time(self.jobs.loc[self.jobs["task_id"].eq(self.task_id)])

    @cached_property
    def log(self) -> pd.DataFrame:
        return self.events.loc[self.events["task_id"].eq(self.task_id)]

    @cached_property
    def deeds(self) -> pd.DataFrame:
        """The commands that name the task, or carry its message or result (``deeds.own_commands``)."""
        return own_commands(self.commands, self.task_id)

    def keys_of(self, record: str) -> set[str]:
        """The keys under which the record was seen or written. Of results only those with the stated prefix, if there
        is one with it; of job records, where ``[jobs]`` states their key, only that one, else those that name the whole
        ID and are nothing of Celery's.
        """
        named = {key for keys in self.deeds["keys"] if isinstance(keys, list) for key in keys if self.task_id in key}
        if record == "result":
            found = {key for key in named if is_result(key, self.task_id)} | set(self.results["key"].dropna())
            prefix = self.stated.key_prefix
            stated = {f"{prefix}{between}{TASK_META}{self.task_id}" for between in ("", "_")} if prefix else set()
            return found & stated or found
        if record == "message":
            return set()
        jobs = self.stated.jobs
        if jobs and jobs.around and not jobs.task_field:
            named &= {self.task_id.join(jobs.around)}
        return {key for key in named if is_job(key, self.task_id)} | set(self.records["key"].dropna())

    def fates(self, record: str) -> list[Fate]:
        """What took the record's keys away, by each witness of commands (``deeds.fates``): on the server and in the
        database where it was, or was looked for; not before it was there; and not where the same witness shows it held
        in the end.
        """
        if record not in self._fates:
            found = fates(self.commands, self.deeds, self.keys_of(record))
            self._fates[record] = [fate for fate in self._where(record, found) if self._counts(record, fate)]
        return self._fates[record]

    @cached_property
    def _fates(self) -> dict[str, list[Fate]]:
        return {}

    def home(self, record: str) -> set[str]:
        """The servers where the record was seen, else the one where it was looked for; empty where neither is known."""
        if len(rows := self.rows(record)):
            return set(rows["server"].astype("str"))
        stated = self.stated.environment
        return {stated} if stated and stated in set(self.evidence["server"]) else set()

    def _where(self, record: str, found: list[Fate]) -> list[Fate]:
        servers = self.home(record)
        found = [fate for fate in found if not servers or fate.row["server"] in servers]
        rows, looked = self.rows(record), self.stated.databases.get(LOOKED_IN[record])
        if looked is not None and any(fate.db == looked for fate in found):
            return [fate for fate in found if fate.db in (looked, None)]
        dbs = {int(db) for db in rows["db"].dropna()} | ({looked} if looked is not None else set())
        return [fate for fate in found if not dbs or fate.db in dbs or fate.db is None]

    def _counts(self, record: str, fate: Fate) -> bool:
        # By what others than the commands tell, for these may be of another database.
        stored = self.results["stored_at"].dropna() if record == "result" else self.records["created_at"].dropna()
        ended = self.ended.at if record == "result" and self.ended else None
        born = ended if ended is not None else stored.iloc[-1] if len(stored) else None
        last = fate.row["not_after"]
        if born is not None and pd.notna(last) and last < born - SLACK:
            return False
        if not self.is_whole(fate):
            return True
        held = self.keys.loc[self.keys["key"].eq(fate.key) & self.keys["server"].eq(fate.row["server"])]
        if fate.db is not None:
            held = held.loc[held["db"].eq(fate.db)]
        stream = stream_of(pd.Series([fate.row["source"]])).iloc[0]
        return not stream_of(held["snapshot"]).eq(stream).any()

    @cached_property
    def written(self) -> pd.DataFrame:
        """The commands that wrote the task's result, in their order."""
        rows = self.deeds.loc[words_in(self.deeds["verb"], WRITES)]
        wanted = self.keys_of("result")
        own = [isinstance(keys, list) and not wanted.isdisjoint(keys) for keys in rows["keys"]]
        return rows.loc[own]

    @cached_property
    def traces(self) -> pd.DataFrame:
        """Every place that names the ID (``traces.find_traces``)."""
        return find_traces(self.task_id, self.keys, self.tasks, self.messages, self.jobs, self.events, self.deeds)

    @cached_property
    def own_log(self) -> pd.DataFrame:
        """The lines of ``log`` that say the ID is a task's own."""
        return self.log.loc[~self.log["kind"].isin(NAMING)]

    def rows(self, record: str) -> pd.DataFrame:
        """This task's rows for one record: result, job or message."""
        return {"result": self.results, "job": self.records, "message": self.waiting}[record]

    def held(self, record: str) -> pd.DataFrame:
        """Rows in the last snapshot of their server that have not expired by ``as_of``, and of which no stream of
        commands shows that they were taken away after it.
        """
        rows = self._in_latest(record)
        rows = rows.loc[~self._expired(rows)]
        return rows.loc[[not self._taken_since(record, row) for _, row in rows.iterrows()]]

    def _taken_since(self, record: str, row: pd.Series) -> bool:
        """Whether a removal of the key came after the snapshot that holds it, or in the moment when that was taken: had
        it come before, something would have written the key again, and none of the stream's commands did.
        """
        taken = self.taken_at(str(row["snapshot"]))
        for fate in self.fates(record):
            if (
                fate.row["witness"] not in STREAMS
                or not _same_key(fate, row)
                or taken is None
                or not self.is_whole(fate)
            ):
                continue
            first, last = fate.row["not_before"], fate.row["not_after"]
            if (pd.notna(first) and first >= taken) or (pd.notna(last) and last >= taken):
                return True
        return False

    def is_whole(self, fate: Fate) -> bool:
        """Whether the witness was read to its end and nothing of it is missing."""
        stream = stream_of(pd.Series([fate.row["source"]])).iloc[0]
        rows = self.evidence.loc[stream_of(self.evidence["path"]).eq(stream)]
        return bool(rows["complete"].fillna(True).all())

    def undated(self, record: str, fate: Fate) -> bool:
        """Whether the record is held by a snapshot, and the removal can have come before or after that; or stands in a
        transaction whose end is missing, of which a server may have done all or nothing.
        """
        if fate.row["witness"] not in STREAMS or (pd.notna(fate.row["not_after"]) and self.is_whole(fate)):
            return False
        return any(_same_key(fate, row) for _, row in self.held(record).iterrows())

    def past(self, record: str) -> pd.DataFrame:
        """Rows whose expiry had come by ``as_of``: of each key the last sighting, for its expiry may have been
        moved.
        """
        rows = self.rows(record).drop_duplicates(["server", "db", "key"], keep="last")
        return rows.loc[self._expired(rows)]

    def main(self, record: str) -> pd.Series:
        """Of the rows that are held, the one in the place where it was looked for, if any is; the latest of those."""
        rows = self.held(record)
        db = self.stated.databases.get(LOOKED_IN[record])
        here = rows["db"].eq(db) if db is not None else pd.Series(True, index=rows.index)
        if self.stated.environment in set(self.evidence["server"]) - {""}:
            here &= rows["server"].eq(self.stated.environment)
        return rows.loc[here].iloc[-1] if here.any() else rows.iloc[-1]

    def servers_of(self, record: str) -> set[str]:
        """The servers that must be without the record before it can be called gone: those that were seen to hold it,
        else the one it was looked for on, else all of the case.
        """
        known = set(self.evidence.loc[self.evidence["kind"].isin(("snapshot", "info", "config")), "server"])
        if len(rows := self.rows(record)):
            return set(rows["server"])
        return {self.stated.environment} if self.stated.environment in known - {""} else known

    def starts(self, server: str) -> list[Moment]:
        """When a server is known to have started, in order: from its uptime, and from its log."""
        mine = self.servers.loc[self.servers["server"].eq(server) & self.servers["started_at"].notna()]
        told = [Moment(row.started_at, f"{row.source}, uptime_in_seconds") for row in mine.itertuples()]
        logged = self.events.loc[self.events["kind"].eq("server_started") & self.events["at"].notna()]
        logged = logged.loc[logged["server"].isin((server, ""))]
        told += [Moment(row.at, f"{row.source}:{row.line}") for row in logged.itertuples()]
        starts: list[Moment] = []
        for start in sorted(told, key=lambda moment: moment.at):
            if not starts or start.at - starts[-1].at > SLACK:
                starts.append(start)
        return starts

    def _in_time(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows in the order in which their snapshots were taken."""
        order = {name: place for place, name in enumerate(self.shots.sort_values("taken_at")["snapshot"])}
        return rows.assign(order=rows["snapshot"].map(order)).sort_values("order", kind="stable").drop(columns="order")

    def _in_latest(self, record: str) -> pd.DataFrame:
        rows = self.rows(record)
        return rows.loc[rows["snapshot"].isin(self.shots.loc[self.shots["latest"], "snapshot"])]

    def _expired(self, rows: pd.DataFrame) -> pd.Series:
        if self.as_of is None or "expires_at" not in rows:
            return pd.Series(False, index=rows.index)
        return rows["expires_at"] <= self.as_of

    def taken_at(self, snapshot: str) -> pd.Timestamp | None:
        """When a snapshot was taken, or None."""
        times = self.shots.loc[self.shots["snapshot"].eq(snapshot), "taken_at"].dropna()
        return times.iloc[0] if len(times) else None

    @cached_property
    def name(self) -> str:
        """The task's name, or an empty text."""
        named = pd.concat([self.log["name"], self.waiting["name"], self.results["name"]]).dropna()
        return str(named.iloc[0]) if len(named) else ""

    @cached_property
    def received(self) -> Moment | None:
        """When a worker first logged it."""
        return self._logged(("received",))

    @cached_property
    def ended(self) -> Moment | None:
        """When a worker last logged that it ended."""
        return self._logged(ENDED, last=True)

    @cached_property
    def taken(self) -> Moment | None:
        """The first log line that shows it in a worker's hands."""
        return self._logged(TAKEN)

    @cached_property
    def stored(self) -> Moment | None:
        """When its result was written: its own ``date_done``, else the worker's line on its end, which follows the
        store.
        """
        dated = self.results.loc[self.results["stored_at"].notna()]
        if len(dated):
            row = dated.iloc[-1]
            return Moment(row["stored_at"], f"{row['snapshot']}, {row['stored_from']}")
        written = self.written.loc[self.written["not_after"].notna()]
        if len(written):
            row = written.iloc[-1]
            return Moment(row["not_after"], place_of(row))
        return self._logged(ENDED, last=True)

    @cached_property
    def expires(self) -> Moment | None:
        """When its result was due to expire: from a snapshot, else from the time of storing and the retention."""
        dated = self.results.loc[self.results["expires_at"].notna()]
        if len(dated):
            return Moment(dated.iloc[-1]["expires_at"], dated.iloc[-1]["snapshot"], "recorded")
        timed = self.written.loc[self.written["expires_at"].notna()]
        if len(timed) and timed.index[-1] == self.written.index[-1]:
            return Moment(timed.iloc[-1]["expires_at"], place_of(timed.iloc[-1]), "recorded")
        if self.stored is None or self.retention.seconds == 0 or len(self.results):
            return None
        due = self.stored.at + pd.Timedelta(seconds=self.retention.seconds)
        return Moment(due, f"{self.stored.source}; {self.retention.source}", self.retention.certainty)

    def born(self, record: str) -> pd.Timestamp | None:
        """The latest time by which the record is known to have existed (or, for a message, to have been sent)."""
        if record == "result":
            return self.stored.at if self.stored else None
        if record == "job" and len(created := self.records["created_at"].dropna()):
            return created.iloc[0]
        return self.received.at if self.received else self.stored.at if self.stored else None

    def missed_by(self, record: str) -> pd.Timestamp | None:
        """The earliest time at which it is known, or said, to be gone: a sound snapshot without it, else
        ``noticed_at``.

        Only snapshots of servers that are not known to hold it, taken after it was last held and after it was ``born``.
        """
        rows = self.rows(record)
        held_at = [at for name in rows["snapshot"].unique() if (at := self.taken_at(name)) is not None]
        born = self.born(record)
        after = max([*held_at, *([born] if born is not None else [])], default=None)
        without = self.shots.loc[self.shots["complete"] & ~self.shots["snapshot"].isin(rows["snapshot"])]
        servers = self.servers_of(record)
        without = (
            without.loc[without["server"].isin(servers)] if servers <= set(without["server"]) else without.iloc[:0]
        )
        times = [at for at in without["taken_at"].dropna() if after is None or at > after]
        times += [fate.row["not_after"] for fate in self.fates(record) if pd.notna(fate.row["not_after"])]
        noticed = self.stated.noticed_at
        if noticed is not None and (after is None or noticed > after):
            times.append(noticed)
        return min(times, default=None)

    def _logged(self, kinds: tuple[str, ...], *, last: bool = False) -> Moment | None:
        lines = self.log.loc[self.log["kind"].isin(kinds) & self.log["at"].notna()]
        if not len(lines):
            return None
        row = lines.iloc[-1 if last else 0]
        return Moment(row["at"], f"{row['source']}:{row['line']}", row["text"])


def _same_key(fate: Fate, row: pd.Series) -> bool:
    return fate.key == row["key"] and fate.db in (None, row["db"]) and fate.row["server"] == row["server"]


def as_of(
    evidence: pd.DataFrame, servers: pd.DataFrame, events: pd.DataFrame, noticed_at: pd.Timestamp | None
) -> pd.Timestamp | None:
    """The latest time at which evidence speaks of the server, or ``noticed_at`` if later; cut to the second.

    An INFO answer dated by its file's time is left out where anything else gives a time: copying a file changes that.
    None where nothing has a time.
    """
    shown = evidence.loc[evidence["kind"].ne("info"), "to"]
    answers = servers.loc[servers["at_from"].ne("file time"), "at"]
    times = pd.concat([shown, answers, events["not_after"]]).dropna()
    if not len(times):
        times = servers["at"].dropna()
    latest = [*([times.max()] if len(times) else []), *([noticed_at] if noticed_at is not None else [])]
    return max(latest).floor("s") if latest else None


def place(server: str, db: int, key: str) -> str:
    """``[server/]db<N>:<whole key>``, as the contract writes where a record is."""
    return f"{server + '/' if server else ''}db{db}:{key}"

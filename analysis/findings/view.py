"""One task as the evidence shows it: where its records are held, where they were held before, and its life so far.

In: the frames of a case and a task ID. Out: ``View``, from which every rule of evidence reads. Weighs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.celery.families import TASK_META
from analysis.findings.bulk import looks
from analysis.findings.deeds import (
    RECORDERS,
    STREAMS,
    WRITES,
    Fate,
    fates,
    goes_to,
    is_job,
    is_result,
    own_commands,
    place_of,
    stream_named,
    stream_of,
)
from analysis.findings.journey import Journey, journeys
from analysis.findings.moment import SLACK as SLACK
from analysis.findings.moment import Moment, end_of_second
from analysis.findings.outages import Start, jumps, starts
from analysis.findings.scope import Scope, scope
from analysis.findings.traces import find_traces
from analysis.findings.ttl import Retention, retention
from analysis.frames import frame, words_in
from analysis.settings import Settings

# Kinds of log lines (evidence/logs.py) that say how a task ended, or that a worker had it.
ENDED = ("succeeded", "failed")
TAKEN = ("received", "started", *ENDED, "retried", "ignored", "rejected", "revoked")
# Kinds whose line names an ID without saying that it is a task's own.
NAMING = ("mentioned", "chord_failed", "group_gone", "purge", "delete", "flush", "not_done")

# Kinds of evidence whose times are the server's own.
_BY_SERVER = ("snapshot", "archive", "append-only file", "append-only commands", "append-only part", "redis log")

# Before anything that has a time.
_EVER = pd.Timestamp(0, tz="UTC").as_unit("us")

# Which of case.toml's [databases] each record was looked for in.
LOOKED_IN = {"result": "results", "job": "main", "message": "broker"}


@dataclass(frozen=True)
class Registered:
    """A job's ID in a registry or a queue of RQ: ``until`` is the registry's time for it, None where it has none."""

    snapshot: str
    db: int
    key: str
    offset: int
    until: pd.Timestamp | None


@dataclass(frozen=True)
class View:
    """Everything known about one task. Frames are those of the whole case unless said otherwise; all times are UTC.

    ``results``, ``waiting``, ``records``, ``log`` and ``deeds`` are this task's own rows of ``tasks``, ``messages``,
    ``jobs``, ``events`` and ``commands``. ``sent`` is its message as commands carried it, ``calling`` the messages of
    others that ask for it to be called behind them, both in the form of ``messages``; ``meta`` is its last stored
    result, decoded, where that is JSON, and ``contents`` the same of each command in ``written``, by its label;
    ``registered`` is where RQ lists the ID.
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
    changes: pd.DataFrame = field(default_factory=lambda: frame("changes"))
    clients: pd.DataFrame = field(default_factory=lambda: frame("clients"))
    sent: pd.DataFrame = field(default_factory=lambda: frame("messages"))
    calling: pd.DataFrame = field(default_factory=lambda: frame("messages"))
    meta: Mapping[str, Any] = field(default_factory=dict)
    contents: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    registered: tuple[Registered, ...] = ()

    @cached_property
    def shots(self) -> pd.DataFrame:
        """The snapshots in order (``bulk.looks``)."""
        return looks(self.evidence)

    @cached_property
    def archives(self) -> dict[str, pd.Timestamp | None]:
        """The archives, each with when the snapshot was taken that held what was kept in it. They are sightings, no
        looks: what is not in one shows nothing, for only what was new was kept.
        """
        rows = self.evidence.loc[self.evidence["kind"].eq("archive")]
        return {path: None if pd.isna(at) else at for path, at in zip(rows["path"], rows["to"], strict=True)}

    def looked_at(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that a snapshot of the case holds: not those that only an archive has."""
        return rows.loc[~rows["snapshot"].isin(self.archives)] if self.archives else rows

    @cached_property
    def retention(self) -> Retention:
        return policy(self.tasks, self.archives, self.stated.result_expires)

    @cached_property
    def as_of(self) -> pd.Timestamp | None:
        evidence, events = self.evidence, self.events
        if jumps(events, self.servers, set(self.servers["server"])):
            # By a clock that jumped nothing is dated; INFO's own names are by the collector's.
            evidence = evidence.loc[~evidence["kind"].isin(_BY_SERVER)]
            events = events.loc[~events["process"].fillna("").str.startswith("redis")]
        return as_of(evidence, self.servers, events, self.stated.noticed_at)

    @cached_property
    def results(self) -> pd.DataFrame:
        return self._in_time(self.tasks.loc[self.tasks["task_id"].eq(self.task_id)])

    @cached_property
    def waiting(self) -> pd.DataFrame:
        return self._in_time(self.messages.loc[self.messages["task_id"].eq(self.task_id)])

    @property
    def own_messages(self) -> pd.DataFrame:
        """Its messages, as they were sent and as snapshots hold them."""
        return pd.concat([self.sent, self.waiting]) if len(self.waiting) else self.sent

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
        return [fate for fate in found if not dbs or fate.db in dbs or fate.db is None or goes_to(fate, dbs)]

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
        stream = stream_named(str(fate.row["source"]))
        return not stream_of(held["snapshot"]).eq(stream).any()

    @cached_property
    def journeys(self) -> list[Journey]:
        """The way of its message, by each stream that shows it (``journey.journeys``)."""
        replies = set(self.sent["reply_to"].dropna()) | set(self.keys.loc[self.keys["family"].eq("reply"), "key"])
        return journeys(self.commands, self.deeds, self.task_id, replies)

    def scopes(self, record: str) -> tuple[Scope, ...]:
        """What vanished together with one record (``scope.scope``)."""
        if record not in self._scopes:
            self._scopes[record] = scope(self, record)
        return self._scopes[record]

    @cached_property
    def _scopes(self) -> dict[str, tuple[Scope, ...]]:
        return {}

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
        frames = (self.keys, self.tasks, self.messages, self.jobs, self.events, self.deeds)
        return find_traces(self.task_id, *frames, self.archives)

    @cached_property
    def own_log(self) -> pd.DataFrame:
        """The lines of ``log`` that say the ID is a task's own."""
        return self.log.loc[~self.log["kind"].isin(NAMING)]

    def rows(self, record: str) -> pd.DataFrame:
        """This task's rows for one record: result, job or message."""
        return {"result": self.results, "job": self.records, "message": self.waiting}[record]

    def held(self, record: str) -> pd.DataFrame:
        """Rows in the last snapshot of their server that have not expired by ``as_of``, and of which nothing shows that
        they were taken away after it: no command, no start or resync without them, no later INFO of an empty database.
        """
        if record not in self._held:
            rows = self.in_latest(record)
            rows = rows.loc[~self._expired(rows)]
            gone = [self._taken_since(record, row) or bool(self.wiped(record, row)) for _, row in rows.iterrows()]
            self._held[record] = rows.loc[~np.array(gone, bool)]
        return self._held[record]

    @cached_property
    def _held(self) -> dict[str, pd.DataFrame]:
        return {}

    def wiped(self, record: str, row: pd.Series) -> Moment | None:
        """What is known to have emptied its server, or its database, after the snapshot of ``row`` held it."""
        taken, server = self.taken_at(str(row["snapshot"])), str(row["server"])
        if taken is None:
            return None
        born = row.get("stored_at", row.get("created_at"))
        for start in self.starts(server):
            # What is older than a start that loaded nothing, or something older still, was not there after it. A
            # snapshot's time stands for a whole second.
            after = start.at >= taken if pd.notna(born) and born < start.at else start.at > end_of_second(taken) + SLACK
            older = start.saved is not None and not start.from_aof and pd.notna(born) and start.saved[1] < born
            if after and (start.loaded == 0 or older):
                return Moment(start.at, start.source, "the server was started without it")
        log = self.events.loc[self.events["kind"].eq("resync_flush") & self.events["server"].isin((server, ""))]
        for line in log.loc[log["at"].ge(taken)].itertuples():
            return Moment(line.at, f"{line.source}:{line.line}", "the server dropped its data for another master's")
        return self._emptied(server, int(row["db"]), taken)

    def _emptied(self, server: str, db: int, taken: pd.Timestamp) -> Moment | None:
        later = self.servers.loc[self.servers["server"].eq(server) & (self.servers["at"] > taken)]
        for answer in later.itertuples():
            figures = self.counters.loc[self.counters["source"].eq(answer.source), "counter"]
            sizes = figures.loc[figures.str.fullmatch(r"db\d+\.keys")]
            if not sizes.eq(f"db{db}.keys").any() and (len(sizes) or figures.eq("cmdstat_info").any()):
                return Moment(answer.at, f"{answer.source}, keyspace", f"INFO shows DB {db} empty")
        return None

    def followed(self, record: str) -> bool:
        """Whether a stream without gaps shows how the record was written, and so all that befell it since."""
        if record == "message":
            return any(way.in_stream and self.is_whole_stream(way.last["source"]) for way in self.journeys)
        wanted = self.keys_of(record)
        rows = self.deeds.loc[words_in(self.deeds["verb"], WRITES) & self.deeds["witness"].isin(STREAMS)]
        return any(
            isinstance(row["keys"], list) and not wanted.isdisjoint(row["keys"]) and self.is_whole_stream(row["source"])
            for _, row in rows.iterrows()
        )

    def _taken_since(self, record: str, row: pd.Series) -> bool:
        """Whether a removal of the key came after the snapshot that holds it, or in the moment when that was taken: had
        it come before, something would have written the key again, and none of the stream's commands did.
        """
        taken = self.taken_at(str(row["snapshot"]))
        for fate in self.fates(record):
            if not _same_key(fate, row) or taken is None or not self.is_whole(fate):
                continue
            first, last = fate.row["not_before"], fate.row["not_after"]
            if fate.row["witness"] not in STREAMS:
                # What sees only a part may have missed that it was written again, unless it saw the writing before.
                seen = fate.written is not None or first > end_of_second(taken)
                if not seen or fate.row["witness"] not in RECORDERS:
                    continue
            if (pd.notna(first) and first >= taken) or (pd.notna(last) and last >= taken):
                return True
        return False

    def is_whole(self, fate: Fate) -> bool:
        """Whether the witness was read to its end and nothing of it is missing."""
        return self.is_whole_stream(fate.row["source"])

    def is_whole_stream(self, source: str) -> bool:
        """The same of a source of commands."""
        stream = stream_named(source)
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

    def starts(self, server: str) -> list[Start]:
        """When a server is known to have started, in order, and with what data (``outages.starts``)."""
        if server not in self._starts:
            self._starts[server] = starts(self.events, self.servers, self.counters, server)
        return self._starts[server]

    @cached_property
    def _starts(self) -> dict[str, list[Start]]:
        return {}

    def _in_time(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows in the order in which their snapshots were taken; of one moment what was kept in an archive stands
        first, and in all what has no time there.
        """
        if len(rows) < 2:
            return rows
        kept = {name: _EVER if at is None else at for name, at in self.archives.items()}
        seen = [*kept.items(), *self.shots[["snapshot", "taken_at"]].itertuples(index=False, name=None)]
        order = {name: place for place, (name, _) in enumerate(sorted(seen, key=lambda one: (pd.isna(one[1]), one[1])))}
        # As numbers: what is mapped from words stays words, and is sorted in their order.
        place = rows["snapshot"].map(order).astype("float64")
        return rows.assign(order=place).sort_values("order", kind="stable").drop(columns="order")

    def in_latest(self, record: str) -> pd.DataFrame:
        """This task's rows in the last snapshot of their server, or in one of the same second."""
        rows = self.rows(record)
        last = self.shots.loc[self.shots["latest"] | self.shots["tied"], "snapshot"]
        return rows.loc[rows["snapshot"].isin(last)]

    def contested(self, row: pd.Series) -> list[str]:
        """Snapshots of the same second as the one that holds ``row``, in an unknown order, that do not hold its key."""
        mine = self.shots.loc[self.shots["server"].eq(row["server"])]
        if not mine["tied"].any():
            return []
        others = mine.loc[(mine["latest"] | mine["tied"]) & mine["complete"] & mine["snapshot"].ne(row["snapshot"])]
        same = self.keys.loc[self.keys["key"].eq(row["key"]) & self.keys["db"].eq(row["db"]), "snapshot"]
        return [name for name in others["snapshot"] if not same.eq(name).any()]

    def _expired(self, rows: pd.DataFrame) -> pd.Series:
        if self.as_of is None or "expires_at" not in rows:
            return pd.Series(False, index=rows.index)
        return rows["expires_at"] <= self.as_of

    def taken_at(self, snapshot: str) -> pd.Timestamp | None:
        """When a snapshot was taken, or that from which an archive was kept; or None."""
        times = self.shots.loc[self.shots["snapshot"].eq(snapshot), "taken_at"].dropna()
        return times.iloc[0] if len(times) else self.archives.get(snapshot)

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
            # The line on its end follows the storing, and may tell the time more closely than the command.
            begun = row["not_before"] if pd.notna(row["not_before"]) else row["not_after"]
            if self.ended is not None and begun - SLACK <= self.ended.at < row["not_after"]:
                return self.ended
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

    def exposed_since(self, record: str) -> pd.Timestamp | None:
        """From when on what took the record can have taken it: the last time it was seen held, else ``born``."""
        seen = [at for name in self.rows(record)["snapshot"].unique() if (at := self.taken_at(name)) is not None]
        born, missed = self.born(record), self.missed_by(record)
        times = [*(at for at in seen if missed is None or at <= missed), *([born] if born is not None else [])]
        return max(times, default=None)

    def missed_by(self, record: str) -> pd.Timestamp | None:
        """The earliest time at which it is known, or said, to be gone (``_missing``); worked out once."""
        if record not in self._missed:
            self._missed[record] = self._missing(record)
        return self._missed[record]

    @cached_property
    def _missed(self) -> dict[str, pd.Timestamp | None]:
        return {}

    def _missing(self, record: str) -> pd.Timestamp | None:
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
        # What an append-only file tells last came before its end: of what it lacks then, its time is no upper bound.
        stream = without["kind"].ne("snapshot")
        times = [end_of_second(at) for at in without.loc[~stream, "taken_at"].dropna() if after is None or at > after]
        if stream.any() and self.as_of is not None:
            times.append(self.as_of if after is None else max(self.as_of, after))
        times += [fate.row["not_after"] for fate in self.fates(record) if pd.notna(fate.row["not_after"])]
        noticed = self.stated.noticed_at
        if noticed is not None and (after is None or end_of_second(noticed) > after):
            times.append(end_of_second(noticed) if after is not None and noticed <= after else noticed)
        return min(times, default=None)

    def _logged(self, kinds: tuple[str, ...], *, last: bool = False) -> Moment | None:
        lines = self.log.loc[self.log["kind"].isin(kinds) & self.log["at"].notna()]
        if not len(lines):
            return None
        row = lines.iloc[-1 if last else 0]
        return Moment(row["at"], f"{row['source']}:{row['line']}", row["text"])


def came_due(view: View, fate: Fate) -> bool:
    """Whether nothing in its stream bounds the command from above, and the case goes on beyond the key's expiry."""
    if pd.isna(fate.due) or view.as_of is None or fate.due > end_of_second(view.as_of):
        return False
    return bool(pd.isna(fate.row["not_after"]) or fate.row["not_after"] > view.as_of)


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


def policy(tasks: pd.DataFrame, archives: Collection[str], stated: int | None) -> Retention:
    """How long results are kept (``ttl.retention``): as those that snapshots hold say, else as those of archives do,
    which may be of another time.
    """
    kept = tasks["snapshot"].isin(list(archives)).to_numpy(dtype=bool)
    found = retention(tasks.loc[~kept], stated)
    return (
        retention(tasks.loc[kept], stated, where="archives") if found.certainty == "assumed" and kept.any() else found
    )


def place(server: str, db: int, key: str) -> str:
    """``[server/]db<N>:<whole key>``, as the contract writes where a record is."""
    return f"{server + '/' if server else ''}db{db}:{key}"

"""A case: reads the evidence of a folder into frames, checks its kinds by their content, dates and hashes it.

In: a folder, or one file. Out: ``Case``, whose frames are those of ``frames.FRAMES``. Never writes; weighs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.cache import Cache, open_cache
from analysis.celery.archive import Part, distinct, read_part, sum_of
from analysis.celery.deeds import identified
from analysis.celery.families import name_families
from analysis.celery.jobs import jobs_frame
from analysis.celery.messages import messages_frame
from analysis.celery.results import tasks_frame
from analysis.errors import Unusable
from analysis.evidence.acl_log import read_acl_log
from analysis.evidence.aof_state import Replayed
from analysis.evidence.changes import changes_between
from analysis.evidence.clients import join_clients, read_clients
from analysis.evidence.config import read_config
from analysis.evidence.info import InfoAnswer, read_info, servers_frame
from analysis.evidence.logs import read_log
from analysis.evidence.measures import read_latency, read_memory_stats
from analysis.evidence.monitor import monitor_contents, read_monitor
from analysis.evidence.notifications import read_notifications, with_doubts
from analysis.evidence.rdb import Snapshot, read_rdb
from analysis.evidence.rdb_values import Value, ValueUnreadable
from analysis.evidence.slowlog import read_slowlog
from analysis.evidence.source.reading import read_source
from analysis.files import SOURCE, CaseFile, Ignored, find_files
from analysis.frames import concat, frame
from analysis.progress import Progress, Spoken
from analysis.redact import redact_text
from analysis.settings import Settings, read_settings
from analysis.showing import ShowsItself
from analysis.streams import StreamReading, read_streams, told_apart

SHIPPED = ("data/demo", "data/demo-with-source")
"""The demo case, without source code, and one of the same system with it."""


@dataclass(frozen=True, repr=False)
class Case(ShowsItself):
    """All evidence of one incident, as frames (columns: ``frames.FRAMES``), each empty where nothing testifies.

    ``evidence`` has a row for each file read, ``ignored`` names the rest. ``value`` reads one value of a snapshot on
    demand.
    """

    path: Path
    settings: Settings
    evidence: pd.DataFrame
    ignored: tuple[Ignored, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    streams: tuple[StreamReading, ...] = ()
    archives: tuple[Part, ...] = ()
    config: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: pd.DataFrame = field(default_factory=lambda: frame("keys"))
    tasks: pd.DataFrame = field(default_factory=lambda: frame("tasks"))
    messages: pd.DataFrame = field(default_factory=lambda: frame("messages"))
    jobs: pd.DataFrame = field(default_factory=lambda: frame("jobs"))
    commands: pd.DataFrame = field(default_factory=lambda: frame("commands"))
    events: pd.DataFrame = field(default_factory=lambda: frame("events"))
    servers: pd.DataFrame = field(default_factory=lambda: frame("servers"))
    counters: pd.DataFrame = field(default_factory=lambda: frame("counters"))
    clients: pd.DataFrame = field(default_factory=lambda: frame("clients"))
    cleanup: pd.DataFrame = field(default_factory=lambda: frame("cleanup"))
    once: dict[str, Any] = field(default_factory=dict, compare=False)
    """What was found of the case as a whole, by name: many tasks of it share it (``investigation.of_case``)."""

    @property
    def name(self) -> str:
        """The case's name for people: as stated in ``case.toml``, else the folder's or file's own."""
        return self.settings.name or self.path.name

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """A line for each piece of evidence that was left out or read in part; empty = all of it was used."""
        part = self.evidence.loc[~self.evidence["complete"].fillna(True).astype(bool)]
        return (
            *(f"{row.path}: read in part, {row.reason}" for row in part.itertuples()),
            *(str(item) for item in self.ignored if item.left_out),
        )

    def value(self, snapshot: str, offset: int) -> Value:
        """The value at ``offset`` of a snapshot of this case, of the state of an append-only file, or of an archive
        (columns ``snapshot`` and ``offset`` of every frame). Raises ValueUnreadable; Unusable for a source that holds
        no values.
        """
        holder = self._by_source.get(snapshot)
        if holder is None:
            raise Unusable("the case has no such snapshot", file=str(snapshot)[:200])
        return holder.value(int(offset))

    def content(self, source: str, payload_at: int) -> bytes:
        """What a command wrote or took away (columns ``source`` and ``payload_at`` of ``commands``). Raises
        ValueUnreadable; Unusable for a source that holds no commands with their contents.
        """
        if source in self._recorded:
            return _of(self._recorded[source])(int(payload_at))
        for stream in self.streams:
            if source in {str(row["path"]) for row in stream.rows}:
                return stream.file.content(int(payload_at))
        raise Unusable("the case has no such recording of commands", file=str(source)[:200])

    @cached_property
    def _recorded(self) -> dict[str, dict[int, bytes]]:
        """By MONITOR's logs, what the commands on their lines wrote."""
        found = {}
        for name in self.evidence.loc[self.evidence["kind"].eq("MONITOR log"), "path"]:
            rows = self.commands.loc[self.commands["source"].eq(name), "payload_at"].dropna()
            found[str(name)] = monitor_contents(self.path / str(name), set(rows.astype("int64")))
        return found

    @cached_property
    def changes(self) -> pd.DataFrame:
        """What became of each key between the snapshots of a server, each against the next: the frame ``changes``."""
        return concat("changes", (self._changes(before, after) for before, after in self._pairs()))

    def _pairs(self) -> Iterator[tuple[Snapshot, Snapshot]]:
        dated = [snapshot for snapshot in self.snapshots if snapshot.taken_at is not None]
        dated.sort(key=lambda snapshot: (snapshot.server, snapshot.taken_at, snapshot.source))
        return ((one, two) for one, two in zip(dated, dated[1:], strict=False) if one.server == two.server)

    def _changes(self, before: Snapshot, after: Snapshot) -> pd.DataFrame:
        """With family and task_id, which the whole case decides."""
        found = changes_between(before, after)
        for snapshot, column in ((after, "offset_after"), (before, "offset_before")):
            named = self.keys.loc[self.keys["snapshot"].eq(snapshot.source), ["offset", "family", "task_id"]]
            known = found[column].notna().to_numpy()
            rows = np.searchsorted(named["offset"].to_numpy(dtype=np.int64), found.loc[known, column].astype(np.int64))
            for name in ("family", "task_id"):
                told = found[name].astype("str").to_numpy(dtype=object, copy=True)
                told[known] = named[name].iloc[rows]
                found[name] = told
        return frame("changes", {name: found[name] for name in found})

    def mentioning(self, text: str) -> set[str]:
        """IDs of the tasks that have ``text`` in their ID, name, log lines or stored result."""
        lines = self.events.loc[
            self.events["text"].str.contains(text, regex=False).fillna(False).astype(bool), "task_id"
        ]
        found = set(lines.dropna())
        for records in (self.tasks, self.messages, self.jobs, self.events):
            for column in ("task_id", "name") if "name" in records else ("task_id",):
                has = records[column].str.contains(text, regex=False).fillna(False).astype(bool)
                found |= set(records.loc[has, "task_id"].dropna())
        wanted = text.encode()
        for row in self.tasks.itertuples():
            try:
                value = self.value(row.snapshot, row.offset)
            except ValueUnreadable:
                continue
            if isinstance(value, bytes) and wanted in value:
                found.add(row.task_id)
        return found

    @cached_property
    def sums(self) -> dict[str, str]:
        """By snapshot, and by state of an append-only file, the SHA-256 of what it was read from."""
        known = dict(self.evidence[["path", "sha256"]].itertuples(index=False))
        parts = {
            one.state.source: sum_of((str(row["path"]), known[row["path"]]) for row in one.rows)
            for one in self.streams
            if one.state is not None
        }
        return {snapshot.source: snapshot.sha256 for snapshot in self.snapshots} | parts

    @property
    def _by_source(self) -> dict[str, Snapshot | Replayed | Part]:
        found: dict[str, Snapshot | Replayed | Part] = {snapshot.source: snapshot for snapshot in self.snapshots}
        found |= {part.source: part for part in self.archives}
        return found | {stream.state.source: stream.state for stream in self.streams if stream.state is not None}


def open_case(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Case:
    """Read all evidence at ``path``: a case folder, or one file that is then the case's only evidence.

    What was read of a large snapshot is kept in the user's cache folder (``cache.open_cache``) and taken from there the
    next time.

    The cases that ship with the kit (``SHIPPED``) are found wherever the caller stands. An empty folder is a case
    without evidence. Raises Unusable where there is nothing at ``path``, it is a URL, or its ``case.toml`` is wrong.
    """
    root = _locate(path)
    if root in _SHARED:
        return _SHARED[root]
    files, ignored = find_files(root)
    stated = next((item for item in files if item.kind == "case.toml"), None)
    settings = read_settings(stated.path, name=stated.name) if stated else Settings()
    case = Case(root, settings, frame("evidence"))
    return _read(case, [item for item in files if item is not stated], ignored, progress or Spoken())


_SHARED: dict[Path, Case] = {}


def share(case: Case) -> None:
    """Have ``open_case`` give this case for its path from now on, in this process and in those that are forked from it:
    what many reports are about is read once.
    """
    _SHARED[case.path] = case


def _locate(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise Unusable(f"a case is named by the path of a folder or a file, not by {type(path).__name__}")
    text = os.fspath(path)
    if re.match(r"(?:rediss?|unix|valkeys?)://", text):
        raise Unusable(
            "a live server is not read by this version; copy its dump.rdb into a folder (the README says how) and "
            "give that",
            file=redact_text(text),
        )
    if not text:
        raise Unusable("no case given: name a folder or a file")
    if "\0" in text:
        raise Unusable("is no path: it holds a NUL byte", file=text.replace("\0", "\\x00"))
    root = Path(text)
    try:
        if root.is_dir() or root.is_file():
            return root.resolve()
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}", file=text[:200]) from None
    if root in map(Path, SHIPPED):
        return shipped(root.as_posix())
    raise Unusable("no such file or folder" if not root.exists() else "is neither a file nor a folder", file=text)


def shipped(name: str) -> Path:
    """A folder that ships with the kit: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent
    place = (checkout if (checkout / "pyproject.toml").is_file() else package) / name
    if not place.is_dir():
        raise Unusable("did not come with this installation", file=name)
    return place


@dataclass
class _Reading:
    """What reading one file gave: parts of frames, and its row of the evidence frame."""

    row: dict[str, Any]
    events: pd.DataFrame | None = None
    commands: pd.DataFrame | None = None
    clients: pd.DataFrame | None = None
    counters: pd.DataFrame | None = None
    snapshot: Snapshot | None = None
    archive: Part | None = None
    answer: InfoAnswer | None = None
    config: dict[str, str] | None = None


_MOST_PROBLEMS = 20
_STREAMS = ("append-only file", "replication backlog")


def _read(case: Case, files: list[CaseFile], ignored: list[Ignored], progress: Progress) -> Case:
    try:
        cache = open_cache()
    except Unusable as error:
        progress.say(f"no cache: {error}")
        cache = None
    large = ("snapshot", *_STREAMS)
    progress.expect(sum(_size(item.path) for item in files if item.kind in large))
    singly = [item for item in files if item.kind not in _STREAMS]
    readings = [one for item in singly if (one := _tried(item, case.settings, ignored, cache, progress))]
    streams, unread = read_streams([item for item in files if item.kind in _STREAMS], cache=cache, progress=progress)
    ignored += unread
    read = _told(case, readings, streams)
    cleanup, row = _source(case, ignored, progress)
    evidence = concat("evidence", [read.evidence, frame("evidence", [row] if row else [])])
    return replace(read, evidence=evidence, ignored=tuple(ignored), cleanup=cleanup)


def _tried(
    item: CaseFile, settings: Settings, ignored: list[Ignored], cache: Cache | None, progress: Progress
) -> _Reading | None:
    """One file read; None where it cannot be, which goes to ``ignored``."""
    try:
        if item.path.stat().st_size == 0 and item.kind != "log":
            raise Unusable("is empty")
        reading = _read_one(item, settings, cache, progress)
        reading.row |= {
            "path": item.name,
            "server": item.server,
            "sha256": reading.snapshot.sha256 if reading.snapshot else digest(item.path),
            "size": item.path.stat().st_size,
        }
    except Unusable as error:
        ignored.append(Ignored(item.name, error.reason, True))
    except OSError as error:
        ignored.append(Ignored(item.name, f"cannot be read: {error.strerror}", True))
    else:
        return reading
    return None


def _told(case: Case, readings: list[_Reading], streams: list[StreamReading]) -> Case:
    """The case with all frames but ``cleanup``."""
    settings = case.settings
    snapshots = tuple(r.snapshot for r in readings if r.snapshot)
    servers, counters = servers_frame([r.answer for r in readings if r.answer])
    config = {str(r.row["server"]): r.config for r in readings if r.config is not None}
    snapshot_keys = concat("keys", (s.keys for s in snapshots))
    streams = [
        told_apart(
            stream,
            retention=settings.result_expires,
            jobs=settings.jobs,
            config=config.get(stream.file.server, {}),
            servers=servers.loc[servers["server"].eq(stream.file.server)],
            keys=snapshot_keys.loc[snapshot_keys["server"].eq(stream.file.server)],
            until=_last_time(readings, servers),
        )
        for stream in streams
    ]
    read = replace(
        case,
        evidence=frame("evidence", [*(r.row for r in readings), *_rows_of(streams)]),
        snapshots=snapshots,
        streams=tuple(streams),
        config=config,
        events=concat("events", (r.events for r in readings if r.events is not None)).sort_values(
            "at", kind="stable", ignore_index=True
        ),
        commands=_commands(readings, streams, servers),
        clients=concat("clients", (r.clients for r in readings if r.clients is not None)),
        servers=servers,
        counters=concat("counters", [counters, *(r.counters for r in readings if r.counters is not None)]),
    )
    states = [stream.state.keys_at(stream.taken_at) for stream in streams if stream.state is not None]
    keys = name_families(concat("keys", [snapshot_keys, *states]), read.value, settings.jobs)
    # What was kept from a file that is here itself adds nothing to it.
    kept = (r.archive for r in readings if r.archive)
    archives = distinct(part for part in kept if part.seen_sha256 not in read.sums.values())
    tasks = tasks_frame(keys, read.value, {snapshot.source: snapshot for snapshot in snapshots})
    jobs = jobs_frame(keys, read.value, settings.jobs)
    for snapshot in snapshots:
        snapshot.let_go()
    return replace(
        read,
        archives=archives,
        keys=keys,
        tasks=concat("tasks", [tasks, *(part.tasks for part in archives)]),
        messages=messages_frame(keys, read.value),
        jobs=concat("jobs", [jobs, *(part.jobs for part in archives)]),
    )


def _last_time(readings: list[_Reading], servers: pd.DataFrame) -> pd.Timestamp | None:
    """The last time that anything but a stream tells: snapshots, logs, recordings, and INFO with a time of its own."""
    told: list[Any] = [r.row["to"] for r in readings if r.answer is None and pd.notna(r.row.get("to"))]
    told += list(servers.loc[servers["at_from"].ne("file time"), "at"].dropna())
    last = max(told, default=None)
    # What is told in whole seconds stands for the whole second.
    return None if last is None else last.ceil("s") if last.microsecond else last + pd.Timedelta(seconds=1)


def _commands(readings: list[_Reading], streams: list[StreamReading], servers: pd.DataFrame) -> pd.DataFrame:
    """What every witness of commands says, with the clients that CLIENT LIST knows."""
    seen = concat("commands", (r.commands for r in readings if r.commands is not None))
    valkey = servers.loc[servers["flavor"].eq("valkey"), "server"].unique()
    replicas = servers.loc[servers["role"].eq("slave"), "server"].unique()
    seen = with_doubts(seen, valkey=list(valkey), replicas=list(replicas))
    listed = [(str(r.row["path"]), r.clients, r.row.get("from")) for r in readings if r.clients is not None]
    clients = concat("clients", (clients for _, clients, _ in listed))
    seen = join_clients(seen, clients, {path: at for path, _, at in listed if at is not None})
    return concat("commands", [seen, *(stream.commands for stream in streams)])


def _rows_of(streams: list[StreamReading]) -> Iterator[dict[str, Any]]:
    """Rows of the frame ``evidence``: one for each file, parts and manifests too."""
    for stream in streams:
        paths = {item.name: item.path for item in stream.files}
        for row in stream.rows:
            path = paths[str(row["path"])]
            yield {**row, "server": stream.file.server, "sha256": digest(path), "size": _size(path)}


def _source(case: Case, ignored: list[Ignored], progress: Progress) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """The frame ``cleanup``, and the source tree's row of the frame ``evidence``. The tree that ``case.toml`` names is
    read in place of the case's own ``src``.
    """
    name = case.settings.source or SOURCE
    root = case.path / name
    if case.path.is_dir() and root.is_dir():
        reading = read_source(root, progress=progress)
        # A line for each file that was read in part; what they have in common is the tree's own reason.
        for problem in reading.problems[:_MOST_PROBLEMS]:
            where, _, reason = problem.partition(": ")
            ignored.append(Ignored(f"{name}/{where}", reason, True))
        row = {"path": name, "kind": "source code", "server": "", "sha256": reading.sha256}
        return reading.cleanup, row | {"complete": reading.complete, "reason": reading.reason}
    if case.settings.source:
        ignored.append(Ignored(name, "the source tree that case.toml names is not there", True))
    return frame("cleanup"), None


def _read_one(item: CaseFile, settings: Settings, cache: Cache | None, progress: Progress) -> _Reading:
    row: dict[str, Any] = {"kind": item.kind, "complete": True}
    stamped = row | {"from": item.stamp, "to": item.stamp}
    where: dict[str, Any] = {"source": item.name, "server": item.server}
    match item.kind:
        case "snapshot":
            stated = next((at for name, at in settings.snapshots.items() if name == item.name), None)
            snapshot = read_rdb(item.path, **where, taken_at=stated, cache=cache, progress=progress)
            row |= {"from": snapshot.taken_at, "to": snapshot.taken_at, "complete": snapshot.complete}
            row |= {"stopped_at": snapshot.stopped_at, "reason": snapshot.reason}
            return _Reading(row, snapshot=snapshot)
        case "archive":
            part = read_part(item.path, **where)
            return _Reading(row | {"from": part.seen_at, "to": part.seen_at}, archive=part)
        case "info":
            answer = read_info(item.path, **where, stamp=item.stamp, file_time=_file_time(item.path))
            row |= {"from": answer.row["started_at"], "to": answer.row["at"]}
            row |= {"complete": answer.complete, "reason": answer.reason}
            return _Reading(row, answer=answer)
        case "config":
            return _Reading(stamped, config=read_config(item.path))
        case "slowlog":
            return _of_commands(row, read_slowlog(item.path, **where))
        case "ACL LOG":
            return _of_commands(row, read_acl_log(item.path, **where, stamp=item.stamp))
        case "clients":
            return _Reading(stamped, clients=read_clients(item.path, **where))
        case "LATENCY":
            return _Reading(stamped, counters=read_latency(item.path, **where, stamp=item.stamp))
        case "MEMORY STATS":
            return _Reading(stamped, counters=read_memory_stats(item.path, **where, stamp=item.stamp))
        case "MONITOR log" | "keyspace log":
            told = (read_monitor if item.kind == "MONITOR log" else read_notifications)(item.path, **where)
            row |= {"from": told.first_at, "to": told.last_at, "complete": told.complete}
            row |= {"stopped_at": told.stopped_at, "reason": told.reason}
            lines = set(told.commands["payload_at"].dropna().astype("int64"))
            contents = monitor_contents(item.path, lines) if lines else {}
            commands = identified(told.commands, _of(contents), jobs=settings.jobs)
            return _Reading(row, commands=commands)
        case _:
            log = read_log(item.path, **where, zone=settings.zone_of(item.name))
            row |= {"kind": log.kind, "from": log.first_at, "to": log.last_at, "complete": log.complete}
            row |= {"stopped_at": log.stopped_at, "reason": log.reason}
            return _Reading(row, events=log.events)


def _of(contents: Mapping[int, bytes]) -> Callable[[int], bytes]:
    """Contents by their place; ValueUnreadable for one that was left out."""

    def content(place: int) -> bytes:
        if place not in contents:
            raise ValueUnreadable(place, "the command is too large to be kept")
        return contents[place]

    return content


def _of_commands(row: dict[str, Any], commands: pd.DataFrame) -> _Reading:
    return _Reading(row | {"from": commands["not_before"].min(), "to": commands["not_after"].max()}, commands=commands)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _file_time(path: Path) -> pd.Timestamp:
    return pd.Timestamp(path.stat().st_mtime_ns, unit="ns", tz="UTC").as_unit("us")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

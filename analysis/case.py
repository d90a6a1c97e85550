"""A case: finds the evidence in a folder, tells its kinds apart, dates and hashes it, and reads it into frames.

In: a folder, or one file. Out: ``Case``, whose frames are those of ``frames.FRAMES``. Never writes; weighs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.celery.families import name_families
from analysis.celery.jobs import jobs_frame
from analysis.celery.messages import messages_frame
from analysis.celery.results import tasks_frame
from analysis.errors import Unusable
from analysis.evidence.clients import read_clients
from analysis.evidence.config import read_config
from analysis.evidence.info import InfoAnswer, read_info, servers_frame
from analysis.evidence.logs import read_log
from analysis.evidence.rdb import Snapshot, read_rdb
from analysis.evidence.rdb_values import Value, ValueUnreadable
from analysis.evidence.slowlog import read_slowlog
from analysis.frames import concat, frame
from analysis.redact import redact_text
from analysis.settings import Settings, read_settings

MOST_FILES = 100_000
NOT_YET = "this version of the kit does not read {}"

# Kinds by name, the more special first (contract: "Where two names fit, the more special one wins").
_STAMP = r"(?:-(?P<stamp>\d{8}T\d{6}Z))?"
_KINDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"case\.toml", "case.toml"),
        (rf"info{_STAMP}\.txt", "info"),
        (rf"config{_STAMP}\.json", "config"),
        (rf"slowlog{_STAMP}\.json", "slowlog"),
        (rf"clients{_STAMP}\.txt", "clients"),
        (rf"acl-log{_STAMP}\.json", "ACL LOG"),
        (rf"latency{_STAMP}\.json", "LATENCY"),
        (rf"memory-stats{_STAMP}\.json", "MEMORY STATS"),
        (r"backlog-\d+\.resp", "replication backlog"),
        (r"capture\.json", "capture.json"),
        (r"monitor.*\.log", "MONITOR log"),
        (r"keyspace.*\.log", "keyspace log"),
        (r".*\.aof|.*\.manifest|.*\.aof\.\d+\.base\.rdb", "append-only file"),
        (r".*\.rdb", "snapshot"),
        (r".*\.log(?:[.-].*)?", "log"),
    )
)
_UNREAD = {
    "ACL LOG",
    "LATENCY",
    "MEMORY STATS",
    "replication backlog",
    "MONITOR log",
    "keyspace log",
    "append-only file",
}


@dataclass(frozen=True)
class Ignored:
    """A file that was not used. ``left_out``: it is, or claims to be, evidence, so the case is not complete without
    it.
    """

    path: str
    reason: str
    left_out: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class _File:
    path: Path
    name: str
    kind: str
    server: str
    stamp: pd.Timestamp | None


@dataclass(frozen=True)
class Case:
    """All evidence of one incident, as frames (columns: ``frames.FRAMES``), each empty where nothing testifies.

    ``evidence`` has a row for each file read, ``ignored`` names the rest. ``value`` reads one value of a snapshot on
    demand.
    """

    path: Path
    settings: Settings
    evidence: pd.DataFrame
    ignored: tuple[Ignored, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
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
        """The value at ``offset`` of a snapshot of this case (columns ``snapshot`` and ``offset`` of every frame)."""
        return self._by_source[snapshot].value(int(offset))

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

    @property
    def _by_source(self) -> dict[str, Snapshot]:
        return {snapshot.source: snapshot for snapshot in self.snapshots}

    def __repr__(self) -> str:
        return f"Case {self.name!r}: {len(self.evidence)} files of evidence\n{self._card().to_string(index=False)}"

    def _repr_html_(self) -> str:
        return self._card().to_html(index=False, escape=True, na_rep="–")

    def _card(self) -> pd.DataFrame:
        return self.evidence[["path", "kind", "from", "to", "complete"]]


def open_case(path: str | os.PathLike[str]) -> Case:
    """Read all evidence at ``path``: a case folder, or one file that is then the case's only evidence.

    ``data/demo`` is the demo case that ships with the kit, wherever the caller stands. An empty folder is a case
    without evidence. Raises Unusable where there is nothing at ``path``, it is a URL, or its ``case.toml`` is wrong.
    """
    root = _locate(path)
    files, ignored = _find(root)
    base = root if root.is_dir() else root.parent
    stated = next((item for item in files if item.kind == "case.toml"), None)
    settings = read_settings(stated.path, name=stated.name) if stated else Settings()
    return _read(Case(root, settings, frame("evidence")), base, [f for f in files if f is not stated], ignored)


def _locate(path: str | os.PathLike[str]) -> Path:
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
    if root == Path("data/demo"):
        return shipped("data/demo")
    raise Unusable("no such file or folder" if not root.exists() else "is neither a file nor a folder", file=text)


def shipped(name: str) -> Path:
    """A folder that ships with the kit: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent
    place = (checkout if (checkout / "pyproject.toml").is_file() else package) / name
    if not place.is_dir():
        raise Unusable("did not come with this installation", file=name)
    return place


def _find(root: Path) -> tuple[list[_File], list[Ignored]]:
    """The files of a case by kind, and those that are none. Follows no link that leaves the case."""
    if root.is_file():
        kind, stamp = _kind(root.name)
        if kind in _UNREAD or kind in ("case.toml", "capture.json"):
            return [], [Ignored(root.name, _not_yet(kind), True)]
        return [_File(root, root.name, kind or "log", "", stamp)], []
    files: list[_File] = []
    ignored: list[Ignored] = []
    for path, name in _walk(root, ignored):
        parts = Path(name).parts
        in_server = parts[0] == "servers" and len(parts) > 2
        server, inner = (parts[1], parts[2:]) if in_server else ("", parts)
        kind, stamp = _kind(parts[-1])
        if kind == "case.toml" and name != "case.toml":
            kind = ""
        if inner[0] == "scan" and name.endswith(".parquet"):
            kind = "keys read by SCAN"
        elif inner[0] == "archive" and name.endswith(".parquet"):
            kind = "archive"
        elif not kind and inner[0] == "logs":
            kind = "log"
        if kind in _UNREAD or kind in ("keys read by SCAN", "archive"):
            ignored.append(Ignored(name, _not_yet(kind), True))
        elif kind == "capture.json":
            ignored.append(Ignored(name, "only tells how the case was captured"))
        elif kind:
            files.append(_File(path, name, kind, server, stamp))
        else:
            ignored.append(Ignored(name, "no evidence by its name"))
    return files, ignored


def _not_yet(kind: str) -> str:
    return NOT_YET.format({"append-only file": "append-only files"}.get(kind, kind))


def _kind(name: str) -> tuple[str, pd.Timestamp | None]:
    bare = name[:-3] if name.endswith(".gz") else name
    for pattern, kind in _KINDS:
        if found := pattern.fullmatch(bare if kind == "log" else name):
            stamp = found.groupdict().get("stamp")
            moment = pd.to_datetime(stamp, format="%Y%m%dT%H%M%SZ", utc=True, errors="coerce") if stamp else None
            return kind, None if moment is None or pd.isna(moment) else moment.as_unit("us")
    return "", None


def _walk(root: Path, ignored: list[Ignored]) -> Iterator[tuple[Path, str]]:
    """Every regular file below ``root`` with its name relative to it, in order; the rest goes to ``ignored``."""

    def unreadable(error: OSError) -> None:
        ignored.append(Ignored(_relative(Path(error.filename), root), f"cannot be read: {error.strerror}", True))

    count = 0
    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders.sort()
        here = Path(folder)
        for name in list(folders):
            path = here / name
            relative = _relative(path, root)
            if path.is_symlink():
                ignored.append(Ignored(relative, "a link to a folder, not followed", True))
            elif name.startswith(".") or name == "__pycache__":
                ignored.append(Ignored(relative, "a hidden folder"))
            elif relative == "src":
                ignored.append(Ignored(relative, NOT_YET.format("source code"), True))
            elif (kind := _kind(name)[0]) and kind != "log":
                ignored.append(Ignored(relative, f"a folder in place of a file ({kind})", True))
            else:
                continue
            folders.remove(name)
        for name in sorted(names):
            path = here / name
            relative = _relative(path, root)
            count += 1
            if count > MOST_FILES:
                ignored.append(
                    Ignored(relative, f"more than {MOST_FILES:,} files: this and all after it were left out", True)
                )
                folders.clear()
                return
            if path.is_symlink() and not _inside(path, root):
                ignored.append(Ignored(relative, "a link out of the case, not followed", True))
            elif not path.is_file():
                ignored.append(Ignored(relative, "not a regular file", bool(_kind(name)[0])))
            elif name.startswith("."):
                ignored.append(Ignored(relative, "a hidden file"))
            else:
                yield path, relative


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


@dataclass
class _Reading:
    """What reading one file gave: parts of frames, and its row of the evidence frame."""

    row: dict[str, Any]
    events: pd.DataFrame | None = None
    commands: pd.DataFrame | None = None
    clients: pd.DataFrame | None = None
    snapshot: Snapshot | None = None
    answer: InfoAnswer | None = None
    config: dict[str, str] | None = None


def _read(case: Case, base: Path, files: list[_File], ignored: list[Ignored]) -> Case:
    readings: list[_Reading] = []
    for item in files:
        try:
            if item.path.stat().st_size == 0 and item.kind != "log":
                raise Unusable("is empty")
            reading = _read_one(item, case.settings)
            reading.row |= {
                "path": item.name,
                "server": item.server,
                "sha256": digest(item.path),
                "size": item.path.stat().st_size,
            }
        except Unusable as error:
            ignored.append(Ignored(item.name, error.reason, True))
        except OSError as error:
            ignored.append(Ignored(item.name, f"cannot be read: {error.strerror}", True))
        else:
            readings.append(reading)

    snapshots = tuple(r.snapshot for r in readings if r.snapshot)
    servers, counters = servers_frame([r.answer for r in readings if r.answer])
    read = replace(
        case,
        evidence=frame("evidence", [r.row for r in readings]),
        ignored=tuple(ignored),
        snapshots=snapshots,
        config={str(r.row["server"]): r.config for r in readings if r.config is not None},
        events=concat("events", (r.events for r in readings if r.events is not None)).sort_values(
            "at", kind="stable", ignore_index=True
        ),
        commands=concat("commands", (r.commands for r in readings if r.commands is not None)),
        clients=concat("clients", (r.clients for r in readings if r.clients is not None)),
        servers=servers,
        counters=counters,
    )
    keys = name_families(concat("keys", (s.keys for s in snapshots)), read.value, case.settings.jobs)
    return replace(
        read,
        keys=keys,
        tasks=tasks_frame(keys, read.value),
        messages=messages_frame(keys, read.value),
        jobs=jobs_frame(keys, read.value, case.settings.jobs),
    )


def _read_one(item: _File, settings: Settings) -> _Reading:
    row: dict[str, Any] = {"kind": item.kind, "complete": True}
    match item.kind:
        case "snapshot":
            stated = next((at for name, at in settings.snapshots.items() if name == item.name), None)
            snapshot = read_rdb(item.path, source=item.name, server=item.server, taken_at=stated)
            row |= {"from": snapshot.taken_at, "to": snapshot.taken_at, "complete": snapshot.complete}
            row |= {"stopped_at": snapshot.stopped_at, "reason": snapshot.reason}
            return _Reading(row, snapshot=snapshot)
        case "info":
            answer = read_info(
                item.path, source=item.name, server=item.server, stamp=item.stamp, file_time=_file_time(item.path)
            )
            row |= {"from": answer.row["started_at"], "to": answer.row["at"]}
            row |= {"complete": answer.complete, "reason": answer.reason}
            return _Reading(row, answer=answer)
        case "config":
            return _Reading(row | {"from": item.stamp, "to": item.stamp}, config=read_config(item.path))
        case "slowlog":
            commands = read_slowlog(item.path, source=item.name, server=item.server)
            row |= {"from": commands["not_before"].min(), "to": commands["not_after"].max()}
            return _Reading(row, commands=commands)
        case "clients":
            clients = read_clients(item.path, source=item.name, server=item.server)
            return _Reading(row | {"from": item.stamp, "to": item.stamp}, clients=clients)
        case _:
            log = read_log(item.path, source=item.name, server=item.server, zone=settings.zone_of(item.name))
            row |= {"kind": log.kind, "from": log.first_at, "to": log.last_at, "complete": log.complete}
            row |= {"stopped_at": log.stopped_at, "reason": log.reason}
            return _Reading(row, events=log.events)


def _file_time(path: Path) -> pd.Timestamp:
    return pd.Timestamp(path.stat().st_mtime_ns, unit="ns", tz="UTC").as_unit("us")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

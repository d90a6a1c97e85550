"""The append-only files and backlogs of a case: which files belong together, and what became of every key in them.

In: files of a case by kind, and what else is known of their servers. Out: ``StreamReading``s: commands with tasks,
times and who took a key away; the state at the end. Knows no case; weighs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.cache import Cache
from analysis.celery.deeds import told_to_celery
from analysis.celery.jobs import JobsSettings
from analysis.errors import Unusable
from analysis.evidence.aof import AOF, CommandFile, open_parts, read_append_only, read_backlog
from analysis.evidence.aof_manifest import BASE, HISTORY, INCREMENT, PartName, read_manifest, told_by_names
from analysis.evidence.aof_state import Replayed
from analysis.evidence.removals import Removing, attributed, end_of
from analysis.files import CaseFile, Ignored
from analysis.frames import in_micros, moments, words_in
from analysis.progress import Progress

COMMANDS_ONLY = "append-only commands"
"""Kind of a file of commands whose state cannot be told, because its base is not there."""
PART = "append-only part"
"""Kind of a file that is read with the manifest that names it."""


@dataclass(frozen=True)
class StreamReading:
    """One append-only file or backlog, read. ``taken_at`` is the last moment it speaks of; ``rows`` are those of the
    frame ``evidence`` for its files, without their hash; ``files`` are the files themselves.
    """

    file: CommandFile
    commands: pd.DataFrame
    taken_at: pd.Timestamp | None
    rows: tuple[dict[str, Any], ...]
    files: tuple[CaseFile, ...]

    @property
    def state(self) -> Replayed | None:
        return self.file.state


@dataclass
class _Group:
    """Files that are one append-only file. ``named`` is what it is called: the manifest, or the file itself."""

    named: CaseFile
    manifest: CaseFile | None = None
    parts: list[tuple[PartName, CaseFile]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    whole: bool = True


def read_streams(
    files: Sequence[CaseFile], *, cache: Cache | None, progress: Progress
) -> tuple[list[StreamReading], list[Ignored]]:
    """Read every append-only file and backlog among ``files``; what cannot be read goes to the second list.

    Parts belong to the manifest beside them that names them. Without a manifest their names tell; a part that neither
    manifest nor name claims is read for its commands alone.
    """
    readings: list[StreamReading] = []
    ignored: list[Ignored] = []
    groups, left_out = _grouped([item for item in files if item.kind == AOF])
    ignored += left_out
    for group in groups:
        try:
            readings.append(_read_group(group, cache, progress))
        except Unusable as error:
            ignored.append(Ignored(group.named.name, error.reason, True))
    readings = _without_older_copies(readings)
    for item in files:
        if item.kind == "replication backlog":
            try:
                readings.append(_read_backlog(item, cache, progress))
            except Unusable as error:
                ignored.append(Ignored(item.name, error.reason, True))
    return readings, ignored


def _without_older_copies(readings: list[StreamReading]) -> list[StreamReading]:
    """Of copies of one append-only file, one the beginning of another, only the longer has commands and a state: it
    holds all that the shorter one does. Each keeps its rows among the evidence.
    """
    kept: list[StreamReading] = []
    for one in readings:
        longer = next((other for other in readings if other is not one and one.file.begins(other.file)), None)
        if longer is None:
            kept.append(one)
            continue
        rows = tuple({**row, "kind": COMMANDS_ONLY if row["kind"] == AOF else row["kind"]} for row in one.rows)
        kept.append(
            replace(
                one,
                file=replace(one.file, state=None, commands=one.file.commands.iloc[:0], followed=one.file.followed[:0]),
                rows=rows,
            )
        )
    return kept


def _grouped(files: Sequence[CaseFile]) -> tuple[list[_Group], list[Ignored]]:
    groups: list[_Group] = []
    ignored: list[Ignored] = []
    folders: dict[str, dict[str, CaseFile]] = {}
    for item in files:
        folders.setdefault(str(PurePosixPath(item.name).parent), {})[item.path.name] = item
    for beside in folders.values():
        parts = {name: item for name, item in beside.items() if not name.endswith(".manifest")}
        left = dict(parts)
        manifested = False
        for manifest in (item for name, item in beside.items() if name.endswith(".manifest")):
            try:
                named, problems = read_manifest(manifest.path)
            except (Unusable, OSError) as error:
                reason = error.reason if isinstance(error, Unusable) else f"cannot be read: {error.strerror}"
                ignored.append(Ignored(manifest.name, reason, True))
                continue
            group = _Group(manifest, manifest, problems=list(problems))
            for part in named:
                if part.name in parts:
                    group.parts.append((part, parts[part.name]))
                    left.pop(part.name, None)
                elif part.type != HISTORY:
                    group.problems.append(f"names {part.name}, which is not there")
            group.whole = not group.problems
            groups.append(group)
            manifested = True
        # What no manifest claims is left to its names. Beside a manifest such parts are of another time: Redis loads
        # the named ones alone (aof.c, loadAppendOnlyFiles), so these hold commands, and no state of the server.
        by_name = told_by_names(left)
        claimed = {part.name for stem in by_name.values() for part in stem}
        for stem in by_name.values():
            complete = any(part.type == BASE for part in stem)
            last = left[stem[-1].name]
            group = _Group(last, parts=[(part, left[part.name]) for part in stem], whole=complete and not manifested)
            group.problems.append(
                "the manifest does not name it: read for its commands alone"
                if manifested
                else "the manifest is not there: the parts are taken by their names"
            )
            groups.append(group)
        for name, item in left.items():
            if name not in claimed:
                groups.append(_Group(item, parts=[(PartName(name, 0, INCREMENT), item)]))
    return groups, ignored


def _read_group(group: _Group, cache: Cache | None, progress: Progress) -> StreamReading:
    named = group.named
    parts, failed = open_parts([(part, item.path, item.name) for part, item in group.parts])
    whole = group.whole and not failed
    if not any(len(part.buffer) for part in parts):
        raise Unusable(group.problems[0] if group.problems else "is empty", file=named.name)
    file = read_append_only(parts, source=named.name, server=named.server, whole=whole, cache=cache, progress=progress)
    own = {one.source: one for one in (*file.parts, *failed)}
    rows: list[dict[str, Any]] = []
    for _, item in group.parts:
        told = own.get(item.name)
        rows.append(
            {
                "path": item.name,
                "kind": PART,
                "complete": told is None or told.complete,
                "stopped_at": told.stopped_at if told else None,
                "reason": told.reason if told else None,
            }
        )
    kind = AOF if file.state is not None else COMMANDS_ONLY
    reasons = [*group.problems, *(f"{row['path']} was read in part" for row in rows if row["reason"])]
    if file.state is not None and not file.state.complete and not reasons:
        reasons.append(str(file.state.reason))
    told_of_all = {"kind": kind, "complete": not reasons, "reason": "; ".join(reasons[:3]) or None}
    if group.manifest is not None:
        rows.append({"path": named.name, **told_of_all})
    else:
        main = next(row for row in rows if row["path"] == named.name)
        main |= {**told_of_all, "reason": main["reason"] or told_of_all["reason"]}
    members = tuple(item for _, item in group.parts) + ((group.manifest,) if group.manifest else ())
    return StreamReading(file, file.commands, None, tuple(rows), members)


def _read_backlog(item: CaseFile, cache: Cache | None, progress: Progress) -> StreamReading:
    file = read_backlog(item.path, source=item.name, server=item.server, cache=cache, progress=progress)
    told = file.parts[0]
    row = {
        "path": item.name,
        "kind": item.kind,
        "complete": told.complete,
        "stopped_at": told.stopped_at,
        "reason": told.reason,
    }
    return StreamReading(file, file.commands, None, (row,), (item,))


def told_apart(
    reading: StreamReading,
    *,
    retention: int | None,
    jobs: JobsSettings | None,
    config: Mapping[str, str],
    servers: pd.DataFrame,
    keys: pd.DataFrame,
    until: pd.Timestamp | None,
) -> StreamReading:
    """The reading with its commands' tasks and times, who took each key away, and ``taken_at``.

    ``config`` and ``servers`` are those of its server, ``keys`` the keys of its server's snapshots: where the stream
    itself does not tell which expiry a key had, they may.
    """
    file = reading.file
    commands = told_to_celery(file.commands, file.content, retention=retention, jobs=jobs)
    partial = file.state is None
    if partial:
        commands = _with_known_expiries(commands, keys)
    known = Removing(
        *_verbs(file, config, servers),
        evicts=_evicts(config, servers, _first(commands, file.since), until),
        evicted=int(servers["evicted_keys"].fillna(0).max()) if len(servers) else 0,
        only_with_ttl=_policy(config, servers).startswith("volatile"),
        ends_by=_earlier(end_of(file.state.keys, commands["not_before"]) if file.state else None, until, commands),
    )
    commands = attributed(commands, known, file.followed)
    first, last = _first(commands, file.since), commands["not_before"].max()
    taken_at = last if pd.notna(last) else file.since
    rows = tuple({**row, "from": first, "to": taken_at} for row in reading.rows)
    return replace(reading, commands=commands, taken_at=taken_at, rows=rows)


def _earlier(end: pd.Timestamp | None, until: pd.Timestamp | None, commands: pd.DataFrame) -> pd.Timestamp | None:
    """The earlier of two ends, of those that the stream's own times do not refute."""
    last = commands["not_before"].max()
    ends = [one for one in (end, until) if one is not None and not (pd.notna(last) and one < last)]
    return min(ends, default=None)


def _first(commands: pd.DataFrame, since: pd.Timestamp | None) -> pd.Timestamp | None:
    times = commands["not_before"].dropna()
    return since if since is not None else times.min() if len(times) else None


def _with_known_expiries(commands: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    """``due_at`` of removals of one key, of which a snapshot holds an expiry that lies ahead of the stream's begin."""
    removes = words_in(commands["verb"], ("DEL", "UNLINK")) & commands["due_at"].isna().to_numpy()
    rows = np.flatnonzero(removes & commands["db"].notna().to_numpy())
    held = keys.loc[keys["expires_at"].notna(), ["db", "key", "expires_at"]]
    if not len(rows) or not len(held):
        return commands
    named = commands["keys"].iloc[rows].tolist()
    wanted = pd.DataFrame(
        {
            "row": rows,
            "db": commands["db"].iloc[rows].to_numpy(),
            "key": [one[0] if isinstance(one, list) and len(one) == 1 else None for one in named],
        }
    ).dropna()
    # What the stream itself did to the key before may have changed its expiry.
    mentioned = pa.array(commands["keys"].iloc[: int(rows[-1]) + 1])
    mentioned = mentioned.combine_chunks() if isinstance(mentioned, pa.ChunkedArray) else mentioned
    first = (
        pd.Series(pc.list_parent_indices(mentioned).to_numpy())
        .groupby(pc.list_flatten(mentioned).to_numpy(zero_copy_only=False))
        .min()
    )
    wanted = wanted.loc[wanted["key"].map(first).ge(wanted["row"]).to_numpy(dtype=bool)]
    held = held.loc[held["key"].isin(wanted["key"])].drop_duplicates(["db", "key"], keep="last")
    found = wanted.merge(held.astype({"db": "int64", "key": "str"}), on=["db", "key"])
    due = in_micros(commands["due_at"]).copy()
    due[found["row"].to_numpy()] = in_micros(found["expires_at"])
    return commands.assign(due_at=moments(due))


def _verbs(
    file: CommandFile, config: Mapping[str, str], servers: pd.DataFrame
) -> tuple[frozenset[str], frozenset[str]]:
    """The verb with which the server removes a key that expired, and one that it evicts. Valkey 8 and later free both
    lazily unless told otherwise, Redis neither (facts/signals.md, 2.3).
    """
    flavors, versions = servers["flavor"].dropna(), servers["version"].dropna()
    valkey = file.valkey if file.valkey is not None else (bool(flavors.eq("valkey").any()) if len(flavors) else None)
    major = str(versions.iloc[-1]).partition(".")[0] if len(versions) else ""
    by_default = None if valkey is None else "yes" if valkey and not (major.isdigit() and int(major) < 8) else "no"
    told = [config.get(name, by_default) for name in ("lazyfree-lazy-expire", "lazyfree-lazy-eviction")]
    expires, evicts = (
        frozenset({"yes": ("UNLINK",), "no": ("DEL",)}.get(one or "", ("DEL", "UNLINK"))) for one in told
    )
    return expires, evicts


def _policy(config: Mapping[str, str], servers: pd.DataFrame) -> str:
    said = servers["maxmemory_policy"].dropna()
    return str(said.iloc[-1]) if len(said) else config.get("maxmemory-policy", "")


def _evicts(
    config: Mapping[str, str], servers: pd.DataFrame, since: pd.Timestamp | None, until: pd.Timestamp | None
) -> bool | None:
    """Whether the server evicted keys while the stream was written; None where that is not known (Redis evict.c): where
    the counter was read before the last that is known of the case, the stream may go on beyond it.
    """
    if servers["role"].eq("slave").any():
        # A replica's stream is its master's, whose memory it does not tell of.
        return None
    evicted = servers["evicted_keys"].dropna()
    limits = servers["maxmemory"].dropna()
    if len(evicted) and evicted.max() > 0:
        # Without a limit now it evicted under one of before, and whether that was while this was written is not told.
        return True if not len(limits) or limits.max() > 0 else None
    if (len(limits) and limits.max() == 0) or (not len(limits) and config.get("maxmemory") == "0"):
        return False
    if _policy(config, servers) == "noeviction":
        return False
    covered = servers["counters_since"].dropna()
    if (
        len(evicted)
        and len(covered)
        and since is not None
        and covered.min() <= since
        and not (until is not None and servers["at"].max() < until - pd.Timedelta(seconds=2))
        and not servers["restarted"].any()
    ):
        return False
    return None

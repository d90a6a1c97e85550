"""Append-only files: the commands in them, and the state that they leave behind.

In: one file, with or without a snapshot before its commands, or the parts of one (Redis 7.0+). Out: ``CommandFile``
with rows of the frame ``commands`` and, where a state can be told, ``Replayed`` with the frame ``keys``. Knows Redis;
not what Celery or an application keeps in it, nor who sent a command.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right, insort
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cache import Cache
from analysis.columns import Columns, FileColumns, MemoryColumns, NotKept, scratch
from analysis.errors import Unusable
from analysis.evidence.aof_manifest import HISTORY, INCREMENT, PartName
from analysis.evidence.aof_state import Replayed, replayed
from analysis.evidence.command_blocks import MISSING, NO_TIME, CommandColumns, commands_frame
from analysis.evidence.command_times import UNKNOWN, narrowed, seconds
from analysis.evidence.rdb import Snapshot, read_rdb
from analysis.evidence.rdb_reading import aside
from analysis.evidence.rdb_values import Buffer, ValueUnreadable
from analysis.evidence.replay import Replay
from analysis.evidence.replay_values import Based, Held, Key, held_of
from analysis.evidence.resp import Gap, Numbers, Stream
from analysis.frames import concat, counts, in_micros, micros_of, moments
from analysis.kernels import kernels_for
from analysis.progress import Progress

AOF, BACKLOG = "append-only file", "replication backlog"


@dataclass(frozen=True)
class Part:
    """A file of commands, or of a state: ``source`` is its name in the case, ``begin`` where it begins when all parts
    are put one behind the other.
    """

    path: Path
    source: str
    type: str
    seq: int
    is_base: bool
    buffer: Buffer = field(repr=False)
    begin: int = 0

    @property
    def is_snapshot(self) -> bool:
        """Whether it begins with a snapshot, by its magic."""
        return self.buffer[:5] == b"REDIS" or self.buffer[:6] == b"VALKEY"


@dataclass(frozen=True)
class PartReading:
    """What became of one part: as a row of the frame ``evidence``, without times and hash."""

    source: str
    complete: bool
    stopped_at: int | None
    reason: str | None


@dataclass(frozen=True, eq=False)
class CommandFile:
    """Commands of one append-only file or backlog, in order. ``payload_at`` counts in all parts, one behind the other.

    ``state`` is None where it cannot be told: of a backlog, and without a base. ``valkey`` says who wrote it, where a
    snapshot among the parts tells that. ``since`` is when its base was made: no command before it is in the file.
    ``followed``: of each row of ``commands`` whether all that its key had been before it was known.
    """

    source: str
    server: str
    witness: str
    commands: pd.DataFrame = field(repr=False)
    state: Replayed | None
    parts: tuple[PartReading, ...]
    since: pd.Timestamp | None
    valkey: bool | None
    followed: NDArray[np.bool_] = field(repr=False)
    _parts: tuple[Part, ...] = field(repr=False)
    _read: Callable[[int], bytes] = field(repr=False)

    def begins(self, other: CommandFile) -> bool:
        """Whether this is an older copy of ``other``, or the same: all of it stands at the other's beginning."""
        if self.witness != AOF or (self.server, len(self._parts)) != (other.server, len(other._parts)):
            return False
        pairs = list(zip(self._parts, other._parts, strict=True))
        sizes = [(len(one.buffer), len(two.buffer)) for one, two in pairs]
        if not pairs or any(one != two for one, two in sizes[:-1]) or sizes[-1][0] > sizes[-1][1]:
            return False
        if sizes[-1][0] == sizes[-1][1] and self.source < other.source:
            return False
        return all(_same_ends(one.buffer, two.buffer) for one, two in pairs)

    @property
    def current(self) -> frozenset[str]:
        """Sources of the parts that a server would load; what the others hold, history, is older than the base."""
        return frozenset(part.source for part in self._parts if part.type != HISTORY)

    def content(self, payload_at: int) -> bytes:
        """The content that a command wrote or took away (column ``payload_at``). Raises ValueUnreadable."""
        return self._read(int(payload_at))


def open_parts(named: Sequence[tuple[PartName, Path, str]]) -> tuple[list[Part], list[PartReading]]:
    """Parts that can be opened, in order but that history stands last, and those that cannot. An empty file is a part
    without commands.
    """
    parts: list[Part] = []
    failed: list[PartReading] = []
    begin = 0
    for name, path, source in sorted(named, key=lambda one: one[0].type == HISTORY):
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                buffer: Buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            failed.append(PartReading(source, False, 0, f"cannot be read: {reason}"))
            continue
        parts.append(Part(path, source, name.type, name.seq, name.is_base, buffer, begin))
        begin += len(buffer)
    return parts, failed


def read_append_only(
    parts: Sequence[Part],
    *,
    source: str,
    server: str = "",
    whole: bool = True,
    replays: bool = True,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> CommandFile:
    """All commands of the parts, and the state after the last.

    A file of commands may begin with a snapshot (``aof-use-rdb-preamble``). The commands of a base are its state
    written down, no history, and have no rows; those of history are read for themselves. Where a part is damaged,
    commands are taken up behind it, their database unknown until the next SELECT; the state is that before the damage.
    A torn end, and a transaction without its end, are no part of the state, for a server would not load them
    (facts/signals.md, 3).
    ``whole``: no part is known to be missing; else there is no state. ``replays``: whether commands are replayed at
    all, without which there is no state, and no command tells which expiry its key had or what it took away.
    """
    reading = _Reading(source, server, AOF, cache, progress or Progress())
    before = Replay({}, reading.load, reading.read, partial=True)
    # Redis writes the newest first into the manifest (aof.c, aofManifest's history list).
    for part in sorted((part for part in parts if part.type == HISTORY), key=lambda part: (part.seq, not part.is_base)):
        if part.is_base and part.is_snapshot:
            reading.parts.append(PartReading(part.source, True, None, None))
        else:
            reading.take(part, before if replays else None, rows=not part.is_base)
    current = [part for part in parts if part.type != HISTORY]
    replay = Replay({}, reading.load, reading.read, partial=not whole)
    known = whole
    for part in current:
        start = 0
        if part.is_snapshot:
            snapshot = read_rdb(part.path, source=source, server=server, cache=cache, progress=progress)
            start = _commands_begin(snapshot)
            if part is current[0]:
                reading.base = snapshot
                replay.dbs.update(_based(snapshot))
            if start < 0:
                reading.parts.append(PartReading(part.source, snapshot.complete, snapshot.stopped_at, snapshot.reason))
                known &= snapshot.complete
                replay.partial |= not snapshot.complete
                continue
        follows = replay if replays and (known or replay.partial) else None
        known &= reading.take(part, follows, rows=not part.is_base, start=start)
    base = reading.base
    history = {part.source for part in parts if part.type == HISTORY}
    return CommandFile(
        source=source,
        server=server,
        witness=AOF,
        commands=_bounded(reading.commands(), base.taken_at if base else None, history),
        state=reading.state(replay, complete=known) if whole and replays else None,
        parts=tuple(reading.parts),
        since=base.taken_at if base else None,
        valkey=base.flavor == "valkey" if base else None,
        followed=reading.followed(),
        _parts=tuple(parts),
        _read=reading.content,
    )


def read_backlog(
    path: Path, *, source: str, server: str = "", cache: Cache | None = None, progress: Progress | None = None
) -> CommandFile:
    """A replication backlog: its head is torn as a rule, its database unknown until the first SELECT, and what the keys
    were before it is not known (facts/signals.md, 2.5). Raises Unusable where it holds no command.
    """
    parts, failed = open_parts([(PartName(path.name, 0, INCREMENT), path, source)])
    if failed:
        raise Unusable(str(failed[0].reason), file=path.name)
    reading = _Reading(source, server, BACKLOG, cache, progress or Progress())
    replay = Replay({}, reading.load, reading.read, partial=True)
    reading.take(parts[0], replay, rows=True, db=-1, torn_head=True)
    commands = _bounded(reading.commands(), None)
    followed = np.zeros(len(commands), bool)
    return CommandFile(
        source,
        server,
        BACKLOG,
        commands,
        None,
        tuple(reading.parts),
        None,
        None,
        followed,
        tuple(parts),
        reading.content,
    )


def _bounded(commands: pd.DataFrame, since: pd.Timestamp | None, history: Container[str] = ()) -> pd.DataFrame:
    """Times narrowed by what the commands themselves tell: they came after the base was begun, and an expiry that is
    written lies ahead. (SET with a time past is possible, and never done by SETEX, which Celery uses.)
    """
    if not len(commands):
        return commands
    timed = np.flatnonzero(commands["verb"].isin(("SET", "set")).to_numpy() & commands["expires_at"].notna().to_numpy())
    ahead = in_micros(commands["expires_at"])[timed]
    rows, low = timed, np.full(len(timed), UNKNOWN, np.int64)
    from_history = np.array([source in history for source in commands["source"].cat.categories])[
        commands["source"].cat.codes.to_numpy()
    ]
    if since is not None and not from_history.all():
        # History was written before the base.
        first = int((~from_history).argmax())
        place = int(np.searchsorted(timed, first))
        rows, low = np.insert(timed, place, first), np.insert(low, place, micros_of(since))
        ahead = np.insert(ahead, place, UNKNOWN)
    not_before, not_after = narrowed(
        in_micros(commands["not_before"]), in_micros(commands["not_after"]), rows, low, ahead
    )
    return commands.assign(not_before=moments(not_before), not_after=moments(not_after))


def _commands_begin(snapshot: Snapshot) -> int:
    """Where commands follow a sound snapshot in one file; -1 where none do."""
    sound = snapshot.checksum in ("verified", "off", "absent")
    return -1 if snapshot.complete or snapshot.stopped_at is None or not sound else snapshot.stopped_at


def _based(snapshot: Snapshot) -> dict[int, dict[bytes, Key]]:
    keys = snapshot.keys
    dbs: dict[int, dict[bytes, Key]] = {}
    expiries = keys["expires_at"].astype("int64").where(keys["expires_at"].notna(), -1) // 1000
    columns = (keys["db"], keys["key"], keys["offset"], expiries)
    for row, (db, name, offset, expires) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        raw = snapshot.name(offset) if "\\" in name else name.encode()
        dbs.setdefault(db, {})[raw] = Based(row, offset, expires if expires >= 0 else None)
    return dbs


class _Reading:
    """What is gathered while the parts of one file are gone through."""

    def __init__(self, source: str, server: str, witness: str, cache: Cache | None, progress: Progress) -> None:
        self.source, self.server, self.witness = source, server, witness
        self.cache, self.progress = cache, progress
        self.parts: list[PartReading] = []
        self.base: Snapshot | None = None
        self.frames: list[pd.DataFrame] = []
        self._followed: list[NDArray[np.bool_]] = []
        self._buffers: list[tuple[int, Buffer]] = []

    def _place(self, at: int) -> tuple[Buffer, int]:
        begin, buffer = self._buffers[bisect_right(self._buffers, at, key=lambda one: one[0]) - 1]
        return buffer, at - begin

    def read(self, at: int, size: int) -> bytes:
        """Bytes by their place in all parts, one behind the other."""
        buffer, place = self._place(at)
        return buffer[place : place + size]

    def content(self, at: int) -> bytes:
        """The bulk string that begins at a place, whose size stands in the line before it; or a string of the base."""
        if self.base is not None and self.base.is_entry(at):
            value = self.base.value(at)
            if isinstance(value, bytes):
                return value
            raise ValueUnreadable(at, "not a string")
        if not self._buffers or at < self._buffers[0][0]:
            raise ValueUnreadable(at, "not a place in the file")
        buffer, place = self._place(at)
        said = buffer[max(place - _LONGEST_HEADER, 0) : place].rpartition(b"$")[2]
        if not said.endswith(b"\r\n") or not said[:-2].isdigit():
            raise ValueUnreadable(at, "not a place of content")
        return buffer[place : place + int(said)]

    def load(self, found: Based) -> Held:
        """A key of the base, to be changed."""
        assert self.base is not None
        try:
            value, kind = held_of(self.base.value(found.at), self.base.type_byte(found.at))
            held = Held(kind, value, found.at, found.expires)
            held.field_expiries = self.base.field_expiries(found.at) or None
        except ValueUnreadable as error:
            kind = str(self.base.keys["type"].iloc[found.row])
            held = Held(kind, None, found.at, found.expires, error.reason)
        return held

    def take(
        self,
        part: Part,
        replay: Replay | None,
        *,
        rows: bool,
        start: int = 0,
        db: int = 0,
        torn_head: bool = False,
    ) -> bool:
        """Go through one part; whether its state is known to its end."""
        insort(self._buffers, (part.begin, part.buffer), key=lambda one: one[0])
        size = len(part.buffer)
        if not size:
            self.parts.append(PartReading(part.source, True, None, None))
            return True
        kernels = kernels_for(size, self.cache.folder if self.cache else None, self.progress)
        stream = Stream(part.buffer, start, size, kernels, torn_head=torn_head)
        walked = self._walk(stream, db)
        if torn_head and stream.gaps and stream.gaps[0] == Gap(start, size, stream.gaps[0].reason):
            raise Unusable("holds no command", file=part.path.name)
        gaps = [gap for gap in stream.gaps if not (torn_head and gap.begin == start)]
        ends = [*(gap.begin for gap in gaps[:1]), *([walked.open_at] if walked.open_at is not None else [])]
        if walked.columns:
            self._finish(part, stream, walked, replay, min(ends, default=size), rows=rows, db=db)
        reasons = [f"{gap.reason} at byte {gap.begin}{_resumed(gap.end, size)}" for gap in gaps]
        if walked.open_at is not None:
            reasons.append(f"ends inside a transaction begun at byte {walked.open_at}, which a server does not load")
        self.parts.append(
            PartReading(part.source, not reasons, min(ends, default=None), "; ".join(reasons[:3]) or None)
        )
        return not gaps or gaps[0].end >= size

    def _walk(self, stream: Stream, db: int) -> _Walked:
        try:
            if stream.kernels.compiled:
                with aside() as folder:
                    files = FileColumns(folder)
                    try:
                        return self._walked(stream, files, db)
                    finally:
                        files.close()
        except NotKept as error:
            self.progress.say(f"nothing can be kept on disk ({error.strerror}): reading into memory")
        return self._walked(stream, MemoryColumns(), db)

    def _walked(self, stream: Stream, kept: MemoryColumns | FileColumns, db: int) -> _Walked:
        taken = CommandColumns(stream, db=db)
        at, gaps, some, open_at = stream.start, 0, False, None
        for block in stream.blocks():
            if len(stream.gaps) > gaps:
                # The first gap ends the state: a transaction that was open there never ended.
                open_at = taken.open_at if some and open_at is None else open_at
                gaps = len(stream.gaps)
                taken.lose_database()
            kept.append(taken.take(block))
            some = True
            reached = int(block.offsets[-1])
            self.progress.advance(reached - at)
            at = reached
        self.progress.advance(stream.end - at)
        if not some:
            return _Walked({}, None, NO_TIME, None)
        columns = kept.finish()
        return _Walked(
            columns, taken.verbs(columns["verb"]), taken.last_second, taken.open_at if open_at is None else open_at
        )

    def _finish(
        self, part: Part, stream: Stream, walked: _Walked, replay: Replay | None, until: int, *, rows: bool, db: int
    ) -> None:
        """Replay a part, and its rows."""
        columns = walked.columns
        count = len(columns["offset"])
        due, payload = scratch(count, np.int64), scratch(count, np.int64)
        due[:] = NO_TIME
        payload[:] = columns["payload_at"]
        np.add(payload, part.begin, out=payload, where=payload != MISSING)
        reached = self._replay(part, stream, replay, until, db, due, payload, 0) if replay is not None else 0
        followed = np.zeros(count, bool)
        followed[: reached if replay is not None and not replay.partial else 0] = True
        if replay is not None and reached < count:
            # Behind what the state ends with, commands still tell of one another.
            rest = Replay({}, self.load, self.read, partial=True)
            again = Stream(part.buffer, stream.start, stream.end, stream.kernels)
            self._replay(part, again, rest, stream.end, db, due, payload, reached)
        if rows and count:
            self._followed.append(followed)
            not_before, not_after = seconds(columns["not_before"], walked.last_second)
            self.frames.append(
                commands_frame(
                    columns,
                    walked.verbs,
                    server=self.server,
                    source=part.source,
                    witness=self.witness,
                    not_before=moments(not_before),
                    not_after=moments(not_after),
                    due_at=moments(due),
                    payload_at=counts(payload, MISSING),
                )
            )

    @staticmethod
    def _replay(
        part: Part, stream: Stream, replay: Replay, until: int, db: int, due: Numbers, payload: Numbers, first: int
    ) -> int:
        """Replay commands and note what they found, from row ``first`` on; how many rows were gone through."""
        taken, at = CommandColumns(stream, db=db), 0
        for block, dues, tooks in replay.run(stream, shift=part.begin, until=until, db=db):
            applied = int(np.searchsorted(block.offsets, until))
            kept = taken.rows_of(block)[:applied]
            found, took = np.array(dues, np.int64)[:applied][kept], np.array(tooks, np.int64)[:applied][kept]
            skipped = max(first - at, 0)
            here = slice(at + skipped, at + len(found))
            found, took = found[skipped:], took[skipped:]
            due[here] = np.where(found < 0, NO_TIME, np.minimum(found, _LAST_MS) * 1000)
            payload[here] = np.where((payload[here] == MISSING) & (took >= 0), took, payload[here])
            at += int(kept.sum())
        return at

    def followed(self) -> NDArray[np.bool_]:
        return np.concatenate(self._followed) if self._followed else np.zeros(0, bool)

    def commands(self) -> pd.DataFrame:
        return concat("commands", self.frames)

    def state(self, replay: Replay, *, complete: bool) -> Replayed:
        """The keys that are left."""
        reasons = [f"{one.source}: {one.reason}" for one in self.parts if one.reason]
        return replayed(replay, self.base, source=self.source, server=self.server, complete=complete, reasons=reasons)


@dataclass(frozen=True)
class _Walked:
    """The columns of one part, and what ends them."""

    columns: Columns
    verbs: Any
    last_second: int
    open_at: int | None


def _same_ends(one: Buffer, two: Buffer) -> bool:
    """Whether the first bytes of two buffers are the same, and the last of the shorter one."""
    size = min(len(one), len(two))
    return one[:_ENDS] == two[:_ENDS] and one[max(size - _ENDS, 0) : size] == two[max(size - _ENDS, 0) : size]


_ENDS = 2**16
_LAST_MS = 253_402_300_799_999
_LONGEST_HEADER = 14


def _resumed(end: int, size: int) -> str:
    return f"; read on from byte {end}" if end < size else ""

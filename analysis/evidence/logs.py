"""Logs: of Celery workers, of Redis servers, of applications.

In: a file, whose kind its content tells. Out: the frame ``events``, and from when to when the log runs. Weighs nothing.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import NotKept
from analysis.evidence.log_actions import told_by_application
from analysis.evidence.log_blocks import Block, read_block
from analysis.evidence.log_common import Common, common_events, redacted
from analysis.evidence.log_forms import names_itself, told_by_server, told_by_worker
from analysis.evidence.log_kinds import Said
from analysis.evidence.log_lines import BLOCK, LogLines, lines_of
from analysis.evidence.log_rows import UNKNOWN, Rows
from analysis.evidence.log_times import Head, HeadReader
from analysis.redact import redact_text, redact_value, shorten

T = TypeVar("T")
LONGEST_TEXT = 4_000
# What is kept of a line and of those that belong to it, before secrets are taken out and the text is shortened.
_LONGEST_RAW = 16_384
_MOST_WAITING = 10_000

_COLOUR = re.compile(rb"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_NODE = re.compile(rb"\s?-{10,} (?P<node>\S{1,200}@\S{1,200} v\S{1,40}.{0,40})")
# What a line of logging begins with where it has no time, or one whose form does not tell day from month.
_RECORD = re.compile(
    rb"(?:[\d/.,: -]{8,40}(?:[AP]M[\s:|-]{1,4})?)?[\[<]?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)"
    rb"(?:[/|][^\]]{1,120})?[\]>]?[\s:|-]{1,4}(?:[\w.]{1,100}[\s:|-]{1,4}(?=Task |Received ))?"
)
_DISCARDED = frozenset(("unregistered", "invalid_message", "unknown_message", "undecodable"))
_PROCESS = {"worker": "worker", "redis": "redis", "": "application"}


@dataclass(frozen=True)
class LogReading:
    """What one log says. ``kind`` is ``worker log``, ``redis log`` or ``application log``.

    ``first_at`` and ``last_at`` are over all lines with a time, events or not; ``lines`` is how many lines were read.
    Where not all could be read, ``complete`` is False, ``stopped_at`` the last line that was, and ``reason`` says
    why.
    """

    events: pd.DataFrame
    kind: str
    first_at: pd.Timestamp | None
    last_at: pd.Timestamp | None
    lines: int
    complete: bool = True
    stopped_at: int | None = None
    reason: str | None = None


def read_log(path: Path, *, source: str, server: str = "", zone: ZoneInfo) -> LogReading:
    """A log's events, in its order, one row for each thing a line says (``log_kinds.KINDS``).

    Times without an offset are in ``zone``. A time in whole seconds stands for that second, one that the zone's clock
    showed twice for both; ``at`` and ``not_after`` are the ends. What is printed without a time happened between the
    timed lines around it: ``at`` is the one before, ``not_after`` the one after, each missing where there is none.
    Lines without a time that belong to an event (a traceback, a message's headers) are in its ``text``, which is
    redacted and no longer than ``LONGEST_TEXT`` and a note of what was left out.
    """
    try:
        return _read(path, zone, Rows(source, server))
    except NotKept:
        return _read(path, zone, Rows(source, server, in_memory=True))


def _read(path: Path, zone: ZoneInfo, rows: Rows) -> LogReading:
    with rows:
        lines = LogLines(path)
        reader = _Reader(zone, rows)
        heads = HeadReader(zone)
        pieces = (_piece(first, data, heads) for first, data in lines.blocks())
        for piece in _ahead(pieces) if path.stat().st_size > BLOCK else pieces:
            reader.take_piece(piece)
        reader.end()
        if lines.complete and lines.foreign and reader.first is None:
            lines.complete, lines.reason = False, "is not text, and no line of it has a time"
        return LogReading(
            events=rows.frame(),
            kind=reader.kind,
            first_at=_moment(reader.first),
            last_at=_moment(reader.last),
            lines=lines.count,
            complete=lines.complete,
            stopped_at=None if lines.complete else lines.count,
            reason=lines.reason,
        )


@dataclass(frozen=True)
class _Piece:
    """Whole lines, of which the first has the number ``first``; and where it helps, what is known of all at once."""

    first: int
    data: bytes
    block: Block | None
    common: Common | None


def _piece(first: int, data: bytes, heads: HeadReader) -> _Piece:
    block = read_block(first, data, heads)
    return _Piece(first, data, block, common_events(block) if block else None)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


@dataclass
class _Event:
    line: int
    at: int | None
    until: int | None
    process: str
    said: list[Said]
    text: bytes


@dataclass
class _Reader:
    """Goes through a log once, holding only the event whose lines still come and those that wait for the next time."""

    zone: ZoneInfo
    rows: Rows
    first: int | None = None
    last: int | None = None

    def __post_init__(self) -> None:
        self._heads = HeadReader(self.zone)
        self._open: _Event | None = None
        self._waiting: deque[_Event] = deque()
        self._now: int | None = None
        self._node = b""
        self._worker_lines = self._server_lines = 0

    @property
    def kind(self) -> str:
        if self._server_lines > self._worker_lines:
            return "redis log"
        return "worker log" if self._worker_lines else "application log"

    def take_piece(self, piece: _Piece) -> None:
        if piece.block is not None and piece.common is not None:
            self._take_block(piece.block, piece.common)
            return
        for number, line in lines_of(piece.first, piece.data):
            self.take(number, line)

    def _take_block(self, block: Block, common: Common) -> None:
        """The same as ``take`` for each line; what needs no look goes by at once."""
        if block.timed.any():
            self._seen(int(block.at[block.timed].min()), int(block.at[block.timed].max()))
        self.rows.begin(common.columns | {"text": redacted(common.columns["text"])})
        rest = block.looked_at & ~common.found
        added = _follows(block.added, rest)
        passed = _Passed(block, common.found)
        done = 0
        for place in np.flatnonzero(rest | added).tolist():
            self._pass(passed, done, place)
            done = place + 1
            if added[place]:
                if self._open is not None and self._wants_more(self._open):
                    self._belongs(self._open, block.line(place))
            elif line := block.line(place):
                self.take(int(block.numbers[place]), line)
        self._pass(passed, done, len(block))

    def _pass(self, passed: _Passed, begin: int, end: int) -> None:
        """Lines that need no look: those with a time end what came before them, and some are common events."""
        first, behind = passed.timed_before[begin], passed.timed_before[end]
        if first < behind:
            self._close()
            self._at(passed.until[first], passed.at[behind - 1])
            self._heads.passed(passed.at[behind - 1])
            self._worker_lines += behind - first
            self.rows.reach(passed.common_before[end])

    def take(self, number: int, line: bytes) -> None:
        """One line, whatever it is."""
        if b"\x1b" in line:
            line = _COLOUR.sub(b"", line)
        head = self._heads.read(line)
        if head is None:
            self._untimed(number, line)
            return
        self._close()
        if head.fields:
            head = head._replace(message=_with_fields(head.message, head.fields))
        if head.at is not None and head.until is not None:
            self._seen(head.at, head.at)
            self._at(head.until, head.at)
        message = head.message
        writer, said = self._told(head)
        self._worker_lines += writer == "worker"
        self._server_lines += writer == "redis"
        if said:
            process = f"{_PROCESS[writer]} {head.process}".strip()
            if said[0].kind == "worker_started":
                self._write(
                    _Event(number, head.at, head.until, process, said, self._node + b", " + message.lstrip(b"-* "))
                )
            else:
                self._open = _Event(number, head.at, head.until, process, said, message)

    def _seen(self, first: int, last: int) -> None:
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def _at(self, until: int, now: int) -> None:
        """A time, which is the end of what waits for one, and ``now``, the last of those that followed it."""
        self._now = now
        for event in self._waiting:
            event.until = until if event.at is None else max(event.at, until)
            self._write(event)
        self._waiting.clear()

    def end(self) -> None:
        self._close()
        for event in self._waiting:
            self._write(event)

    def _told(self, head: Head) -> tuple[str, list[Said]]:
        """Who writes a line, and what it says."""
        message = head.message
        if head.writer == "redis":
            return "redis", list(told_by_server(message, head.process))
        if self._node and head.writer == "worker" and message[:1] == b"-":
            return "worker", [Said("worker_started")]
        if said := list(told_by_worker(message)):
            # Any program may be refused a write; all else is Celery's own wording.
            return ("worker" if said[0].kind != "write_refused" else head.writer), said
        said = list(told_by_application(message))
        return head.writer, _of_fields(said, head.fields) if head.fields else said

    def _untimed(self, number: int, line: bytes) -> None:
        """A line without a time: printed by a worker, or a part of the line before it."""
        if node := _NODE.match(line):
            self._node = node["node"]
            return
        said = list(told_by_worker(line, printed=True))
        if not said and (record := _RECORD.match(line)):
            said = list(told_by_worker(line[record.end() :]))
        if said:
            self._worker_lines += 1
            self._close()
        elif self._open is not None:
            self._belongs(self._open, line)
            return
        else:
            said = list(told_by_worker(line)) or list(told_by_application(line))
            said = [
                one
                for one in said
                if one.kind in ("write_refused", "mentioned", "flush", "purge", "delete", "not_done")
            ]
        if said:
            writer = "worker" if self._worker_lines else ""
            self._waiting.append(_Event(number, self._now, None, _PROCESS[writer], said, line[:_LONGEST_RAW]))
            if len(self._waiting) > _MOST_WAITING:
                self._write(self._waiting.popleft())

    def _belongs(self, event: _Event, line: bytes) -> None:
        if len(event.text) < _LONGEST_RAW:
            event.text += b"\n" + line[:_LONGEST_RAW]
        if self._wants_id(event) and (told := names_itself(line)):
            task_id, name = _text(told["id"]), _text(told["name"])
            event.said[0] = replace(event.said[0], task_id=task_id, name=event.said[0].name or name)

    def _wants_more(self, event: _Event) -> bool:
        return len(event.text) < _LONGEST_RAW or self._wants_id(event)

    def _wants_id(self, event: _Event) -> bool:
        return event.said[0].kind in _DISCARDED and not event.said[0].task_id

    def _close(self) -> None:
        if self._open is not None:
            self._write(self._open)
            self._open = None

    def _write(self, event: _Event) -> None:
        text = _text(event.text[:_LONGEST_RAW]).rstrip()
        text = shorten(redact_text(text), LONGEST_TEXT)
        at, until = (UNKNOWN if one is None else one for one in (event.at, event.until))
        for said in event.said:
            count = UNKNOWN if said.count is None else said.count
            seconds = math.nan if said.seconds is None else said.seconds
            self.rows.add(
                (at, until, event.line, event.process, said.kind, said.task_id, said.name, count, seconds, text)
            )


class _Passed:
    """What goes by of a block: times; and how many lines that have one, and common events, come before each line."""

    def __init__(self, block: Block, common: NDArray[np.bool_]) -> None:
        self.at: list[int] = block.at[block.timed].tolist()
        self.until: list[int] = block.until[block.timed].tolist()
        self.timed_before = _before(block.timed)
        self.common_before = _before(common)


def _before(mask: NDArray[np.bool_]) -> list[int]:
    return [0, *np.cumsum(mask).tolist()]


def _follows(added: NDArray[np.bool_], rest: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the lines that are merely ``added`` can be added to something: the last other line before them is one
    of ``rest``, or stands in the block before.
    """
    last = np.maximum.accumulate(np.where(added, -1, np.arange(len(rest))))
    return added & (rest[last] | (last < 0))


_ID_FIELDS = ("task_id", "celery_task_id", "taskId", "task_uuid")


def _of_fields(said: list[Said], fields: dict[str, Any]) -> list[Said]:
    """What a JSON line says, with the task that it names in a field of its own, which need not be a UUID."""
    named = next((fields[name] for name in _ID_FIELDS if isinstance(fields.get(name), str) and fields[name]), None)
    if named is None or any(one.task_id == _clean(named) for one in said):
        return said
    task_id = _clean(named)
    if len(said) == 1 and said[0].task_id is None and said[0].count in (None, 1):
        return [replace(said[0], task_id=task_id)]
    return [*said, Said("mentioned", task_id)]


def _with_fields(message: bytes, fields: dict[str, Any]) -> bytes:
    """A JSON line's message and its other fields as ``name=value``."""
    plain = (
        f"{name}={value}"
        for name, value in redact_value(fields).items()
        if isinstance(value, str | int | float) and value != "" and len(str(name)) < 80
    )
    return b" ".join([message, *(pair.encode("utf-8", "backslashreplace") for pair in plain)])


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _moment(micros: int | None) -> pd.Timestamp | None:
    return None if micros is None else pd.Timestamp(micros, unit="us", tz="UTC").as_unit("us")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")

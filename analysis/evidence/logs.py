"""Logs: of Celery workers, of Redis servers, of applications.

In: a file, whose kind its content tells. Out: the frame ``events``, and from when to when the log runs. Weighs nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from analysis.evidence.log_actions import told_by_application
from analysis.evidence.log_forms import names_itself, told_by_server, told_by_worker
from analysis.evidence.log_kinds import Said
from analysis.evidence.log_lines import LogLines
from analysis.evidence.log_times import Head, HeadReader
from analysis.frames import concat, frame
from analysis.redact import redact_text, redact_value, shorten

LONGEST_TEXT = 4_000
# What is kept of a line and of those that belong to it, before secrets are taken out and the text is shortened.
_LONGEST_RAW = 16_384
_ROWS_AT_ONCE = 50_000
_UNKNOWN = np.iinfo(np.int64).min

_COLOUR = re.compile(rb"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_NODE = re.compile(rb"\s?-{10,} (?P<node>\S{1,200}@\S{1,200} v\S{1,40}.{0,40})")
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
    lines = LogLines(path)
    reader = _Reader(source, server, zone)
    for number, line in lines:
        reader.take(number, line)
    reader.end()
    if lines.complete and lines.foreign and reader.first is None:
        lines.complete, lines.reason = False, "is not text, and no line of it has a time"
    return LogReading(
        events=concat("events", reader.parts),
        kind=reader.kind,
        first_at=_moment(reader.first),
        last_at=_moment(reader.last),
        lines=lines.count,
        complete=lines.complete,
        stopped_at=None if lines.complete else lines.count,
        reason=lines.reason,
    )


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

    source: str
    server: str
    zone: ZoneInfo
    parts: list[pd.DataFrame] = field(default_factory=list)
    first: int | None = None
    last: int | None = None

    def __post_init__(self) -> None:
        self._heads = HeadReader(self.zone)
        self._open: _Event | None = None
        self._waiting: list[_Event] = []
        self._now: int | None = None
        self._node = b""
        self._rows: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self._worker_lines = self._server_lines = 0

    @property
    def kind(self) -> str:
        if self._server_lines > self._worker_lines:
            return "redis log"
        return "worker log" if self._worker_lines else "application log"

    def take(self, number: int, line: bytes) -> None:
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
            self._now = head.at
            self.first = head.at if self.first is None else min(self.first, head.at)
            self.last = head.at if self.last is None else max(self.last, head.at)
            for event in self._waiting:
                event.until = head.until if event.at is None else max(event.at, head.until)
                self._write(event)
            self._waiting.clear()
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

    def end(self) -> None:
        self._close()
        for event in self._waiting:
            self._write(event)
        self._flush()

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
            self._waiting.append(_Event(number, self._now, None, _PROCESS[writer], said, line))
            if len(self._waiting) > _ROWS_AT_ONCE:
                self._write(self._waiting.pop(0))

    def _belongs(self, event: _Event, line: bytes) -> None:
        if len(event.text) < _LONGEST_RAW:
            event.text += b"\n" + line[:_LONGEST_RAW]
        if event.said[0].kind in _DISCARDED and not event.said[0].task_id and (told := names_itself(line)):
            task_id, name = _text(told["id"]), _text(told["name"])
            event.said[0] = replace(event.said[0], task_id=task_id, name=event.said[0].name or name)

    def _close(self) -> None:
        if self._open is not None:
            self._write(self._open)
            self._open = None

    def _write(self, event: _Event) -> None:
        text = _text(event.text[:_LONGEST_RAW]).rstrip()
        text = shorten(redact_text(text), LONGEST_TEXT)
        rows = self._rows
        for said in event.said:
            rows["at"].append(_UNKNOWN if event.at is None else event.at)
            rows["not_after"].append(_UNKNOWN if event.until is None else event.until)
            rows["line"].append(event.line)
            rows["process"].append(event.process)
            rows["kind"].append(said.kind)
            rows["task_id"].append(said.task_id)
            rows["name"].append(said.name)
            rows["count"].append(said.count)
            rows["seconds"].append(said.seconds)
            rows["text"].append(text)
        if len(rows["at"]) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        count = len(self._rows["at"])
        columns: dict[str, Any] = dict(self._rows)
        for name in ("at", "not_after"):
            columns[name] = pd.Series(np.array(self._rows[name], "int64").view("datetime64[us]")).dt.tz_localize("UTC")
        columns |= {"source": [self.source] * count, "server": [self.server] * count}
        self.parts.append(frame("events", columns))
        self._rows = {name: [] for name in _COLUMNS}


_COLUMNS = ("at", "not_after", "line", "process", "kind", "task_id", "name", "count", "seconds", "text")
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

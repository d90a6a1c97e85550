"""``case.toml``: what only a person knows about a case.

In: the file's text. Out: ``Settings``, every field optional. A wrong key, type or value is ``Unusable`` and names its
line. Knows nothing of the evidence beside it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from analysis.celery.jobs import JobsSettings
from analysis.errors import Unusable

UTC = ZoneInfo("UTC")


@dataclass(frozen=True)
class Key:
    """A key of ``case.toml``: its table (empty = top), what it takes and what it means. ``*``: any name."""

    table: str
    name: str
    takes: str
    meaning: str


_TIME, _ZONE, _SECONDS, _TEXT, _DB = "a time", "a time zone", "seconds", "text", "a database number"

KEYS: tuple[Key, ...] = (
    Key("", "name", _TEXT, "what the case is called; else the folder's own name"),
    Key("", "environment", _TEXT, "where the record was looked for: a folder under servers/, if there are any"),
    Key("", "timezone", _ZONE, "of times without an offset, here and in logs; default UTC; shown beside UTC"),
    Key("", "noticed_at", _TIME, "when somebody missed the record: testimony, which may be mistaken"),
    Key("", "source", _TEXT, "folder of the source code, relative to case.toml, if it is not src/"),
    Key("timezones", "*", _ZONE, "of the logs whose names match the key, where it is another"),
    Key("snapshots", "*", _TIME, "when the snapshot of that name was taken, where it does not say so itself (RDB 2-6)"),
    Key("databases", "main", _DB, "where a job record was looked for; not stated = anywhere"),
    Key("databases", "broker", _DB, "where a message was looked for; not stated = anywhere"),
    Key("databases", "results", _DB, "where a result was looked for; not stated = anywhere"),
    Key("celery", "result_expires", _SECONDS, "how long results are kept; 0 = for ever; else inferred, or a day"),
    Key("celery", "key_prefix", _TEXT, "the global key prefix with which it was looked for"),
    Key("celery", "result_serializer", _TEXT, "the serializer in which results are to be"),
    Key("jobs", "key", _TEXT, "name of the application's own record of a task, with {id} once, as in job:{id}"),
    Key("jobs", "task_field", _TEXT, "field that holds the task ID, where {id} is another"),
    Key("jobs", "expires", _SECONDS, "how long these records are kept; 0 = until they are purged"),
)
"""Every key that ``case.toml`` may have."""


@dataclass(frozen=True)
class Settings:
    """``case.toml`` as read. ``None``, an empty text or an empty mapping = not stated."""

    name: str = ""
    environment: str = ""
    timezone: ZoneInfo = UTC
    noticed_at: pd.Timestamp | None = None
    source: str = ""
    timezones: Mapping[str, ZoneInfo] = field(default_factory=dict)
    snapshots: Mapping[str, pd.Timestamp] = field(default_factory=dict)
    databases: Mapping[str, int] = field(default_factory=dict)
    result_expires: int | None = None
    key_prefix: str | None = None
    result_serializer: str | None = None
    jobs: JobsSettings | None = None

    def zone_of(self, path: str) -> ZoneInfo:
        """The zone in which the log ``path`` (relative to the case) writes times without an offset."""
        return next((zone for glob, zone in self.timezones.items() if fnmatchcase(path, glob)), self.timezone)


def read_settings(path: Path, *, name: str = "case.toml") -> Settings:
    """Read ``case.toml``. Raises Unusable with file and line for what is not TOML, not UTF-8, not known or of a wrong
    type.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        data = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise Unusable("is not UTF-8", file=name, place=f"byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"^(.*) \(at (line \d+)", str(error))
        reason, place = (found[1], found[2]) if found else (str(error), "")
        raise Unusable(f"is not TOML: {reason}", file=name, place=place) from None
    except (OSError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Unusable(f"cannot be read: {reason}", file=name) from None
    return _Reader(data, text, name).settings()


class _Reader:
    """Takes the document apart key by key, so that each complaint knows its line."""

    def __init__(self, data: dict[str, Any], text: str, file: str) -> None:
        self.data, self.file = data, file
        self.lines = _lines_of_keys(text)

    def settings(self) -> Settings:
        top = self.data
        self.only("", top, _known("") | {key.table for key in KEYS if key.table})
        zone = self.value("", "timezone", _zone, UTC)
        celery = self.table("celery")
        self.table("jobs")
        return Settings(
            name=self.value("", "name", _text, ""),
            environment=self.value("", "environment", _text, ""),
            timezone=zone,
            noticed_at=self.value("", "noticed_at", lambda value: _moment(value, zone), None),
            source=self.value("", "source", _text, ""),
            timezones={key: self.value("timezones", key, _zone, UTC) for key in self.table("timezones")},
            snapshots={
                key: self.value("snapshots", key, lambda value: _moment(value, zone), None)
                for key in self.table("snapshots")
            },
            databases={key: self.value("databases", key, _number, 0) for key in self.table("databases")},
            result_expires=self.value("celery", "result_expires", _number, None) if celery else None,
            key_prefix=self.value("celery", "key_prefix", _text, None) if celery else None,
            result_serializer=self.value("celery", "result_serializer", _text, None) if celery else None,
            jobs=JobsSettings(
                key=self.value("jobs", "key", _key_template, None),
                task_field=self.value("jobs", "task_field", _text, None),
                expires=self.value("jobs", "expires", _number, None),
            )
            if "jobs" in top
            else None,
        )

    def table(self, name: str) -> dict[str, Any]:
        table = self.data.get(name, {})
        if not isinstance(table, dict):
            self.refuse("", name, "must be a table: [" + name + "]")
        self.only(name, table, _known(name))
        return dict(table)

    def only(self, table: str, data: Mapping[str, Any], known: set[str]) -> None:
        for key in data:
            if key not in known and "*" not in known:
                self.refuse(table, key, f"no such key; known here: {', '.join(sorted(known))}")

    def value(self, table: str, key: str, read: Callable[[Any], Any], default: Any) -> Any:
        data = self.data.get(table, {}) if table else self.data
        if key not in data:
            return default
        try:
            return read(data[key])
        except ValueError as error:
            self.refuse(table, key, str(error))

    def refuse(self, table: str, key: str, reason: str) -> None:
        line = self.lines.get((table, key)) or self.lines.get(("", table)) or self.lines.get(("", key))
        name = f"[{table}] {key}" if table else key
        raise Unusable(f"{name}: {reason}", file=self.file, place=f"line {line}" if line else "")


def _known(table: str) -> set[str]:
    return {key.name for key in KEYS if key.table == table}


_LONGEST = 100 * 366 * 86_400
_HEADER = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)\s*(?:\.\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)\s*)?=""")


def _lines_of_keys(text: str) -> dict[tuple[str, str], int]:
    """Line of each (table, key); tomllib keeps none. A table's own line stands under ("", table)."""
    lines: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = header[1].strip("\"'")
            lines.setdefault(("", table), number)
        elif key := _KEY.match(line):
            first, second = key[1].strip("\"'"), (key[2] or "").strip("\"'")
            lines.setdefault((table, first), number)
            if second and not table:
                lines.setdefault((first, second), number)
    return lines


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text in quotes, not {value!r}")
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, not {value!r}")
    if not 0 <= value <= _LONGEST:
        raise ValueError(f"must be from 0 to {_LONGEST:,} (a hundred years in seconds), not {value}")
    return value


def _key_template(value: Any) -> str:
    if _text(value).count("{id}") != 1:
        raise ValueError(f'must hold {{id}} once, as in "job:{{id}}", not {value!r}')
    return str(value)


def _zone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(_text(value))
    except (ValueError, OSError, KeyError):
        raise ValueError(f'must be a zone such as "Europe/Paris", not {value!r}') from None


def _moment(value: Any, zone: ZoneInfo) -> pd.Timestamp:
    if not isinstance(value, (datetime, date)) or isinstance(value, time):
        raise ValueError(f"must be a time such as 2025-07-24T02:30:00Z (no quotes), not {value!r}")
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        converted = pd.Timestamp(moment).tz_convert("UTC").as_unit("us")
        if 1970 <= converted.year <= 9000:
            return converted
    except (ValueError, OverflowError, NotImplementedError):
        pass
    raise ValueError(f"must be a time between 1970 and 9000, not {value}")

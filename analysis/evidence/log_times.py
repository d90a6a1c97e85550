"""The head of a log line: when it was written, by what, and where its message begins.

In: lines as bytes. Out: ``Head``s with times in microseconds of UTC. Does not know what a message says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

SECOND = 1_000_000
_MONTHS = {
    name: number for number, name in enumerate((b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split(), start=1)
}
_EPOCH = datetime(1970, 1, 1)
_LAST_YEAR = 2200
_MOST_REMEMBERED = 10_000


class Head(NamedTuple):
    """``at`` and ``until`` are the ends of the time a line stands for, in µs; ``message`` is what follows its head.

    ``writer`` is ``worker`` or ``redis`` where the form of the head tells it, ``process`` what the head calls the
    process, ``fields`` the rest of a JSON line.
    """

    at: int | None
    until: int | None
    message: bytes
    writer: str = ""
    process: str = ""
    fields: dict[str, Any] | None = None


_HM = rb"(?P<hm>\d\d:\d\d)"
_S = rb"(?::(?P<s>\d\d)(?:[.,](?P<f>\d{1,9}))?)?"
_Z = rb"(?:\x20?(?P<z>Z|UTC|GMT|[+-]\d\d:?(?:\d\d)?)(?!\w))?"
_ISO = rb"(?P<when>(?P<y>\d{4})(?P<sep>[-/])(?P<m>\d\d)(?P=sep)(?P<d>\d\d)[T\x20]" + _HM + rb")" + _S + _Z
_DMY = rb"(?P<when>(?P<d>\d{1,2})[-/\x20](?P<b>[A-Z][a-z]{2})[-/\x20](?P<y>\d{4})[:,\x20]{1,2}" + _HM + rb")" + _S + _Z
_MDY = rb"(?P<b>[A-Z][a-z]{2})\x20(?P<d>[\x20\d]\d)\x20" + _HM + _S + rb"(?:\x20(?P<y>\d{4})(?!\d))?"
_UNIX = rb"(?P<u>\d{10})(?:\.(?P<f>\d{1,9}))?(?!\d)"
_MILLI = rb"(?P<u>\d{10})(?P<f>\d{3})(?!\d)"
_DAY = ("y", "m", "b", "d", "hm")

# What may stand before a time: a level, a bracketed word, a syslog priority, the client of a request, a name of logfmt.
_BEFORE = (
    rb"(?:<\d{1,3}>\d?\x20?)?"
    rb"(?:(?:\[?(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|TRACE)\]?[\s:|,-]{1,8}|\[[^\]\s]{1,60}\]\x20"
    rb"|level=\w{1,10}\x20)){0,3}"
    rb"(?:[\[(\"']|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\x20|(?:time|ts|timestamp|datetime|at)=\"?){0,2}"
)
_CLIENT = rb"[^\s\[\]]{1,80}\x20[^\s\[\]]{1,80}\x20[^\[\]\"]{1,80}\x20\["
_AFTER = rb"[\])\"']?[\x20:|,-]*"

# Celery's worker_log_format and worker_task_log_format, and variants that keep its [time: LEVEL/process] or, for any
# program, its [time: LEVEL].
_CELERY = re.compile(rb"\[" + _ISO + rb":?\x20\[?(?P<level>[A-Z]+)(?:[/|](?P<process>[^\]]{1,120}))?\]\x20?")
# src/server.c, serverLogRaw: pid:role time level message; the time by log-timestamp-format (Valkey 8.1).
_REDIS = re.compile(
    rb"(?P<pid>\d{1,10}):(?:(?P<process>[A-Z])\x20(?:"
    + _DMY.replace(rb"P<", rb"P<r_")
    + rb"|"
    + _ISO.replace(rb"P<", rb"P<i_").replace(rb"P=sep", rb"P=i_sep")
    + rb"|(?P<milli>\d{13}))\x20[.*#-]\x20|signal-handler\x20\((?P<signal>\d{10})\)\x20)"
)
_LOGFMT = re.compile(
    rb"pid=\d{1,10}\x20role=(?P<role>[\w/\x20]{1,20}?)\x20timestamp=\"(?P<time>[^\"]{1,40})\"\x20level=\w{1,10}\x20message=\""
)
_ROLES = {b"sentinel": "X", b"RDB/AOF": "C", b"RDB/AOF child": "C", b"replica": "S", b"primary": "M"}
# A worker's banner gives the time of its start.
_BANNER = re.compile(rb"[-*\x20]{8,20}\x20\S.{0,200}\x20" + _ISO + rb"\s*$")
_PLAIN = tuple(
    re.compile(pattern)
    for pattern in (
        _BEFORE + _ISO + _AFTER,
        _BEFORE + _DMY + _AFTER,
        _CLIENT + _DMY + _AFTER,
        _BEFORE + _MDY + _AFTER,
        rb"\[?" + _UNIX + rb"\]?[\x20:,]\x20?",
        rb"\[?" + _MILLI + rb"\]?[\x20:,]\x20?",
    )
)
_REQUEST, _YEARLESS = _PLAIN[2], _PLAIN[3]
_ANY_TIME = tuple(
    re.compile(rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\x20)?" + pattern)
    for pattern in (_ISO, _DMY, _MDY, _UNIX, _MILLI)
)
_JSON_TIME = re.compile(rb'"(?:asctime|@?timestamp|time|ts|datetime)"\s{0,3}:\s{0,3}"(?P<time>[^"]{10,60})"')
# A line may carry a head within a head; more than that is no log.
_DEEPEST = 3
# What a container, a journal or a collector puts in front of a line that has a head of its own.
_SERVICE = re.compile(rb"[\w./-]{1,60}\s{0,20}\|\x20")
_CARRIER = re.compile(
    rb"std(?:out|err)\x20[FP]\x20|[\w./@-]{1,80}\x20[\w./@-]{1,80}(?:\[[\w.-]{1,40}\])?:\x20|[\w./-]{1,60}\[[\w./-]{1,40}\]:\x20"
)

_TIME_FIELDS = ("asctime", "timestamp", "@timestamp", "time", "ts", "datetime", "date", "created", "eventTime", "t")
_MESSAGE_FIELDS = ("message", "msg", "event", "log", "text", "body", "MESSAGE")
_PROCESS_FIELDS = ("processName", "process_name", "process")


class HeadReader:
    """Reads the heads of one log's lines. Times without an offset are in ``zone``; one that its clock showed twice
    spans both.

    A time without a year gets the year that brings it nearest to the last full time of the log; without any, no time.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._minutes: dict[tuple[Any, ...], tuple[int, int] | None] = {}
        self._usual: re.Pattern[bytes] | None = None
        self._last: int | None = None

    def read(self, line: bytes) -> Head | None:
        """The line's head, or None where it has no time of its own and so belongs to the line before it."""
        return self._read(line, _DEEPEST)

    def _read(self, line: bytes, depth: int) -> Head | None:
        first = line[:1]
        if first == b"[" and (found := _CELERY.match(line)):
            times = self._times(found)
            process = found["process"] or b""
            return Head(*times, line[found.end() :], "worker" if process else "", _text(process)) if times else None
        if first == b"{":
            return self._json(line, depth)
        if first.isdigit() and (found := _REDIS.match(line)):
            return self._redis(line, found)
        if first == b"p" and (found := _LOGFMT.match(line)):
            return self._logfmt(line, found)
        if first == b"-" and (found := _BANNER.match(line)):
            times = self._times(found)
            return Head(*times, line, "worker") if times else None
        return self._plain(line, depth)

    def _plain(self, line: bytes, depth: int) -> Head | None:
        """A head of no form in particular; if another follows it, that one's, unless only the outer time has an
        offset.
        """
        if depth and (service := _SERVICE.match(line)):
            return self._read(line[service.end() :], depth - 1)
        for pattern in (self._usual, *_PLAIN) if self._usual else _PLAIN:
            if found := pattern.match(line):
                break
        else:
            return None
        self._usual = pattern
        times = self._times(found)
        if times is None and pattern is not _YEARLESS:
            return None
        at, until = times or (None, None)
        message = line[found.end() :]
        if pattern is _REQUEST:
            # Who asked stands before the time.
            message = line[: found.start("d") - 1] + message
        carrier = _CARRIER.match(message)
        inner = self._inner(message[carrier.end() :] if carrier else message, depth)
        if inner is None:
            return Head(at, until, message)
        told = found.groupdict()
        has_offset = told.get("z") is not None or told.get("u") is not None
        return inner._replace(at=at, until=until) if (has_offset and at is not None) or inner.at is None else inner

    def _inner(self, message: bytes, depth: int) -> Head | None:
        if not depth or not (message[:1] in (b"[", b"{", b"p") or message[:1].isdigit()):
            return None
        usual = self._usual
        inner = self._read(message, depth - 1)
        self._usual = usual
        return inner

    def _redis(self, line: bytes, found: re.Match[bytes]) -> Head | None:
        if found["signal"] or found["milli"]:
            at = int(found["signal"]) * SECOND if found["signal"] else int(found["milli"]) * 1000
            times: tuple[int, int] | None = (at, at + SECOND - 1 if found["signal"] else at)
        else:
            times = self._times(found, "r_" if found["r_y"] else "i_")
        return Head(*times, line[found.end() :], "redis", _text(found["process"] or b"")) if times else None

    def _logfmt(self, line: bytes, found: re.Match[bytes]) -> Head | None:
        times = self.time_of(found["time"])
        message = line[found.end() :].rstrip().removesuffix(b'"')
        return Head(*times, message, "redis", _ROLES.get(found["role"], "")) if times else None

    def _json(self, line: bytes, depth: int) -> Head | None:
        try:
            fields = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            dated = _JSON_TIME.search(line)
            times = self.time_of(dated["time"]) if dated else None
            return Head(*times, line) if times else None
        if isinstance(record := fields.get("record"), dict):
            fields = {**fields, **record}
        name = next((name for name in _MESSAGE_FIELDS if isinstance(fields.get(name), str)), "")
        times = next((told for key in _TIME_FIELDS if (told := self._json_time(fields.get(key)))), None)
        message = str(fields.get(name, "")).rstrip("\n").encode("utf-8", "backslashreplace")
        process = next((str(fields[key]) for key in _PROCESS_FIELDS if isinstance(fields.get(key), str)), "")
        rest = {key: value for key, value in fields.items() if key not in (name, "record", *_TIME_FIELDS)}
        if inner := self._inner(message, depth):
            return inner._replace(at=times[0], until=times[1]) if times else inner
        at, until = times or (None, None)
        return Head(at, until, message, "", process, rest)

    def _json_time(self, value: Any) -> tuple[int, int] | None:
        if isinstance(value, dict):
            value = value.get("timestamp") or value.get("repr")
        if isinstance(value, str):
            return self.time_of(value.encode("utf-8", "replace")[:80])
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1e8 < value < 1e20:
            return None
        # Seconds, ms, µs or ns of the epoch: each is a thousand times the one before.
        unit = next(unit for unit, most in ((SECOND, 1e11), (1000, 1e14), (1, 1e17), (0.001, 1e21)) if value < most)
        at = int(value) * SECOND if isinstance(value, int) and unit == SECOND else round(value * unit)
        return at, at + SECOND - 1 if isinstance(value, int) and unit == SECOND else at

    def time_of(self, text: bytes) -> tuple[int, int] | None:
        """The time that a text begins with, in any form a line's head may have."""
        for pattern in _ANY_TIME:
            if found := pattern.match(text):
                return self._times(found)
        return None

    def _times(self, found: re.Match[bytes], prefix: str = "") -> tuple[int, int] | None:
        groups = found.re.groupindex
        fraction = found[prefix + "f"]
        within = int(fraction[:6].ljust(6, b"0")) if fraction else 0
        if "u" in groups:
            self._last = int(found["u"]) * SECOND + within
            return self._last, self._last + (0 if fraction else SECOND - 1)
        minute = self._remembered(found, prefix) if prefix + "when" in groups else self._minute_of(found, prefix)
        seconds = found[prefix + "s"]
        if minute is None or (seconds and seconds > b"60"):
            return None
        within += int(seconds) * SECOND if seconds else 0
        span = 0 if fraction else SECOND - 1 if seconds else 60 * SECOND - 1
        self._last = minute[0] + within
        return self._last, minute[1] + within + span

    def minute(self, when: bytes) -> tuple[int, int] | None:
        """The earliest and the latest µs at which ``2025-07-24 02:05`` can have begun; None where it cannot."""
        key = (when, None)
        if key not in self._minutes:
            self._forget()
            self._minutes[key] = self._minute(when[:4], when[5:7], b"", when[8:10], when[11:], b"")
        return self._minutes[key]

    def passed(self, at: int) -> None:
        """A time of this log that was read by other means."""
        self._last = at

    def _forget(self) -> None:
        if len(self._minutes) > _MOST_REMEMBERED:
            self._minutes.clear()

    def _remembered(self, found: re.Match[bytes], prefix: str) -> tuple[int, int] | None:
        key = found.group(prefix + "when", prefix + "z")
        if key not in self._minutes:
            self._forget()
            self._minutes[key] = self._minute_of(found, prefix)
        return self._minutes[key]

    def _minute_of(self, found: re.Match[bytes], prefix: str) -> tuple[int, int] | None:
        told = found.groupdict()
        year, month, name, day, hm = (told.get(prefix + part) or b"" for part in _DAY)
        return self._minute(year, month, name, day, hm, told.get(prefix + "z") or b"")

    def _minute(
        self, year: bytes, month: bytes, name: bytes, day: bytes, hm: bytes, offset: bytes
    ) -> tuple[int, int] | None:
        """The earliest and the latest µs at which a minute of the log's clock can have begun."""
        number = int(month) if month else _MONTHS.get(name, 0)
        if year:
            return self._resolved(int(year), number, int(day), hm, offset)
        if self._last is None:
            return None
        near = (_EPOCH + timedelta(microseconds=self._last)).year
        years = [self._resolved(near + step, number, int(day), hm, offset) for step in (-1, 0, 1)]
        last = self._last
        distance: Callable[[tuple[int, int]], int] = lambda minute: abs(minute[0] - last)  # noqa: E731
        return min((minute for minute in years if minute), key=distance, default=None)

    def _resolved(self, year: int, month: int, day: int, hm: bytes, offset: bytes) -> tuple[int, int] | None:
        if not 1970 <= year <= _LAST_YEAR:
            return None
        try:
            naive = datetime(year, month, day, int(hm[:2]), int(hm[3:]))
        except ValueError:
            return None
        if offset:
            at = _micros(naive - _offset(offset))
            return at, at
        # An hour that the clock showed twice has two offsets (fold); one that it skipped has two readings as well.
        folds = [_micros(naive - (self._zone.utcoffset(naive.replace(fold=fold)) or timedelta())) for fold in (0, 1)]
        return min(folds), max(folds)


def _offset(text: bytes) -> timedelta:
    if text[:1] not in b"+-":
        return timedelta()
    digits = text[1:].replace(b":", b"").ljust(4, b"0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]))
    return -offset if text[:1] == b"-" else offset


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")

"""Keyspace notifications: which keys went and came, and when.

In: a file of what a subscriber was told. Out: ``Testimony``. Does not know who did it, nor of anything that emits no
event: FLUSHDB, FLUSHALL and SWAPDB do not (facts/signals.md, 7.1).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path

import pandas as pd

from analysis.errors import Unusable
from analysis.evidence.answers import refusal, text_of, unescaped
from analysis.evidence.commands import Told
from analysis.evidence.log_lines import LogLines
from analysis.evidence.testimony import UNKNOWN, CommandRows, Testimony, gaps_of, moment
from analysis.frames import TEXT, WORD
from analysis.redact import redact_text, shorten

_TIME = re.compile(
    rb"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)"
    rb"(?:[.,](?P<part>\d{1,9}))?(?:(?P<zulu>Z)|(?P<sign>[+-])(?P<hours>[01]\d):?(?P<minutes>[0-5]\d))?[ \t]+"
)
_QUOTED = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(?:,|\Z)', re.DOTALL)
_NUMBERED = re.compile(rb'\s*(\d)\) (?:"(.*)"|\(integer\) (\d+))\s*', re.DOTALL)
_CHANNEL = re.compile(rb"__key(event|space)@(\d{1,9})__:(.*)", re.DOTALL)
_EVENT = re.compile(rb"[a-z][a-z0-9_.:-]{0,60}")
_SUBSCRIBED = re.compile(rb'"p?subscribe",.*')
_BANNER = re.compile(rb"Reading messages\.\.\..{0,100}|Warning: .{0,200}")
_ENDED = re.compile(
    rb"\b(?:gap|lost|los[et]s?|missed|missing|disconnect\w*|reconnect\w*|dropped|closed|refused|restart\w*|error)\b",
    re.IGNORECASE,
)
# How many parts an answer has, its name among them.
_PARTS = {b"pmessage": 4, b"message": 3, b"psubscribe": 3, b"subscribe": 3}

_REMOVED_BY = {
    b"expired": ("expiry", None),
    b"evicted": ("eviction", None),
    **dict.fromkeys((b"del", b"rename_from", b"move_from"), ("client", "script")),
}
# Tells of a key that is not there, and of one that came to be, which another event tells as well.
_NO_CHANGE = frozenset((b"keymiss", b"new"))
# What takes elements out of a key, which goes with the last of them: Redis then emits this event, and del right after.
_TAKES_ELEMENTS = frozenset(
    b"lpop rpop lrem ltrim srem spop zrem zpopmin zpopmax zremrangebyscore zremrangebyrank zremrangebylex hdel "
    b"hexpired hgetdel".split()
)
_NOTHING = Told()


def read_notifications(path: Path, *, source: str, server: str = "") -> Testimony:
    """A row for each event, in the file's order; ``verb`` is the event's name, ``offset`` the line.

    Lines are ``redis-cli --csv psubscribe``'s, with or without a time in front, or what it prints without ``--csv``.
    The time is the recorder's, when it was told; one without a zone is none, and without one a row has no time.
    ``expired`` comes when the key is reclaimed, which may be long after it was due. ``del`` is a client's or a
    script's, of a DEL, UNLINK, GETDEL, or on Redis an expiry that has passed already; ``detail`` is ``after rpop``
    where the last element was taken out of the key, and of rename_from and move_from says where it went. An event that
    came over two channels is one row. ``del`` on a replica, and ``expired`` on Valkey, may be others':
    ``with_doubts``. A line that tells of a lost connection, or that there was a gap, is one of ``gaps``. Raises
    Unusable where no line is a notification.
    """
    lines = LogLines(path)
    reader = _Reader(CommandRows(source, server, "keyspace log"))
    for number, line in lines:
        reader.take(number, line)
    if not reader.entries:
        raise Unusable("holds no notification", file=path.name)
    reader.end()
    cut = reader.broken or not lines.complete
    reasons = [reason for reason in (lines.reason, *reader.reasons()) if reason]
    return Testimony(
        commands=reader.rows.finish(),
        first_at=moment(reader.first),
        last_at=moment(reader.last),
        entries=reader.entries,
        complete=not reasons,
        stopped_at=lines.count if cut else None,
        reason="; ".join(reasons) or None,
        gaps=gaps_of(reader.gaps),
    )


def with_doubts(
    commands: pd.DataFrame, *, valkey: Collection[str] = (), replicas: Collection[str] = ()
) -> pd.DataFrame:
    """The frame ``commands`` with ``or_by`` where an event means more on the server that emitted it.

    On Valkey an EXPIRE with a time that has passed emits ``expired``, so that a client can have done it
    (facts/signals.md, 7.1). To a replica its master's expiry and eviction come as DEL, so there ``del`` can be
    expiry's (facts/causes.md, 2.3). ``valkey`` and ``replicas`` are names of servers.
    """
    told = commands["witness"] == "keyspace log"
    or_by = commands["or_by"].astype(TEXT)
    or_by = or_by.mask(told & (commands["verb"] == "expired") & commands["server"].isin(list(valkey)), "client")
    or_by = or_by.mask(told & (commands["verb"] == "del") & commands["server"].isin(list(replicas)), "expiry")
    return commands.assign(or_by=or_by.astype(WORD))


@dataclass
class _Reader:
    """Goes through the lines once, holding the answer whose parts still come, and the event before."""

    rows: CommandRows
    entries: int = 0
    first: int | None = None
    last: int | None = None
    broken: bool = False
    gaps: list[tuple[int | None, int | None, str]] = field(default_factory=list)
    _parts: list[bytes] = field(default_factory=list)
    _number: int = 0
    _now: int | None = None
    _lost: str | None = None
    _foreign: int = 0
    _foreign_at: int | None = None
    _zoneless: int = 0
    _before: tuple[bytes, bytes, bytes] = (b"", b"", b"")
    _heard: set[tuple[bytes, bytes]] = field(default_factory=set)

    def take(self, number: int, line: bytes) -> None:
        if self._parts and self._goes_on(line):
            return
        at = UNKNOWN
        if timed := _TIME.match(line):
            line = line[timed.end() :]
            at = _micros(timed)
            self._zoneless += at == UNKNOWN
        self.broken = False
        if line[:1] == b'"':
            self._quoted(number, at, line)
        elif line[:1] == b"#":
            self._comment(number, at, line)
        elif line in _PARTS or ((numbered := _NUMBERED.fullmatch(line)) and numbered[1] == b"1"):
            self._number, self._parts = number, []
            self._goes_on(line)
        elif said := refusal(line.strip()):
            self._lose(number, said)
        elif not _BANNER.fullmatch(line) and (timed or line.strip()):
            self._unknown(number)

    def end(self) -> None:
        self.broken = self.broken or bool(self._parts)
        if self._lost is not None:
            self.gaps.append((self._now, None, self._lost))

    def reasons(self) -> Iterator[str]:
        if self.broken:
            yield "cut: it ends within a notification"
        if self.gaps:
            yield f"the recording was interrupted {len(self.gaps):,}×, first: {self.gaps[0][2]}"
        if self._foreign > self.broken:
            yield f"lines that are no notifications: {self._foreign:,}, the first is line {self._foreign_at}"
        if self._zoneless:
            yield f"times without a zone, or of no day: {self._zoneless:,}"

    def _quoted(self, number: int, at: int, line: bytes) -> None:
        """``"pmessage","pattern","channel","text"``, as redis-cli quotes."""
        if _SUBSCRIBED.fullmatch(line):
            self._subscribed(number, at)
            return
        if b"\\" not in line:
            parts = line[1:-1].split(b'","') if line[-1:] == b'"' and len(line) > 1 else []
        else:
            parts = _QUOTED.findall(line)
            if sum(map(len, parts)) + 3 * len(parts) - 1 != len(line):
                parts = []
            parts = [unescaped(part) for part in parts]
        if parts and len(parts) == _PARTS.get(parts[0]):
            self._message(number, at, parts)
        else:
            self._unknown(number)

    def _goes_on(self, line: bytes) -> bool:
        """Takes a line of an answer that stands on several, plain or numbered; False where it is none of them."""
        numbered = _NUMBERED.fullmatch(line)
        if numbered and int(numbered[1]) == len(self._parts) + 1:
            part = unescaped(numbered[2] or numbered[3] or b"")
        elif self._parts and (numbered or _TIME.match(line)):
            self._parts = []
            self._unknown(self._number)
            return False
        else:
            part = line
        self._parts.append(part)
        wanted = _PARTS.get(self._parts[0])
        if wanted is None:
            self._parts = []
            self._unknown(self._number)
        elif len(self._parts) == wanted:
            parts, self._parts = self._parts, []
            if parts[0].endswith(b"subscribe"):
                self._subscribed(self._number, UNKNOWN)
            else:
                self._message(self._number, UNKNOWN, parts)
        return True

    def _message(self, number: int, at: int, parts: list[bytes]) -> None:
        self._passes(at)
        self.entries += 1
        found = _CHANNEL.fullmatch(parts[-2])
        if not found:
            return
        form, db, name = found.groups()
        event, key = (name, parts[-1]) if form == b"event" else (parts[-1], name)
        if not _EVENT.fullmatch(event):
            self._unknown(number)
            return
        what, how = (db, key, event), (form, parts[1] if len(parts) == 4 else b"")
        if what == self._before and how not in self._heard:
            self._heard.add(how)
            return
        before, self._before, self._heard = self._before, what, {how}
        if event not in _NO_CHANGE:
            self._event(number, at, db, event, key, before)

    def _event(self, number: int, at: int, db: bytes, event: bytes, key: bytes, before: tuple[bytes, ...]) -> None:
        told = _NOTHING
        if event == b"del" and before[:2] == (db, key) and before[2] in _TAKES_ELEMENTS:
            told = Told(detail=f"after {text_of(before[2])}")
        elif event == b"rename_to" and before[2] == b"rename_from":
            self.rows.amend(shorten(f"to {text_of(key)}", 250))
        elif event == b"move_to" and before[1:] == (key, b"move_from"):
            self.rows.amend(f"to db {int(db)}")
        removed_by, or_by = _REMOVED_BY.get(event, (None, None))
        self.rows.add(number, at, int(db), text_of(event), [text_of(key)], told, removed_by=removed_by, or_by=or_by)

    def _subscribed(self, number: int, at: int) -> None:
        """A subscription; another one after messages tells that the connection was made anew."""
        if self._lost is None and self._before != (b"", b"", b""):
            self._lose(number, "subscribed again")
        self._before = (b"", b"", b"")
        self._passes(at)

    def _comment(self, number: int, at: int, line: bytes) -> None:
        if _ENDED.search(line):
            self._lose(number, shorten(redact_text(text_of(line.lstrip(b"# "))), 120))
        else:
            self._passes(at)

    def _lose(self, number: int, said: str) -> None:
        if self._lost is None:
            self._lost = f"line {number}: {said}"

    def _passes(self, at: int) -> None:
        """An entry of a recorder that is there: a gap before it has ended."""
        known = at if at != UNKNOWN else None
        if self._lost is not None:
            self.gaps.append((self._now, known, self._lost))
            self._lost = None
        if known is not None:
            self._now = known
            self.first = known if self.first is None else min(self.first, known)
            self.last = known if self.last is None else max(self.last, known)

    def _unknown(self, number: int) -> None:
        self.broken = True
        self._foreign += 1
        self._foreign_at = number if self._foreign_at is None else self._foreign_at


def _micros(timed: re.Match[bytes]) -> int:
    """µs since 1970; unknown where there is no zone, or no such day."""
    day = _day(timed["day"])
    if day is None or not (timed["zulu"] or timed["sign"]):
        return UNKNOWN
    seconds = day * 86_400 + int(timed["hour"]) * 3600 + int(timed["minute"]) * 60 + int(timed["second"])
    if timed["sign"]:
        ahead = int(timed["hours"]) * 3600 + int(timed["minutes"]) * 60
        seconds += ahead if timed["sign"] == b"-" else -ahead
    return seconds * 1_000_000 + int((timed["part"] or b"0").ljust(6, b"0")[:6])


@lru_cache(64)
def _day(text: bytes) -> int | None:
    try:
        return date.fromisoformat(text.decode("ascii")).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None

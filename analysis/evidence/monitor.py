"""What MONITOR saw: every command, when it ran, and whose it was.

In: a file of MONITOR's lines. Out: ``Testimony``. Does not see what expiry and eviction delete, nor commands of
administration: Redis shows neither (facts/signals.md, 7.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from analysis.errors import Unusable
from analysis.evidence.answers import refusal, text_of, unescaped
from analysis.evidence.commands import is_telling, keys_of, may_tell, told_by, verb_of
from analysis.evidence.log_lines import LogLines
from analysis.evidence.testimony import UNKNOWN, CommandRows, Testimony, gaps_of, moment
from analysis.redact import redact_text

# A line may be as long as its arguments, thousands of keys or a value of 512 MB: more than this is not held of one.
LONGEST_LINE = 16 << 20
# What is kept of the end of a longer one: the options that follow a value.
_LONGEST_TAIL = 1024
_MOST_CLIENTS = 100_000
_LONGEST_CONTENT, _MOST_CONTENT = 4 << 20, 256 << 20
_WRITES = frozenset((b"LPUSH", b"RPUSH", b"HSET", b"HSETNX", b"SET", b"SETEX", b"PSETEX"))

_HEAD = re.compile(
    rb"\+?(\d{9,10})\.(\d{6}) \[(\d{1,9}) (lua|\[[0-9a-fA-F:.%\w]{1,100}\]:\d{1,5}|unix:.{0,300}?|[^\s\[\]]{1,300})\] "
    rb'"([^"\\]{1,64})"'
)
_ARGUMENT = re.compile(rb' "([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_BETWEEN = re.compile(rb'(?<!\\)(?:\\\\)*+" "')
_PROMPT = re.compile(rb"(?:\S{1,300}> ?.{0,100}|Warning: .{0,200}|AUTH failed.{0,200})")

_SILENT, _MAY_TELL, _TELLS, _SCRIPT, _MULTI, _EXEC = range(6)


def read_monitor(path: Path, *, source: str, server: str = "") -> Testimony:
    """A row for each command that can change keys, or tells of one that did (``commands.is_telling``), in the file's
    order.

    ``offset`` is the line; ``not_before`` and ``not_after`` are one, the server's clock when it showed the command,
    which from 6.2 on is when that had run. A command that the server refused as it ran (another type, an expiry of 0)
    is shown as well. ``removed_by`` is ``script`` where a script called the command, whose ``client`` is then the one
    that called the script: Redis shows a script's commands right after it. ``transaction`` numbers the MULTIs; not
    those of clients on a Unix socket, who all have one address. Values are not kept; ``payload_at`` is the line of one
    that is JSON (``monitor_contents``). Raises Unusable where no line is
    MONITOR's.
    """
    lines = _Lines(path)
    reader = _Reader(CommandRows(source, server, "MONITOR log"))
    for number, line, tail in lines:
        reader.take(number, line, tail)
    if not reader.entries:
        raise Unusable("holds no line of MONITOR", file=path.name)
    reader.end(torn=not lines.ended)
    reasons = [reason for reason in (lines.reason, *reader.reasons()) if reason]
    cut = not lines.complete or reader.torn
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


def monitor_contents(path: Path, lines: Set[int]) -> dict[int, bytes]:
    """What the commands on some lines wrote: of each its last argument, as the bytes that it was. What is larger than
    1 MB, or comes after 256 MB of them, is left out.
    """
    found: dict[int, bytes] = {}
    room = _MOST_CONTENT
    wanted = _Lines(path)
    for number, line, tail in wanted:
        if number not in lines or tail or len(line) > _LONGEST_CONTENT:
            continue
        if (head := _HEAD.match(line.lstrip(b"\0"))) is None:
            continue
        arguments, _ = _arguments(head[5], line.lstrip(b"\0")[head.end() :].rstrip(b"\r"))
        content = unescaped(arguments[-1])
        room -= len(content)
        if room < 0:
            break
        found[number] = content
    return found


def _has_content(verb: bytes, arguments: list[bytes]) -> bool:
    """Whether the last argument is a JSON object or list that a command writes."""
    return verb.upper() in _WRITES and arguments[-1][:1] in (b"{", b"[")


class _Lines(LogLines):
    """Iterates ``(number, line, tail)``: of a line over ``LONGEST_LINE`` its beginning, and its end as ``tail``.
    ``ended``: the last line had its end.
    """

    ended = True

    def __iter__(self) -> Iterator[tuple[int, bytes, bytes]]:  # type: ignore[override]
        held: bytes | None = None
        rest = b""
        for block in self._blocks():
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            if held is not None:
                if not lines:
                    rest = rest[-_LONGEST_TAIL:]
                    continue
                self.count += 1
                yield self.count, held, lines.pop(0)[-_LONGEST_TAIL:]
                held = None
            for line in lines:
                self.count += 1
                yield self.count, line, b""
            if len(rest) > LONGEST_LINE:
                rest = rest.lstrip(b"\0")
                if len(rest) > LONGEST_LINE:
                    held, rest = rest[:LONGEST_LINE], rest[-_LONGEST_TAIL:]
        if held is not None or rest.strip(b"\0"):
            self.ended = False
            self.count += 1
            yield self.count, rest if held is None else held, b"" if held is None else rest


@dataclass
class _Reader:
    """Goes through the lines once, holding only who stands within a MULTI, and who called the script that runs."""

    rows: CommandRows
    entries: int = 0
    first: int | None = None
    last: int | None = None
    torn: bool = False
    gaps: list[tuple[int | None, int | None, str]] = field(default_factory=list)
    _open: dict[bytes, int] = field(default_factory=dict)
    _transactions: int = 0
    _caller: bytes | None = None
    _now: int | None = None
    _lost: str | None = None
    _foreign: int = 0
    _foreign_at: int | None = None
    _too_long: int = 0
    _last_broken: bool = False

    def take(self, number: int, line: bytes, tail: bytes) -> None:
        if line[:1] == b"\0":
            line = line.lstrip(b"\0")
        head = _HEAD.match(line)
        if head is None:
            self._other(number, line)
            return
        seconds, micros, db, client, verb = head.groups()
        at = int(seconds) * 1_000_000 + int(micros)
        if self._lost is not None or self._now is None:
            self._begin(at)
        self._now = at
        self.entries += 1
        self._last_broken = False
        if at < self.first:  # type: ignore[operator]
            self.first = at
        if at > self.last:  # type: ignore[operator]
            self.last = at
        kind = _kind(verb)
        by = "client"
        if client == b"lua":
            by, client = "script", self._caller
        else:
            self._caller = client if kind == _SCRIPT else None
        if kind >= _MULTI:
            self._transact(kind, client)
        elif kind:
            self._command((number, at, int(db)), verb, line[head.end() :].rstrip(b"\r"), tail, client, by)

    def end(self, *, torn: bool) -> None:
        self.torn = torn and self._last_broken
        if self._lost is not None:
            self.gaps.append((self._now, None, self._lost))

    def reasons(self) -> Iterator[str]:
        if self.torn:
            yield "cut: it ends within a line"
        if self.gaps:
            yield f"the recording was interrupted {len(self.gaps):,}×, first: {self.gaps[0][2]}"
        if self._foreign > self.torn:
            yield f"lines that are damaged or not MONITOR's: {self._foreign:,}, the first is line {self._foreign_at}"
        if self._too_long:
            yield f"keys after the first {LONGEST_LINE >> 20} MB of a line were left out, of lines: {self._too_long:,}"

    def _begin(self, at: int) -> None:
        if self._lost is not None:
            self.gaps.append((self._now, at, self._lost))
            self._lost = None
            self._open.clear()
        if self.first is None:
            self.first = self.last = at

    def _other(self, number: int, line: bytes) -> None:
        """A line that is no command: what redis-cli says of the connection, its prompt, what is cut, or foreign."""
        line = line.strip()
        if not line:
            return
        if line in (b"OK", b"+OK"):
            if self._now is not None and self._lost is None:
                self._lost = f"line {number}: MONITOR was started again"
        elif said := refusal(line):
            self._lost = f"line {number}: {said}"
        elif not _PROMPT.fullmatch(line) and number > 1:
            self._damaged(number)

    def _damaged(self, number: int) -> None:
        self._last_broken = True
        self._foreign += 1
        self._foreign_at = number if self._foreign_at is None else self._foreign_at

    def _transact(self, kind: int, client: bytes) -> None:
        if kind == _EXEC:
            self._open.pop(client, None)
        elif not client.startswith(b"unix:"):
            if len(self._open) >= _MOST_CLIENTS:
                self._open.clear()
            self._transactions += 1
            self._open[client] = self._transactions

    def _command(
        self, where: tuple[int, int, int], verb: bytes, rest: bytes, tail: bytes, client: bytes | None, by: str
    ) -> None:
        arguments, whole = _arguments(verb, rest)
        if not (tail.rstrip(b"\r").endswith(b'"') if tail else whole):
            self._damaged(where[0])
        if _kind(verb) == _MAY_TELL and not is_telling(arguments):
            return
        keys = keys_of(arguments, cut=not whole)
        if tail:
            arguments += [b"", *_BETWEEN.split(tail.rstrip(b'"\r'))[1:]]
            self._too_long += len(keys_of(arguments)) > len(keys)
        told = told_by(arguments, at_ms=where[1] // 1000)
        if told.detail is not None and "\\" in told.detail:
            told = told._replace(detail=redact_text(text_of(unescaped(told.detail.encode()))))
        self.rows.add(
            *where,
            verb_of(arguments),
            [text_of(unescaped(key)) for key in keys],
            told,
            self._open.get(client, UNKNOWN) if client and self._open else UNKNOWN,
            by if told.removes else None,
            None,
            None if client is None else text_of(client),
            where[0] if _has_content(verb, arguments) else UNKNOWN,
        )


@lru_cache(1024)
def _kind(verb: bytes) -> int:
    name = verb.upper()
    if name in (b"EVAL", b"EVALSHA", b"FCALL"):
        return _SCRIPT
    if name in (b"EXEC", b"DISCARD", b"RESET"):
        return _EXEC
    if name == b"MULTI":
        return _MULTI
    return _TELLS if is_telling([verb]) else _MAY_TELL if may_tell(verb) else _SILENT


def _arguments(verb: bytes, rest: bytes) -> tuple[list[bytes], bool]:
    """The command and its arguments, still escaped, and whether they are all that there is.

    A quote within an argument is escaped, so without a backslash every quote is the end of one.
    """
    if not rest:
        return [verb], True
    if b"\\" not in rest and rest[:2] == b' "' and rest[-1:] == b'"' and rest[-2:] != b' "':
        return [verb, *rest[2:-1].split(b'" "')], True
    found = _ARGUMENT.findall(rest)
    return [verb, *found], sum(map(len, found)) + 3 * len(found) == len(rest)

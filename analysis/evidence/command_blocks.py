"""From walked commands to columns of the frame ``commands``, block by block, and from columns to the frame.

In: ``Block``s of a stream. Out: columns, without a Python object a command wherever many commands are alike; of all
columns, the frame. Knows what commands write; not what the keys mean, nor who sent a command.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.columns import Columns, scratch
from analysis.evidence.commands import key_places, keys_of, told_by
from analysis.evidence.resp import Block, Numbers, Stream, word
from analysis.evidence.resp_kernel import MANY, NOTE
from analysis.evidence.texts import decoded
from analysis.frames import TEXTS, counts, frame, moments, repeated, text, words

NO_TIME = np.iinfo(np.int64).min
MISSING = np.iinfo(np.int64).min
"""A number that is not told."""
SECOND = 1_000_000

# What a stream carries beside commands on keys: which database, transactions, and the talk of replication.
QUIET = frozenset(b"SELECT MULTI EXEC DISCARD PING REPLCONF ASKING".split())
_LONGEST_NAME = 64
_PART = 65_536
_OTHER = -10
"""Codes of names that the walk has no number for: from here downwards."""
_FIRST_US, _LAST_US = -62_135_596_800_000_000 + 86_400_000_000, 253_402_300_799_999_999 - 86_400_000_000
_PLAIN_WORD = r"^[A-Za-z0-9._\-]{1,100}$"
# Where the content of a write stands, of the first element or field where there are several.
_CONTENT = {
    **dict.fromkeys(b"SETEX PSETEX HSET HMSET HSETNX".split(), 3),
    **dict.fromkeys(b"SET GETSET SETNX LPUSH RPUSH LPUSHX RPUSHX PUBLISH SPUBLISH".split(), 2),
}
# Of commands with so many arguments, where the one stands that tells; those with others are told one by one.
_TELLING_ARGUMENT = {b"HSET": (4, 2), b"HDEL": (3, 2), b"ZREM": (3, 2), b"ZADD": (4, 3), b"PUBLISH": (3, 1)}
# Option, unit in ms, and whether it is a time.
_OPTIONS = ((b"EX", 1000, False), (b"PX", 1, False), (b"EXAT", 1000, True), (b"PXAT", 1, True))
_TTL = {b"SETEX": (4, 1000, False), b"PSETEX": (4, 1, False)} | {
    name: (3, unit, absolute)
    for name, unit, absolute in (
        (b"EXPIRE", 1000, False), (b"PEXPIRE", 1, False), (b"EXPIREAT", 1000, True), (b"PEXPIREAT", 1, True),
    )
}  # fmt: skip
_TOLD_NOTHING = frozenset(
    b"DEL UNLINK GETDEL RENAME RENAMENX LPUSH RPUSH LPUSHX RPUSHX LPOP RPOP SADD SREM INCR DECR INCRBY DECRBY APPEND"
    b" GETSET SETNX MSET MSETNX RPOPLPUSH LMOVE XADD XDEL XACK SPOP".split()
)


class CommandColumns:
    """Columns of the commands of one stream, taken block by block in their order.

    ``times``: whether ``#TS:`` lines date them (server.c, genAofTimestampAnnotationIfNeeded): a command ran in the
    second of the line before it or later, and not after the next. ``db`` is the database at the start, -1 = not known.
    """

    def __init__(self, stream: Stream, *, db: int) -> None:
        self._stream = stream
        self._db, self._at = db, NO_TIME
        self._transactions, self._inside = 0, False
        self._multi_at = -1
        self._kinds: dict[int, bytes] = {}
        self._other: dict[bytes, int] = {}

    @property
    def last_second(self) -> int:
        """The last ``#TS:`` so far, in µs; ``NO_TIME`` where there was none."""
        return self._at

    @property
    def open_at(self) -> int | None:
        """Where the MULTI stands in whose transaction the commands end so far, if they do."""
        return self._multi_at if self._inside else None

    def rows_of(self, block: Block) -> NDArray[np.bool_]:
        """Which commands of a block have a row."""
        names = self._named(block)
        return ~np.isin(names, [NOTE, *(code for code, name in self._kinds.items() if name in QUIET)])

    def take(self, block: Block) -> Columns:
        """The columns of a block."""
        is_note = block.names == NOTE
        names = self._named(block)
        upper = {code: self._kinds[code] for code in np.unique(names[~is_note]).tolist()}
        dbs = self._databases(block, names, upper)
        at = self._seconds(block, is_note)
        transaction = self._in_transactions(block, names, upper)
        rows = np.flatnonzero(self.rows_of(block))
        told = _Told(self._stream, block, rows, names[rows], upper)
        ends, keys = told.keys()
        return {
            "offset": block.offsets[rows],
            "verb": names[rows],
            "db": dbs[rows],
            "not_before": at[rows],
            "transaction": transaction[rows],
            "keys": keys,
            "key_count": np.diff(ends),
            **told.expiries(),
            "detail": told.details(),
            "payload_at": told.content(),
        }

    def verbs(self, codes: Numbers) -> pd.Series:
        """The names of column ``verb``, as words."""
        spelled = [decoded(name[:_LONGEST_NAME]) for name in (*self._stream.names, *self._other)]
        number = {name: place for place, name in enumerate(dict.fromkeys(spelled))}
        places = np.array([number[name] for name in spelled], np.int32)
        out = scratch(len(codes), np.int32)
        for begin in range(0, len(codes), _PART):
            some = codes[begin : begin + _PART]
            out[begin : begin + _PART] = places[np.where(some >= 0, some, len(self._stream.names) + _OTHER - some)]
        return words(out, list(number))

    def _named(self, block: Block) -> Numbers:
        """The code of each command's name; of those for which the walk had no number, one of ours."""
        names = block.names.copy()
        for row in np.flatnonzero(names == MANY).tolist():
            at, size = block.places[block.first[row]].tolist()
            spelled = self._stream.buffer[at : at + min(size, _LONGEST_NAME)]
            names[row] = _OTHER - self._other.setdefault(spelled, len(self._other))
        for code in np.unique(names).tolist():
            if code != NOTE and code not in self._kinds:
                spelled = self._stream.names[code] if code >= 0 else list(self._other)[_OTHER - code]
                self._kinds[code] = spelled.upper()
        return names

    def _databases(self, block: Block, names: Numbers, upper: dict[int, bytes]) -> Numbers:
        """The database that each command works on, by the SELECT before it."""
        selects = np.flatnonzero(np.isin(names, [code for code, name in upper.items() if name == b"SELECT"]))
        selects = selects[block.count[selects] == 2]
        chosen, sound = self._stream.numbers(block.places[block.first[selects] + 1])
        chosen[~sound | (chosen < 0)] = -1
        changed = np.full(len(block), -2, np.int64)
        changed[selects] = chosen
        dbs = _filled(changed, -2, self._db)
        self._db = int(dbs[-1])
        return np.where(dbs < 0, MISSING, dbs)

    def lose_database(self) -> None:
        """After a gap the database is not known until the next SELECT, and a transaction may have ended."""
        self._db, self._inside = -1, False

    def _seconds(self, block: Block, is_note: NDArray[np.bool_]) -> Numbers:
        changed = np.full(len(block), NO_TIME, np.int64)
        for row in np.flatnonzero(is_note).tolist():
            at, size = block.places[block.first[row]].tolist()
            line = self._stream.buffer[at : at + min(size, 32)]
            if line.startswith(b"TS:") and line[3:].isdigit() and len(line) < 15:
                changed[row] = int(line[3:]) * SECOND
        times = _filled(changed, NO_TIME, self._at)
        self._at = int(times[-1])
        return times

    def _in_transactions(self, block: Block, names: Numbers, upper: dict[int, bytes]) -> Numbers:
        begins = np.isin(names, [code for code, name in upper.items() if name == b"MULTI"])
        stops = np.isin(names, [code for code, name in upper.items() if name in (b"EXEC", b"DISCARD")])
        number = self._transactions + np.cumsum(begins)
        row = np.arange(len(names))
        began = np.maximum.accumulate(np.where(begins, row, -1))
        stopped = np.maximum.accumulate(np.where(stops, row, -1))
        inside = np.where((began < 0) & (stopped < 0), self._inside, began > stopped)
        if len(names):
            self._transactions, self._inside = int(number[-1]), bool(inside[-1])
            if began[-1] >= 0:
                self._multi_at = int(block.offsets[began[-1]])
        return np.where(inside, number, MISSING)


def _filled(changed: Numbers, nothing: int, before: int) -> Numbers:
    """Each row's last value that is not ``nothing``; ``before`` where there is none yet."""
    row = np.maximum.accumulate(np.where(changed != nothing, np.arange(len(changed)), -1))
    return np.where(row < 0, before, changed[row])


class _Told:
    """What the arguments of a block's commands tell: of many alike at once, of others one by one."""

    def __init__(self, stream: Stream, block: Block, rows: Numbers, names: Numbers, upper: dict[int, bytes]) -> None:
        self.stream, self.block, self.rows = stream, block, rows
        self.first, self.count = block.first[rows], block.count[rows]
        self.of = {name: np.flatnonzero(names == code) for code, name in upper.items()}
        merged: dict[bytes, list[Numbers]] = {}
        for code, name in upper.items():
            merged.setdefault(name, []).append(np.flatnonzero(names == code))
        self.of = {name: np.sort(np.concatenate(parts)) for name, parts in merged.items()}

    def arguments(self, row: int) -> list[bytes]:
        """A command whole."""
        first = self.first[row]
        places = self.block.places[first : first + self.count[row]].tolist()
        return [self.stream.buffer[at : at + size] for at, size in places]

    def argument(self, rows: Numbers, number: int) -> Numbers:
        """Place and size of one argument of each row."""
        return self.block.places[self.first[rows] + number]

    def keys(self) -> tuple[Numbers, pa.Array]:
        """The keys of all rows one behind the other, and where each row's begin and end."""
        first, last, step = (np.zeros(len(self.rows), np.int64) for _ in range(3))
        last -= 1
        single: dict[int, list[bytes]] = {}
        for name, rows in self.of.items():
            known = key_places(name.decode("latin-1"))
            if known is None:
                single |= {row: keys_of(self.arguments(row)) for row in rows.tolist()}
                continue
            begin, end, by = known
            first[rows], step[rows] = begin, by
            last[rows] = end if end > 0 else self.count[rows] + end
        last = np.minimum(last, self.count - 1)
        number = np.where((step > 0) & (last >= first), (last - first) // np.maximum(step, 1) + 1, 0)
        ends = np.zeros(len(self.rows) + 1, np.int64)
        if not single:
            np.cumsum(number, out=ends[1:])
            return ends, self.stream.texts(self.block.places[self._places(number, first, step, ends)])
        # Keys that stand where other arguments say: few, so all of the block is put together in Python.
        plain = np.zeros(len(self.rows) + 1, np.int64)
        np.cumsum(number, out=plain[1:])
        texts = self.stream.texts(self.block.places[self._places(number, first, step, plain)]).to_pylist()
        merged: list[str] = []
        for row in range(len(self.rows)):
            found = single.get(row)
            merged += (
                texts[plain[row] : plain[row + 1]]
                if found is None
                else [key.decode("utf-8", "backslashreplace") for key in found]
            )
            ends[row + 1] = len(merged)
        return ends, pa.array(merged, pa.large_string())

    def _places(self, number: Numbers, first: Numbers, step: Numbers, ends: Numbers) -> Numbers:
        row = np.repeat(np.arange(len(number)), number)
        nth = np.arange(len(row)) - ends[:-1][row]
        return self.first[row] + first[row] + nth * step[row]

    def expiries(self) -> Columns:
        """Columns ``expires_at`` (µs) and ``ttl`` (ms)."""
        at, ttl = (np.full(len(self.rows), MISSING, np.int64) for _ in range(2))

        def put(rows: Numbers, places: Numbers, unit: int, absolute: bool, *, positive: bool) -> None:
            number, sound = self.stream.numbers(places)
            sound &= np.abs(number) <= _LAST_US // (1000 * unit)
            if positive:
                sound &= number > 0
            # Times before the year 1 are moved to it, as in snapshots.
            least = _FIRST_US if absolute else -_LAST_US
            (at if absolute else ttl)[rows[sound]] = np.maximum(number[sound] * unit * (1000 if absolute else 1), least)

        for name, (least, unit, absolute) in _TTL.items():
            rows = self.of.get(name, np.zeros(0, np.int64))
            rows = rows[self.count[rows] >= least]
            put(rows, self.argument(rows, 2), unit, absolute, positive=name in (b"SETEX", b"PSETEX"))
        rows = self.of.get(b"SET", np.zeros(0, np.int64))
        for number in range(3, 9):
            rows = rows[self.count[rows] > number + 1]
            if not len(rows):
                break
            said = self.stream.words(self.argument(rows, number))
            for option, unit, absolute in _OPTIONS:
                here = rows[said == word(option)]
                put(here, self.argument(here, number + 1), unit, absolute, positive=True)
        for row in self._others():
            told = told_by(self.arguments(row))
            if told.expires_at_ms is not None and abs(told.expires_at_ms) <= _LAST_US // 1000:
                at[row] = max(told.expires_at_ms * 1000, _FIRST_US)
            if told.ttl_ms is not None:
                ttl[row] = told.ttl_ms
        return {"expires_at": at, "ttl": ttl}

    def _others(self) -> list[int]:
        """Rows whose arguments may tell something, and that are not told many at once."""
        return [row for name, rows in self.of.items() if not self._alike(name) for row in rows.tolist()]

    @staticmethod
    def _alike(name: bytes) -> bool:
        return name == b"SET" or name in _TTL or name in _TOLD_NOTHING or name in _TELLING_ARGUMENT

    def details(self) -> pa.Array:
        parts: list[tuple[Numbers, pa.Array]] = []
        alone = self._others()
        for name, (number, place) in _TELLING_ARGUMENT.items():
            rows = self.of.get(name, np.zeros(0, np.int64))
            same = self.count[rows] == number
            alone += rows[~same].tolist()
            rows = rows[same]
            if len(rows):
                texts = self.stream.texts(self._shortened(self.argument(rows, place)))
                plain = pc.match_substring_regex(texts, _PLAIN_WORD).to_numpy(zero_copy_only=False)
                alone += rows[~plain].tolist()
                parts.append((rows[plain], texts.filter(pa.array(plain))))
        for name, (usual, _, _) in _TTL.items():
            rows = self.of.get(name, np.zeros(0, np.int64))
            alone += rows[self.count[rows] != usual].tolist()
        rows = self.of.get(b"SET", np.zeros(0, np.int64))
        rows = rows[self.count[rows] > 3]
        timed = (self.count[rows] == 5) & np.isin(
            self.stream.words(self.argument(rows, 3)), [word(option) for option, _, _ in _OPTIONS]
        )
        alone += rows[~timed].tolist()
        told = {row: detail for row in alone if (detail := told_by(self.arguments(row)).detail) is not None}
        if told:
            parts.append((np.array(list(told), np.int64), pa.array(list(told.values()), pa.large_string())))
        return _scattered(parts, len(self.rows))

    @staticmethod
    def _shortened(places: Numbers) -> Numbers:
        return np.column_stack((places[:, 0], np.minimum(places[:, 1], 200)))

    def content(self) -> Numbers:
        """Where the content of a write begins."""
        found = np.full(len(self.rows), MISSING, np.int64)
        for name, place in _CONTENT.items():
            rows = self.of.get(name, np.zeros(0, np.int64))
            rows = rows[self.count[rows] > place]
            found[rows] = self.argument(rows, place)[:, 0]
        return found


def _scattered(parts: list[tuple[Numbers, pa.Array]], count: int) -> pa.Array:
    """Texts at their rows, the others missing."""
    if not parts:
        return pa.nulls(count, pa.large_string())
    rows = np.concatenate([rows for rows, _ in parts])
    texts = pa.concat_arrays([texts for _, texts in parts])
    index = np.full(count, -1, np.int64)
    index[rows] = np.arange(len(rows))
    return texts.take(pa.array(index, mask=index < 0))


def commands_frame(
    columns: Columns, verbs: pd.Series, *, server: str, source: str, witness: str, **more: pd.Series
) -> pd.DataFrame:
    """The frame ``commands`` of all columns; ``more`` of its columns may be given as they are."""
    count = len(columns["offset"])
    ends = scratch(count + 1, np.int64)
    ends[0] = 0
    np.cumsum(columns["key_count"], out=ends[1:])
    keys = pa.LargeListArray.from_arrays(pa.array(ends), columns["keys"])
    return frame(
        "commands",
        {
            "server": repeated(server, count),
            "source": repeated(source, count),
            "witness": repeated(witness, count),
            "verb": verbs,
            "keys": pd.Series(pd.arrays.ArrowExtensionArray(keys), dtype=TEXTS, copy=False),
            "detail": text(columns["detail"]),
            "expires_at": moments(columns["expires_at"]),
            **{name: counts(columns[name], MISSING) for name in ("offset", "db", "ttl", "transaction")},
            **more,
        },
    )

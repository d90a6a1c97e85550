"""Every removal of a key that the commands show, one row a key: when, by whom, how old it was, due or not.

In: the frames ``commands`` and ``keys``. Out: ``Removals``. Decides nothing: which of them are a burst is
``bursts``' to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.celery.families import CHORD_UNLOCK, GROUP_META, TASK_META
from analysis.findings.deeds import EXPIRES, WRITES, stream_of
from analysis.findings.scope.between import PASSING
from analysis.findings.scope.sweeps import keys_named, stems
from analysis.frames import in_micros, words_in

Flags = NDArray[np.bool_]
Codes = NDArray[np.int64]
Numbers = NDArray[np.float64]

NONE = np.iinfo(np.int64).min
MICRO = 1_000_000

_TAKES = ("DEL", "UNLINK", "GETDEL", "DELEX", "DELIFEQ", "EXPIRED", "EVICTED")
_LISTS = ("LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "LPOP", "RPOP", "BRPOP", "BLPOP", "LREM", "LMOVE", "RPOPLPUSH", "LTRIM")
_WRITES = WRITES - {"LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "RENAME", "RENAMENX"}
_CHORD = (".j", ".t", ".s", ".d", ".c")
# A time that is known no better than this is taken from the rows around it.
_NARROW = 120 * MICRO

BY = ("client", "eviction", "expiry", "unsure", "flush")
"""Who took a key away: a client (or a script), maxmemory, its own expiry, one of these, or a flush of its database."""

FLUSH = BY.index("flush")

COLUMNS = (
    "server stream source witness db stem family key label at known by or_by client verb written given due"
).split()


@dataclass(frozen=True)
class Removals:
    """``rows``: a row for each key that was removed: columns server, stream (a source without the number of its part),
    source, witness, db, stem (what the key's kind begins with), family, key, label (its row of ``commands``), at
    (microseconds since 1970), known (``at`` is the witness's own, not drawn from the rows around), by (client,
    eviction, expiry or unsure), or_by, client, verb, written (when the same stream shows it written last; ``NONE`` =
    not shown), given (that gave it no more than an expiry, which notifications tell apart), due. ``spans``: of each
    stream from when to when it speaks: columns stream, server, witness, begin, end, writes (values being written are in
    it: notifications may be of some classes of events alone). ``lives``: from when to when each key was there, as its
    stream shows: columns server, stream, db, family, start, end (microseconds; the stream's own begin and end where it
    was there before, or is after), by (who ended it; flush; empty = it is there still).

    ``shortened``: columns as of ``rows``, of keys that were given less than half of the time that they had left.

    Keys that come and go with the work itself (``between.PASSING``, lists, chords) are left out, and what was refused.
    A client's removal of a key whose expiry may have come is unsure.
    """

    rows: pd.DataFrame
    spans: pd.DataFrame
    lives: pd.DataFrame
    shortened: pd.DataFrame


def removals(commands: pd.DataFrame, keys: pd.DataFrame) -> Removals:
    """All removals of a case; a key that a flush took has no row."""
    ran = commands["witness"].ne("ACL LOG").to_numpy(dtype=bool)
    stream, streams = _streams(commands["source"])
    times, known = _times(commands, stream, len(streams))
    spans = _spans(commands, stream, streams, times, ran)
    taking = words_in(commands["verb"], _TAKES) & commands["removed_by"].notna().to_numpy() & ran
    writing = (words_in(commands["verb"], _WRITES) | _expiries(commands)) & ran & ~taking
    if not taking.any() and not writing.any():
        return _nothing(spans)
    label, key = keys_named(commands.loc[taking | writing, ["keys"]])
    place = np.flatnonzero(taking | writing)[label]
    code, names = pd.factorize(key)
    names = pd.Series(names, dtype="str")
    stem = stems(names)
    family = _families(names, stem, keys, _lists(commands, ran))
    # What names a task, and is nothing of Celery's, is the application's own record of it (case.toml, [jobs]).
    named = np.unique(code[commands["task_id"].notna().to_numpy(dtype=bool)[np.flatnonzero(taking | writing)[label]]])
    family[named[family[named] == "other"]] = "job"
    db = commands["db"].to_numpy(dtype=np.int64, na_value=-1)[place]
    takes, at = taking[place], times[place]
    by = _by(commands)[place]
    gives = _expiries(commands)[place]
    order, same = _by_key(stream[place], db, code)
    lives = _Rows(stream[place], db, at, takes, by, order, same).lives(_flushed(commands, stream, times, ran), spans)
    lives = lives.assign(family=family[code[order][lives["row"].to_numpy()]])
    lives = lives.assign(server=spans["server"].to_numpy()[lives["stream"].to_numpy()], stream=streams[lives["stream"]])
    chosen = takes & ~np.isin(family, PASSING)[code]
    place, code = place[chosen], code[chosen]
    rows = commands.iloc[place]
    found = pd.DataFrame(
        {
            "server": rows["server"].to_numpy(),
            "stream": pd.Categorical.from_codes(stream[place], streams),
            "source": rows["source"].to_numpy(),
            "witness": rows["witness"].to_numpy(),
            "db": rows["db"].to_numpy(),
            "stem": pd.Categorical(stem)[code],
            "family": pd.Categorical(family)[code],
            "key": names.take(code).to_numpy(),
            "label": commands.index.to_numpy()[place],
            "at": at[chosen],
            "known": known[place],
            "by": pd.Categorical.from_codes(by[chosen], BY),
            "or_by": rows["or_by"].to_numpy(),
            "client": rows["client"].to_numpy(),
            "verb": rows["verb"].to_numpy(),
            "written": _written(at, takes, order, same)[chosen],
            "given": _given(at, takes, gives, order, same)[chosen],
            "due": in_micros(rows["due_at"]),
        }
    )
    kept = ~lives["family"].isin(PASSING)
    lives = lives.loc[kept].drop(columns="row").reset_index(drop=True)
    return Removals(found, spans, lives, _shortened(commands, stream, streams, times, keys, ran))


def _shortened(
    commands: pd.DataFrame, stream: Codes, streams: NDArray[np.object_], times: NDArray[np.int64], keys: pd.DataFrame,
    ran: Flags,
) -> pd.DataFrame:  # fmt: skip
    """``Removals.shortened``: the time that a key had is told by the command, or by the last one on that key."""
    changes = words_in(commands["verb"], EXPIRES) & ran
    given = in_micros(commands["expires_at"]).copy()
    ttl = commands["ttl"].to_numpy(dtype=np.int64, na_value=-1)
    given[(given == NONE) & (ttl >= 0)] = (times + ttl * 1_000)[(given == NONE) & (ttl >= 0)]
    telling = (changes | words_in(commands["verb"], _WRITES)) & ran & (given != NONE)
    if not (changes & telling).any():
        return pd.DataFrame({name: [] for name in COLUMNS})
    label, key = keys_named(commands.loc[telling, ["keys"]])
    place = np.flatnonzero(telling)[label]
    code, names = pd.factorize(key)
    order, same = _by_key(stream[place], commands["db"].to_numpy(dtype=np.int64, na_value=-1)[place], code)
    before, written = np.full(len(place), NONE), np.full(len(place), NONE)
    before[order[1:][same[1:]]] = given[place][order[:-1][same[1:]]]
    written[order[1:][same[1:]]] = times[place][order[:-1][same[1:]]]
    due = in_micros(commands["due_at"])[place]
    had = np.where(due != NONE, due, before)
    at = times[place]
    hit = changes[place] & (had != NONE) & (had > at)
    hit &= (given[place] - at) < (np.where(hit, had, at) - at) / 2
    texts = pd.Series(names, dtype="str")
    stem = stems(texts)
    family = _families(texts, stem, keys, _lists(commands, ran))
    hit &= ~np.isin(family, PASSING)[code]
    place, code = place[hit], code[hit]
    rows = commands.iloc[place]
    return pd.DataFrame(
        {
            "server": rows["server"].to_numpy(),
            "stream": pd.Categorical.from_codes(stream[place], streams),
            "source": rows["source"].to_numpy(),
            "witness": rows["witness"].to_numpy(),
            "db": rows["db"].to_numpy(),
            "stem": pd.Categorical(stem)[code],
            "family": pd.Categorical(family)[code],
            "key": texts.take(code).to_numpy(),
            "label": commands.index.to_numpy()[place],
            "at": at[hit],
            "known": True,
            "by": "client",
            "or_by": None,
            "client": rows["client"].to_numpy(),
            "verb": rows["verb"].to_numpy(),
            "written": written[hit],
            "due": had[hit],
        }
    )


def _nothing(spans: pd.DataFrame) -> Removals:
    lives: dict[str, list[object]] = {name: [] for name in ("server", "stream", "db", "family", "start", "end", "by")}
    none = pd.DataFrame({name: [] for name in COLUMNS})
    return Removals(none, spans, pd.DataFrame(lives), none)


def _expiries(commands: pd.DataFrame) -> Flags:
    """Notifications that a key was given an expiry: of SETEX often the only ones that were recorded."""
    told: Flags = commands["witness"].eq("keyspace log").to_numpy(dtype=bool)
    return told & words_in(commands["verb"], ("EXPIRE", "PEXPIRE"))


def _spans(
    commands: pd.DataFrame, stream: Codes, streams: NDArray[np.object_], times: NDArray[np.int64], ran: Flags
) -> pd.DataFrame:
    rows, writes = [], words_in(commands["verb"], _WRITES)
    for number, name in enumerate(streams):
        mine = np.flatnonzero((stream == number) & ran)
        at = times[mine] if len(mine) else np.zeros(1, np.int64)
        first = commands.iloc[mine[0]] if len(mine) else {"server": "", "witness": ""}
        told = {"stream": name, "server": str(first["server"]), "witness": str(first["witness"])}
        shown = bool(writes[mine].any())
        rows.append({**told, "begin": int(at.min()), "end": int(at.max()), "writes": shown})
    return pd.DataFrame(rows, columns=["stream", "server", "witness", "begin", "end", "writes"])


def _flushed(commands: pd.DataFrame, stream: Codes, times: NDArray[np.int64], ran: Flags) -> list[tuple[int, int, int]]:
    """Each flush: the number of its stream, its database (-1 = all) and when."""
    rows = np.flatnonzero(words_in(commands["verb"], ("FLUSHDB", "FLUSHALL")) & ran)
    whole = words_in(commands["verb"].iloc[rows], ("FLUSHALL",))
    db = np.where(whole, -1, commands["db"].iloc[rows].to_numpy(dtype=np.int64, na_value=-2))
    return list(zip(stream[rows].tolist(), db.tolist(), times[rows].tolist(), strict=True))


@dataclass(frozen=True)
class _Rows:
    """Writes and removals of keys, one row a key: numbers of streams, databases, times, which remove, and by whom; and
    their order by key (``_by_key``)."""

    stream: Codes
    db: NDArray[np.int64]
    at: NDArray[np.int64]
    takes: Flags
    by: Codes
    order: NDArray[np.int64]
    same: Flags

    def lives(self, flushed: list[tuple[int, int, int]], spans: pd.DataFrame) -> pd.DataFrame:
        """``Removals.lives``, with row: which one in the order by key began it. A key is there from its first write
        since it was taken to when it is taken.
        """
        taken, at, by = self.takes[self.order], self.at[self.order], self.by[self.order]
        # A removal without a write before it ends a life that began before the stream.
        opens = np.append(True, taken[:-1])[: len(taken)] | ~self.same
        number, row = np.cumsum(opens) - 1, np.flatnonzero(opens)
        stream, db = self.stream[self.order][row], self.db[self.order][row]
        start = np.where(taken[row], spans["begin"].to_numpy()[stream], at[row])
        end, who = spans["end"].to_numpy(dtype=np.int64)[stream].copy(), np.full(len(row), -1, np.int64)
        end[number[taken]], who[number[taken]] = at[taken], by[taken]
        for name, base, moment in flushed:
            hit = (stream == name) & (start < moment) & (end > moment)
            hit &= (db == base) | (base == -1)
            end[hit], who[hit] = moment, FLUSH
        ended = pd.Categorical.from_codes(who, BY)
        return pd.DataFrame({"stream": stream, "db": db, "start": start, "end": end, "by": ended, "row": row})


def _by(commands: pd.DataFrame) -> Codes:
    """Of each command, who it was that removed: its place in ``BY``; -1 where it removes nothing."""
    by, other = commands["removed_by"], commands["or_by"]
    maybe = other.eq("expiry").to_numpy(dtype=bool)
    found = np.where(by.isna().to_numpy(), -1, BY.index("unsure")).astype(np.int64)
    found[by.isin(("client", "script")).to_numpy() & ~maybe] = BY.index("client")
    found[by.eq("eviction").to_numpy(dtype=bool) & ~maybe] = BY.index("eviction")
    found[by.eq("expiry").to_numpy(dtype=bool)] = BY.index("expiry")
    return found


def _streams(source: pd.Series) -> tuple[Codes, NDArray[np.object_]]:
    """``deeds.stream_of``, of each word once: numbers, and their names."""
    code, names = pd.factorize(stream_of(pd.Series(source.cat.categories, dtype="str")))
    return np.append(code, -1)[source.cat.codes.to_numpy()], np.asarray(names, object)


def _times(commands: pd.DataFrame, stream: Codes, streams: int) -> tuple[NDArray[np.int64], Flags]:
    """When each ran, and whether that is told: else it is drawn between the rows of its stream that are, at the pace of
    all before the first and after the last of them; without any a second lies between two rows.
    """
    first, last = in_micros(commands["not_before"]), in_micros(commands["not_after"])
    both = (first != NONE) & (last != NONE)
    known = (both & (last - first <= _NARROW)) | ((first != NONE) ^ (last != NONE)) & _moments(commands)
    at = np.where(first != NONE, first, last)
    number = np.arange(len(commands), dtype=np.float64)
    for name in range(streams):
        mine = stream == name
        told = mine & known
        rest = mine & ~known
        if told.any():
            if rest.any():
                at[rest] = _between(number[rest], number[told], at[told])
        elif rest.any():
            begin = int(first[rest & (first != NONE)].min()) if (rest & (first != NONE)).any() else 0
            at[rest] = begin + (number[rest] - number[rest][0]).astype(np.int64) * MICRO
    return at, known


def _between(rows: Numbers, told: Numbers, at: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.interp(rows, told, at.astype(np.float64))
    pace = float(at[-1] - at[0]) / max(told[-1] - told[0], 1.0) or float(MICRO)
    found += np.minimum(rows - told[0], 0) * pace + np.maximum(rows - told[-1], 0) * pace
    return found.astype(np.int64)


def _moments(commands: pd.DataFrame) -> Flags:
    # Whoever writes down each command as it comes has one time for it.
    found: Flags = commands["witness"].isin(("MONITOR log", "keyspace log", "slowlog")).to_numpy(dtype=bool)
    return found


def _by_key(stream: Codes, db: NDArray[np.int64], code: Codes) -> tuple[NDArray[np.int64], Flags]:
    """The rows in order of stream, database, key and place, and which of them are of the same key as the one before."""
    order = np.lexsort((code, db, stream))
    same = np.zeros(len(order), bool)
    same[1:] = True
    for column in (stream, db, code):
        same[1:] &= column[order][1:] == column[order][:-1]
    return order, same


def _written(at: NDArray[np.int64], takes: Flags, order: NDArray[np.int64], same: Flags) -> NDArray[np.int64]:
    """Of each row, when its key was written last before it, since it was last taken."""
    before = np.append(False, ~takes[order][:-1])[: len(order)] & same
    written = np.full(len(at), NONE)
    written[order[before]] = at[order[np.flatnonzero(before) - 1]]
    return written


def _given(
    at: NDArray[np.int64], takes: Flags, gives: Flags, order: NDArray[np.int64], same: Flags
) -> NDArray[np.bool_]:
    """Of each row, whether what ``_written`` tells gave its key an expiry and no value: of SETEX and of SET with EX the
    notification ``set`` stands right before ``expire`` (t_string.c).
    """
    at, takes, gives = at[order], takes[order], gives[order]
    after_write = np.append(False, ~gives[:-1] & ~takes[:-1] & (np.diff(at) <= MICRO))[: len(at)] & same
    alone = gives & ~after_write
    found = np.zeros(len(at), bool)
    found[order] = np.append(False, alone[:-1])[: len(at)] & same
    return found


def _lists(commands: pd.DataFrame, ran: NDArray[np.bool_]) -> set[str]:
    rows = commands.loc[words_in(commands["verb"], _LISTS) & ran, ["keys"]]
    return set(keys_named(rows)[1].unique())


def _families(names: pd.Series, stem: pd.Series, keys: pd.DataFrame, lists: set[str]) -> NDArray[np.object_]:
    """What each key is: as a snapshot names it, else by its name, else as others that begin alike."""
    held = keys[["key", "family"]].drop_duplicates("key")
    kinds = dict(zip(stems(held["key"]), held["family"].astype("str"), strict=True)) if len(held) else {}
    code, begun = pd.factorize(stem)
    alike = np.array([_marked(word) or kinds.get(word, "other") if word else "other" for word in begun], object)
    found: NDArray[np.object_] = alike[code]
    rest = np.flatnonzero(found != "result")
    others = names.iloc[rest]
    for mark, family in ((CHORD_UNLOCK, "chord"), ("unacked", "unacked"), ("pidbox", "control")):
        found[rest[others.str.contains(mark, regex=False).to_numpy(dtype=bool)]] = family
    counter = others.str.endswith(_CHORD).to_numpy(dtype=bool) & (found[rest] == "group_result")
    found[rest[counter]] = "chord"
    found[rest[others.isin(lists).to_numpy(dtype=bool)]] = "queue"
    if len(held):
        places = pd.Index(held["key"]).get_indexer(names)
        known = places >= 0
        found[known] = held["family"].astype("str").to_numpy(dtype=object)[places[known]]
    return found


def _marked(stem: str) -> str:
    """What a key is by what it begins with; empty where that tells nothing."""
    marks = ((TASK_META, "result"), (GROUP_META, "group_result"), ("_kombu.binding", "binding"))
    return next((family for mark, family in marks if mark in stem), "")

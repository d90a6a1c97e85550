"""What the commands of a case did to one task's records: who wrote them, and what took them away last.

In: the frame ``commands``, and the task's ID and keys. Out: the task's own commands, and for a record its ``Fate``.
Weighs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.celery.discovery import NOT_WORK
from analysis.celery.families import CHORD_UNLOCK, GROUP_META, TASK_META
from analysis.findings.words import stamp
from analysis.frames import words_in

_NOT_WORK = re.compile(NOT_WORK)
# Witnesses that hold every write in its order; the others see a part.
STREAMS = ("append-only file", "replication backlog")
# These show what clients sent, or what befell keys, as it happened, while they ran.
RECORDERS = ("MONITOR log", "keyspace log")
# What the last of several commands on one key leaves behind.
WRITES = frozenset(
    "SET SETEX PSETEX SETNX GETSET MSET MSETNX APPEND SETRANGE SETBIT INCR INCRBY DECR DECRBY HSET HMSET HSETNX HSETEX "
    "HINCRBY HINCRBYFLOAT LPUSH RPUSH LPUSHX RPUSHX SADD ZADD ZINCRBY XADD COPY RESTORE RESTORE-ASKING RENAME RENAMENX "
    "SUNIONSTORE SINTERSTORE SDIFFSTORE".split()
)
EXPIRES = frozenset("EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST GETEX".split())
_REMOVES = frozenset("DEL UNLINK GETDEL DELEX DELIFEQ RENAME RENAMENX MOVE MIGRATE".split())
_EVENTS = frozenset(("del", "expired", "evicted", "rename_from", "move_from"))
# These take all keys of a database, or of all.
WHOLE = frozenset(("FLUSHDB", "FLUSHALL", "SWAPDB"))
_OVER = frozenset(("SET",))
_FAMILY = 5
"""So many keys of one kind that go together are no longer a few by name."""
_NEAR = pd.Timedelta(seconds=10)
_MANY = 500
_APART = 3
"""Rows between two removals of one loop: the writes beside each."""
_MOST_KEYS = 200
_MOST_ROWS = 5_000


@dataclass(frozen=True)
class Fate:
    """What took a record's key away after it was last written, as one witness has it.

    ``row`` is the command's row of the frame, ``key`` and ``db`` (None where not known) what it took, ``written`` the
    row of the last write before it and ``shortened`` that of the last change of its expiry after that, each None where
    the witness shows none. ``family`` is how many keys of this kind went with it: in one command, or one behind the
    other.
    """

    row: pd.Series
    key: str
    db: int | None
    written: pd.Series | None
    shortened: pd.Series | None
    family: int

    @property
    def verb(self) -> str:
        return str(self.row["verb"]).upper()

    @property
    def by(self) -> str:
        """Who did it; empty where that is not told."""
        return str(self.row["removed_by"]) if pd.notna(self.row["removed_by"]) else ""

    @property
    def or_by(self) -> str:
        return str(self.row["or_by"]) if pd.notna(self.row["or_by"]) else ""

    @property
    def due(self) -> Any:
        """The expiry that the key had: by the command itself, else by its last write or change of expiry; or NaT."""
        if pd.notna(self.row["due_at"]):
            return self.row["due_at"]
        last = self.shortened if self.shortened is not None else self.written
        return pd.NaT if last is None else last["expires_at"]

    @property
    def source(self) -> str:
        return place_of(self.row)


def place_of(row: pd.Series) -> str:
    """Where a command stands, for people."""
    unit = {"append-only file": "byte", "replication backlog": "byte", "slowlog": "entry", "ACL LOG": "entry"}
    return f"{row['source']}, {unit.get(str(row['witness']), 'line')} {row['offset']}"


def when_of(row: pd.Series) -> str:
    """When a command ran, as the end of a sentence: a moment, or between which times; empty where nothing is known."""
    first, last = row["not_before"], row["not_after"]
    if pd.notna(first) and pd.notna(last):
        if (last - first).total_seconds() < 1:
            return f" at {stamp(first)}"
        return f" between {first:%Y-%m-%d %H:%M:%S} and {stamp(last)}"
    if pd.notna(first):
        return f" after {stamp(first)}"
    return f" before {stamp(last)}" if pd.notna(last) else ""


def own_commands(commands: pd.DataFrame, task_id: str) -> pd.DataFrame:
    """The rows that are about a task: by ``task_id``, or because a key's name holds its ID; in their order."""
    if not len(commands) or not task_id:
        return commands.iloc[:0]
    mine = commands["task_id"].eq(task_id).fillna(False).to_numpy(dtype=bool).copy()
    mine[_naming(commands, task_id)] = True
    return listed_keys(commands.loc[mine])


def listed_keys(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with Python's own lists of keys, which a row taken out of the frame keeps."""
    return rows.assign(keys=pd.Series(rows["keys"].tolist(), rows.index, dtype=object))


def first_keys(rows: pd.DataFrame) -> list[str]:
    """The first key that each row names; empty where it names none."""
    return [keys[0] if keys else "" for keys in listed_keys(rows)["keys"]]


def _naming(commands: pd.DataFrame, text: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers of the rows with a key that holds ``text``."""
    lists = pa.array(commands["keys"])
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    named = pc.match_substring(pc.list_flatten(lists), text)
    parents = pc.list_parent_indices(lists)
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = np.unique(parents.filter(named).to_numpy())
    return found


def is_result(key: str, task_id: str) -> bool:
    """Whether a key is this task's result, behind whatever prefix."""
    return key.endswith(TASK_META + task_id)


def is_job(key: str, task_id: str) -> bool:
    """Whether a key may be the application's own record of a task: it names the whole ID, is nothing that Celery or
    kombu keeps, and no lock, session or cache by its name (``discovery.NOT_WORK``).
    """
    if any(mark in key for mark in (TASK_META, GROUP_META, CHORD_UNLOCK, "unacked", "_kombu.")):
        return False
    before, _, behind = key.partition(task_id)
    whole = not (before[-1:].isalnum() or behind[:1].isalnum() or behind[:1] == "-")
    return whole and not _NOT_WORK.search(before + behind)


def fates(commands: pd.DataFrame, own: pd.DataFrame, wanted: set[str]) -> list[Fate]:
    """What took each of the ``wanted`` keys away, in each database and by each witness that shows it, the fullest
    witness first.

    A key that is written after it was taken has no fate, and once it is taken nothing takes it again until then. Of a
    task with a great many commands the last tell.
    """
    found: list[Fate] = []
    # Parts of one append-only file are one witness.
    everything = commands.loc[words_in(commands["verb"], WHOLE)]
    own = own.loc[own["witness"].ne("ACL LOG")]  # what was denied did not run
    witness, of_all = stream_of(own["source"]), stream_of(everything["source"])
    for name in witness.unique():
        rows, whole = own.loc[witness.eq(name)], everything.loc[of_all.eq(name)]
        for key in sorted(wanted)[:_MOST_KEYS]:
            mine = rows.loc[[isinstance(keys, list) and key in keys for keys in rows["keys"]]].tail(_MOST_ROWS)
            for db in mine["db"].dropna().unique() if mine["db"].notna().any() else (None,):
                here = mine.loc[mine["db"].isna() | mine["db"].eq(db)] if db is not None else mine
                if fate := _fate(commands, here, whole, key, None if db is None else int(db)):
                    found.append(fate)
    return sorted(found, key=lambda fate: (fate.row["witness"] not in STREAMS, fate.row["source"]))


def rows_of_stream(commands: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of one stream, by what ``stream_of`` calls it."""
    mine = stream_of(pd.Series(commands["source"].cat.categories)).eq(name).to_numpy(dtype=bool)
    return commands.loc[np.append(mine, False)[commands["source"].cat.codes.to_numpy()]]


def stream_of(source: pd.Series) -> pd.Series:
    """What a command's source is called, without the number and kind of a part; the same of a manifest."""
    part = r"\.\d+\.(?:base|incr)\.(?:rdb|aof)$|\.manifest$"
    return source.astype("str").str.replace(part, "", regex=True)


def stream_named(source: str) -> str:
    """``stream_of``, of one source."""
    return str(stream_of(pd.Series([source])).iloc[0])


def _fate(commands: pd.DataFrame, mine: pd.DataFrame, whole: pd.DataFrame, key: str, db: int | None) -> Fate | None:
    written, shortened, taken = None, None, None
    if db is None:
        whole = whole.loc[words_in(whole["verb"], ("FLUSHALL",))]
    for label, row in mine.iterrows():
        if taken is None and written is not None:
            taken = _first_of(whole, db, after=written.name, before=label)
        verb = str(row["verb"])
        upper = verb.upper()
        if verb in _EVENTS or (upper in _REMOVES and _takes(row, key)):
            taken = row if taken is None else taken
        elif upper in WRITES and _writes(row, key):
            written, shortened, taken = row, None, None
        elif upper in EXPIRES and taken is None:
            shortened, taken = row, row if _at_once(row) else None
    if taken is None and written is not None:
        taken = _first_of(whole, db, after=written.name, before=None)
    if taken is None:
        return None
    return Fate(taken, key, db, written, shortened, _family(commands, taken, key))


def end_of_key(behind: pd.DataFrame, put: pd.Series, key: str) -> Fate | None:
    """What first took ``key`` away after the command ``put`` had put something into it: of ``behind``, the commands of
    the same stream after it. The key may have been made anew since; what had been in it was gone.
    """
    db = None if pd.isna(put["db"]) else int(put["db"])
    chosen = behind.loc[words_in(behind["verb"], _REMOVES | WHOLE | EXPIRES | _OVER)]
    named = np.zeros(len(chosen), bool)
    named[_naming(chosen, key)] = True
    chosen = listed_keys(chosen.loc[named | words_in(chosen["verb"], WHOLE)].head(_MOST_ROWS))
    shortened = None
    for _, row in chosen.iterrows():
        upper = str(row["verb"]).upper()
        if upper in WHOLE:
            if reaches(row, db):
                return Fate(row, key, db, put, shortened, 0)
            continue
        if not isinstance(row["keys"], list) or key not in row["keys"]:
            continue
        if db is not None and pd.notna(row["db"]) and int(row["db"]) != db:
            continue
        if upper in EXPIRES:
            shortened = row
        elif _takes(row, key) or row["keys"][1:2] == [key]:
            return Fate(row, key, db, put, shortened, _family(behind, row, key))
    return None


def _first_of(whole: pd.DataFrame, db: int | None, *, after: Any, before: Any) -> pd.Series | None:
    """The first command on a whole database, between two rows, that takes keys of this one."""
    between = whole.loc[(whole.index > after) & (whole.index < before if before is not None else True)]
    for _, row in between.head(_MOST_ROWS).iterrows():
        if reaches(row, db):
            return row
    return None


def _writes(row: pd.Series, key: str) -> bool:
    """Of a command that reads some of its keys, whether it writes this one."""
    verb = str(row["verb"]).upper()
    return bool(row["keys"][1:2] == [key]) if verb == "COPY" else not verb.endswith("STORE") or row["keys"][0] == key


def _at_once(row: pd.Series) -> bool:
    """Whether a change of expiry deletes at once: with none left, or a time past (facts/causes.md 2.5)."""
    if str(row["verb"]).upper() == "PERSIST" or row["witness"] in STREAMS:
        return False  # a stream has the DEL itself
    if pd.notna(row["ttl"]):
        return bool(row["ttl"] <= 0)
    return bool(pd.notna(row["expires_at"]) and pd.notna(row["not_before"]) and row["expires_at"] <= row["not_before"])


def _takes(row: pd.Series, key: str) -> bool:
    """Of RENAME it is the first key that goes; what it is called then is written anew."""
    keys = row["keys"]
    return bool(keys) and (str(row["verb"]).upper() not in ("RENAME", "RENAMENX") or keys[0] == key)


def reaches(row: pd.Series, db: int | None) -> bool:
    """Whether a command of ``WHOLE`` takes the keys of this database (None: not known which that is)."""
    verb = str(row["verb"]).upper()
    if verb == "FLUSHALL":
        return True
    if db is None:
        return False
    if verb == "SWAPDB":
        return any(f"db {db}" == part for part in str(row["detail"]).split(" and "))
    return pd.notna(row["db"]) and int(row["db"]) == db


def _family(commands: pd.DataFrame, taken: pd.Series, key: str) -> int:
    """How many keys of one kind went together: those of the command, or of the removals around it by the same hand.

    Keys are of one kind when they begin alike, up to their ID.
    """
    stem = _stem(key)
    if not isinstance(taken["keys"], list) or not taken["keys"]:
        return 0
    if len(taken["keys"]) > 1:
        return sum(_stem(other) == stem for other in taken["keys"])
    if pd.isna(taken["removed_by"]) or taken["removed_by"] not in ("client", "script"):
        return 1
    at = commands.index.get_loc(taken.name)
    near = commands.iloc[max(0, at - _MANY) : at + _MANY]
    by_hand = near["removed_by"].isin(("client", "script"))
    # What may be the server's doing is counted only beside its like: the two answers hold for all of them or for none.
    for other in ("eviction", "expiry"):
        if taken["or_by"] != other:
            by_hand &= near["or_by"].ne(other).fillna(True)
    near = near.loc[near["source"].eq(taken["source"]) & by_hand.fillna(False)]
    if pd.notna(taken["not_before"]):
        near = near.loc[(near["not_before"] - taken["not_before"]).abs() <= _NEAR]
    else:
        near = _beside(near, int(taken.name))
    named = {other for keys in near["keys"] if isinstance(keys, list) for other in keys if _stem(other) == stem}
    return max(len(named), 1)


def _beside(near: pd.DataFrame, label: int) -> pd.DataFrame:
    """Of removals without a time those that stand one behind the other, with that one among them."""
    labels = near.index.to_numpy()
    run = np.cumsum(np.diff(labels, prepend=labels[:1]) > _APART)
    mine = run[labels == label]
    return near.loc[run == mine[0]] if len(mine) else near.iloc[:0]


def _stem(key: str) -> str:
    """What stands before the first digit or the last separator: the part that keys of one kind share."""
    if TASK_META in key:
        return key[: key.index(TASK_META) + len(TASK_META)]
    cut = max(key.rfind(mark) for mark in ":-_/.")
    stem = key[: cut + 1]
    return stem.rstrip("0123456789abcdefABCDEF-") or stem


def goes_to(fate: Fate, dbs: Set[int]) -> bool:
    """Whether SWAPDB or MOVE put the key into one of these databases."""
    if fate.verb not in ("SWAPDB", "MOVE") or pd.isna(fate.row["detail"]):
        return False
    return not dbs.isdisjoint(int(number) for number in re.findall(r"\d{1,9}", str(fate.row["detail"])))


def in_bulk(fate: Fate) -> bool:
    """Whether so many went together that it was no few by name."""
    return fate.family >= _FAMILY

"""What the commands of a case did to one task's records: who wrote them, and what took them away last.

In: the frame ``commands``, and the task's ID and keys. Out: the task's own commands, and for a record its ``Fate``.
Weighs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.celery.families import CHORD_UNLOCK, GROUP_META, TASK_META
from analysis.findings.words import stamp
from analysis.frames import words_in

# Witnesses that hold every write in its order; the others see a part.
STREAMS = ("append-only file", "replication backlog")
# What the last of several commands on one key leaves behind.
WRITES = frozenset("SET SETEX PSETEX SETNX GETSET MSET HSET HMSET HSETNX RESTORE RESTORE-ASKING".split())
_EXPIRES = frozenset("EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST GETEX".split())
_REMOVES = frozenset("DEL UNLINK GETDEL DELEX DELIFEQ RENAME RENAMENX MOVE MIGRATE".split())
_EVENTS = frozenset(("del", "expired", "evicted", "rename_from", "move_from"))
_ALL = frozenset(("FLUSHDB", "FLUSHALL", "SWAPDB"))
_FAMILY = 5
"""So many keys of one kind that go together are no longer a few by name."""
_NEAR = pd.Timedelta(seconds=10)
_MANY = 500


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
    return _listed(commands.loc[mine])


def _listed(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with Python's own lists of keys, which a row taken out of the frame keeps."""
    return rows.assign(keys=pd.Series(rows["keys"].tolist(), rows.index, dtype=object))


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


def is_job(key: str) -> bool:
    """Whether a key that names a task may be the application's own record of it: nothing that Celery or kombu keeps."""
    return not any(mark in key for mark in (TASK_META, GROUP_META, CHORD_UNLOCK, "unacked", "_kombu."))


def fates(commands: pd.DataFrame, own: pd.DataFrame, wanted: set[str], dbs: set[int]) -> list[Fate]:
    """What took each of the ``wanted`` keys away, by each witness that shows it, the fullest witness first.

    A key that is written after it was taken has no fate. A command on a whole database counts where the key's database
    is known: by the witness itself, else by ``dbs``, where it was seen.
    """
    found: list[Fate] = []
    # Parts of one append-only file are one witness.
    everything = _listed(commands.loc[words_in(commands["verb"], _ALL)])
    witness, of_all = _stream(own), _stream(everything)
    for name in witness.loc[own["witness"].ne("ACL LOG")].unique():  # what was denied did not run
        rows, whole = own.loc[witness.eq(name)], everything.loc[of_all.eq(name)]
        for key in sorted(wanted):
            mine = rows.loc[[key in keys if isinstance(keys, list) else False for keys in rows["keys"]]]
            if len(mine) and (fate := _fate(commands, mine, whole, key, dbs)):
                found.append(fate)
    return sorted(found, key=lambda fate: (fate.row["witness"] not in STREAMS, fate.row["source"]))


def _stream(rows: pd.DataFrame) -> pd.Series:
    """What a command's source is called, without the number and kind of a part."""
    return rows["source"].astype("str").str.replace(r"\.\d+\.(?:base|incr)\.(?:rdb|aof)$", "", regex=True)


def _fate(commands: pd.DataFrame, mine: pd.DataFrame, whole: pd.DataFrame, key: str, dbs: set[int]) -> Fate | None:
    written, shortened, taken = None, None, None
    db: int | None = next(iter(dbs)) if len(dbs) == 1 else None
    rows = pd.concat([mine, whole]).sort_index(kind="stable") if len(whole) else mine
    for _, row in rows.iterrows():
        verb = str(row["verb"])
        upper = verb.upper()
        if pd.notna(row["db"]) and upper not in _ALL:
            if db is not None and db != int(row["db"]) and taken is None and written is not None:
                continue
            db = int(row["db"])
        if verb in _EVENTS or (upper in _REMOVES and _takes(row, key)):
            taken = row
        elif upper in ("RENAME", "RENAMENX") or upper in WRITES:
            written, shortened, taken = row, None, None
        elif upper in _EXPIRES:
            shortened = row
        elif upper in _ALL and _reaches(row, upper, db) and (written is not None or row["witness"] not in STREAMS):
            taken = row
    if taken is None:
        return None
    return Fate(taken, key, db, written, shortened, _family(commands, taken, key))


def _takes(row: pd.Series, key: str) -> bool:
    """Of RENAME it is the first key that goes; what it is called then is written anew."""
    keys = row["keys"]
    return bool(keys) and (str(row["verb"]).upper() not in ("RENAME", "RENAMENX") or keys[0] == key)


def _reaches(row: pd.Series, verb: str, db: int | None) -> bool:
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
    near = near.loc[near["source"].eq(taken["source"]) & near["removed_by"].isin(("client", "script"))]
    if pd.notna(taken["not_before"]):
        close = (near["not_before"] - taken["not_before"]).abs() <= _NEAR
        near = near.loc[close.fillna(True)]
    return sum(any(_stem(other) == stem for other in keys) for keys in near["keys"] if isinstance(keys, list))


def _stem(key: str) -> str:
    """What stands before the first digit or the last separator: the part that keys of one kind share."""
    if TASK_META in key:
        return key[: key.index(TASK_META) + len(TASK_META)]
    cut = max(key.rfind(mark) for mark in ":-_/.")
    stem = key[: cut + 1]
    return stem.rstrip("0123456789abcdefABCDEF-") or stem


def in_bulk(fate: Fate) -> bool:
    """Whether so many went together that it was no few by name."""
    return fate.family >= _FAMILY

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
from analysis.findings.deeds import WRITES, stream_of
from analysis.findings.scope.between import PASSING
from analysis.findings.scope.sweeps import exploded, stems
from analysis.frames import in_micros, words_in

NONE = np.iinfo(np.int64).min
MICRO = 1_000_000

_TAKES = ("DEL", "UNLINK", "GETDEL", "DELEX", "DELIFEQ", "EXPIRED", "EVICTED")
_LISTS = ("LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "LPOP", "RPOP", "BRPOP", "BLPOP", "LREM", "LMOVE", "RPOPLPUSH", "LTRIM")
_WRITES = WRITES - {"LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "RENAME", "RENAMENX"}
_CHORD = (".j", ".t", ".s", ".d", ".c")
# A time that is known no better than this is taken from the rows around it.
_NARROW = 120 * MICRO

COLUMNS = "server stream source witness db stem family key label at known by or_by client verb written due".split()


@dataclass(frozen=True)
class Removals:
    """``rows``: a row for each key that was removed: columns server, stream (a source without the number of its part),
    source, witness, db, stem (what the key's kind begins with), family, key, label (its row of ``commands``), at
    (microseconds since 1970), known (``at`` is the witness's own, not drawn from the rows around), by (client,
    eviction, expiry or unsure), or_by, client, verb, written (when the same stream shows it written last; ``NONE`` =
    not shown), due. ``spans``: of each stream from when to when it speaks: columns stream, server, witness, begin, end.

    Keys that come and go with the work itself (``between.PASSING``, lists, chords) are left out, and what was refused.
    A client's removal of a key whose expiry may have come is unsure.
    """

    rows: pd.DataFrame
    spans: pd.DataFrame


def removals(commands: pd.DataFrame, keys: pd.DataFrame) -> Removals:
    """All removals of a case; a key that a flush took has no row."""
    ran = commands["witness"].ne("ACL LOG").to_numpy(dtype=bool)
    stream = _streams(commands["source"])
    times, known = _times(commands, stream)
    table = pd.DataFrame({"stream": stream[ran], "at": times[ran]})
    table["server"] = commands["server"].astype("str").to_numpy()[ran]
    table["witness"] = commands["witness"].astype("str").to_numpy()[ran]
    spans = table.groupby("stream").agg(
        server=("server", "first"), witness=("witness", "first"), begin=("at", "min"), end=("at", "max")
    )
    takes = words_in(commands["verb"], _TAKES) & commands["removed_by"].notna().to_numpy() & ran
    writes = words_in(commands["verb"], _WRITES) & ran & ~takes
    found = exploded(commands.loc[takes | writes])
    if not takes.any() or not len(found):
        return Removals(pd.DataFrame({name: [] for name in COLUMNS}), spans.reset_index())
    place = commands.index.get_indexer(found["label"])
    found["stream"] = stream[place]
    found["at"], found["known"] = times[place], known[place]
    takes = takes[place]
    codes, names = pd.factorize(found["key"])
    found["code"] = codes
    found["written"] = _written(found, takes, commands["db"].to_numpy(dtype=np.int64, na_value=-1)[place])
    found, place = found.loc[takes].reset_index(drop=True), place[takes]
    mine = found["code"].to_numpy()
    family = _families(pd.Series(names, dtype="str"), keys, _lists(commands, ran))
    found["family"], found["stem"] = family[mine], _stems(names)[mine]
    rows = commands.iloc[place]
    found["by"], found["or_by"] = _by(rows), rows["or_by"].astype("str").fillna("").to_numpy()
    found["verb"] = rows["verb"].astype("str").str.upper().to_numpy()
    found["client"] = rows["client"].astype("str").fillna("").to_numpy()
    found["due"] = in_micros(rows["due_at"])
    kept = ~found["family"].isin(PASSING)
    return Removals(found.loc[kept, COLUMNS].reset_index(drop=True), spans.reset_index())


def _by(rows: pd.DataFrame) -> NDArray[np.object_]:
    by, other = rows["removed_by"].astype("str"), rows["or_by"].astype("str")
    found = np.full(len(rows), "unsure", object)
    found[(by.isin(("client", "script")) & other.ne("expiry")).to_numpy()] = "client"
    found[(by.eq("eviction") & other.ne("expiry")).to_numpy()] = "eviction"
    found[by.eq("expiry").to_numpy()] = "expiry"
    return found


def _streams(source: pd.Series) -> NDArray[np.object_]:
    """``deeds.stream_of``, of each word once."""
    known = stream_of(pd.Series(source.cat.categories, dtype="str")).to_numpy(dtype=object)
    found: NDArray[np.object_] = np.append(known, "")[source.cat.codes.to_numpy()]
    return found


def _times(commands: pd.DataFrame, stream: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """When each ran, and whether that is told: else it is drawn between the rows of its stream that are, or without any
    a second lies between two rows.
    """
    first, last = in_micros(commands["not_before"]), in_micros(commands["not_after"])
    both = (first != NONE) & (last != NONE)
    known = (both & (last - first <= _NARROW)) | ((first != NONE) ^ (last != NONE)) & _moments(commands)
    at = np.where(first != NONE, first, last)
    number = np.arange(len(commands), dtype=np.float64)
    for name in pd.unique(stream):
        mine = stream == name
        told = mine & known
        rest = mine & ~known
        if told.any():
            if rest.any():
                at[rest] = np.interp(number[rest], number[told], at[told].astype(np.float64)).astype(np.int64)
        elif rest.any():
            begin = int(first[rest & (first != NONE)].min()) if (rest & (first != NONE)).any() else 0
            at[rest] = begin + (number[rest] - number[rest][0]).astype(np.int64) * MICRO
    return at, known


def _moments(commands: pd.DataFrame) -> NDArray[np.bool_]:
    # Whoever writes down each command as it comes has one time for it.
    found: NDArray[np.bool_] = commands["witness"].isin(("MONITOR log", "keyspace log", "slowlog")).to_numpy(dtype=bool)
    return found


def _written(found: pd.DataFrame, takes: NDArray[np.bool_], db: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each row, when its key was written last before it, since it was last taken."""
    stream = pd.factorize(found["stream"])[0]
    label = found["label"].to_numpy()
    order = np.lexsort((label, found["code"].to_numpy(), db, stream))
    key = np.stack([stream[order], db[order], found["code"].to_numpy()[order]])
    same = np.append(False, (key[:, 1:] == key[:, :-1]).all(axis=0)) if len(order) else np.zeros(0, bool)
    before = np.append(False, ~takes[order][:-1]) & same
    written = np.full(len(found), NONE)
    at = found["at"].to_numpy()
    written[order[before]] = at[order[np.flatnonzero(before) - 1]]
    return written


def _lists(commands: pd.DataFrame, ran: NDArray[np.bool_]) -> set[str]:
    rows = commands.loc[words_in(commands["verb"], _LISTS) & ran]
    return set(exploded(rows)["key"].unique()) if len(rows) else set()


def _stems(names: pd.Index) -> NDArray[np.object_]:
    found: NDArray[np.object_] = stems(pd.Series(names, dtype="str")).to_numpy(dtype=object)
    return found


def _families(names: pd.Series, keys: pd.DataFrame, lists: set[str]) -> NDArray[np.object_]:
    """What each key is: as a snapshot names it, else by its name, else as others that begin alike."""
    found = np.full(len(names), None, object)
    held = keys[["key", "family"]].drop_duplicates("key")
    places = pd.Index(held["key"]).get_indexer(names)
    known = places >= 0
    found[known] = held["family"].astype("str").to_numpy(dtype=object)[places[known]]
    for mark, family in ((TASK_META, "result"), (GROUP_META, "group_result"), (CHORD_UNLOCK, "chord"),
                         ("_kombu.binding", "binding"), ("unacked", "unacked"), ("pidbox", "control")):  # fmt: skip
        here = names.str.contains(mark, regex=False).to_numpy(dtype=bool) & ~known
        found[here] = family
    found[names.str.endswith(_CHORD).to_numpy(dtype=bool) & (found == "group_result")] = "chord"
    found[names.isin(lists).to_numpy(dtype=bool) & ~known] = "queue"
    rest = found == None  # noqa: E711 (an array of objects)
    if rest.any():
        kinds = dict(zip(stems(held["key"]), held["family"].astype("str"), strict=True)) if len(held) else {}
        found[rest] = [kinds.get(stem, "other") if stem else "other" for stem in stems(names[rest])]
    return found

"""The lives of keys: from when each is known to have been there, to its end or to the end of watching.

In: the commands of one source with the keys that were there when it began, or what became of keys between snapshots.
Out: a row for each life, as ``incidence`` takes it. Knows no curve.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.celery.families import GROUP_META, TASK_META
from analysis.findings.deeds import EXPIRES
from analysis.findings.incidence import EXPIRED, LEAST, REMOVED, WATCHED
from analysis.findings.scope.sweeps import stems
from analysis.findings.share_gone import GONE, KEPT, NOT_COUNTED
from analysis.frames import in_micros, words_in

# What a row does to a key: it was there when watching began; is written whole, or in part; its expiry is written; it is
# taken away. What is anything else may empty a key without a word, so such keys are left out.
_BASE, _WHOLE, _PART, _EXPIRY, _TAKEN, _NOTHING, _OTHER = range(7)
_WRITES_WHOLE = frozenset("SET SETEX PSETEX GETSET MSET RESTORE RESTORE-ASKING".split())
_WRITES_PART = frozenset(
    "SETNX MSETNX APPEND SETRANGE SETBIT INCR INCRBY INCRBYFLOAT DECR DECRBY HSET HMSET HSETNX HSETEX HINCRBY "
    "HINCRBYFLOAT".split()
)
_TAKES = frozenset("DEL UNLINK GETDEL DELEX DELIFEQ MOVE".split())
_RENAMES = frozenset(("RENAME", "RENAMENX"))
_TELLS_NOTHING = frozenset("KEYS SCAN EVAL EVALSHA FCALL MIGRATE".split())
_PASSING_NAMES = r"_kombu\.|unacked|celeryev|pidbox"
_NONE = np.iinfo(np.int64).min
_MICRO = 1_000_000

Times = NDArray[np.int64]


@dataclass(frozen=True)
class Recording:
    """What one source of commands has: an append-only file or backlog, or a MONITOR log, of one server.

    ``commands``: its rows of the frame ``commands``, in order. ``since`` and ``until``: the times between which it has
    every command. ``base``: the keys that were there at ``since`` (columns db, key, family, expires_at, and at: when
    it was stored, missing where that is not measured); None where they are not known.
    """

    server: str
    name: str
    commands: pd.DataFrame = field(repr=False)
    since: pd.Timestamp
    until: pd.Timestamp
    base: pd.DataFrame | None = field(repr=False, default=None)


@dataclass(frozen=True)
class Lives:
    """``rows``: columns family, entry and age (seconds since it was stored: when it came under watch, and when that
    ended) and end (removed, expired, or watched). ``unknown``: keys that were there before, whose age is not measured;
    ``rewritten``: lives that another write of the whole key ended; ``untold``: removals by a hand that is not told.
    ``width``: within how many seconds nine in ten of the moments are known.
    """

    rows: pd.DataFrame
    unknown: int = 0
    rewritten: int = 0
    untold: int = 0
    width: float = 0.0


def lives_between(found: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """The lives that ``share_gone.fates_between`` shows, ``seconds`` being the time between its snapshots: of each key
    not yet due, whose age is measured, the time from one snapshot to the next.

    A key that is gone went at some age between ``entry`` and ``age`` (``incidence.incidence_within``).
    """
    rows = found.loc[found["fate"].isin((KEPT, GONE)) & found["age"].notna()]
    gone = rows["fate"].eq(GONE).to_numpy(dtype=bool)
    entry = rows["age"].to_numpy(dtype=np.float64)
    return pd.DataFrame(
        {
            "family": rows["family"].to_numpy(dtype=object),
            "entry": entry,
            "age": entry + seconds,
            "end": np.where(gone, REMOVED, WATCHED),
        }
    )


def lives_recorded(recording: Recording, known: pd.DataFrame) -> Lives:
    """The lives of strings and hashes that a recording shows; ``known``: rows of ``keys`` of its server, for what its
    keys are.

    - A life begins when the whole key is written, or a part of one that was not there; it ends when the key is taken
      away, at its expiry, or when it is written whole again. A key that was there when the recording began is under
      watch from its age at that time on.
    - An end is an expiry where the expiry had come; else a removal, whoever it was by. A flush takes what there is.
    - Keys that other commands change (lists, sets, …) are left out: the last element goes without a word.
    """
    told = _mentions(recording)
    if not len(told):
        return Lives(_rows([], [], [], []))
    flushes = _flushes(recording)
    told = told.sort_values(["db", "code", "order"], kind="stable", ignore_index=True)
    cls, order, at, expires = (told[name].to_numpy() for name in ("does", "order", "at", "expires"))
    places = np.arange(len(told))
    epoch, first_flush = _epochs(told["db"].to_numpy(), order, flushes)
    new = np.ones(len(told), bool)
    new[1:] = (np.diff(told["code"].to_numpy()) != 0) | (np.diff(told["db"].to_numpy()) != 0)
    group = np.maximum.accumulate(np.where(new, places, 0))
    # What the last row before had left: the key, or nothing.
    tells = np.isin(cls, (_BASE, _WHOLE, _PART, _TAKEN))
    last = _before(np.where(tells, places, -1))
    has = last >= group
    there = has & (cls[last] != _TAKEN) & (epoch[last] == epoch)
    absent = has & ~there if recording.base is None else ~there
    begins = (cls == _BASE) | (cls == _WHOLE) | ((cls == _PART) & absent)
    unknown = int((np.isin(cls, (_PART, _TAKEN)) & ~has & (recording.base is None)).sum())
    # The row that ends each life: the next one that writes the whole key or takes it, unless a flush came before.
    ending = _next(np.isin(cls, (_WHOLE, _TAKEN)))
    size = np.diff(np.append(np.flatnonzero(new), len(told)))
    behind = np.repeat(np.append(np.flatnonzero(new)[1:], len(told)), size)
    begin = np.flatnonzero(begins)
    end = ending[begin]
    ended = end < behind[begin]
    here = np.minimum(end, len(told) - 1)
    flushed = (first_flush[begin] != _NONE) & (~ended | (epoch[here] > epoch[begin]))
    by = told["by"].to_numpy(dtype=object)[here]
    rewritten = ended & ~flushed & (cls[here] == _WHOLE)
    taken = ended & ~flushed & (cls[here] == _TAKEN)
    untold = taken & (by == "unknown")
    until = _micros(recording.until)
    when = np.where(flushed, first_flush[begin], np.where(ended, at[here], until))
    expiry = _expiry_at_end(told, begins, np.where(ended, end, behind[begin]) - 1, epoch, begin)
    due = (expiry != _NONE) & (expiry <= when) & ~(taken & ~untold & (by != "expiry"))
    gone = (flushed | (taken & ~untold & (by != "expiry"))) & ~due
    expired = due | (taken & (by == "expiry"))
    when = np.where(expiry != _NONE, np.minimum(when, np.where(gone | expired, expiry, when)), when)
    stored = np.where(cls[begin] == _BASE, told["stored"].to_numpy()[begin], at[begin])
    since = _micros(recording.since)
    old = cls[begin] == _BASE
    left_out = (stored == _NONE) | (old & (expiry != _NONE) & (expiry <= since))
    entry = np.where(old, np.maximum(since - stored, 0), 0) / _MICRO
    age = np.maximum((when - stored) / _MICRO, entry + LEAST)
    name = np.where(gone, REMOVED, np.where(expired, EXPIRED, WATCHED))
    families = _families(told, begin, known)
    kept = ~left_out & ~np.isin(families, NOT_COUNTED)
    width = told["width"].to_numpy()[told["order"].to_numpy() >= 0]
    return Lives(
        _rows(families[kept], entry[kept], age[kept], name[kept]),
        unknown + int((old & (stored == _NONE)).sum()),
        int((rewritten & kept & ~due).sum()),
        int((untold & kept & ~due).sum()),
        float(np.quantile(width, 0.9)) / _MICRO if len(width) else 0.0,
    )


def _rows(family: object, entry: object, age: object, end: object) -> pd.DataFrame:
    return pd.DataFrame({"family": family, "entry": entry, "age": age, "end": end})


def _micros(moment: pd.Timestamp) -> int:
    return int(moment.as_unit("us").to_datetime64().astype(np.int64))


def _mentions(recording: Recording) -> pd.DataFrame:
    """A row for each time a command names a key, and one for each key that was there before: columns db, code (of the
    name), key, order (-1 = before), does, at and width (µs), expires and stored (µs; the smallest number = none), by
    (who took it), tasked (its command tells the task whose record it is), family (of what was there before). Keys that
    are left out have no rows.
    """
    commands = recording.commands
    lists = pa.array(commands["keys"])
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    parent = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    names = pd.Series(pc.list_flatten(lists).to_pandas(), dtype="str")
    nth = np.arange(len(parent)) - np.searchsorted(parent, parent)
    does, sets, expires = _deeds(commands)
    at, width = _times(recording)
    moved = words_in(commands["verb"], _RENAMES)[parent] & (nth == 0)
    copied = words_in(commands["verb"], ("COPY",))[parent] & (nth == 0)
    found = pd.DataFrame(
        {
            "db": commands["db"].to_numpy(dtype=np.int64, na_value=-1)[parent],
            "key": names,
            "order": parent,
            "does": np.where(moved, _TAKEN, np.where(copied, _NOTHING, does[parent])),
            "sets": sets[parent],
            "at": at[parent],
            "width": width[parent],
            "expires": expires[parent],
            "stored": _NONE,
            "by": commands["removed_by"].astype("str").to_numpy(dtype=object)[parent],
            "tasked": (commands["task_id"].notna().to_numpy() & (does != _TAKEN))[parent],
            "family": None,
        }
    )
    if recording.base is not None:
        base = recording.base
        before = {
            "db": base["db"].to_numpy(dtype=np.int64),
            "key": base["key"].to_numpy(),
            "order": -1,
            "does": _BASE,
            "sets": True,
            "at": _micros(recording.since),
            "width": 0,
            "expires": in_micros(base["expires_at"]),
            "stored": in_micros(base["at"]),
            "by": "nan",
            "tasked": False,
            "family": base["family"].astype("str").to_numpy(dtype=object),
        }
        found = pd.concat([pd.DataFrame(before), found], ignore_index=True)
    found["code"] = pd.factorize(found["key"])[0]
    passing = found["key"].str.contains(_PASSING_NAMES).to_numpy(dtype=bool)
    odd = (found["does"].eq(_OTHER) | found["db"].lt(0) | passing).to_numpy()
    found = found.loc[~np.isin(found["code"].to_numpy(), np.unique(found["code"].to_numpy()[odd]))]
    return found.loc[found["does"].ne(_NOTHING)]


def _deeds(commands: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_], Times]:
    """What each command does to its keys, whether it settles their expiry, and that expiry."""
    verb, detail = commands["verb"], commands["detail"]
    does = np.full(len(commands), _OTHER)
    for chosen, kind in (
        (_WRITES_WHOLE, _WHOLE),
        (_WRITES_PART, _PART),
        (EXPIRES, _EXPIRY),
        (_TAKES, _TAKEN),
        (_TELLS_NOTHING, _NOTHING),
    ):
        does[words_in(verb, chosen)] = kind
    keeps = detail.str.contains("KEEPTTL|NX|XX").fillna(False).to_numpy(dtype=bool)
    does[(does == _WHOLE) & keeps & words_in(verb, ("SET",))] = _PART
    at = in_micros(commands["expires_at"]).copy()
    ttl = commands["ttl"].to_numpy(dtype=np.int64, na_value=_NONE)
    relative = (at == _NONE) & (ttl != _NONE)
    ran = in_micros(commands["not_before"])
    at[relative & (ran != _NONE)] = (ran + ttl * 1000)[relative & (ran != _NONE)]
    does[(does == _EXPIRY) & (ttl != _NONE) & (ttl <= 0)] = _TAKEN
    endless = words_in(verb, ("PERSIST",)) | detail.eq("no TTL").fillna(False).to_numpy(dtype=bool)
    sets = (does == _WHOLE) | ((does == _EXPIRY) & (endless | (at != _NONE)))
    return does, sets, at


def _times(recording: Recording) -> tuple[Times, Times]:
    """The middle of the time in which each command can have run, and how wide that is."""
    since, until = _micros(recording.since), _micros(recording.until)
    low, high = (in_micros(recording.commands[name]).copy() for name in ("not_before", "not_after"))
    low[low == _NONE], high[high == _NONE] = since, until
    low = np.clip(low, since, until)
    high = np.maximum(np.minimum(high, until), low)
    return low + (high - low) // 2, high - low


def _flushes(recording: Recording) -> pd.DataFrame:
    """Columns order, db (missing = all), at."""
    taking = words_in(recording.commands["verb"], ("FLUSHDB", "FLUSHALL"))
    rows = recording.commands.loc[taking]
    every = words_in(rows["verb"], ("FLUSHALL",))
    return pd.DataFrame(
        {
            "order": np.flatnonzero(taking),
            "db": np.where(every, -1, rows["db"].to_numpy(dtype=np.int64, na_value=-2)),
            "at": _times(recording)[0][taking],
        }
    )


def _epochs(db: Times, order: Times, flushes: pd.DataFrame) -> tuple[Times, Times]:
    """Of each row how many flushes of its database came before it, and when the next came (the smallest number = none
    did).
    """
    epoch, following = np.zeros(len(db), np.int64), np.full(len(db), _NONE)
    if not len(flushes):
        return epoch, following
    for number in np.unique(db):
        here, own = db == number, flushes.loc[flushes["db"].isin((-1, number))]
        epoch[here] = np.searchsorted(own["order"].to_numpy(), order[here], "right")
        following[here] = np.append(own["at"].to_numpy(), _NONE)[epoch[here]]
    return epoch, following


def _before(places: Times) -> Times:
    """Of each row the last of ``places`` before it; -1 = none."""
    found = np.full(len(places), -1)
    found[1:] = np.maximum.accumulate(places)[:-1]
    return found


def _next(rows: NDArray[np.bool_]) -> Times:
    """Of each row the number of the next one behind it that is among ``rows``; their length = none."""
    found = np.full(len(rows), len(rows))
    places = np.where(rows, np.arange(len(rows)), len(rows))
    found[:-1] = np.minimum.accumulate(places[::-1])[::-1][1:]
    return found


def _expiry_at_end(told: pd.DataFrame, begins: NDArray[np.bool_], to: Times, epoch: Times, begin: Times) -> Times:
    """The expiry that each life had at its end; ``to``: the last row that can belong to it."""
    # A flush between hides what was written behind it.
    code, db = told["code"].to_numpy(), told["db"].to_numpy()
    part = np.flatnonzero(np.concatenate([[True], (np.diff(code) != 0) | (np.diff(db) != 0) | (np.diff(epoch) != 0)]))
    ends = np.append(part[1:], len(told)) - 1
    to = np.minimum(to, ends[np.searchsorted(part, begin, "right") - 1])
    settles = told["sets"].to_numpy(dtype=bool) | begins
    last = np.maximum.accumulate(np.where(settles, np.arange(len(told)), -1))
    found: Times = told["expires"].to_numpy()[last[to]]
    return found


def _families(told: pd.DataFrame, begin: Times, known: pd.DataFrame) -> NDArray[np.object_]:
    """What each life's key is: as it was there before, by its name, or as keys are that begin alike in a snapshot."""
    codes, place = np.unique(told["code"].to_numpy()[begin], return_inverse=True)
    tasked = np.isin(codes, told.loc[told["tasked"], "code"].unique())
    names = told.drop_duplicates("code").set_index("code")["key"].reindex(codes)
    by_stem = _by_stem(known)
    of, begun = pd.factorize(stems(names))
    found = np.array([by_stem.get(str(stem), "other") for stem in begun], object)[of]
    found[tasked] = "job"
    group = names.str.contains(GROUP_META, regex=False).to_numpy(dtype=bool)
    found[group] = "group_result"
    found[group & names.str.endswith(tuple(f".{letter}" for letter in "jtsdc")).to_numpy(dtype=bool)] = "chord"
    found[names.str.contains(TASK_META, regex=False).to_numpy(dtype=bool)] = "result"
    before = told.loc[told["order"].lt(0)].drop_duplicates("code").set_index("code")["family"].reindex(codes)
    found = np.where(before.notna(), before, found)
    return found[place]


def _by_stem(known: pd.DataFrame) -> dict[str, str]:
    rows = pd.DataFrame({"stem": stems(known["key"]), "family": known["family"].astype("str")})
    most = rows.value_counts(sort=True).reset_index().drop_duplicates("stem")
    most = most.loc[most["stem"].ne("")]
    return dict(zip(most["stem"], most["family"], strict=True))

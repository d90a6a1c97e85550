"""Who took a key away: the server at its expiry or for want of memory, a client, or a script.

In: the commands of one append-only file or backlog, and what is known of its server. Out: columns ``removed_by`` and
``or_by``. The stream itself does not say it: the rules are those of ``facts/signals.md`` 2.3 and ``facts/causes.md`` 2.
Where they leave room, the other answer stays beside the likelier one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.frames import TEXTS, in_micros, micros_of, words, words_in

EXPIRY, EVICTION, CLIENT, SCRIPT, UNKNOWN = range(5)
_WORDS = ("expiry", "eviction", "client", "script", "unknown")
_NOBODY = -1
# Beside DEL and UNLINK: commands after which the keys they name are not where they were. Only clients send them.
_BY_CLIENTS = ("GETDEL", "DELEX", "DELIFEQ", "RENAME", "RENAMENX", "MOVE", "MIGRATE", "FLUSHDB", "FLUSHALL", "SWAPDB")

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Removing:
    """What is known of the server whose stream it is.

    ``expires_with``, ``evicts_with``: the verbs it writes for a key that expired or was evicted (both where not known):
    DEL, or UNLINK with ``lazyfree-lazy-expire`` and ``lazyfree-lazy-eviction``. ``evicts``: whether it has evicted
    keys: True, False, or None where that is not known; ``only_with_ttl``: under a policy that spares keys without a
    TTL.
    """

    expires_with: frozenset[str] = frozenset(("DEL", "UNLINK"))
    evicts_with: frozenset[str] = frozenset(("DEL", "UNLINK"))
    evicts: bool | None = None
    only_with_ttl: bool = False
    evicted: int = 0
    """How many keys it has evicted, as far as its counters tell."""
    ends_by: pd.Timestamp | None = None
    """When the stream had ended at the latest, as far as its keys tell (``end_of``); never taken for certain."""


def attributed(commands: pd.DataFrame, known: Removing, followed: NDArray[np.bool_] | None = None) -> pd.DataFrame:
    """The frame ``commands`` with ``removed_by`` and ``or_by`` filled, where it removes keys. ``followed``: of each
    row, whether its key had no expiry where none is known (all, unless given).

    - Several keys, or not in capitals: a client, or a script. The server writes one key, in capitals, outside of a
      transaction, but for a key that a write found expired (``MULTI DEL k <write k> EXEC``, Redis 7.0+).
    - An expiry that had come for sure: expiry, since the server removes such a key before a client can. One that had
      not come for sure: not expiry.
    - A key before its expiry, alone: a client; or an eviction, likelier so in a run before a write where the server has
      evicted. A client's EXPIRE with a time past, GETDEL and MIGRATE look the same (facts/causes.md, 2.5).
    """
    deletes = words_in(commands["verb"], ("DEL", "UNLINK"))
    others = words_in(commands["verb"], _BY_CLIENTS)
    by, other = (np.full(len(commands), _NOBODY, np.int8) for _ in range(2))
    by[others] = CLIENT
    rows = np.flatnonzero(deletes)
    if len(rows):
        by[rows], other[rows] = _of_deletes(
            commands,
            rows,
            others | deletes,
            known,
            followed[rows] if followed is not None else np.ones(len(rows), bool),
        )
    return commands.assign(removed_by=words(by, _WORDS), or_by=words(other, _WORDS))


def _of_deletes(
    commands: pd.DataFrame, rows: Rows, removes: NDArray[np.bool_], known: Removing, followed: NDArray[np.bool_]
) -> tuple[Rows, Rows]:
    chosen = commands.iloc[rows]
    verbs = chosen["verb"].astype("str").to_numpy(dtype=object)
    single = _lengths(chosen["keys"]) == 1
    spelled = np.array([verb.isupper() for verb in verbs.tolist()])
    alone = chosen["transaction"].isna().to_numpy()
    on_write = _found_expired(commands, rows, ~alone & single & spelled)
    by, other = np.full(len(rows), CLIENT, np.int64), np.full(len(rows), SCRIPT, np.int64)
    # DEL and UNLINK in capitals with several keys: no server writes that, and few scripts.
    other[spelled & alone & ~single] = _NOBODY
    open_ = single & spelled & (alone | on_write)
    due = in_micros(chosen["due_at"])
    sure, never, likely = _expiry(chosen, due, known)
    expires_so = np.isin(verbs, list(known.expires_with))
    evicts_so = np.isin(verbs, list(known.evicts_with)) & (known.evicts is not False)
    evicts_so &= ~(known.only_with_ttl & (due == _NONE) & followed)
    run = _in_runs(rows, removes, open_ & ~sure & ~(likely & expires_so & ~never))
    by[open_], other[open_] = CLIENT, _NOBODY
    evicted = open_ & evicts_so
    other[evicted] = EVICTION
    if known.evicts:
        # In a steady state a key goes for each that comes: where the counter has room for all of them, they are its.
        one_by_one = evicted & ~sure & ~run & _before_write(rows, removes)
        steady = one_by_one & (known.evicted >= 0.9 * (one_by_one | (evicted & run)).sum())
        by[evicted & run | steady], other[evicted & run | steady] = EVICTION, CLIENT
    may_expire = open_ & ~never & ~sure
    by[may_expire & likely & expires_so], other[may_expire & likely & expires_so] = EXPIRY, CLIENT
    # An expiry that lies ahead of all that is known of the stream is the less likely of two others.
    ahead = evicted & (due > (micros_of(known.ends_by) if known.ends_by is not None else np.iinfo(np.int64).max))
    other[may_expire & ~(likely & expires_so) & ~ahead] = EXPIRY
    by[open_ & sure], other[open_ & sure] = EXPIRY, _NOBODY
    untold = open_ & (due == _NONE) & ~followed
    by[untold & expires_so], other[untold] = UNKNOWN, _NOBODY
    other[untold & ~expires_so] = EXPIRY
    return by, other


_JUST_BEFORE = 2_000_000
_NONE = np.iinfo(np.int64).min


def _expiry(
    chosen: pd.DataFrame, due: Rows, known: Removing
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each delete, whether its key's expiry had come for sure, had not come for sure, and had come more likely than
    not.
    """
    earliest, latest = in_micros(chosen["not_before"]), in_micros(chosen["not_after"])
    has = due != _NONE
    sure = has & (earliest != _NONE) & (due <= earliest)
    never = ~has | ((latest != _NONE) & (due > latest))
    end = _NONE if known.ends_by is None else micros_of(known.ends_by)
    # A later bound may be loose: of a time long after the stream had ended.
    loose = (end != _NONE) & (latest > end) & ((earliest == _NONE) | (earliest <= end))
    until = np.where((latest == _NONE) | loose, end, latest)
    # The later half of the time in which it can have run: an expiry before that had more likely come than not.
    begin = earliest if (earliest != _NONE).any() else np.full(len(earliest), _begin_of(latest), np.int64)
    middle = np.where(begin == _NONE, until, begin // 2 + until // 2)
    likely = has & ((until == _NONE) | (due <= middle))
    # Nor is it likely that somebody else came just before it.
    likely |= has & (earliest != _NONE) & (due - np.where(earliest == _NONE, due, earliest) <= _JUST_BEFORE)
    return sure, never, likely


def _begin_of(latest: Rows) -> int:
    """Without any earlier bound: the first later one, before which the stream began."""
    known = latest[latest != _NONE]
    return int(known.min()) if len(known) else _NONE


def _found_expired(commands: pd.DataFrame, rows: Rows, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which deletes are the first of their transaction, with a write to the same key behind them in it."""
    number = commands["transaction"].to_numpy(dtype=np.int64, na_value=-1)
    source = commands["source"].cat.codes.to_numpy()
    found = np.zeros(len(rows), bool)
    before, behind = rows - 1, np.minimum(rows + 1, len(commands) - 1)
    first = (before < 0) | (number[before] != number[rows]) | (source[before] != source[rows])
    follows = (behind > rows) & (number[behind] == number[rows]) & (source[behind] == source[rows])
    places = np.flatnonzero(wanted & first & follows)
    mine = commands["keys"].iloc[rows[places]].tolist()
    theirs = commands["keys"].iloc[behind[places]].tolist()
    found[places] = [
        isinstance(one, list) and isinstance(two, list) and one[0] in two for one, two in zip(mine, theirs, strict=True)
    ]
    return found


def _before_write(rows: Rows, removes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which deletes stand directly before a command that is no removal."""
    following: NDArray[np.bool_] = np.append(~removes, False)[rows + 1]
    return following


def _in_runs(rows: Rows, removes: NDArray[np.bool_], open_: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which deletes stand beside another of the kind the server writes, with a command that writes behind them all."""
    mine = rows[open_]
    before = np.diff(mine, prepend=-2) == 1
    run = before | np.append(before[1:], False) if len(mine) else before
    # The number of the run, and whether something that is no removal follows its last.
    number = np.cumsum(~before)
    last = np.zeros(int(number[-1]) + 1 if len(mine) else 1, np.int64)
    last[number] = mine
    follows = np.append(~removes, False)[last + 1] if len(mine) else last.astype(bool)
    found = np.zeros(len(rows), bool)
    found[open_] = run & follows[number] if len(mine) else run
    return found


def end_of(keys: pd.DataFrame, moments: pd.Series) -> pd.Timestamp | None:
    """When a stream had ended at the latest, by the keys that it leaves: Redis aims at fewer than one in ten keys with
    a TTL being past it (expire.c, ACTIVE_EXPIRE_CYCLE_ACCEPTABLE_STALE), so that the tenth part of them tells. None
    where no key has a TTL, or one of ``moments``, times that are known of the stream, is later.
    """
    expiries = keys["expires_at"].dropna().sort_values(ignore_index=True)
    if not len(expiries):
        return None
    end: pd.Timestamp = expiries.iloc[len(expiries) // 10]
    known = moments.dropna()
    return None if len(known) and known.max() > end else end


def _lengths(keys: pd.Series) -> Rows:
    assert keys.dtype == TEXTS
    lengths: Rows = pc.fill_null(pc.list_value_length(pa.array(keys)), 0).to_numpy(zero_copy_only=False)
    return lengths

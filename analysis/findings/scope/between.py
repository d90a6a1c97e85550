"""What went between two snapshots of one server, and what of it went together.

In: frames ``keys`` and ``changes``, the snapshots' times, and when keys were stored. Out: a ``Scope``. One pair shows
that keys went within a time, never that they went at once.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.scope.extents import Scope
from analysis.findings.scope.patterns import Flags, Pool, together
from analysis.findings.words import count, stamp
from analysis.frames import in_micros, texts_in

# Written and emptied by the work itself: that such a key is gone, or is there again, says nothing about a removal
# (facts/causes.md, 1.1 and 1.2).
PASSING = ("queue", "unacked", "unacked_index", "unacked_mutex", "reply", "control", "chord", "rq", "rq_registry")
# The bindings of a worker's own reply and event queues go with that worker.
_OF_WORKERS = "pidbox|celeryev"
_NONE = np.iinfo(np.int64).min
_SECOND = np.timedelta64(1_000_000, "us")


def storing_times(tasks: pd.DataFrame, jobs: pd.DataFrame) -> pd.DataFrame:
    """When the results and job records of snapshots were stored, as far as it is known: columns snapshot, offset, at
    (UTC).
    """
    results = tasks[["snapshot", "offset", "stored_at"]].set_axis(["snapshot", "offset", "at"], axis=1)
    records = jobs[["snapshot", "offset", "created_at"]].set_axis(["snapshot", "offset", "at"], axis=1)
    if not len(records):
        return results
    return pd.concat([results.astype({"snapshot": "str"}), records.astype({"snapshot": "str"})], ignore_index=True)


def comparable(shots: pd.DataFrame) -> pd.DataFrame:
    """The pairs of snapshots that the frame ``changes`` compares: columns server, before, after, since, until, sound
    (which came first is known, and the later one was read to its end, so that what it lacks is gone).
    """
    dated = shots.loc[shots["kind"].eq("snapshot") & shots["taken_at"].notna()]
    pairs = pd.DataFrame(
        {
            "server": dated["server"],
            "before": dated.groupby("server")["snapshot"].shift(),
            "after": dated["snapshot"],
            "since": dated.groupby("server")["taken_at"].shift(),
            "until": dated["taken_at"],
            "sound": dated["complete"],
        }
    )
    pairs["sound"] &= pairs["since"] < pairs["until"]
    return pairs.loc[pairs["before"].notna()].reset_index(drop=True)


def early(changes: pd.DataFrame, shots: pd.DataFrame) -> Flags:
    """Which rows of ``changes`` are keys that went before their expiry, or without one.

    A snapshot's time is the whole second in which it was begun (aux field ctime, Redis rdb.c), so what was due in that
    second may have been due. Where that time is not known, only keys without an expiry are known to have gone early.
    """
    taken = shots.set_index("snapshot")["taken_at"]
    after = changes["after"].cat
    known = taken.reindex(after.categories).to_numpy(dtype="datetime64[us]")
    until = np.append(known, np.datetime64("NaT"))[after.codes.to_numpy()] + _SECOND
    expires = changes["expires_before"].dt.tz_localize(None).to_numpy()
    found: Flags = changes["change"].eq("gone").to_numpy(dtype=bool) & (np.isnat(expires) | (expires >= until))
    return found


def scope_between(
    keys: pd.DataFrame,
    changes: pd.DataFrame,
    shots: pd.DataFrame,
    server: str,
    before: str,
    after: str,
    key: str | None = None,
    db: int | None = None,
    stored: pd.DataFrame | None = None,
) -> Scope:
    """What the snapshot ``after`` of a server lacks of what ``before`` held; of the record ``key`` in ``db``, what went
    together with it.

    - Counted are keys that went before their expiry or without one; those that were due are mentioned.
    - Only keys that ``before`` held are counted: what has been written since shows neither that they went nor that they
      stayed. So a key with another value or expiry is left out, and a binding that is there: after a flush workers
      write it again. Keys that come and go with the work (``PASSING``) are left out on both sides.
    - A database, or a kind, has gone where nearly all of it has (``extents.nearly_all``), those without a TTL too.
    - Fewer than five keys are a few, whatever they are: so many are deleted by name.

    ``stored``: as ``storing_times`` makes it; without it ages are told by the expiry.
    """
    pair = changes.loc[changes["before"].eq(before) & changes["after"].eq(after) & changes["server"].eq(server)]
    times = shots.loc[shots["server"].eq(server)].set_index("snapshot")
    since, until = (None if pd.isna(at) else at for at in times["taken_at"].reindex([before, after]))
    source = f"{before}, {after}"
    if not times["complete"].reindex([after]).eq(True).all():
        says = f"{after} was read in part, so what it lacks is not told."
        return Scope("snapshots", "not told", "", 0, 0, (), (), since, until, source, says)
    if since is not None and since == until:
        # A snapshot's time is a whole second (aux field ctime, Redis rdb.c).
        says = f"{before} and {after} are of the same second: which came first, and so what went, is not told."
        return Scope("snapshots", "not told", "", 0, 0, (), (), since, until, source, says)
    went = early(pair, shots)
    pool = pool_of(keys, pair, went, server, before, until, stored)
    due = int((pair["change"].eq("gone").to_numpy() & ~went).sum())
    asked = pool.named(key, db)
    found = together(pool)
    own, beside = pool, ""
    if key is not None and (asked & pool.gone).any() and not (asked & found.members).any():
        # What most of them share, this one does not: it is looked at among its own kind.
        alike = pool.alike(asked)
        beside = f" Beside it went {count(int((pool.gone & ~alike).sum()), 'other key')}: {found.says}."
        own = pool.where(alike)
        found = together(own)
    number, left = int(own.gone.sum()), int((~own.gone).sum())
    says = f"{_span(server, since, until, source)} {_head(number, due)}{found.says and ': ' + found.says}."
    is_own = bool((asked & pool.gone).any())
    if number and key is not None and not is_own:
        says += " The record asked about is not one of them."
    if number > 1:
        says += " Whether they went at once is not shown by this."
    says, told = says + beside, (found.extent, found.order, number, left)
    return Scope("snapshots", *told, *own.of_gone(), since, until, source, says, is_own)


def pool_of(
    keys: pd.DataFrame,
    pair: pd.DataFrame,
    went: Flags,
    server: str,
    before: str,
    until: pd.Timestamp | None,
    stored: pd.DataFrame | None,
) -> Pool:
    """The keys of ``before`` that can be compared with the next snapshot; ``pair``: the rows of ``changes`` between
    the two, ``went``: which of them went early (``early``). See ``scope_between`` for what is left out.
    """
    columns = ["db", "family", "prefix", "key", "task_id", "expires_at", "idle", "freq", "offset"]
    held = keys.loc[(keys["snapshot"].eq(before) & keys["server"].eq(server)).to_numpy(dtype=bool), columns]
    offsets = held["offset"].to_numpy(dtype=np.int64)
    change, places = pair["change"], pair["offset_before"]

    def among(rows: Flags) -> Flags:
        return np.isin(offsets, places[rows].to_numpy(dtype=np.int64))

    gone = among(went)
    passing = held["family"].isin(PASSING).to_numpy(dtype=bool, copy=True)
    binding = held["family"].eq("binding").to_numpy(dtype=bool)
    passing[binding] |= held.loc[binding, "key"].str.contains(_OF_WORKERS).to_numpy(dtype=bool)
    # Neither those that were due, which are in no row where they are in the file still, nor those written since.
    unsure = among(change.eq("gone").to_numpy() & ~went) | among(change.isin(("value", "ttl")).to_numpy())
    if until is not None:
        unsure |= (held["expires_at"] < until + _SECOND).to_numpy(dtype=bool)
    kept = gone | ~(unsure | binding)
    kept &= ~passing
    appeared = pair.loc[change.eq("appeared").to_numpy()]
    moved = texts_in(held["key"], appeared["key"]) & gone
    held = held.assign(at=_stored_at(offsets, before, stored), moved=moved)
    return Pool(held.loc[kept], gone[kept])


def _stored_at(offsets: NDArray[np.int64], before: str, stored: pd.DataFrame | None) -> NDArray[np.int64]:
    """When each was stored, in microseconds; the smallest number = not known."""
    found = np.full(len(offsets), _NONE)
    if stored is None:
        return found
    rows = stored.loc[stored["snapshot"].eq(before).to_numpy(dtype=bool) & stored["at"].notna().to_numpy()]
    places, times = rows["offset"].to_numpy(dtype=np.int64), in_micros(rows["at"])
    order = np.argsort(offsets)
    at = np.searchsorted(offsets, places, sorter=order).clip(max=max(len(offsets) - 1, 0))
    if len(offsets):
        here = offsets[order[at]] == places
        found[order[at][here]] = times[here]
    return found


def _span(server: str, since: pd.Timestamp | None, until: pd.Timestamp | None, source: str) -> str:
    where = f"On {server}, between" if server else "Between"
    if since is None or until is None:
        return f"{where} {source.replace(', ', ' and ')}"
    return f"{where} {stamp(since)} and {stamp(until)}"


def _head(number: int, due: int) -> str:
    if not number + due:
        return "no key disappeared"
    said = f"{count(number + due, 'key')} disappeared"
    if not number:
        return f"{said}, each of them after its own expiry: no sign of bulk removal"
    if not due:
        return f"{said} before {'its' if number == 1 else 'their'} expiry or without one"
    return f"{said}, {number:,} of them before their expiry or without one"

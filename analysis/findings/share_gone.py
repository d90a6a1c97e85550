"""Between two snapshots: of the keys that were not yet due at the second, the share that is gone, by family and age.

In: frames ``keys`` and ``changes``, the snapshots' times, and when keys were stored. Out: counts with exact intervals.
Keys that were due, were written again or given another expiry are counted apart: they are neither lost nor proof that
nothing was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.scope.between import PASSING, comparable, early
from analysis.findings.words import listed, stamp
from analysis.frames import in_micros

# What becomes of a key between two snapshots. Only the first two are of keys that show whether keys are lost.
KEPT, GONE, MOVED, DUE, DUE_HELD, REWRITTEN, RENEWED = (
    "kept", "gone", "moved", "due", "due, still held", "rewritten", "renewed"
)  # fmt: skip
FATES = (KEPT, GONE, MOVED, DUE, DUE_HELD, REWRITTEN, RENEWED)
# Bindings are written again by every worker that starts: that one is there shows nothing.
NOT_COUNTED = (*PASSING, "binding")
AGE, LEFT = "age", "time left"
# Upper ends in seconds, with the names of what lies below them.
BANDS: tuple[tuple[float, str], ...] = (
    (60, "under 1 min"),
    (3600, "1 min to 1 h"),
    (6 * 3600, "1 h to 6 h"),
    (86400, "6 h to 1 day"),
    (7 * 86400, "1 day to 7 days"),
    (30 * 86400, "7 to 30 days"),
    (365 * 86400, "30 days to 1 year"),
    (float("inf"), "1 year or more"),
)
NO_TTL, AGE_UNKNOWN = "no TTL", "age not known"
CONFIDENCE = 0.95
# What rests on the expiry itself, and so tells no age.
_MEASURED = ("log", "command", "date_done")
_SECOND = np.timedelta64(1_000_000, "us")
# A clock that is ahead by so much may tell a time of storing after the snapshot's.
_SLACK = 2.0
_NONE = np.iinfo(np.int64).min  # as a time: NaT
_COUNTS = ["held", *FATES]

Pair = Any


def measured_storing(tasks: pd.DataFrame, jobs: pd.DataFrame) -> pd.DataFrame:
    """When results and job records were stored, where something tells that measures it (never the expiry): columns
    snapshot, offset, at (UTC).
    """
    told = tasks.loc[tasks["stored_from"].isin(_MEASURED) & tasks["stored_at"].notna()]
    parts = [told[["snapshot", "offset", "stored_at"]].set_axis(["snapshot", "offset", "at"], axis=1)]
    made = jobs.loc[jobs["created_at"].notna(), ["snapshot", "offset", "created_at"]]
    parts.append(made.set_axis(["snapshot", "offset", "at"], axis=1))
    return pd.concat([part.astype({"snapshot": "str"}) for part in parts], ignore_index=True)


def fates_between(
    keys: pd.DataFrame, changes: pd.DataFrame, shots: pd.DataFrame, stored: pd.DataFrame, pair: Pair
) -> pd.DataFrame:
    """What became of each key of the earlier snapshot of ``pair`` (a row of ``between.comparable``, a sound one):
    columns family, fate (one of ``FATES``), age and left (seconds at the earlier snapshot; missing where the time of
    storing, or an expiry, is not known). Keys that come and go with the work (``NOT_COUNTED``) are left out.

    - A key's expiry is the one that it had at the earlier snapshot. What was due in the later one's second may have
      been due (aux field ctime, Redis rdb.c).
    - ``rewritten``: another value, or one that cannot be read. ``renewed``: the same value, another expiry.
    - ``moved``: gone, and a key of its name has appeared in another database.
    """
    mine = (keys["snapshot"].eq(pair.before) & keys["server"].eq(pair.server)).to_numpy(dtype=bool)
    held = keys.loc[mine, ["db", "key", "family", "expires_at", "offset"]]
    held = held.loc[~held["family"].isin(NOT_COUNTED).to_numpy(dtype=bool)]
    chosen = changes["before"].eq(pair.before) & changes["after"].eq(pair.after) & changes["server"].eq(pair.server)
    change = changes.loc[chosen.to_numpy(dtype=bool)]
    went = early(change, shots)
    offsets, kind = held["offset"].to_numpy(dtype=np.int64), change["change"]
    places = change["offset_before"].to_numpy(dtype=np.int64, na_value=-1)

    def among(rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.isin(offsets, places[rows])

    lost = among(kind.eq("gone").to_numpy(dtype=bool))
    before_due = among(went)
    appeared = change.loc[kind.eq("appeared").to_numpy(dtype=bool), "key"]
    until = np.datetime64(pair.until.tz_localize(None), "us") + _SECOND
    expires = held["expires_at"].dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    fate = np.zeros(len(held), np.int8)
    # In this order: each outweighs those before it.
    for name, rows in (
        (GONE, before_due),
        (MOVED, before_due & held["key"].isin(appeared).to_numpy(dtype=bool)),
        (DUE, lost & ~before_due),
        (DUE_HELD, ~lost & ~np.isnat(expires) & (expires < until)),
        (REWRITTEN, among(kind.eq("value").to_numpy(dtype=bool))),
        (RENEWED, among(kind.eq("ttl").to_numpy(dtype=bool))),
    ):
        fate[rows] = FATES.index(name)
    since = np.datetime64(pair.since.tz_localize(None), "us")
    age = (since - _stored_at(stored, pair.before, offsets)) / _SECOND
    return pd.DataFrame(
        {
            "family": held["family"].astype("str").fillna("unnamed").to_numpy(),
            "fate": pd.Categorical.from_codes(fate, list(FATES)),
            "age": np.where(age < -_SLACK, np.nan, np.maximum(age, 0.0)),
            "left": (expires - since) / _SECOND,
        }
    )


def _stored_at(stored: pd.DataFrame, snapshot: str, offsets: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """When the key at each of ``offsets`` was stored; NaT where that is not known."""
    rows = stored.loc[stored["snapshot"].eq(snapshot).to_numpy(dtype=bool)].drop_duplicates("offset")
    numbers = pd.Series(in_micros(rows["at"]), rows["offset"].to_numpy(dtype=np.int64))
    found: NDArray[np.datetime64] = numbers.reindex(offsets, fill_value=_NONE).to_numpy().view("datetime64[us]")
    return found


def share_gone(found: pd.DataFrame, *, bands: bool) -> pd.DataFrame:
    """``fates_between`` counted by family and, with ``bands``, by age: columns family, by, band, held, a column for
    each of ``FATES``, watched (kept and gone), share (of those, gone), low and high (the exact interval of 95 %,
    Clopper and Pearson's; missing where none was watched).

    Bands are of the age at the earlier snapshot (``by`` = "age") where at least half of the family's keys have one that
    is measured; else of the time that was left to the expiry ("time left").
    """
    by = ["family", "by", "band"] if bands else ["family"]
    rows = _banded(found) if bands else found
    counted = rows.groupby([*by, "fate"], observed=False).size().unstack("fate", fill_value=0)
    counted = counted.loc[counted.sum(axis=1).gt(0)].reset_index()
    counted.columns = pd.Index([str(name) for name in counted.columns])
    counted["held"] = counted[list(FATES)].sum(axis=1)
    counted["watched"] = counted[KEPT] + counted[GONE]
    if bands:
        place = {name: number for number, name in enumerate(_IN_ORDER)}
        counted = counted.sort_values(["family", "band"], key=lambda one: one.map(place) if one.name == "band" else one)
    bounds = [exact_interval(*one) for one in zip(counted[GONE], counted["watched"], strict=True)]
    low, high = np.array(bounds, np.float64).reshape(-1, 2).T
    share = counted[GONE] / counted["watched"].where(counted["watched"].gt(0))
    counted = counted.assign(share=share.astype("float64"), low=low, high=high)
    return counted[[*by, *_COUNTS, "watched", "share", "low", "high"]].reset_index(drop=True)


_IN_ORDER = [*(name for _, name in BANDS), NO_TTL, AGE_UNKNOWN]


def _banded(found: pd.DataFrame) -> pd.DataFrame:
    known = found["age"].notna()
    aged = known.groupby(found["family"]).transform("mean").ge(0.5).to_numpy(dtype=bool)
    seconds = found["age"].where(aged, found["left"])
    names = [name for _, name in BANDS]
    band = pd.cut(seconds, [float("-inf"), *(upper for upper, _ in BANDS)], labels=names, right=False).astype("str")
    band = band.where(seconds.notna(), np.where(aged, AGE_UNKNOWN, NO_TTL))
    return found.assign(by=np.where(aged, AGE, LEFT), band=band)


def exact_interval(gone: int, watched: int) -> tuple[float, float]:
    """The exact interval of 95 % of a share, Clopper and Pearson's (scipy's); missing of nothing."""
    if not watched:
        return float("nan"), float("nan")
    from scipy.stats import binomtest

    interval = binomtest(int(gone), int(watched)).proportion_ci(CONFIDENCE, method="exact")
    return float(interval.low), float(interval.high)


def sound_pairs(shots: pd.DataFrame) -> Iterator[Pair]:
    """The pairs of snapshots that can be compared (``between.comparable``), in order of time on each server."""
    pairs = comparable(shots)
    return pairs.loc[pairs["sound"].to_numpy(dtype=bool)].itertuples(index=False)


def not_compared(shots: pd.DataFrame) -> list[str]:
    """A sentence for each reason for which snapshots are not compared, or only in part."""
    said = []
    snapshots = shots.loc[shots["kind"].eq("snapshot")]
    if len(undated := snapshots.loc[snapshots["taken_at"].isna(), "snapshot"]):
        one = len(undated) == 1
        said.append(
            f"{listed(undated)} {'carries' if one else 'carry'} no time: what came before or after "
            f"{'it' if one else 'them'} is not told."
        )
    pairs = comparable(shots)
    whole = snapshots.set_index(["server", "snapshot"])["complete"]
    for pair in pairs.itertuples(index=False):
        if pair.since == pair.until:
            said.append(
                f"{pair.before} and {pair.after} are of the same second, {stamp(pair.until)}: which came first, and so "
                "what went, is not told."
            )
        elif not pair.sound:
            said.append(f"{pair.after} was read in part, so what it lacks is not told.")
        elif not whole.loc[(pair.server, pair.before)]:
            said.append(f"{pair.before} was read in part: only the keys that were read of it are counted.")
    return said

"""Which removals a clean-up explains: an application removes its own records once they are old; results expire alone.

In: a burst of removals, and what snapshots and ``case.toml`` tell of such records. Out: whether they should have
stayed, and what to say of it. Knows no rhythm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.removed import MICRO, NONE, Removals
from analysis.findings.rhythm import DAY
from analysis.findings.scope.extents import FEW, nearly_all
from analysis.findings.scope.naming import LARGE
from analysis.findings.words import duration

YOUNG = 900
"""A key that is removed so many seconds after it was written was removed by whoever waited for it: a forget, a lock."""

FEW_OTHER = 20
"""So many keys that are nothing to Celery: caches are cleared by everybody."""

OWN = ("result", "group_result")
"""Families that nobody but their own expiry should take, unless he has read them."""

RECORDS = ("job", "rq_job", "rq_results")
"""The application's own, which its clean-ups remove."""

_KNOWN, _NEARLY = 0.5, 0.9
# Of what is kept for three days and more, a clean-up every day takes a third or, over a weekend, a half.
_LONG_KEPT, _NO_CLEAN_UP = 3 * DAY, 0.8


@dataclass(frozen=True)
class Known:
    """What is known of keys beside the commands: ``made``: when each record was made, by its key; ``oldest``: how old
    the oldest record was that any snapshot held, in seconds (None = no record with a time); ``held``: how many keys a
    snapshot held at most, by database and family; ``stated``: how long records are said to be kept, in seconds.
    """

    made: Mapping[str, pd.Timestamp]
    oldest: float | None
    held: Mapping[tuple[int, str], int]
    stated: float | None = None


def known_of(keys: pd.DataFrame, jobs: pd.DataFrame, shots: pd.DataFrame, stated: float | None = None) -> Known:
    """``Known`` of a case's snapshots."""
    dated = jobs.loc[jobs["created_at"].notna()]
    taken = dated["snapshot"].map(dict(zip(shots["snapshot"], shots["taken_at"], strict=True)))
    ages = (pd.to_datetime(taken, utc=True) - dated["created_at"]).dt.total_seconds()
    oldest = float(ages.max()) if ages.notna().any() else None
    counted = keys.groupby(["snapshot", "db", "family"], observed=True).size()
    held = counted.groupby(level=["db", "family"], observed=True).max()
    return Known(
        dict(zip(dated["key"], dated["created_at"], strict=True)),
        oldest,
        {(int(db), str(family)): int(number) for (db, family), number in held.items()},
        stated or None,
    )


def alarming(
    whole: pd.DataFrame,
    went: NDArray[np.bool_],
    passed: int,
    alike: pd.DataFrame,
    found: Removals,
    known: Known,
    of: int,
) -> tuple[bool, str]:
    """Whether a burst took what should have stayed, and what to say of it: results have an expiry of their own; what
    else there is may be removed by a clean-up, once it is old. ``went``: which of those that the stream shows to have
    been there, ``passed``: how many it shows to stay that are older than half of those; ``alike``: all removals of that
    kind; ``of``: how many there were.
    """
    stream, family = whole["stream"].iloc[0], str(whole["family"].iloc[0])
    begin = int(found.spans.set_index("stream").loc[stream, "begin"])
    if family in OWN:
        lives = found.lives.loc[found.lives["stream"].eq(stream) & found.lives["family"].eq(family), "start"]
        at_once = whole.groupby("label")["key"].size().max() >= FEW
        # Notifications may be of removals alone; the other witnesses show what is written, too.
        if at_once or whole["witness"].iloc[0] != "keyspace log" or (lives > begin).any():
            return True, ""
        return False, "; the witness shows none of them written, so they may have been forgotten once they were read"
    ages = _ages(whole, known, begin)
    seen = ages.notna().to_numpy()
    newest_too = int(went.sum()) >= FEW and nearly_all(int(went.sum()), int((~went).sum()))
    if family not in RECORDS:
        usual = _usual_age(whole, alike, Known({}, None, {}), begin)
        as_old = usual is not None and bool((ages[seen] >= usual / 2).all())
        many = len(whole) >= FEW_OTHER and newest_too and not as_old
        return many, "" if many else "; whether such keys should have stayed is not known"
    if passed >= max(FEW, len(whole) * LARGE):
        return True, f"; {passed:,} that are older than half of them stayed, so it was no clean-up by age"
    usual = _usual_age(whole, alike, known, begin)
    if usual is None:
        young = newest_too and bool((ages[seen] < YOUNG).any())
        return young, "" if young else "; at what age such records are removed otherwise is not known"
    # What is stated is when they are due; what others were like is no promise.
    part, words = (_NEARLY, "younger than the") if known.stated else (0.5, "younger than half of")
    too_young = int((ages[seen] < usual * part).sum())
    if too_young >= FEW and too_young * 10 >= int(seen.sum()):
        return True, f"; {too_young:,} of them were {words} {duration(usual)} to which they are kept else"
    if usual >= _LONG_KEPT and len(whole) >= _NO_CLEAN_UP * of:
        return True, f"; they are kept for {duration(usual)} else, of which a clean-up takes no such part at once"
    if seen.mean() < _KNOWN:
        return False, "; how old most of them were is not known, so that it was a clean-up by age is not ruled out"
    return False, f"; such records are kept for {duration(usual)} at other times too, so a clean-up by age explains it"


def _ages(rows: pd.DataFrame, known: Known, begin: int) -> pd.Series:
    """Age in seconds of each key when it went: by its record, else by its writing, else by the expiry that it had and
    how long such records are said to be kept; missing where nothing tells it.
    """
    made = pd.to_datetime(rows["key"].map(known.made), utc=True).astype("datetime64[us, UTC]")
    written = rows["written"].to_numpy(dtype=np.int64)
    from_made = (pd.to_datetime(rows["at"], unit="us", utc=True) - made).dt.total_seconds()
    from_written = pd.Series((rows["at"].to_numpy(dtype=np.int64) - written) / MICRO, rows.index).mask(written == NONE)
    found = from_made.fillna(from_written)
    if known.stated:
        due = rows["due"].to_numpy(dtype=np.int64)
        left = pd.Series((due - rows["at"].to_numpy(dtype=np.int64)) / MICRO, rows.index).mask(due == NONE)
        found = found.fillna((known.stated - left).clip(lower=0))
    return found


def _usual_age(whole: pd.DataFrame, alike: pd.DataFrame, known: Known, begin: int) -> float | None:
    """To what age records of a kind are kept at the least: as it is stated, else the youngest removed at other times
    (but one in fifty; of those written before the stream the last clean-up tells that they were older than it);
    without such, the oldest that a snapshot held, less the day between two clean-ups. None where nothing tells it.
    """
    if known.stated:
        return known.stated
    first, last = whole["at"].min(), whole["at"].max()
    others = alike.loc[(alike["at"] < first - YOUNG * MICRO) | (alike["at"] > last + YOUNG * MICRO)]
    if len(others) >= FEW:
        ages = _ages(others, known, begin).to_numpy()
        told = ages[~np.isnan(ages)]
        least = (others["at"].to_numpy(dtype=np.int64) - begin) / MICRO
        return float(np.quantile(told, 0.02)) if len(told) >= FEW else float(least.max())
    kept = (known.oldest or 0.0) - DAY
    return kept if kept > 0 else None

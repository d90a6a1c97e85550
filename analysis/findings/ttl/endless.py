"""Keys without a TTL that should have one: by what is stated, by what their siblings have, by what their writer gives.

In: ``held.held_keys``, the frame ``jobs``, and the stated policies. Out: a frame of keys. That a key should have a TTL
is always said with the reason; a key of which nothing says so is not listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from analysis.celery.claims import UNCLAIMED
from analysis.findings.ttl.force import Stated
from analysis.findings.words import duration

COLUMNS = ["server", "db", "key", "family", "status", "why"]
MOST_ENDLESS = 1_000
# Families of which every member gets a TTL, or none does: RQ's jobs get theirs only when they end.
_ALIKE = ("result", "group_result", "chord", "job")
# Of keys that nothing is known of, siblings are those of one name up to the last separator; so many, and this share.
_SIBLINGS, _SHARE = 20, 0.9
_LAST_PART = r"[^:/|]*$"


def endless_keys(
    held: pd.DataFrame, jobs: pd.DataFrame, stated: Mapping[str, tuple[Stated, ...]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keys without a TTL that should have one, at most ``MOST_ENDLESS``: ``COLUMNS``; and how many of each family there
    are and why: columns family, keys, why.

    ``status``: of a job record, as found.
    """
    parts, counted = [], []
    for rows, why in _found(held, stated):
        counted.append({"family": str(rows["shown"].iloc[0]), "keys": len(rows), "why": why})
        parts.append(rows.head(MOST_ENDLESS).assign(why=why))
    counts = pd.DataFrame(counted, columns=["family", "keys", "why"])
    if not parts:
        return pd.DataFrame(columns=COLUMNS), counts
    found = pd.concat(parts, ignore_index=True).head(MOST_ENDLESS)
    status = jobs[["snapshot", "db", "key", "status"]].drop_duplicates(["snapshot", "db", "key"])
    found = found.astype({"snapshot": "str"}).merge(status, on=["snapshot", "db", "key"], how="left")
    return found.assign(family=found["shown"].astype(str))[COLUMNS], counts


def _found(held: pd.DataFrame, stated: Mapping[str, tuple[Stated, ...]]) -> Iterator[tuple[pd.DataFrame, str]]:
    every = held["shown"].value_counts()
    for shown, without in held.loc[held["expires_at"].isna()].groupby("shown", observed=True):
        family, number = str(without["family"].iloc[0]), int(every[shown])
        have = number - len(without)
        if family in _ALIKE and (told := stated.get(family)):
            if told[0].seconds:
                yield without, f"{told[0].source} states {duration(told[0].seconds)}"
        elif family in _ALIKE and have >= len(without):
            yield without, f"{have:,} of {number:,} keys of its family have one"
        elif family == "unacked_mutex":
            # kombu, transport/redis.py: Mutex, unacked_mutex_expire.
            yield without, "kombu gives this lock 300 s; without a TTL no worker takes it again"
        elif family == UNCLAIMED and have:
            yield from _among_siblings(held.loc[held["shown"].eq(shown), ["key", "expires_at"]], without)


def _among_siblings(group: pd.DataFrame, without: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, str]]:
    """``group``: all keys of the family, ``without`` those of them that have no TTL."""
    stems = _stems(group["key"])
    known = pd.DataFrame({"stem": stems, "without": group["expires_at"].isna()}).dropna(subset="stem")
    sums = known.groupby("stem")["without"].agg(["size", "sum"])
    odd = sums.loc[(sums["size"] >= _SIBLINGS) & (sums["sum"] > 0) & (1 - sums["sum"] / sums["size"] >= _SHARE)]
    own = stems.reindex(without.index)
    for stem, row in odd.sort_values("sum", ascending=False).head(_SIBLINGS).iterrows():
        have = int(row["size"] - row["sum"])
        yield without.loc[own.eq(stem)], f"{have:,} of {int(row['size']):,} keys that begin alike have one"


def _stems(keys: pd.Series) -> pd.Series:
    """Each key up to its last separator; missing where it has none."""
    stems = keys.str.replace(_LAST_PART, "", n=1, regex=True)
    return stems.where(stems.ne(""))

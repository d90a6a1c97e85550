"""Of what could have gone, which share went before it was due: by time and family, as commands and snapshots have it.

In: ``Removals`` and the pairs of snapshots. Out: the frame behind the heat map, and tables of removals by family, verb
and client. Shares, not counts: a busy hour is not a bad one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.pairs import Compared
from analysis.findings.removed import MICRO, Removals
from analysis.frames import moments

COLUMNS = ["witness", "server", "family", "since", "until", "gone", "of", "share"]
_HOUR = 3_600 * MICRO
_EARLY = ("client", "eviction", "flush")


def shares(found: Removals, compared: Iterable[Compared]) -> pd.DataFrame:
    """Columns witness, server, family, since, until, gone (removed before they were due, by whoever), of (that could
    have gone: there in that time) and share.

    By commands each hour of a stream has a row for each family that it shows there: what it shows written, and what was
    there before it and is removed in it. By snapshots each two that follow each other have one, without what is usual
    turnover.
    """
    parts = [_by_commands(found), _by_snapshots(compared)]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _by_commands(found: Removals) -> pd.DataFrame:
    rows = []
    for (server, stream, family), lives in found.lives.groupby(["server", "stream", "family"], observed=True):
        span = found.spans.set_index("stream").loc[stream]
        begin, end = int(span["begin"]) // _HOUR, int(span["end"]) // _HOUR
        whole = end - begin + 1
        first = (lives["start"].to_numpy() // _HOUR - begin).clip(0, whole - 1)
        last = (lives["end"].to_numpy() // _HOUR - begin).clip(0, whole - 1)
        there = np.cumsum(_counts(first, whole)) - np.append(0, np.cumsum(_counts(last, whole))[:-1])
        early = lives["by"].isin(_EARLY).to_numpy()
        gone = _counts(last[early], whole)
        hours = moments((np.arange(whole) + begin) * _HOUR)
        table = pd.DataFrame({"since": hours, "until": hours + pd.Timedelta(hours=1), "gone": gone, "of": there})
        rows.append(table.loc[table["of"] > 0].assign(witness="commands", server=server, family=family, stream=stream))
    if not rows:
        return pd.DataFrame({name: [] for name in COLUMNS})
    table = pd.concat(rows, ignore_index=True)
    # Two witnesses of the same hour: the one that shows more of it.
    table = table.sort_values("of", kind="stable").drop_duplicates(["server", "family", "since"], keep="last")
    table = table.assign(share=table["gone"] / table["of"]).sort_values(["family", "since"])
    return table[COLUMNS].reset_index(drop=True)


def _counts(places: NDArray[np.int64], whole: int) -> NDArray[np.int64]:
    return np.bincount(places.astype(np.int64), minlength=whole)[:whole].astype(np.int64)


def _by_snapshots(compared: Iterable[Compared]) -> pd.DataFrame:
    rows = []
    for one in compared:
        groups = one.pool.groups("family")
        for row in groups.itertuples():
            of = int(row.gone + row.left)
            ends = {"since": one.pair["since"], "until": one.pair["until"]}
            told = {"witness": "snapshots", "server": str(one.pair["server"]), "family": str(row.family)}
            rows.append({**told, **ends, "gone": int(row.gone), "of": of, "share": row.gone / of})
    return pd.DataFrame(rows, columns=COLUMNS)


def removals_by_hour(found: Removals) -> pd.DataFrame:
    """Removals counted: columns server, hour, family, by (who took it: client, eviction, expiry, unsure), keys; of
    each server by the stream that shows most of them."""
    rows = found.rows
    if not len(rows):
        return pd.DataFrame({"server": [], "hour": [], "family": [], "by": [], "keys": []})
    rows = rows.loc[rows["stream"].isin(_fullest(rows))]
    hours = pd.DatetimeIndex(
        rows["at"].to_numpy(dtype=np.int64) // _HOUR * _HOUR, dtype=pd.DatetimeTZDtype("us", "UTC")
    )
    table = pd.DataFrame({"server": rows["server"].to_numpy(), "hour": hours, "family": rows["family"].to_numpy(),
                          "by": rows["by"].to_numpy()})  # fmt: skip
    return table.value_counts(sort=False).reset_index(name="keys").sort_values(["hour", "family"], ignore_index=True)


def removers(found: Removals) -> pd.DataFrame:
    """Who removed what, and when: columns server, family, verb, client (its address, where the witness has it), by,
    keys, first, last (UTC), busiest (the hour in which most went) and most (how many then); those that removed most
    first.
    """
    rows = found.rows
    columns = ["server", "family", "verb", "client", "by", "keys", "first", "last", "busiest", "most"]
    if not len(rows):
        return pd.DataFrame({name: [] for name in columns})
    rows = rows.loc[rows["stream"].isin(_fullest(rows))]
    client = rows["client"].astype("str").fillna("")
    rows = rows.assign(client=client, verb=rows["verb"].astype("str").str.upper(), hour=rows["at"] // _HOUR)
    place = ["server", "family", "verb", "client", "by"]
    hours = rows.groupby([*place, "hour"], observed=True).size().reset_index(name="most")
    hours = hours.sort_values("most", kind="stable").drop_duplicates(place, keep="last")
    table = rows.groupby(place, observed=True)["at"].agg(keys="size", first="min", last="max").reset_index()
    table = table.merge(hours, on=place).assign(busiest=lambda found: found["hour"] * _HOUR)
    for name in ("first", "last", "busiest"):
        table[name] = moments(table[name].to_numpy(dtype=np.int64))
    return table.sort_values("keys", ascending=False, kind="stable", ignore_index=True)[columns]


def _fullest(rows: pd.DataFrame) -> set[str]:
    """Of each server the stream that shows most removals."""
    counted = rows.groupby(["server", "stream"], observed=True).size().reset_index(name="keys")
    return set(counted.sort_values("keys").drop_duplicates("server", keep="last")["stream"])

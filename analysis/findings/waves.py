"""Keys that expire together: because they had been written together (a stampede), or for an expiry set for all.

In: removals by expiry. Out: ``Pattern``s, none of which is a removal: each went when it was due.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.removed import MICRO, NONE, Removals
from analysis.findings.rhythm import WIDTHS, bursts
from analysis.findings.scope.extents import FEW, kind, nearly_all
from analysis.findings.told import Pattern
from analysis.findings.words import duration, stamp, when

FEW_EXPIRED = 20
"""So many keys must expire together to be a wave."""

_MOST_OF = 0.5


def waves(found: Removals) -> Iterator[Pattern]:
    """Keys of a kind that expired together: because they had been written together, or for an expiry set for all."""
    rows = found.rows.loc[found.rows["by"].eq("expiry")]
    for mine, rhythm in bursts(rows, found.spans, FEW_EXPIRED):
        if mine["key"].isin(found.shortened["key"]).mean() >= _MOST_OF:
            continue  # told as what it was: their time was shortened
        due, written = mine["due"].to_numpy(dtype=np.int64), mine["written"].to_numpy(dtype=np.int64)
        one = mine.iloc[0]
        group = rows.loc[rows["stream"].eq(one["stream"]) & rows["stem"].eq(one["stem"])]
        strength = "shown" if (written != NONE).all() else "likely"
        if (due == NONE).all():
            name, why, strength = _announced(mine, found)
        else:
            name, why = mirrored(due[due != NONE], _written(written, due, group))
        if not name:
            continue
        since, until = (pd.Timestamp(at, unit="us", tz="UTC") for at in (mine["at"].min(), mine["at"].max()))
        family, number = str(one["family"]), None if pd.isna(one["db"]) else int(one["db"])
        says = f"{kind(family, len(mine))} expired {when(since, until)}, each at its own expiry{why}."
        yield Pattern(
            name, "commands", says, str(one["server"]), number, (family,), since, until, len(mine), None, rhythm,
            strength,
        )  # fmt: skip


def _written(written: NDArray[np.int64], due: NDArray[np.int64], group: pd.DataFrame) -> NDArray[np.int64]:
    """When they had been written: as the stream shows, else by the time to live that nearly all of the kind have."""
    lives = (group["due"] - group["written"]).loc[group["due"].ne(NONE) & group["written"].ne(NONE)] // MICRO
    if len(lives) >= FEW and nearly_all(int(lives.eq(most := lives.mode().iloc[0]).sum()), int(lives.ne(most).sum())):
        written = np.where((written == NONE) & (due != NONE), due - int(most) * MICRO, written)
    return written[written != NONE]


def _announced(mine: pd.DataFrame, found: Removals) -> tuple[str, str, str]:
    """As ``mirrored``, with its strength, of a witness that tells when keys are given an expiry and when they expire,
    not for when: that they were given it together shows that they were due together.
    """
    last = mine.loc[mine["written"].ne(NONE)]
    at, written = last["at"].to_numpy(dtype=np.int64), last["written"].to_numpy(dtype=np.int64)
    if len(last) < FEW_EXPIRED or not nearly_all(len(last), len(mine) - len(last)):
        return "", "", ""
    if _spread(written) > 3 * max(_spread(at), WIDTHS[1] * MICRO) or _spread(at - written) > WIDTHS[2] * MICRO:
        return "", "", ""
    first = pd.Timestamp(int(written.min()), unit="us", tz="UTC")
    together = f"together from {stamp(first)} on, {duration(float(np.median(at - written)) / MICRO)} before"
    if not found.spans.set_index("stream").loc[mine["stream"].iloc[0], "writes"]:
        why = f", as nearly all had been written, or given another expiry, {together}; which, notifications do not tell"
        return "stampede", why, "hint"
    if last["given"].mean() >= _MOST_OF:
        why = f", which nearly all were given {together}; how long they had had until then, notifications do not tell"
        return "expiry wave", why, "likely"
    return "stampede", f", as nearly all had been written {together}", "shown"


def mirrored(due: NDArray[np.int64], written: NDArray[np.int64]) -> tuple[str, str]:
    """What a burst of expiries is called, from the times at which its keys were due and had been written (microseconds;
    only those known), and what to say of it: nothing where they were not due together, for then the server was late.
    """
    if len(due) < FEW_EXPIRED:
        return "", ""
    spread = _spread(due)
    if spread > WIDTHS[2] * MICRO:
        return "", ""
    if len(written) < FEW_EXPIRED:
        return "expiry wave", ", and all were due then; when they had been given that expiry is not shown"
    if _spread(written) <= 3 * max(spread, WIDTHS[1] * MICRO):
        first = pd.Timestamp(int(written.min()), unit="us", tz="UTC")
        return "stampede", f", as they had been written, or given it, together from {stamp(first)} on"
    return "expiry wave", f", though they had been written over {duration(_spread(written) / MICRO)}"


def _spread(times: NDArray[np.int64]) -> float:
    low, high = np.quantile(times, [0.05, 0.95])
    return float(high - low)

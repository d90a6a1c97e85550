"""What share of the keys written each kind is: held keys, weighted by how seldom a snapshot sees them.

In: ``held.when_stored``. Out: a small frame. Of keys written evenly, a snapshot holds those of the last lifetime: as
many as are written an hour, times the hours that they live (Little's law). So what lives shortly is under-represented,
and held divided by TTL estimates what is written. Where writing was not even for one lifetime the estimate is wrong;
the ages of what is held show that, and then it is said.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.findings.words import count

ASSUMES = (
    "Shares of keys held are not shares of keys written: a snapshot sees a key the longer, the longer it lives. The "
    "estimate weighs each key held by 1/TTL, which is right where each kind was written evenly for at least one of its "
    "lifetimes and nothing but expiry removed it. Keys without a TTL, and those of which nothing says when they were "
    "stored, have no such weight and are left out."
)
COLUMNS = ["family", "name", "held", "share_held", "life", "per_hour", "low", "high", "share_written", "says"]
# How far ages may lie from even, as the largest difference of two distributions, and how sure that must be.
UNEVEN, _SURE = 0.2, 0.001
_FEWEST = 20
_MOST_NAMES = 40
_HOUR = 3600.0


def written_shares(stored: pd.DataFrame) -> pd.DataFrame:
    """Held and written by family and task name: columns ``COLUMNS``, a row for each kind that has a measured life.

    ``life``: median seconds. ``per_hour``: keys written an hour, by 1/TTL; ``low`` and ``high`` an exact Poisson
    interval of 95 % for the number held. ``says``: whether the ages of the keys held bear the assumption out.
    """
    alive = stored["seconds"].gt(0) & stored["expires_at"].gt(stored["taken_at"])
    known = stored[["shown", "name", "stored_at", "taken_at", "seconds"]].loc[alive]
    if not len(known):
        return pd.DataFrame(columns=COLUMNS)
    rows = [_row(str(shown), name, group) for shown, name, group in _kinds(known)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.assign(
        share_held=frame["held"] / frame["held"].sum(), share_written=frame["per_hour"] / frame["per_hour"].sum()
    ).sort_values("per_hour", ascending=False, ignore_index=True)


def _kinds(known: pd.DataFrame) -> Iterator[tuple[object, str | None, pd.DataFrame]]:
    for shown, group in known.groupby("shown", observed=True):
        names = group["name"].value_counts()
        names = names[names > 0]
        if len(names) < 2:
            yield shown, str(names.index[0]) if len(names) and names.iloc[0] == len(group) else None, group
            continue
        some = names.index[:_MOST_NAMES]
        for name, part in group.groupby("name", observed=True):
            if name in some:
                yield shown, str(name), part
        if len(rest := group.loc[~group["name"].isin(some)]):
            yield shown, None, rest


def _row(shown: str, name: str | None, group: pd.DataFrame) -> dict[str, object]:
    from scipy.stats import chi2

    lives = group["seconds"].to_numpy(dtype=float)
    rate = float((_HOUR / lives).sum())
    number = len(group)
    # Garwood's interval of a count; the estimate is the count times the mean weight.
    low, high = chi2.ppf(0.025, 2 * number) / 2, chi2.ppf(0.975, 2 * number + 2) / 2
    return {
        "family": shown,
        "name": name,
        "held": number,
        "life": float(np.median(lives)),
        "per_hour": rate,
        "low": rate * low / number,
        "high": rate * high / number,
        "says": _evenness(group, lives),
    }


def _evenness(group: pd.DataFrame, lives: np.ndarray) -> str:
    """Written evenly, the age of a key held is any part of its life alike often."""
    from scipy.stats import kstest

    if len(group) < _FEWEST:
        return f"{count(len(group), 'key')}: too few to see whether writing was even"
    ages = (group["taken_at"] - group["stored_at"]).dt.total_seconds().to_numpy(dtype=float) / lives
    test = kstest(ages, "uniform")
    if test.statistic < UNEVEN or test.pvalue > _SURE:
        return "borne out by the ages held"
    oldest = float(ages.max())
    if oldest < 0:
        return "does not hold: all were stored after the snapshot by their own times, so that clocks or zones differ"
    reason = f"the oldest has lived {oldest * 100:.0f} % of its life" if oldest < 0.8 else "the ages lie far from even"
    return f"does not hold: {reason}, so writing was not even, or keys were removed early"

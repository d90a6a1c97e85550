"""What will expire when: keys and serialized bytes by hour, as long as nobody renews or removes them before.

In: ``held.held_keys``. Out: small frames. Bytes are those of the snapshot's file, after its compression: what a key
takes in memory only MEMORY USAGE tells, and no file of a case holds that.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

# What expires later is counted in one sum.
HORIZON = pd.Timedelta(days=7)
IN_MEMORY = (
    "Bytes are the keys' size in the snapshot's file. How much memory their expiry will free is not known: MEMORY "
    "USAGE was not captured for these keys."
)


@dataclass(frozen=True)
class Forecast:
    """``hours``: columns hour (its beginning), family, keys, bytes. ``apart``: what is in no hour, columns family, when
    (past expiry, beyond the horizon, no TTL, undated), keys, bytes, last (the latest expiry among them).

    ``begin`` and ``end`` bound the hours; None where no snapshot has a time.
    """

    hours: pd.DataFrame
    apart: pd.DataFrame
    begin: pd.Timestamp | None
    end: pd.Timestamp | None


def expiry_forecast(held: pd.DataFrame) -> Forecast:
    """The expiries of the keys held, from each snapshot's time up to ``HORIZON`` behind the latest."""
    dated = held["taken_at"].dropna()
    begin = dated.min() if len(dated) else None
    end = dated.max() + HORIZON if len(dated) else None
    due = held["remaining"].gt(0)
    when = pd.Series("ahead", index=held.index, dtype=object)
    when = when.mask(~due, "past expiry")
    if end is not None:
        when = when.mask(due & held["expires_at"].ge(end), BEYOND)
    when = when.mask(held["remaining"].isna(), "snapshot without a time").mask(held["expires_at"].isna(), "no TTL")
    ahead = when.eq("ahead").to_numpy(dtype=bool)
    some = held.loc[ahead]
    hours = _sums(some.assign(hour=some["expires_at"].dt.floor("h")), ["hour", "shown"])
    rest = held.loc[~ahead].assign(when=when[~ahead])
    apart = _sums(rest, ["shown", "when"], last=("expires_at", "max"))
    return Forecast(
        hours.rename(columns={"shown": "family"}).sort_values(["hour", "family"], ignore_index=True),
        apart.rename(columns={"shown": "family"}),
        begin,
        end,
    )


BEYOND = f"beyond {HORIZON.days} days"


def _sums(rows: pd.DataFrame, by: list[str], **more: tuple[str, str]) -> pd.DataFrame:
    summed = rows.groupby(by, observed=True).agg(keys=("shown", "size"), bytes=("bytes", "sum"), **more)
    return summed.reset_index().astype({"shown": "str"})


def over_families(hours: pd.DataFrame) -> pd.DataFrame:
    """``Forecast.hours`` summed over families: columns hour, keys, bytes, so_far (share of all of them by its end)."""
    summed = hours.groupby("hour", as_index=False)[["keys", "bytes"]].sum()
    whole = summed["keys"].sum()
    return summed.assign(so_far=summed["keys"].cumsum() / whole if whole else None)

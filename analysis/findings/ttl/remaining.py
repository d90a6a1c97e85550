"""How long the keys held still live: named bins and quantiles of the time left, by family.

In: ``held.held_keys``. Out: small frames. These are shares of the keys held: a snapshot sees a key the more often, the
longer it lives (``written`` corrects for that).
"""

from __future__ import annotations

import pandas as pd

# Upper ends of the bins of remaining TTL, in seconds, with their names.
BINS: tuple[tuple[float, str], ...] = (
    (60, "up to 1 min"),
    (3600, "1 min – 1 h"),
    (6 * 3600, "1 – 6 h"),
    (86400, "6 – 24 h"),
    (7 * 86400, "1 – 7 days"),
    (30 * 86400, "7 – 30 days"),
    (365 * 86400, "30 d – 1 year"),
    (float("inf"), "over 1 year"),
)
PAST, NONE, UNDATED = "past expiry", "no TTL", "undated"
"""Bins of their own; the last for keys with a TTL in a snapshot without a time."""
BIN_NAMES: tuple[str, ...] = (PAST, *(name for _, name in BINS), NONE, UNDATED)
_QUANTILES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


def remaining_bins(held: pd.DataFrame) -> pd.DataFrame:
    """Keys by family and bin of remaining TTL: columns family, bin (one of ``BIN_NAMES``), keys, share (of the family's
    keys held); only bins that hold any.
    """
    edges = [float("-inf"), 0, *(upper for upper, _ in BINS)]
    bins = pd.cut(held["remaining"], edges, labels=[PAST, *(name for _, name in BINS)], right=True)
    bins = bins.cat.add_categories([NONE, UNDATED])
    left = held["remaining"].isna()
    bins = bins.mask(left & held["expires_at"].isna(), NONE).mask(left & held["expires_at"].notna(), UNDATED)
    counted = pd.DataFrame({"family": held["shown"], "bin": bins}).value_counts().reset_index(name="keys")
    counted = counted.loc[counted["keys"].gt(0)].astype({"family": "str", "bin": "str"})
    order = {name: place for place, name in enumerate(BIN_NAMES)}
    counted = counted.assign(
        place=counted["bin"].map(order), share=counted["keys"] / counted.groupby("family")["keys"].transform("sum")
    )
    return counted.sort_values(["family", "place"], ignore_index=True)[["family", "bin", "keys", "share"]]


def ttl_quantiles(held: pd.DataFrame) -> pd.DataFrame:
    """Remaining TTL by family: columns family, keys, without_ttl, past_expiry, and min, p05, p25, median, p75, p95, max
    in seconds of the keys that still have time left.
    """
    rows = []
    narrow = held[["shown", "expires_at", "remaining"]]
    for family, group in narrow.groupby("shown", observed=True):
        left = group.loc[group["remaining"] > 0, "remaining"]
        rows.append(
            {
                "family": str(family),
                "keys": len(group),
                "without_ttl": int(group["expires_at"].isna().sum()),
                "past_expiry": int((group["remaining"] <= 0).sum()),
                **{name: left.quantile(part) for name, part in _QUANTILES.items()},
            }
        )
    columns = ["family", "keys", "without_ttl", "past_expiry", *_QUANTILES]
    return pd.DataFrame(rows, columns=columns)

"""The parts of a page that tell what went before its expiry.

In: ``SurvivalFindings``. Out: ``Html``. Decides what is shown and in which words, never what is true.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.findings.incidence import FEWEST
from analysis.findings.share_gone import DUE, DUE_HELD, GONE, LEFT, MOVED, RENEWED, REWRITTEN
from analysis.findings.survival import SurvivalFindings, most_gone, share_words
from analysis.findings.words import duration
from analysis.report.html import Html, listing, sentence, table, together

_COUNTS = {
    "held": "Held",
    "watched": "Not yet due",
    GONE: "Gone",
    "share": "Share gone",
    "interval": "95 % interval",
}
# Shown where there are any.
_APART = {
    DUE: "Due and gone",
    DUE_HELD: "Due, still held",
    REWRITTEN: "Rewritten",
    RENEWED: "Renewed",
    MOVED: "Elsewhere",
}
METHOD = (
    "The share gone is of keys that had no expiry, or one after the second snapshot; its interval is the exact one "
    "of a binomial share (Clopper and Pearson). Removal by age is the cumulative incidence of Aalen and Johansen, with "
    "expiry as a competing end and keys entering at the age from which they were watched; its interval is on the scale "
    f"of log(-log). It is told where at least {FEWEST} keys of an age were under watch.",
)
_TAKES = (
    "It takes two dated snapshots of one server, the later one read to its end, and keys that were not yet due at that."
)


def share_gone(found: SurvivalFindings) -> Html:
    """The numbers of the chart, by family and age; those of every pair of snapshots, by family; and what they leave
    open.
    """
    notes = listing(list(found.notes)) if found.notes else None
    if not len(found.shares):
        return together(*filter(None, (notes, sentence(_TAKES, "quiet"))))
    bands = most_gone(found.bands)
    bands = _told(bands.assign(band=bands["band"].where(bands["by"].ne(LEFT), bands["band"] + " left")))
    shares = _told(found.shares)
    several = shares[["server", "before", "after"]].drop_duplicates()
    server = {"server": "Server"} if several["server"].nunique() > 1 else {}
    times = {"since": "From", "until": "To"} if len(several) > 1 else {}
    of_pairs = {**server, **times, "family": "Family", **_counts(shares)}
    if times:  # or the table would be wider than the page
        del of_pairs["held"]
    parts = [
        table(
            bands,
            label="Keys gone between two snapshots, by family and age",
            columns={"family": "Family", "band": "Age at the first", **_counts(bands)},
        ),
        table(shares, label="Keys gone between snapshots, by family", columns=of_pairs),
    ]
    return together(*parts, *filter(None, [notes]))


def removed_by_age(found: SurvivalFindings) -> Html:
    """How the lives under watch ended, by family, and what that rests on."""
    if not len(found.ends):
        return listing(list(found.grounds), empty="The evidence has none of these.")
    grounds = listing(list(found.grounds))
    rows = _told(found.ends)
    rows = rows.assign(
        ages=[_ages(row) for row in rows.itertuples(index=False)],
        share_expired=[_percent(share) for share in rows["share_expired"]],
    )
    server = {"server": "Server"} if rows["server"].nunique() > 1 else {}
    source = {"source": "From"} if rows["source"].nunique() > 1 else {}
    columns = {
        **server, **source, "family": "Family", "lives": "Lives", "late": "Watched late", "removed": "Removed early",
        "expired": "Expired", "watched": "End not seen", "ages": "Curve, ages", "share": "Removed by then",
        "interval": "95 % interval", "share_expired": "Expired by then",
    }  # fmt: skip
    return together(table(rows, label="How the lives of keys ended", columns=columns), grounds)


def _counts(rows: pd.DataFrame) -> dict[str, str]:
    return {**_COUNTS, **{name: title for name, title in _APART.items() if rows[name].any()}}


def _told(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares and intervals in words."""
    intervals = [_interval(row) for row in rows.itertuples(index=False)]
    return rows.assign(interval=intervals, share=[_percent(share) for share in rows["share"]])


def _percent(share: float) -> str | None:
    return None if pd.isna(share) else share_words(share)


def _interval(row: Any) -> str | None:
    return None if pd.isna(row.low) else f"{share_words(row.low)} to {share_words(row.high)}"


def _ages(row: Any) -> str:
    if pd.isna(row.until):
        return "too few"
    return f"{duration(row.since) if row.since else '0 s'} to {duration(row.until)}"

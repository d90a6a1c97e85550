"""The parts of a page that tell what went before its expiry.

In: ``SurvivalFindings``. Out: ``Html``. Decides what is shown and in which words, never what is true.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.findings.share_gone import DUE, DUE_HELD, GONE, KEPT, MOVED, RENEWED, REWRITTEN
from analysis.findings.survival import SurvivalFindings, most_gone, share_words
from analysis.findings.words import duration, stamp
from analysis.report.html import Html, listing, sentence, table, together

_COUNTS = {
    "held": "Held", "watched": "Not yet due", GONE: "Gone", "share": "Share gone", "interval": "95 % interval",
    KEPT: "Still there", DUE: "Due and gone", DUE_HELD: "Due, still in the file", REWRITTEN: "Rewritten",
    RENEWED: "Given another expiry", MOVED: "In another database",
}  # fmt: skip
_NO_PAIR = "There are no two snapshots of one server that can be compared."


def share_gone(found: SurvivalFindings) -> Html:
    """What share of keys went between snapshots, in words, and by family for every pair."""
    rows = _shares(found.shares)
    if len(rows):
        rows = rows.assign(
            since=[stamp(at) for at in found.shares["since"]], until=[stamp(at) for at in found.shares["until"]]
        )
    columns = {"server": "Server"} if _several(found.shares) else {}
    columns |= {"since": "From", "until": "To", "family": "Family", **_COUNTS}
    label = "Keys gone between snapshots, by family"
    return together(
        table(rows, label=label, columns=columns, empty=_NO_PAIR),
        listing(list(found.notes), empty="Nothing is left out of this."),
    )


def share_gone_by_age(found: SurvivalFindings) -> Html:
    """The numbers of the chart: by family and age, between the two snapshots between which most went."""
    rows = _shares(most_gone(found.bands))
    if not len(rows):
        return sentence(_NO_PAIR, "quiet")
    columns = {"family": "Family", "by": "By", "band": "At the first snapshot", **_COUNTS}
    return table(rows, label="Keys gone between two snapshots, by family and age", columns=columns)


def removed_by_age(found: SurvivalFindings) -> Html:
    """How the lives under watch ended, by family, and what that rests on."""
    ends = found.ends
    rows = ends.assign(
        ages=[
            "no curve" if pd.isna(row.until) else f"{_age(row.since)} to {duration(row.until)}"
            for row in ends.itertuples(index=False)
        ],
        share=[_percent(share) for share in ends["share"]],
        interval=[_interval(row) for row in ends.itertuples(index=False)],
        share_expired=[_percent(share) for share in ends["share_expired"]],
    )
    columns = {"server": "Server"} if _several(ends) else {}
    columns |= {
        "source": "From", "family": "Family", "lives": "Lives watched", "late": "Under watch later than written",
        "removed": "Removed early", "expired": "Expired", "watched": "End not seen", "ages": "Ages of the curve",
        "share": "Removed by then", "interval": "95 % interval", "share_expired": "Expired by then",
    }  # fmt: skip
    empty = "No life of a key could be watched."
    return together(
        table(rows, label="How the lives of keys ended", columns=columns, empty=empty), listing(list(found.grounds))
    )


def _several(rows: pd.DataFrame) -> bool:
    return bool(len(rows)) and rows["server"].nunique() > 1


def _shares(rows: pd.DataFrame) -> pd.DataFrame:
    if not len(rows):
        return rows
    return rows.assign(
        share=[_percent(share) for share in rows["share"]],
        interval=[_interval(row) for row in rows.itertuples(index=False)],
    )


def _percent(share: float) -> str | None:
    return None if pd.isna(share) else share_words(share)


def _interval(row: Any) -> str | None:
    low, high = row.low, row.high
    return None if pd.isna(low) else f"{share_words(low)} to {share_words(high)}"


def _age(seconds: float) -> str:
    return duration(seconds) if seconds else "0 s"

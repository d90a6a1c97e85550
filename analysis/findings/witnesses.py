"""Who testifies, and when: the times of which each piece of evidence speaks, and those of which none does.

In: the frame ``evidence``. Out: small frames of intervals. What an interval holds is not looked at: a witness that is
silent within it has seen nothing, one that was not there has not looked.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

# A snapshot, and an answer, speaks of one moment; what it tells of the time before is its own content.
_MOMENTS = ("snapshot", "config", "clients", "MEMORY STATS", "LATENCY")


def witnesses(evidence: pd.DataFrame, kinds: Iterable[str] | None = None) -> pd.DataFrame:
    """The dated evidence: columns source, kind, server, since, until (UTC; equal for what speaks of one moment), in
    order of time. ``kinds``: only those (values of ``evidence.kind``).
    """
    dated = evidence.loc[evidence["from"].notna() & evidence["to"].notna()]
    if kinds is not None:
        dated = dated.loc[dated["kind"].isin(tuple(kinds))]
    moment = dated["kind"].isin(_MOMENTS)
    found = pd.DataFrame(
        {
            "source": dated["path"],
            "kind": dated["kind"],
            "server": dated["server"].fillna(""),
            "since": dated["from"].mask(moment, dated["to"]),
            "until": dated["to"],
        }
    )
    return found.sort_values(["since", "until", "source"], kind="stable", ignore_index=True)


def unwitnessed(seen: pd.DataFrame, begin: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    """The parts of ``begin`` to ``end`` in no interval of ``seen`` (columns since, until): columns since, until, in
    order; the whole where ``seen`` has none.
    """
    gaps, free = [], begin
    for since, until in seen.sort_values("since")[["since", "until"]].itertuples(index=False):
        if since > free and free < end:
            gaps.append((free, min(since, end)))
        free = max(free, until)
    if free < end:
        gaps.append((free, end))
    return pd.DataFrame(gaps, columns=["since", "until"]).astype("datetime64[us, UTC]")

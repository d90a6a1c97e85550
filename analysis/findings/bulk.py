"""Were keys removed in bulk? Keys by family and hour, and what is gone between two snapshots of one server.

In: frames ``keys``, ``tasks`` and ``changes``, and the snapshots' times. Out: small frames and a sentence. What one
snapshot cannot show is said, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.findings.words import count, stamp


def looks(evidence: pd.DataFrame) -> pd.DataFrame:
    """The snapshots of a case in order of time: columns server, snapshot, taken_at, complete, latest. The state at the
    end of an append-only file is one of them; its time is the last that the file tells.

    A snapshot without a time stands first: nothing can be said to come before it. ``latest`` marks each server's last
    one.
    """
    shots = evidence.loc[evidence["kind"].isin(("snapshot", "append-only file"))]
    frame = pd.DataFrame(
        {
            "server": shots["server"],
            "snapshot": shots["path"],
            "taken_at": shots["to"],
            "complete": shots["complete"].fillna(False).astype(bool),
        }
    ).sort_values(["server", "taken_at", "snapshot"], na_position="first", ignore_index=True)
    return frame.assign(latest=~frame["server"].duplicated(keep="last"))


def in_latest(rows: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """The rows (of ``keys``, ``tasks``, …) that stand in the last snapshot of their server."""
    return rows.loc[rows["snapshot"].isin(shots.loc[shots["latest"], "snapshot"])]


def stored_by_hour(tasks: pd.DataFrame) -> pd.DataFrame:
    """Results held, by the hour in which they were stored: columns hour, family, keys. Only where a time of storing
    is known.
    """
    known = tasks.loc[tasks["stored_at"].notna()]
    hours = pd.DataFrame({"hour": known["stored_at"].dt.floor("h"), "family": known["kind"].map(_KINDS)})
    return hours.value_counts().reset_index(name="keys").sort_values(["hour", "family"], ignore_index=True)


_KINDS = {"task": "result", "group": "group_result"}


def gone_between(changes: pd.DataFrame) -> pd.DataFrame:
    """What each snapshot holds and the next one of its server does not: columns server, before, after, db, key, family,
    expires_at, due (its expiry had come by then)."""
    gone = changes.loc[changes["change"].eq("gone")].rename(columns={"expires_before": "expires_at"})
    return gone[["server", "before", "after", "db", "key", "family", "expires_at", "due"]].reset_index(drop=True)


def gone_by_family(gone: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    """``gone_between`` counted: columns before, after, db, family, held, gone, due, early, share_early."""
    columns = ["before", "after", "db", "family", "held", "gone", "due", "early", "share_early"]
    if not len(gone):
        return pd.DataFrame(columns=columns)
    groups = ["before", "after", "db", "family"]
    counted = gone.groupby(groups, dropna=False).agg(gone=("key", "size"), due=("due", "sum")).reset_index()
    held = keys.groupby(["snapshot", "db", "family"], dropna=False).size().reset_index(name="held")
    counted = counted.merge(held.rename(columns={"snapshot": "before"}), on=["before", "db", "family"], how="left")
    counted["early"] = counted["gone"] - counted["due"]
    counted["share_early"] = counted["early"] / counted["held"]
    return counted.sort_values("early", ascending=False, ignore_index=True)[columns]


def _pairs(shots: pd.DataFrame) -> int:
    return int(shots.loc[shots["taken_at"].notna(), "server"].duplicated().sum())


def bulk_sentence(keys: pd.DataFrame, shots: pd.DataFrame, gone: pd.DataFrame) -> str:
    """The finding, in words that claim no more than the snapshots show."""
    timed = shots.loc[shots["taken_at"].notna()]
    if not len(shots):
        return "There is no snapshot in the evidence, so bulk removal can be neither shown nor ruled out."
    if not _pairs(shots):
        return (
            f"One snapshot shows what was left ({count(len(keys), 'key')}), not what was removed: bulk removal can be "
            "neither shown nor ruled out from it alone."
        )
    first, last = timed["taken_at"].min(), timed["taken_at"].max()
    early = gone.loc[~gone["due"].astype(bool)]
    span = f"Between {stamp(first)} and {stamp(last)}"
    if not len(gone):
        return f"{span} no key disappeared."
    if not len(early):
        return (
            f"{span} {count(len(gone), 'key')} disappeared, each of them after its own expiry: no sign of bulk removal."
        )
    families = early["family"].value_counts()
    return (
        f"{span} {count(len(gone), 'key')} disappeared, {len(early):,} of them before their expiry or without one. "
        f"{families.iloc[0]:,} of these were of the family {families.index[0]}. That they went together is not shown "
        "by this."
    )


@dataclass(frozen=True)
class BulkFindings:
    """What the bulk notebook shows: its headline, keys by family and by hour of storing, and what went between
    snapshots.

    ``pairs``: how many pairs of snapshots there were to compare.
    """

    headline: str
    pairs: int
    by_family: pd.DataFrame
    by_hour: pd.DataFrame
    gone: pd.DataFrame


def bulk_findings(keys: pd.DataFrame, tasks: pd.DataFrame, shots: pd.DataFrame, changes: pd.DataFrame) -> BulkFindings:
    """The bulk patterns of a case. ``by_family``: columns server, db, family, keys, bytes, of each server's last
    snapshot.
    """
    held, gone = in_latest(keys, shots), gone_between(changes)
    by_family = held.groupby(["server", "db", "family"], dropna=False).agg(keys=("key", "size"), bytes=("bytes", "sum"))
    return BulkFindings(
        bulk_sentence(held, shots, gone),
        _pairs(shots),
        by_family.reset_index(),
        stored_by_hour(in_latest(tasks, shots)),
        gone_by_family(gone, keys),
    )

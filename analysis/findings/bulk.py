"""Were keys removed in bulk? Keys by family and hour, and what is gone between two snapshots of one server.

In: the frames of a case, and the snapshots' times. Out: small frames, and the sentence of ``scope``. What one snapshot
cannot show is said, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.findings.patterns import Patterns, patterns_of_case
from analysis.findings.scope import scope_sentence, scopes_of_case
from analysis.findings.scope.between import comparable, early
from analysis.findings.scope.extents import Scope
from analysis.findings.told import titled
from analysis.findings.witnesses import witnesses
from analysis.findings.words import count
from analysis.frames import frame
from analysis.showing import ShowsItself


def looks(evidence: pd.DataFrame) -> pd.DataFrame:
    """The snapshots of a case in order of time: columns server, snapshot, kind, taken_at, complete, latest, tied. The
    state at the end of an append-only file is one of them; its time is the last that the file tells.

    A snapshot without a time stands first: nothing can be said to come before it. ``latest`` marks each server's last
    one, ``tied`` those of the same second as that: which came first is not known.
    """
    shots = evidence.loc[evidence["kind"].isin(("snapshot", "append-only file"))]
    frame = pd.DataFrame(
        {
            "server": shots["server"],
            "snapshot": shots["path"],
            "kind": shots["kind"],
            "taken_at": shots["to"],
            "complete": shots["complete"].fillna(False).astype(bool),
        }
    ).sort_values(["server", "taken_at", "snapshot"], na_position="first", ignore_index=True)
    frame = frame.assign(latest=~frame["server"].duplicated(keep="last"))
    last = frame.groupby("server")["taken_at"].transform("max")
    return frame.assign(tied=~frame["latest"] & frame["kind"].eq("snapshot") & frame["taken_at"].eq(last))


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


# Who can tell of a removal.
_TELLING = (
    "snapshot", "append-only file", "replication backlog", "MONITOR log", "keyspace log", "slowlog", "worker log",
)  # fmt: skip
_KINDS = {"task": "result", "group": "group_result"}


def gone_between(changes: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """What each snapshot holds and the next one of its server does not: columns server, before, after, db, key, family,
    expires_at, due (its expiry may have come by then: not ``between.early``).
    """
    rows = changes.assign(due=~early(changes, shots))
    gone = rows.loc[rows["change"].eq("gone")].rename(columns={"expires_before": "expires_at"})
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


@dataclass(frozen=True, repr=False)
class BulkFindings(ShowsItself):
    """What the bulk notebook shows: its headline, keys by family and by hour of storing, and what went between
    snapshots.

    ``pairs``: how many pairs of snapshots there were to compare. ``scopes``: what went together, by each witness
    (``scope.scopes_of_case``). ``looked``: the patterns, and what they were found in. ``seen``: who testifies when
    (``witnesses``).
    """

    headline: str
    pairs: int
    by_family: pd.DataFrame
    by_hour: pd.DataFrame
    gone: pd.DataFrame
    scopes: tuple[Scope, ...]
    looked: Patterns
    seen: pd.DataFrame

    @property
    def patterns(self) -> pd.DataFrame:
        """What stands out from the case's own rhythm, a row each (``told.patterns_frame``)."""
        return self.looked.table

    @property
    def numbers(self) -> dict[str, pd.DataFrame]:
        """What stands behind the charts, by name."""
        return {
            "patterns": self.patterns,
            "by_family": self.by_family,
            "by_hour": self.by_hour,
            "gone": self.gone,
            "shares": self.looked.shares,
            "removals": self.looked.removals,
            "removers": self.looked.removers,
            "finished": self.looked.finished,
        }


def headline(patterns: pd.DataFrame, scopes: tuple[Scope, ...]) -> str:
    """The finding of a case: its first removal by name, in the verdict's own words where those tell of the same
    (``scope_sentence``), and how many others there are; else what went together at all, and that it does not stand out
    where a witness looked that would show it.
    """
    removed, said = patterns.loc[patterns["removal"]], scope_sentence(scopes)
    if len(removed):
        first, told = removed.iloc[0], next((one for one in scopes if one.extent != "not told"), None)
        same = told is not None and (told.witness, told.pattern) == (first["witness"], first["pattern"])
        sure = "" if first["strength"] == "shown" else ", as it seems"
        others = count(len(removed) - 1, "other removal")
        more = "" if len(removed) == 1 else f" {others} {'is' if len(removed) == 2 else 'are'} told below."
        return f"{titled(first['pattern'])}{sure}: {said if same else first['says']}{more}"
    looked = patterns["witness"].isin(("commands", "snapshots")) & patterns["strength"].ne("hint")
    if not looked.any():
        return said
    waves = patterns.loc[patterns["pattern"].isin(("stampede", "expiry wave"))]
    also = f" {titled(waves.iloc[0]['pattern'])}: {waves.iloc[0]['says']}" if len(waves) else ""
    return f"No removal stands out from the case's own rhythm.{also} {said}"


def bulk_findings(
    keys: pd.DataFrame,
    tasks: pd.DataFrame,
    shots: pd.DataFrame,
    changes: pd.DataFrame,
    *,
    jobs: pd.DataFrame | None = None,
    commands: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
    retention_seconds: int | None = None,
    evidence: pd.DataFrame | None = None,
    jobs_expire: float | None = None,
    servers: pd.DataFrame | None = None,
) -> BulkFindings:
    """The bulk patterns of a case. ``by_family``: columns server, db, family, keys, bytes, of each server's last
    snapshot. Logs are read where ``retention_seconds`` says how long results are kept (0 = for ever).
    """
    held, gone = in_latest(keys, shots), gone_between(changes, shots)
    by_family = held.groupby(["server", "db", "family"], dropna=False).agg(keys=("key", "size"), bytes=("bytes", "sum"))
    scopes = scopes_of_case(
        keys, tasks, shots, changes,
        jobs=jobs, commands=commands, events=events, retention_seconds=retention_seconds,
    )  # fmt: skip
    looked = patterns_of_case(
        keys,
        tasks,
        jobs if jobs is not None else frame("jobs"),
        shots,
        changes,
        commands if commands is not None else frame("commands"),
        events if events is not None and retention_seconds is not None else frame("events"),
        retention_seconds or 0,
        jobs_expire,
        servers,
    )
    return BulkFindings(
        headline(looked.table, scopes),
        len(comparable(shots)),
        by_family.reset_index(),
        stored_by_hour(in_latest(tasks, shots)),
        gone_by_family(gone, keys),
        scopes,
        looked,
        witnesses(evidence if evidence is not None else frame("evidence"), _TELLING),
    )

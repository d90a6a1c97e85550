"""How long keys live: what is left of their TTLs, the retention really in force, what has none, and what expires when.

In: the frames of a case, and the snapshots' times. Out: ``TtlFindings``, small frames and sentences. Each room answers
one question; this one puts the answers together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.findings.ttl.endless import endless_keys
from analysis.findings.ttl.force import changes_in_force, deviations, in_force, stated_policies
from analysis.findings.ttl.forecast import Forecast, expiry_forecast
from analysis.findings.ttl.headline import headline
from analysis.findings.ttl.held import held_keys, joined, kept_keys, observable, when_stored, without
from analysis.findings.ttl.policies import as_markdown, policy_table, server_policies
from analysis.findings.ttl.remaining import remaining_bins, ttl_quantiles
from analysis.findings.ttl.retention import Retention, lifetimes, retention, retention_table
from analysis.findings.ttl.written import written_shares
from analysis.findings.witnesses import witnesses
from analysis.findings.words import listed
from analysis.settings import Settings
from analysis.showing import ShowsItself

__all__ = ["Retention", "TtlFindings", "lifetimes", "retention", "retention_table", "ttl_findings"]

# What tells when a key was stored, and of which keys.
_TELLING = ("snapshot", "archive", "append-only file", "worker log", "MONITOR log", "keyspace log")


@dataclass(frozen=True, repr=False)
class TtlFindings(ShowsItself):
    """What the TTL notebook shows, over the last snapshot of each server: its headline, and a frame of each room.

    ``shots``: columns server, snapshot, taken_at, keys. ``stored``: ``held.when_stored``, of what archives kept where
    no snapshot holds a key; ``history``: that and what only archives have. ``kept``: ``force`` of the latter. ``seen``:
    ``witnesses`` of
    storing. ``endless_counts``: how many keys ``endless`` has, and why. ``markdown``: ``policies`` as text.
    """

    headline: str
    shots: pd.DataFrame
    stored: pd.DataFrame
    history: pd.DataFrame
    observable: pd.DataFrame
    bins: pd.DataFrame
    quantiles: pd.DataFrame
    force: pd.DataFrame
    kept: pd.DataFrame
    changes: pd.DataFrame
    deviations: pd.DataFrame
    endless: pd.DataFrame
    endless_counts: pd.DataFrame
    forecast: Forecast
    written: pd.DataFrame
    policies: pd.DataFrame
    markdown: str
    seen: pd.DataFrame

    @property
    def numbers(self) -> dict[str, pd.DataFrame]:
        """Every frame behind a chart or a table, by name; what is a row a key is counted by hour."""
        return {
            "snapshots": self.shots,
            "stored_against_expiry": stored_by_expiry(self.history),
            "observable": self.observable,
            "bins": self.bins,
            "quantiles": self.quantiles,
            "retention": self.force,
            "retention_kept": self.kept,
            "changes": self.changes,
            "deviations": self.deviations,
            "endless": self.endless_counts,
            "endless_keys": self.endless,
            "forecast": self.forecast.hours,
            "not_in_forecast": self.forecast.apart,
            "written": self.written,
            "policies": self.policies,
        }


def ttl_findings(
    keys: pd.DataFrame,
    tasks: pd.DataFrame,
    jobs: pd.DataFrame,
    shots: pd.DataFrame,
    settings: Settings,
    *,
    events: pd.DataFrame,
    commands: pd.DataFrame,
    cleanup: pd.DataFrame,
    servers: pd.DataFrame,
    config: Mapping[str, Mapping[str, str]],
    evidence: pd.DataFrame,
) -> TtlFindings:
    """The TTLs of a case (frames of ``Case``), from the last snapshot of each server (``bulk.looks``)."""
    tree = _tree(evidence)
    archived = kept_keys(tasks, jobs, evidence)
    held = held_keys(keys, shots, archived["server"].unique())
    several = len({*held["server"].unique(), *archived["server"].unique()}) > 1
    stored = when_stored(held, tasks, jobs, events, commands, several=several)
    stated = stated_policies(settings, cleanup, tree)
    force, off = in_force(stored, stated), deviations(stored, stated)
    # What is in force now, the last snapshots tell; what was before, and of what they lack, archives.
    kept = without(when_stored(archived, tasks, jobs, events, commands, several=several), stored)
    history = joined([part for part in (stored, kept) if len(part)] or [stored])
    kept_force, changes = in_force(kept, stated), changes_in_force(history)
    endless, endless_counts = endless_keys(held, jobs, stated)
    latest = _latest(held, shots)
    policies = policy_table(held, stored, history, force, stated, cleanup, server_policies(servers, config), tree)
    forecast = expiry_forecast(held)
    return TtlFindings(
        headline(held, latest, force if len(held) else kept_force, changes, endless_counts, forecast.hours, len(kept)),
        latest,
        stored if len(held) else kept,
        history,
        observable(held, stored),
        remaining_bins(held),
        ttl_quantiles(held),
        force,
        kept_force,
        changes,
        off,
        endless,
        endless_counts,
        forecast,
        written_shares(stored),
        policies,
        as_markdown(policies, off, _when(latest)),
        witnesses(evidence, _TELLING),
    )


def stored_by_expiry(stored: pd.DataFrame) -> pd.DataFrame:
    """Keys by hour of storing and hour of expiry: columns family, stored, expires (missing = no TTL), keys."""
    counted = pd.DataFrame(
        {
            "family": stored["shown"],
            "stored": stored["stored_at"].dt.floor("h"),
            "expires": stored["expires_at"].dt.floor("h"),
        }
    )
    counted = counted.groupby(["family", "stored", "expires"], observed=True, dropna=False).size()
    return counted.reset_index(name="keys").astype({"family": "str"})


def _latest(held: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    latest = shots.loc[shots["latest"], ["server", "snapshot", "taken_at"]]
    keys = held["snapshot"].astype(str).value_counts()
    return latest.assign(keys=latest["snapshot"].map(keys).fillna(0).astype(int)).reset_index(drop=True)


def _tree(evidence: pd.DataFrame) -> str:
    named = evidence.loc[evidence["kind"].eq("source code"), "path"]
    return str(named.iloc[0]).rstrip("/") if len(named) else "src"


def _when(latest: pd.DataFrame) -> str:
    told = [
        f"in {row.snapshot}" + (f" at {row.taken_at:%Y-%m-%d %H:%M:%S} UTC" if pd.notna(row.taken_at) else ", undated")
        for row in latest.itertuples()
    ]
    return listed(told) if told else "in no snapshot"

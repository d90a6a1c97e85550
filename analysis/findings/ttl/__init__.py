"""How long keys live: what is left of their TTLs, the retention really in force, what has none, and what expires when.

In: the frames of a case, and the snapshots' times. Out: ``TtlFindings``, small frames and sentences. Each room answers
one question; this one puts the answers together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.findings.ttl.endless import endless_keys
from analysis.findings.ttl.force import changes_in_force, deviations, in_force, lived, stated_policies
from analysis.findings.ttl.forecast import Forecast, expiry_forecast
from analysis.findings.ttl.held import held_keys, kept_keys, observable, when_stored, without
from analysis.findings.ttl.policies import as_markdown, policy_table, server_policies
from analysis.findings.ttl.remaining import remaining_bins, ttl_quantiles
from analysis.findings.ttl.retention import Retention, lifetimes, retention, retention_table
from analysis.findings.ttl.written import written_shares
from analysis.findings.witnesses import witnesses
from analysis.findings.words import at, count, duration, listed, on
from analysis.settings import Settings
from analysis.showing import ShowsItself

__all__ = ["Retention", "TtlFindings", "lifetimes", "retention", "retention_table", "ttl_findings"]

# What tells when a key was stored, and of which keys.
_TELLING = ("snapshot", "append-only file", "worker log", "MONITOR log", "keyspace log")


@dataclass(frozen=True, repr=False)
class TtlFindings(ShowsItself):
    """What the TTL notebook shows, over the last snapshot of each server: its headline, and a frame of each room.

    ``shots``: columns server, snapshot, taken_at, keys. ``stored``: ``held.when_stored``, of what archives kept where
    no snapshot holds a key. ``kept``: ``force`` of the records that only archives have. ``seen``: ``witnesses`` of
    storing. ``endless_counts``: how many keys ``endless`` has, and why. ``markdown``: ``policies`` as text.
    """

    headline: str
    shots: pd.DataFrame
    stored: pd.DataFrame
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
            "stored_against_expiry": stored_by_expiry(self.stored),
            "observable": self.observable,
            "bins": self.bins,
            "quantiles": self.quantiles,
            "retention": self.force,
            "retention_kept": self.kept,
            "changes": self.changes,
            "deviations": self.deviations,
            "endless": self.endless_counts,
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
    held = held_keys(keys, shots)
    stored = when_stored(held, tasks, jobs, events, commands)
    stated = stated_policies(settings, cleanup, tree)
    force, off = in_force(stored, stated), deviations(stored, stated)
    changes = changes_in_force(stored)
    # What is in force now, the last snapshots tell; what was before, and of what they lack, archives.
    kept = without(when_stored(kept_keys(tasks, jobs, evidence), tasks, jobs, events, commands), stored)
    kept_force = in_force(kept, stated)
    endless, endless_counts = endless_keys(held, jobs, stated)
    latest = _latest(held, shots)
    policies = policy_table(held, stored, force, stated, cleanup, server_policies(servers, config), tree)
    forecast = expiry_forecast(held)
    return TtlFindings(
        " ".join(_headline(held, latest, force, changes, endless_counts, forecast) or _of_kept(kept, kept_force)),
        latest,
        stored if len(held) else kept,
        observable(held, stored),
        remaining_bins(held),
        ttl_quantiles(held),
        force,
        kept_force,
        changes_in_force(pd.concat([stored, kept], ignore_index=True)) if len(kept) else changes,
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


def _headline(
    held: pd.DataFrame,
    latest: pd.DataFrame,
    force: pd.DataFrame,
    changes: pd.DataFrame,
    endless: pd.DataFrame,
    forecast: Forecast,
) -> list[str]:
    if not len(held):
        return []
    without = int(held["expires_at"].isna().sum())
    have = len(held) - without
    moments = latest["taken_at"].dropna()
    if len(latest) == 1:
        when = f"At {at(moments.iloc[0])}" if len(moments) else f"In the undated {latest['snapshot'].iloc[0]}"
    else:
        when = f"In the last snapshots of {len(latest)} servers"
        when += f", up to {at(moments.max())}" if len(moments) else ""
    told = f"{when}, {count(have, 'key', 'keys')} of {len(held):,} had a TTL and {without:,} had none"
    past = int(held["remaining"].le(0).sum())
    said = [told + (f"; {past:,} {'was' if past == 1 else 'were'} past expiry and still in the file." if past else ".")]
    said.append(_in_force_said(held, force, changes))
    if len(endless):
        number = int(endless["keys"].sum())
        said.append(f"{count(number, 'key has', 'keys have')} no TTL and should have one.")
    elif len(forecast.hours):
        per_hour = forecast.hours.groupby("hour")["keys"].sum()
        hour, most = per_hour.idxmax(), int(per_hour.max())
        share = most / max(1, int(held["remaining"].gt(0).sum()))
        if share >= _MUCH and most >= _MANY:
            said.append(f"{most:,} of them expire in the hour from {on(hour)} on.")
    return [part for part in said if part]


def _of_kept(kept: pd.DataFrame, force: pd.DataFrame) -> list[str]:
    """The headline where no snapshot holds a key."""
    if not len(kept):
        return ["There is no key in the evidence, so nothing can be said about TTLs."]
    return [
        f"No snapshot of this case holds a key; archives kept {count(len(kept), 'record')} that say when they were "
        "stored.",
        _in_force_said(kept, force, changes_in_force(kept)),
    ]


# An hour in which this share of the keys expires is worth a sentence on the first screen.
_MUCH, _MANY = 0.25, 20
_NOUNS = {"result": "results", "job": "job records", "group_result": "saved groups"}


def _in_force_said(held: pd.DataFrame, force: pd.DataFrame, changes: pd.DataFrame) -> str:
    """What is in force for results, or for what most is known of."""
    whole = force.loc[force["name"].isna()] if len(force) else force
    if not len(whole):
        if not held["expires_at"].notna().any():
            return ""
        return "How long keys are kept is not observable: nothing says when those with a TTL were stored."
    row = whole.sort_values("keys", ascending=False, kind="stable").iloc[0]
    noun, keys = _NOUNS.get(row["family"], f"{row['family']} keys"), int(row["keys"])
    first = noun[:1].upper() + noun[1:]
    off = int(row["outlive"]) + int(row["short"])
    stated, observed = row["stated"], row["observed"]
    changed = changes.loc[changes["family"].eq(row["family"]) & changes["name"].isna()]
    since = ""
    if len(changed):
        last = changed.iloc[-1]
        since = f", and those stored from {on(last['first_after'])} on live {lived(last['to_seconds'])}"
    if pd.notna(stated) and stated and not off:
        return f"{first} live {duration(stated)}, as stated (all {keys:,} that say when they were stored)."
    if pd.notna(stated) and stated:
        common = f"; most live {lived(observed)}" if pd.notna(observed) and abs(observed - stated) > 2 else ""
        return f"Stated for {noun} is {duration(stated)}, and {off:,} of {keys:,} live otherwise{common}{since}."
    if pd.notna(observed):
        share = f"{int(round(row['share'] * keys)):,} of {keys:,}"
        return f"{first} live {lived(observed)} ({share} that say when they were stored){since}; " + (
            "stated is that they stay until removed." if pd.notna(stated) else "no retention is stated."
        )
    return f"{first} have no TTL in common."

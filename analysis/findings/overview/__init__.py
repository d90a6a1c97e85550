"""What is in this Redis, and how is it: the view an analyst opens first, over the last look at each server.

In: the frames of a case. Out: ``OverviewFindings``. The rooms beside this count; this one puts them together and says
the state in words that need no Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import pandas as pd

from analysis.findings.bulk import in_latest, looks
from analysis.findings.overview.connections import clients_by_name, last_clients
from analysis.findings.overview.health import Sight, glance, last_counters, server_facts, sights
from analysis.findings.overview.held import (
    by_family,
    by_name,
    by_state,
    databases,
    growth,
    held_keys,
    largest_keys,
)
from analysis.findings.overview.hours import last_day, not_dated, results_by_hour, who_looked
from analysis.findings.overview.queues import held_by_workers, oldest_unacked, queue_depths
from analysis.findings.overview.remarks import COLUMNS, RISK, Looked, remarks
from analysis.findings.overview.state import figures, headline, summary
from analysis.findings.ttl import Retention
from analysis.findings.verdict import Fact
from analysis.findings.view import policy
from analysis.settings import Settings
from analysis.showing import ShowsItself


@dataclass(frozen=True, repr=False)
class OverviewFindings(ShowsItself):
    """What the overview shows: its headline, the sentences behind that and key figures, and the frames of the rooms
    beside this.

    ``shots`` are ``bulk.looks``; ``hours`` the results by hour, ``looked`` of which hours each source can tell, and
    ``undated`` how many results held do not say when they were stored.
    """

    headline: str
    summary: tuple[str, ...]
    figures: tuple[Fact, ...]
    shots: pd.DataFrame
    servers: pd.DataFrame
    facts: pd.DataFrame
    remarks: pd.DataFrame
    databases: pd.DataFrame
    families: pd.DataFrame
    largest: pd.DataFrame
    states: pd.DataFrame
    names: pd.DataFrame
    queues: pd.DataFrame
    unacked: pd.DataFrame
    oldest: pd.DataFrame
    hours: pd.DataFrame
    looked: pd.DataFrame
    undated: int
    retention: Retention
    clients: pd.DataFrame
    growth: pd.DataFrame

    @property
    def numbers(self) -> dict[str, pd.DataFrame]:
        """Every frame by its name: what stands behind the tables and charts."""
        figures = pd.DataFrame([vars(one) for one in self.figures])
        own = ((entry.name, getattr(self, entry.name)) for entry in fields(self))
        return {"figures": figures} | {name: value for name, value in own if isinstance(value, pd.DataFrame)}


def overview(
    evidence: pd.DataFrame,
    keys: pd.DataFrame,
    tasks: pd.DataFrame,
    messages: pd.DataFrame,
    events: pd.DataFrame,
    commands: pd.DataFrame,
    servers: pd.DataFrame,
    counters: pd.DataFrame,
    clients: pd.DataFrame,
    config: Mapping[str, Mapping[str, str]],
    declared: pd.DataFrame,
    stated: Settings,
) -> OverviewFindings:
    """The overview of a case. ``declared`` are the queues that routing tables name: columns server, snapshot, db,
    queue.
    """
    shots = looks(evidence)
    latest = shots.loc[shots["latest"]]
    looked_at = set(latest["server"])
    held, stored = held_keys(keys, shots), in_latest(tasks, shots)
    archives = evidence.loc[evidence["kind"].eq("archive"), "path"].tolist()
    families, kept = by_family(held), policy(tasks, archives, stated.result_expires)
    queues = queue_depths(keys, messages, commands, shots, in_latest(declared, shots)[["server", "db", "queue"]])
    unacked, connected = held_by_workers(messages, shots), last_clients(clients, evidence)
    seen = sights(evidence, servers, counters, events, config)
    side, dbs = (
        glance(seen, families, queues, unacked, looked_at),
        databases(families, last_counters(servers, counters), looked_at),
    )
    states = by_state(stored)
    grown = growth(keys, shots, families)
    parts = {"families": families, "queues": queues, "unacked": unacked, "clients": connected, "growth": grown}
    remarked = _remarks([_looked(one, latest, parts, kept) for one in seen])
    asked = servers.loc[~servers["server"].duplicated(keep="last"), "at"]
    ends = events.loc[events["kind"].isin(("succeeded", "failed")) & events["at"].notna(), "at"]
    return OverviewFindings(
        headline=headline(latest, dbs, states, queues, unacked, asked),
        summary=summary(latest, side, states, unacked, remarked, asked, ends),
        figures=figures(latest, side, dbs, states, queues, unacked, last_day(tasks, shots, kept)),
        shots=shots,
        servers=side,
        facts=_under([server_facts(one) for one in seen], ["server", "fact", "value", "source"]),
        remarks=remarked,
        databases=dbs,
        families=families,
        largest=largest_keys(keys, held),
        states=states,
        names=by_name(stored, in_latest(messages, shots), events),
        queues=queues,
        unacked=unacked,
        oldest=oldest_unacked(messages, shots),
        hours=results_by_hour(tasks, events, shots, archives),
        looked=who_looked(evidence, tasks, shots, kept, {one.server: one.starts for one in seen}),
        undated=not_dated(tasks, shots),
        retention=kept,
        clients=clients_by_name(connected),
        growth=grown,
    )


def _looked(sight: Sight, latest: pd.DataFrame, parts: Mapping[str, pd.DataFrame], kept: Retention) -> Looked:
    """One server's own rows of each of the frames that ``Looked`` has."""
    mine = latest.loc[latest["server"].eq(sight.server)]
    own = {name: rows.loc[rows["server"].eq(sight.server)] for name, rows in parts.items()}
    dated = mine["taken_at"].dropna()
    source = str(mine["snapshot"].iloc[0]) if len(mine) else ""
    return Looked(sight, retention=kept, at=dated.iloc[0] if len(dated) else None, source=source, **own)


def _remarks(looked: list[Looked]) -> pd.DataFrame:
    """The remarks on all servers, risks first."""
    found = _under([remarks(one) for one in looked], COLUMNS)
    return found.iloc[found["weight"].ne(RISK).argsort(kind="stable")].reset_index(drop=True)


def _under(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns, dtype=object)

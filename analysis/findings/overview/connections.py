"""Who was connected: the connections of the last CLIENT LIST of each server, by name and library.

In: the frames ``clients`` and ``evidence``. Out: a small frame. Does not know what a client is for.
"""

from __future__ import annotations

import pandas as pd

from analysis.findings.words import listed

_COLUMNS = ["server", "name", "lib", "user", "connections", "dbs", "commands", "oldest", "idle", "source"]


def last_clients(clients: pd.DataFrame, evidence: pd.DataFrame) -> pd.DataFrame:
    """The rows of each server's last CLIENT LIST; of undated lists the last by name."""
    lists = evidence.loc[evidence["path"].isin(set(clients["source"])), ["server", "path", "to"]]
    last = lists.sort_values(["to", "path"], na_position="first").groupby("server")["path"].last()
    return clients.loc[clients["source"].isin(set(last))]


def clients_by_name(last: pd.DataFrame) -> pd.DataFrame:
    """Connections by server, name, library and user, most first: columns server, name, lib, user, connections, dbs,
    commands (the last of each, most common first), oldest and idle (seconds: the longest), source.
    """
    if not len(last):
        return pd.DataFrame(columns=_COLUMNS)
    table = last.groupby(["server", "name", "lib", "user"], dropna=False).agg(
        connections=("addr", "size"),
        dbs=("db", lambda dbs: listed(map(str, sorted(set(dbs.dropna()))), most=6)),
        commands=("cmd", lambda verbs: listed(verbs.value_counts().index, most=4)),
        oldest=("age", "max"),
        idle=("idle", "max"),
        source=("source", "first"),
    )
    return table.reset_index().sort_values("connections", ascending=False, kind="stable", ignore_index=True)[_COLUMNS]

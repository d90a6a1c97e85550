"""What is in this Redis: databases, key families with their sizes, results by state, and what grew since before.

In: frames ``keys``, ``tasks``, ``events``, ``counters``, and ``bulk.looks``. Out: small frames over the last look at
each server. A snapshot is a census of what was held then, not a sample of what was ever written: its shares are exact
for that, and say nothing of what has expired.
"""

from __future__ import annotations

import pandas as pd

from analysis.celery.families import FAMILIES
from analysis.findings.bulk import in_latest

LARGEST = 10
NOT_READ, NO_NAME = "not readable", "name not stored"

# Celery's states as a stored result has them (celery/states.py), with what each means for the task.
STATES: dict[str, str] = {
    "SUCCESS": "it returned",
    "FAILURE": "it raised, or its process was lost",
    "RETRY": "it asked to be run again",
    "STARTED": "it was running when this was written (task_track_started)",
    "PENDING": "stored as waiting; Celery itself does not write this",
    "RECEIVED": "a worker had it when this was written",
    "REVOKED": "it was revoked, or its message had expired",
    "REJECTED": "it raised Reject",
    "IGNORED": "it raised Ignore",
    NOT_READ: "its state is not JSON; pickles are never opened",
}

_PLACE = ["server", "db", "family"]


def held_keys(keys: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``keys`` in the last look at each server, by their labels in ``keys``: columns server, snapshot, db,
    family, bytes, length, expires_at, expired.
    """
    columns = ["server", "snapshot", "db", "family", "bytes", "length", "expires_at", "expired"]
    return in_latest(keys[columns], shots)


def taken_at(rows: pd.DataFrame, shots: pd.DataFrame) -> pd.Series:
    """When the look was made in which each row stands: UTC, missing where that is not known."""
    times = shots.set_index("snapshot")["taken_at"].reindex(rows["snapshot"].astype("str"))
    return times.set_axis(rows.index)


def by_family(held: pd.DataFrame) -> pd.DataFrame:
    """Keys by server, database and family, the largest first: columns server, db, family, keys, share (of the keys
    of all), bytes (serialized, not memory), share_bytes, largest (bytes of the largest key), with_ttl, without_ttl,
    past_expiry.
    """
    table = _counted(held, _PLACE)
    whole = max(int(table["keys"].sum()), 1)
    octets = max(int(table["bytes"].sum()), 1)
    table = table.assign(share=table["keys"] / whole, share_bytes=table["bytes"] / octets)
    order = [*_PLACE, "keys", "share", "bytes", "share_bytes", "largest", "with_ttl", "without_ttl", "past_expiry"]
    return table.sort_values(["keys", "server", "db"], ascending=[False, True, True], ignore_index=True)[order]


def _counted(held: pd.DataFrame, groups: list[str]) -> pd.DataFrame:
    table = held.groupby(groups, dropna=False, observed=True).agg(
        keys=("bytes", "size"),
        bytes=("bytes", "sum"),
        largest=("bytes", "max"),
        with_ttl=("expires_at", "count"),
        past_expiry=("expired", "sum"),
    )
    table = table.reset_index().assign(without_ttl=lambda rows: rows["keys"] - rows["with_ttl"])
    words = {name: table[name].astype("str") for name in ("server", "family") if name in table}
    return table.assign(**words)


def meaning(family: str) -> str:
    """What a family is, in the words of ``families.FAMILIES``; empty for another name."""
    return FAMILIES[family].meaning if family in FAMILIES else ""


def databases(families: pd.DataFrame, counters: pd.DataFrame, looked_at: set[str]) -> pd.DataFrame:
    """Databases by server: columns server, db, keys, with_ttl, bytes, families (how many), and what INFO counted:
    info_keys, info_ttl, info_at, info_source.

    ``counters`` are those of each server's last INFO answer, ``looked_at`` the servers of which there is a snapshot:
    of others keys are missing. INFO's are where none was asked. Both count keys that are past their expiry and not yet
    removed.
    """
    seen = families.groupby(["server", "db"], dropna=False).agg(
        keys=("keys", "sum"), with_ttl=("with_ttl", "sum"), bytes=("bytes", "sum"), families=("family", "nunique")
    )
    parts = counters["counter"].str.extract(r"^db(\d{1,9})\.(keys|expires)$")
    told = counters.assign(db=pd.to_numeric(parts[0]).astype("Int64"), what=parts[1]).loc[parts[0].notna()]
    info = told.pivot_table(index=["server", "db"], columns="what", values="value", aggfunc="last", observed=True)
    info = info.reindex(columns=["keys", "expires"]).rename(columns={"keys": "info_keys", "expires": "info_ttl"})
    asked = told.groupby(["server", "db"], observed=True).agg(info_at=("at", "last"), info_source=("source", "last"))
    table = seen.reset_index().merge(info.join(asked).reset_index(), on=["server", "db"], how="outer")
    for name in ("keys", "with_ttl", "bytes", "families", "info_keys", "info_ttl"):
        table[name] = table[name].astype("Int64")
    # What a look did not find in a server that it looked at was not there.
    looked = table["server"].isin(looked_at)
    counted = ["keys", "with_ttl", "bytes", "families"]
    table.loc[looked, counted] = table.loc[looked, counted].fillna(0)
    return table.sort_values(["server", "db"], ignore_index=True)


def largest_keys(keys: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
    """The largest keys by serialized bytes: columns server, db, key, family, type, length, bytes, expires_at."""
    top = held["bytes"].fillna(0).astype("int64").nlargest(LARGEST).index
    columns = ["server", "db", "key", "family", "type", "length", "bytes", "expires_at"]
    return keys.loc[top, columns].reset_index(drop=True)


def by_state(stored: pd.DataFrame) -> pd.DataFrame:
    """Results held by state, most first: columns server, db, status, means, results, share (of its server and
    database's).
    """
    tasks = stored.loc[stored["kind"].eq("task"), ["server", "db", "status"]]
    tasks = tasks.assign(server=tasks["server"].astype("str"), status=tasks["status"].astype("str").fillna(NOT_READ))
    counted = tasks.groupby(["server", "db", "status"]).size().reset_index(name="results")
    whole = counted.groupby(["server", "db"])["results"].transform("sum")
    means = counted["status"].map(STATES).fillna("a state of the application's own")
    counted = counted.assign(means=means, share=counted["results"] / whole)
    ordered = counted.sort_values(["server", "db", "results"], ascending=[True, True, False], ignore_index=True)
    return ordered[["server", "db", "status", "means", "results", "share"]]


def by_name(stored: pd.DataFrame, messages: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Tasks by name, most first: columns name; succeeded, failed, other of the results held; waiting and unacked of
    the messages; log_succeeded, log_failed, log_retried of the lines of worker logs.

    A result has its task's name only with ``result_extended``; else the log tells it, where the task is in one.
    """
    tasks = stored.loc[stored["kind"].eq("task"), ["task_id", "status", "name"]]
    known = events.loc[events["task_id"].notna() & events["name"].notna(), ["task_id", "name", "kind"]]
    name = tasks["name"].astype("str")
    if len(known) and name.isna().any():
        logged = known.drop_duplicates("task_id").set_index("task_id")["name"]
        name = name.fillna(tasks["task_id"].map(logged).astype("str"))
    status = tasks["status"].astype("str").map({"SUCCESS": "succeeded", "FAILURE": "failed"}).fillna("other")
    state = messages["state"].map({"queued": "waiting", "unacked": "unacked"})
    kinds = {"succeeded": "log_succeeded", "failed": "log_failed", "retried": "log_retried"}
    counted = [
        _crossed(name.fillna(NO_NAME), status),
        _crossed(messages["name"].fillna(NO_NAME), state),
        _crossed(known["name"], known["kind"].map(kinds)),
    ]
    columns = ["succeeded", "failed", "other", "waiting", "unacked", *kinds.values()]
    table = pd.concat(counted).groupby(["name", "what"])["tasks"].sum().unstack()
    table = table.reindex(columns=columns).fillna(0).astype("int64")
    order = table.sum(axis=1).sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index().rename_axis(columns=None)[["name", *columns]]


def _crossed(name: pd.Series, what: pd.Series) -> pd.DataFrame:
    rows = pd.DataFrame({"name": name.astype("str"), "what": what.astype("str")}).dropna()
    return rows.groupby(["name", "what"]).size().reset_index(name="tasks")


def before_last(shots: pd.DataFrame) -> pd.DataFrame:
    """The look before the last at each server, where both are dated and their order is known: rows of ``looks``."""
    dated = shots.loc[shots["taken_at"].notna()]
    last = dated["taken_at"].where(dated["latest"]).groupby(dated["server"]).transform("max")
    earlier = dated.loc[dated["taken_at"] < last]
    return earlier.groupby("server").tail(1)


def growth(keys: pd.DataFrame, shots: pd.DataFrame, families: pd.DataFrame) -> pd.DataFrame:
    """Keys by family at the look before the last and at the last: columns server, db, family, then, now, change,
    bytes_then, bytes_now, before, before_at, most changed first. Empty where no server has two dated looks.
    """
    earlier = before_last(shots)
    columns = ["snapshot", "server", "db", "family", "bytes", "expires_at", "expired"]
    was = _counted(keys.loc[keys["snapshot"].isin(earlier["snapshot"]), columns], _PLACE)
    names = {"keys": "then", "bytes": "bytes_then"}
    was = was.rename(columns=names)[[*_PLACE, *names.values()]]
    now = families.rename(columns={"keys": "now", "bytes": "bytes_now"})[[*_PLACE, "now", "bytes_now"]]
    table = was.merge(now.loc[now["server"].isin(earlier["server"])], on=_PLACE, how="outer")
    for name in ("then", "now", "bytes_then", "bytes_now"):
        table[name] = table[name].astype("Int64").fillna(0)
    looks = earlier[["server", "snapshot", "taken_at"]].rename(columns={"snapshot": "before", "taken_at": "before_at"})
    table = table.assign(change=table["now"] - table["then"]).merge(looks, on="server", how="left")
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    chosen = [*_PLACE, "then", "now", "change", "bytes_then", "bytes_now", "before", "before_at"]
    return table.loc[order, chosen].reset_index(drop=True)

"""The keys that the last snapshot of each server holds, and when each was stored, as far as anything measures it.

In: the frames of a case, and ``bulk.looks``. Out: a frame of keys and one of times of storing. What a key's expiry
would say of its storing is never taken: a retention measured by it would find what it assumed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.findings.bulk import in_latest
from analysis.findings.moment import SLACK
from analysis.findings.words import count

# What measures a time of storing; ``expiry`` in ``tasks.stored_from`` does not.
_MEASURED = ("log", "command", "date_done")
# Witnesses that put their own time to a command. Those of an append-only file are narrowed by the expiries themselves
# (``celery.deeds``), so they cannot measure a life.
_OWN_CLOCK = ("MONITOR log", "keyspace log")
_WRITES = ("set", "setex", "psetex", "hset", "hmset", "hsetnx", "getset", "restore")
_ENDED = ("succeeded", "failed")
_KINDS = {"task": "result", "group": "group_result"}

COLUMNS = [
    "server", "snapshot", "db", "key", "family", "shown", "name", "stored_at", "stored_from", "expires_at", "seconds",
    "taken_at",
]  # fmt: skip


def held_keys(keys: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """``keys`` of the last snapshot of each server, with ``taken_at`` (missing where it has no time), ``shown`` (the
    family's name for people, behind the server's where there are several) and ``remaining`` (seconds from then to the
    expiry, missing without either).
    """
    held = in_latest(keys, shots)
    times = dict(zip(shots["snapshot"].astype(str), shots["taken_at"], strict=True))
    taken = pd.to_datetime(held["snapshot"].astype("category").cat.rename_categories(str).map(times), utc=True)
    taken = pd.Series(taken, index=held.index).astype("datetime64[us, UTC]")
    remaining = (held["expires_at"] - taken).dt.total_seconds()
    return held.assign(taken_at=taken, shown=shown_name(held), remaining=remaining)


def shown_name(rows: pd.DataFrame) -> pd.Series:
    """What a family is called for people: ``result``, or ``staging: result`` where there are several servers."""
    family = rows["family"].astype("category").cat.rename_categories(str)
    if rows["server"].nunique() < 2:
        return family
    server = rows["server"].astype(object).where(rows["server"].astype(object).ne(""), "(unnamed)")
    return (server + ": " + family.astype(object)).astype("category")


def when_stored(
    held: pd.DataFrame, tasks: pd.DataFrame, jobs: pd.DataFrame, events: pd.DataFrame, commands: pd.DataFrame
) -> pd.DataFrame:
    """A row for each key of ``held`` whose time of storing was measured: ``COLUMNS``; ``seconds`` from storing to
    expiry, missing without a TTL.

    ``stored_from``: date_done (of a result, the worker's clock, milliseconds before it is written), log (its end in a
    worker's log, where the value cannot be read), created_at (of a job record: a later write may have renewed its TTL)
    or command (of MONITOR and keyspace logs). ``tasks`` and ``jobs`` may hold other snapshots too.
    """
    shots = set(held["snapshot"].astype(str).unique())
    records = [
        _results(tasks.loc[tasks["snapshot"].astype(str).isin(shots)], events, held),
        _jobs(jobs.loc[jobs["snapshot"].isin(shots)], events),
    ]
    told = [part for part in records if len(part)]
    told += [part for part in [_by_commands(held, told, commands)] if len(part)]
    if not told:
        return pd.DataFrame(columns=COLUMNS).astype({"stored_at": held["taken_at"].dtype, "seconds": "float64",
            "expires_at": held["taken_at"].dtype, "taken_at": held["taken_at"].dtype})  # fmt: skip
    found = pd.concat(told, ignore_index=True) if len(told) > 1 else told[0].reset_index(drop=True)
    times = held.drop_duplicates("snapshot").set_index(held.drop_duplicates("snapshot")["snapshot"].astype(str))
    several = held["server"].nunique() > 1
    found = found.assign(
        family=found["family"].astype("category"),
        taken_at=pd.to_datetime(found["snapshot"].astype(str).map(times["taken_at"]), utc=True).astype(
            "datetime64[us, UTC]"
        ),
        seconds=(found["expires_at"] - found["stored_at"]).dt.total_seconds(),
    )
    found["shown"] = shown_name(found) if several and found["server"].nunique() > 1 else _one_server(found, several)
    return found[COLUMNS]


def _one_server(found: pd.DataFrame, several: bool) -> pd.Series:
    server = str(found["server"].iloc[0]) or "(unnamed)"
    return found["family"].cat.rename_categories(lambda name: f"{server}: {name}" if several else str(name))


_TAKEN = ["server", "snapshot", "db", "key", "expires_at"]


def _results(tasks: pd.DataFrame, events: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
    measured = tasks["stored_from"].isin(_MEASURED) & tasks["stored_at"].notna()
    rows = tasks[[*_TAKEN, "task_id", "name"]].assign(
        family=tasks["kind"].map(_KINDS),
        stored_at=tasks["stored_at"].where(measured),
        stored_from=tasks["stored_from"].astype(object).where(measured),
    )
    # A value that cannot be read tells no time; its task's end in a log does. One that is still running has no end.
    unread = rows["stored_at"].isna() & tasks["kind"].eq("task") & tasks["status"].isna()
    if unread.any() and len(ends := events.loc[events["kind"].isin(_ENDED) & events["task_id"].notna()]):
        last = ends.groupby("task_id")["at"].max()
        at = rows.loc[unread, "task_id"].map(last)
        late = held.groupby("snapshot", observed=True)["taken_at"].first() + SLACK
        at = at.where(at <= rows.loc[unread, "snapshot"].astype(str).map(late.rename(index=str)))
        rows.loc[at.index, "stored_at"] = at
        rows.loc[at.index[at.notna()], "stored_from"] = "log"
    return _named(rows.loc[rows["stored_at"].notna()], events)


def _jobs(jobs: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    rows = jobs.loc[jobs["created_at"].notna(), [*_TAKEN, "task_id", "created_at"]]
    family = rows["key"].str.startswith("rq:job:").map({True: "rq_job", False: "job"})
    rows = rows.rename(columns={"created_at": "stored_at"}).assign(
        family=family, stored_from="created_at", name=pd.Series(pd.NA, index=rows.index, dtype="str")
    )
    return _named(rows, events)


def _named(rows: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """With the task's name from the logs, where the record has none."""
    names = events.loc[events["task_id"].notna() & events["name"].notna()].drop_duplicates("task_id")
    unnamed = rows["name"].isna()
    if not len(names) or not unnamed.any():
        return rows.drop(columns="task_id")
    known = names.set_index("task_id")["name"]
    told = rows.loc[unnamed, "task_id"].map(known)
    return rows.assign(name=rows["name"].astype(object).where(~unnamed, told.reindex(rows.index))).drop(
        columns="task_id"
    )


def _by_commands(held: pd.DataFrame, told: list[pd.DataFrame], commands: pd.DataFrame) -> pd.DataFrame:
    """Keys whose last write before the snapshot a recording saw, of those that tell no time themselves."""
    seen = commands.loc[commands["witness"].isin(_OWN_CLOCK) & commands["not_after"].notna()]
    seen = seen.loc[seen["verb"].astype(str).str.lower().isin(_WRITES)]
    seen = seen.loc[seen["keys"].list.len().fillna(0).gt(0).to_numpy(dtype=bool)] if len(seen) else seen
    if not len(seen):
        return pd.DataFrame(columns=[*_TAKEN, "family", "name", "stored_at", "stored_from"])
    writes = pd.DataFrame(
        {
            "server": seen["server"].astype(str),
            "db": seen["db"].astype("Int64"),
            "key": seen["keys"].list[0].astype("str"),
            "stored_at": seen["not_after"],
        }
    )
    names = set(writes["key"])
    own = [part.loc[part["key"].isin(names)] for part in told]
    known = {(str(a), b, c) for part in own for a, b, c in zip(part["snapshot"], part["db"], part["key"], strict=True)}
    rows = held.loc[held["key"].isin(names), [*_TAKEN, "family", "taken_at"]].assign(
        server=lambda some: some["server"].astype(str)
    )
    both = rows.merge(writes, on=["server", "db", "key"])
    both = both.loc[both["stored_at"].le(both["taken_at"] + SLACK)].sort_values("stored_at", kind="stable")
    last = both.drop_duplicates(["snapshot", "db", "key"], keep="last")
    new = [(str(a), b, c) not in known for a, b, c in zip(last["snapshot"], last["db"], last["key"], strict=True)]
    return last.loc[new].drop(columns="taken_at").assign(stored_from="command", name=pd.NA)


def observable(held: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """How far the retention of each family can be measured: columns family, keys, with_ttl, measured, says."""
    rows = []
    measured = stored.loc[stored["seconds"].notna()].groupby("shown", observed=True)["stored_from"].value_counts()
    late = stored.loc[stored["stored_at"].gt(stored["taken_at"] + SLACK)]["shown"].value_counts()
    for shown, group in held.groupby("shown", observed=True):
        by = measured[shown] if shown in measured.index.get_level_values(0) else pd.Series(dtype=int)
        with_ttl = int(group["expires_at"].notna().sum())
        rows.append(
            {
                "family": str(shown),
                "keys": len(group),
                "with_ttl": with_ttl,
                "measured": int(by.sum()),
                "says": "; ".join(_coverage(with_ttl, by, int(late.get(shown, 0)))),
            }
        )
    frame = pd.DataFrame(rows, columns=["family", "keys", "with_ttl", "measured", "says"])
    return frame.sort_values(["measured", "keys"], ascending=False, kind="stable", ignore_index=True)


def _coverage(with_ttl: int, by: pd.Series, late: int) -> Iterator[str]:
    if not with_ttl:
        yield "no key has a TTL"
    elif not len(by):
        yield "not observable: only the expiry is known, and it measures no retention"
    else:
        yield from (f"{number:,} by {source}" for source, number in by.items())
        if left := with_ttl - int(by.sum()):
            yield f"not observable for {count(left, 'key')}"
    if late:
        yield f"{late:,} stored after the snapshot, by their own time: clocks or zones differ"

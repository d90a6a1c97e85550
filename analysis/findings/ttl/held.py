"""The keys that the last snapshot of each server holds, and when each was stored, as far as anything measures it.

In: the frames of a case, and ``bulk.looks``. Out: a frame of keys and one of times of storing. What a key's expiry
would say of its storing is never taken: a retention measured by it would find what it assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from analysis.findings.moment import SLACK
from analysis.findings.words import count
from analysis.frames import TIME

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


def held_keys(keys: pd.DataFrame, shots: pd.DataFrame, others: Iterable[str] = ()) -> pd.DataFrame:
    """The keys in the last snapshot of each server: columns server, snapshot, db, key, bytes, family and expires_at of
    ``keys``, with ``taken_at`` (missing where it has no time), ``shown`` (the family's name for people, behind the
    server's where there are several, with ``others``) and ``remaining`` (seconds from then to the expiry, missing
    without either).
    """
    latest = set(shots.loc[shots["latest"], "snapshot"].astype(str))
    held = _of(keys[["server", "snapshot", "db", "key", "bytes", "family", "expires_at"]], latest)
    held = _as_words(held, "server", "snapshot", "family")
    taken = _by_snapshot(held, dict(zip(shots["snapshot"].astype(str), shots["taken_at"], strict=True)))
    remaining = (held["expires_at"] - taken).dt.total_seconds()
    shown = shown_name(held, len({*held["server"].unique(), *others}) > 1)
    return held.assign(taken_at=taken, shown=shown, remaining=remaining)


def kept_keys(tasks: pd.DataFrame, jobs: pd.DataFrame, evidence: pd.DataFrame) -> pd.DataFrame:
    """The records that archives kept, in the columns of ``held_keys`` that ``when_stored`` needs; ``taken_at`` is when
    the snapshot was taken that held them.
    """
    archives = evidence.loc[evidence["kind"].eq("archive")]
    times = dict(zip(archives["path"].astype(str), archives["to"], strict=True))
    results, records = (_of(part, set(times)) for part in (tasks, jobs))
    parts = (
        results[_TAKEN].assign(family=results["kind"].map(_KINDS)),
        records[_TAKEN].assign(family=_family_of_job(records["key"])),
    )
    rows = pd.concat([part.astype({"server": "str", "snapshot": "str", "family": "str"}) for part in parts])
    rows = _as_words(rows.reset_index(drop=True), "server", "snapshot", "family")
    return rows.assign(taken_at=_by_snapshot(rows, times))


def without(kept: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``when_stored`` of archives that are not in that of snapshots as well."""
    if not len(kept):
        return kept
    same = [name for name in _TAKEN if name != "snapshot"]
    one, two = (pd.MultiIndex.from_frame(rows[same].astype({"server": "str"})) for rows in (kept, stored))
    return kept.loc[~one.isin(two)]


def _of(rows: pd.DataFrame, snapshots: set[str]) -> pd.DataFrame:
    """The rows of these snapshots; of a million, no copy where that is all of them."""
    inside = rows["snapshot"].isin(snapshots).to_numpy(dtype=bool)
    return (rows if inside.all() else rows.loc[inside]).reset_index(drop=True)


def _as_words(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    return rows.astype({name: "category" for name in names if not isinstance(rows[name].dtype, pd.CategoricalDtype)})


def _by_snapshot(rows: pd.DataFrame, times: Mapping[str, pd.Timestamp]) -> pd.Series:
    """The time of each row's snapshot."""
    of_each = [times.get(str(name), pd.NaT) for name in rows["snapshot"].cat.categories]
    known = np.array([np.datetime64("NaT") if pd.isna(at) else np.datetime64(at.tz_localize(None), "us")
                      for at in (*of_each, pd.NaT)], dtype="datetime64[us]")  # fmt: skip
    return pd.Series(known[rows["snapshot"].cat.codes.to_numpy()], index=rows.index).dt.tz_localize("UTC")


def shown_name(rows: pd.DataFrame, several: bool) -> pd.Series:
    """What a family is called for people: ``result``, or ``staging: result`` where there are several servers. Both
    columns hold words.
    """
    family, server = rows["family"].cat, rows["server"].cat
    if not several:
        return family.rename_categories(str)
    families, servers = [*map(str, family.categories)], [str(name) or "(unnamed)" for name in server.categories]
    codes = server.codes.to_numpy().astype(np.int64) * len(families) + family.codes.to_numpy()
    names = pd.CategoricalDtype([f"{one}: {two}" for one in servers for two in families])
    return pd.Series(pd.Categorical.from_codes(codes, dtype=names), index=rows.index)


def when_stored(
    held: pd.DataFrame,
    tasks: pd.DataFrame,
    jobs: pd.DataFrame,
    events: pd.DataFrame,
    commands: pd.DataFrame,
    *,
    several: bool = False,
) -> pd.DataFrame:
    """A row for each key of ``held`` whose time of storing was measured: ``COLUMNS``; ``seconds`` from storing to
    expiry, missing without a TTL.

    ``stored_from``: date_done (of a result, the worker's clock, milliseconds before it is written), log (its end in a
    worker's log, where the value cannot be read), created_at (of a job record: a later write may have renewed its TTL)
    or command (of MONITOR and keyspace logs). ``tasks`` and ``jobs`` may hold other snapshots too. ``several``:
    families are shown with their server.
    """
    first = ~held["snapshot"].duplicated()
    times = dict(zip(held.loc[first, "snapshot"].astype(str), held.loc[first, "taken_at"], strict=True))
    told = [_results(_of(tasks[_OF_A_RESULT], set(times)), events, times), _jobs(_of(jobs, set(times)), events)]
    parts = [*told, _by_commands(held, told, commands)]
    return _measured(parts, times, several)


def _measured(parts: list[pd.DataFrame], times: Mapping[str, pd.Timestamp], several: bool) -> pd.DataFrame:
    told = [_as_words(part, *_WORDS) for part in parts if len(part)]
    if not told:
        empty = pd.DataFrame(columns=COLUMNS).astype(dict.fromkeys((*_WORDS, "shown"), "category"))
        return empty.astype(dict.fromkeys(("stored_at", "expires_at", "taken_at"), TIME)).astype({"seconds": "float64"})
    found = joined(told)
    return found.assign(
        taken_at=_by_snapshot(found, times),
        seconds=(found["expires_at"] - found["stored_at"]).dt.total_seconds(),
        shown=shown_name(found, several),
    )[COLUMNS]


def joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One under the other, words as words."""
    for name in [name for name in (*_WORDS, "shown") if name in parts[0] and len(parts) > 1]:
        known = list(dict.fromkeys(word for part in parts for word in part[name].cat.categories))
        parts = [part.assign(**{name: part[name].cat.set_categories(known)}) for part in parts]
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0].reset_index(drop=True)


_WORDS = ("server", "snapshot", "family", "name", "stored_from")
_TAKEN = ["server", "snapshot", "db", "key", "expires_at"]
_OF_A_RESULT = [*_TAKEN, "task_id", "kind", "status", "name", "stored_at", "stored_from"]


def _results(tasks: pd.DataFrame, events: pd.DataFrame, times: Mapping[str, pd.Timestamp]) -> pd.DataFrame:
    tasks = _as_words(tasks, "snapshot", "kind", "stored_from")
    measured = tasks["stored_from"].isin(_MEASURED) & tasks["stored_at"].notna()
    rows = tasks.drop(columns=["kind", "status"]).assign(
        family=tasks["kind"].cat.rename_categories(_KINDS),
        stored_at=tasks["stored_at"].where(measured),
    )
    # A value that cannot be read tells no time; its task's end in a log does. One that is still running has no end.
    unread = rows["stored_at"].isna() & tasks["kind"].eq("task") & tasks["status"].isna()
    if unread.any() and len(ends := events.loc[events["kind"].isin(_ENDED) & events["task_id"].notna()]):
        at = rows.loc[unread, "task_id"].map(ends.groupby("task_id")["at"].max())
        at = at.where(at <= _by_snapshot(rows.loc[unread], times) + SLACK)
        rows.loc[at.index, "stored_at"] = at
        logged = at.index[at.notna()]
        rows["stored_from"] = rows["stored_from"].cat.set_categories(["log", *_MEASURED[1:]])
        rows.loc[logged, "stored_from"] = "log"
    known = rows["stored_at"].notna().to_numpy(dtype=bool)
    return _named(rows if known.all() else rows.loc[known], events)


def _jobs(jobs: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    rows = jobs.loc[jobs["created_at"].notna(), [*_TAKEN, "task_id", "created_at"]]
    family = _family_of_job(rows["key"])
    rows = rows.rename(columns={"created_at": "stored_at"}).assign(
        family=family, stored_from="created_at", name=pd.Series(pd.NA, index=rows.index, dtype="str")
    )
    return _named(rows, events)


def _family_of_job(keys: pd.Series) -> pd.Series:
    return keys.str.startswith("rq:job:").map({True: "rq_job", False: "job"})


def _named(rows: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """With the task's name from the logs, where the record has none."""
    names = events.loc[events["task_id"].notna() & events["name"].notna()].drop_duplicates("task_id")
    unnamed = rows["name"].isna()
    if not len(names) or not unnamed.any():
        return rows.drop(columns="task_id")
    told = rows.loc[unnamed, "task_id"].map(names.set_index("task_id")["name"])
    known = rows["name"].astype(object).where(~unnamed, told.reindex(rows.index))
    return rows.assign(name=known).drop(columns="task_id")


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
    rows = held.loc[held["key"].isin(names), [*_TAKEN, "family", "taken_at"]].astype({"server": "str"})
    both = rows.merge(writes, on=["server", "db", "key"])
    both = both.loc[both["stored_at"].le(both["taken_at"] + SLACK)].sort_values("stored_at", kind="stable")
    last = both.drop_duplicates(["snapshot", "db", "key"], keep="last")
    new = [(str(a), b, c) not in known for a, b, c in zip(last["snapshot"], last["db"], last["key"], strict=True)]
    return last.loc[new].drop(columns="taken_at").assign(stored_from="command", name=pd.Series(dtype="str"))


def observable(held: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """How far the retention of each family can be measured: columns family, keys, with_ttl, measured, says."""
    rows = []
    lives = stored[["shown", "stored_from"]].loc[stored["seconds"].notna()]
    measured = lives.groupby("shown", observed=True)["stored_from"].value_counts()
    measured = measured[measured > 0]
    late = stored["shown"].loc[stored["stored_at"].gt(stored["taken_at"] + SLACK)].value_counts()
    for shown, group in held[["shown", "expires_at"]].groupby("shown", observed=True):
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

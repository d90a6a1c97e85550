"""The finding on TTLs in a few sentences: what is held, how long it lives, what lacks a TTL, what expires at once.

In: small frames of the other rooms. Out: text. Names of servers in it are the data's.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.findings.ttl.force import SAME, lived
from analysis.findings.words import at, count, duration, on

# An hour in which this share of the keys, and so many, expire is worth a sentence on the first screen.
_MUCH, _MANY = 0.25, 20
_MOST_SERVERS = 3
_NOUNS = {"result": "results", "job": "job records", "group_result": "saved groups"}


def headline(
    held: pd.DataFrame,
    latest: pd.DataFrame,
    force: pd.DataFrame,
    changes: pd.DataFrame,
    endless: pd.DataFrame,
    hours: pd.DataFrame,
    archived: int,
) -> str:
    """``latest``: the last snapshot of each server; ``endless``: counts of keys that should have a TTL; ``hours``: of
    the forecast; ``archived``: how many records only archives have.
    """
    if not len(held) and not archived:
        where = f"{_when(latest)}, no key was held" if len(latest) else "There is no key in the evidence"
        return f"{where}, so nothing can be said about TTLs."
    if not len(held):
        kept = (
            f"No snapshot of this case holds a key; archives kept {count(archived, 'record')} that say when they were "
        )
        kept += "stored."
        return " ".join([kept, *_in_force(held, force, changes)])
    said = [_held(held, latest), *_in_force(held, force, changes)]
    if len(endless):
        number = int(endless["keys"].sum())
        said.append(f"{count(number, 'key has', 'keys have')} no TTL and should have one.")
    elif len(hours):
        per_hour = hours.groupby("hour")["keys"].sum()
        hour, most = per_hour.idxmax(), int(per_hour.max())
        if most >= max(_MANY, _MUCH * int(held["remaining"].gt(0).sum())):
            said.append(f"{most:,} keys expire in the hour from {on(hour)} on.")
    return " ".join(said)


def _when(latest: pd.DataFrame) -> str:
    moments = latest["taken_at"].dropna()
    if len(latest) == 1:
        return f"At {at(moments.iloc[0])}" if len(moments) else f"In the undated {latest['snapshot'].iloc[0]}"
    up_to = f", up to {at(moments.max())}" if len(moments) else ""
    return f"In the last snapshots of {len(latest)} servers{up_to}"


def _held(held: pd.DataFrame, latest: pd.DataFrame) -> str:
    when = _when(latest)
    without, keys = int(held["expires_at"].isna().sum()), count(len(held), "key")
    if len(held) == 1:
        told = f"{when}, the only key had {'no' if without else 'a'} TTL"
    elif without in (0, len(held)):
        told = f"{when}, {'none' if without else 'all'} of {keys} had a TTL"
    else:
        told = f"{when}, {len(held) - without:,} of {keys} had a TTL and {without:,} had none"
    past = int(held["remaining"].le(0).sum())
    return told + (f"; {past:,} {'was' if past == 1 else 'were'} past expiry and still in the file." if past else ".")


def _in_force(held: pd.DataFrame, force: pd.DataFrame, changes: pd.DataFrame) -> Iterator[str]:
    """What is in force for what most is known of; of several servers, for the same on each."""
    whole = force.loc[force["name"].isna()] if len(force) else force
    if not len(whole):
        if held["expires_at"].notna().any():
            yield "How long keys are kept is not observable: nothing says when those with a TTL were stored."
        return
    most = whole.sort_values("keys", ascending=False, kind="stable")
    family = str(most["family"].iloc[0]).rpartition(": ")[2]
    same = most.loc[[str(name).rpartition(": ")[2] == family for name in most["family"]]]
    for _, row in same.head(_MOST_SERVERS).iterrows():
        yield _of_one(row, changes.loc[changes["family"].eq(row["family"]) & changes["name"].isna()])
    if len(same) > _MOST_SERVERS:
        yield f"{count(len(same) - _MOST_SERVERS, 'further server is', 'further servers are')} in the table."


def _of_one(row: pd.Series, changed: pd.DataFrame) -> str:
    server, _, family = str(row["family"]).rpartition(": ")
    noun, keys = _NOUNS.get(family, f"{family} keys") + (f" on {server}" if server else ""), int(row["keys"])
    first = noun[:1].upper() + noun[1:]
    off = int(row["outlive"]) + int(row["short"])
    stated, observed = row["stated"], row["observed"]
    since = ""
    if len(changed):
        last = changed.iloc[-1]
        since = f", and those stored from {on(last['first_after'])} on live {lived(last['to_seconds'])}"
    if pd.notna(stated) and stated and not off:
        every = f"all {keys:,} that say" if keys > 1 else "the only one that says"
        return f"{first} live {duration(stated)}, as stated ({every} when they were stored)."
    if pd.notna(stated) and stated:
        common = f"; most live {lived(observed)}" if pd.notna(observed) and abs(observed - stated) > SAME else ""
        return f"Stated for {noun} is {duration(stated)}, and {off:,} of {keys:,} live otherwise{common}{since}."
    if pd.notna(observed):
        share = f"{round(row['share'] * keys):,} of {keys:,}"
        return f"{first} live {lived(observed)} ({share} that say when they were stored){since}; " + (
            "stated is that they stay until removed." if pd.notna(stated) else "no retention is stated."
        )
    return f"{first} have no TTL in common."

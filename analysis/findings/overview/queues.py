"""Queues and what workers hold: how many messages wait where, since when the next one, and the oldest unacknowledged.

In: frames ``keys``, ``messages`` and ``commands``, ``bulk.looks``, and the queues that routing tables name. Out: small
frames over the last look at each server. A message does not say when it was sent: only another witness does.
"""

from __future__ import annotations

import pandas as pd

from analysis.findings.bulk import in_latest
from analysis.findings.deeds import place_of
from analysis.findings.overview.held import before_last, taken_at
from analysis.frames import words_in

OLDEST = 10
_LIST = ["server", "db", "key"]
_PUSHES = ("LPUSH", "RPUSH")


def queue_depths(
    keys: pd.DataFrame,
    messages: pd.DataFrame,
    commands: pd.DataFrame,
    shots: pd.DataFrame,
    declared: pd.DataFrame,
) -> pd.DataFrame:
    """Each queue's lists, the deepest first: columns server, db, queue, priority, waiting, then (waiting at the look
    before, missing without one), with_eta, past_expires (messages whose ``expires`` had come: a worker discards them),
    next_task (the ID of the message that is taken next), since, since_from, expires_at (of the list itself), key.

    A queue of ``declared`` (columns server, db, queue) that has no list has none waiting: Redis removes an empty list.
    ``since`` is the latest time by which the next message is known to have waited: it was sent, or an earlier look
    held it; missing where neither tells.
    """
    lists = keys.loc[keys["family"].eq("queue"), ["server", "snapshot", "db", "key", "length", "expires_at"]]
    last = in_latest(lists, shots).assign(server=lambda rows: rows["server"].astype("str"))
    table = last.rename(columns={"length": "waiting"}).reset_index(drop=True)
    mine = in_latest(messages.loc[messages["state"].eq("queued")], shots)
    table = table.merge(_of_lists(mine, shots), on=_LIST, how="left")
    table["queue"] = table["queue"].fillna(table["key"])
    table = table.merge(_then(lists, shots), on=_LIST, how="left").merge(
        _since(mine, messages, commands, shots), how="left"
    )
    empty = declared.merge(table[["server", "db", "queue"]].drop_duplicates(), how="left", indicator="there")
    empty = empty.loc[empty["there"].eq("left_only")].drop(columns="there").assign(waiting=0, priority=0)
    order = ["server", "db", "queue", "priority", "waiting", "then", "with_eta", "past_expires", "next_task", "since",
             "since_from", "expires_at", "key"]  # fmt: skip
    table = pd.concat([table, empty.astype({"db": "Int64"})]) if len(empty) else table
    table = table.reindex(columns=order)
    for name in ("waiting", "priority", "with_eta", "past_expires"):
        table[name] = table[name].astype("Int64").fillna(0)
    for name in ("since", "expires_at"):
        table[name] = pd.to_datetime(table[name], utc=True).astype("datetime64[us, UTC]")
    return table.sort_values(["waiting", "server", "queue", "priority"], ascending=[False, True, True, True],
                             ignore_index=True)  # fmt: skip


def _of_lists(mine: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """By list, what its messages tell."""
    told = mine.assign(with_eta=mine["eta"].notna(), past_expires=mine["expires"].le(taken_at(mine, shots)))
    told = told.sort_values("position", kind="stable", na_position="first")
    found = told.groupby(_LIST).agg(
        queue=("queue", "first"),
        priority=("priority", "first"),
        with_eta=("with_eta", "sum"),
        past_expires=("past_expires", "sum"),
        next_task=("task_id", "last"),
    )
    return found.reset_index()


def _then(lists: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """How many waited in each list at the look before the last; a list that was not there held none."""
    before = before_last(shots)
    was = lists.loc[lists["snapshot"].isin(before["snapshot"])].assign(server=lambda rows: rows["server"].astype("str"))
    now = in_latest(lists, shots).assign(server=lambda rows: rows["server"].astype("str"))
    places = now.loc[now["server"].isin(before["server"]), _LIST]
    then = places.merge(was[[*_LIST, "length"]].rename(columns={"length": "then"}), how="left")
    return then.assign(then=then["then"].astype("Int64").fillna(0))


def _since(mine: pd.DataFrame, messages: pd.DataFrame, commands: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """By list, the time by which the message that is taken next is known to have waited, and what tells it."""
    # kombu pushes at the head and pops at the tail (LPUSH, BRPOP): the last element is the next, and as a rule oldest.
    heads = mine.sort_values("position", kind="stable").groupby(_LIST).tail(1)
    wanted = set(heads["task_id"].dropna())
    pushed = commands.loc[
        words_in(commands["verb"], _PUSHES) & commands["task_id"].isin(wanted).to_numpy(dtype=bool)
        & commands["not_after"].notna().to_numpy(dtype=bool)
    ]  # fmt: skip
    sent = pd.DataFrame(
        {
            "server": pushed["server"].astype("str"),
            "task_id": pushed["task_id"],
            "since": pushed["not_after"],
            "since_from": [f"sent: {place_of(row)}" for _, row in pushed.iterrows()],
        }
    )
    earlier = shots.loc[~shots["latest"] & ~shots["tied"] & shots["taken_at"].notna()]
    held = messages.loc[
        messages["task_id"].isin(wanted) & messages["state"].eq("queued")
        & messages["snapshot"].isin(earlier["snapshot"])
    ]  # fmt: skip
    seen = pd.DataFrame(
        {
            "server": held["server"],
            "task_id": held["task_id"],
            "since": taken_at(held, shots),
            "since_from": "already waiting in " + held["snapshot"],
        }
    )
    told = pd.concat([part for part in (sent, seen) if len(part)] or [sent]).sort_values("since", kind="stable")
    first = told.drop_duplicates(["server", "task_id"])
    return heads[[*_LIST, "task_id"]].merge(first, on=["server", "task_id"])[[*_LIST, "since", "since_from"]]


def held_by_workers(messages: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """Unacknowledged messages by server, database and queue: columns server, db, queue, held, redelivered, undated,
    oldest_at, oldest_task, oldest_name, age (seconds from then to the look; missing where either has no time), at.
    """
    mine = oldest_unacked(messages, shots, limit=None)
    groups = mine.groupby(["server", "db", "queue"], dropna=False)
    table = groups.agg(
        held=("state", "size"),
        redelivered=("redelivered", "sum"),
        oldest_at=("reserved_at", "min"),
        undated=("reserved_at", lambda times: int(times.isna().sum())),
        oldest_task=("task_id", "first"),
        oldest_name=("name", "first"),
        age=("age", "max"),
        at=("at", "first"),
    ).reset_index()
    order = [
        "server",
        "db",
        "queue",
        "held",
        "redelivered",
        "undated",
        "oldest_at",
        "oldest_task",
        "oldest_name",
        "age",
        "at",
    ]
    return table.sort_values("held", ascending=False, kind="stable", ignore_index=True)[order]


def oldest_unacked(messages: pd.DataFrame, shots: pd.DataFrame, limit: int | None = OLDEST) -> pd.DataFrame:
    """The unacknowledged messages that workers have held longest, oldest first, the undated last: columns server, db,
    queue, task_id, name, reserved_at, age (seconds up to the look), redelivered, eta, key, state, at.
    """
    mine = in_latest(messages.loc[messages["state"].eq("unacked")], shots)
    mine = mine.assign(at=taken_at(mine, shots))
    mine["age"] = (mine["at"] - mine["reserved_at"]).dt.total_seconds()
    ordered = mine.sort_values("reserved_at", kind="stable", na_position="last", ignore_index=True)
    columns = [
        "server",
        "db",
        "queue",
        "task_id",
        "name",
        "reserved_at",
        "age",
        "redelivered",
        "eta",
        "key",
        "state",
        "at",
    ]
    return ordered[columns] if limit is None else ordered[columns].head(limit)

"""The way of a task's message through its queue, as commands show it: sent, popped, reserved, acknowledged, or lost.

In: the frame ``commands`` and the rows of one task. Out: a ``Journey``. Weighs nothing.

A worker's BRPOP is written as RPOP, its reservation as ``ZADD unacked_index`` and ``HSET unacked``, its
acknowledgement as ``ZREM`` and ``HDEL`` (facts/causes.md 1.2); a message that is given back is pushed again.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.findings.deeds import STREAMS, Fate, end_of_key, listed_keys, place_of, rows_of_stream, stream_of
from analysis.frames import words_in

_PUSHES = frozenset(("LPUSH", "RPUSH", "LPUSHX", "RPUSHX"))
_POPS = frozenset(("RPOP", "LPOP", "BRPOP", "LREM", "RPOPLPUSH", "BRPOPLPUSH", "LMOVE", "BLMOVE"))
_TAKES = frozenset(("HSET", "HSETNX", "HMSET"))
_ACKS = frozenset(("HDEL",))
_STEPS = {"sent": _PUSHES, "popped": _POPS, "reserved": _TAKES, "acked": _ACKS}


@dataclass(frozen=True)
class Journey:
    """One stream's account. ``first`` is the row that sent the message, ``last`` the last step's, ``state`` what that
    was: sent, popped, reserved or acked. ``went_on`` says whether the stream holds anything later than the last step.

    ``gone`` is what then took the queue, or the hash of the reserved, away with the message in it, if anything did.
    """

    state: str
    first: pd.Series
    last: pd.Series
    went_on: bool
    gone: Fate | None

    @property
    def in_stream(self) -> bool:
        """Whether its witness holds every write, what the server does by itself too."""
        return self.last["witness"] in STREAMS

    @property
    def source(self) -> str:
        return place_of(self.last)

    @property
    def list_key(self) -> str:
        """The list or hash in which the message was last put, or from which it was taken."""
        return str(self.last["keys"][0])


def journeys(commands: pd.DataFrame, deeds: pd.DataFrame, task_id: str, reply_lists: Set[str]) -> list[Journey]:
    """What each stream shows of the task's message; empty where none shows it. ``reply_lists`` are lists that hold
    results (rpc://), not messages.
    """
    found: list[Journey] = []
    rows = deeds.loc[deeds["task_id"].eq(task_id).fillna(False) & deeds["witness"].isin((*STREAMS, "MONITOR log"))]
    for name, mine in rows.groupby(stream_of(rows["source"]), sort=False):
        steps = [(step, row) for _, row in mine.iterrows() if (step := _step(row, task_id, reply_lists))]
        if not steps:
            continue
        everything = rows_of_stream(commands, str(name))
        if steps[-1][0] == "reserved" and mine["witness"].eq("MONITOR log").any():
            steps += [("acked", row) for row in _acknowledged(everything, steps[-1][1])]
        state, last = steps[-1]
        behind = everything.loc[everything.index > last.name]
        gone = end_of_key(behind, last, str(last["keys"][0])) if state in ("sent", "reserved") else None
        found.append(Journey(state, steps[0][1], last, bool(_later(behind, last)), gone))
    return found


def _acknowledged(commands: pd.DataFrame, taken: pd.Series) -> list[pd.Series]:
    """MONITOR shows no more of an acknowledgement than its delivery tag, which is the field of both."""
    rows = commands.loc[words_in(commands["verb"], _ACKS) & (commands.index > taken.name)]
    rows = listed_keys(rows.loc[rows["detail"].eq(taken["detail"]) & rows["db"].eq(taken["db"])])
    return [row for _, row in rows.head(1).iterrows()]


def _step(row: pd.Series, task_id: str, reply_lists: Set[str]) -> str:
    keys = row["keys"]
    # What names the task in its key is a record of it, and neither a queue nor the hash of the reserved.
    if not isinstance(keys, list) or not keys or keys[0] in reply_lists or task_id in keys[0]:
        return ""
    verb = str(row["verb"]).upper()
    return next((step for step, verbs in _STEPS.items() if verb in verbs), "")


def _later(behind: pd.DataFrame, last: pd.Series) -> Any:
    """Commands of another transaction than the last step's."""
    if pd.notna(last["transaction"]):
        behind = behind.loc[behind["transaction"].ne(last["transaction"]).fillna(True)]
    return len(behind.loc[~words_in(behind["verb"], ("SELECT", "MULTI", "EXEC"))])

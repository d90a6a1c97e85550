"""Rows of a timeline that cannot both be true.

In: the frame ``timeline``, ordered. Out: the same with ``contradicts`` filled. Decides nothing: which of two is wrong,
a clock or a witness, is for the reader.
"""

from __future__ import annotations

import pandas as pd

from analysis.findings.view import SLACK

# A task's life in its order: nothing of a later step is over before an earlier one has begun, whatever is repeated.
_STEPS = (
    frozenset(("published",)),
    frozenset(("received", "reserved")),
    frozenset(("started",)),
    frozenset(("succeeded", "failed", "stored")),
)
_HOLDS = "holds the "


def with_contradictions(timeline: pd.DataFrame) -> pd.DataFrame:
    """``contradicts`` names the source of a row that a row contradicts, both ways.

    - A step that was over before the step that leads to it began, by more than the clocks may differ (``SLACK``).
    - The same storing of a result at two times: by its own ``date_done``, and by the command that wrote it.
    - A snapshot that holds a record after it was taken away, where nothing wrote it again.
    """
    found: dict[int, str] = {}

    def mark(one: int, two: int) -> None:
        found.setdefault(one, str(timeline["source"].iloc[two]))
        found.setdefault(two, str(timeline["source"].iloc[one]))

    for one, two in (*_out_of_order(timeline), *_stored_twice(timeline), *_held_after(timeline)):
        mark(one, two)
    column = [found.get(row) for row in range(len(timeline))]
    return timeline.assign(contradicts=pd.Series(column, timeline.index, dtype="str"))


def _places(timeline: pd.DataFrame, kinds: frozenset[str]) -> list[int]:
    return [place for place, kind in enumerate(timeline["kind"]) if kind in kinds]


def _out_of_order(timeline: pd.DataFrame) -> list[tuple[int, int]]:
    """The first of an earlier step against the last of a later one."""
    pairs = []
    for number, before in enumerate(_STEPS):
        for after in _STEPS[number + 1 :]:
            first = min(_places(timeline, before), key=lambda place: timeline["at"].iloc[place], default=None)
            last = max(_places(timeline, after), key=lambda place: timeline["not_after"].iloc[place], default=None)
            if first is None or last is None:
                continue
            if timeline["at"].iloc[first] > timeline["not_after"].iloc[last] + SLACK:
                pairs.append((first, last))
    return pairs


def _stored_twice(timeline: pd.DataFrame) -> list[tuple[int, int]]:
    stored = [place for place in _places(timeline, frozenset(("stored",))) if timeline["lane"].iloc[place] == "result"]
    by_itself = [place for place in stored if "by its own" in str(timeline["says"].iloc[place])]
    by_command = [place for place in stored if " wrote the " in str(timeline["says"].iloc[place])]
    pairs = []
    for place in by_itself:
        at = timeline["at"].iloc[place]
        apart = [max(timeline["at"].iloc[other] - at, at - timeline["not_after"].iloc[other]) for other in by_command]
        if apart and min(apart) > SLACK:
            pairs.append((place, by_command[apart.index(min(apart))]))
    return pairs


def _held_after(timeline: pd.DataFrame) -> list[tuple[int, int]]:
    pairs = []
    gone = _places(timeline, frozenset(("deleted", "expired", "evicted", "flushed", "renamed")))
    shots = _places(timeline, frozenset(("snapshot",)))
    for place in gone:
        lane, until = timeline["lane"].iloc[place], timeline["not_after"].iloc[place]
        noun = {"job": "job record"}.get(lane, lane)
        for shot in shots:
            taken, says = timeline["at"].iloc[shot], str(timeline["says"].iloc[shot])
            if taken <= until + SLACK or _HOLDS not in says or noun not in says.partition(_HOLDS)[2]:
                continue
            again = timeline.loc[
                timeline["lane"].eq(lane)
                & timeline["kind"].isin(("stored", "created", "updated"))
                & timeline["not_after"].gt(timeline["at"].iloc[place])
                & timeline["at"].le(taken)
            ]
            if not len(again):
                pairs.append((place, shot))
    return pairs

"""Where an ID is found: in every database, family and role, and in every log line that names it.

In: the frames of a case. Out: the ``traces`` frame, and the full ID behind a unique prefix.
"""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from analysis.errors import Unusable
from analysis.findings.deeds import place_of
from analysis.findings.words import listed, spot
from analysis.frames import concat, frame

_MOST_CANDIDATES = 10
_MOST_COMMANDS = 1_000


def known_ids(*witnesses: pd.DataFrame) -> pd.Series:
    """The task IDs that the frames name as a task's own in their column ``task_id``, as often as they do."""
    return pd.concat([part["task_id"].dropna() for part in witnesses], ignore_index=True)


def whole_id(asked: str, known: pd.Series) -> str:
    """The ID that ``asked`` stands for: itself where known, else the one known ID that begins with it, else itself.

    Raises Unusable where several begin with it (they are listed), and for an ID that is empty or no text.
    """
    if not isinstance(asked, str):
        raise Unusable(
            f"task_id is {asked!r}, a {type(asked).__name__}: papermill changed the text it was given; pass it with "
            "-r task_id … (raw) instead of -p"
        )
    if not asked.strip():
        raise Unusable("the task ID is empty")
    if not asked.isprintable() and any("\ud800" <= char <= "\udfff" for char in asked):
        raise Unusable("the task ID is not UTF-8")
    if known.eq(asked).any():
        return asked
    candidates = sorted(set(known.loc[known.str.startswith(asked)]))
    if len(candidates) > 1:
        raise Unusable(
            f"task ID {asked!r} is the beginning of {len(candidates)} known IDs: "
            f"{listed(candidates, most=_MOST_CANDIDATES)}; give more of it"
        )
    return candidates[0] if candidates else asked


def find_traces(
    task_id: str,
    keys: pd.DataFrame,
    tasks: pd.DataFrame,
    messages: pd.DataFrame,
    jobs: pd.DataFrame,
    events: pd.DataFrame,
    deeds: pd.DataFrame,
    archives: Collection[str] = (),
) -> pd.DataFrame:
    """Every place that names ``task_id``: the frame ``traces``, records first, then mentions in others, then commands
    (``deeds`` are those that name it; the first 1,000), then logs. Rows of ``tasks`` and ``jobs`` from ``archives``
    have no row in ``keys``.
    """
    parts = [_rows(keys.loc[keys["task_id"].eq(task_id)], "id", "the key is this ID's own")]
    for records in (tasks, jobs) if archives else ():
        kept = records["task_id"].eq(task_id) & records["snapshot"].isin(list(archives))
        parts.append(_rows(records.loc[kept], "id", "an archive kept the record of this ID"))
    for records, noun in ((tasks, "result"), (messages, "message"), (jobs, "job record")):
        for column, role in (("parent_id", "parent"), ("root_id", "root"), ("group_id", "group")):
            if column in records:
                others = records.loc[records[column].eq(task_id) & records["task_id"].ne(task_id)]
                parts.append(_rows(others, column, f"it is the {role} of another task's {noun}"))
    callers = tasks.loc[tasks["children"].notna()]
    called = callers.loc[callers["children"].map(lambda ids: task_id in ids).astype(bool)]
    parts.append(_rows(called.loc[called["task_id"].ne(task_id)], "child", "another record lists it among its parts"))
    own = messages.loc[messages["task_id"].eq(task_id)]
    parts.append(_rows(own, "id", "a broker message carries it"))
    correlated = messages.loc[messages["correlation_id"].eq(task_id) & messages["task_id"].ne(task_id)]
    parts.append(_rows(correlated, "correlation_id", "a message of another ID answers to it"))
    if len(task_id) >= 8:
        named = keys["key"].str.contains(task_id, regex=False) & keys["task_id"].ne(task_id)
        parts.append(_rows(keys.loc[named.fillna(False).astype(bool)], "key", "the key's name holds it"))
    deeds = deeds.head(_MOST_COMMANDS)
    parts.append(
        frame(
            "traces",
            {
                "server": deeds["server"].astype("str").tolist(),
                "db": deeds["db"].tolist(),
                "key": [keys[0] if isinstance(keys, list) and keys else None for keys in deeds["keys"]],
                "role": ["command"] * len(deeds),
                "task_id": deeds["task_id"].tolist(),
                "says": [f"{verb} names it, or carries it" for verb in deeds["verb"]],
                "source": [place_of(row) for _, row in deeds.iterrows()],
            },
        )
    )
    lines = events.loc[events["task_id"].eq(task_id)]
    parts.append(
        frame(
            "traces",
            {
                "server": lines["server"].tolist(),
                "role": ["log"] * len(lines),
                "task_id": lines["task_id"].tolist(),
                "says": (lines["kind"] + " in a log").tolist(),
                "source": [f"{row.source}:{row.line}" for row in lines.itertuples()],
            },
        )
    )
    found = concat("traces", (part for part in parts if part is not None))
    return found.drop_duplicates(["snapshot", "db", "key", "role", "source"], ignore_index=True)


def _rows(found: pd.DataFrame, role: str, says: str) -> pd.DataFrame | None:
    if not len(found):
        return None  # as nearly all are, and to make a frame takes its time
    return frame(
        "traces",
        {
            "server": found["server"].tolist(),
            "snapshot": found["snapshot"].tolist(),
            "db": found["db"].tolist(),
            "key": found["key"].tolist(),
            "family": found["family"].tolist() if "family" in found else [None] * len(found),
            "role": [role] * len(found),
            "task_id": found["task_id"].tolist(),
            "says": [says] * len(found),
            "source": [spot(row.snapshot, row.offset) for row in found.itertuples()],
        },
    )


def nearly(task_id: str, known: pd.Index, slips: int = 2) -> list[str]:
    """Known IDs that differ from ``task_id`` only in case and punctuation, or in up to ``slips`` characters, or in
    one that is missing or too many. Only for IDs of at least 16 letters and digits: shorter ones are near each other
    by chance.
    """
    bare = _bare(task_id)
    if len(bare) < 16:
        return []
    close = []
    for other in known:
        theirs = _bare(other)
        if theirs == bare or _distance(bare, theirs) <= slips:
            close.append(other)
    return close


def _bare(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _distance(one: str, two: str) -> int:
    """Characters that differ between texts of equal length; 1 for one left out of the longer; else more than any
    limit.
    """
    if len(one) == len(two):
        return sum(a != b for a, b in zip(one, two, strict=True))
    longer, shorter = (one, two) if len(one) > len(two) else (two, one)
    if len(longer) - len(shorter) != 1:
        return len(longer)
    at = next((i for i, (a, b) in enumerate(zip(longer, shorter, strict=False)) if a != b), len(shorter))
    return 1 if longer[at + 1 :] == shorter[at:] else len(longer)

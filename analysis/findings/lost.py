"""Which tasks are lost: evidence says that their result or job record was there, it is not due, and it is not there.

In: the frames of a case, and how long results and records are said to be kept. Out: a frame with a row a task. Says
nothing of why: that is for each task's own verdict.
"""

from __future__ import annotations

import pandas as pd

from analysis.celery.families import TASK_META
from analysis.findings.deeds import WRITES
from analysis.findings.finished import finished
from analysis.findings.scope.cohort import last_sound
from analysis.frames import texts_in, words_in

COLUMNS = ["task_id", "record", "seen_at", "due_at"]


def lost_tasks(
    tasks: pd.DataFrame,
    jobs: pd.DataFrame,
    events: pd.DataFrame,
    commands: pd.DataFrame,
    shots: pd.DataFrame,
    retention_seconds: int,
    jobs_expire: int | None,
) -> pd.DataFrame:
    """Columns task_id, record (result or job), seen_at (when it was there last, as far as that is known), due_at (when
    it was to be gone; missing = never), in order of time; one row a task, its result before its job record.

    A result was there where an earlier snapshot or an archive holds it, a command wrote it, or a worker logged its task
    as ended, unless the case shows results, but none of that task's name: then it stores none. ``retention_seconds`` (0
    = for ever) counts from when it was stored, its own expiry before that. Without a snapshot of which it is known
    that it is whole, nothing is known to be lost.
    """
    last = last_sound(shots)
    if not len(last):
        return pd.DataFrame(columns=COLUMNS)
    until = last["taken_at"].min()
    # A later one that was cut, or one without a time, can show that something is there, and not that it is not.
    now = shots.loc[~(shots["taken_at"] < until), "snapshot"]
    parts = [
        _results(tasks, shots, now, retention_seconds),
        _written(commands, retention_seconds),
        _ended(tasks, events, shots, retention_seconds),
        _records(jobs, now, jobs_expire),
    ]
    found = pd.concat(parts, ignore_index=True)
    found = found.loc[found["due_at"].isna() | (found["due_at"] > until)]
    there = pd.Series(False, index=found.index)
    for record, rows in (("result", tasks), ("job", jobs)):
        held = rows.loc[rows["snapshot"].isin(now), "task_id"]
        there |= found["record"].eq(record) & texts_in(found["task_id"], held)
    found = found.loc[~there].sort_values(["record", "seen_at"], ascending=[False, True], kind="stable")
    found = found.drop_duplicates("task_id")
    return found.sort_values(["seen_at", "task_id"], na_position="first", ignore_index=True)[COLUMNS]


def _results(tasks: pd.DataFrame, shots: pd.DataFrame, now: pd.Series, kept: int) -> pd.DataFrame:
    """Results as earlier snapshots and archives hold them."""
    rows = tasks.loc[~tasks["snapshot"].isin(now) & tasks["kind"].eq("task")]
    times = dict(zip(shots["snapshot"].astype("str"), shots["taken_at"], strict=True))
    seen = pd.to_datetime(rows["snapshot"].astype("str").map(times), utc=True).astype("datetime64[us, UTC]")
    stored = rows["stored_at"].fillna(seen)
    return _frame(rows["task_id"], "result", stored, rows["expires_at"].fillna(_after(stored, kept)))


def _written(commands: pd.DataFrame, kept: int) -> pd.DataFrame:
    """Results that a command wrote: SETEX and SET of a result's key."""
    rows = commands.loc[words_in(commands["verb"], WRITES) & commands["task_id"].notna().to_numpy(dtype=bool)]
    named = [isinstance(keys, list) and any(TASK_META in key for key in keys) for keys in rows["keys"]]
    rows = rows.loc[named]
    at = rows["not_before"].fillna(rows["not_after"])
    return _frame(rows["task_id"], "result", at, rows["expires_at"].fillna(_after(at, kept)))


def _ended(tasks: pd.DataFrame, events: pd.DataFrame, shots: pd.DataFrame, kept: int) -> pd.DataFrame:
    ended = finished(tasks, events, shots, kept)
    # Where no result is held of any name, nothing tells tasks that store none from results that are gone.
    rows = ended.loc[~ended["held"] & (ended["storing"] | ~ended["held"].any())]
    return _frame(rows["task_id"], "result", rows["at"], rows["due_at"])


def _records(jobs: pd.DataFrame, now: pd.Series, kept: int | None) -> pd.DataFrame:
    rows = jobs.loc[~jobs["snapshot"].isin(now) & jobs["task_id"].notna()]
    at = rows["created_at"]
    return _frame(rows["task_id"], "job", at, rows["expires_at"].fillna(_after(at, kept or 0)))


def _after(at: pd.Series, seconds: int) -> pd.Series:
    never = pd.Series(pd.NaT, index=at.index, dtype="datetime64[us, UTC]")
    return at + pd.Timedelta(seconds=seconds) if seconds else never


def _frame(ids: pd.Series, record: str, at: pd.Series, due: pd.Series) -> pd.DataFrame:
    times = "datetime64[us, UTC]"
    return pd.DataFrame(
        {"task_id": ids.astype("str"), "record": record, "seen_at": at.astype(times), "due_at": due.astype(times)}
    )

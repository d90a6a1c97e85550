"""Tasks that workers logged as ended, against the results that the last snapshot holds: hour by hour, and what is
missing together.

In: frames ``events`` and ``tasks``, the snapshots, how long results are kept. Out: a frame of tasks, counts by hour,
``Pattern``s. What stores nothing, or is removed once it is read, is told by its name and left out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.findings.cleanups import YOUNG
from analysis.findings.rhythm import SURPRISE, TIMES_MORE, surprise
from analysis.findings.scope.cohort import SLACK, ended_tasks, last_sound
from analysis.findings.scope.extents import FEW, run_of
from analysis.findings.scope.naming import LARGE, pattern_of
from analysis.findings.scope.patterns import Flags
from analysis.findings.told import Pattern
from analysis.findings.words import count, listed, stamp
from analysis.frames import in_micros, texts_in

LEAST_MISSING = 0.5
"""So large a part of what ended in a range of time must be missing, and"""

MOST_ELSEWHERE = 0.1
"""no more than this part outside of it: else they are missing for what they are, not for when they ended."""

COLUMNS = ["at", "task_id", "name", "source", "held", "due_at", "storing"]
_SPREAD = 0.3
_LEAST = 3
_MOMENT = 120
# A clean-up of one name may run every hour, and leaves what ended since; what is older than this was not kept by that.
_CLEANED = pd.Timedelta(minutes=70)


def finished(tasks: pd.DataFrame, events: pd.DataFrame, shots: pd.DataFrame, retention_seconds: int) -> pd.DataFrame:
    """Every task that a worker logged as succeeded or failed before the last sound snapshots: columns at (when it
    ended), task_id, name, source, held (its result is there), due_at (when it was to be gone; missing = never), storing
    (its name stores results, and keeps them); in order of time.

    A result lives as long as others of its name: nine of ten of those held live longer by the log and their expiry; and
    no longer than ``retention_seconds`` (0 = for ever). A name of which no result is held stores none, and some remove
    them once they are read (``_reading``).
    """
    shot = last_sound(shots)
    ended = ended_tasks(events)
    if not len(shot) or not len(ended):
        return _none(ended)
    until = shot["taken_at"].min()
    held = tasks.loc[tasks["snapshot"].isin(shot["snapshot"])].drop_duplicates("task_id")
    elsewhere = tasks.loc[~tasks["server"].isin(shot["server"]), "task_id"]
    ended = ended.merge(held[["task_id", "expires_at"]].assign(held=True), on="task_id", how="left")
    ended["held"] = ended["held"].eq(True)
    ended = ended.loc[(ended["held"] | ~texts_in(ended["task_id"], elsewhere)) & (ended["at"] <= until - SLACK)]
    here = ended.loc[ended["held"]]
    lives = (here["expires_at"] - here["at"]).dt.total_seconds().fillna(np.inf)
    life = lives.groupby(here["name"]).quantile(0.1, interpolation="lower")
    kept = float(retention_seconds) if retention_seconds else np.inf
    seconds = np.minimum(ended["name"].map(life).astype("float64").fillna(kept), kept)
    due = ended["at"] + pd.to_timedelta(seconds.where(np.isfinite(seconds)), unit="s").astype("timedelta64[us]")
    storing = ended["held"].groupby(ended["name"]).transform("any") & ~ended["name"].isin(_reading(ended, due, until))
    return ended.assign(due_at=due, storing=storing)[COLUMNS].reset_index(drop=True)


def _reading(ended: pd.DataFrame, due: pd.Series, until: pd.Timestamp) -> list[str]:
    """Names whose results are removed once they are read: of those that ended no earlier than the oldest result that is
    held, and should be there, most are missing. A removal at one moment leaves none missing after it. Where that is so
    of every name, it is no matter of names, unless nothing is held that is older than ``2 * YOUNG`` seconds.
    """
    oldest = ended.loc[ended["held"], "at"].min()
    mine = ended.loc[(ended["at"] >= oldest) & (due.isna() | (due > until))]
    counted = (~mine["held"]).groupby(mine["name"]).agg(["sum", "size"])
    found = counted.index[(counted["sum"] >= _LEAST) & (counted["sum"] >= LEAST_MISSING * counted["size"])]
    with_any = ended.loc[ended["held"], "name"].unique()
    everywhere = not set(with_any) - set(found)
    lately = pd.notna(oldest) and (until - oldest).total_seconds() < 2 * YOUNG
    return list(found) if lately or not everywhere else []


def _none(ended: pd.DataFrame) -> pd.DataFrame:
    rows = ended.iloc[:0]
    return rows.assign(held=False, due_at=rows["at"], storing=False)[COLUMNS].astype({"held": bool, "storing": bool})


def finished_by_hour(ended: pd.DataFrame, until: pd.Timestamp | None) -> pd.DataFrame:
    """``finished`` counted, without what stores nothing: columns hour, present, missing, due (missing, and its expiry
    had come by ``until``).
    """
    mine = ended.loc[ended["storing"]]
    due = (mine["due_at"] <= until) & ~mine["held"] if until is not None else ~mine["held"] & False
    table = pd.DataFrame(
        {"hour": mine["at"].dt.floor("h"), "present": mine["held"], "missing": ~mine["held"] & ~due, "due": due}
    )
    return table.groupby("hour")[["present", "missing", "due"]].sum().reset_index()


def undue_from(ended: pd.DataFrame, until: pd.Timestamp | None) -> pd.Timestamp | None:
    """What ended before this was all to be gone by ``until``; None where nothing was."""
    mine = ended.loc[ended["storing"]]
    if until is None or not (mine["due_at"] <= until).any():
        return None
    rest = mine.loc[mine["due_at"].isna() | (mine["due_at"] > until), "at"]
    return rest.min() if len(rest) else mine["at"].max()


def log_patterns(ended: pd.DataFrame, shots: pd.DataFrame, left: pd.Series) -> list[Pattern]:
    """The patterns of the tasks that should have a result and have none. ``left``: when any key of the last snapshots
    was stored, where that is known (UTC): whether anything else as old is there.
    """
    shot = last_sound(shots)
    if not len(ended) or not len(shot):
        return []
    until = shot["taken_at"].min()
    mine = ended.loc[ended["storing"] & (ended["due_at"].isna() | (ended["due_at"] > until + SLACK))]
    missing = ~mine["held"].to_numpy(dtype=bool)
    if int(missing.sum()) < FEW:
        return []
    where = _range(mine, missing)
    if where is None:
        return _evenly(mine, missing, until)
    first, last, place = where
    inside = mine["at"].between(first, last).to_numpy(dtype=bool)
    gone, of = int((missing & inside).sum()), int(inside.sum())
    names = mine["name"].loc[missing & inside].value_counts()
    older = left.loc[left < last - SLACK]
    everything = place == "oldest" and not len(older)
    order = {"oldest": "age", "newest": "newest", "middle": ""}[place]
    name = pattern_of("one age", order, ("result",), witness="logs", share=gone / of, everything=everything)
    several = int(names.ge(_LEAST).sum()) > 1 or until - last >= _CLEANED
    # A few that are held for a moment show nothing of a time before which all are missing.
    kept = mine.loc[mine["held"]]
    shown = len(kept) >= _LEAST and (until - kept["at"].min()).total_seconds() >= _MOMENT
    removal = place != "newest" and several and shown
    which = {"oldest": f"up to {stamp(last)}", "newest": f"from {stamp(first)} on"}.get(
        place, f"from {stamp(first)} to {stamp(last)}"
    )
    others = int((missing & ~inside).sum())
    says = f"Of {count(of, 'task')} that ended {which} and should have a result still, {gone:,} have none; of the "
    says += f"{len(mine) - of:,} that ended at other times {others or 'none'}"
    says += "" if len(names) < 2 else f"; they are of {count(len(names), 'name')}"
    if place != "newest" and not removal:
        alone = "a clean-up of that name that runs every hour would look the same"
        says += f"; {'too few are held to tell a moment from a habit' if several else alone}"
    says += "; that their results were ever stored is not shown" if place == "newest" else ""
    source = listed([f"{row.snapshot}" for row in shot.itertuples()])
    return [
        Pattern(
            name, "logs", f"{says} ({source}).", str(shot["server"].iloc[0]) if len(shot) == 1 else "", None,
            ("result",), first, last, gone, of, others / max(len(mine) - of, 1) * of,
            "likely" if removal else "hint", removal,
        )
    ]  # fmt: skip


def _range(mine: pd.DataFrame, missing: Flags) -> tuple[pd.Timestamp, pd.Timestamp, str] | None:
    """The one range of time in which nearly all are missing and outside of which nearly none; None where there is no
    such, or all are missing.
    """
    times = in_micros(mine["at"])
    if run := run_of(times, missing):
        return *(pd.Timestamp(end, unit="us", tz="UTC") for end in (run.first, run.last)), run.place
    hours = mine["at"].dt.floor("h")
    table = pd.DataFrame({"missing": missing, "of": 1}).groupby(hours.to_numpy()).sum()
    share = table["missing"] / table["of"]
    hit = (table["missing"] >= FEW) & (share >= LEAST_MISSING)
    if not hit.any() or hit.all():
        return None
    first, last = table.index[hit].min(), table.index[hit].max()
    within = (table.index >= first) & (table.index <= last)
    inner, outer = table.loc[within].sum(), table.loc[~within].sum()
    elsewhere = outer["missing"] / max(outer["of"], 1)
    if inner["missing"] < LEAST_MISSING * inner["of"] or elsewhere > MOST_ELSEWHERE or outer["of"] < FEW:
        return None
    rhythm = elsewhere * inner["of"]
    if (
        inner["missing"] < TIMES_MORE * rhythm
        or surprise(int(inner["missing"]), rhythm + 0.5, _SPREAD, len(table)) > SURPRISE
    ):
        return None
    place = "oldest" if within[0] else "newest" if within[-1] else "middle"
    begin, end = (pd.Timestamp(at) for at in (first, last))
    return begin, end + pd.Timedelta(hours=1), place


def _evenly(mine: pd.DataFrame, missing: Flags, until: pd.Timestamp) -> list[Pattern]:
    """That many are missing, and not together: nothing tells a removal from tasks that sometimes store nothing."""
    gone, of = int(missing.sum()), len(mine)
    if gone < LARGE * of:
        return []
    name = pattern_of("all results" if gone == of else "scattered", "", ("result",), witness="logs", share=gone / of)
    says = (
        f"Of {count(of, 'task')} that should have a result still at {stamp(until)}, {gone:,} have none, whenever they "
        "ended: that they were removed, and that they sometimes store nothing, looks the same."
    )
    since, last = mine["at"].min(), mine["at"].max()
    return [Pattern(name, "logs", says, "", None, ("result",), since, last, gone, of, 0.0, "hint")]

"""The missing cohort: of the tasks that workers logged as ended, which have no result in the last snapshot.

In: frames ``tasks`` and ``events``, the snapshots' times, and how long results are kept. Out: a ``Scope``. A result
that is missing may have been there, or never: which, logs alone do not show.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.scope.extents import FEW, Scope, is_order, leads, nearly_all, run_of
from analysis.findings.words import count, duration, listed, stamp
from analysis.frames import in_micros, texts_in

_ENDED = ("succeeded", "failed")
# A result is stored some milliseconds before the line that says so, and two clocks may differ.
SLACK = pd.Timedelta(seconds=2)


def last_sound(shots: pd.DataFrame, servers: Iterable[str] = ()) -> pd.DataFrame:
    """The last sound snapshot of each server (of ``servers``, if any are given), with its time; none where one of them
    has two of one second, of which the last is not known.
    """
    sound = shots.loc[shots["complete"] & shots["taken_at"].notna()].drop_duplicates("server", keep="last")
    chosen = sound.loc[sound["server"].isin(set(servers) or set(sound["server"]))]
    return chosen.iloc[:0] if shots.loc[shots["server"].isin(chosen["server"]), "tied"].any() else chosen


def ended_tasks(events: pd.DataFrame) -> pd.DataFrame:
    """When each task ended last, as workers logged it (succeeded or failed): columns at, source, task_id, name, in
    order of time; without those that a worker logged as ignored, which store nothing.
    """
    told = events["kind"].isin(_ENDED) & events["at"].notna() & events["task_id"].notna()
    ended = events.loc[told, ["at", "source", "task_id", "name"]]
    ended = ended.sort_values("at", kind="stable").drop_duplicates("task_id", keep="last")
    ended = ended.loc[~texts_in(ended["task_id"], events.loc[events["kind"].eq("ignored"), "task_id"])]
    return ended.assign(name=ended["name"].fillna(""))


def cohort(
    tasks: pd.DataFrame,
    events: pd.DataFrame,
    shots: pd.DataFrame,
    retention_seconds: int,
    servers: Iterable[str] = (),
    task_id: str = "",
) -> Scope | None:
    """Every task that a worker logged as succeeded or failed while its result had to be there still when the last sound
    snapshot was taken: present in it, or missing. None where there is no such task, or no sound snapshot with a time.

    - ``retention_seconds``: how long results are kept; 0 = for ever. ``servers``: of which a snapshot may hold them
      (all, unless given); the first of their last snapshots says until when. What another server holds is left out.
    - Tasks that a worker logged as ignored store nothing. Names of which never a result is held anywhere are left out,
      and said, unless no name has one: then nothing tells tasks that store nothing from results that are gone.
    - The missing can be one range of the times at which they ended, one task name, or one worker's log.
    """
    chosen = last_sound(shots, servers)
    if not len(chosen):
        return None
    until = chosen["taken_at"].min()
    ended = ended_tasks(events)
    if not len(ended):
        return None
    held, here = tasks.loc[tasks["snapshot"].isin(chosen["snapshot"])], tasks["server"].isin(chosen["server"])
    ended = ended.assign(held=texts_in(ended["task_id"], held["task_id"]))
    ended = ended.loc[ended["held"] | ~texts_in(ended["task_id"], tasks.loc[~here, "task_id"])]
    names = ended["name"].astype("category")
    storing = names.loc[ended["held"] | texts_in(ended["task_id"], tasks.loc[here, "task_id"])].unique()
    stored = ended["at"].loc[ended["held"]].max()
    # What ended before a task whose result is there had been stored by then as well, whatever the clocks say.
    within = ended["at"] <= (until - SLACK if pd.isna(stored) else max(until - SLACK, stored))
    if retention_seconds:
        within &= ended["at"] >= until - pd.Timedelta(seconds=retention_seconds) + SLACK
    counted = within & (names.isin(storing) if len(storing) else True)
    mine = ended.loc[counted]
    if not len(mine):
        return None
    missing = ~mine["held"].to_numpy(dtype=bool)
    extent, order, says = _shared(mine, missing)
    snapshots = listed([f"{row.snapshot} ({stamp(row.taken_at)})" for row in chosen.itertuples()])
    age = f" within {duration(retention_seconds)}" if retention_seconds else ""
    number, left = int(missing.sum()), int((~missing).sum())
    none = "none has a result there" if not left else f"{number:,} {'has' if number == 1 else 'have'} no result there"
    head = f"Of {count(len(mine), 'task')} that workers logged as ended{age} before {snapshots}, "
    says = f"{head}{none if number else 'each has its result there'}{says}."
    if not len(storing):
        says += " Of no task is a result held anywhere, so that any was ever stored is not shown by this."
    if len(out := ended.loc[within & ~counted]):
        own = ", this one's among them," if out["task_id"].eq(task_id).any() else ""
        says += f" {count(len(out), 'other task')} of {count(out['name'].nunique(), 'name')} of which no result is held"
        says += f"{own} {'is' if len(out) == 1 else 'are'} left out."
    is_own = bool(mine["task_id"].loc[missing].eq(task_id).any())
    since = mine["at"].loc[missing].min() if number else None
    sources = listed([*mine["source"].astype("str").unique(), *chosen["snapshot"].astype("str")], most=6)
    databases = tuple(sorted(int(db) for db in held["db"].dropna().unique()))
    return Scope("logs", extent, order, number, left, ("result",), databases, since, until, sources, says, is_own)


def _shared(mine: pd.DataFrame, missing: NDArray[np.bool_]) -> tuple[str, str, str]:
    """Extent, order, and the phrase that says what the missing share."""
    number, left = int(missing.sum()), int((~missing).sum())
    if not number:
        return "nothing", "", ""
    if number < FEW:
        return ("one key" if number == 1 else "a few keys"), "", ""
    times = in_micros(mine["at"])
    if run := run_of(times, missing):
        first, last = (stamp(pd.Timestamp(at, unit="us", tz="UTC")) for at in (run.first, run.last))
        order, says = {
            "oldest": ("age", f"those that ended first, up to {last}"),
            "newest": ("newest", f"those that ended last, from {first} on"),
            "middle": ("", f"those that ended from {first} to {last}"),
        }[run.place]
        return "one age", order, f": {says}"
    if nearly_all(number, left):
        return "all results", "", ""
    for column, extent, noun in (("name", "one task name", "of the name"), ("source", "one worker", "in the log")):
        values = mine[column].astype("str")
        top = values[missing].mode().iloc[0]
        here = values.eq(top).to_numpy()
        gone = int((missing & here).sum())
        if nearly_all(gone, int((~missing & here).sum())) and nearly_all(gone, number - gone):
            return extent, "", f": {gone:,} of {int(here.sum()):,} {noun} {top}"
    for order, values, says in (("age", -times, "earlier"), ("newest", times, "later")):
        share = leads(values.astype("float64"), missing)
        if is_order(share):
            phrase = f"set beside those that have one, they had ended {says} in {share * 100:.0f} of 100 comparisons"
            return "scattered", order, f"; {phrase}"
    return "scattered", "", ""

"""Every pattern of a case, by every witness it has, and what was looked at where none was found.

In: the frames of a case. Out: ``Patterns``: the frame of patterns, its sentence, and the tables behind the charts.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.findings.bursts import LEAST_SHARE, command_patterns
from analysis.findings.cleanups import YOUNG, Known, known_of
from analysis.findings.finished import finished, finished_by_hour, log_patterns, undue_from
from analysis.findings.gaps import gap_patterns
from analysis.findings.pairs import SCATTERED, Compared, compared_pairs, pair_patterns
from analysis.findings.removed import Removals, removals
from analysis.findings.rhythm import LEAST_BINS, TIMES_MORE, WIDTHS
from analysis.findings.scope.between import comparable, storing_times
from analysis.findings.scope.cohort import last_sound
from analysis.findings.scope.extents import FEW
from analysis.findings.shares import removals_by_hour, removers, shares
from analysis.findings.told import Pattern, patterns_frame
from analysis.findings.waves import FEW_EXPIRED
from analysis.findings.words import count, duration, listed, percent, stamp, when
from analysis.frames import frame


@dataclass(frozen=True)
class Patterns:
    """``table``: as ``told.patterns_frame``. ``shares``, ``removals`` (by hour) and ``removers``: of ``shares``;
    ``finished``: of ``finished.finished_by_hour``, set beside snapshots of ``until``; what ended before ``undue_from``
    was all due by then.
    """

    table: pd.DataFrame
    shares: pd.DataFrame
    removals: pd.DataFrame
    removers: pd.DataFrame
    finished: pd.DataFrame
    until: pd.Timestamp | None
    undue_from: pd.Timestamp | None


def patterns_of_case(
    keys: pd.DataFrame,
    tasks: pd.DataFrame,
    jobs: pd.DataFrame,
    shots: pd.DataFrame,
    changes: pd.DataFrame,
    commands: pd.DataFrame,
    events: pd.DataFrame,
    retention_seconds: int,
    jobs_expire: float | None = None,
    servers: pd.DataFrame | None = None,
) -> Patterns:
    """The patterns of a case; a row ``nothing`` for each witness that looked and found none. ``jobs_expire``: how long
    job records are said to be kept, in seconds; ``servers``: INFO's answers.
    """
    removed = removals(commands, keys)
    stored = storing_times(tasks, jobs)
    known = known_of(keys, jobs, shots, jobs_expire) if len(commands) else Known({}, None, {})
    told = _or_nothing(command_patterns(removed, commands, known), _commands(commands, removed))
    pairs = compared_pairs(keys, changes, shots, stored, jobs_expire)
    names = _names(tasks, events)
    answers = servers if servers is not None else frame("servers")
    told += _or_nothing(pair_patterns(pairs, keys, changes, shots, stored, names, answers), _snapshots(shots, pairs))
    ended = finished(tasks, events, shots, retention_seconds)
    shot = last_sound(shots)
    until = shot["taken_at"].min() if len(shot) else None
    left = stored.loc[stored["snapshot"].isin(shot["snapshot"]), "at"].dropna()
    told += _or_nothing(log_patterns(ended, shots, left), _logs(ended, until))
    if not len(comparable(shots)):
        own = tasks.loc[tasks["stored_from"].ne("expiry") & tasks["stored_at"].notna()]
        held = _own_times(own, jobs, shots)
        told += _or_nothing(gap_patterns(held), _alone(held))
    return Patterns(
        patterns_frame(told),
        shares(removed, pairs),
        removals_by_hour(removed),
        removers(removed),
        finished_by_hour(ended, until),
        until,
        undue_from(ended, until),
    )


def _or_nothing(found: list[Pattern], nothing: Pattern | None) -> list[Pattern]:
    return found or ([nothing] if nothing else [])


def _names(tasks: pd.DataFrame, events: pd.DataFrame) -> pd.Series:
    """The name of each task, by its ID."""
    told = [rows[["task_id", "name"]].dropna().astype("str") for rows in (tasks, events)]
    return pd.concat(told).drop_duplicates("task_id", keep="last").set_index("task_id")["name"]


def _own_times(tasks: pd.DataFrame, jobs: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    latest = shots.loc[shots["latest"], "snapshot"]
    results = tasks[["server", "snapshot", "db", "stored_at"]].set_axis(["server", "snapshot", "db", "at"], axis=1)
    records = jobs[["server", "snapshot", "db", "created_at"]].set_axis(["server", "snapshot", "db", "at"], axis=1)
    parts = [
        rows.astype({"server": "str", "snapshot": "str"}).assign(family=family)
        for rows, family in ((results, "result"), (records, "job"))
    ]
    found = pd.concat(parts, ignore_index=True)
    return found.loc[found["snapshot"].isin(latest) & found["at"].notna()]


def _commands(commands: pd.DataFrame, removed: Removals) -> Pattern | None:
    if not len(commands):
        return None
    rows = removed.rows
    spans = removed.spans
    since, until = (pd.Timestamp(int(at), unit="us", tz="UTC") for at in (spans["begin"].min(), spans["end"].max()))
    client, expired, unsure = (int(rows["by"].eq(by).sum()) for by in ("client", "expiry", "unsure"))
    says = f"{count(len(commands), 'command')} {when(since, until)} were looked at: "
    says += (
        f"{count(client, 'key was', 'keys were')} removed by clients and {count(expired, 'key')} by their own expiry"
    )
    if unsure:
        says += f"; {count(unsure, 'key')} by either, which is not told apart: their expiry may have come by then"
    says += f". {FEW} keys of a kind, removed together later than {duration(YOUNG)} after they were written and "
    says += f"{TIMES_MORE:g} times as many as at any like time, would have shown."
    if expired >= FEW_EXPIRED and until - since < pd.Timedelta(seconds=LEAST_BINS * WIDTHS[2]):
        says += " So short a recording has no rhythm by which a wave of expiries would stand out."
    hidden = unsure >= max(FEW, LEAST_SHARE * len(rows))
    return Pattern(
        "nothing", "commands", says, since=since, until=until, of=len(rows), strength="hint" if hidden else "shown"
    )


def _snapshots(shots: pd.DataFrame, pairs: list[Compared]) -> Pattern | None:
    if not len(comparable(shots)):
        return None
    if not pairs:
        says = (
            "No two snapshots can be set beside each other: which came first, or what the later one held, is not known."
        )
        return Pattern("nothing", "snapshots", says, strength="hint")
    held, usual = sum(len(one.every.gone) for one in pairs), sum(one.usual for one in pairs)
    gone = sum(int(one.pool.gone.sum()) for one in pairs)
    since, until = min(one.pair["since"] for one in pairs), max(one.pair["until"] for one in pairs)
    says = f"{count(held, 'key')} that were not due were looked for in the next snapshot, {count(len(pairs), 'pair')} "
    says += f"{when(since, until)}: {usual:,} went as usual turnover, {gone:,} else. What would have shown: {FEW} keys "
    says += f"and {percent(LEAST_SHARE)} of a kind, of one age, name or beginning; {percent(SCATTERED)} of a kind, "
    says += f"whichever; in either case {TIMES_MORE:g} times what goes between other snapshots, if there are such."
    return Pattern("nothing", "snapshots", says, since=since, until=until, gone=gone, of=held, strength="likely")


def _logs(ended: pd.DataFrame, until: pd.Timestamp | None) -> Pattern | None:
    if not len(ended) or until is None:
        return None
    judged = ended["storing"] & (ended["due_at"].isna() | (ended["due_at"] > until))
    mine = ended.loc[judged]
    if not len(mine) and not ended["held"].any():
        says = (
            f"Of {count(len(ended), 'task')} that workers logged as ended none has a result in the last snapshot, "
            "whatever its name: that any was ever stored is not shown, so a removal is neither."
        )
        return Pattern("nothing", "logs", says, strength="hint")
    if not len(mine):
        says = f"None of {count(len(ended), 'task')} that workers logged as ended should have a result still."
        return Pattern("nothing", "logs", says, strength="hint")
    missing = int((~mine["held"]).sum())
    says = f"Of {count(len(mine), 'task')} that ended {when(mine['at'].min(), mine['at'].max())} and should have a "
    says += f"result still, {f'{missing:,} have none, and not those of one time' if missing else 'each has one'}. "
    says += f"{FEW} missing of one range of time would have shown."
    out = ended.loc[~ended["storing"]]
    if len(out):
        names = [f"“{name}”" for name in out["name"].dropna().astype("str").value_counts().index]
        were = "was" if len(out) == 1 else "were"
        says += f" {count(len(out), 'other')} of {count(len(names), 'name')} ({listed(names)}) {were} left out: "
        says += "results of such a name are not stored, or removed once they are read; had all of one been deleted, it "
        says += "would look the same."
    return Pattern(
        "nothing", "logs", says, since=mine["at"].min(), until=mine["at"].max(), gone=missing, of=len(mine),
        strength="likely",
    )  # fmt: skip


def _alone(held: pd.DataFrame) -> Pattern | None:
    if not len(held):
        return None
    says = (
        f"The times of storing of {count(len(held), 'key')}, from {stamp(held['at'].min())} to "
        f"{stamp(held['at'].max())}, have no gap that the rhythm of the work would not make. What was removed leaves "
        "no trace in one snapshot unless it was all of one time."
    )
    return Pattern(
        "nothing", "one snapshot", says, since=held["at"].min(), until=held["at"].max(), of=len(held), strength="hint"
    )

"""Results an hour: what was stored and is still held, by the hour, beside what worker logs say ended; and who can tell.

In: frames ``tasks``, ``events`` and ``evidence``, ``bulk.looks``, and the retention. Out: small frames. An hour in
which no source looked is not an hour without results.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.findings.bulk import in_latest
from analysis.findings.outages import Start
from analysis.findings.overview.held import taken_at
from analysis.findings.ttl import Retention
from analysis.findings.witnesses import witnesses

HELD, FAILED, KEPT, ENDED = "results held", "of them FAILURE", "kept in archives", "ended, by worker logs"
ROWS = (HELD, FAILED, KEPT, ENDED)
# What a stored time may rest on to count: an expiry only repeats the retention that is assumed.
MEASURED = ("log", "command", "date_done")
_ENDS = ("succeeded", "failed")


def results_by_hour(
    tasks: pd.DataFrame, events: pd.DataFrame, shots: pd.DataFrame, archives: Collection[str] = ()
) -> pd.DataFrame:
    """Tasks by hour: columns hour (its beginning, UTC), what (one of ``ROWS``), tasks; only hours that have any.

    Of the last look at each server, the results of single tasks whose time of storing something else than the expiry
    tells; of archives those that are no longer held; of worker logs, the lines that a task succeeded or failed.
    """
    stored = _measured(tasks, shots)
    ends = events.loc[events["kind"].isin(_ENDS) & events["at"].notna(), "at"]
    times = {
        HELD: stored["stored_at"],
        FAILED: stored.loc[stored["status"].eq("FAILURE"), "stored_at"],
        KEPT: _kept(tasks, shots, archives),
        ENDED: ends,
    }
    parts = [
        times_.dt.floor("h").value_counts().sort_index().rename_axis("hour").reset_index(name="tasks").assign(what=what)
        for what, times_ in times.items()
        if len(times_)
    ]
    columns = ["hour", "what", "tasks"]
    found = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns, dtype=object)
    return found.astype({"hour": "datetime64[us, UTC]", "tasks": "int64"})


def not_dated(tasks: pd.DataFrame, shots: pd.DataFrame) -> int:
    """How many results held do not tell when they were stored."""
    stored = in_latest(tasks[["snapshot", "kind", "stored_at", "stored_from"]], shots)
    dated = stored["stored_from"].isin(MEASURED) & stored["stored_at"].notna()
    return int((stored["kind"].eq("task") & ~dated).sum())


def _kept(tasks: pd.DataFrame, shots: pd.DataFrame, archives: Collection[str]) -> pd.Series:
    """When each result was stored that archives hold and the last looks do not; each once."""
    place = ["server", "db", "key", "stored_at"]
    kept = tasks.loc[tasks["snapshot"].isin(list(archives)), [*place, "kind", "stored_from"]]
    kept = kept.loc[kept["kind"].eq("task") & kept["stored_from"].isin(MEASURED) & kept["stored_at"].notna(), place]
    if not len(kept):
        return kept["stored_at"]
    held = in_latest(tasks[["snapshot", *place]], shots)[place]
    told = kept.drop_duplicates().merge(held.drop_duplicates(), on=place, how="left", indicator="there")
    return told.loc[told["there"].eq("left_only"), "stored_at"]


def who_looked(
    evidence: pd.DataFrame,
    tasks: pd.DataFrame,
    shots: pd.DataFrame,
    retention: Retention,
    starts: Mapping[str, Sequence[Start]],
) -> pd.DataFrame:
    """Of which hours each source can tell: columns what (``HELD``, ``KEPT`` or ``ENDED``), source, kind, since, until.

    A look tells of results stored within the retention before it: older ones have expired. Where results are kept for
    ever it tells from the first one held on; of hours before that it cannot be known whether there was anything. Nor of
    hours before the last of the server's ``starts``, where that is not known to have loaded anything and no result from
    before it is held. An archive tells the same of the snapshot it was kept from, a worker log of the time from its
    first line to its last.
    """
    parts = []
    stored = _measured(tasks, shots)
    for look in shots.loc[shots["latest"] & shots["taken_at"].notna()].itertuples():
        first = stored.loc[stored["snapshot"].eq(look.snapshot), "stored_at"].min()
        since = look.taken_at - pd.Timedelta(seconds=retention.seconds) if retention.seconds else first.floor("h")
        since = max(since, _emptied(starts.get(look.server, ()), first, look.taken_at) or since)
        if pd.notna(since):
            parts.append(
                {"what": HELD, "source": look.snapshot, "kind": look.kind, "since": since, "until": look.taken_at}
            )
    for part in witnesses(evidence, ["archive"]).itertuples():
        since = part.until - pd.Timedelta(seconds=retention.seconds) if retention.seconds else part.until
        parts.append({"what": KEPT, "source": part.source, "kind": "archive", "since": since, "until": part.until})
    logs = witnesses(evidence, ["worker log"]).assign(what=ENDED)
    parts += logs[["what", "source", "kind", "since", "until"]].to_dict("records")
    found = pd.DataFrame(parts, columns=["what", "source", "kind", "since", "until"])
    times = "datetime64[us, UTC]"
    return found.astype({"since": times, "until": times})


def _emptied(starts: Sequence[Start], first: pd.Timestamp, taken: pd.Timestamp) -> pd.Timestamp | None:
    """The last start before a look that, as far as is known, began with nothing; ``first`` is when the first result was
    stored that the look holds.
    """
    before = [start for start in starts if start.at <= taken]
    if not before or before[-1].loaded or before[-1].from_aof or first < before[-1].at:
        return None
    return before[-1].at


def seen_in(looked: pd.DataFrame, what: str, hours: pd.Series) -> pd.Series:
    """Of each hour, whether some source (rows of ``who_looked``) can tell of a part of it."""
    mine = looked.loc[looked["what"].eq(HELD if what == FAILED else what), ["since", "until"]]
    told = pd.Series(False, index=hours.index)
    for since, until in mine.itertuples(index=False):
        told |= (hours <= until) & (hours + pd.Timedelta(hours=1) > since)
    return told


@dataclass(frozen=True)
class Stored:
    """Of the results held, how many were stored in the last ``hours`` before their look; ``most`` of them in the hour
    from ``hour`` on (None where there are none).
    """

    results: int
    hours: float
    most: int = 0
    hour: pd.Timestamp | None = None


def last_day(tasks: pd.DataFrame, shots: pd.DataFrame, retention: Retention) -> Stored | None:
    """Results stored in the last 24 hours before their look, or as far back as the retention lets a look tell; None
    where no look is dated or no result tells when it was stored.
    """
    latest = shots.loc[shots["latest"] & shots["taken_at"].notna()]
    hours = min(24.0, retention.seconds / 3600) if retention.seconds else 24.0
    stored = _measured(tasks, shots)
    if not len(latest) or not len(stored):
        return None
    recent = stored.loc[(taken_at(stored, shots) - stored["stored_at"]).le(pd.Timedelta(hours=hours)), "stored_at"]
    if not len(recent):
        return Stored(0, hours)
    by = recent.dt.floor("h").value_counts().sort_index()
    return Stored(len(recent), hours, int(by.max()), by.idxmax())


def _measured(tasks: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """Results of single tasks in the last looks, whose time of storing something else than the expiry tells."""
    stored = in_latest(tasks[["snapshot", "kind", "status", "stored_at", "stored_from"]], shots)
    dated = stored["stored_from"].isin(MEASURED) & stored["stored_at"].notna()
    return stored.loc[stored["kind"].eq("task") & dated]

"""Keys whose lives are known, as snapshots and commands would show them: truth against which estimates are held.

A life is written at ``born``, would be removed ``removed`` seconds later and expire ``expires`` seconds later; what
comes first ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.bulk import looks
from analysis.findings.lives import Recording
from analysis.frames import concat, frame
from tests.findings.cases import START, at, snapshot

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """``born``: seconds after START; ``removed`` and ``expires``: seconds after that, infinite = never."""

    born: Numbers
    removed: Numbers
    expires: Numbers
    family: str = "result"

    @property
    def death(self) -> Numbers:
        return self.born + np.minimum(self.removed, self.expires)

    @property
    def names(self) -> list[str]:
        return [f"celery-task-meta-{number:08d}" for number in range(len(self.born))]

    def moments(self, seconds: Numbers) -> pd.Series:
        finite = np.isfinite(seconds)
        whole = np.where(finite, np.where(finite, seconds, 0) * 1e6, 0).astype("int64")
        return (START + pd.Series(pd.to_timedelta(whole, unit="us"))).where(finite).astype("datetime64[us, UTC]")


def living(rng: np.random.Generator, number: int, *, span: float, loss: float, ttl: Numbers | float) -> Truth:
    """Keys written evenly over ``span`` seconds, removed at a constant rate (``loss`` a second), each with its TTL."""
    hazard = rng.exponential(1 / loss, number) if loss else np.full(number, np.inf)
    return Truth(np.sort(rng.uniform(0, span, number)), hazard, np.broadcast_to(ttl, number).astype(float))


@dataclass(frozen=True)
class Seen:
    """The frames of snapshots."""

    keys: pd.DataFrame
    tasks: pd.DataFrame
    changes: pd.DataFrame
    shots: pd.DataFrame


def seen_at(truth: Truth, times: Sequence[float], *, measured: bool = True) -> Seen:
    """What snapshots at ``times`` (whole seconds after START) show."""
    names, expires = np.array(truth.names, object), truth.moments(truth.born + truth.expires)
    stored = truth.moments(truth.born)
    shots = [f"{number:03d}.rdb" for number in range(len(times))]
    held = [np.flatnonzero((truth.born <= time) & (truth.death > time)) for time in times]
    where = np.concatenate(held) if held else np.zeros(0, int)
    columns = {
        "server": [""] * len(where),
        "snapshot": np.repeat(shots, [len(rows) for rows in held]),
        "db": [2] * len(where),
        "key": names[where],
        "expires_at": expires.iloc[where],
        "offset": where,
    }
    keys = frame("keys", {**columns, "family": [truth.family] * len(where)})
    own = {"task_id": names[where], "kind": ["task"] * len(where), "stored_at": stored.iloc[where]}
    tasks = frame("tasks", {**columns, **own, "stored_from": ["date_done" if measured else "expiry"] * len(where)})
    changes = []
    for number in range(1, len(times)):
        gone = np.setdiff1d(held[number - 1], held[number])
        changes.append(
            frame(
                "changes",
                {
                    "server": [""] * len(gone),
                    "before": [shots[number - 1]] * len(gone),
                    "after": [shots[number]] * len(gone),
                    "db": [2] * len(gone),
                    "key": names[gone],
                    "family": [truth.family] * len(gone),
                    "change": ["gone"] * len(gone),
                    "expires_before": expires.iloc[gone],
                    "offset_before": gone,
                },
            )
        )
    looked = looks(frame("evidence", [snapshot(name, time) for name, time in zip(shots, times, strict=True)]))
    return Seen(keys, tasks, concat("changes", changes), looked)


def recorded(truth: Truth, since: float, until: float, *, base: bool = True) -> Recording:
    """What an append-only file shows from ``since`` to ``until``; its base holds the keys that were there."""
    names, expires = np.array(truth.names, object), truth.moments(truth.born + truth.expires)
    written = np.flatnonzero((truth.born > since) & (truth.born <= until))
    ended = np.flatnonzero((truth.death > since) & (truth.death <= until))
    there = np.flatnonzero((truth.born <= since) & (truth.death > since))
    rows = np.concatenate([written, ended])
    when = np.concatenate([truth.born[written], truth.death[ended]])
    order = np.argsort(when, kind="stable")
    rows, ends = rows[order], (np.arange(len(rows)) >= len(written))[order]
    moments = truth.moments(when[order])
    expired = truth.expires[rows] <= truth.removed[rows]
    commands = frame(
        "commands",
        {
            "server": [""] * len(rows),
            "source": ["aof"] * len(rows),
            "witness": ["append-only file"] * len(rows),
            "not_before": moments,
            "not_after": moments,
            "db": [2] * len(rows),
            "verb": np.where(ends, "DEL", "SET"),
            "keys": [[name] for name in names[rows]],
            "expires_at": expires.iloc[rows].reset_index(drop=True).where(~ends),
            "removed_by": [
                ("expiry" if due else "client") if end else None for due, end in zip(expired, ends, strict=True)
            ],
        },
    )
    was = pd.DataFrame({"db": 2, "key": names[there], "family": truth.family})
    was = was.assign(
        expires_at=expires.iloc[there].to_numpy(), at=truth.moments(truth.born).iloc[there].to_numpy()
    ).astype({name: "datetime64[us, UTC]" for name in ("expires_at", "at")})
    return Recording("", "aof", commands, at(since), at(until), was if base else None)

"""The policy for results: how long they are kept, and what that rests on.

In: the frame ``tasks``, and what ``case.toml`` states. Out: a ``Retention``, and a table of what is stated against what
is observed. A stored_at derived from the expiry never measures retention: it would find what it assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.findings.words import count, duration, listed

# Celery's own default of result_expires, one day (celery/app/defaults.py).
DEFAULT_EXPIRES = 86_400


@dataclass(frozen=True)
class Retention:
    """How long a result is kept: ``seconds`` (0 = for ever) and ``source``, what that rests on.

    ``certainty``: stated (``case.toml``), observed (siblings in a snapshot) or assumed (Celery's default).
    """

    seconds: int
    source: str
    certainty: str


def lifetimes(tasks: pd.DataFrame) -> pd.DataFrame:
    """Time from storing to expiry of each stored result: columns server, db, task_id, seconds (float).

    Only results whose own ``date_done`` says when they were stored; Celery writes it just before SETEX, so the figure
    is up to some milliseconds too long (celery/backends/base.py, ``_get_result_meta``).
    """
    known = tasks.loc[(tasks["stored_from"] == "date_done") & tasks["stored_at"].notna() & tasks["expires_at"].notna()]
    seconds = (known["expires_at"] - known["stored_at"]).dt.total_seconds()
    return known[["server", "db", "task_id"]].assign(seconds=seconds).reset_index(drop=True)


def retention(tasks: pd.DataFrame, stated: int | None, where: str = "the snapshots") -> Retention:
    """The policy for results: stated in ``case.toml``, else what most siblings live (``where``), else Celery's default
    of a day.
    """
    if stated is not None:
        return Retention(stated, "case.toml, [celery] result_expires", "stated")
    lives = lifetimes(tasks)["seconds"].round()
    endless = int((tasks["expires_at"].isna() & tasks["kind"].eq("task")).sum())
    if len(lives) > 1 and len(lives) >= endless:
        common = lives.mode().iloc[0]
        share = float((lives - common).abs().le(2).mean())
        if share >= 0.5 and common > 0:
            return Retention(int(common), f"{count(len(lives), 'result')} in {where}", "observed")
    elif endless:
        return Retention(0, f"{count(endless, 'result')} without a TTL in {where}", "observed")
    return Retention(DEFAULT_EXPIRES, "Celery's default", "assumed")


def retention_table(
    tasks: pd.DataFrame, stated: int | None, jobs: pd.DataFrame, jobs_expire: int | None
) -> pd.DataFrame:
    """Retention stated against observed, in short: columns what, stated, observed, says."""
    lives = lifetimes(tasks)["seconds"]
    rows = [
        {
            "what": "task results",
            "stated": kept_for(stated),
            "observed": _spread(lives) if len(lives) else "not observable: no stored result says when it was stored",
            "says": _compare(stated, lives),
        }
    ]
    if jobs_expire is not None or len(jobs):
        with_ttl = int(jobs["expires_at"].notna().sum())
        observed = (
            f"{with_ttl:,} of {count(len(jobs), 'record')} have a TTL" if len(jobs) else "no record left to observe"
        )
        rows.append({"what": "job records", "stated": kept_for(jobs_expire), "observed": observed, "says": ""})
    return pd.DataFrame(rows, columns=["what", "stated", "observed", "says"])


def kept_for(seconds: float | None) -> str:
    """A retention in words, 0 and None too."""
    if seconds is None:
        return "not stated"
    return "kept until removed" if seconds == 0 else f"{seconds:,.0f} s ({duration(seconds)})"


def _spread(lives: pd.Series) -> str:
    low, high = round(lives.min()), round(lives.max())
    if high - low <= 2:
        return f"{round(lives.median()):,} s ({duration(lives.median())}), {count(len(lives), 'result')}"
    return f"{low:,} s to {high:,} s, median {round(lives.median()):,} s, {count(len(lives), 'result')}"


def _compare(stated: int | None, lives: pd.Series) -> str:
    if stated is None or not len(lives):
        return ""
    off = lives.loc[(lives - stated).abs() > 2]
    if not len(off):
        return "as stated"
    examples = listed([f"{round(value):,} s" for value in sorted(off.unique())], most=3)
    return f"{count(len(off), 'result lives', 'results live')} otherwise: {examples}"

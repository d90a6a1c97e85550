"""How long keys live: remaining TTL by family, the retention really in force, keys without a TTL.

In: frames ``keys`` and ``tasks``. Out: small frames and sentences. A stored_at derived from the expiry never measures
retention: it would find what it assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.findings.bulk import in_latest
from analysis.findings.words import count, duration, listed
from analysis.settings import Settings

# Celery's own default of result_expires, one day (celery/app/defaults.py).
DEFAULT_EXPIRES = 86_400

# Upper ends of the bins of remaining TTL, in seconds, with their names.
BINS: tuple[tuple[float, str], ...] = (
    (60, "under 1 min"),
    (3600, "under 1 h"),
    (6 * 3600, "under 6 h"),
    (86400, "under 1 day"),
    (7 * 86400, "under 1 week"),
    (30 * 86400, "under 30 days"),
    (365 * 86400, "under 1 year"),
    (float("inf"), "1 year or more"),
)
PAST, NONE = "past expiry", "no TTL"
BIN_NAMES: tuple[str, ...] = (PAST, *(name for _, name in BINS), NONE)


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
    is up to some milliseconds too short (celery/backends/base.py, ``_get_result_meta``).
    """
    known = tasks.loc[(tasks["stored_from"] == "date_done") & tasks["stored_at"].notna() & tasks["expires_at"].notna()]
    seconds = (known["expires_at"] - known["stored_at"]).dt.total_seconds()
    return known[["server", "db", "task_id"]].assign(seconds=seconds).reset_index(drop=True)


def retention(tasks: pd.DataFrame, stated: int | None) -> Retention:
    """The policy for results: stated in ``case.toml``, else what most siblings live, else Celery's default of a day."""
    if stated is not None:
        return Retention(stated, "case.toml, [celery] result_expires", "stated")
    lives = lifetimes(tasks)["seconds"].round()
    endless = int((tasks["expires_at"].isna() & tasks["kind"].eq("task")).sum())
    if len(lives) > 1 and len(lives) >= endless:
        common = lives.mode().iloc[0]
        share = float((lives - common).abs().le(2).mean())
        if share >= 0.5 and common > 0:
            return Retention(int(common), f"{count(len(lives), 'result')} in the snapshots", "observed")
    elif endless:
        return Retention(0, f"{count(endless, 'result')} without a TTL in the snapshots", "observed")
    return Retention(DEFAULT_EXPIRES, "Celery's default", "assumed")


def with_remaining(keys: pd.DataFrame, taken_at: Mapping[str, pd.Timestamp]) -> pd.DataFrame:
    """``keys`` with a column ``remaining``: seconds from its snapshot's time to its expiry, missing without a TTL or
    time.
    """
    moments = keys["snapshot"].map(taken_at)
    at = pd.to_datetime(moments, utc=True).astype("datetime64[us, UTC]")
    return keys.assign(remaining=(keys["expires_at"] - at).dt.total_seconds())


def remaining_bins(keys: pd.DataFrame, taken_at: Mapping[str, pd.Timestamp]) -> pd.DataFrame:
    """Keys by family and bin of remaining TTL: columns family, bin (one of ``BIN_NAMES``), keys; only bins that hold
    any.
    """
    measured = with_remaining(keys, taken_at)
    edges = [float("-inf"), 0, *(upper for upper, _ in BINS)]
    named = pd.cut(measured["remaining"], edges, labels=[PAST, *(name for _, name in BINS)], right=True)
    bins = named.astype("str").where(measured["remaining"].notna(), NONE)
    bins = bins.mask(measured["remaining"].isna() & measured["expires_at"].notna(), "snapshot without a time")
    counted = pd.DataFrame({"family": keys["family"], "bin": bins}).value_counts().reset_index(name="keys")
    order = {name: place for place, name in enumerate(BIN_NAMES)}
    counted["place"] = counted["bin"].map(order).fillna(len(order))
    return counted.sort_values(["family", "place"], ignore_index=True)[["family", "bin", "keys"]]


def ttl_quantiles(keys: pd.DataFrame, taken_at: Mapping[str, pd.Timestamp]) -> pd.DataFrame:
    """Remaining TTL by family: columns family, keys, without_ttl, past_expiry, and min, p25, median, p75, max in
    seconds of the keys that still have time left.
    """
    measured = with_remaining(keys, taken_at)
    rows = []
    for family, group in measured.groupby("family", dropna=False):
        left = group.loc[group["remaining"] > 0, "remaining"]
        quantiles = left.quantile([0, 0.25, 0.5, 0.75, 1.0])
        rows.append(
            {
                "family": family,
                "keys": len(group),
                "without_ttl": int(group["expires_at"].isna().sum()),
                "past_expiry": int((group["remaining"] <= 0).sum()),
                **dict(zip(("min", "p25", "median", "p75", "max"), quantiles, strict=True)),
            }
        )
    columns = ["family", "keys", "without_ttl", "past_expiry", "min", "p25", "median", "p75", "max"]
    return pd.DataFrame(rows, columns=columns)


def ttl_sentence(keys: pd.DataFrame, taken_at: Mapping[str, pd.Timestamp]) -> str:
    """The finding over all keys held, in one or two sentences."""
    if not len(keys):
        return "There is no key in the evidence, so nothing can be said about TTLs."
    endless = keys["expires_at"].isna()
    measured = with_remaining(keys, taken_at)
    past = int((measured["remaining"] <= 0).sum())
    said = (
        f"Of {count(len(keys), 'key')} held, {count(int((~endless).sum()), 'has', 'have')} a TTL and "
        f"{count(int(endless.sum()), 'has', 'have')} none"
    )
    results = measured.loc[measured["family"].eq("result")]
    left = results.loc[results["remaining"] > 0, "remaining"]
    if past:
        said += f"; {count(past, 'key is', 'keys are')} past expiry and still in the file"
    said += "."
    if len(left):
        said += (
            f" The results still had from {duration(left.min())} to {duration(left.max())} to live, "
            f"half of them more than {duration(left.median())}."
        )
    if len(forgotten := results.loc[results["expires_at"].isna()]):
        said += f" {count(len(forgotten), 'result has', 'results have')} no TTL and will stay until removed."
    return said


def retention_table(
    tasks: pd.DataFrame, stated: int | None, jobs: pd.DataFrame, jobs_expire: int | None
) -> pd.DataFrame:
    """Retention stated against observed: columns what, stated, observed, says."""
    lives = lifetimes(tasks)["seconds"]
    rows = [
        {
            "what": "task results",
            "stated": _seconds(stated),
            "observed": _spread(lives) if len(lives) else "not observable: no stored result says when it was stored",
            "says": _compare(stated, lives),
        }
    ]
    if jobs_expire is not None or len(jobs):
        with_ttl = int(jobs["expires_at"].notna().sum())
        observed = (
            f"{with_ttl:,} of {count(len(jobs), 'record')} have a TTL" if len(jobs) else "no record left to observe"
        )
        rows.append({"what": "job records", "stated": _seconds(jobs_expire), "observed": observed, "says": ""})
    return pd.DataFrame(rows, columns=["what", "stated", "observed", "says"])


def _seconds(value: int | None) -> str:
    return "not stated" if value is None else "kept until removed" if value == 0 else f"{value:,} s ({duration(value)})"


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


@dataclass(frozen=True)
class TtlFindings:
    """What the TTL notebook shows: its headline, and the frames of this module over the last snapshot of each
    server.
    """

    headline: str
    bins: pd.DataFrame
    quantiles: pd.DataFrame
    retention: pd.DataFrame
    endless: pd.DataFrame


def ttl_findings(
    keys: pd.DataFrame, tasks: pd.DataFrame, jobs: pd.DataFrame, shots: pd.DataFrame, stated: Settings
) -> TtlFindings:
    """The TTLs of a case, from the last snapshot of each server. ``endless``: result keys that have no TTL."""
    held, taken_at = in_latest(keys, shots), dict(zip(shots["snapshot"], shots["taken_at"], strict=True))
    stored = in_latest(tasks, shots)
    jobs_expire = stated.jobs.expires if stated.jobs else None
    endless = held.loc[held["family"].isin(("result", "group_result")) & held["expires_at"].isna()]
    return TtlFindings(
        ttl_sentence(held, taken_at),
        remaining_bins(held, taken_at),
        ttl_quantiles(held, taken_at),
        retention_table(stored, stated.result_expires, in_latest(jobs, shots), jobs_expire),
        endless[["server", "db", "key", "family"]].reset_index(drop=True),
    )

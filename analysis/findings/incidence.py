"""How many keys are removed before their expiry, by age: curves with intervals, from lives that were watched in part.

In: lives, each with the age at which it came under watch, the age at which that ended, and how. Out: cumulative
incidence, with expiry as a competing end. Knows neither snapshots nor commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.share_gone import CONFIDENCE, exact_interval

REMOVED, EXPIRED, WATCHED = "removed", "expired", "watched"
# With fewer keys under watch a curve is drawn by single keys.
FEWEST = 10
_POINTS = 200
LEAST = 1e-6
"""A life ends by so many seconds later than it came under watch."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Incidence:
    """One curve: ``points`` has columns age (seconds), removed, low, high, expired (shares of the keys that had reached
    ``since``), at_risk (keys under watch just before that age).

    ``since`` and ``until`` are the ages between which at least ``FEWEST`` keys were under watch without a break.
    """

    since: float
    until: float
    points: pd.DataFrame


def incidence(lives: pd.DataFrame, window: tuple[float, float] | None = None) -> Incidence | None:
    """The share of keys removed before their expiry, by age (Aalen and Johansen's estimate): columns of ``lives`` are
    entry and age (seconds, the latter the larger) and end (removed, expired, or watched: neither was seen).

    A key counts only from the age at which it came under watch (delayed entry): what went before that was not seen. One
    that expired can no longer be removed, and is no loss. Survival, events and keys at risk are statsmodels'
    (``SurvfuncRight``); the interval of 95 % is that of log(-log), and the exact one of none among those at risk where
    nothing was removed. ``window``: the ages to look at, else the longest range in which enough keys were under watch.
    None where never ten keys were under watch at one age.
    """
    from statsmodels.duration.survfunc import SurvfuncRight

    entry, age = (lives[name].to_numpy(dtype=np.float64) for name in ("entry", "age"))
    end = lives["end"].to_numpy(dtype=object)
    window = window or _watched_ages(entry, age)
    if window is None:
        return None
    since, until = window
    inside = (entry < until) & (age > since)
    entry, age, end = np.maximum(entry[inside], since), age[inside], end[inside]
    end = np.where(age > until, WATCHED, end)
    age = np.minimum(age, until)
    removed, expired = end == REMOVED, end == EXPIRED
    grid = _ages(age[removed], since, until)
    at_risk = _at_risk(entry, age, grid)
    if removed.any() or expired.any():
        either = SurvfuncRight(age, (removed | expired).astype(np.int64), entry=entry)
        of_each = [_events(SurvfuncRight, entry, age, of, either.surv_times) for of in (removed, expired)]
        before = np.concatenate([[1.0], either.surv_prob[:-1]])
        risk = either.n_risk.astype(np.float64)
        shares = [np.cumsum(before * events / risk) for events in of_each]
        errors = _error(shares[0], before, of_each[0], either.n_events, risk)
        place = np.searchsorted(either.surv_times, grid, side="right") - 1
        lost, gone, error = (np.where(place >= 0, of[np.maximum(place, 0)], 0.0) for of in (*shares, errors))
    else:
        lost, gone, error = np.zeros((3, len(grid)))
    low, high = _interval(lost, error, at_risk)
    points = pd.DataFrame({"age": grid, "removed": lost, "low": low, "high": high, "expired": gone, "at_risk": at_risk})
    return Incidence(since, until, points)


def incidence_within(lives: pd.DataFrame) -> Incidence | None:
    """``incidence`` where a key that was removed was so at some age between its ``entry`` and its ``age``, not known
    which: the curve takes the middle, and its interval holds those of the earliest and of the latest.

    Of ages younger than the widest such gap, and older than the last at which a key came under watch, only some of the
    keys that a gap covers were seen: there the curve does not reach. None where nothing is left between.
    """
    entry, age = (lives[name].to_numpy(dtype=np.float64) for name in ("entry", "age"))
    window, removed = _watched_ages(entry, age), lives["end"].eq(REMOVED).to_numpy(dtype=bool)
    if window is None:
        return None
    window = window[0] + float((age - entry).max()), min(window[1], float(entry.max()))
    if window[0] >= window[1]:
        return None
    early, middle, late = (
        incidence(lives.assign(age=np.where(removed, entry + np.maximum(part * (age - entry), LEAST), age)), window)
        for part in (0.0, 0.5, 1.0)
    )
    if early is None or middle is None or late is None:
        return None
    ages = middle.points["age"].to_numpy()
    ends = [middle.points, *(_at(curve, ages).reset_index(drop=True) for curve in (early, late))]
    low, high = (np.stack([rows[name] for rows in ends]) for name in ("low", "high"))
    # Keys leave these lives before they are due: how many expire is not among what they tell.
    points = middle.points.assign(low=low.min(axis=0), high=high.max(axis=0), expired=np.nan)
    return Incidence(*window, points)


def _at(curve: Incidence, ages: Numbers) -> pd.DataFrame:
    """The points of a curve that hold at ``ages``."""
    place = np.searchsorted(curve.points["age"].to_numpy(), ages, side="right") - 1
    return curve.points.iloc[np.maximum(place, 0)]


def _watched_ages(entry: Numbers, age: Numbers) -> tuple[float, float] | None:
    """The longest range of ages in which at least ``FEWEST`` keys were under watch all the time."""
    if not len(age):
        return None
    bounds = np.unique(np.concatenate([entry, age]))
    if len(bounds) < 2:
        return None
    # Of each range between two bounds, how many lives cover it.
    covering = np.searchsorted(np.sort(entry), bounds[:-1], "right") - np.searchsorted(
        np.sort(age), bounds[:-1], "right"
    )
    enough = np.concatenate([[False], covering >= FEWEST, [False]])
    edges = np.flatnonzero(np.diff(enough.astype(np.int8)))
    if not len(edges):
        return None
    begins, ends = bounds[edges[::2]], bounds[edges[1::2]]
    longest = int(np.argmax(ends - begins))
    return float(begins[longest]), float(ends[longest])


def _ages(removed: Numbers, since: float, until: float) -> Numbers:
    """Where the curve is told: its ends, its steps, or of many steps some."""
    steps = np.unique(removed)
    if len(steps) > _POINTS:
        steps = steps[np.linspace(0, len(steps) - 1, _POINTS).astype(int)]
    return np.unique(np.concatenate([np.linspace(since, until, 21), steps]))


def _at_risk(entry: Numbers, age: Numbers, grid: Numbers) -> NDArray[np.int64]:
    return np.searchsorted(np.sort(entry), grid, "left") - np.searchsorted(np.sort(age), grid, "left")


def _events(survival: Any, entry: Numbers, age: Numbers, rows: NDArray[np.bool_], times: Numbers) -> Numbers:
    """How many of one kind of end there were at each of ``times``."""
    events = np.zeros(len(times))
    if rows.any():
        one = survival(age, rows.astype(np.int64), entry=entry)
        events[np.searchsorted(times, one.surv_times)] = one.n_events
    return events


def _error(share: Numbers, before: Numbers, events: Numbers, either: Numbers, risk: Numbers) -> Numbers:
    """Standard error of a cumulative incidence, as statsmodels' ``CumIncidenceRight`` has it (Dinse and Larson 1986),
    which knows no delayed entry.
    """
    left = risk * (risk - either)
    # Where the last of those at risk went, nothing is added for that moment itself.
    each = np.divide(either, left, out=np.zeros(len(risk)), where=left > 0)
    found = share**2 * np.cumsum(each) - 2 * share * np.cumsum(share * each) + np.cumsum(share**2 * each)
    found += np.cumsum(before**2 * (risk - events) * events / risk**3)
    step = before * events / risk**2
    found += 2 * np.cumsum(share * step) - 2 * share * np.cumsum(step)
    return np.sqrt(np.maximum(found, 0.0))


def _interval(share: Numbers, error: Numbers, at_risk: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Bounds of 95 %: on the scale of log(-log), which keeps them within 0 and 1. Where none was seen to go, or all,
    exact ones of the fewest that were under watch up to there.
    """
    from scipy.special import ndtri

    low, high = np.zeros(len(share)), np.ones(len(share))
    share = np.where(share > 1 - 1e-9, 1.0, share)  # the library leaves 1e-16 of all
    some = (share > 0) & (share < 1)
    left = 1 - share[some]
    wide = ndtri(0.5 + CONFIDENCE / 2) * error[some] / (left * np.abs(np.log(left)))
    low[some], high[some] = 1 - left ** np.exp(-wide), 1 - left ** np.exp(wide)
    fewest = np.minimum.accumulate(np.where(at_risk > 0, at_risk, _NO_LIMIT))
    for place in np.flatnonzero(~some):
        number = int(fewest[place]) % _NO_LIMIT  # before the first nothing can have gone
        all_of_them = number if share[place] >= 1 else 0
        low[place], high[place] = exact_interval(all_of_them, number) if number else (0.0, 0.0)
    return low, high


_NO_LIMIT = 2**62

"""Gaps in the ages of what one snapshot holds: hours in which results were to be stored, and of which none is left.

In: when the results held were stored. Out: ``Pattern``s, never more than a hint: a pause in the work, and an expiry
that was due, leave the same gap.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.told import Pattern
from analysis.findings.words import stamp
from analysis.frames import in_micros

LEAST_EXPECTED = 20.0
"""So many results must be usual in a gap: less is the quiet of a night."""

LEAST_CHANCE = 0.01
"""And that none of them was stored must be less likely than this, as much as the hours of the case differ."""

_HOUR = 3_600_000_000
_SHORTEST = 2


def gap_patterns(stored: pd.DataFrame) -> list[Pattern]:
    """``stored``: columns server, db, family, at: when keys of the last snapshots were stored, as they say themselves
    (never as derived from their expiry). What is usual in a gap is what the same hours of other days have, or, within
    a single day, a quarter of the hours' mean.
    """
    told = []
    for (server, db, family), rows in stored.groupby(["server", "db", "family"], observed=True):
        hours = in_micros(rows["at"]) // _HOUR
        begin = int(hours.min())
        numbers = np.bincount((hours - begin).astype(np.int64))
        gaps = _empty(numbers)
        for first, last in gaps:
            usual, spread = _usual(numbers, first, last)
            if usual < LEAST_EXPECTED or len(gaps) * (1 + spread * usual) ** (-1 / spread) > LEAST_CHANCE:
                continue
            since, until = (pd.Timestamp(int(begin + at) * _HOUR, unit="us", tz="UTC") for at in (first, last + 1))
            says = (
                f"Of what DB {db} holds of the family {family}, nothing was stored from {stamp(since)} to "
                f"{stamp(until)}, where {usual:,.0f} are usual by the same hours of other days: removed, or never "
                "stored, which one snapshot cannot tell apart."
            )
            told.append(
                Pattern(
                    "gap", "one snapshot", says, str(server), int(db), (str(family),), since, until, None, len(rows),
                    usual, "hint",
                )
            )  # fmt: skip
    return told


def _empty(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and last of each run of hours without any, of two hours and more."""
    none = np.concatenate(([False], numbers == 0, [False]))
    begins, ends = np.flatnonzero(~none[:-1] & none[1:]), np.flatnonzero(none[:-1] & ~none[1:]) - 1
    return [(int(a), int(b)) for a, b in zip(begins, ends, strict=True) if b - a + 1 >= _SHORTEST]


def _usual(numbers: NDArray[np.int64], first: int, last: int) -> tuple[float, float]:
    """How many are usual in these hours, and how much such numbers differ: of the other days the one that had least
    there.
    """
    days = []
    for shift in range(-(first // 24) * 24, len(numbers) - last, 24):
        if shift and first + shift >= 0 and last + shift < len(numbers):
            days.append(int(numbers[first + shift : last + shift + 1].sum()))
    if not days:
        whole = len(numbers) - (last - first + 1)
        return float(numbers.sum() / max(whole, 1) * (last - first + 1) / 4), 1.0
    return float(min(days)), 0.3 if len(days) > 1 else 1.0

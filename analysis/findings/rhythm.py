"""The case's own rhythm: how many of something a time of day, and a cron minute, usually have; and what is beyond it.

In: numbers in bins of time, or removals of keys. Out: what the same times of other days and hours had, how surprising a
number is beside that, and what stands out. Never a constant rate alone: work has days, weeks and schedules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.removed import MICRO

DAY, HOUR = 86_400, 3_600

TIMES_MORE = 3.0
"""So many times what its own rhythm has is a pattern: less is what busy and slow days differ by."""

LARGEST_MORE = 2.0
"""And so many times the largest number that the same kind has at any other time."""

SURPRISE = 1e-3
"""The chance, over all bins that were looked at, that the rhythm itself made such a number."""

LEAST_BINS = 6
"""Of so many bins at least the time that is looked at consists, but for the narrowest."""

# Numbers of work are never as even as Poisson's: at best their variance is the mean and so much of its square.
WIDTHS = (10, 60, 600, 3_600)
"""Of so many seconds are the bins in which a burst is looked for."""

_LEAST_DISPERSION, _MOST_DISPERSION = 0.3, 5.0


@dataclass(frozen=True)
class Bins:
    """How many fell into each bin of time that has any: ``places`` (numbers of bins, rising), ``counts``, ``width`` in
    seconds, and ``whole``: how many bins the time that was looked at has.
    """

    places: NDArray[np.int64]
    counts: NDArray[np.int64]
    width: int
    whole: int


def binned(seconds: NDArray[np.float64], width: int, length: float) -> Bins:
    """Times in seconds since the beginning of what was looked at, which is ``length`` long, in bins of ``width``."""
    places, counts = np.unique((seconds // width).astype(np.int64), return_counts=True)
    last = int(places[-1]) + 1 if len(places) else 1
    return Bins(places, counts.astype(np.int64), width, max(last, int(np.ceil(length / width)), 1))


def expected(bins: Bins, chosen: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of the ``chosen`` bins (numbers as in ``places``): what the rhythm has there, and the largest number of any bin
    that is not beside it.

    The rhythm is the largest of: the mean of all other bins, the most at the same time of any other day, and, in bins
    of ten minutes and less, the most at the same minute of any other hour.
    """
    total, number = int(bins.counts.sum()), max(bins.whole - 3, 1)
    rhythm = np.maximum((total - _around(bins, chosen).sum(axis=0)) / number, 0.0)
    for period in (DAY, HOUR):
        step = period // bins.width
        if step < 6:
            continue
        for shift in range(step, bins.whole, step):
            for places in (chosen + shift, chosen - shift):
                rhythm = np.maximum(rhythm, _around(bins, places).max(axis=0))
    return rhythm, _largest_elsewhere(bins, chosen)


def flat(bins: Bins) -> float:
    """The mean of all bins."""
    return float(bins.counts.sum() / bins.whole)


def _around(bins: Bins, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many fell into each of these bins and the two beside it: three rows."""
    rows = []
    for wanted in (places - 1, places, places + 1):
        at = np.searchsorted(bins.places, wanted).clip(max=len(bins.places) - 1)
        rows.append(np.where(bins.places[at] == wanted, bins.counts[at], 0))
    return np.array(rows)


def _largest_elsewhere(bins: Bins, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    # Of the six largest, one is not beside a given bin.
    order = np.argsort(-bins.counts, kind="stable")[:6]
    found = np.zeros(len(chosen), np.int64)
    for place in order[::-1]:
        apart = np.abs(chosen - bins.places[place]) > 2
        found[apart] = np.maximum(found[apart], bins.counts[place])
    return found


def dispersion(bins: Bins, but: int) -> float:
    """How far numbers of one kind vary beyond chance, in all bins but one and those beside it: (variance − mean) /
    mean², within bounds.
    """
    apart = np.abs(bins.places - but) > 2
    counts, whole = bins.counts[apart].astype(float), max(bins.whole - 3, 1)
    mean = counts.sum() / whole
    if not mean:
        return _LEAST_DISPERSION
    variance = float((counts**2).sum() / whole - mean**2)
    return float(np.clip((variance - mean) / mean**2, _LEAST_DISPERSION, _MOST_DISPERSION))


def surprise(seen: int, rhythm: float, spread: float, looked: int) -> float:
    """The chance of so many or more where ``rhythm`` is usual, in any of ``looked`` bins: a negative binomial, whose
    variance is the mean and ``spread`` of its square (scipy.stats.nbinom).
    """
    from scipy.stats import nbinom

    size = 1 / spread
    return float(min(1.0, looked * nbinom.sf(seen - 1, size, size / (size + max(rhythm, 1e-6)))))


def bursts(rows: pd.DataFrame, spans: pd.DataFrame, few: int) -> Iterator[tuple[pd.DataFrame, float]]:
    """What of each kind of key (by stream, database, and what it begins with) stands out from that kind's own rhythm:
    its rows, and how many the rhythm has in such a time. Bins of ten seconds to an hour are looked at, a burst is told
    in the narrowest.
    """
    by = spans.set_index("stream")
    groups = list(rows.groupby(["stream", "db", "stem", "family"], observed=True, dropna=False, sort=False))
    bins = {name: max(int((span.end - span.begin) / MICRO), 1) for name, span in by.iterrows()}
    looked = sum(bins[name[0]] / width for name, _ in groups for width in WIDTHS)
    for (stream, *_), mine in groups:
        if len(mine) < few:
            continue
        begin = int(by.loc[stream, "begin"])
        seconds = (mine["at"].to_numpy(dtype=np.int64) - begin) / MICRO
        taken = np.zeros(len(mine), bool)
        for width in WIDTHS:
            if width > WIDTHS[0] and bins[stream] < LEAST_BINS * width:
                continue  # so short a time has no rhythm of such bins
            whole = binned(seconds, width, bins[stream])
            for place, rhythm in _standing_out(whole, few, int(looked)):
                inside = (seconds // width).astype(np.int64) == place
                if not taken[inside].any():
                    # A burst on the edge of two bins is one.
                    taken |= np.abs((seconds // width).astype(np.int64) - place) <= 1
                    yield mine.loc[_near(seconds, inside, width)], rhythm


def _standing_out(bins: Bins, few: int, looked: int) -> Iterator[tuple[int, float]]:
    chosen = bins.places[bins.counts >= max(few, flat(bins))]
    if not len(chosen):
        return
    rhythm, largest = expected(bins, chosen)
    counts = bins.counts[np.searchsorted(bins.places, chosen)]
    order = np.argsort(-counts, kind="stable")
    for place, usual, most, seen in zip(chosen[order], rhythm[order], largest[order], counts[order], strict=True):
        if seen < max(few, TIMES_MORE * usual, LARGEST_MORE * most):
            continue
        mean = max(float(usual), (int(bins.counts.sum()) - int(seen) + 0.5) / bins.whole)
        if surprise(int(seen), mean, dispersion(bins, int(place)), looked) <= SURPRISE:
            yield int(place), float(usual)


def _near(seconds: NDArray[np.float64], inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Those of a bin, and those beside it that follow without a pause."""
    first, last = seconds[inside].min(), seconds[inside].max()
    pause = min(width, 60)
    for at in np.sort(seconds[seconds > last]):
        if at - last > pause:
            break
        last = at
    for at in -np.sort(-seconds[seconds < first]):
        if first - at > pause:
            break
        first = at
    return (seconds >= first) & (seconds <= last)

"""When the commands of one stream ran, between which bounds: they stand in the order in which they ran.

In: for some commands the earliest and the latest time, in µs since 1970. Out: both for all of them. Does not know where
a time comes from.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from analysis.columns import scratch

Numbers = NDArray[np.int64]

UNKNOWN = np.iinfo(np.int64).min
"""No bound, whichever; as pandas holds a time that is missing."""
_WITHIN = 1_200_000
"""Behind the second written (µs): its own length, and what the server's idea of the time may lag."""
_FEW = 1_000
_NEVER = np.iinfo(np.int64).max


def seconds(at: Numbers, last: int) -> tuple[Numbers, Numbers]:
    """Bounds from the second written before each command: it ran in that second, for a command of another second has
    its own written before it (aof.c, genAofTimestampAnnotationIfNeeded), and not after the next that is written.
    ``last`` is the last written, behind all commands. Where the clock has gone back, the earlier bound is the one
    written last, and there is no later one; nor for very many commands behind the last, before which the writing of
    times was turned off.
    """
    earliest, latest = scratch(len(at), np.int64), scratch(len(at), np.int64)
    earliest[:], latest[:] = at, UNKNOWN
    if len(at):
        changes = np.flatnonzero(np.diff(at)) + 1
        ends = np.append(changes, len(at))
        following = np.append(at[changes], last if last > at[-1] else UNKNOWN)
        begins = np.append(0, changes)
        most = max(_FEW, 10 * int((ends - begins)[:-1].max(initial=0)))
        for begin, end, next_second in zip(begins.tolist(), ends.tolist(), following.tolist(), strict=True):
            second = int(at[begin])
            if second == UNKNOWN:
                continue
            if next_second >= second:
                latest[begin:end] = min(next_second, second + _WITHIN)
            elif next_second == UNKNOWN and end - begin <= most:
                latest[begin:end] = second + _WITHIN
    return earliest, latest


def narrowed(
    earliest: Numbers, latest: Numbers, rows: Numbers, not_before: Numbers, not_after: Numbers
) -> tuple[Numbers, Numbers]:
    """Bounds made narrower by what is known of the commands at ``rows``, which are in order; either end may be unknown.

    What bounds a command from below bounds those behind it too, and from above those before it. What contradicts the
    bounds there are is left out; of times that contradict each other as many as possible are kept. Where the bounds go
    back already, with the server's clock, nothing is made of them.
    """
    if not len(rows) or (earliest[1:] < earliest[:-1]).any():
        return earliest, latest
    # What is as long as the stream lies in files, and is worked on in place.
    low, high = scratch(len(earliest), np.int64), scratch(len(latest), np.int64)
    low[:], high[:] = earliest, latest
    high[high == UNKNOWN] = _NEVER
    first, end = not_before.copy(), np.where(not_after == UNKNOWN, _NEVER, not_after)
    sound = np.flatnonzero((first <= high[rows]) & (end >= low[rows]) & (first <= end))
    whole = sound[(first[sound] != UNKNOWN) & (end[sound] != _NEVER)]
    middle = first[whole] + (end[whole] - first[whole]) // 2
    dropped = np.ones(len(whole), bool)
    dropped[_rising(middle)] = False
    sound = np.setdiff1d(sound, whole[dropped], assume_unique=True)
    np.maximum.at(low, rows[sound], first[sound])
    np.maximum.accumulate(low, out=low)
    # One end alone, against what both ends of others have made known.
    sound = sound[end[sound] >= low[rows[sound]]]
    np.minimum.at(high, rows[sound], end[sound])
    np.minimum.accumulate(high[::-1], out=high[::-1])
    high[high == _NEVER] = UNKNOWN
    return low, high


def _rising(times: Numbers) -> Numbers:
    """Places of a longest part of ``times`` that never goes back."""
    if not (np.diff(times) < 0).any():
        return np.arange(len(times))
    tops: list[int] = []
    places: list[int] = []
    before = np.full(len(times), -1, np.int64)
    for place, time in enumerate(times.tolist()):
        at = bisect_right(tops, time)
        before[place] = places[at - 1] if at else -1
        tops[at : at + 1], places[at : at + 1] = [time], [place]
    found = []
    place = places[-1]
    while place >= 0:
        found.append(place)
        place = int(before[place])
    return np.array(found[::-1], np.int64)

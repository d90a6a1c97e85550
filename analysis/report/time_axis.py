"""The axis of time that charts share: ticks in UTC, the case's own zone under them, and who testifies when.

In: the ends of the axis, and ``witnesses``. Out: marks on given ``Axes``, whose x is seconds since the beginning and
whose y is pixels, downwards. Knows nothing of what is drawn above it.
"""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.findings.words import count
from analysis.report.figure import INK, LINE, OTHER, SOFT, beside, width_of

# A strip for each source, up to so many; beyond that one for each kind.
MOST_STRIPS = 5
STRIP_PX = 15.0

_STEPS = [
    *(timedelta(seconds=n) for n in (1, 2, 5, 10, 15, 30)),
    *(timedelta(minutes=n) for n in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=n) for n in (1, 2, 3, 6, 12)),
    *(timedelta(days=n) for n in (1, 2, 4, 7, 14, 28, 91, 182, 364, 728, 1820, 3640)),
]


def tick_times(begin: pd.Timestamp, end: pd.Timestamp, most: int = 6) -> list[pd.Timestamp]:
    """Round times from ``begin`` to ``end``, at most ``most`` and, where the axis allows it, at least two."""
    step = next((pd.Timedelta(step) for step in _STEPS if (end - begin) / pd.Timedelta(step) <= most - 1),
                pd.Timedelta(_STEPS[-1]))  # fmt: skip
    first = (
        begin.floor("D") + (begin - begin.floor("D")).ceil(step) if step <= pd.Timedelta(days=1) else begin.ceil("D")
    )
    times: list[pd.Timestamp] = []
    while first <= end and len(times) < most:
        times.append(first)
        first += step
    return times


def tick_labels(times: list[pd.Timestamp], zone: ZoneInfo | None = None) -> list[str]:
    """A label for each tick: the time, with its date where that is the first or another than before."""
    local = [time if zone is None else time.tz_convert(zone) for time in times]
    seconds = any(time.second for time in local)
    clock = not all(time == time.normalize() for time in local)
    labels = []
    for place, time in enumerate(local):
        day = f"{time.day} {time:%B}" if not place or time.date() != local[place - 1].date() else ""
        hour = f"{time:%H:%M:%S}" if seconds else f"{time:%H:%M}"
        labels.append(", ".join(part for part in (day, hour if clock else "") if part))
    return labels


def time_axis(ax: Axes, begin: pd.Timestamp, end: pd.Timestamp, y: float, zone: ZoneInfo | None, line: float) -> None:
    """Ticks of UTC below ``y`` and, a ``line`` lower, the case's zone; x is seconds since ``begin``, y grows downwards.

    The year stands beside the zone's name, left of the axis.
    """
    times = tick_times(begin, end)
    whole, width = (end - begin).total_seconds(), ax.get_window_extent().width
    for time in times:
        ax.plot([(time - begin).total_seconds()] * 2, [0, y], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
    ax.plot([0, (end - begin).total_seconds()], [y, y], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
    rows: list[tuple[str, ZoneInfo | None, str]] = [("UTC", None, INK)]
    if zone is not None and zone.key != "UTC":
        rows.append((zone.key.rpartition("/")[2].replace("_", " "), zone, SOFT))
    for place, (name, own, color) in enumerate(rows):
        low = y + line * (0.9 + place)
        year = begin.tz_convert(own).year if own else begin.year
        beside(ax, f"{name}, {year}", low, color)
        free = 0.0
        for time, label in zip(times, tick_labels(times, own), strict=True):
            x = (time - begin).total_seconds()
            # The first and the last label stay within the axes: left of them stands the zone's name.
            half = width_of(label) / 2 * whole / width
            middle = min(max(x, half), max(half, whole - half))
            # Where the font is a wide one, a label may have no room beside the one before it.
            if middle - half < free:
                continue
            free = middle + half
            ax.text(middle, low, label, ha="center", va="center", color=color, clip_on=False)


def strips_of(seen: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The strips that ``witness_strips`` draws of ``findings.witnesses``: a name and its intervals, in order."""
    if seen["source"].nunique() <= MOST_STRIPS:
        return [(str(source), rows) for source, rows in seen.groupby("source", sort=False)]
    kinds = [(str(kind), rows) for kind, rows in seen.groupby("kind", sort=False)]
    return [
        (f"{kind}, {count(rows['source'].nunique(), 'file')}" if len(rows) > 1 else str(rows["source"].iloc[0]), rows)
        for kind, rows in kinds
    ]


def witness_strips(ax: Axes, seen: pd.DataFrame, begin: pd.Timestamp, end: pd.Timestamp, y: float) -> float:
    """A thin strip for each source below ``y``, filled while it testifies; returns the height at which they end."""
    whole = (end - begin).total_seconds()
    least = whole / max(ax.get_window_extent().width, 1) * 2.5
    for name, rows in strips_of(seen):
        middle = y + STRIP_PX / 2
        beside(ax, name, middle, SOFT)
        ax.plot([0, whole], [middle, middle], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
        for since, until in rows[["since", "until"]].itertuples(index=False):
            first = max((since - begin).total_seconds(), 0.0)
            last = min((until - begin).total_seconds(), whole)
            if last >= 0 and first <= whole:
                # A moment is as wide as can be seen.
                wide = max(last - first, least)
                left = min(first, whole - wide)
                ax.add_patch(Rectangle((left, middle - 2.5), wide, 5, facecolor=OTHER, linewidth=0, clip_on=False))
        y += STRIP_PX
    return y


def hatch(ax: Axes, gaps: pd.DataFrame, begin: pd.Timestamp, top: float, bottom: float) -> None:
    """Hatch the times of which no witness speaks (``findings.witnesses.unwitnessed``): nothing is known, not none."""
    for since, until in gaps[["since", "until"]].itertuples(index=False):
        left, right = (since - begin).total_seconds(), (until - begin).total_seconds()
        ax.add_patch(
            Rectangle((left, top), right - left, bottom - top, facecolor="#f4f6f8", edgecolor="#c9d0d8", hatch="////",
                      linewidth=0, zorder=0)
        )  # fmt: skip

"""The charts: every one ``plot_x(frame, *, ax=None) -> Axes``, which a notebook shows as they are.

In: counted frames of the findings. Out: axes, labelled in place: a row a family with a scale of its own, its numbers
beside it, no legend. ``figure`` has the look, ``timeline_chart`` the timeline.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.findings.words import count
from analysis.report.family_rows import LABEL_PX, LINE_PX, ROW_PX, above, baseline, family_name, family_rows, largest
from analysis.report.figure import (
    RUNNING,
    SOFT,
    Chart,
    describe,
    nothing,
    show,
    style,
)
from analysis.report.time_axis import time_axis
from analysis.report.timeline_chart import plot_timeline
from analysis.report.ttl_charts import plot_expiry_forecast, plot_remaining_ttl, plot_stored_against_expiry

__all__ = [
    "Chart", "plot_expiry_forecast", "plot_keys_by_hour", "plot_remaining_ttl", "plot_stored_against_expiry",
    "plot_timeline", "show",
]  # fmt: skip

# Columns of time beyond which hours are drawn together: more would be narrower than three pixels.
_MOST_COLUMNS = 240


def plot_keys_by_hour(stored: pd.DataFrame, *, zone: ZoneInfo | None = None, ax: Axes | None = None) -> Axes:
    """Results held by the hour in which they were stored (columns hour, family, keys as ``bulk.stored_by_hour`` gives
    them).

    Over more than ten days several hours are drawn together, and the chart says how many. Without keys, a sentence.
    """
    counted = stored.loc[stored["keys"].gt(0) & stored["hour"].notna()]
    if not len(counted):
        return nothing("No result held says when it was stored, so there is nothing to draw by hour.", ax)
    families, hour = largest(counted), pd.Timedelta(hours=1)
    begin, end = counted["hour"].min(), counted["hour"].max() + hour
    each = max(1, int(np.ceil((end - begin) / hour / _MOST_COLUMNS)))
    columns = int(np.ceil((end - begin) / hour / each))
    # Few hours would be as wide as the page, and a single one would look like a plateau.
    spare = max(0, 12 - columns) // 2
    begin, columns = begin - spare * hour, columns + 2 * spare
    end = begin + columns * each * hour
    zones = 2 if zone is not None and zone.key != "UTC" else 1
    told = []
    with style():
        ax, width = family_rows(ax, families, (zones + 1) * LINE_PX)
        seconds = (end - begin).total_seconds()
        ax.set_xlim(0, seconds)
        low = len(families) * (ROW_PX + LABEL_PX)
        time_axis(ax, begin, end, low, zone, LINE_PX)
        for place, (family, rows) in enumerate(families):
            slots = ((rows["hour"] - begin) / hour // each).astype(int)
            keys = np.bincount(slots, weights=rows["keys"].astype(float), minlength=columns)[:columns]
            base = baseline(ax, place, family, int(keys.sum()), seconds)
            edges = np.linspace(0, seconds, columns + 1)
            ax.stairs(base - keys * (ROW_PX / keys.max()), edges, baseline=base, fill=True, color=RUNNING, linewidth=0)
            most = int(np.argmax(keys))
            at = begin + most * each * hour
            words = f"most: {int(keys[most]):,} at {at:%H:%M}, {at.day} {at:%B}"
            above(ax, words, (most + 0.5) * each * 3600, base, seconds / width)
            told.append(f"{family_name(family)}: {count(int(keys.sum()), 'key')}, {words} {at.year} UTC")
        what = "hour" if each == 1 else f"{each:,} hours"
        note = f"Results held, by the {what} in which they were stored. Each row has a scale of its own."
        ax.text(0, low + LINE_PX * (zones + 0.9), note, va="center", color=SOFT, clip_on=False)
    span = f"from {begin + spare * hour:%Y-%m-%d %H:%M} to {end - spare * hour:%Y-%m-%d %H:%M} UTC"
    return describe(ax, f"Results held by the hour in which they were stored, {span}. {'; '.join(told)}.")

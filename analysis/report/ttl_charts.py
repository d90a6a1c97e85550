"""The charts of what is left of TTLs: time left by family, and what expires when.

In: frames of ``findings.ttl``. Out: axes, labelled in place, a row a family.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.findings.ttl.forecast import HORIZON, Forecast
from analysis.findings.ttl.remaining import BIN_NAMES, NONE, PAST
from analysis.findings.words import count, stamp
from analysis.report.family_rows import LABEL_PX, LINE_PX, ROW_PX, above, baseline, family_name, family_rows, largest
from analysis.report.figure import (
    LOST,
    OTHER,
    RUNNING,
    SOFT,
    describe,
    drawable,
    fitting,
    nothing,
    style,
)
from analysis.report.time_axis import STRIP_PX, strips_of, time_axis, witness_strips

_FEWEST_BINS = 6


def plot_remaining_ttl(bins: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Keys by family and remaining TTL (columns family, bin, keys as ``remaining.remaining_bins`` gives them).

    Keys past their expiry and keys without a TTL are hatched columns of their own. Without keys, a sentence.
    """
    counted = bins.loc[bins["keys"].gt(0)]
    if not len(counted):
        return nothing("There is no key in the evidence, so there is no TTL to draw.", ax)
    families = largest(counted)
    held = [name for name in BIN_NAMES if counted["bin"].eq(name).any()]
    inner = [place for place, name in enumerate(BIN_NAMES) if name in held and name not in _APART]
    between = BIN_NAMES[min(inner) : max(inner) + 1] if inner else ()
    names = [name for name in BIN_NAMES if name in held or name in between]
    with style():
        ax, width = family_rows(ax, families, 2 * LINE_PX)
        # Two bins would be as wide as the page.
        places = max(len(names), _FEWEST_BINS)
        ax.set_xlim(0, places)
        for place, (family, rows) in enumerate(families):
            keys = rows.groupby("bin", observed=True)["keys"].sum()
            base, scale = baseline(ax, place, family, int(keys.sum()), places), ROW_PX / keys.max()
            for column, name in enumerate(names):
                if number := int(keys.get(name, 0)):
                    _column(ax, column, base, max(number * scale, 1.5), name)
                    ax.text(column + 0.5, base - max(number * scale, 1.5) - 2, f"{number:,}", ha="center", va="bottom")
        low = len(families) * (ROW_PX + LABEL_PX) + 10
        for column, name in enumerate(names):
            text = fitting(drawable(name), width / places - 4)
            ax.text(column + 0.5, low, text, ha="center", va="center", color=SOFT, clip_on=False)
        note = "Time left to live when the snapshot was taken, of the keys held. Each row has a scale of its own."
        ax.text(0, low + LINE_PX, note, va="center", color=SOFT, clip_on=False)
    told = [(family, rows.groupby("bin", observed=True)["keys"].sum()) for family, rows in families]
    parts = [f"{family_name(f)}: {', '.join(f'{keys[n]:,} {n}' for n in names if n in keys)}" for f, keys in told]
    return describe(ax, f"Keys by family and time left to live. {'; '.join(parts)}.")


_APART = (PAST, *BIN_NAMES[BIN_NAMES.index(NONE) :])


def _column(ax: Axes, column: int, base: float, height: float, name: str) -> None:
    color = LOST if name == PAST else OTHER if name in _APART else RUNNING
    hatched = color != RUNNING
    ax.add_patch(
        Rectangle(
            (column + 0.14, base - height),
            0.72,
            height,
            facecolor="white" if hatched else color,
            edgecolor=color,
            hatch="////" if hatched else None,
            linewidth=0.8,
        )
    )


def plot_expiry_forecast(
    forecast: Forecast, *, seen: pd.DataFrame | None = None, zone: ZoneInfo | None = None, ax: Axes | None = None
) -> Axes:
    """Keys that expire, by family and hour (``forecast.expiry_forecast``), from the snapshot on. Without any, a
    sentence.

    Drawn with a dashed outline, as what is inferred: no witness has seen these hours. ``seen`` gives the strips.
    """
    hours = forecast.hours
    if not len(hours) or forecast.begin is None:
        return nothing("No key is known to expire within the horizon, so there is no forecast.", ax)
    hour = pd.Timedelta(hours=1)
    begin, end = forecast.begin.floor("h"), hours["hour"].max() + hour
    end = max(end, begin + 12 * hour)
    columns = round((end - begin) / hour)
    families, zones = largest(hours), 2 if zone is not None and zone.key != "UTC" else 1
    if seen is not None:
        seen = seen.loc[seen["until"].ge(begin)]
    strips = strips_of(seen) if seen is not None else []
    told = []
    with style():
        ax, width = family_rows(ax, families, (zones + 1) * LINE_PX + len(strips) * STRIP_PX + 12)
        seconds = (end - begin).total_seconds()
        ax.set_xlim(0, seconds)
        low = len(families) * (ROW_PX + LABEL_PX)
        time_axis(ax, begin, end, low, zone, LINE_PX)
        for place, (family, rows) in enumerate(families):
            slots = ((rows["hour"] - begin) / hour).astype(int)
            keys = np.bincount(slots, weights=rows["keys"].astype(float), minlength=columns)
            base = baseline(ax, place, family, int(keys.sum()), seconds)
            edges = np.linspace(0, seconds, columns + 1)
            heights = base - keys * (ROW_PX / keys.max())
            ax.stairs(heights, edges, baseline=base, fill=True, facecolor="#dbe8f6", linewidth=0, zorder=1)
            ax.stairs(heights, edges, baseline=base, color=RUNNING, linewidth=0.9, linestyle=(0, (3, 1.5)), zorder=2)
            most = int(np.argmax(keys))
            at = begin + most * hour
            words = f"most: {int(keys[most]):,} in the hour from {at:%H:%M}, {at.day} {at:%B}"
            above(ax, words, (most + 0.5) * 3600, base, seconds / width)
            size = int(rows["bytes"].sum())
            told.append(
                f"{family_name(family)}: {count(int(keys.sum()), 'key')}, {size:,} bytes, {words} {at.year} UTC"
            )
        below = low + zones * LINE_PX + 8
        if seen is not None:
            below = witness_strips(ax, seen, begin, end, below)
        note = "Keys that will expire, by the hour, if nothing renews or removes them before: inferred, so dashed."
        ax.text(0, below + LINE_PX * 0.6, note, va="center", color=SOFT, clip_on=False)
    return describe(ax, f"Keys that expire, by the hour, from {stamp(begin)} to {stamp(end)}, at most {HORIZON.days} "
                        f"days ahead. {'; '.join(told)}.")  # fmt: skip

"""The charts: every one ``plot_x(frame, *, ax=None) -> Axes``, which a notebook shows as they are.

In: counted frames of the findings. Out: axes, labelled in place: a row a family with a scale of its own, its numbers
beside it, no legend. ``figure`` has the look, ``timeline_chart`` the timeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.findings.ttl import BIN_NAMES, NONE, PAST
from analysis.findings.words import count
from analysis.report.figure import (
    INK,
    LINE,
    LOST,
    OTHER,
    RUNNING,
    SOFT,
    WIDTH_PX,
    Chart,
    bare,
    beside,
    describe,
    drawable,
    fitting,
    new_axes,
    nothing,
    show,
    style,
    width_of,
)
from analysis.report.time_axis import time_axis
from analysis.report.timeline_chart import plot_timeline

__all__ = ["Chart", "plot_keys_by_hour", "plot_remaining_ttl", "plot_timeline", "show"]

MOST_FAMILIES = 8
# Columns of time beyond which hours are drawn together: more would be narrower than three pixels.
_MOST_COLUMNS = 240
_WIDEST_FAMILY = 180.0
_FEWEST_BINS = 6
_ROW, _LABEL, _LINE, _RIGHT = 34.0, 18.0, 17.0, 14.0

Families = Sequence[tuple[str, pd.DataFrame]]


def plot_remaining_ttl(bins: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Keys by family and remaining TTL (columns family, bin, keys as ``ttl.remaining_bins`` gives them).

    Keys past their expiry and keys without a TTL are hatched columns of their own. Without keys, a sentence.
    """
    counted = bins.loc[bins["keys"].gt(0)]
    if not len(counted):
        return nothing("There is no key in the evidence, so there is no TTL to draw.", ax)
    families = _largest(counted)
    held = [name for name in BIN_NAMES if counted["bin"].eq(name).any()]
    inner = [place for place, name in enumerate(BIN_NAMES) if name in held and name not in (PAST, NONE)]
    between = BIN_NAMES[min(inner) : max(inner) + 1] if inner else ()
    names = [*(name for name in BIN_NAMES if name in held or name in between)]
    names += [name for name in dict.fromkeys(counted["bin"]) if name not in names]
    with style():
        ax, width = _rows(ax, families, 2 * _LINE)
        # Two bins would be as wide as the page.
        places = max(len(names), _FEWEST_BINS)
        ax.set_xlim(0, places)
        for place, (family, rows) in enumerate(families):
            keys = rows.groupby("bin", observed=True)["keys"].sum()
            base, scale = _baseline(ax, place, family, int(keys.sum()), places), _ROW / keys.max()
            for column, name in enumerate(names):
                if number := int(keys.get(name, 0)):
                    _column(ax, column, base, max(number * scale, 1.5), name)
                    ax.text(column + 0.5, base - max(number * scale, 1.5) - 2, f"{number:,}", ha="center", va="bottom")
        low = len(families) * (_ROW + _LABEL) + 10
        for column, name in enumerate(names):
            text = fitting(drawable(name), width / places - 4)
            ax.text(column + 0.5, low, text, ha="center", va="center", color=SOFT, clip_on=False)
        note = "Time left to live when the snapshot was taken. Each row has a scale of its own."
        ax.text(0, low + _LINE, note, va="center", color=SOFT, clip_on=False)
    told = [(family, rows.groupby("bin", observed=True)["keys"].sum()) for family, rows in families]
    parts = [f"{_name(f)}: {', '.join(f'{keys[n]:,} {n}' for n in names if n in keys)}" for f, keys in told]
    return describe(ax, f"Keys by family and time left to live. {'; '.join(parts)}.")


def _column(ax: Axes, column: int, base: float, height: float, name: str) -> None:
    color = LOST if name == PAST else OTHER if name == NONE or name not in BIN_NAMES else RUNNING
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


def plot_keys_by_hour(stored: pd.DataFrame, *, zone: ZoneInfo | None = None, ax: Axes | None = None) -> Axes:
    """Results held by the hour in which they were stored (columns hour, family, keys as ``bulk.stored_by_hour`` gives
    them).

    Over more than ten days several hours are drawn together, and the chart says how many. Without keys, a sentence.
    """
    counted = stored.loc[stored["keys"].gt(0) & stored["hour"].notna()]
    if not len(counted):
        return nothing("No result held says when it was stored, so there is nothing to draw by hour.", ax)
    families, hour = _largest(counted), pd.Timedelta(hours=1)
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
        ax, width = _rows(ax, families, (zones + 1) * _LINE)
        seconds = (end - begin).total_seconds()
        ax.set_xlim(0, seconds)
        low = len(families) * (_ROW + _LABEL)
        time_axis(ax, begin, end, low, zone, _LINE)
        for place, (family, rows) in enumerate(families):
            slots = ((rows["hour"] - begin) / hour // each).astype(int)
            keys = np.bincount(slots, weights=rows["keys"].astype(float), minlength=columns)[:columns]
            base = _baseline(ax, place, family, int(keys.sum()), seconds)
            edges = np.linspace(0, seconds, columns + 1)
            ax.stairs(base - keys * (_ROW / keys.max()), edges, baseline=base, fill=True, color=RUNNING, linewidth=0)
            most = int(np.argmax(keys))
            at = begin + most * each * hour
            words = f"most: {int(keys[most]):,} at {at:%H:%M}, {at.day} {at:%B}"
            _above(ax, words, (most + 0.5) * each * 3600, base, seconds / width)
            told.append(f"{_name(family)}: {count(int(keys.sum()), 'key')}, {words} {at.year} UTC")
        what = "hour" if each == 1 else f"{each:,} hours"
        note = f"Results held, by the {what} in which they were stored. Each row has a scale of its own."
        ax.text(0, low + _LINE * (zones + 0.9), note, va="center", color=SOFT, clip_on=False)
    span = f"from {begin + spare * hour:%Y-%m-%d %H:%M} to {end - spare * hour:%Y-%m-%d %H:%M} UTC"
    return describe(ax, f"Results held by the hour in which they were stored, {span}. {'; '.join(told)}.")


def _above(ax: Axes, words: str, middle: float, base: float, pixel: float) -> None:
    """A label above a row, as near to ``middle`` as the axes let it stand whole."""
    half = width_of(words) / 2 * pixel
    x = min(max(middle, half), max(half, ax.get_xlim()[1] - half))
    ax.text(x, base - _ROW - 2, words, ha="center", va="bottom", clip_on=False)


def _rows(ax: Axes | None, families: Families, below: float) -> tuple[Axes, float]:
    """Axes with a row for each family, y in pixels downwards; and their width in pixels."""
    height = len(families) * (_ROW + _LABEL)
    left = max(110.0, *(width_of(_name(family)) + 20 for family, _ in families))
    if ax is None:
        ax = new_axes(height, left=left, right=_RIGHT, bottom=below + 8)
        width = WIDTH_PX - left - _RIGHT
    else:
        width = ax.get_window_extent().width
    bare(ax)
    ax.set_ylim(height, 0)
    return ax, width


def _baseline(ax: Axes, place: int, family: str, keys: int, end: float) -> float:
    """The bottom line of a family's row, with its name and its number of keys beside it; returns its height."""
    base = (place + 1) * (_ROW + _LABEL)
    ax.plot([0, end], [base, base], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
    beside(ax, _name(family), base - _ROW / 2 - 8, INK)
    beside(ax, count(keys, "key"), base - _ROW / 2 + 8, SOFT)
    return base


def _name(family: str) -> str:
    return fitting(drawable(family), _WIDEST_FAMILY)


def _largest(counted: pd.DataFrame) -> Families:
    """Families with their rows, largest first; beyond ``MOST_FAMILIES`` the rest are one."""
    named = counted.assign(family=counted["family"].fillna("unnamed").astype(str))
    order = list(named.groupby("family")["keys"].sum().sort_values(ascending=False, kind="stable").index)
    some = order if len(order) <= MOST_FAMILIES else order[: MOST_FAMILIES - 1]
    groups = [(family, named.loc[named["family"].eq(family)]) for family in some]
    if len(order) > len(some):
        groups.append((f"{len(order) - len(some):,} other families", named.loc[~named["family"].isin(some)]))
    return groups

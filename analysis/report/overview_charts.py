"""The charts of the overview: keys and bytes by family, and results an hour beside who could have seen them.

In: counted frames of ``findings.overview``. Out: ``Axes``, labelled in place, whose y is pixels downwards.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.findings.overview.hours import FAILED, HELD, ROWS
from analysis.findings.witnesses import unwitnessed
from analysis.findings.words import count, size
from analysis.report.figure import (
    INK,
    LINE,
    LOST,
    RUNNING,
    SOFT,
    bare,
    beside,
    describe,
    drawable,
    fitting,
    new_axes,
    nothing,
    style,
    width_of,
)
from analysis.report.time_axis import STRIP_PX, hatch, strips_of, time_axis, witness_strips

__all__ = ["plot_families", "plot_results_by_hour"]

MOST_FAMILIES = 8
# Columns of time beyond which hours are drawn together: more would be narrower than three pixels.
_MOST_COLUMNS = 240
_ROW, _LABEL, _LINE, _RIGHT = 34.0, 18.0, 17.0, 14.0
_BAR, _STEP = 14.0, 26.0
_WIDEST_NAME = 180.0
_HOUR = pd.Timedelta(hours=1)


def plot_families(families: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Keys and serialized bytes by family (columns family, keys, bytes as ``overview.held.by_family`` gives them), over
    all servers and databases: two bars a family, each column with a scale of its own. Without keys, a sentence.
    """
    held = families.assign(family=families["family"].fillna("unnamed").astype("str"))
    table = held.groupby("family")[["keys", "bytes"]].sum().sort_values("keys", ascending=False, kind="stable")
    if not len(table) or not table["keys"].sum():
        return nothing("There is no key in the evidence, so there is no family to draw.", ax)
    if len(table) > MOST_FAMILIES:
        rest = table.iloc[MOST_FAMILIES - 1 :]
        table = table.iloc[: MOST_FAMILIES - 1]
        table.loc[f"{len(rest):,} other families"] = rest.sum()
    names = [fitting(drawable(name), _WIDEST_NAME) for name in table.index]
    height = _LINE + len(table) * _STEP
    left = max(90.0, *(width_of(name) + 20 for name in names))
    with style():
        if ax is None:
            ax = new_axes(height, left=left, right=_RIGHT)
        width = ax.get_window_extent().width
        bare(ax)
        ax.set_xlim(0, width)
        ax.set_ylim(height, 0)
        middle = width / 2 + 10
        for start, column, title in ((0.0, "keys", "Keys"), (middle, "bytes", "Bytes in the file (not memory)")):
            ax.text(start, _LINE / 2, title, va="center", color=SOFT)
            most = max(float(table[column].max()), 1.0)
            words = [f"{int(n):,}" if column == "keys" else size(int(n)) for n in table[column]]
            room = middle - 30 - max(width_of(word) for word in words)
            for place, (number, word) in enumerate(zip(table[column], words, strict=True)):
                y = _LINE + place * _STEP + (_STEP - _BAR) / 2
                wide = max(float(number) / most * room, 1.5)
                ax.add_patch(Rectangle((start, y), wide, _BAR, facecolor=RUNNING, linewidth=0))
                ax.text(start + wide + 6, y + _BAR / 2, word, va="center")
        for place, name in enumerate(names):
            beside(ax, name, _LINE + place * _STEP + _STEP / 2)
    told = [
        f"{name}: {count(int(keys), 'key')}, {size(int(octets))}"
        for name, keys, octets in zip(names, table["keys"], table["bytes"], strict=True)
    ]
    return describe(ax, f"Keys and serialized bytes by family. {'; '.join(told)}.")


def plot_results_by_hour(
    hours: pd.DataFrame, looked: pd.DataFrame, *, zone: ZoneInfo | None = None, ax: Axes | None = None
) -> Axes:
    """Results by hour (columns hour, what, tasks as ``overview.hours.results_by_hour`` gives them): a row each for
    those held, those of them that failed, and what worker logs say ended, each with a scale of its own.

    Hours of which no source of a row can tell (``overview.hours.who_looked``) are hatched; a strip for each source
    shows when it can. Without a result and a line, a sentence.
    """
    counted = hours.loc[hours["tasks"].gt(0)]
    if not len(counted):
        return nothing("No result held says when it was stored, and no worker log tells when a task ended.", ax)
    rows = [what for what in ROWS if counted["what"].eq(what).any() or looked["what"].eq(what).any()]
    begin, end, each = _span(counted, looked)
    columns = int((end - begin) / _HOUR) // each
    strips = looked.drop_duplicates(["source", "since", "until"])
    lines = (2 if zone is not None and zone.key != "UTC" else 1) + 1
    low = len(rows) * (_ROW + _LABEL)
    below = len(strips_of(strips)) * STRIP_PX + 4
    left = max(110.0, *(width_of(drawable(name)) + 20 for name in rows), *(
        min(width_of(drawable(name)) + 20, _WIDEST_NAME) for name, _ in strips_of(strips)))  # fmt: skip
    told = []
    with style():
        if ax is None:
            ax = new_axes(low, left=left, right=_RIGHT, bottom=below + lines * _LINE + 8)
        width, whole = ax.get_window_extent().width, (end - begin).total_seconds()
        bare(ax)
        ax.set_xlim(0, whole)
        ax.set_ylim(low, 0)
        for place, what in enumerate(rows):
            base = (place + 1) * (_ROW + _LABEL)
            seen = looked.loc[looked["what"].eq(HELD if what == FAILED else what)]
            hatch(ax, unwitnessed(seen, begin, end), begin, base - _ROW, base)
            told.append(_hours(ax, counted.loc[counted["what"].eq(what)], what, base, begin, each, columns, width))
        bottom = witness_strips(ax, strips, begin, end, low + 4)
        time_axis(ax, begin, end, bottom, zone, _LINE)
        by = "hour" if each == 1 else f"{each:,} hours"
        note = f"Tasks by {by}, of which those at a source's ends are parts. Each row has a scale of its own."
        ax.text(0, bottom + _LINE * (lines - 0.1), note, va="center", color=SOFT, clip_on=False)
    span = f"from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    return describe(ax, f"Results by the hour, {span}. {'; '.join(told)}.")


def _span(counted: pd.DataFrame, looked: pd.DataFrame) -> tuple[pd.Timestamp, pd.Timestamp, int]:
    """Both ends of the axis, and how many hours are drawn together: from the first hour with anything to the last of
    which a source tells, at least twelve columns.
    """
    begin, end = counted["hour"].min(), counted["hour"].max() + _HOUR
    if len(looked):
        end = max(end, looked["until"].max().ceil("h"))
    hours = int((end - begin) / _HOUR)
    if hours < 12:
        begin, hours = begin - (12 - hours) * _HOUR, 12
    each = -(-hours // _MOST_COLUMNS)
    return begin, begin + -(-hours // each) * each * _HOUR, each


def _hours(
    ax: Axes, rows: pd.DataFrame, what: str, base: float, begin: pd.Timestamp, each: int, columns: int, width: float
) -> str:
    """One row of columns, its name and number beside it, its highest labelled; returns it in words."""
    whole = ax.get_xlim()[1]
    number = int(rows["tasks"].sum())
    ax.plot([0, whole], [base, base], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
    beside(ax, what, base - _ROW / 2 - 8, INK)
    beside(ax, count(number, "task"), base - _ROW / 2 + 8, SOFT)
    if not number:
        return f"{what}: none"
    slots = ((rows["hour"] - begin) / _HOUR // each).astype("int64")
    tasks = np.bincount(slots, weights=rows["tasks"].astype(float), minlength=columns)[:columns]
    edges = np.linspace(0, whole, columns + 1)
    color = LOST if what == FAILED else RUNNING
    ax.stairs(base - tasks * (_ROW / tasks.max()), edges, baseline=base, fill=True, color=color, linewidth=0)
    most = int(np.argmax(tasks))
    at = begin + most * each * _HOUR
    words = f"most: {int(tasks[most]):,} from {at:%H:%M}, {at.day} {at:%B}"
    half = width_of(words) / 2 * whole / max(width, 1)
    x = min(max((most + 0.5) * each * 3600, half), max(half, whole - half))
    ax.text(x, base - _ROW - 2, words, ha="center", va="bottom", clip_on=False)
    return f"{what}: {count(number, 'task')}, {words} {at.year} UTC"

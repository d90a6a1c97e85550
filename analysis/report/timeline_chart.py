"""The timeline as a picture: a lane each for the server, the task, its records and the evidence, labelled in place.

In: the frame ``timeline``. Out: ``Axes``. What is inferred is dashed; no label covers another or leaves the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.findings.verdict import Record
from analysis.report.figure import (
    INK,
    KEPT,
    LINE,
    LOST,
    OTHER,
    RUNNING,
    SOFT,
    WIDTH_PX,
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
from analysis.report.time_axis import time_axis
from analysis.report.timeline_plan import Bar, Lane, Mark, Plan, plan_timeline

# Pixels.
_BAR, _LINE, _GAP, _TOP = 12.0, 17.0, 13.0, 20.0
_LEFT, _RIGHT = 118.0, 14.0
_MOST_LEVELS = 4
_COLORS = {"kept": KEPT, "lost": LOST, "running": RUNNING, "other": OTHER}
_WASHES = {"kept": "#dff1ec", "lost": "#fbe9e1", "running": "#e3eefa", "other": "#d5dae0"}


def plot_timeline(
    timeline: pd.DataFrame,
    *,
    as_of: pd.Timestamp | None = None,
    zone: ZoneInfo | None = None,
    records: Mapping[str, Record] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The frame ``timeline`` up to ``as_of``, with UTC below it and the case's zone under that.

    ``records`` (``verdict.records``) tell which records still stood then. Without rows a sentence takes its place.
    ``ax.get_label()`` is the alternative text.
    """
    last = timeline["at"].dropna().max() if as_of is None else as_of
    plan = None if pd.isna(last) else plan_timeline(timeline, last, records)
    if plan is None:
        return nothing("No evidence gives a time for anything that bears on this task, so there is no timeline.", ax)
    zones = 2 if zone is not None and zone.key != "UTC" else 1
    with style():
        width = WIDTH_PX - _LEFT - _RIGHT if ax is None else ax.get_window_extent().width
        placed = [_place(lane, plan, width) for lane in plan.lanes]
        height = _TOP + sum(levels * _LINE + _BAR + _GAP for levels, _ in placed)
        if ax is None:
            ax = new_axes(height, left=_LEFT, right=_RIGHT, bottom=zones * _LINE + 8)
        bare(ax)
        ax.set_xlim(0, (plan.end - plan.begin).total_seconds())
        ax.set_ylim(height, 0)
        _draw(ax, plan, placed, width)
        time_axis(ax, plan.begin, plan.end, height - _GAP / 2, zone, _LINE)
    return describe(ax, plan.in_words())


Label = tuple[float, int, str]
"""Left end in pixels, level above the bar (0 is the nearest), text."""


def _place(lane: Lane, plan: Plan, width: float) -> tuple[int, list[Label]]:
    """Where each label of a lane stands, so that none covers another; and how many levels that takes.

    What finds no room in the levels there are is counted in a last label.
    """
    scale = width / (plan.end - plan.begin).total_seconds()
    items: list[Bar | Mark] = [*lane.bars, *lane.marks]
    wanted = [(_seconds(item.start, plan) * scale, item.label) for item in items if item.label]
    if lane.note:
        wanted.append((0.0, lane.note))
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_MOST_LEVELS)]
    labels: list[Label] = []
    left_out = 0
    for x, words in sorted(wanted, key=lambda item: item[0]):
        text = fitting(drawable(words, 120), width)
        wide = width_of(text)
        begin = min(max(x, 0.0), width - wide)
        free = (
            level
            for level, spans in enumerate(taken)
            if all(begin + wide + 12 < low or begin > high + 12 for low, high in spans)
        )
        level = next(free, None)
        if level is None:
            left_out += 1
            continue
        taken[level].append((begin, begin + wide))
        labels.append((begin, level, text))
    levels = max((level + 1 for _, level, _ in labels), default=1)
    if left_out:
        labels.append((0.0, levels, f"{left_out:,} more, without room for a label"))
        levels += 1
    return levels, labels


def _seconds(at: pd.Timestamp, plan: Plan) -> float:
    """Seconds from the left end of the axis; what is before it stands there."""
    return max(0.0, (at - plan.begin).total_seconds())


def _draw(ax: Axes, plan: Plan, placed: list[tuple[int, list[Label]]], width: float) -> None:
    whole = (plan.end - plan.begin).total_seconds()
    pixel = whole / width
    y = _TOP
    for lane, (levels, labels) in zip(plan.lanes, placed, strict=True):
        top = y + levels * _LINE
        middle = top + _BAR / 2
        beside(ax, lane.title, middle)
        for bar in lane.bars:
            _bar(ax, bar, plan, top, pixel)
        for mark in lane.marks:
            face = "white" if mark.inferred else _COLORS[mark.tone] if mark.tone != "other" else INK
            ax.plot([_seconds(mark.at, plan)], [middle], "o", markersize=4.4, markerfacecolor=face,
                    markeredgecolor=INK if mark.tone == "other" else _COLORS[mark.tone], markeredgewidth=0.9,
                    zorder=4, clip_on=False)  # fmt: skip
        for x, level, text in labels:
            color = SOFT if text == lane.note else INK
            ax.text(x * pixel, top - 3 - level * _LINE, text, va="bottom", color=color, clip_on=False, zorder=5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
        y = top + _BAR + _GAP
    end = _seconds(plan.as_of, plan)
    ax.plot([end, end], [_TOP - 3, y - _GAP / 2], color=INK, linewidth=0.9, linestyle=(0, (3, 3)), zorder=3)
    ax.text(min(end, whole), 2, f"as of {plan.as_of:%H:%M:%S} UTC, {plan.as_of.day} {plan.as_of:%B %Y}",
            ha="right", va="top", clip_on=False)  # fmt: skip


def _bar(ax: Axes, bar: Bar, plan: Plan, top: float, pixel: float) -> None:
    begin, end = _seconds(bar.begin, plan), _seconds(bar.end, plan)
    solid = bar.tone in ("kept", "running") and not bar.inferred
    quiet = bar.tone == "other" and not bar.inferred
    ax.add_patch(
        Rectangle(
            (begin, top),
            max(end - begin, 3 * pixel),
            _BAR,
            facecolor=_COLORS[bar.tone] if solid else _WASHES[bar.tone],
            # A white edge parts the runs of a server that was restarted.
            edgecolor="none" if solid else "white" if quiet else _COLORS[bar.tone],
            linestyle=(0, (4, 2.5)) if bar.inferred else "solid",
            linewidth=2.5 if quiet else 1.0,
            zorder=2,
        )
    )
    if bar.tone == "lost":
        ax.plot([end], [top + _BAR / 2], "x", color=LOST, markersize=6, markeredgewidth=1.6, zorder=4, clip_on=False)
    if bar.cut:
        ax.plot([begin], [top + _BAR / 2], "<", color=LINE, markersize=7, zorder=3, clip_on=False)

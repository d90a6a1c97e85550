"""The charts of what went before its expiry: shares between two snapshots, and the share removed by age.

In: counted frames of ``findings.survival``. Out: axes, labelled in place, intervals drawn as wide as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.findings.share_gone import GONE, LEFT
from analysis.findings.survival import most_gone, share_words
from analysis.findings.words import duration, stamp
from analysis.report.figure import (
    INK,
    LINE,
    LOST,
    RUNNING,
    SOFT,
    WIDTH_PX,
    bare,
    beside,
    describe,
    new_axes,
    nothing,
    style,
    width_of,
)

MOST_ROWS = 40
MOST_CURVES = 8
_ROW, _HEAD, _LEFT, _RIGHT, _LINE = 19.0, 24.0, 150.0, 250.0, 17.0
_CURVE, _GAP = 64.0, 30.0
# Ends of a scale of shares.
_SCALES = (0.0004, 0.001, 0.002, 0.004, 0.01, 0.02, 0.04, 0.1, 0.2, 0.4, 1.0)
# Ages with a name, in seconds.
_AGES = (
    (0.001, "1 ms"), (0.01, "10 ms"), (0.1, "0.1 s"), (1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"),
    (3600, "1 h"), (3 * 3600, "3 h"), (6 * 3600, "6 h"), (12 * 3600, "12 h"), (86400, "1 day"), (2 * 86400, "2 days"),
    (4 * 86400, "4 days"), (7 * 86400, "7 days"), (14 * 86400, "14 days"), (30 * 86400, "30 days"),
    (90 * 86400, "90 days"), (365 * 86400, "1 year"), (3650 * 86400, "10 years"),
)  # fmt: skip


def plot_share_gone(bands: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Of the keys not yet due at the second of two snapshots the share that is gone, by family and age, with the exact
    interval of 95 % (``SurvivalFindings.bands``). Of several pairs the one between which most went.
    """
    pair = most_gone(bands)
    rows = pair.loc[pair["watched"].gt(0)] if len(pair) else pair
    if not len(rows):
        return nothing("There is no share to draw: no key was watched from one snapshot to the next.", ax)
    left_out = max(0, len(rows) - MOST_ROWS)
    if left_out:
        rows = rows.loc[rows["watched"].nlargest(MOST_ROWS).index].sort_index()
    families = list(dict.fromkeys(rows["family"]))
    height = len(rows) * _ROW + len(families) * _HEAD
    told = []
    with style():
        ax, _ = _axes(ax, height, 2.4 * _LINE + (_LINE if left_out else 0))
        end = next(end for end in _SCALES if end >= min(float(rows["high"].max()), 1.0))
        ax.set_xlim(0, end)
        for share in np.linspace(0, end, 5):
            ax.plot([share, share], [0, height], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
            label = share_words(float(share))
            ax.text(share, height + 0.6 * _LINE, label, ha="center", va="center", color=SOFT, clip_on=False)
        y = 0.0
        for family in families:
            own = rows.loc[rows["family"].eq(family)]
            of = "by time left" if own["by"].iloc[0] == LEFT else "by age"
            beside(ax, f"{family}, {of}", y + _HEAD - 9)
            y += _HEAD
            for row in own.itertuples(index=False):
                _whisker(ax, row, y + _ROW / 2, end)
                y += _ROW
                told.append(f"{family}, {row.band}: {_share(row)}")
        words = "Keys not yet due at the second snapshot: share gone, with the exact 95 % interval."
        ax.text(0, height + 1.7 * _LINE, words, va="center", color=SOFT, clip_on=False)
        if left_out:
            rest = f"{left_out:,} smaller groups are in the table alone."
            ax.text(0, height + 2.7 * _LINE, rest, va="center", color=SOFT, clip_on=False)
    first = rows.iloc[0]
    between = f"between {stamp(first['since'])} and {stamp(first['until'])}"
    return describe(ax, f"Share of keys gone {between}, of those not yet due at the second. {'; '.join(told)}.")


def _whisker(ax: Axes, row: Any, y: float, edge: float) -> None:
    color = LOST if getattr(row, GONE) else RUNNING
    beside(ax, row.band, y, SOFT)
    ax.plot([row.low, row.high], [y, y], color=color, linewidth=1.6, solid_capstyle="butt", clip_on=False)
    for end in (row.low, row.high):
        ax.plot([end, end], [y - 3.5, y + 3.5], color=color, linewidth=1.2, clip_on=False)
    ax.plot([row.share], [y], marker="o" if getattr(row, GONE) else "D", markersize=5, color=color, clip_on=False)
    ax.annotate(
        _share(row), (edge, y), xycoords="data", xytext=(10, 0), textcoords="offset points", va="center", color=INK,
        annotation_clip=False,
    )  # fmt: skip


def _share(row: Any) -> str:
    gone = getattr(row, GONE)
    return f"{gone:,} of {row.watched:,}: {share_words(row.share)} ({share_words(row.low)} to {share_words(row.high)})"


def plot_removed_by_age(curves: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The share of keys removed before their expiry, by age, a row for each family with a scale of its own, in a band
    of 95 % (``SurvivalFindings.curves``). Without a curve, a sentence.
    """
    if not len(curves):
        return nothing("There is no curve to draw.", ax)
    groups = [(names, rows) for names, rows in curves.groupby(["server", "source", "family"], sort=False)]
    groups.sort(key=lambda one: -float(one[1]["removed"].iloc[-1]))
    left_out, groups = max(0, len(groups) - MOST_CURVES), groups[:MOST_CURVES]
    height = len(groups) * (_CURVE + _GAP)
    ages = curves.loc[curves["age"].gt(0), "age"]
    last = float(ages.max())
    # A curve that begins with the writing has no first age on a scale of logarithms.
    begins = min(float(ages.min()), last / 10) if curves["age"].eq(0).any() else float(ages.min())
    first = max(begins, last / 1e6, 0.001)
    told = []
    with style():
        ax, width = _axes(ax, height, 2.8 * _LINE + (_LINE if left_out else 0))
        low, high = np.log10(first), np.log10(last)
        ax.set_xlim(low, high)
        free = -1e9
        for seconds, name in _AGES:
            place = np.log10(seconds)
            if not low <= place <= high:
                continue
            ax.plot([place, place], [0, height], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
            half = width_of(name) / 2 * (high - low) / width
            if place - half > free:
                ax.text(place, height + 0.7 * _LINE, name, ha="center", va="center", color=SOFT, clip_on=False)
                free = place + 1.3 * half
        several = curves["server"].nunique() > 1
        for place, ((server, _, family), rows) in enumerate(groups):
            name = f"{server}, {family}" if several and server else str(family)
            told.append(f"{name}: {_curve(ax, name, rows, (place + 1) * (_CURVE + _GAP) - 8, low, high)}")
        words = (
            "Share removed before expiry, by the key's age, with the 95 % interval. Each row has a scale of its own."
        )
        ax.text(low, height + 1.9 * _LINE, words, va="center", color=SOFT, clip_on=False)
        if left_out:
            rest = f"{left_out:,} more curves are in the table alone."
            ax.text(low, height + 2.9 * _LINE, rest, va="center", color=SOFT, clip_on=False)
    return describe(ax, f"Share of keys removed before their expiry, by age. {'; '.join(told)}.")


def _curve(ax: Axes, name: str, rows: pd.DataFrame, base: float, low: float, high: float) -> str:
    """One row of curves; returns its end in words."""
    end = rows.iloc[-1]
    words = f"{share_words(end['removed'])} ({share_words(end['low'])} to {share_words(end['high'])})"
    top = max(float(rows["high"].max()), 1e-9)
    x = np.clip(np.log10(np.maximum(rows["age"].to_numpy(), 10**low)), low, high)
    heights = {column: base - rows[column].to_numpy() * (_CURVE / top) for column in ("removed", "low", "high")}
    color = LOST if end["removed"] else RUNNING
    ax.fill_between(x, heights["low"], heights["high"], step="post", color=color, alpha=0.18, linewidth=0)
    ax.step(x, heights["removed"], where="post", color=color, linewidth=1.6, clip_on=False)
    ax.plot([low, high], [base, base], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
    ax.plot([low, high], [base - _CURVE] * 2, color=LINE, linewidth=0.8, zorder=0, clip_on=False, linestyle=":")
    ax.text(low, base - _CURVE - 7, f"up to {share_words(top)}", va="center", color=SOFT, clip_on=False)
    beside(ax, name, base - _CURVE / 2 - 8)
    since = float(rows["age"].iloc[0])
    beside(ax, f"older than {duration(since)}" if since else "from writing on", base - _CURVE / 2 + 8, SOFT)
    for place, line in enumerate((words, f"by {duration(float(end['age']))}")):
        ax.annotate(
            line, (high, base - _CURVE / 2 - 8 + 16 * place), xytext=(10, 0), textcoords="offset points", va="center",
            color=SOFT if place else INK, annotation_clip=False,
        )  # fmt: skip
    return f"{words} by the age of {duration(float(end['age']))}"


def _axes(ax: Axes | None, height: float, below: float) -> tuple[Axes, float]:
    """Axes whose y is pixels, downwards, with room for numbers right of them; and their width in pixels."""
    if ax is None:
        ax = new_axes(height, left=_LEFT, right=_RIGHT, bottom=below + 6, top=10)
        width = WIDTH_PX - _LEFT - _RIGHT
    else:
        width = ax.get_window_extent().width
    bare(ax)
    ax.set_ylim(height, 0)
    return ax, width

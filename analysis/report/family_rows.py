"""Rows of a chart, one a family: name and number beside it, a scale of its own, y in pixels downwards.

In: counted frames with a column ``family``. Out: axes with room for the rows, and what belongs to each. Knows nothing
of what is drawn in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from analysis.findings.words import count
from analysis.report.figure import INK, LINE, SOFT, WIDTH_PX, bare, beside, drawable, fitting, new_axes, width_of

MOST_FAMILIES = 8
ROW_PX, LABEL_PX, LINE_PX, RIGHT_PX = 34.0, 18.0, 17.0, 14.0
_WIDEST_FAMILY = 180.0

Families = Sequence[tuple[str, pd.DataFrame]]


def above(ax: Axes, words: str, middle: float, base: float, pixel: float) -> None:
    """A label above a row, as near to ``middle`` as the axes let it stand whole."""
    half = width_of(words) / 2 * pixel
    x = min(max(middle, half), max(half, ax.get_xlim()[1] - half))
    ax.text(x, base - ROW_PX - 2, words, ha="center", va="bottom", clip_on=False)


def family_rows(ax: Axes | None, families: Families, below: float) -> tuple[Axes, float]:
    """Axes with a row for each family, y in pixels downwards; and their width in pixels."""
    height = len(families) * (ROW_PX + LABEL_PX)
    left = max(110.0, *(width_of(family_name(family)) + 20 for family, _ in families))
    if ax is None:
        ax = new_axes(height, left=left, right=RIGHT_PX, bottom=below + 8)
        width = WIDTH_PX - left - RIGHT_PX
    else:
        width = ax.get_window_extent().width
    bare(ax)
    ax.set_ylim(height, 0)
    return ax, width


def baseline(ax: Axes, place: int, family: str, keys: int, end: float, noun: str = "key") -> float:
    """The bottom line of a family's row, its name and number of keys (or ``noun``) beside it; returns its height."""
    base = (place + 1) * (ROW_PX + LABEL_PX)
    ax.plot([0, end], [base, base], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
    beside(ax, family_name(family), base - ROW_PX / 2 - 8, INK)
    beside(ax, count(keys, noun), base - ROW_PX / 2 + 8, SOFT)
    return base


def family_name(family: str) -> str:
    return fitting(drawable(family), _WIDEST_FAMILY)


def largest(counted: pd.DataFrame) -> Families:
    """Families with their rows, largest first; beyond ``MOST_FAMILIES`` the rest are one."""
    named = counted.assign(family=counted["family"].fillna("unnamed").astype(str))
    order = list(named.groupby("family")["keys"].sum().sort_values(ascending=False, kind="stable").index)
    some = order if len(order) <= MOST_FAMILIES else order[: MOST_FAMILIES - 1]
    groups = [(family, named.loc[named["family"].eq(family)]) for family in some]
    if len(order) > len(some):
        groups.append((f"{len(order) - len(some):,} other families", named.loc[~named["family"].isin(some)]))
    return groups

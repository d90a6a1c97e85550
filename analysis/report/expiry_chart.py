"""Time stored against time of expiry: a policy is a diagonal, a changed TTL lies off it, a loss in bulk is a gap, a
stampede a line across.

In: ``findings.ttl.held.when_stored``. Out: axes, a panel for each of the largest families. Many keys are drawn as
cells, so a picture is as small for a million of them as for a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.findings.ttl.force import SAME, Policy, lived, policies_of
from analysis.findings.witnesses import unwitnessed
from analysis.findings.words import count, duration, stamp
from analysis.report.family_rows import LINE_PX, family_name
from analysis.report.figure import (
    INK,
    LINE,
    LOST,
    OTHER,
    RUNNING,
    SOFT,
    WIDTH_PX,
    bare,
    describe,
    drawable,
    fitting,
    new_axes,
    nothing,
    style,
    width_of,
)
from analysis.report.time_axis import STRIP_PX, hatch, strips_of, tick_labels, tick_times, time_axis, witness_strips

MOST_PANELS = 4
# Beyond so many, keys are drawn as cells of so many pixels, the darker the more.
_MOST_POINTS, _CELL = 1_500, 3.0
_PANEL, _TITLE, _GAP, _ENDLESS = 150.0, 22.0, 12.0, 10.0
_LEFT, _RIGHT = 150.0, 14.0
# What is held takes at least a twelfth of the axis, however far back a policy reaches.
_WIDEST = 11
# Room left of the first key, as a part of the axis.
_MARGIN = 0.01
_NOT_OBSERVABLE = (
    "Not observable: no key held says when it was stored, other than by its expiry, which measures no retention."
)
_UNDATED = "No snapshot has a time, so there is no axis on which to draw when its keys were stored."

Floats = NDArray[np.float64]


def plot_stored_against_expiry(
    stored: pd.DataFrame,
    *,
    force: pd.DataFrame | None = None,
    seen: pd.DataFrame | None = None,
    zone: ZoneInfo | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Time stored (across) against time of expiry (up), a panel for each of the largest families
    (``held.when_stored``).

    ``force`` (``force.in_force``) gives the stated policies, ``seen`` (``witnesses``) the strips below. What is off the
    policy is a cross. Times of storing whose keys had expired by the policy before any snapshot, or archive, are
    hatched: nothing is known of them.
    """
    stored = stored[["shown", "stored_at", "expires_at", "taken_at", "seconds"]]
    known = stored["expires_at"].notna() & stored["taken_at"].notna()
    if not known.any():
        return nothing(_UNDATED if stored["expires_at"].notna().any() else _NOT_OBSERVABLE, ax)
    sizes = stored["shown"].loc[known].value_counts()
    shown = [str(name) for name in sizes.index[sizes > 0]][:MOST_PANELS]
    groups = [(name, stored.loc[stored["shown"].eq(name)]) for name in shown]
    stated = _stated(force)
    begin, end = _window(groups, stated)
    strips = strips_of(seen) if seen is not None else []
    zones = 2 if zone is not None and zone.key != "UTC" else 1
    panels = [_TITLE + _PANEL + (_ENDLESS if group["expires_at"].isna().any() else 0) + _GAP for _, group in groups]
    with style():
        height, below = sum(panels), (zones + 1) * LINE_PX + len(strips) * STRIP_PX + 14
        if ax is None:
            ax = new_axes(height, left=_LEFT, right=_RIGHT, bottom=below + 8)
        width = WIDTH_PX - _LEFT - _RIGHT if ax.get_label() == "" else ax.get_window_extent().width
        bare(ax)
        ax.set_xlim(0, (end - begin).total_seconds())
        ax.set_ylim(height, 0)
        told, top = [], 0.0
        time_axis(ax, begin, end, height - _GAP / 2, zone, LINE_PX)
        for (name, group), high in zip(groups, panels, strict=True):
            told.append(_panel(ax, name, group, stated.get(name), begin, end, top, width))
            top += high
        low = height - _GAP / 2 + zones * LINE_PX + 8
        if seen is not None:
            low = witness_strips(ax, seen, begin, end, low)
        more = len(sizes[sizes > 0]) - len(shown)
        note = "Across: when stored. Up: when it expires, a scale of its own in each panel."
        note += f" {count(more, 'smaller family is', 'smaller families are')} in the table only." if more else ""
        ax.text(0, low + LINE_PX * 0.6, note, va="center", color=SOFT, clip_on=False)
    return describe(ax, f"Time stored against time of expiry, stored from {stamp(begin)} to {stamp(end)}. "
                        f"{' '.join(told)}")  # fmt: skip


def _stated(force: pd.DataFrame | None) -> dict[str, float]:
    if force is None or not len(force):
        return {}
    whole = force.loc[force["name"].isna() & force["stated"].notna()]
    return {str(family): float(seconds) for family, seconds in zip(whole["family"], whole["stated"], strict=True)}


def _window(groups: list[tuple[str, pd.DataFrame]], stated: dict[str, float]) -> tuple[pd.Timestamp, pd.Timestamp]:
    """From when on keys of the largest family could still be held, by its policy, to the snapshot; never so wide that
    what is held is lost in it.
    """
    first = min(group["stored_at"].min() for _, group in groups)
    end = max(max(group["taken_at"].max(), group["stored_at"].max()) for _, group in groups)
    span = max(end - first, pd.Timedelta(minutes=1))
    name, largest_one = groups[0]
    lives = [policy.seconds for policy in policies_of(largest_one)[:1]]
    lives += [stated[name]] if stated.get(name) else []
    reach = min((end - pd.Timedelta(seconds=life) for life in lives), default=first)
    begin = min(first, max(reach, first - _WIDEST * span))
    return begin - (end - begin) * _MARGIN, end


def _panel(
    ax: Axes,
    name: str,
    group: pd.DataFrame,
    stated: float | None,
    begin: pd.Timestamp,
    end: pd.Timestamp,
    top: float,
    width: float,
) -> str:
    """One family; returns what it shows in words."""
    whole = (end - begin).total_seconds()
    endless = group["expires_at"].isna().to_numpy(dtype=bool)
    with_ttl = group.loc[~endless]
    policies = policies_of(with_ttl)
    lives = with_ttl["seconds"].to_numpy(dtype=float)
    x = (with_ttl["stored_at"] - begin).dt.total_seconds().to_numpy(dtype=float)
    y = (with_ttl["expires_at"] - begin).dt.total_seconds().to_numpy(dtype=float)
    taken = (with_ttl["taken_at"].max() - begin).total_seconds()
    low, high = _range(y, taken, [one.seconds for one in policies[:1]] + ([stated] if stated else []), whole)
    head = top + _TITLE
    if endless.any():
        at = (group.loc[endless, "stored_at"] - begin).dt.total_seconds().to_numpy(dtype=float)
        _endless(ax, at, head, whole, width)
        head += _ENDLESS
    base = head + _PANEL
    scale = _PANEL / (high - low)

    def up(values: Floats | float) -> Floats:
        return base - (np.clip(np.asarray(values, dtype=float), low, high) - low) * scale

    main = stated or (policies[0].seconds if policies else None)
    if main:
        _gone(ax, group["taken_at"], main, begin, end, head, base, width)
    off = np.abs(lives - main) > SAME if main else np.zeros(len(lives), bool)
    _keys(ax, x[~off], up(y[~off]), whole, head, base, width, "o", RUNNING)
    _keys(ax, x[off], up(y[off]), whole, head, base, width, "x", LOST)
    _lines(ax, policies, stated, low, high, up, begin, whole, width)
    for edge in (head, base):
        ax.plot([0, whole], [edge, edge], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
    _up_axis(ax, begin, low, high, up)
    if (y < taken).any():
        ax.plot([0, whole], [float(up(taken))] * 2, color=LOST, linewidth=0.8, linestyle=":")
        words = "snapshot taken; below this line, past expiry"
        # On the side on which no key is near the line.
        near = np.abs(up(y) - up(taken)) < LINE_PX
        left = bool(near.any()) and float(x[near].mean()) > whole / 2
        ax.text(
            0 if left else whole,
            float(up(taken)) - 2,
            words,
            ha="left" if left else "right",
            va="bottom",
            color=LOST,
            zorder=5,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
        )
    outside = int(((y < low) | (y > high)).sum())
    title = f"{family_name(name)}: {count(len(with_ttl), 'key')}"
    parts = []
    if off.any():
        parts.append(f"{int(off.sum()):,} off the policy ({'orange' if off.sum() > _MOST_POINTS else 'crosses'})")
    if endless.any():
        parts.append(f"{int(endless.sum()):,} without a TTL (strip)")
    if outside:
        parts.append(f"{outside:,} beyond the scale, drawn at its edge, up to {stamp(with_ttl['expires_at'].max())}")
    if len(x) > _MOST_POINTS:
        parts.append("darker is more keys")
    ax.text(0, top + _TITLE - 6, fitting(drawable(", ".join([title, *parts]), 200), width), va="bottom", color=INK,
            clip_on=False)  # fmt: skip
    lives_told = [f"{one.keys:,} live {lived(one.seconds)}" for one in policies]
    told = f"stated {duration(stated)}" if stated else "nothing stated"
    return f"{', '.join([title, *parts])}; {told}; {', '.join(lives_told) or 'no life in common'}."


def _range(y: Floats, taken: float, policies: list[float], whole: float) -> tuple[float, float]:
    """The ends of the scale of expiry: all of it, or without the few that lie so far off that the rest were a line."""
    most = np.quantile(y, [0.005, 0.995])
    low, high = most[0], max([most[1], *(whole + one for one in policies)])
    # The time of the snapshot is the end of all life; a long one has it far below.
    low = min(low, taken) if low - taken <= high - low else low
    low, high = min(low, high - 60), max(high, low + 60)
    if y.max() - min(low, y.min()) <= 3 * (high - low):
        high = max(high, y.max())
    if max(high, y.max()) - y.min() <= 3 * (high - low):
        low = min(low, y.min())
    pad = (high - low) * 0.02
    return low - pad, high + pad


def _keys(ax: Axes, x: Floats, y: Floats, whole: float, head: float, base: float, width: float, mark: str, color: str
          ) -> None:  # fmt: skip
    if len(x) <= _MOST_POINTS:
        ax.plot(x, y, mark, color=color, markersize=3.2 if mark == "o" else 4.5, alpha=0.75, markeredgewidth=0.9,
                markerfacecolor=color, linestyle="none", zorder=3)  # fmt: skip
        return
    cells = [round(_PANEL / _CELL), round(width / _CELL)]
    number, _, _ = np.histogram2d(base - y, x, bins=cells, range=[[0, base - head], [0, whole]])
    picture = np.zeros((*number.shape, 4))
    picture[..., :3] = to_rgb(color)
    picture[..., 3] = np.where(number > 0, 0.25 + 0.75 * np.log1p(number) / np.log1p(number.max()), 0)
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(picture, extent=(0, whole, base, head), origin="lower", interpolation="nearest", aspect="auto", zorder=3)
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])


def _lines(
    ax: Axes,
    policies: list[Policy],
    stated: float | None,
    low: float,
    high: float,
    up: Callable[[Floats | float], Floats],
    begin: pd.Timestamp,
    whole: float,
    width: float,
) -> None:
    """The diagonals of what is stated (dashed), and of what many keys live (dotted) as long as they were stored so;
    each with its name.
    """
    alike = [one for one in policies if stated and abs(one.seconds - stated) <= SAME]
    lines = [(stated, "--", f"stated{' and lived' if alike else ''}: {duration(stated)}", 0.0, whole)] if stated else []
    for one in policies:
        if one not in alike:
            # A little beyond both ends, so that a few keys have a line too.
            first, last = ((at - begin).total_seconds() for at in (one.first, one.last))
            since, until = max(0.0, first - 0.06 * whole), min(whole, last + 0.03 * whole)
            lines.append((one.seconds, ":", f"lived: {lived(one.seconds)}", since, until))
    for place, (seconds, dash, words, since, until) in enumerate(lines):
        ends = np.array([max(since, low - seconds), min(until, high - seconds)])
        if ends[1] <= ends[0]:
            continue
        ax.plot(ends, up(ends + seconds), dash, color=INK, linewidth=0.9, zorder=4)
        x = ends[0] + (ends[1] - ends[0]) * (0.72 - 0.22 * (place % 3))
        wide = (width_of(words) + 10) * whole / width
        left = x > wide
        ax.text(x - 8 * whole / width if left else x + 8 * whole / width, float(up(x + seconds)), words,
                ha="right" if left else "left", va="bottom" if left else "top", zorder=5,
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1})  # fmt: skip


def _up_axis(ax: Axes, begin: pd.Timestamp, low: float, high: float, up: Callable[[Floats | float], Floats]) -> None:
    times = tick_times(begin + pd.Timedelta(seconds=low), begin + pd.Timedelta(seconds=high), most=4)
    for time, label in zip(times, tick_labels(times), strict=True):
        at = float(up((time - begin).total_seconds()))
        ax.plot(ax.get_xlim(), [at, at], color=LINE, linewidth=0.5, zorder=0)
        ax.annotate(fitting(label, _LEFT - 10), (0, at), xycoords=("axes fraction", "data"), xytext=(-5, 0),
                    textcoords="offset points", ha="right", va="center", color=SOFT, annotation_clip=False)  # fmt: skip


def _endless(ax: Axes, at: Floats, top: float, whole: float, width: float) -> None:
    number, edges = np.histogram(at, bins=round(width / _CELL), range=(0, whole))
    for left, right in zip(edges[:-1][number > 0], edges[1:][number > 0], strict=True):
        ax.add_patch(Rectangle((left, top + 1), right - left, _ENDLESS - 4, facecolor=OTHER, linewidth=0, zorder=3))
    ax.annotate("no TTL", (0, top + _ENDLESS / 2 - 1), xycoords=("axes fraction", "data"), xytext=(-5, 0),
                textcoords="offset points", ha="right", va="center", color=SOFT, annotation_clip=False)  # fmt: skip


def _gone(
    ax: Axes,
    taken: pd.Series,
    life: float,
    begin: pd.Timestamp,
    end: pd.Timestamp,
    top: float,
    base: float,
    width: float,
) -> None:
    """Hatch the times of storing whose keys had expired when each snapshot was taken, or was not taken yet."""
    moments = taken.dropna().drop_duplicates()
    covered = pd.DataFrame({"since": moments - pd.Timedelta(seconds=life), "until": moments})
    gaps = unwitnessed(covered, begin, end)
    pixels = (gaps["until"] - gaps["since"]) / (end - begin) * width
    gaps = gaps.loc[pixels.gt(1.5 * _MARGIN * width)]
    hatch(ax, gaps, begin, top, base)
    words = "expired before the snapshot"
    for since, wide in zip(gaps["since"], pixels[gaps.index], strict=True):
        if wide > width_of(words) + 8:
            at = (since - begin).total_seconds() + 4 * (end - begin).total_seconds() / width
            ax.text(at, top + 3, words, va="top", color=SOFT, zorder=1)

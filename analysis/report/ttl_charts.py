"""The charts of TTLs: time stored against time of expiry, time left by family, and what expires when.

In: frames of ``findings.ttl``. Out: axes, labelled in place. Time stored against time of expiry makes a policy a
diagonal, a changed TTL a step off it, a loss a gap in it and a stampede a line. Drawn as cells where there are many.
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
from analysis.findings.ttl.forecast import HORIZON, Forecast
from analysis.findings.ttl.remaining import BIN_NAMES, NONE, PAST
from analysis.findings.words import count, duration, stamp
from analysis.report.family_rows import LABEL_PX, LINE_PX, ROW_PX, above, baseline, family_name, family_rows, largest
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
_FEWEST_BINS = 6
# What is held takes at least a twelfth of the axis, however far back a policy reaches.
_WIDEST = 11
# Room left of the first key, as a part of the axis.
_MARGIN = 0.01
_NOT_OBSERVABLE = (
    "Not observable: no key held says when it was stored, other than by its expiry, which measures no retention."
)
_WITHOUT = "No key with a TTL is held that says when it was stored, so there is nothing to draw."

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
    policy is a cross. Times of storing whose keys have expired by the policy are hatched: nothing is known of them.
    """
    stored = stored[["shown", "stored_at", "expires_at", "taken_at", "seconds"]]
    known = stored["expires_at"].notna() & stored["taken_at"].notna()
    if not known.any():
        return nothing(_WITHOUT if stored["expires_at"].notna().any() else _NOT_OBSERVABLE, ax)
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
    if main and (gone := taken - main) > _MARGIN * whole * 1.5:
        _hatched(ax, begin, 0, gone, head, base, "expired by now", width / whole)
    off = np.abs(lives - main) > SAME if main else np.zeros(len(lives), bool)
    _keys(ax, x[~off], up(y[~off]), whole, head, base, width, "o", RUNNING)
    _keys(ax, x[off], up(y[off]), whole, head, base, width, "x", LOST)
    _lines(ax, policies, stated, low, high, up, whole, width)
    for edge in (head, base):
        ax.plot([0, whole], [edge, edge], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
    _up_axis(ax, begin, low, high, up)
    if (y < taken).any():
        ax.plot([0, whole], [float(up(taken))] * 2, color=LOST, linewidth=0.8, linestyle=":")
        ax.text(0, float(up(taken)) - 2, "snapshot taken; below this line, past expiry", va="bottom", color=LOST)
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
    whole: float,
    width: float,
) -> None:
    """The diagonals of what is stated (dashed) and of what many keys live (dotted), each with its name."""
    alike = [one for one in policies if stated and abs(one.seconds - stated) <= SAME]
    lines = [(stated, "--", f"stated{' and lived' if alike else ''}: {duration(stated)}")] if stated else []
    lines += [(one.seconds, ":", f"lived: {lived(one.seconds)}") for one in policies if one not in alike]
    for place, (seconds, dash, words) in enumerate(lines):
        ends = np.array([max(0.0, low - seconds), min(whole, high - seconds)])
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


def _hatched(ax: Axes, begin: pd.Timestamp, left: float, right: float, top: float, base: float, words: str,
             pixels: float) -> None:  # fmt: skip
    span = {"since": [begin + pd.Timedelta(seconds=left)], "until": [begin + pd.Timedelta(seconds=right)]}
    hatch(ax, pd.DataFrame(span), begin, top, base)
    if (right - left) * pixels > width_of(words) + 8:
        ax.text(left + 4 / pixels, top + 3, words, va="top", color=SOFT, zorder=1)


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

"""The charts of bulk removal: what went by hour, of what could have gone, and finished tasks with and without a result.

In: frames of ``findings.shares``, ``findings.finished`` and ``findings.bulk``. Out: axes, labelled in place, a row a
family. Hours of which no witness speaks are hatched: nothing is known of them, not none.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.findings.witnesses import unwitnessed
from analysis.findings.words import count, percent
from analysis.report.family_rows import (
    LABEL_PX,
    LINE_PX,
    ROW_PX,
    Families,
    above,
    baseline,
    family_name,
    family_rows,
    largest,
)
from analysis.report.figure import (
    INK,
    KEPT,
    LINE,
    LOST,
    OTHER,
    RUNNING,
    SOFT,
    beside,
    describe,
    nothing,
    style,
    width_of,
)
from analysis.report.time_axis import STRIP_PX, hatch, strips_of, time_axis, witness_strips

# Columns of time beyond which hours are drawn together: more would be narrower than three pixels.
_MOST_COLUMNS = 240
_FEWEST_COLUMNS = 12
_MOST_ROWS = 8
_LEAST_PX = 6.0
_EARLY = ("client", "eviction")
# Who sees a removal, and who the end of a task.
COMMANDS = ("append-only file", "replication backlog", "MONITOR log", "keyspace log")
_LOGS = ("worker log",)
_NONE = pd.DataFrame({"source": [], "kind": [], "since": [], "until": []})


@dataclass(frozen=True)
class _Hours:
    """The columns of an axis of time: from ``begin`` on, ``columns`` of ``each`` hours."""

    begin: pd.Timestamp
    columns: int
    each: int

    @classmethod
    def of(cls, first: pd.Timestamp, last: pd.Timestamp) -> _Hours:
        hour = pd.Timedelta(hours=1)
        first, last = first.floor("h"), last.ceil("h")
        each = max(1, int(np.ceil((last - first) / hour / _MOST_COLUMNS)))
        columns = max(1, int(np.ceil((last - first) / hour / each)))
        # Few hours would be as wide as the page, and a single one would look like a plateau.
        spare = max(0, _FEWEST_COLUMNS - columns) // 2
        return cls(first - spare * hour, columns + 2 * spare, each)

    @property
    def end(self) -> pd.Timestamp:
        return self.begin + pd.Timedelta(hours=self.columns * self.each)

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()

    @property
    def edges(self) -> NDArray[np.float64]:
        return np.linspace(0, self.seconds, self.columns + 1)

    @property
    def what(self) -> str:
        return "hour" if self.each == 1 else f"{self.each:,} hours"

    def summed(self, hours: pd.Series, numbers: pd.Series) -> NDArray[np.float64]:
        places = ((hours - self.begin) / pd.Timedelta(hours=1) // self.each).astype(int)
        summed = np.bincount(places, weights=numbers.astype(float), minlength=self.columns)
        return summed[: self.columns].astype(np.float64)

    def at(self, column: int) -> str:
        when = self.begin + pd.Timedelta(hours=column * self.each)
        return f"{when:%H:%M}, {when.day} {when:%B}"


def plot_keys_by_hour(
    stored: pd.DataFrame, *, seen: pd.DataFrame | None = None, zone: ZoneInfo | None = None, ax: Axes | None = None
) -> Axes:
    """Results held by the hour in which they were stored (columns hour, family, keys as ``bulk.stored_by_hour`` gives
    them); ``seen`` (``witnesses``): the strips below.

    Over more than ten days several hours are drawn together, and the chart says how many. Without keys, a sentence.
    """
    return _by_hour(
        stored, "Results held", "in which they were stored", "key",
        "No result held says when it was stored, so there is nothing to draw by hour.", seen, zone, ax,
    )  # fmt: skip


def plot_causes_by_hour(hours: pd.DataFrame, *, zone: ZoneInfo | None = None, ax: Axes | None = None) -> Axes:
    """Tasks of a batch by the hour in which they were seen last (columns hour, family, keys: what became of each, and
    how many). Without a time, a sentence.
    """
    return _by_hour(
        hours, "Tasks", "in which they were seen last", "task",
        "No witness says when a task was seen, so there is nothing to draw by hour.", None, zone, ax,
    )  # fmt: skip


def _by_hour(
    rows: pd.DataFrame, what: str, when: str, noun: str, empty: str, seen: pd.DataFrame | None, zone: ZoneInfo | None,
    ax: Axes | None,
) -> Axes:  # fmt: skip
    counted = rows.loc[rows["keys"].gt(0) & rows["hour"].notna()]
    if not len(counted):
        return nothing(empty, ax)
    families = largest(counted)
    hours = _Hours.of(counted["hour"].min(), counted["hour"].max() + pd.Timedelta(hours=1))
    told = []
    with style():
        ax, width, low = _axes(ax, families, hours, seen, zone)
        for place, (family, mine) in enumerate(families):
            keys = hours.summed(mine["hour"], mine["keys"])
            base = baseline(ax, place, family, int(keys.sum()), hours.seconds, noun)
            ax.stairs(
                base - keys * (ROW_PX / keys.max()), hours.edges, baseline=base, fill=True, color=RUNNING, linewidth=0
            )
            most = int(np.argmax(keys))
            words = f"most: {int(keys[most]):,} at {hours.at(most)}"
            _over(ax, hours, most, words, base, width)
            told.append(f"{family_name(family)}: {count(int(keys.sum()), noun)}, {words}")
        note = f"{what}, by the {hours.what} {when}. Each row has a scale of its own."
        ax.text(0, low, note, va="center", color=SOFT, clip_on=False)
    return describe(ax, f"{what} by the hour {when}, {_span(hours)}. {'; '.join(told)}.")


def plot_removals(
    removals: pd.DataFrame, *, seen: pd.DataFrame | None = None, zone: ZoneInfo | None = None, ax: Axes | None = None
) -> Axes:
    """Removals that commands show, by hour (``shares.removals_by_hour``): filled what clients and maxmemory took before
    it was due, as a line what went at its own expiry, a row a family. Without removals, a sentence.
    """
    counted = removals.loc[removals["keys"].gt(0) & removals["by"].isin((*_EARLY, "expiry"))]
    if not len(counted):
        return nothing("No command in the evidence removes a key, so there is nothing to draw by hour.", ax)
    families = largest(counted)
    hours = _Hours.of(counted["hour"].min(), counted["hour"].max() + pd.Timedelta(hours=1))
    told = []
    with style():
        ax, width, low = _axes(ax, families, hours, seen, zone)
        for place, (family, rows) in enumerate(families):
            mine = rows["by"].isin(_EARLY)
            early = hours.summed(rows.loc[mine, "hour"], rows.loc[mine, "keys"])
            due = hours.summed(rows.loc[~mine, "hour"], rows.loc[~mine, "keys"])
            scale = ROW_PX / max(early.max(), due.max())
            base = baseline(ax, place, family, int(early.sum() + due.sum()), hours.seconds)
            _hatched(ax, hours, seen, COMMANDS, base - ROW_PX, base)
            ax.stairs(base - early * scale, hours.edges, baseline=base, fill=True, color=LOST, linewidth=0)
            if due.any():
                ax.stairs(base - due * scale, hours.edges, baseline=None, color=INK, linewidth=0.9)
            words = _most(hours, early, "before due", due, "at expiry")
            _over(ax, hours, int(np.argmax(np.maximum(early, due))), words, base, width)
            sums = f"{int(early.sum()):,} before they were due, {int(due.sum()):,} at their expiry"
            told.append(f"{family_name(family)}: {sums}; {words}")
        note = f"Keys removed in each {hours.what}. Filled: before they were due. Line: at their own expiry."
        ax.text(0, low, note, va="center", color=SOFT, clip_on=False)
    return describe(ax, f"Keys removed by hour and family, {_span(hours)}. {'. '.join(told)}.")


def plot_shares(
    shares: pd.DataFrame, *, seen: pd.DataFrame | None = None, zone: ZoneInfo | None = None, ax: Axes | None = None
) -> Axes:
    """The heat map: of the keys that could have gone, the share that went before it was due, by time and family
    (``shares.shares``): the darker, the more. Times of which a witness says nothing are hatched.
    """
    known = shares.loc[shares["of"].gt(0) & shares["since"].notna() & shares["until"].notna()]
    if not len(known):
        return nothing(
            "Neither commands nor two snapshots of one server tell what went when, so no share can be drawn.", ax
        )
    hours = _Hours.of(known["since"].min(), known["until"].max())
    groups = list(known.groupby(["witness", "family"], sort=False, observed=True))
    groups.sort(key=lambda group: (-group[1]["share"].max(), -group[1]["of"].max()))
    shown = groups[:_MOST_ROWS]
    told = []
    with style():
        rows = [(f"{family}", table.assign(keys=table["gone"])) for (_, family), table in shown]
        ax, width, low = _axes(ax, rows, hours, seen, zone)
        for place, ((witness, family), table) in enumerate(shown):
            base = (place + 1) * (ROW_PX + LABEL_PX)
            beside(ax, family_name(str(family)), base - ROW_PX / 2 - 8, INK)
            beside(ax, f"by {witness}", base - ROW_PX / 2 + 8, SOFT)
            cells = _cells(table, hours)
            hatch(ax, unwitnessed(cells, hours.begin, hours.end), hours.begin, base - ROW_PX, base)
            for cell in cells.itertuples():
                left, right = ((end - hours.begin).total_seconds() for end in (cell.since, cell.until))
                # Between two snapshots lie seconds, perhaps, on an axis of hours.
                wide = max(right - left, _LEAST_PX * hours.seconds / width)
                left = min(left, hours.seconds - wide)
                ax.add_patch(Rectangle((left, base - ROW_PX), wide, ROW_PX, facecolor=_tint(cell.share), linewidth=0))
            ax.add_patch(
                Rectangle((0, base - ROW_PX), hours.seconds, ROW_PX, fill=False, edgecolor=LINE, linewidth=0.8)
            )
            top = cells.iloc[int(cells["share"].to_numpy().argmax())]
            words = "none went before it was due"
            middle = hours.seconds / 2
            if top["gone"]:
                when = top["since"]
                share = "all" if top["share"] == 1 else percent(top["share"])
                words = f"most: {share}, {int(top['gone']):,} of {int(top['of']):,}, "
                words += f"from {when:%H:%M}, {when.day} {when:%B}"
                middle = ((top["since"] + (top["until"] - top["since"]) / 2) - hours.begin).total_seconds()
            above(ax, words, middle, base, hours.seconds / width)
            told.append(f"{family_name(str(family))} by {witness}: {words}")
        note = "Of the keys that could have gone, the share that went before it was due: white none, darkest all."
        note += " Hatched: no witness."
        ax.text(0, low, note, va="center", color=SOFT, clip_on=False)
    return describe(
        ax, f"Share of keys gone before they were due, by time and family, {_span(hours)}. {'. '.join(told)}."
    )


def plot_finished_tasks(
    finished: pd.DataFrame,
    *,
    until: pd.Timestamp | None = None,
    undue_from: pd.Timestamp | None = None,
    seen: pd.DataFrame | None = None,
    zone: ZoneInfo | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Tasks that workers logged as ended, by hour (``finished.finished_by_hour``): upwards those whose result is in the
    last snapshot, downwards those without one; hatched where its expiry had come. ``until``: that snapshot's time;
    ``undue_from``: what ended earlier is all past its expiry.
    """
    counted = finished.loc[finished[["present", "missing", "due"]].sum(axis=1).gt(0)]
    if not len(counted):
        return nothing("No log and snapshot can be set beside each other, so there is nothing to draw by hour.", ax)
    last = counted["hour"].max() + pd.Timedelta(hours=1)
    hours = _Hours.of(counted["hour"].min(), max(last, until) if until is not None else last)
    columns = [hours.summed(counted["hour"], counted[name]) for name in ("present", "missing", "due")]
    present, missing, due = columns
    with style():
        rows = [("with a result", counted.assign(keys=1)), ("without one", counted.assign(keys=1))]
        ax, width, low = _axes(ax, rows, hours, seen, zone)
        middle, scale = ROW_PX + LABEL_PX, ROW_PX / max(present.max(), (missing + due).max(), 1)
        ax.plot([0, hours.seconds], [middle, middle], color=LINE, linewidth=0.8, zorder=0)
        _hatched(ax, hours, seen, _LOGS, middle - ROW_PX, middle + ROW_PX)
        sums = f"{int(missing.sum()):,} (+{int(due.sum()):,} due)"
        for at, name, words in (
            (middle - ROW_PX / 2, "With a result", count(int(present.sum()), "task")),
            (middle + ROW_PX / 2, "Without one", sums),
        ):
            beside(ax, name, at - 8, INK)
            beside(ax, words, at + 8, SOFT)
        ax.stairs(middle - present * scale, hours.edges, baseline=middle, fill=True, color=KEPT, linewidth=0)
        ax.stairs(middle + missing * scale, hours.edges, baseline=middle, fill=True, color=LOST, linewidth=0)
        ax.stairs(
            middle + (missing + due) * scale, hours.edges, baseline=middle + missing * scale, fill=True,
            facecolor="white", edgecolor=OTHER, hatch="////", linewidth=0.6,
        )  # fmt: skip
        if undue_from is not None and hours.begin < undue_from < hours.end:
            x = (undue_from - hours.begin).total_seconds()
            ax.plot([x, x], [4, middle + ROW_PX + 4], "--", color=INK, linewidth=0.9)
            words, pixel = "every result is due before", hours.seconds / width
            left = x > (width_of(words) + 8) * pixel
            ax.text(x - 5 * pixel if left else x + 5 * pixel, 4, words, ha="right" if left else "left", va="top")
        note = f"Tasks that ended in each {hours.what}. Up: the result is held. Down: missing; hatched: due by then."
        ax.text(0, low, note, va="center", color=SOFT, clip_on=False)
    words = _most(hours, missing, "missing", present, "held")
    return describe(
        ax,
        f"Tasks that workers logged as ended, by hour, {_span(hours)}: {int(present.sum()):,} with a result in the "
        f"last snapshot, {int(missing.sum()):,} without one, {int(due.sum()):,} whose result was due; {words}.",
    )


def _axes(
    ax: Axes | None,
    rows: Families,
    hours: _Hours,
    seen: pd.DataFrame | None,
    zone: ZoneInfo | None,
) -> tuple[Axes, float, float]:
    """Axes with rows, the axis of time and the strips of witnesses; their width in pixels, and where a note goes."""
    zones = 2 if zone is not None and zone.key != "UTC" else 1
    told = _NONE if seen is None else seen.loc[(seen["until"] >= hours.begin) & (seen["since"] <= hours.end)]
    strips = strips_of(told) if len(told) else []
    low = len(rows) * (ROW_PX + LABEL_PX)
    under = low + LINE_PX * (zones + 0.4)
    ax, width = family_rows(ax, rows, under - low + len(strips) * STRIP_PX + 1.4 * LINE_PX)
    ax.set_xlim(0, hours.seconds)
    time_axis(ax, hours.begin, hours.end, low, zone, LINE_PX)
    end = witness_strips(ax, told, hours.begin, hours.end, under) if strips else under
    return ax, width, end + 0.7 * LINE_PX


def _hatched(
    ax: Axes, hours: _Hours, seen: pd.DataFrame | None, kinds: tuple[str, ...], top: float, bottom: float
) -> None:
    """Hatch the hours of which no witness of these kinds speaks, where it is known of which hours they speak."""
    told = _NONE if seen is None else seen.loc[seen["kind"].isin(kinds)]
    if len(told) and (told["until"] > told["since"]).any():
        hatch(ax, unwitnessed(told, hours.begin, hours.end), hours.begin, top, bottom)


def _cells(table: pd.DataFrame, hours: _Hours) -> pd.DataFrame:
    """The cells of a row, several hours in one where there are many: columns since, until, gone, of, share."""
    if hours.each == 1:
        return table[["since", "until", "gone", "of", "share"]].sort_values("since")
    step = pd.Timedelta(hours=hours.each)
    place = (table["since"] - hours.begin) // step
    found = table.groupby(place.to_numpy()).agg(
        since=("since", "min"), until=("until", "max"), gone=("gone", "sum"), of=("of", "max")
    )
    # Who went in an hour before was there too.
    return found.assign(of=found[["of", "gone"]].max(axis=1), share=found["gone"] / found[["of", "gone"]].max(axis=1))


def _tint(share: float) -> tuple[float, ...]:
    """White to the colour of loss: one key of a thousand is to be seen, and all of them is the darkest."""
    if share <= 0:
        return (1.0, 1.0, 1.0)
    weight = 0.12 + 0.88 * share
    return tuple(1 - weight * (1 - part) for part in to_rgb(LOST))


def _over(ax: Axes, hours: _Hours, column: int, words: str, base: float, width: float) -> None:
    above(ax, words, (column + 0.5) * hours.each * 3_600, base, hours.seconds / width)


def _most(hours: _Hours, one: NDArray[np.float64], what: str, two: NDArray[np.float64], other: str) -> str:
    parts = [
        f"{int(numbers.max()):,} {name} at {hours.at(int(numbers.argmax()))}"
        for numbers, name in ((one, what), (two, other))
        if numbers.any()
    ]
    return "most: " + "; ".join(parts)


def _span(hours: _Hours) -> str:
    return f"from {hours.begin:%Y-%m-%d %H:%M} to {hours.end:%Y-%m-%d %H:%M} UTC"

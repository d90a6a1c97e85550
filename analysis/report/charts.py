"""Charts: one style, and every chart ``plot_x(frame, *, ax=None) -> Axes``.

In: frames of the findings. Out: axes, labelled in place; ``show`` turns them into a picture with alternative text.
Text from the data is shown as text: no mathematics, nothing hidden, nothing longer than fits.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter, date2num
from matplotlib.figure import Figure

from analysis.findings.ttl import BIN_NAMES, NONE, PAST
from analysis.findings.words import count, listed, stamp
from analysis.report.html import Html, said, sentence
from analysis.settings import UTC

INK, SOFT, LINE = "#1b1f24", "#59636e", "#d8dee4"
# Okabe and Ito's palette, told apart by people who do not see all colours: https://jfly.uni-koeln.de/color/
BLUE, GREEN, VERMILION, GREY = "#0072b2", "#00785a", "#c04a00", "#aab4be"

STYLE: Any = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "ytick.left": False,
    "svg.hashsalt": "analysis",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
}
_LANES = (
    ("server", "Redis server"),
    ("task", "Task"),
    ("message", "Message"),
    ("result", "Result"),
    ("job", "Job record"),
    ("case", "Case"),
)
_LONGEST_LABEL = 90


@dataclass(frozen=True)
class Chart:
    """A drawn figure as a picture that shows itself: SVG, with its alternative text in the output's metadata."""

    svg: str
    alt: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        return {"image/svg+xml": self.svg, "text/plain": self.alt}, {
            "image/svg+xml": {"alt": self.alt},
            "alt": self.alt,
        }

    def __repr__(self) -> str:
        return self.alt


def show(ax: Axes) -> Chart | Html:
    """The picture of a chart; where a chart had nothing to draw, the sentence that says so."""
    figure, alt = ax.figure, str(ax.get_gid() or "A chart")
    if not ax.has_data():
        return sentence(alt)
    assert isinstance(figure, Figure)
    with mpl.rc_context(STYLE):
        picture = io.StringIO()
        figure.savefig(
            picture, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=0.12
        )
    svg = picture.getvalue()
    return Chart(svg[svg.index("<svg") :], alt)


def _axes(ax: Axes | None, height: float) -> Axes:
    """The axes to draw on: those given, else new ones on a figure of their own, which pyplot never hears of."""
    if ax is not None:
        return ax
    with mpl.rc_context(STYLE):
        return Figure(figsize=(9.2, height)).add_subplot()


def _describe(ax: Axes, alt: str) -> Axes:
    """Keep a chart's alternative text with it; ``show`` reads it."""
    ax.set_gid(alt)
    return ax


def _label(text: object) -> str:
    return said(str(text).replace("\n", " "), _LONGEST_LABEL)


def plot_timeline(
    timeline: pd.DataFrame, *, zone: ZoneInfo = UTC, as_of: pd.Timestamp | None = None, ax: Axes | None = None
) -> Axes:
    """The frame ``timeline`` as lanes: what lasts as bars, instants as marks; what is inferred is dashed.

    Nothing is drawn after ``as_of``: what is due later is written at the bar's end.
    """
    rows = timeline.loc[timeline["at"].notna()]
    lanes = [(lane, label) for lane, label in _LANES if lane != "case" and rows["lane"].eq(lane).any()]
    drawn = rows if as_of is None else rows.loc[rows["at"] <= as_of + pd.Timedelta(seconds=1)]
    ax = _axes(ax, 0.75 + 0.52 * max(len(lanes), 1))
    if not lanes or not len(drawn):
        ax.set_axis_off()
        return _describe(ax, "Nothing in the evidence carries a time, so there is no timeline to draw.")
    with mpl.rc_context(STYLE):
        start, end = drawn["at"].min(), max(drawn["at"].max(), as_of) if as_of is not None else drawn["at"].max()
        span = max(end - start, pd.Timedelta(seconds=1))
        known = drawn.loc[drawn["lane"].isin(("task", "message", "result")), "at"].min()
        known = start if pd.isna(known) else known
        for place, (lane, _) in enumerate(lanes):
            _lane(ax, len(lanes) - 1 - place, rows.loc[rows["lane"].eq(lane)], lane, start, end, known)
        for row in drawn.loc[drawn["lane"].eq("case") & drawn["kind"].isin(("snapshot", "noticed"))].itertuples():
            mark = "snapshot" if row.kind == "snapshot" else "missed"
            ink = INK if mark == "snapshot" else SOFT
            ax.plot([row.at, row.at], [-0.55, len(lanes) - 0.05], color=ink, lw=0.8, linestyle=(0, (3, 3)), zorder=0)
        _heads(ax, drawn, len(lanes), start, span)
        ax.set_yticks(range(len(lanes)), [label for _, label in reversed(lanes)])
        ax.set_ylim(-0.55, len(lanes) + 0.2)
        ax.set_xlim(start - span * 0.015, end + span * 0.03)
        _time_axis(ax, start, end, zone)
        ax.spines["left"].set_visible(False)
    told = "; ".join(f"{row.says} ({stamp(row.at)})" for row in drawn.head(12).itertuples())
    return _describe(ax, said(f"Timeline from {stamp(start)} to {stamp(end)}: {told}.", 1500))


def _lane(
    ax: Axes, y: int, rows: pd.DataFrame, lane: str, start: pd.Timestamp, end: pd.Timestamp, known: pd.Timestamp
) -> None:
    """One lane: a bar from its first moment to its last (or to the end of the case), with what happened above it.

    A job record of which only the end is inferred is drawn from ``known``, when the task was first seen. A record
    that is gone is drawn up to the moment at which it was.
    """
    within = rows.loc[rows["at"] <= end + pd.Timedelta(seconds=1)]
    if not len(within):
        return
    later = rows.loc[rows["at"] > end + pd.Timedelta(seconds=1)]
    first, last = within.iloc[0], within.iloc[-1]
    gone = within["kind"].isin(("gone", "expires", "purged")).any()
    color = {"server": GREY, "task": BLUE, "message": BLUE, "result": GREEN, "job": VERMILION if gone else GREEN}[lane]
    lasts = lane == "server" or (not gone and (len(later) > 0 or last["kind"] in ("stored", "created", "reserved")))
    until = end if lasts else last["at"]
    begin = known if lane == "job" and first["kind"] == "purged" else first["at"]
    inferred = bool(within["certainty"].eq("inferred").any())
    least = (end - start) * 0.004
    ax.barh(
        y,
        max(until - begin, least),
        left=begin,
        height=0.3,
        facecolor="none" if inferred else color,
        edgecolor=color,
        linewidth=1.2,
        linestyle=(0, (3, 2)) if inferred else "solid",
    )
    words = [_event(row) for row in within.itertuples()]
    words += [f"{'was due to expire' if gone else row.kind} {_short(row.at, end)}" for row in later.itertuples()]
    right = begin > start + (end - start) * 0.6
    text = _label("; ".join(dict.fromkeys(words))) if lane != "task" else _label(", ".join(dict.fromkeys(words)))
    ax.annotate(
        text,
        (until if right else begin, y + 0.15),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=8,
        color=INK,
    )


def _event(row: Any) -> str:
    name = {"server_started": "started", "saved_by_server": "saved", "gone": "gone by"}.get(
        row.kind, str(row.kind).replace("_", " ")
    )
    inferred = " (inferred)" if row.certainty == "inferred" else ""
    return f"{name} {row.at:%H:%M:%S}{inferred}"


def _short(at: pd.Timestamp, end: pd.Timestamp) -> str:
    return f"{at:%H:%M:%S}" if at.date() == end.date() else f"{at.day} {at:%B %H:%M}"


def _heads(ax: Axes, drawn: pd.DataFrame, top: int, start: pd.Timestamp, span: pd.Timedelta) -> None:
    """Names of the dashed lines, above them; names that would touch are joined."""
    marks: list[tuple[pd.Timestamp, str]] = []
    for row in drawn.loc[drawn["lane"].eq("case") & drawn["kind"].isin(("snapshot", "noticed"))].itertuples():
        name = f"{'snapshot' if row.kind == 'snapshot' else 'missed'} {row.at:%H:%M}"
        if marks and (row.at - marks[-1][0]) < span * 0.14:
            marks[-1] = (row.at, f"{marks[-1][1]} · {name}")
        else:
            marks.append((row.at, name))
    for at, name in marks:
        side = "right" if at > start + span * 0.85 else "center"
        ax.annotate(name, (at, top + 0.02), ha=side, va="bottom", fontsize=8, color=SOFT)


def _time_axis(ax: Axes, start: pd.Timestamp, end: pd.Timestamp, zone: ZoneInfo) -> None:
    """UTC along the axis, always with its dates; the zone of the case in the axis' name."""
    locator = AutoDateLocator(tz="UTC", minticks=3, maxticks=7)
    seconds = (end - start).total_seconds()
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(
        DateFormatter("%H:%M:%S" if seconds < 300 else "%H:%M" if seconds < 2 * 86400 else "%d %b", tz="UTC")
    )
    ax.grid(axis="x", color=LINE, linewidth=0.6)
    ax.set_axisbelow(True)
    dates = f"{start.day} {start:%B %Y}"
    if start.date() != end.date():
        dates = f"{start.day} {start:%B %Y} to {end.day} {end:%B %Y}"
    local = ""
    if zone.key != "UTC":
        local = f" · in {zone.key} from {start.tz_convert(zone):%d %B %H:%M} to {end.tz_convert(zone):%d %B %H:%M}"
    ax.set_xlabel(f"UTC, {dates}{local}", loc="left", fontsize=8)


def plot_remaining_ttl(bins: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Keys by remaining TTL, a row of bars for each family (columns family, bin, keys as ``ttl.remaining_bins`` gives
    them).

    The area of a square is the number of keys in it, which is written beside it; keys without a TTL and keys past their
    expiry are columns of their own.
    """
    families = list(bins.groupby("family")["keys"].sum().sort_values().index)
    present = [name for name in (*BIN_NAMES, "snapshot without a time") if bins["bin"].eq(name).any()]
    ax = _axes(ax, 1.1 + 0.42 * max(len(families), 1))
    if not families:
        ax.set_axis_off()
        return _describe(ax, "There is no key in the evidence, so there is no TTL to draw.")
    most = int(bins["keys"].max())
    with mpl.rc_context(STYLE):
        for row in bins.itertuples():
            color = VERMILION if row.bin == PAST else GREY if row.bin == NONE else BLUE
            width = max((row.keys / most) ** 0.5 * 0.62, 0.04)
            x, y = present.index(row.bin), families.index(row.family)
            ax.barh(y, width, left=x - 0.4, height=0.5, color=color)
            ax.annotate(
                f"{row.keys:,}",
                (x - 0.4 + width, y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        ax.set_yticks(range(len(families)), [_label(family) for family in families])
        ax.set_xticks(range(len(present)), present)
        ax.set_xlim(-0.5, len(present) - 0.35)
        ax.tick_params(axis="x", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(
            "time left when the snapshot was taken; a bar's length grows with the root of the count",
            loc="left",
            fontsize=8,
        )
    told = "; ".join(f"{row.keys:,} {row.family} {row.bin}" for row in bins.head(20).itertuples())
    return _describe(ax, said(f"Keys by family and remaining TTL: {told}.", 1500))


def plot_keys_by_hour(stored: pd.DataFrame, *, zone: ZoneInfo = UTC, ax: Axes | None = None) -> Axes:
    """Results held by the hour in which they were stored (columns hour, family, keys as ``bulk.stored_by_hour`` gives
    them).
    """
    ax = _axes(ax, 2.3)
    if not len(stored):
        ax.set_axis_off()
        return _describe(ax, "No result held says when it was stored, so there is nothing to draw by hour.")
    hours = stored.groupby("hour")["keys"].sum()
    start, end = hours.index.min(), hours.index.max() + pd.Timedelta(hours=1)
    with mpl.rc_context(STYLE):
        left = date2num(hours.index)
        ax.bar(left, hours.to_numpy(), width=0.9 / 24, align="edge", color=GREEN)
        if len(hours) <= 24:
            for at, keys in zip(left, hours, strict=True):
                ax.annotate(
                    f"{keys:,}",
                    (at + 0.45 / 24, keys),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                )
        ax.xaxis_date(tz="UTC")
        margin = pd.Timedelta(minutes=30)
        ax.set_xlim(start - margin, end + margin)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        _time_axis(ax, start, end, zone)
    named = listed([f"{keys:,} from {hour:%Y-%m-%d %H:00} UTC" for hour, keys in hours.items()], most=12)
    total = count(int(hours.sum()), "result")
    return _describe(ax, f"Results held by the hour they were stored in, {total}: {named}.")

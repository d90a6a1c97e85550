"""What a timeline shows, before it is drawn: bars, marks and labels in their lanes, and the same in words.

In: the frame ``timeline``, and what became of each record. Out: ``Plan``. Measures and draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import pandas as pd

from analysis.findings.verdict import Record
from analysis.findings.words import duration
from analysis.report.page import LANE_TITLES

Tone = Literal["kept", "lost", "running", "other"]
# Lanes from top to bottom; the last is what the report itself rests on.
LANES = ("server", "task", "message", "result", "job", "case")

_BEGINS = frozenset("stored created published sent queued received started reserved server_started".split())
_SERVER_ENDS = frozenset("server_stopped server_crashed".split())
_TASK_ENDS = frozenset("succeeded failed revoked rejected ignored".split())
# What ends a record; other kinds are marks on its bar.
_GONE = frozenset(
    "purged deleted evicted expired flushed overwritten forgotten renamed moved lost gone consumed acknowledged "
    "ttl_shortened restart_data_loss db_flushed server_flushed".split()
)
_WORDS = {
    "server_started": "started", "rdb_loaded": "loaded its file", "expired_on_load": "dropped expired keys",
    "load_failed": "could not load", "saved_by_server": "saved", "shutdown_requested": "shutdown requested",
    "server_stopped": "stopped", "server_crashed": "crashed", "became_replica": "became a replica",
    "became_master": "became master", "resync_flush": "emptied for a resync", "aof_truncated": "cut its AOF",
    "gone": "gone by", "eta": "not to run before", "info": "INFO", "noticed": "missed (testimony)",
}  # fmt: skip
_MOST_OF_A_KIND = 2


@dataclass(frozen=True)
class Bar:
    """Something that lasted. ``inferred``: drawn dashed. ``cut``: it began before the axis does."""

    begin: pd.Timestamp
    end: pd.Timestamp
    label: str
    tone: Tone
    inferred: bool = False
    cut: bool = False

    @property
    def start(self) -> pd.Timestamp:
        return self.begin


@dataclass(frozen=True)
class Mark:
    """An instant; without a label only its mark is drawn."""

    at: pd.Timestamp
    label: str
    tone: Tone
    inferred: bool = False

    @property
    def start(self) -> pd.Timestamp:
        return self.at


@dataclass
class Lane:
    """One lane: its title, what it shows, and a ``note`` where it shows nothing."""

    title: str
    bars: list[Bar] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Plan:
    begin: pd.Timestamp
    end: pd.Timestamp
    as_of: pd.Timestamp
    lanes: tuple[Lane, ...]

    def in_words(self) -> str:
        """The alternative text: everything that is drawn, lane by lane."""
        parts = [f"Timeline from {_full(self.begin)} to {_full(self.end)}."]
        for lane in self.lanes:
            items: list[Bar | Mark] = sorted([*lane.bars, *lane.marks], key=lambda item: item.start)
            said = [f"{item.label}{' (inferred)' if item.inferred else ''}" for item in items if item.label]
            parts.append(f"{lane.title}: {'; '.join(said) or lane.note}.")
        return " ".join(parts)


def plan_timeline(
    timeline: pd.DataFrame, as_of: pd.Timestamp, records: Mapping[str, Record] | None = None
) -> Plan | None:
    """The timeline up to ``as_of``; what is later (an expiry to come) is said in the label of its bar.

    ``records`` (of the verdict) tell whether a record still stood at ``as_of``; without them one that has no end did.
    None where nothing has a time.
    """
    dated = timeline.loc[timeline["at"].notna()].sort_values("at", kind="stable", ignore_index=True)
    # as_of is cut to the second and stands for the whole of it.
    past = dated.loc[dated["at"] < as_of + pd.Timedelta(seconds=1)]
    if not len(past):
        return None
    planner = _Planner(dated, past, as_of, *_span(past, as_of))
    known = records or {}
    names = [*LANES, *sorted(set(dated["lane"]) - set(LANES))]
    shown = [name for name in names if dated["lane"].eq(name).any() or name in known]
    return Plan(planner.begin, planner.end, as_of, tuple(planner.lane(name, known.get(name)) for name in shown))


def _span(past: pd.DataFrame, as_of: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
    """From the task's own first event, with what happened not long before it, to ``as_of``."""
    own = past.loc[~past["lane"].isin(["server", "case"]), "at"]
    first = own.min() if len(own) else past["at"].min()
    wide = max(as_of - first, pd.Timedelta(seconds=10))
    before = past.loc[past["at"].between(first - wide, first), "at"]
    return min(before.min(), first) - wide * 0.02, as_of + wide * 0.02


@dataclass(frozen=True)
class _Planner:
    """One timeline while it is planned: all its rows with a time, those up to ``as_of``, and the ends of the axis."""

    dated: pd.DataFrame
    past: pd.DataFrame
    as_of: pd.Timestamp
    begin: pd.Timestamp
    end: pd.Timestamp

    def lane(self, name: str, record: Record | None) -> Lane:
        lane, rows = Lane(LANE_TITLES.get(name, name)), self.past.loc[self.past["lane"].eq(name)]
        match name:
            case "server":
                self._server(lane, rows)
            case "task":
                self._task(lane, rows)
            case "case":
                lane.marks += self._evidence(rows)
            case _ if record is None and name not in LANES:
                lane.marks += self._marks(rows)
            case _:
                self._record(lane, name, rows, record)
        return lane

    def _server(self, lane: Lane, rows: pd.DataFrame) -> None:
        """A bar from each start to the next stop or start; without a start, from before the axis."""
        turns = rows.loc[rows["kind"].isin([*_SERVER_ENDS, "server_started"])]
        started = len(turns) and turns.iloc[0]["kind"] == "server_started"
        running: pd.Timestamp | None = None if started else self.begin
        label = ""
        for row in turns.itertuples():
            if running is not None:
                lane.bars.append(Bar(running, row.at, label, "other", cut=running < self.begin))
                running = None
            if row.kind == "server_started":
                running, label = row.at, f"{'restarted' if lane.bars else 'started'} {self._time(row.at)}"
            else:
                lane.marks.append(Mark(row.at, f"{_words(row.kind)} {self._time(row.at)}", "lost"))
        if running is not None and len(rows):
            lane.bars.append(Bar(running, self.as_of, label, "other", cut=running < self.begin))
        lane.bars = [bar for bar in lane.bars if bar.end > self.begin]
        lane.marks += self._marks(rows.loc[~rows.index.isin(turns.index)])

    def _task(self, lane: Lane, rows: pd.DataFrame) -> None:
        begins, ends = rows.loc[rows["kind"].isin(_BEGINS)], rows.loc[rows["kind"].isin(_TASK_ENDS)]
        used: list[int] = []
        if len(begins):
            first = begins.iloc[0]
            after = ends.loc[ends["at"] >= first["at"]]
            start = f"{_words(first['kind'])} {self._time(first['at'])}"
            if not len(after):
                label = f"{start}, its end is not recorded"
                lane.bars.append(Bar(first["at"], self.as_of, label, "running", inferred=True))
            else:
                last = after.iloc[0]
                took = _took((last["at"] - first["at"]).total_seconds())
                label = f"{start}, {_words(last['kind'])} {self._time(last['at'])} ({took})"
                lane.bars.append(Bar(first["at"], last["at"], label, "running"))
                used.append(after.index[0])
            used.append(begins.index[0])
        lane.marks += self._marks(rows.drop(index=used))

    def _record(self, lane: Lane, name: str, rows: pd.DataFrame, record: Record | None) -> None:
        """A bar from the record's beginning to its end, or to ``as_of``."""
        status = record.status if record is not None else "present"
        begins = rows.loc[rows["kind"].isin(_BEGINS)]
        ends = rows.loc[rows["kind"].isin([*_GONE, "expires"])]
        there = status in ("present", "in_flight")
        first = begins.iloc[0] if len(begins) else None
        last = ends.iloc[0] if len(ends) and not (there and record is not None) else None
        start = first["at"] if first is not None else self._assumed_begin(name)
        known = len(self.dated.loc[self.dated["lane"].eq(name)])
        if start is None or not known:
            self._note(lane, name, record)
            return
        told = [f"{_words(first['kind'])} {self._time(first['at'])}"] if first is not None else []
        inferred = first is None or first["certainty"] == "inferred"
        if last is not None:
            told.append(f"{_end_words(last)} {self._time(last['at'])}")
            # "gone" is seen afterwards: when it went is not known.
            guessed = last["certainty"] in ("inferred", "derived") or last["kind"] == "gone"
            told += ["inferred"] if last["certainty"] == "inferred" else []
            lane.bars.append(Bar(start, max(start, last["at"]), ", ".join(told), "lost", inferred or guessed))
        elif there:
            later = self.dated.loc[self.dated["lane"].eq(name) & self.dated["kind"].eq("expires"), "at"]
            told += [f"expires {_day(at)}" for at in later.loc[later > self.as_of].head(1)]
            lane.bars.append(Bar(start, self.as_of, ", ".join(told), "kept", inferred))
        elif status == "absent":
            told.append(f"gone by {self._time(self.as_of)}; when is not recorded")
            lane.bars.append(Bar(start, self.as_of, ", ".join(told), "lost", inferred=True))
        else:
            told.append("whether it still stood is not known")
            lane.bars.append(Bar(start, self.as_of, ", ".join(told), "other", inferred=True))
        used = [*begins.index[:1], *(ends.index[:1] if last is not None else [])]
        lane.marks += self._marks(rows.loc[~rows.index.isin(used) & ~rows["kind"].eq("expires")])

    def _assumed_begin(self, name: str) -> pd.Timestamp | None:
        """From when a record is drawn whose beginning nobody recorded: a result is stored as its task ends, the others
        are there when it begins.
        """
        own = self.past.loc[self.past["lane"].eq("task")]
        if name == "result":
            own = own.loc[own["kind"].isin(_TASK_ENDS)]
        return own["at"].min() if len(own) else None

    def _note(self, lane: Lane, name: str, record: Record | None) -> None:
        taken = self._assumed_begin("message")
        if name == "message" and record is not None and record.cause == "consumed" and taken is not None:
            lane.marks.append(Mark(taken, f"delivered by {self._time(taken)}", "other"))
        elif name == "result" and record is not None and record.status == "in_flight":
            lane.note = "not there yet: the task had not ended"
        elif record is not None and record.status in ("present", "in_flight"):
            lane.note = "there; since when is not recorded"
        else:
            lane.note = "no trace of it with a time"

    def _marks(self, rows: pd.DataFrame) -> list[Mark]:
        """Instants. Of a kind that came often only the last is labelled, with how often."""
        often = rows["kind"].value_counts()
        last = rows.drop_duplicates("kind", keep="last").index
        marks = []
        said: set[str] = set()
        for row in rows.loc[rows["at"] >= self.begin].itertuples():
            label = f"{_words(str(row.kind))} {self._time(row.at)}"
            if often[row.kind] > _MOST_OF_A_KIND:
                label = f"{label} (the last of {often[row.kind]:,})" if row.Index in last else ""
            # Two witnesses of one thing are two marks with one label.
            label = "" if label in said else label
            said.add(label)
            marks.append(Mark(row.at, label, "other", row.certainty == "inferred"))
        return marks

    def _evidence(self, rows: pd.DataFrame) -> list[Mark]:
        """The marks of the evidence itself; those of one second are one."""
        marks = sorted(self._marks(rows), key=lambda mark: mark.at)
        joined = []
        for _, group in groupby(marks, key=lambda mark: mark.at.floor("s")):
            together = list(group)
            time = self._time(together[0].at)
            names = dict.fromkeys(mark.label.replace(f" {time}", "", 1) for mark in together if mark.label)
            joined.append(Mark(together[0].at, f"{' and '.join(names)} {time}" if names else "", "other"))
        return joined

    def _time(self, at: pd.Timestamp) -> str:
        """The time of day, with its date where the axis leaves room for two days that have it."""
        if at < self.begin:
            return _day(at)
        return f"{at:%H:%M:%S}" if self.end - self.begin < pd.Timedelta(days=1) else f"{at.day} {at:%B, %H:%M:%S}"


def _took(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _words(kind: str) -> str:
    return _WORDS.get(kind, kind.replace("_", " "))


def _end_words(row: pd.Series) -> str:
    if row["kind"] == "expires":
        return "was due to expire" if row["certainty"] == "derived" else "expired"
    return _words(row["kind"])


def _day(at: pd.Timestamp) -> str:
    return f"{at.day} {at:%B %Y, %H:%M}"


def _full(at: pd.Timestamp) -> str:
    return f"{at:%H:%M:%S} UTC on {at.day} {at:%B %Y}"

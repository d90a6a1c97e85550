"""Counters over a record's life: by how much they grew in it, and for how much of it they stood still.

In: a ``View``'s INFO answers. Out: ``Tally``s. Weighs nothing but chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10

import pandas as pd

from analysis.findings.rules import DECISIVE
from analysis.findings.view import LOOKED_IN, View
from analysis.findings.words import at, day
from analysis.frames import holds

_MONTH = pd.Timedelta(days=30)
"""So long counters are taken to run where it is not known since when."""


@dataclass(frozen=True)
class Window:
    """A record's life as the last INFO answer sees it: ``watched`` is the share of it that lies before the answer."""

    answer: pd.Series
    watched: float
    born: pd.Timestamp | None


def silence(share: float) -> float:
    """Decibans against a cause that left no mark in ``share`` of the time: had it struck at a random moment, it would
    have struck in the rest with probability 1 − share.
    """
    return -DECISIVE if share >= 0.99 else max(10 * log10(1 - share), -DECISIVE)


def window(view: View, record: str) -> Window | None:
    """The last INFO answer of the server that held, or would hold, the record, and how much of its life it covers."""
    answers = view.servers.loc[view.servers["server"].isin(view.servers_of(record))]
    if not len(answers) or len(view.held(record)) or answers["server"].nunique() > 1:
        return None
    answer = answers.iloc[-1]
    born, missed = view.born(record), view.missed_by(record) or view.as_of
    if born is None or missed is None or answer["at"] <= born:
        return Window(answer, 0.0, born)
    return Window(answer, min((answer["at"] - born).total_seconds() / _seconds(born, missed), 1.0), born)


def _seconds(since: pd.Timestamp, until: pd.Timestamp) -> float:
    return max((until - since).total_seconds(), 1.0)


@dataclass(frozen=True)
class Tally:
    """A counter over a record's life, as far as it can have been taken in it: since it was last seen
    (``View.exposed_since``). ``grew`` is by how much it grew in the answers that cover a part of that time,
    ``expected`` how much of that falls within it, ``chance`` how likely any of it does, each at a random moment of its
    answer's time; ``still`` is the share of that time in which it stood still. ``since`` and ``until`` are what the
    answers cover.
    """

    grew: float
    expected: float
    chance: float
    still: float
    source: str
    since: pd.Timestamp | None
    until: pd.Timestamp

    @property
    def for_it(self) -> float:
        """Decibans by which a cause that its counter may have counted is less than if it had been counted for sure."""
        return 10 * log10(max(self.chance, 0.01))

    @property
    def refutes(self) -> float:
        """Decibans that a counter at a standstill takes from its cause."""
        return silence(self.still)

    @property
    def when(self) -> str:
        """What the counter covers, for a sentence."""
        if self.since is None:
            return f"up to {at(self.until)}"
        if self.since.date() == self.until.date():
            return f"from {self.since:%H:%M:%S} to {self.until:%H:%M:%S} UTC on {day(self.until)}"
        return f"from {at(self.since)} to {at(self.until)}"


def commands(view: View, record: str, names: tuple[str, ...], *, held: bool = False) -> Tally | None:
    """``tally`` of the calls of some commands."""
    return tally(view, record, *(f"cmdstat_{name}" for name in names), held=held)


def tally(view: View, record: str, *counters: str, held: bool = False) -> Tally | None:
    """The sum of some counters over a record's life; None where no master's answer reports them. Nor is one that is
    held looked at, unless ``held``: what took it is no question then, only what moved it.
    """
    if not len(view.servers):
        return None
    answers = view.servers.loc[view.servers["server"].isin(view.servers_of(record)) & view.servers["role"].eq("master")]
    if (len(view.held(record)) and not held) or answers["server"].nunique() > 1:
        return None
    born = view.born(record) if held else view.exposed_since(record)
    missed = view.missed_by(record) or view.as_of
    grew = still = expected = 0.0
    none_fell_in = 1.0
    source, first, last, before = "", None, None, None
    for _, answer in answers.iterrows():
        value = _figure(view, answer, counters)
        if value is None:
            before = None
            continue
        source, last = str(answer["source"]), answer["at"]
        since, by = answer["counters_since"], value
        if before is not None and _follows(before[0], answer) and value >= before[1]:
            since, by = before[0]["at"], value - before[1]
        before = (answer, value)
        first = since if first is None and pd.notna(since) else first
        share, part = _overlap(since, answer["at"], born, missed)
        if by > 0:
            grew += by if part > 0 else 0.0
            expected += by * part
            none_fell_in *= (1 - part) ** min(by, 1_000)
        elif pd.notna(since):
            # Where a RESETSTAT can be neither seen nor ruled out, it may have begun later than it seems to.
            still += share * (0.9 if pd.isna(answer["counters_reset"]) else 1.0)
    if last is None:
        return None
    if born is None:
        # When it was written is not known: the counters may have begun after it was gone.
        still = 0.9 if grew == 0 and first is not None else 0.0
    named = counters[0] if len(counters) == 1 else "commandstats"
    return Tally(grew, expected, 1 - none_fell_in, min(still, 1.0), f"{source}, {named}", first, last)


def _follows(before: pd.Series, answer: pd.Series) -> bool:
    """Whether both answers are of one run, with no reset shown between them."""
    reset = holds(answer["counters_reset"]) and not holds(before["counters_reset"])
    return bool(answer["run_id"] == before["run_id"]) and not reset


def _overlap(
    since: pd.Timestamp, until: pd.Timestamp, born: pd.Timestamp | None, missed: pd.Timestamp | None
) -> tuple[float, float]:
    """Of a time that counters cover: what share of the record's life it is, and what share of it lies in that life."""
    if born is None or missed is None:
        return 0.0, 0.5
    begin = since if pd.notna(since) else until - _MONTH
    inner = (min(until, missed) - max(begin, born)).total_seconds()
    if inner <= 0:
        return 0.0, 0.0
    return min(inner / _seconds(born, missed), 1.0), min(inner / _seconds(begin, until), 1.0)


def _figure(view: View, answer: pd.Series, counters: tuple[str, ...]) -> float | None:
    """The sum in one answer; 0 for a command never called where commandstats are there; None where not reported."""
    if counters[0] in answer.index:
        return None if pd.isna(answer[counters[0]]) else float(answer[counters[0]])
    figures = view.counters.loc[view.counters["source"].eq(answer["source"])]
    mine = figures.loc[figures["counter"].isin(counters), "value"]
    if len(mine):
        return float(mine.sum())
    listed = figures["counter"].str.startswith("cmdstat_").any()
    return 0.0 if counters[0].startswith("cmdstat_") and listed else None


def databases(view: View, record: str) -> set[int]:
    """The databases in which the record was seen or written, else the one in which it was looked for."""
    found = {int(db) for db in view.rows(record)["db"].dropna()}
    if record == "result":
        found |= {int(db) for db in view.written["db"].dropna()}
    if record == "message":
        found |= {int(db) for db in view.sent["db"].dropna()}
    looked = view.stated.databases.get(LOOKED_IN[record])
    return found or ({looked} if looked is not None else set())

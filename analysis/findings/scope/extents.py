"""The words and measures of a scope: what can vanish together, and what tells a pattern from chance.

In: numbers of keys that went and stayed, and their times. Out: ``Scope``, and small answers about runs and orders.
Knows no witness.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.scope.naming import pattern_of
from analysis.findings.words import count, listed

EXTENTS: dict[str, str] = {
    "not told": "the witness cannot say what else vanished",
    "nothing": "nothing went before its expiry",
    "one key": "one key, or one task's result",
    "a few keys": "two to four",
    "many keys": "five or more at once; how many of their kind were spared is not known",
    "one age": "those stored, or due to expire, in one range of time, of all that could be compared",
    "one prefix": "(nearly) all of one kind in one database, whatever their age, and nearly nothing else",
    "one database": "(nearly) all of one database, whatever they are; other databases kept theirs",
    "the only database": "(nearly) all that the server held, which was in one database",
    "all databases": "(nearly) all of every database that held any",
    "two databases": "(nearly) all of a database are in another database instead",
    "one task name": "(nearly) all results of one task name, and nearly nothing else",
    "one worker": "(nearly) all results of the tasks in one worker's log, and nearly nothing else",
    "all results": "(nearly) all results of tasks that workers logged as ended; of other keys nothing is said",
    "scattered": "five or more that are not (nearly) all of one database or kind, nor of one age",
}
"""The closed list of extents, from least to most, and what they mean."""

ORDERS: dict[str, str] = {
    "": "none that stands out from chance, or too few to tell",
    "idle": "those longest idle (least often used, under an LFU policy)",
    "ttl": "those nearest their expiry",
    "age": "those stored first",
    "newest": "those stored last",
}
"""By what those that went differ from those that stayed."""

FEW = 5
"""So many keys that went are no longer a few (as ``deeds`` has it of commands)."""

_SPARED = 20
"""One in so many may be spared and it is still nearly all: a key that was written again as it was looks spared."""

_ORDERED = 0.8
"""So often must one that went come before one that stayed. Redis evicts the best of five keys drawn at random (evict.c,
maxmemory-samples), which leaves 0.82 and more in simulations; a random order has 0.5."""

_DEVIATIONS = 2.0
_LEAST = 3

_NOUNS = {
    "result": ("result", "results"),
    "group_result": ("saved group", "saved groups"),
    "chord": ("chord key", "chord keys"),
    "binding": ("binding", "bindings"),
    "job": ("job record", "job records"),
    "rq_job": ("RQ job", "RQ jobs"),
    "rq_results": ("RQ result stream", "RQ result streams"),
    "queue": ("queue", "queues"),
    "other": ("other key", "other keys"),
}


@dataclass(frozen=True)
class Scope:
    """What vanished together with one record, or without any regard to one, as one kind of witness has it.

    ``witness``: snapshots, logs or commands. ``extent``: one of ``EXTENTS``; ``order``: one of ``ORDERS``. ``gone``:
    keys (of logs: tasks without a result) that went before their expiry, the record itself included where it is one of
    them; of a flush those that its stream is known to have held. ``left``: comparable ones that stayed. ``since`` and
    ``until``: between which times they went. ``source``: the evidence it was read from. ``says``: one sentence made
    from these figures. ``own``: the record asked about is one of those that went. Where it is not, they
    went without it, and tell nothing of what took it. ``evicted``: the witness has it that they were evicted.
    """

    witness: str
    extent: str
    order: str
    gone: int
    left: int
    families: tuple[str, ...]
    databases: tuple[int, ...]
    since: pd.Timestamp | None
    until: pd.Timestamp | None
    source: str
    says: str
    own: bool = False
    evicted: bool = False

    @property
    def pattern(self) -> str:
        """What it is called (``naming.PATTERNS``)."""
        share = self.gone / (self.gone + self.left) if self.gone else 0.0
        return pattern_of(
            self.extent, self.order, self.families, witness=self.witness, share=share, evicted=self.evicted
        )


def nearly_all(gone: int, left: int) -> bool:
    """Whether of those that could be compared all went, or all but one in twenty."""
    return gone > 0 and left * _SPARED <= gone + left


def kind(family: str, number: int, *, counted: bool = True) -> str:
    """``3 job records``: keys of a family (``families.FAMILIES``), in words."""
    one, many = _NOUNS.get(family, (f"{family} key", f"{family} keys"))
    return count(number, one, many) if counted else one if number == 1 else many


def in_databases(databases: tuple[int, ...]) -> str:
    """``DB 0 and DB 2``."""
    return listed([f"DB {db}" for db in databases])


@dataclass(frozen=True)
class Run:
    """A range of time in which nearly everything went and outside of which nearly everything stayed.

    ``first`` and ``last``: its ends. ``place``: oldest, newest or middle, among all.
    """

    first: int
    last: int
    place: str


def run_of(times: NDArray[np.int64], gone: NDArray[np.bool_]) -> Run | None:
    """The one range of ``times`` (any whole numbers, one for each key) that those that went fill; None where others
    stayed among them, or where so few went or stayed that chance makes such a range in one case of forty: of g that
    went and s that stayed, s + 1 of the arrangements are one range.
    """
    number, left = int(gone.sum()), int((~gone).sum())
    if min(number, left) < FEW and (not number or not left or 40 * (left + 1) > comb(number + left, left)):
        return None
    mine, others = times[gone], times[~gone]
    first, last = int(mine.min()), int(mine.max())
    if int(((others >= first) & (others <= last)).sum()) * _SPARED > number:
        return None
    earlier, later = bool((others < first).any()), bool((others > last).any())
    return Run(first, last, "middle" if earlier and later else "newest" if earlier else "oldest")


def leads(values: NDArray[np.float64], gone: NDArray[np.bool_]) -> float:
    """How often one that went has the higher of two values, drawn with one that stayed (ties half): 0 to 1, from ranks.

    0.5 where that is no more than chance: where there are fewer than three on either side, or it lies less than two
    standard deviations of a random order, √((g + s + 1) / 12gs), from a half. It describes, and is no likelihood.
    """
    number, left = int(gone.sum()), int((~gone).sum())
    if min(number, left) < _LEAST:
        return 0.5
    ranks = pd.Series(values).rank().to_numpy()
    share = float((ranks[gone].sum() - number * (number + 1) / 2) / (number * left))
    spread = float(np.sqrt((number + left + 1) / (12 * number * left)))
    return share if abs(share - 0.5) >= _DEVIATIONS * spread else 0.5


def is_order(share: float) -> bool:
    """Whether ``leads`` is so far from chance that it is an order."""
    return share >= _ORDERED

"""Which evidence of an incident is collected: drawn before it happens, because servers keep only what they are told to.

In: the group and what shows a cause. Out: a ``Plan``. Knows nothing of servers.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

Group = Literal["full", "decoys", "poor"]
# seen: some witness shows the act itself. counted: only counters and states tell of it. blind: not even those.
Sight = Literal["seen", "counted", "blind"]

GROUPS: tuple[Group, ...] = ("full", "decoys", "poor")

# How often each piece is there where the cause does not demand it.
CHANCES = {
    "aof": 0.65, "stamped": 0.5, "monitor": 0.15, "keyspace": 0.25, "info": 0.85, "info_pair": 0.6, "rdb": 0.6,
    "rdb_pair": 0.4, "redis_log": 0.4, "worker_log": 0.95, "config": 0.7, "slowlog": 0.4, "clients": 0.3,
    "source": 0.5, "expires": 0.75, "databases": 0.9, "noticed": 0.9, "zone": 0.25,
}  # fmt: skip
# A server's own record of each act: what "counted" and "blind" never have.
ACTS = frozenset({"aof", "stamped", "monitor", "keyspace"})
COUNTS = frozenset({"info", "info_pair"})


@dataclass(frozen=True)
class Needs:
    """What evidence means to a cause.

    ``seen_by``: any of these shows it. ``always``: without these it is not told at all. ``never``: cannot be there.
    ``blind``: what is left where it is not decidable. ``poor``: the sights of the poor group. ``avoid``: decoys that
    would be a second cause.
    """

    seen_by: tuple[str, ...] = ("aof", "monitor")
    always: tuple[str, ...] = ("worker_log",)
    never: tuple[str, ...] = ()
    blind: tuple[str, ...] = ("rdb", "worker_log")
    poor: tuple[Sight, ...] = ("blind", "counted", "blind")
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """``pieces`` to collect; ``reset``: CONFIG RESETSTAT after the loss; ``rewritten``: the AOF is, after the loss."""

    group: Group
    sight: Sight
    pieces: frozenset[str]
    reset: bool = False
    rewritten: bool = False

    def has(self, *pieces: str) -> bool:
        return all(piece in self.pieces for piece in pieces)

    def any(self, *pieces: str) -> bool:
        return any(piece in self.pieces for piece in pieces)


def draw(random: Random, group: Group, turn: int, needs: Needs) -> Plan:
    """The evidence of the ``turn``-th incident of a group."""
    sight: Sight = needs.poor[turn % len(needs.poor)] if group == "poor" else "seen"
    pieces = {piece for piece, chance in CHANCES.items() if random.random() < chance}
    reset = rewritten = False
    if sight == "seen":
        pieces |= set(needs.always)
        if not pieces & set(needs.seen_by):
            pieces.add(random.choice(needs.seen_by))
    elif sight == "counted":
        shown = ACTS | (set(needs.seen_by) - COUNTS)
        pieces = ((pieces | set(needs.always)) - shown) | {random.choice(["info", "info_pair"])}
    else:
        # Some of what would be left alone stays away too: a poor case is poor.
        pieces = {piece for piece in pieces - ACTS - COUNTS - set(needs.seen_by) if random.random() < 0.8}
        pieces |= set(needs.blind)
        reset = random.random() < 0.5
        if reset:
            pieces.add("info")
        rewritten = "aof" not in needs.never and random.random() < 0.3
    pieces -= set(needs.never)
    if "info_pair" in pieces:
        pieces.add("info")
    if "rdb_pair" in pieces:
        pieces.add("rdb")
    if "stamped" in pieces and "aof" not in pieces:
        pieces.discard("stamped")
    return Plan(group, sight, frozenset(pieces), reset, rewritten)

"""What a removal is called: one name for each pattern, given by one function to the verdict and to the bulk notebook.

In: the numbers of a removal: its witness, extent, order and families, and the share that went. Out: one of
``PATTERNS``. Looks at no key.
"""

from __future__ import annotations

from collections.abc import Iterable

PATTERNS: dict[str, str] = {
    "flush": "a database, or all of them, was emptied: FLUSHDB, FLUSHALL, or a server that came back without its data",
    "swap": "the keys of a database are in another one: SWAPDB, or a loop of MOVE",
    "prefix delete": "a large part of one kind of key went, whatever the age: what matches a pattern, or a task's name",
    "purge": "the oldest of one kind went, as a clean-up by age removes them",
    "eviction": "keys of several kinds, the longest idle or the nearest to expiry first, as maxmemory removes them",
    "deletion burst": "many keys of one kind were removed by name in a short time, and most of the kind stayed",
    "gap": "those stored in one range of time are missing, and those before and after it are there",
    "shortened TTL": "many keys were given less than half of the time they had left, and expire before they were due",
    "stampede": "many keys expired together because they had been written together, one TTL earlier",
    "expiry wave": "many keys expired together that had not been written together: an expiry set for all of them",
    "nothing": "nothing stands out from the case's own rhythm",
}
"""The closed list of patterns and what they mean."""

REMOVALS = frozenset(("flush", "swap", "prefix delete", "purge", "eviction", "deletion burst", "gap", "shortened TTL"))
"""Patterns in which keys may have gone before they were due; the others are the keys' own expiry, or nothing."""

LARGE = 0.2
"""So large a part of one kind is no choice by name any more: what took it had a pattern, or a property, in mind."""

_OF_EXTENT = {
    "all databases": "flush",
    "one database": "flush",
    "the only database": "flush",
    "two databases": "swap",
    "one prefix": "prefix delete",
    "one task name": "prefix delete",
    "all results": "prefix delete",
    "nothing": "nothing",
    "not told": "nothing",
    "one key": "nothing",
    "a few keys": "nothing",
}
# Which keys maxmemory takes: the longest idle (or least used), under volatile-ttl those nearest their expiry (evict.c).
_EVICTS_BY = ("idle", "ttl")


def pattern_of(
    extent: str,
    order: str = "",
    families: Iterable[str] = (),
    *,
    witness: str = "snapshots",
    share: float = 0.0,
    evicted: bool = False,
    everything: bool = False,
) -> str:
    """The name of what went together: ``extent`` and ``order`` as in ``extents.EXTENTS`` and ``ORDERS``, ``families``
    of what went, ``share``: how much of that kind. ``evicted``: the witness itself says that they were. ``everything``:
    nothing that is as old is left of any kind.
    """
    if evicted:
        return "eviction"
    if extent in _OF_EXTENT:
        return _OF_EXTENT[extent]
    several = len(set(families)) > 1
    if extent == "one age":
        if order in _EVICTS_BY and (several or order == "idle"):
            return "eviction"
        if witness == "logs" and order == "age":
            # Of what logs name, the missing that ended first are all that a removal at one moment found.
            return "flush" if everything else "prefix delete"
        return "purge" if order in ("age", "ttl") and not several else "gap"
    if order in _EVICTS_BY or several and witness == "snapshots":
        return "eviction"
    return "prefix delete" if share >= LARGE else "deletion burst"

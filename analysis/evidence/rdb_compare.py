"""Kernels for two snapshots: a number for each name by which equal ones meet, and which values are the same bytes.

In: names as Arrow holds them, or the bytes of two files and places in them. Out: numbers. Kernels, as in ``packed``.
"""

from __future__ import annotations

from analysis.evidence.packed import Bytes, Room, place, same, word_at
from analysis.evidence.rdb_layout import skip_strings

SAME, DIFFERENT = 1, 0
_MIX = 0x9E3779B97F4A7C15
_ALL = 0xFFFFFFFFFFFFFFFF


def hash_names(octets: Bytes, bounds: Room, dbs: Room, out: Room) -> int:
    """32 bits for each name (of ``octets``, between two ``bounds``) in its database: how many. Equal ones are equal."""
    for row in range(len(dbs)):
        at, end = bounds[place(row)], bounds[place(row + 1)]
        mixed = place(dbs[place(row)]) ^ place(end - at) * place(_MIX) & place(_ALL)
        while end - at >= 8:
            mixed = (mixed ^ word_at(octets, at)) * place(_MIX) & place(_ALL)
            mixed ^= mixed >> place(29)
            at += 8
        while at < end:
            mixed = (mixed ^ place(octets[place(at)])) * place(_MIX) & place(_ALL)
            mixed ^= mixed >> place(29)
            at += 1
        out[place(row)] = mixed >> place(32)
    return len(dbs)


def same_values(
    one: Bytes, one_end: int, two: Bytes, two_end: int, one_at: Room, two_at: Room, one_size: Room, two_size: Room, out: Room
) -> int:  # fmt: skip
    """Of each pair of entries (the places of their type bytes) whether type and value are SAME, byte for byte."""
    for row in range(len(one_at)):
        out[place(row)] = DIFFERENT
        at, to, size = one_at[place(row)], two_at[place(row)], one_size[place(row)]
        if size != two_size[place(row)] or one[place(at)] != two[place(to)]:
            continue
        at, to = skip_strings(one, at + 1, one_end, 1), skip_strings(two, to + 1, two_end, 1)
        if at >= 0 and to >= 0 and size <= one_end - at and size <= two_end - to and same(one, at, two, to, size):
            out[place(row)] = SAME
    return len(one_at)

"""A kernel over two snapshots: which values are the same bytes.

In: the bytes of two files, and places in them. Out: SAME or DIFFERENT. Kernels, as in ``packed``.
"""

from __future__ import annotations

from analysis.evidence.packed import Bytes, Room, place, same
from analysis.evidence.rdb_layout import skip_strings

SAME, DIFFERENT = 1, 0


def same_values(
    one: Bytes, one_end: int, two: Bytes, two_end: int, one_at: Room, two_at: Room, one_size: Room, two_size: Room,
    out: Room,
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

"""What became of each key between two snapshots of one server.

In: two snapshots. Out: the frame ``changes``, family and task_id missing. Only a part of either is held at a time: the
keys that a number made from their names puts side by side. Knows Redis; weighs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import order_of, row_numbers
from analysis.evidence.rdb import Snapshot
from analysis.evidence.rdb_compare import SAME, same_values
from analysis.evidence.rdb_values import ValueUnreadable
from analysis.evidence.texts import hashes
from analysis.frames import as_arrow, concat, frame, repeated
from analysis.kernels import PLAIN

_ROWS = 65_536
_LARGEST = 64 * 2**20

Rows = NDArray[np.int64]


def changes_between(before: Snapshot, after: Snapshot) -> pd.DataFrame:
    """The keys that the two do not both hold as they are, in the order of the files: the frame ``changes``.

    A key is ``gone`` only where the later snapshot is complete, and has ``appeared`` only where the earlier one is:
    what was not read may hold it. Values are compared as they were written, and where that differs as they are read:
    another encoding, or another order of a set, is no change. A value over 64 MiB in the file that was written
    differently, and one that cannot be read, has ``value_changed`` missing.
    """
    found = concat("changes", _parts(before, after))
    return found.sort_values(["offset_before", "offset_after"], kind="stable", ignore_index=True)


def _parts(before: Snapshot, after: Snapshot) -> Iterator[pd.DataFrame]:
    one, two = (order_of(_heads(side), len(side.keys)) for side in (before, after))
    begin = other = 0
    while begin < len(one) or other < len(two):
        # Up to the end of a head, so that equal names are never in different parts.
        last = one[min(begin + _ROWS, len(one)) - 1] if begin < len(one) else two[-1]
        last |= np.uint64(2**32 - 1)
        end = int(np.searchsorted(one, last, "right"))
        until = int(np.searchsorted(two, last, "right")) if end < len(one) else len(two)
        yield _compared(before, after, row_numbers(one[begin:end]), row_numbers(two[other:until]))
        begin, other = end, until


def _heads(snapshot: Snapshot) -> Iterator[NDArray[np.uint64]]:
    for begin in range(0, len(snapshot.keys), _ROWS):
        part = snapshot.keys[["db", "key"]].iloc[begin : begin + _ROWS]
        # By the size of the whole: each part alone would be small enough to be gone through without compiling.
        yield hashes(as_arrow(part["key"]), part["db"], snapshot.kernels)


def _compared(before: Snapshot, after: Snapshot, one: Rows, two: Rows) -> pd.DataFrame:
    columns = ["db", "key", "type", "length", "bytes", "expires_at", "offset"]
    earlier, later = before.keys[columns].take(one), after.keys[columns].take(two)
    both = earlier.merge(later, how="outer", on=["db", "key"], suffixes=("_before", "_after"), indicator="held")
    gone, appeared = both["held"].eq("left_only"), both["held"].eq("right_only")
    kept = both.loc[~gone & ~appeared]
    value_changed = pd.Series(pd.NA, index=both.index, dtype="boolean")
    value_changed[kept.index] = _values_changed(before, after, kept)
    expires, then = both["expires_at_before"], both["expires_at_after"]
    ttl_changed = (expires.ne(then) & ~(expires.isna() & then.isna())).astype("boolean").mask(gone | appeared)
    change = pd.Series("ttl", index=both.index).mask(value_changed.fillna(True).astype(bool), "value")
    change = change.mask(gone, "gone").mask(appeared, "appeared")
    due = (expires <= after.taken_at).astype("boolean") if after.taken_at is not None else pd.NA
    told = (gone & after.complete) | (appeared & before.complete)
    told |= ~gone & ~appeared & (value_changed.fillna(True).astype(bool) | ttl_changed.fillna(False).astype(bool))
    told_of = {
        "db": both["db"],
        "key": both["key"],
        "change": change,
        "value_changed": value_changed,
        "ttl_changed": ttl_changed,
        "expires_before": expires,
        "expires_after": then,
        "due": pd.Series(due, index=both.index, dtype="boolean").mask(~gone),
        "offset_before": both["offset_before"],
        "offset_after": both["offset_after"],
    }
    rows = {name: column.loc[told.to_numpy(dtype=bool)] for name, column in told_of.items()}
    where = {"server": before.server, "before": before.source, "after": after.source}
    return frame("changes", {**{name: repeated(word, len(rows["db"])) for name, word in where.items()}, **rows})


def _values_changed(before: Snapshot, after: Snapshot, kept: pd.DataFrame) -> list[bool | None]:
    """Of each key that both hold whether its value is another."""
    kernels = before.kernels if after.kernels.compiled else PLAIN
    numbers = [kernels.given(kept[name]) for name in ("offset_before", "offset_after", "bytes_before", "bytes_after")]
    out = kernels.numbers(len(kept))
    kernels(same_values)(before.octets(kernels), before.size, after.octets(kernels), after.size, *numbers, out)
    wanted = ("type_before", "type_after", "length_before", "length_after", "offset_before", "offset_after")
    rows = zip(np.frombuffer(out, np.int64).tolist(), *(kept[name].tolist() for name in wanted), strict=True)
    large = (kept[["bytes_before", "bytes_after"]].max(axis=1) > _LARGEST).tolist()
    return [
        False if same == SAME else _differ(before, after, *row, large=is_large)
        for (same, *row), is_large in zip(rows, large, strict=True)
    ]


def _differ(
    before: Snapshot, after: Snapshot, type_before: str, type_after: str, length_before: Any, length_after: Any,
    offset_before: int, offset_after: int, *, large: bool,
) -> bool | None:  # fmt: skip
    """Whether two values that were not written alike are different ones; None where that cannot be told."""
    if type_before != type_after:
        return True
    if pd.notna(length_before) and pd.notna(length_after) and length_before != length_after:
        return True
    if large:
        return None
    try:
        one: Any = before.value(offset_before)
        two: Any = after.value(offset_after)
        expiries = before.field_expiries(offset_before), after.field_expiries(offset_after)
    except ValueUnreadable:
        return None
    if type_before in ("set", "zset", "hash"):
        one, two = sorted(one), sorted(two)
    return one != two or expiries[0] != expiries[1]

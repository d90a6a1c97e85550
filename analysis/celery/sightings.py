"""What an archive has seen of each record, and so what of a snapshot is new to it.

In: the folder of an archive, then blocks of rows as it has them. Out: which rows say something new. Does not know what
the records are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.celery.archive import UNREADABLE, open_part, unusable
from analysis.errors import Unusable
from analysis.files import Ignored

UNDATED = np.iinfo(np.int64).min
"""The time of a snapshot that has none: before all others."""

_IDENTITY = ["server", "db", "key", "expires_at", "digest", "redacted", "seen_at"]

Hashes = NDArray[np.uint64]


class Sightings:
    """The sightings of an archive: of each record (its identity), in order of time, what it was (its state)."""

    def __init__(self) -> None:
        self._identities, self._states = np.empty(0, np.uint64), np.empty(0, np.uint64)
        self._times = np.empty(0, np.int64)

    def add(self, identities: Hashes, states: Hashes, times: NDArray[np.int64] | int) -> None:
        """Sightings more."""
        at = np.broadcast_to(np.asarray(times, np.int64), len(identities))
        self._identities = np.concatenate([self._identities, identities])
        self._states = np.concatenate([self._states, states])
        self._times = np.concatenate([self._times, at])
        order = np.lexsort((self._times, self._identities))
        for name in ("_identities", "_states", "_times"):
            setattr(self, name, getattr(self, name)[order])

    def lacks(self, identities: Hashes, states: Hashes, at: int) -> NDArray[np.bool_]:
        """Which records, seen at that moment, say something new: neither the sighting before nor the one after says
        the same.
        """
        first = np.searchsorted(self._identities, identities, "left")
        behind = np.searchsorted(self._identities, identities, "right")
        new = np.ones(len(identities), bool)
        once = np.flatnonzero(behind - first == 1)
        new[once] = self._states[first[once]] != states[once]
        for row in np.flatnonzero(behind - first > 1).tolist():
            times = self._times[first[row] : behind[row]]
            place = int(np.searchsorted(times, at, "right"))
            near = np.isin(times, [*times[:place][-1:], *times[place:][:1]])
            new[row] = states[row] not in self._states[first[row] : behind[row]][near]
        return new


def sightings_in(folder: Path, *, whole: bool) -> tuple[Sightings, tuple[Ignored, ...]]:
    """What the parts of before hold, and a line for each that cannot be read. Where all is to be kept ``whole``, rows
    without their secrets do not count.
    """
    known, unread, found = Sightings(), [], []
    for path in sorted(folder.glob("*.parquet")):
        try:
            file = open_part(path)
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group, columns=_IDENTITY)
                if whole:
                    table = table.filter(pc.invert(pc.fill_null(table["redacted"], False)))
                times = pc.fill_null(table["seen_at"].cast(pa.int64()), UNDATED).to_numpy()
                found.append((*hashes(table), times))
        except Unusable as error:
            unread.append(Ignored(str(path), error.reason, True))
        except UNREADABLE as error:
            unread.append(Ignored(str(path), unusable(error).reason, True))
    if found:
        identities, states, times = (np.concatenate(column) for column in zip(*found, strict=True))
        known.add(identities, states, times)
    return known, tuple(unread)


def hashes(table: pa.Table) -> tuple[Hashes, Hashes]:
    """The identity and the state of each row, as numbers of 64 bits; a record is known only where both are."""
    texts = {name: pc.fill_null(table[name].cast(pa.large_string()), "") for name in ("server", "key", "digest")}
    numbers = {name: table[name].cast(pa.int64()).cast(pa.large_string()) for name in ("db", "expires_at")}
    parts = {**texts, **{name: pc.fill_null(column, "") for name, column in numbers.items()}}
    between = pa.scalar("\0", pa.large_string())
    identity = pc.binary_join_element_wise(parts["server"], parts["db"], parts["key"], between)
    state = pc.binary_join_element_wise(parts["digest"], parts["expires_at"], between)
    return _numbers(identity), _numbers(state)


def _numbers(texts: pa.ChunkedArray) -> Hashes:
    found: Hashes = pd.util.hash_array(texts.to_numpy(), categorize=False)
    return found

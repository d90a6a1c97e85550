"""The three columns that say what a key is, while they are being filled: a key is claimed once.

In: the `keys` frame and a way to values. Out: the frame with family, prefix and task_id. Does not know any family's
name or content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.celery.decode import ValueOf
from analysis.celery.discovery import UUID, VARIABLE

UNCLAIMED = "other"

IS_UUID = re.compile(UUID)


class Claims:
    """Positions are row numbers of ``keys``. ``names`` is the key column as an Arrow array."""

    def __init__(self, keys: pd.DataFrame, value_of: ValueOf) -> None:
        self.keys, self.value_of = keys.reset_index(drop=True), value_of
        self.names = pa.array(self.keys["key"], pa.large_string())
        self.types = self.keys["type"].to_numpy(dtype=object, na_value="")
        self.snapshots, self.dbs = self.keys["snapshot"].tolist(), self.keys["db"].tolist()
        self.offsets = self.keys["offset"].tolist()
        self.family = np.full(len(keys), UNCLAIMED, dtype=object)
        self.prefix = np.full(len(keys), "", dtype=object)
        self.task_id = np.full(len(keys), None, dtype=object)

    def frame(self) -> pd.DataFrame:
        filled = {name: pd.Series(getattr(self, name)).astype("str") for name in ("family", "prefix", "task_id")}
        return self.keys.assign(**filled)

    def claim(self, positions: Any, family: str, prefix: Any = "", task_id: Any = None) -> None:
        self.family[positions], self.prefix[positions], self.task_id[positions] = family, prefix, task_id

    def free(self, *types: str, where: Any = None) -> np.ndarray:
        """Positions of the unclaimed keys of these Redis types for which the mask holds."""
        mask = (self.family == UNCLAIMED) & np.isin(self.types, types)
        if where is not None:
            mask &= np.asarray(where, dtype=bool)
        return np.flatnonzero(mask)

    def holding(self, text: str, *types: str) -> np.ndarray:
        return self.free(*types, where=pc.match_substring(self.names, text))

    def ending(self, text: str, *types: str) -> np.ndarray:
        return self.free(*types, where=pc.ends_with(self.names, text))

    def name(self, position: int) -> str:
        return str(self.names[position].as_py())

    def named(self, positions: np.ndarray) -> Iterable[tuple[int, str]]:
        return zip(positions.tolist(), self.names.take(pa.array(positions)).to_pylist(), strict=True)

    def place(self, position: int) -> tuple[str, int]:
        """Snapshot and database of a key."""
        return self.snapshots[position], self.dbs[position]

    def length(self, position: int) -> int:
        """Elements, or bytes of a string; 0 where the source does not say."""
        length = self.keys["length"].iat[position]
        return 0 if pd.isna(length) else int(length)

    def read(self, position: int) -> Any:
        """The value, or None where it cannot be read."""
        try:
            return self.value_of(self.snapshots[position], self.offsets[position])
        except ValueError:
            return None

    def split(self, positions: np.ndarray, marker: str) -> tuple[np.ndarray, np.ndarray]:
        """What stands before and behind the first ``marker`` in the names at ``positions``."""
        parts = [name.partition(marker) for _, name in self.named(positions)]
        return _column(part[0] for part in parts), _column(part[2] for part in parts)

    def alike(self, positions: np.ndarray) -> list[list[int]]:
        """``positions`` grouped by snapshot, database and name without its numbers and UUIDs; short names first."""
        if not len(positions):
            return []
        names = pc.replace_substring_regex(self.names.take(pa.array(positions)), VARIABLE, "0").to_pylist()
        groups: dict[tuple[str, int, str], list[int]] = {}
        for position, name in zip(positions.tolist(), names, strict=True):
            groups.setdefault((*self.place(position), name), []).append(position)
        return [groups[place] for place in sorted(groups, key=lambda place: len(place[2]))]


def _column(values: Iterable[str]) -> np.ndarray:
    listed = list(values)
    column = np.empty(len(listed), dtype=object)
    column[:] = listed
    return column

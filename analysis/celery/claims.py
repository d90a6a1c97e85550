"""The three columns that say what a key is, while they are being filled: a key is claimed once.

In: the `keys` frame and a way to values. Out: the frame with family, prefix and task_id. Does not know any family's
name or content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.celery.decode import ValueOf
from analysis.celery.discovery import UUID, VARIABLE
from analysis.evidence import texts
from analysis.frames import as_arrow, text, words

UNCLAIMED = "other"

IS_UUID = re.compile(UUID)

Positions = NDArray[np.int64]


class Marked(NamedTuple):
    """Keys whose names hold a marker: the text in front of it is ``prefixes[code]``, ``behind`` is what follows it."""

    positions: Positions
    codes: NDArray[np.int32]
    prefixes: list[str]
    behind: pa.Array

    def where(self, keep: NDArray[np.bool_]) -> Marked:
        """Those for which the mask holds."""
        if keep.all():
            return self
        behind = texts.take(self.behind, np.flatnonzero(keep))
        return self._replace(positions=self.positions[keep], codes=self.codes[keep], behind=behind)


class Claims:
    """Positions are row numbers of ``keys``. ``names`` is the key column as an Arrow array."""

    def __init__(self, keys: pd.DataFrame, value_of: ValueOf) -> None:
        self.keys, self.value_of = keys.reset_index(drop=True), value_of
        self.names = as_arrow(self.keys["key"])
        self._types = _Words(self.keys["type"])
        self._snapshots = _Words(self.keys["snapshot"])
        self._dbs, self._offsets = self.keys["db"].to_numpy(), self.keys["offset"].to_numpy()
        self._family = np.zeros(len(keys), np.int8)
        self._families = [UNCLAIMED]
        self._prefix = np.zeros(len(keys), np.int32)
        self._prefixes: dict[str, int] = {"": 0}
        # Where a key's task ID stands in all the pieces of IDs, which are put together at the end.
        self._id_at = np.full(len(keys), -1, np.int64)
        self._ids: list[pa.Array] = []
        self._ids_count = 0

    def frame(self) -> pd.DataFrame:
        found = self._ids[0] if len(self._ids) == 1 else pa.concat_arrays([*self._ids, pa.array([], pa.large_string())])
        ids = texts.take(found, self._id_at)
        family, prefix = words(self._family, self._families), words(self._prefix, self._prefixes)
        return self.keys.assign(family=family, prefix=prefix, task_id=text(ids))

    def claim_marked(self, found: Marked, family: str) -> None:
        """What stands in front of the marker is the prefix, what stands behind it the task ID."""
        places = np.array([self._prefix_code(prefix) for prefix in found.prefixes], np.int32)
        self.claim(found.positions, family, task_id=found.behind)
        self._prefix[found.positions] = places[found.codes]

    def _prefix_code(self, prefix: str) -> int:
        return self._prefixes.setdefault(prefix, len(self._prefixes))

    def claim(self, positions: Any, family: str, prefix: str = "", task_id: str | pa.Array | None = None) -> None:
        """Positions, one or many, are of this family; task IDs are one for all, or an array of as many."""
        if family not in self._families:
            self._families.append(family)
        self._family[positions] = self._families.index(family)
        self._prefix[positions] = self._prefix_code(prefix)
        if task_id is not None:
            piece = pa.array([task_id], pa.large_string()) if isinstance(task_id, str) else task_id
            self._id_at[np.atleast_1d(positions)] = self._ids_count + np.arange(len(piece))
            self._ids.append(piece)
            self._ids_count += len(piece)

    def of_family(self, *families: str) -> Positions:
        """Positions of the keys that were claimed for these families."""
        return np.flatnonzero(np.isin(self._family, [n for n, name in enumerate(self._families) if name in families]))

    def prefix(self, position: int) -> str:
        return list(self._prefixes)[self._prefix[position]]

    def ids(self, positions: Positions) -> list[str]:
        """Task IDs of claimed keys, those that have one."""
        at = self._id_at[positions]
        return pa.chunked_array(self._ids, pa.large_string()).take(pa.array(at[at >= 0])).to_pylist()

    def free(self, *types: str, where: Any = None) -> Positions:
        """Positions of the unclaimed keys of these Redis types for which the mask holds."""
        mask = (self._family == 0) & self._types.among(types)
        if where is not None:
            mask &= np.asarray(where, dtype=bool)
        return np.flatnonzero(mask)

    def holding(self, text: str, *types: str) -> Positions:
        return self._named(lambda names: pc.match_substring(names, text), types)

    def ending(self, text: str, *types: str) -> Positions:
        return self._named(lambda names: pc.ends_with(names, text), types)

    def starting(self, text: str, *types: str, end: str = "") -> Positions:
        return self._named(lambda names: pc.and_(pc.starts_with(names, text), pc.ends_with(names, end)), types)

    def _named(self, asked: Callable[[pa.Array], pa.Array], types: Sequence[str]) -> Positions:
        positions = self.free(*types)
        if 2 * len(positions) > len(self.names):
            return positions[asked(self.names).to_numpy(zero_copy_only=False)[positions]]
        return positions[asked(self.names.take(pa.array(positions))).to_numpy(zero_copy_only=False)]

    def name(self, position: int) -> str:
        return str(self.names[position].as_py())

    def type(self, position: int) -> str:
        return self._types.at(position)

    def are(self, positions: Positions, type: str) -> NDArray[np.bool_]:
        """Which of the keys are of this Redis type."""
        return self._types.among([type])[positions]

    def named(self, positions: Positions) -> Iterable[tuple[int, str]]:
        return zip(positions.tolist(), self.names.take(pa.array(positions)).to_pylist(), strict=True)

    def place(self, position: int) -> tuple[str, int]:
        """Snapshot and database of a key."""
        return self._snapshots.at(position), self._dbs[position]

    def length(self, position: int) -> int:
        """Elements, or bytes of a string; 0 where the source does not say."""
        length = self.keys["length"].iat[position]
        return 0 if pd.isna(length) else int(length)

    def read(self, position: int) -> Any:
        """The value, or None where it cannot be read."""
        try:
            return self.value_of(self._snapshots.at(position), self._offsets[position])
        except ValueError:
            return None

    def marked(self, marker: str, *types: str) -> Marked:
        """The unclaimed keys of these types whose name holds ``marker``, and something behind it."""
        free = self.free(*types)
        begins, behind = texts.split(self.names, free, marker)
        found = Marked(free, np.zeros(len(free), np.int32), [""], behind)
        found = found.where((begins >= 0) & pc.not_equal(behind, "").to_numpy(zero_copy_only=False))
        begins = begins[np.isin(free, found.positions, assume_unique=True)]
        prefixed = np.flatnonzero(begins)
        fronts = [
            name.encode()[:begin].decode()
            for (_, name), begin in zip(self.named(found.positions[prefixed]), begins[prefixed].tolist(), strict=True)
        ]
        codes = {"": 0}
        found.codes[prefixed] = [codes.setdefault(front, len(codes)) for front in fronts]
        return found._replace(prefixes=list(codes))

    def alike(self, positions: Positions) -> list[list[int]]:
        """``positions`` grouped by snapshot, database and name without its numbers and UUIDs; short names first."""
        if not len(positions):
            return []
        names = pc.replace_substring_regex(self.names.take(pa.array(positions)), VARIABLE, "0").dictionary_encode()
        places = np.stack([self._snapshots.codes[positions], self._dbs[positions].astype(np.int64)])
        order = np.lexsort((names.indices.to_numpy(), *places))
        keys = np.vstack([places, names.indices.to_numpy()])[:, order]
        ends = np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1
        groups = [group.tolist() for group in np.split(positions[order], ends)]
        sizes = pc.binary_length(names.dictionary).to_numpy()[keys[2, np.concatenate([[0], ends])]]
        return [groups[place] for place in np.lexsort((np.array([group[0] for group in groups]), sizes)).tolist()]


class _Words:
    """A column of few words, as each row's place in the list of them."""

    def __init__(self, column: pd.Series) -> None:
        found = column if column.dtype == "category" else column.astype("category")
        self.codes: NDArray[np.integer[Any]] = found.cat.codes.to_numpy()
        self._words = [str(word) for word in found.cat.categories]

    def among(self, wanted: Iterable[str]) -> NDArray[np.bool_]:
        return np.isin(self.codes, [place for place, word in enumerate(self._words) if word in wanted])

    def at(self, position: int) -> str:
        return self._words[self.codes[position]]

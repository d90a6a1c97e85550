"""The columns of the `tasks` frame while they are being filled: many rows at once by kernels, single ones from data.

In: places of results in a snapshot; what Python has told of others. Out: columns. Does not know what JSON is:
``slicer`` cuts it, and leaves what is not plain to be told by others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.celery import slicer
from analysis.columns import scratch
from analysis.evidence.rdb import Snapshot
from analysis.frames import TEXT, as_arrow, counts, missing, moments, text, words

_BLOCK_ROWS = 8_192
_LARGEST = 2**20
_TEXTS = 2**20
_WORDS = ("status", "name", "worker", "queue")
_IDS = ("parent_id", "group_id")
_NO_TIME = slicer.NO_TIME

Positions = NDArray[np.intp]


class Cut:
    """Columns of so many rows. ``left`` are the rows of which nothing is known yet."""

    def __init__(self, count: int) -> None:
        self._left, self._stopped = np.ones(count, bool), False
        self._numbers = {name: scratch(count, np.int64) for name in ("date_done", "retries", "size")}
        self._codes = {name: scratch(count, np.int32) for name in (*_WORDS, "kind", "serializer")}
        for column in (*self._numbers.values(), *self._codes.values()):
            column[:] = slicer.MISSING
        self._numbers["date_done"][:] = _NO_TIME
        self._known: dict[str, dict[str, int]] = {name: {} for name in self._codes}
        self._single: dict[str, dict[int, str]] = {name: {} for name in (*_IDS, "problem")}
        self._texts: dict[str, list[tuple[Positions, pa.Array]]] = {name: [] for name in self._single}
        self._children: dict[int, list[str]] = {}

    @property
    def left(self) -> Positions:
        return np.flatnonzero(self._left)

    def put(self, row: int, told: Mapping[str, Any]) -> None:
        """One row, by what its columns are; what is not told, or None, is missing. ``date_done`` is in microseconds."""
        self._left[row] = False
        for name, numbers in self._numbers.items():
            if (number := told.get(name)) is not None:
                numbers[row] = number
        for name in self._codes:
            if (word := told.get(name)) is not None:
                self._codes[name][row] = self._code(name, word)
        for name, single in self._single.items():
            if (found := told.get(name)) is not None:
                single[row] = found
        if (children := told.get("children")) is not None:
            self._children[row] = children

    def cut(self, snapshot: Snapshot, positions: Positions, offsets: pd.Series, ids: pd.Series) -> None:
        """The rows at ``positions``, as far as their values are plain: by kernels, a thread for each core."""
        sizes = pc.fill_null(pc.binary_length(as_arrow(ids)), -1).to_numpy()[positions].astype(np.int64)
        places = offsets.to_numpy(dtype=np.int64)[positions]
        cores = os.cpu_count() or 1
        bounds = np.linspace(0, len(positions), cores + 1).astype(int).tolist()
        with ThreadPoolExecutor(cores) as threads:
            parts = [
                (positions[first:last], threads.submit(self._cut_some, snapshot, positions, places, sizes, first, last))
                for first, last in zip(bounds, bounds[1:], strict=False)
            ]
            try:
                for there, part in parts:
                    tables, met = part.result()
                    self._name(there[~self._left[there]], tables, met)
            except BaseException:
                self._stopped = True
                raise

    def _cut_some(
        self, snapshot: Snapshot, positions: Positions, places: Any, sizes: Any, first: int, last: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Cut the rows at ``positions[first:last]``; the tables of the words met, and their bytes."""
        cut, octets = snapshot.kernels(slicer.slice_results), snapshot.octets(snapshot.kernels)
        room, texts = np.empty(_LARGEST, np.uint8), np.empty(_TEXTS, np.uint8)
        out = np.empty(_BLOCK_ROWS * slicer.WIDTH, np.int64)
        tables = np.zeros(slicer.TABLES * slicer.TABLE, np.int64)
        met = np.zeros(slicer.TABLES * slicer.WORD_BYTES, np.uint8)
        while first < last and not self._stopped:
            end = min(last, first + _BLOCK_ROWS)
            count = cut(octets, snapshot.size, places, sizes, first, end, room, out, texts, tables, met)
            rows = out[: count * slicer.WIDTH].reshape(count, slicer.WIDTH)
            fits = rows[:, slicer.FITS] == 1
            self._take(positions[first : first + count][fits], rows[fits], texts)
            first += count
        return tables, met

    def _take(self, there: Positions, rows: NDArray[np.int64], texts: NDArray[np.uint8]) -> None:
        self._left[there] = False
        self._numbers["date_done"][there] = rows[:, slicer.DONE]
        self._numbers["retries"][there] = rows[:, slicer.RETRIES]
        self._numbers["size"][there] = rows[:, slicer.SIZE]
        for number, name in enumerate(_WORDS):
            self._codes[name][there] = rows[:, slicer.STATUS + number]
        if len(rows) and rows[-1, slicer.GROUP]:
            ends = np.concatenate([[0], rows[:, [slicer.PARENT, slicer.GROUP]].ravel()])
            buffers = [None, pa.py_buffer(ends), pa.py_buffer(texts[: ends[-1]].tobytes())]
            found = pa.Array.from_buffers(pa.large_string(), 2 * len(rows), buffers)
            for place, name in enumerate(_IDS):
                ids = found.take(pa.array(np.arange(place, 2 * len(rows), 2)))
                given = np.diff(ends)[place::2] > 0
                self._texts[name].append((there[given], ids.filter(pa.array(given))))

    def _name(self, there: Positions, tables: NDArray[np.int64], met: NDArray[np.uint8]) -> None:
        """Turn a thread's own numbers of words into those of all."""
        for number, name in enumerate(_WORDS):
            table = tables[number * slicer.TABLE :]
            ends = [0, *table[slicer.ENDS : slicer.ENDS + table[slicer.COUNT]].tolist()]
            octets = met[number * slicer.WORD_BYTES :]
            codes = [
                self._code(name, octets[begin:end].tobytes().decode("ascii"))
                for begin, end in zip(ends, ends[1:], strict=False)
            ]
            # The last stands for -1: missing.
            self._codes[name][there] = np.array([*codes, -1], np.int32)[self._codes[name][there]]
        self._codes["kind"][there] = self._code("kind", "task")
        self._codes["serializer"][there] = self._code("serializer", "json")

    def _code(self, name: str, word: str) -> int:
        known = self._known[name]
        return known.setdefault(word, len(known))

    def columns(self) -> dict[str, pd.Series]:
        """All columns, by name; ``stored_at`` and ``stored_from`` too, which follow from ``date_done``."""
        times = self._numbers["date_done"]
        done = moments(times)
        known = np.where(times == _NO_TIME, np.int8(-1), np.int8(0))
        retries, size = (self._numbers[name] for name in ("retries", "size"))
        children = np.full(len(times), None, object)
        for row, ids in self._children.items():
            children[row] = ids
        return {
            "date_done": done,
            "stored_at": done,
            "stored_from": words(known, ["date_done"]),
            "retries": counts(retries, slicer.MISSING),
            "size": counts(size, slicer.MISSING),
            "children": pd.Series(children, copy=False),
            **{name: words(codes, self._known[name]) for name, codes in self._codes.items()},
            **{name: self._text(name) for name in self._texts},
        }

    def _text(self, name: str) -> pd.Series:
        single = self._single[name]
        pieces = [*self._texts[name]]
        if single:
            pieces.append((np.fromiter(single, np.intp), pa.array(single.values(), pa.large_string())))
        if not pieces:
            return missing(TEXT, len(self._left))
        at = np.full(len(self._left), -1, np.int64)
        there = np.concatenate([positions for positions, _ in pieces])
        at[there] = np.arange(len(there))
        found = pa.concat_arrays([piece for _, piece in pieces])
        return text(found.take(pa.array(at, mask=at < 0)))

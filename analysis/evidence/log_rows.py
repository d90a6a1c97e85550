"""The rows of the frame ``events``, as they come.

In: rows. Out: the frame. Few rows are held in memory; the columns of many lie in files, which are mapped and take no
memory of their own. Does not know what a row says.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.columns import Columns, FileColumns, MemoryColumns, NotKept
from analysis.frames import counts, frame, moments, text

UNKNOWN = np.iinfo(np.int64).min
LARGEST_IN_MEMORY = 32 << 20
"""Bytes of columns, from which on they go to files."""
_ROWS_AT_ONCE = 16_384
_LETTERS_AT_ONCE = 4 << 20


# at, not_after, line, process, kind, task_id, name, count, seconds, text: times in µs since 1970, UNKNOWN where a whole
# number is missing.
Row = tuple[int, int, int, str, str, str | None, str | None, int, float, str]
_FIELDS = ("at", "not_after", "line", "process", "kind", "task_id", "name", "count", "seconds", "text")
_NUMBERS = {"at": np.int64, "not_after": np.int64, "line": np.int64, "count": np.int64, "seconds": np.float64}


class Rows:
    """Takes rows in their order, one by one or as columns. To be used as a context; ``frame`` at its end.

    Raises NotKept where the disk is full; with ``in_memory`` all is held in memory, and it is not.
    """

    def __init__(self, source: str, server: str, *, in_memory: bool = False) -> None:
        self._same = {"source": source, "server": server}
        self._files: FileColumns | None = None
        self._held: list[Columns] = []
        self._most = math.inf if in_memory else LARGEST_IN_MEMORY
        self._size = 0
        self._rows: list[Row] = []
        self._letters = 0
        # Of each row, how many of the columns' rows stand before it; of those, how many are written.
        self._places: list[int] = []
        self._columns: Columns = _columns_of([])
        self._place = self._written = 0
        self._stack = ExitStack()

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, row: Row) -> None:
        self._rows.append(row)
        self._places.append(self._place)
        self._letters += len(row[-1])
        if len(self._rows) >= _ROWS_AT_ONCE or self._letters >= _LETTERS_AT_ONCE:
            self._write()

    def begin(self, columns: Columns) -> None:
        """Columns of rows, which ``reach`` lets come."""
        self._write()
        self._columns = columns
        self._place = self._written = 0

    def reach(self, place: int) -> None:
        """So many rows of the columns come before what is added next."""
        self._place = place

    def frame(self) -> pd.DataFrame:
        """The frame ``events`` of all rows."""
        self._write()
        if self._files:
            columns = self._files.finish()
        else:
            memory = MemoryColumns()
            for block in self._held or [self._with_same(_columns_of([]))]:
                memory.append(block)
            columns = memory.finish()
        whole: dict[str, Any] = {name: text(one) for name, one in columns.items() if name not in _NUMBERS}
        whole |= {name: moments(columns[name]) for name in ("at", "not_after")}
        whole |= {name: counts(columns[name], UNKNOWN) for name in ("line", "count")}
        return frame("events", whole | {"seconds": pd.Series(columns["seconds"], copy=False)})

    def _write(self) -> None:
        """Let all rows go that have come."""
        begin, end = self._written, self._place
        columns = {name: column[begin:end] for name, column in self._columns.items()}
        if self._rows:
            # A row comes before the row of the columns that has its place's number.
            order = np.append(np.arange(begin, end) * 2 + 1, np.array(self._places) * 2).argsort(kind="stable")
            columns = _taken(columns, _columns_of(self._rows), order)
        self._rows, self._places, self._letters, self._written = [], [], 0, end
        if len(columns["at"]):
            self._keep(self._with_same(columns))

    def _keep(self, block: Columns) -> None:
        if self._files is None:
            self._held.append(block)
            self._size += sum(one.nbytes for one in block.values())
            if self._size >= self._most:
                self._files = self._opened()
                for one in self._held:
                    self._files.append(one)
                self._held.clear()
        else:
            self._files.append(block)

    def _with_same(self, columns: Columns) -> Columns:
        count = len(columns["at"])
        same = {name: pa.repeat(pa.scalar(value, pa.large_string()), count) for name, value in self._same.items()}
        return columns | same

    def _opened(self) -> FileColumns:
        try:
            folder = self._stack.enter_context(
                TemporaryDirectory(prefix="analysis-columns-", ignore_cleanup_errors=True)
            )
        except OSError as error:
            raise NotKept(*error.args) from None
        files = FileColumns(Path(folder))
        self._stack.callback(files.close)
        return files


def _columns_of(rows: list[Row]) -> Columns:
    given = zip(*rows, strict=True) if rows else ((),) * len(_FIELDS)
    return {
        name: np.array(column, _NUMBERS[name]) if name in _NUMBERS else pa.array(column, pa.large_string())
        for name, column in zip(_FIELDS, given, strict=True)
    }


def _taken(one: Columns, other: Columns, order: NDArray[np.int64]) -> Columns:
    """The rows of both, in an order."""
    return {
        name: np.concatenate([column, other[name]])[order]
        if name in _NUMBERS
        else pa.concat_arrays([column, other[name]]).take(pa.array(order))
        for name, column in one.items()
    }

"""Columns of any length, in memory or in files that are mapped: what does not fit into memory is paged by the system.

In: blocks of columns, one after the other. Out: each column whole. A column in files is numpy's own ``.npy``; a text is
two of them, its bytes and where each ends. Knows nothing of what the columns mean.
"""

from __future__ import annotations

import os
import tokenize
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray

# A column: numbers as a numpy array, text as an array of Arrow's large_string (pyarrow ships no types).
Column = Any
Columns = dict[str, Column]

_HEADER = 128
_LARGE = 2**20
_TEXTS, _BOUNDS, _GIVEN = ".text", ".bounds", ".given"


class NotKept(OSError):
    """Nothing more can be written: the disk is full, or the folder may not be written."""


class MemoryColumns:
    """Columns that grow in memory."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Column]] = {}

    def append(self, block: Mapping[str, Column]) -> None:
        """Rows more; every block has the same columns."""
        for name, column in block.items():
            self._parts.setdefault(name, []).append(column)

    def finish(self) -> Columns:
        whole: Columns = {}
        for name in list(self._parts):
            parts = self._parts.pop(name)
            whole[name] = np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pa.concat_arrays(parts)
        return whole


class FileColumns:
    """Columns that grow in the files of a folder, which is the caller's to make and to remove."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, tuple[BinaryIO, np.dtype[Any]]] = {}
        self._made: dict[str, int] = {}

    def append(self, block: Mapping[str, Column]) -> None:
        """Rows more; every block has the same columns. NotKept where the disk is full."""
        try:
            self._append(block)
        except OSError as error:
            raise NotKept(*error.args) from None

    def _append(self, block: Mapping[str, Column]) -> None:
        for name, column in block.items():
            if isinstance(column, np.ndarray):
                self._write(name, column)
                continue
            _, offsets, octets = column.buffers()
            bounds = np.frombuffer(offsets, np.int64, len(column) + 1, 8 * column.offset)
            if name not in self._made:
                self._made[name] = 0
                self._write(name + _BOUNDS, np.zeros(1, np.int64))
            self._write(name + _BOUNDS, bounds[1:] - bounds[0] + self._made[name])
            self._write(name + _TEXTS, np.frombuffer(octets or b"", np.uint8)[bounds[0] : bounds[-1]])
            self._made[name] += int(bounds[-1] - bounds[0])
            self._write(name + _GIVEN, column.is_valid().to_numpy(zero_copy_only=False))

    def finish(self) -> Columns:
        """All columns, whole."""
        try:
            for file, dtype in self._files.values():
                rows = (file.tell() - _HEADER) // dtype.itemsize
                file.seek(0)
                file.write(_header(dtype, rows))
        except OSError as error:
            raise NotKept(*error.args) from None
        self.close()
        return open_columns(self._folder)

    def close(self) -> None:
        """Let go of the files, finished or not."""
        for file, _ in self._files.values():
            file.close()
        self._files.clear()

    def _write(self, name: str, column: NDArray[Any]) -> None:
        if name not in self._files:
            descriptor = os.open(self._folder / f"{name}.npy", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._files[name] = os.fdopen(descriptor, "wb", buffering=0), column.dtype
            self._files[name][0].write(bytes(_HEADER))
        octets = np.ascontiguousarray(column).data.cast("B") if len(column) else b""
        while octets:
            octets = octets[self._files[name][0].write(octets) :]


def _header(dtype: np.dtype[Any], rows: int) -> bytes:
    """A ``.npy`` header of always the same size, so that it can be written when the number of rows is known."""
    described = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)}
    text = repr(described).encode("ascii")
    magic = npy.magic(1, 0)
    return magic + (_HEADER - len(magic) - 2).to_bytes(2, "little") + text.ljust(_HEADER - len(magic) - 3) + b"\n"


def open_columns(folder: Path) -> Columns:
    """The columns of a folder, mapped. Raises ValueError or OSError where a file is missing, cut or no column."""
    arrays = {path.name.removesuffix(".npy"): _mapped(path) for path in folder.glob("*.npy")}
    columns: Columns = {}
    for name, array in arrays.items():
        if name.endswith(_BOUNDS):
            text = name.removesuffix(_BOUNDS)
            columns[text] = _text(array, arrays.get(text + _TEXTS), arrays.get(text + _GIVEN))
        elif not name.endswith((_TEXTS, _GIVEN)):
            columns[name] = array
        elif name.rpartition(".")[0] + _BOUNDS not in arrays:
            raise ValueError(f"{name} without its other half")
    return columns


def _mapped(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        if npy.read_magic(file) != (1, 0):
            raise ValueError(f"{path.name} is of another version")
        try:
            (rows,), _, dtype = npy.read_array_header_1_0(file)
        except (SyntaxError, TypeError, tokenize.TokenError) as error:
            # What numpy's reading of a header makes of some that are damaged.
            raise ValueError(f"{path.name} has no header: {error}") from None
        if file.tell() + dtype.itemsize * rows != path.stat().st_size:
            raise ValueError(f"{path.name} is cut")
        return np.asarray(np.memmap(file, dtype, "r", file.tell(), (rows,))) if rows else np.empty(0, dtype)


def _text(bounds: NDArray[Any], texts: NDArray[Any] | None, given: NDArray[Any] | None) -> pa.Array:
    if texts is None or given is None or len(given) != len(bounds) - 1 or bounds[-1] != len(texts):
        raise ValueError("a text without its other half")
    nulls = None if given.all() else pa.py_buffer(np.packbits(given, bitorder="little"))
    return pa.Array.from_buffers(pa.large_string(), len(given), [nulls, pa.py_buffer(bounds), pa.py_buffer(texts)])


def scratch(count: int, dtype: Any) -> NDArray[Any]:
    """Room for numbers, whatever they are; where it is large, in a file without a name, so that it takes no memory."""
    size = count * np.dtype(dtype).itemsize
    if size < _LARGE:
        return np.empty(count, dtype)
    try:
        with TemporaryFile() as file:
            # The room on disk is taken at once: to miss it later would end the process.
            os.posix_fallocate(file.fileno(), 0, size)
            return np.asarray(np.memmap(file, dtype, "r+", shape=(count,)))
    except (OSError, AttributeError):
        return np.empty(count, dtype)


def order_of(heads: Iterable[NDArray[np.uint64]], count: int) -> NDArray[np.uint64]:
    """``count`` rows in the order of their heads, numbers of 32 bits that are given block by block.

    Each is a row's head in the upper half, and in the lower half its number; so many rows as 32 bits can count. They
    are sorted in place, in a mapped file where they are many, so that they take no memory.
    """
    if count >= 2**32:
        raise ValueError("more than 2^32 rows")
    order = scratch(count, np.uint64)
    begin = 0
    for block in heads:
        end = begin + len(block)
        order[begin:end] = block << np.uint64(32) | np.arange(begin, end, dtype=np.uint64)
        begin = end
    order.sort()
    return order


def row_numbers(order: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The rows of a part of ``order_of``."""
    return (order & np.uint64(2**32 - 1)).astype(np.int64)

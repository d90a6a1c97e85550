"""From the walker's rows to columns, block by block, and from columns to the frame ``keys``.

In: the bytes of a snapshot. Out: columns of blocks of keys, and where and why the walk ended; of all columns, the
frame. Does not know checksums, nor what a value holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.columns import Columns, scratch
from analysis.evidence import rdb_kernel as kernel
from analysis.evidence import rdb_layout as layout
from analysis.evidence.rdb_text import gather_names
from analysis.evidence.rdb_values import Buffer, ValueUnreadable, decode_string
from analysis.evidence.texts import decoded, decoded_texts
from analysis.frames import counts, frame, moments, repeated, text, words
from analysis.kernels import Kernels

Numbers = NDArray[np.int64]

_BLOCK_ROWS = 16_384
_FIRST_ROOM = 2**16
_EMBEDDED = 44
"""Bytes of a string that Redis keeps in one piece with its header (object.c, OBJ_ENCODING_EMBSTR_SIZE_LIMIT)."""
_LISTPACK_LISTS_SINCE = 11
"""RDB version of Redis 7.2, the first to keep a small list as one listpack and no quicklist."""
_NO_TIME = np.iinfo(np.int64).min
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, in milliseconds since 1970: what Python and pandas can both hold."""

_TYPES = {
    "string": (layout.STRING,),
    "list": (layout.LIST, layout.LIST_ZIPLIST, layout.QUICKLIST, layout.QUICKLIST_2),
    "set": (layout.SET, layout.SET_INTSET, layout.SET_LISTPACK),
    "zset": (layout.ZSET, layout.ZSET_2, layout.ZSET_ZIPLIST, layout.ZSET_LISTPACK),
    "stream": (layout.STREAM, layout.STREAM_2, layout.STREAM_3),
    "module": (layout.MODULE_2,),
}
_ENCODINGS = {
    "raw": (layout.STRING,),
    "linkedlist": (layout.LIST,),
    "hashtable": (layout.SET, layout.HASH, layout.HASH_METADATA, layout.HASH_METADATA_RC),
    "skiplist": (layout.ZSET, layout.ZSET_2),
    "zipmap": (layout.HASH_ZIPMAP,),
    "ziplist": (layout.LIST_ZIPLIST, layout.HASH_ZIPLIST, layout.ZSET_ZIPLIST),
    "intset": (layout.SET_INTSET,),
    "quicklist": (layout.QUICKLIST, layout.QUICKLIST_2),
    "listpack": (layout.HASH_LISTPACK, layout.ZSET_LISTPACK, layout.SET_LISTPACK),
    "listpackex": (layout.HASH_LISTPACK_EX, layout.HASH_LISTPACK_EX_RC),
    "stream": (layout.STREAM, layout.STREAM_2, layout.STREAM_3),
    "module": (layout.MODULE_2,),
}


def _codes(by_word: dict[str, tuple[int, ...]], other: str) -> tuple[NDArray[np.int8], list[str]]:
    """Of each type code its word's place in the list of words, and that list."""
    names = list(dict.fromkeys([*by_word, other]))
    by_code = {code: names.index(word) for word, codes in by_word.items() for code in codes}
    everything = range(layout.HASH_LISTPACK_EX + 1)
    return np.array([by_code.get(code, names.index(other)) for code in everything], np.int8), names


_TYPE_CODES, _TYPE_WORDS = _codes(_TYPES, "hash")
_ENCODING_CODES, _ENCODING_WORDS = _codes({**_ENCODINGS, "int": (), "embstr": ()}, "raw")
_AS_INT, _AS_EMBSTR, _AS_LISTPACK = map(_ENCODING_WORDS.index, ("int", "embstr", "listpack"))

_NUMBERS = ("db", "length", "bytes", "idle", "freq", "field_ttls", "offset")

_REASONS = {
    layout.CUT: "cut: the file ends inside a key or its value",
    kernel.NO_END: "cut: the file ends without an end mark",
    layout.BAD_LENGTH: "damaged: a length that cannot be",
    layout.BAD_VALUE: "damaged: a part of a value that its type does not have",
    kernel.OPAQUE: "a module value of the old kind (type 6), whose end only its module knows",
}


class Walk:
    """A walk through a snapshot's entries, from ``position``, behind the magic.

    While ``blocks`` are taken, ``aux`` comes to hold the first field of each name, and ``position`` moves on. In the
    end it is behind the end mark where ``reason`` is None, else it is the first byte of what could not be read.
    """

    def __init__(self, buffer: Buffer, start: int, *, version: int, valkey: bool, kernels: Kernels) -> None:
        self.buffer, self.position, self.version, self.valkey = buffer, start, version, valkey
        self.aux: dict[str, str] = {}
        self.reason: str | None = None
        self.kernels = kernels
        self._source = kernels.source(buffer)
        self._names = _Names(kernels)

    def blocks(self) -> Iterator[Columns]:
        """The columns of each block of keys. What is taken beside them is bounded by a block."""
        size = len(self.buffer)
        state = self.kernels.numbers(kernel.STATES)
        state[kernel.POSITION], state[kernel.VALKEY] = self.position, self.valkey
        state[kernel.NEXT_IDLE] = state[kernel.NEXT_FREQ] = layout.MISSING
        block = self.kernels.numbers(kernel.WIDTH * _BLOCK_ROWS)
        table = np.frombuffer(block, np.int64).reshape(_BLOCK_ROWS, kernel.WIDTH)
        room = self.kernels.room(_FIRST_ROOM)
        walk = self.kernels(kernel.walk)
        status = kernel.FULL
        while self.reason is None and status in (kernel.FULL, layout.NEED_ROOM):
            status, count = walk(self._source, size, state, block, room)
            self.position = int(state[kernel.POSITION])
            if status == layout.NEED_ROOM:
                # Twice as much at least: the entry is begun anew each time.
                room = self.kernels.room(max(2 * len(room), int(state[kernel.DETAIL])))
            elif status < 0:
                self.reason = _REASONS.get(status) or _unknown(int(state[kernel.DETAIL]))
            columns = self._columns(block, table, count)
            table[:count] = 0
            yield columns

    def _columns(self, block: Any, table: NDArray[np.int64], count: int) -> Columns:
        """The columns of ``count`` rows, up to the first whose name cannot be decompressed."""
        rows = table[:count]
        is_aux = rows[:, kernel.TYPE] == kernel.AUX
        if is_aux.any():
            count = self._take_aux(rows, is_aux)
        names, done = self._names.gather(self._source, block, count)
        if done < count:
            self._stop(int(table[done, kernel.OFFSET]))
        rows = table[:done]
        columns = {
            "db": rows[:, kernel.DB],
            "key": names,
            "type": _TYPE_CODES[rows[:, kernel.TYPE]],
            "encoding": _encodings(rows, self.version),
            "length": rows[:, kernel.LENGTH],
            "bytes": rows[:, kernel.VALUE_END] - rows[:, kernel.VALUE_AT],
            "expires_at": _times(rows),
            "idle": rows[:, kernel.IDLE],
            "freq": rows[:, kernel.FREQ],
            "field_ttls": rows[:, kernel.FIELD_TTLS],
            "offset": rows[:, kernel.OFFSET],
        }
        # Copies, for the block is used again.
        return {name: one.copy() if isinstance(one, np.ndarray) else one for name, one in columns.items()}

    def _take_aux(self, rows: Numbers, is_aux: NDArray[np.bool_]) -> int:
        """Note the aux fields among the rows, and move the others together; how many those are."""
        for row in np.flatnonzero(is_aux).tolist():
            try:
                name = decode_string(self.buffer, len(self.buffer), int(rows[row, kernel.OFFSET]) + 1)
                value = decode_string(self.buffer, len(self.buffer), int(rows[row, kernel.VALUE_AT]))
            except ValueUnreadable:
                self._stop(int(rows[row, kernel.OFFSET]))
                is_aux[row:] = True
                break
            self.aux.setdefault(decoded(name), decoded(value))
        kept = rows[~is_aux]
        rows[: len(kept)] = kept
        return len(kept)

    def _stop(self, offset: int) -> None:
        """End the walk before the entry at ``offset``, whose name or value is broken."""
        self.position = offset
        try:
            decode_string(self.buffer, len(self.buffer), offset + 1)
            if self.buffer[offset] == kernel.AUX:
                behind = layout.skip_strings(self.buffer, offset + 1, len(self.buffer), 1)
                decode_string(self.buffer, len(self.buffer), behind)
        except ValueUnreadable as error:
            self.reason = f"damaged: {error.reason}"


class _Names:
    """Room for the names of a block, used again for each."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._gather = kernels(gather_names)
        self._ends = kernels.numbers(_BLOCK_ROWS)
        self._texts = kernels.room(_FIRST_ROOM)

    def gather(self, source: Any, block: Any, count: int) -> tuple[pa.Array, int]:
        """The names of the first ``count`` rows, up to one that is broken, and how many those are."""
        while True:
            status, done, detail = self._gather(source, block, count, self._texts, self._ends)
            if status != layout.NEED_ROOM:
                break
            self._texts = self._kernels.room(max(2 * len(self._texts), detail))
        ends = np.zeros(done + 1, np.int64)
        ends[1:] = np.frombuffer(self._ends, np.int64, done)
        return decoded_texts(ends, np.frombuffer(self._texts, np.uint8, detail).tobytes()), done


def _unknown(code: int) -> str:
    return f"unknown {'opcode' if code >= kernel.SLOT_IMPORT else 'type'} {code}, whose length cannot be known"


def _times(rows: Numbers) -> Numbers:
    """Expiry in microseconds since 1970, as pandas holds it: the smallest number is none."""
    times = np.clip(rows[:, kernel.EXPIRE], _FIRST_MS, _LAST_MS) * 1000
    times[rows[:, kernel.HAS_EXPIRE] == 0] = _NO_TIME
    return times


def _encodings(rows: Numbers, version: int) -> NDArray[np.int8]:
    """Encoding codes: by type, and for strings and lists by what the walker saw of them."""
    types, is_form = rows[:, kernel.TYPE], rows[:, kernel.FORM] != 0
    codes = _ENCODING_CODES[types]
    strings, lists = types == layout.STRING, types == layout.QUICKLIST_2
    codes[strings & (rows[:, kernel.LENGTH] <= _EMBEDDED)] = _AS_EMBSTR
    codes[strings & is_form] = _AS_INT
    if version >= _LISTPACK_LISTS_SINCE:
        codes[lists & is_form] = _AS_LISTPACK
    return codes


def keys_frame(columns: Columns, source: str, server: str, taken_at: pd.Timestamp | None) -> pd.DataFrame:
    """The frame ``keys`` of all columns. ``expired`` is missing throughout where ``taken_at`` is None."""
    times = columns["expires_at"]
    count = len(times)
    as_of = _NO_TIME if taken_at is None else taken_at.as_unit("us").to_datetime64().astype(np.int64)
    expired, unknown = scratch(count, np.bool_), scratch(count, np.bool_)
    np.less_equal(times, as_of, out=expired)
    np.logical_and(expired, times != _NO_TIME, out=expired)
    unknown[:] = taken_at is None
    return frame(
        "keys",
        {
            "server": repeated(server, count),
            "snapshot": repeated(source, count),
            "key": text(columns["key"]),
            "type": words(columns["type"], _TYPE_WORDS),
            "encoding": words(columns["encoding"], _ENCODING_WORDS),
            "expires_at": moments(times),
            "expired": pd.Series(pd.arrays.BooleanArray(expired, unknown), copy=False),
            **{name: counts(columns[name], layout.MISSING) for name in _NUMBERS},
        },
    )

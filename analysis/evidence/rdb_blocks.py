"""From the walker's rows to the frame ``keys``.

In: the bytes of a snapshot. Out: what the walk found, in columns, and where and why it ended; of that, the frame.
Does not know checksums, nor what a value holds.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.evidence import rdb_kernel as kernel
from analysis.evidence import rdb_layout as layout
from analysis.evidence.rdb_values import Buffer, ValueUnreadable, decode_string
from analysis.frames import frame

Numbers = NDArray[np.int64]

_BLOCK_ROWS = 16_384
_FIRST_ROOM = 2**16
_EMBEDDED = 44
"""Bytes of a string that Redis keeps in one piece with its header (object.c, OBJ_ENCODING_EMBSTR_SIZE_LIMIT)."""
_LISTPACK_LISTS_SINCE = 11
"""RDB version of Redis 7.2, the first to keep a small list as one listpack and no quicklist."""
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
_CODES = layout.HASH_LISTPACK_EX + 1
_TEXT = pd.StringDtype("pyarrow", na_value=np.nan)


def _words(by_word: dict[str, tuple[int, ...]], other: str, *more: str) -> pa.Array:
    """Words by type code, ``more`` behind them."""
    by_code = {code: word for word, codes in by_word.items() for code in codes}
    return pa.array([by_code.get(code, other) for code in range(_CODES)] + list(more))


_TYPE_WORDS = _words(_TYPES, "hash")
_ENCODING_WORDS = _words(_ENCODINGS, "", "int", "embstr", "listpack")
_AS_INT, _AS_EMBSTR, _AS_LISTPACK = range(_CODES, _CODES + 3)

_REASONS = {
    layout.CUT: "cut: the file ends inside a key or its value",
    kernel.NO_END: "cut: the file ends without an end mark",
    layout.BAD_LENGTH: "damaged: a length that cannot be",
    layout.BAD_VALUE: "damaged: a part of a value that its type does not have",
    kernel.OPAQUE: "a module value of the old kind (type 6), whose end only its module knows",
}


@dataclass
class Walked:
    """``rows``: of each block a line for each column of the walker; ``names``: its keys; ``aux``: the first of a name.

    ``position`` is behind the end mark where ``reason`` is None; else the first byte of what could not be read.
    """

    rows: list[Numbers]
    names: list[pa.Array]
    aux: dict[str, str]
    position: int
    reason: str | None

    def take(self, buffer: Buffer, found: Numbers) -> None:
        """Add a block's rows, up to the first whose name cannot be decompressed."""
        keys_at, keys_end = found[:, kernel.KEY_AT].tolist(), found[:, kernel.KEY_END].tolist()
        texts = [buffer[begin:end] for begin, end in zip(keys_at, keys_end, strict=True)]
        is_aux = found[:, kernel.TYPE] == kernel.AUX
        for row in np.flatnonzero(is_aux | (found[:, kernel.KEY_FORM] != layout.RAW)).tolist():
            try:
                texts[row] = decode_string(buffer, len(buffer), int(found[row, kernel.OFFSET]) + 1)
                if is_aux[row]:
                    value = decode_string(buffer, len(buffer), int(found[row, kernel.VALUE_AT]))
                    self.aux.setdefault(decoded(texts[row]), decoded(value))
            except ValueUnreadable as error:
                self.position, self.reason = int(found[row, kernel.OFFSET]), f"damaged: {error.reason}"
                found, texts, is_aux = found[:row], texts[:row], is_aux[:row]
                break
        self.rows.append(found[~is_aux].T.copy())
        self.names.append(_as_text([text for text, aux in zip(texts, is_aux.tolist(), strict=True) if not aux]))


def walk_buffer(buffer: Buffer, start: int, *, valkey: bool) -> Walked:
    """Walk ``buffer`` from ``start``, behind the magic. Blocks bound what is taken beside the result."""
    size = len(buffer)
    state = array("q", bytes(8 * kernel.STATES))
    state[kernel.POSITION], state[kernel.VALKEY] = start, valkey
    state[kernel.NEXT_IDLE] = state[kernel.NEXT_FREQ] = layout.MISSING
    block = array("q", bytes(8 * kernel.WIDTH * _BLOCK_ROWS))
    table = np.frombuffer(block, np.int64).reshape(_BLOCK_ROWS, kernel.WIDTH)
    room = bytearray(_FIRST_ROOM)
    walked = Walked([], [], {}, start, None)
    status = kernel.FULL
    while walked.reason is None and status in (kernel.FULL, layout.NEED_ROOM):
        status, count = kernel.walk(buffer, size, state, block, room)
        walked.position = state[kernel.POSITION]
        if status == layout.NEED_ROOM:
            # Twice as much at least: the entry is begun anew each time.
            room = bytearray(max(2 * len(room), state[kernel.DETAIL]))
        elif status < 0:
            walked.reason = _REASONS.get(status) or _unknown(state[kernel.DETAIL])
        walked.take(buffer, table[:count])
        table[:count] = 0
    return walked


def _unknown(code: int) -> str:
    return f"unknown {'opcode' if code >= kernel.SLOT_IMPORT else 'type'} {code}, whose length cannot be known"


def decoded(raw: bytes) -> str:
    """Bytes as text, as everywhere in the kit."""
    return raw.decode("utf-8", "backslashreplace")


def _as_text(raw: list[bytes]) -> pa.Array:
    try:
        return pa.array(raw, pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        return pa.array([decoded(one) for one in raw], pa.large_string())


def keys_frame(walked: Walked, source: str, server: str, version: int, taken_at: pd.Timestamp | None) -> pd.DataFrame:
    """The frame ``keys``. ``expired`` is missing throughout where ``taken_at`` is None."""
    rows = np.concatenate([np.empty((kernel.WIDTH, 0), np.int64), *walked.rows], axis=1)
    count = rows.shape[1]
    times = np.clip(rows[kernel.EXPIRE], _FIRST_MS, _LAST_MS) * 1000
    has_expiry = rows[kernel.HAS_EXPIRE] != 0
    times[~has_expiry] = np.iinfo(np.int64).min
    no_time = np.full(count, taken_at is None)
    as_of = 0 if taken_at is None else taken_at.as_unit("us").to_datetime64().astype(np.int64)
    columns = {
        "server": _repeated(server, count),
        "snapshot": _repeated(source, count),
        "db": _integers(rows[kernel.DB]),
        "key": _series(pa.chunked_array([pa.array([], pa.large_string()), *walked.names])),
        "type": _series(_TYPE_WORDS.take(pa.array(rows[kernel.TYPE]))),
        "encoding": _series(_ENCODING_WORDS.take(pa.array(_encodings(rows, version)))),
        "length": _integers(rows[kernel.LENGTH]),
        "bytes": _integers(rows[kernel.VALUE_END] - rows[kernel.VALUE_AT]),
        "expires_at": pd.Series(pd.DatetimeIndex(times.view("datetime64[us]"), tz="UTC")),
        "expired": pd.Series(pd.arrays.BooleanArray(has_expiry & (times <= as_of), no_time)),
        "idle": _integers(rows[kernel.IDLE]),
        "freq": _integers(rows[kernel.FREQ]),
        "field_ttls": _integers(rows[kernel.FIELD_TTLS]),
        "offset": _integers(rows[kernel.OFFSET]),
        **{name: _series(pa.nulls(count, pa.large_string())) for name in ("family", "prefix", "task_id")},
    }
    return frame("keys", columns)


def _encodings(rows: Numbers, version: int) -> Numbers:
    """Places in the list of encoding words: by type, and for strings and lists by what the walker saw of them."""
    codes, is_form = rows[kernel.TYPE].copy(), rows[kernel.FORM] != 0
    strings, lists = codes == layout.STRING, codes == layout.QUICKLIST_2
    codes[strings & (rows[kernel.LENGTH] <= _EMBEDDED)] = _AS_EMBSTR
    codes[strings & is_form] = _AS_INT
    if version >= _LISTPACK_LISTS_SINCE:
        codes[lists & is_form] = _AS_LISTPACK
    return codes


def _series(texts: pa.Array | pa.ChunkedArray) -> pd.Series:
    return pd.Series(_TEXT.__from_arrow__(texts))


def _repeated(text: str, count: int) -> pd.Series:
    return _series(pa.repeat(pa.scalar(text, pa.large_string()), count))


def _integers(numbers: Numbers) -> pd.Series:
    """Missing where a number is the walker's MISSING; none of the columns can be below 0."""
    return pd.Series(pd.arrays.IntegerArray(np.ascontiguousarray(numbers), numbers == layout.MISSING))

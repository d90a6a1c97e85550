"""A snapshot as a Parquet file, sorted by task ID: for other tools, and for what is larger than memory.

In: a snapshot. Out: a file whose rows are its keys, written block by block; the rows of one task are found in it
without reading the others. Does not look at values: which key is whose is told by its name alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.celery.families import CHORD_UNLOCK, GROUP_META, TASK_META
from analysis.columns import order_of, row_numbers
from analysis.errors import Unusable
from analysis.evidence.rdb import Snapshot
from analysis.frames import FRAMES, as_arrow, frame

_ROWS = 65_536
_META = b"analysis"
_MARKERS = (TASK_META, GROUP_META, CHORD_UNLOCK)
_COLUMNS = [column.name for column in FRAMES["keys"] if column.name not in ("family", "prefix")]


def write_parquet(snapshot: Snapshot, path: Path) -> int:
    """Write the frame ``keys`` of a snapshot to ``path``, whole or not at all; how many rows that were.

    ``task_id`` is what stands behind the marker of Celery's own keys (``celery-task-meta-`` and its like), and missing
    for every other key; rows are sorted by its first four bytes, those without one first. ``family`` and ``prefix`` are
    not written: content decides them too. The file's own metadata say what the snapshot is (``read_parquet``).

    Raises Unusable where ``path`` cannot be written.
    """
    keys = snapshot.keys
    try:
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as scratch:
            order = order_of((_heads(_ids(names)) for names in _names(keys)), len(keys))
            part = Path(scratch) / path.name
            schema = _schema(snapshot)
            with pq.ParquetWriter(part, schema, compression="zstd", compression_level=1) as writer:
                for begin in range(0, len(order), _ROWS):
                    rows = row_numbers(order[begin : begin + _ROWS])
                    writer.write_table(_block(keys, rows, schema), row_group_size=_ROWS)
            os.replace(part, path)
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror}", file=str(path)) from None
    return len(keys)


def read_parquet(path: Path, task_id: str | None = None) -> pd.DataFrame:
    """The frame ``keys`` from a file of ``write_parquet``; of one task, only the parts that can hold it are read.

    ``attrs`` of the frame say what it is of: source, taken_at, complete, and the reason where it is not. Raises
    Unusable where it is no such file.
    """
    try:
        filters = None if task_id is None else [("task_id", "=", task_id)]
        table = pq.read_table(path, columns=_COLUMNS, filters=filters, use_threads=False, pre_buffer=False)
        told = json.loads(table.schema.metadata[_META])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise Unusable(f"is no Parquet file of this kit ({type(error).__name__})", file=str(path)) from None
    keys = frame("keys", {name: table[name].to_pandas() for name in _COLUMNS})
    keys.attrs.update(told)
    return keys


def _heads(ids: pa.Array) -> NDArray[np.uint64]:
    """The first four bytes of each text as a number that sorts as they do; 0 where there is none."""
    _, bounds, octets = ids.buffers()
    ends = np.frombuffer(bounds, np.int64, len(ids) + 1, 8 * ids.offset)
    text = np.frombuffer(octets or b"\0", np.uint8)
    heads = np.zeros(len(ids), np.uint64)
    for place in range(4):
        there = ends[:-1] + place < ends[1:]
        heads <<= np.uint64(8)
        heads[there] |= text[ends[:-1][there] + place]
    return heads


def _names(keys: pd.DataFrame) -> Iterator[pa.Array]:
    for begin in range(0, len(keys), _ROWS):
        yield as_arrow(keys["key"].iloc[begin : begin + _ROWS])


def _ids(names: pa.Array) -> pa.Array:
    """The task ID in each name, or null."""
    found = pa.nulls(len(names), pa.large_string())
    for marker in reversed(_MARKERS):
        behind = pc.struct_field(pc.extract_regex(names, f"(?s){marker}(?P<id>.+)$"), "id")
        found = pc.coalesce(behind, found)
    return found


def _block(keys: pd.DataFrame, rows: NDArray[np.int64], schema: pa.Schema) -> pa.Table:
    part = keys.take(rows)
    ids = _ids(as_arrow(part["key"]))
    arrays = [ids if name == "task_id" else pa.array(part[name], schema.field(name).type) for name in _COLUMNS]
    return pa.Table.from_arrays(arrays, schema=schema)


_WORDS = pa.dictionary(pa.int8(), pa.large_string())
_TYPES = {"category": _WORDS, "str": pa.large_string(), "Int64": pa.int64(), "boolean": pa.bool_()}


def _schema(snapshot: Snapshot) -> pa.Schema:
    types = {column.name: _TYPES.get(column.dtype, pa.timestamp("us", "UTC")) for column in FRAMES["keys"]}
    told = {
        "source": snapshot.source,
        "taken_at": None if snapshot.taken_at is None else snapshot.taken_at.isoformat(),
        "complete": snapshot.complete,
        "reason": snapshot.reason,
    }
    return pa.schema([(name, types[name]) for name in _COLUMNS], {_META: json.dumps(told)})

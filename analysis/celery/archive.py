"""A part of an archive: results and job records as one snapshot held them, in a Parquet file of ``archive.keep``.

In: such a file. Out: ``Part``, whose rows are those of the frames ``tasks`` and ``jobs``; contents on demand. It shows
what was there at one moment; what is not in it shows nothing, for only what was new was kept. Does not know cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.errors import Unusable
from analysis.evidence.rdb_values import ValueUnreadable
from analysis.frames import (
    FLAG,
    FRAMES,
    INTEGER,
    OBJECT,
    TEXT,
    TEXTS,
    TIME,
    WORD,
    concat,
    frame,
    moments,
    repeated,
    text,
    words,
)

MARK = {b"analysis.archive": b"1"}
"""What the file's own metadata say: what wrote it, and in which form."""

LARGEST_GROUP = 512 * 2**20
"""Bytes that one block of rows may have when decompressed; the writer stays far below."""

_TYPES = {
    WORD: pa.dictionary(pa.int32(), pa.string()),
    TEXT: pa.large_string(),
    INTEGER: pa.int64(),
    FLAG: pa.bool_(),
    TIME: pa.timestamp("us", "UTC"),
    TEXTS: pa.large_list(pa.large_string()),
}
SCHEMA = pa.schema([(column.name, _TYPES[column.dtype]) for column in FRAMES["archive"]], MARK)
ONE_SNAPSHOT = ("server", "seen_in", "seen_sha256", "seen_at")
"""What every row of a part says alike."""

_LONGEST_NAME = 255
_NO_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class Part:
    """One part. ``server``, ``seen_in``, ``seen_sha256`` and ``seen_at`` say which snapshot held all of it; ``tasks``
    and ``jobs`` are its rows in those frames, whose ``offset`` is the number of the row in the file. ``redacted``: how
    many of them are without their secrets.
    """

    source: str
    server: str
    seen_in: str
    seen_sha256: str
    seen_at: pd.Timestamp | None
    tasks: pd.DataFrame = field(repr=False)
    jobs: pd.DataFrame = field(repr=False)
    redacted: int
    _bodies: _Bodies = field(repr=False)

    def value(self, offset: int) -> bytes:
        """The content of a row as it was kept, as JSON: redacted, unless it was asked for whole. Raises
        ValueUnreadable.
        """
        return self._bodies.of(int(offset))[0]

    def is_redacted(self, offset: int) -> bool:
        """Whether secrets were left out of the content of a row. Raises ValueUnreadable."""
        return self._bodies.of(int(offset))[1]


def read_part(path: Path, *, source: str, server: str = "") -> Part:
    """A part of an archive. ``server`` is that of the folder it lies in; where that is none, its rows say it.

    Raises Unusable where it is no such file, is damaged, is of another server than its folder, or claims to hold more
    than a file of its size can.
    """
    try:
        file = open_part(path)
        columns = [name for name in SCHEMA.names if name not in ("body", "digest", "kit")]
        table = file.read(columns=columns, use_threads=False)
        told = {name: pc.unique(table[name]).to_pylist() for name in ONE_SNAPSHOT}
        if any(len(values) != 1 for values in told.values()):
            raise Unusable("its rows are of several snapshots, or of none: no file of this kit's archive")
        (own,), (seen_in,), (sha256,), _ = told.values()
        if server and own not in ("", server):
            raise Unusable(f"is of the server {str(own)[:80]!r}, and lies in the folder of another")
        if len(str(own or "")) > _LONGEST_NAME:
            raise Unusable("names a server as no folder can be named")
        where = {"snapshot": source, "server": server or str(own or "")}
        return Part(
            source,
            where["server"],
            str(seen_in),
            str(sha256),
            _column(table["seen_at"], TIME).iloc[0] if table["seen_at"].null_count == 0 else None,
            _rows("tasks", table, "result", where),
            _rows("jobs", table, "job", where),
            int(pc.sum(table["redacted"]).as_py() or 0),
            _Bodies(file),
        )
    except UNREADABLE as error:
        raise unusable(error) from None


UNREADABLE = (OSError, pa.ArrowException, ValueError, MemoryError)
"""What reading a file that is no sound Parquet can raise."""


def unusable(error: BaseException) -> Unusable:
    """What reading raised, in a line."""
    return Unusable(f"cannot be read as Parquet: {' '.join(str(error).split())[:200]}")


def distinct(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Parts in which each record of a snapshot is there once, as whole as any of them has it. Two runs at once may have
    kept the same, and a later one what was left out before.
    """
    of_file: dict[tuple[str, str], list[Part]] = {}
    for part in sorted(parts, key=lambda part: (part.redacted > 0, part.source)):
        of_file.setdefault((part.server, part.seen_sha256), []).append(part)
    found = [part for group in of_file.values() for part in (_once(group) if len(group) > 1 else group)]
    return tuple(sorted(found, key=lambda part: part.source))


def _once(parts: list[Part]) -> list[Part]:
    """Of records that several parts have only the first."""
    tasks, jobs = (concat(name, [getattr(part, name) for part in parts]) for name in ("tasks", "jobs"))
    tasks, jobs = (rows.loc[~rows.duplicated(["db", "key"])] for rows in (tasks, jobs))

    def own(rows: pd.DataFrame, part: Part) -> pd.DataFrame:
        return rows.loc[rows["snapshot"].eq(part.source)].reset_index(drop=True)

    return [replace(part, tasks=own(tasks, part), jobs=own(jobs, part)) for part in parts]


def open_part(path: Path) -> pq.ParquetFile:
    """The file, after a look at its form and the sizes it claims. Raises Unusable."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except UNREADABLE as error:
        raise unusable(error) from None
    schema, told = file.schema_arrow, file.metadata
    mark = next(iter(MARK))
    if (schema.metadata or {}).get(mark) != MARK[mark]:
        raise Unusable("is no file of this kit's archive, or of another version of it")
    if not schema.remove_metadata().equals(SCHEMA.remove_metadata()):
        raise Unusable("has other columns than this kit's archive")
    # Each row has a key, a time and a digest of its own, which do not compress to nothing.
    if told.num_rows > path.stat().st_size:
        raise Unusable(f"claims {told.num_rows:,} rows, more than a file of its size can hold")
    if any(told.row_group(number).total_byte_size > LARGEST_GROUP for number in range(told.num_row_groups)):
        raise Unusable("claims blocks that are larger than this kit writes them")
    return file


def sum_of(sums: Iterable[tuple[str, str]]) -> str:
    """One SHA-256 for a file, or for several that are one (path, SHA-256): of the list of their sums."""
    listed = sorted(sums)
    if len(listed) == 1:
        return listed[0][1]
    return hashlib.sha256("".join(f"{sha256}  {path}\n" for path, sha256 in listed).encode()).hexdigest()


class _Bodies:
    """The contents of a part's rows, a block in memory at a time."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        groups = range(file.metadata.num_row_groups)
        self._ends = np.cumsum([file.metadata.row_group(group).num_rows for group in groups])
        self._block: tuple[int, pa.Table] | None = None

    def of(self, row: int) -> tuple[bytes, bool]:
        """The content of a row, and whether it is redacted."""
        group = int(np.searchsorted(self._ends, row, "right"))
        if not 0 <= row or group >= len(self._ends):
            raise ValueUnreadable(row, "not a row of the archive")
        if self._block is None or self._block[0] != group:
            try:
                self._block = group, self._file.read_row_group(group, columns=["body", "redacted"], use_threads=False)
            except (OSError, pa.ArrowException, MemoryError):
                raise ValueUnreadable(row, "the archive is damaged there") from None
        table, place = self._block[1], row - (int(self._ends[group - 1]) if group else 0)
        body = table["body"][place].as_py()
        if body is None:
            raise ValueUnreadable(row, "the archive holds only its size and its digest")
        return body.encode("utf-8", "surrogatepass"), table["redacted"][place].as_py() is True


def _rows(name: str, table: pa.Table, record: str, where: dict[str, str]) -> pd.DataFrame:
    """The rows of one kind of record, as the frame ``name``."""
    told = pc.equal(table["record"].cast(pa.large_string()), record)
    chosen = np.flatnonzero(pc.fill_null(told, False).to_numpy())
    known = [column for column in FRAMES[name] if column.name in table.column_names and column.name not in where]
    columns = {column.name: _column(table[column.name].take(pa.array(chosen)), column.dtype) for column in known}
    same = {key: repeated(word, len(chosen)) for key, word in where.items()}
    return frame(name, {**columns, **same, "offset": pd.array(chosen, INTEGER)})


def _column(values: pa.ChunkedArray, dtype: Any) -> pd.Series:
    """A column of the file in the dtype that the frame has it in."""
    if dtype == OBJECT:
        listed = np.full(len(values), None, object)
        given = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
        for row, item in zip(given.tolist(), values.take(pa.array(given)).to_pylist(), strict=True):
            listed[row] = item
        return pd.Series(listed)
    if dtype == TIME:
        return moments(pc.fill_null(values.cast(pa.int64()), _NO_TIME).to_numpy())
    if dtype in (TEXT, WORD):
        whole = values.cast(pa.large_string()).combine_chunks()
        if dtype == TEXT:
            return text(whole)
        coded = whole.dictionary_encode()
        return words(pc.fill_null(coded.indices, -1).to_numpy(), coded.dictionary.to_pylist())
    gone = values.is_null().to_numpy()
    if dtype == INTEGER:
        return pd.Series(pd.arrays.IntegerArray(pc.fill_null(values, 0).to_numpy(), gone))
    return pd.Series(pd.arrays.BooleanArray(pc.fill_null(values, False).to_numpy(), gone))

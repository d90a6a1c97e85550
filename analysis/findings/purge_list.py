"""What a purge list means: the IDs in its text, and the records of the snapshots that they name.

In: the bytes of a list, the frames ``keys`` and ``jobs``. Out: IDs, and a row for each record in each snapshot that
holds it. Does not know what became of the records.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.celery.claims import UNCLAIMED
from analysis.celery.discovery import UUID
from analysis.errors import Unusable
from analysis.frames import as_arrow

LARGEST = 64 * 2**20
"""Bytes of a list; more than a million UUIDs, and few enough to be held as they are."""

LONGEST = 65_536
"""Bytes of a line."""

RECORDS = ("job", "rq_job")
"""Families whose keys are job records."""

_LEAST = 6
_PLACED = r"(?s)^(?:(?P<server>[^/]*)/)?db(?P<db>[0-9]{1,9}):(?P<key>.+)$"
_COLUMNS = ["server", "snapshot", "db", "key", "expires_at", "expired"]

Matches = tuple[Any, Any]
"""Row numbers of a table, and for each the place of the ID that names it."""


def read_ids(data: bytes, name: str) -> list[str]:
    """The IDs of a purge list, each once, in the list's order.

    One a line, ended by LF, CRLF or CR; blanks around it, blank lines and lines that begin with ``#`` are passed over,
    and a UTF-8 byte order mark. Raises Unusable with ``name`` and the line for what is no list of IDs: bytes that are
    not UTF-8, NUL, a line over LONGEST bytes; and for a list over LARGEST bytes or without an ID.
    """
    if len(data) > LARGEST:
        raise Unusable(f"is larger than {LARGEST >> 20} MB: split it", file=name)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Unusable("is UTF-16: save it as UTF-8", file=name, place="line 1")
    lines = data.removeprefix(codecs.BOM_UTF8).splitlines()
    found = dict.fromkeys(_line(line, name, number) for number, line in enumerate(lines, start=1))
    found.pop("", None)
    if not found:
        raise Unusable("names no ID" if lines else "is empty", file=name)
    return list(found)


def _line(line: bytes, name: str, number: int) -> str:
    place = f"line {number}"
    if len(line) > LONGEST:
        raise Unusable(f"is longer than {LONGEST:,} bytes: this is no list of IDs", file=name, place=place)
    if b"\0" in line:
        raise Unusable("holds a NUL byte: this is no list of IDs", file=name, place=place)
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise Unusable("is not UTF-8 (write such a byte of a key as \\xNN)", file=name, place=place) from None
    return "" if text.startswith("#") else text


def sightings(
    ids: list[str], keys: pd.DataFrame, jobs: pd.DataFrame, around: tuple[str, str] | None
) -> tuple[pd.DataFrame, bool]:
    """The records that the IDs name, in every snapshot that holds them, and whether they had to be told by name alone.

    An ID is exact, never a prefix. It names a record by its task ID, by the record's own {id} where ``[jobs]
    task_field`` makes that another, by its whole key, or by ``[server/]db<N>:<whole key>``. ``around`` is what stands
    before and after {id} in ``[jobs] key``; where that is not stated, a record's own ID is the last UUID of its key, or
    what follows its first or last ``:``, ``/`` or ``|``. Where it is not stated and no snapshot holds anything that is
    known for a job record, keys of no known family whose names hold the ID are taken for it.

    Columns: id (place in ``ids``), server, snapshot, db, key, expires_at, expired, task_id, status.
    """
    wanted = pa.array(ids, pa.large_string())
    found = [_taken(table, match) for table in (jobs, keys) for match in _by_key(table, wanted, around)]
    found.append(_taken(jobs, _matched(as_arrow(jobs["task_id"]), wanted)))
    if around is None:
        found += _by_names(jobs, wanted, np.arange(len(jobs)), pieces=False)
    exact = sum(map(len, found))
    if around is None and not len(jobs):
        nameless = np.flatnonzero(keys["family"].eq(UNCLAIMED).to_numpy(dtype=bool))
        found += _by_names(keys, wanted, nameless, pieces=True)
    rows = pd.concat(found, ignore_index=True)
    rows = rows.assign(by_name=rows.index >= exact)
    # What the frame of jobs says of a record comes first: it knows the task, whatever field holds it.
    rows = rows.sort_values(["by_name", "of_jobs"], ascending=[True, False], kind="stable")
    rows = rows.drop_duplicates(["id", "snapshot", "db", "key"], ignore_index=True)
    return _with_status(rows.drop(columns=["of_jobs", "by_name"]), jobs), bool(rows["by_name"].any())


def names_in(keys: pa.Array, *, pieces: bool) -> Iterator[tuple[Any, pa.Array]]:
    """Texts in the names of keys that may be IDs, with the row of each: the last UUID, what follows the first and the
    last separator, and with ``pieces`` every part of six characters or more between separators.
    """
    yield from _extracted(keys, rf"(?s)^(?:.*[^0-9a-fA-F])?(?P<id>{UUID})(?:[^0-9a-fA-F].*)?$")
    yield from _extracted(keys, r"(?s)^[^:/|]*[:/|](?P<id>.+)$")
    yield from _extracted(keys, r"(?s)^.*[:/|](?P<id>[^:/|]+)$")
    if pieces:
        parts = pc.split_pattern_regex(keys, "[:/|]")
        rows, texts = pc.list_parent_indices(parts), pc.list_flatten(parts)
        long = pc.greater_equal(pc.utf8_length(texts), _LEAST)
        yield rows.filter(long).to_numpy(), texts.filter(long)


def _extracted(keys: pa.Array, pattern: str) -> Iterator[tuple[Any, pa.Array]]:
    parts = pc.extract_regex(keys, pattern)
    rows = np.flatnonzero(parts.is_valid().to_numpy(zero_copy_only=False))
    if len(rows):
        yield rows, pc.struct_field(parts, "id").take(pa.array(rows))


def _matched(texts: pa.Array, wanted: pa.Array) -> Matches:
    """Rows whose text is one of ``wanted``, and which."""
    places = pc.index_in(texts, value_set=wanted)
    rows = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))
    return rows, places.take(pa.array(rows)).to_numpy(zero_copy_only=False).astype(np.int64)


def _by_key(table: pd.DataFrame, wanted: pa.Array, around: tuple[str, str] | None) -> Iterator[Matches]:
    """Rows whose whole key an ID is, or makes with the template, or names with its database."""
    names = as_arrow(table["key"])
    yield _matched(names, wanted)
    if around is not None:
        before, after = (pa.scalar(part, pa.large_string()) for part in around)
        yield _matched(names, pc.binary_join_element_wise(before, wanted, after, pa.scalar("", pa.large_string())))
    yield _placed(table, names, wanted)


def _placed(table: pd.DataFrame, names: pa.Array, wanted: pa.Array) -> Matches:
    """Rows that an ID names as ``[server/]db<N>:<whole key>``, the kit's own way to write where a key is."""
    parts = pc.extract_regex(wanted, _PLACED)
    named = np.flatnonzero(parts.is_valid().to_numpy(zero_copy_only=False))
    if not len(named):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    told = pd.DataFrame(parts.take(pa.array(named)).to_pylist()).assign(id=named)
    rows = np.flatnonzero(pc.is_in(names, value_set=pc.struct_field(parts, "key")).to_numpy(zero_copy_only=False))
    held = table[["server", "db", "key"]].take(rows).astype({"server": "str"}).assign(row=rows)
    both = held.merge(told, on="key", suffixes=("", "_told"))
    here = both["db"].eq(both["db_told"].astype("int64")) & both["server"].eq(both["server_told"].fillna(""))
    both = both.loc[here.to_numpy(dtype=bool)]
    return both["row"].to_numpy(), both["id"].to_numpy()


def _by_names(table: pd.DataFrame, wanted: pa.Array, rows: Any, *, pieces: bool) -> Iterator[pd.DataFrame]:
    for among, texts in names_in(as_arrow(table["key"]).take(pa.array(rows)), pieces=pieces):
        chosen, ids = _matched(texts, wanted)
        yield _taken(table, (rows[among[chosen]], ids))


def _taken(table: pd.DataFrame, match: Matches) -> pd.DataFrame:
    rows, ids = match
    taken = table[[*_COLUMNS, "task_id"]].take(rows).astype({"server": "str", "snapshot": "str"})
    return taken.reset_index(drop=True).assign(id=ids, of_jobs="status" in table)


def _with_status(rows: pd.DataFrame, jobs: pd.DataFrame) -> pd.DataFrame:
    place = ["snapshot", "db", "key"]
    known = jobs.loc[as_mask(jobs["key"], rows["key"]), [*place, "status"]].drop_duplicates(place)
    return rows.merge(known, on=place, how="left")


def as_mask(texts: pd.Series, among: pd.Series) -> Any:
    """Which of the texts are among others."""
    return pc.is_in(as_arrow(texts), value_set=as_arrow(among)).to_numpy(zero_copy_only=False)

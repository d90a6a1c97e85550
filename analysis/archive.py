"""Keeps the results and job records of a case as Parquet, so that their history outlasts their TTL.

In: a ``Case`` and the folder of an archive. Out: a new part for each snapshot that holds something new, whole or not
there; parts of before are read and never written. Values are redacted unless they are to be kept whole, and what would
have to be unpickled is not opened: its size and digest stand for it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.case import Case
from analysis.celery.archive import SCHEMA, open_part
from analysis.celery.contents import Content, content_of, without_secrets
from analysis.celery.sightings import UNDATED, Sightings, hashes, sightings_in
from analysis.errors import Unusable
from analysis.evidence.rdb_values import Value, ValueUnreadable
from analysis.files import Ignored
from analysis.findings.words import count as counted
from analysis.frames import micros_of
from analysis.progress import Progress

NAME = "archive"
"""The folder of a case in which its archive lies, unless another is named."""

_BLOCK_ROWS = 8_192
_BLOCK_BYTES = 32 * 2**20
_WRITING = ".writing-"
_ABANDONED_SECONDS = 86_400

_WORDS = [field.name for field in SCHEMA if pa.types.is_dictionary(field.type)]


@dataclass(frozen=True)
class Kept:
    """What a run added to an archive: ``files``, and how many ``results`` and ``jobs`` are in them; ``known`` records
    were there already. Of ``closed`` ones only size and digest are kept, from ``redacted`` ones secrets were left out.
    ``left_out`` are the parts of before that could not be read, and the folder where it could not be written any more.
    """

    files: tuple[Path, ...]
    results: int
    jobs: int
    known: int
    closed: int
    redacted: int
    left_out: tuple[Ignored, ...]

    def lines(self) -> Iterator[str]:
        """What was done, in sentences."""
        added = self.results + self.jobs
        if not added + self.known:
            yield "The evidence holds no stored result and no job record: there is nothing to keep."
        elif not added:
            yield f"Nothing is new: the archive has all {self.known:,} already."
        else:
            kinds = [counted(self.results, "result")] if self.results else []
            kinds += [counted(self.jobs, "job record")] if self.jobs else []
            more = f"; {self.known:,} more show nothing new" if self.known else ""
            yield f"Kept {' and '.join(kinds)}{more}."
        if self.closed:
            were = "is not JSON" if self.closed == 1 else "are not JSON"
            yield f"{self.closed:,} of them {were}, and not opened: only size and digest are kept."
        if self.redacted:
            yield f"Secrets were left out of {self.redacted:,} of them; --show-values keeps them."

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-like data."""
        numbers = {name: getattr(self, name) for name in ("results", "jobs", "known", "closed", "redacted")}
        return {"files": [path.name for path in self.files], **numbers, "left_out": list(map(str, self.left_out))}


def keep(case: Case, folder: Path, *, whole: bool = False, progress: Progress | None = None) -> Kept:
    """Add to the archive in ``folder`` what the snapshots of a case, and the ends of its append-only files, hold of
    results and job records, and the archive does not.

    A record is known where the sighting before or after it in the archive has the same content and expiry; else it is
    new. ``whole``: keep values as they are; a record of which secrets were left out before is new then.

    Raises Unusable where the folder cannot be written.
    """
    progress = progress or Progress()
    files: list[Path] = []
    numbers = dict.fromkeys(("results", "jobs", "known", "closed", "redacted"), 0)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_abandoned(folder)
        known, left_out = sightings_in(folder, whole=whole)
        for source in _sources(case):
            progress.say(f"keeping {source.name}") if source.many else None
            path = _add(source, folder, known, whole, numbers)
            files += [path] if path else []
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        if not files:
            raise Unusable(reason, file=os.fspath(folder)) from None
        left_out = (*left_out, Ignored(os.fspath(folder), reason, True))
    return Kept(files=tuple(files), left_out=left_out, **numbers)


class _Source(NamedTuple):
    """A snapshot, or the end of an append-only file, with its rows of ``tasks`` and ``jobs`` by kind of record."""

    name: str
    server: str
    sha256: str
    at: pd.Timestamp | None
    value: Callable[[int], Value]
    records: dict[str, pd.DataFrame]

    @property
    def many(self) -> bool:
        return sum(map(len, self.records.values())) > _BLOCK_ROWS


def _sources(case: Case) -> Iterator[_Source]:
    """In order of time, the undated first: what is new is told against what was seen before."""
    sums = case.sums
    dated = [(one.source, one.server, one.taken_at, one.value) for one in case.snapshots]
    dated += [(one.state.source, one.file.server, one.taken_at, one.state.value) for one in case.streams if one.state]
    for name, server, at, value in sorted(dated, key=lambda one: (one[2] is not None, one[2] or 0, one[0])):
        records = {
            record: rows.loc[rows["snapshot"].eq(name).to_numpy(dtype=bool)]
            for record, rows in (("result", case.tasks), ("job", case.jobs))
        }
        if any(map(len, records.values())):
            yield _Source(name, server, sums[name], at, value, records)


def _add(source: _Source, folder: Path, known: Sightings, whole: bool, numbers: dict[str, int]) -> Path | None:
    """Write what is new of a snapshot; the part's path, or None where nothing was, or another run wrote the same."""
    at = UNDATED if source.at is None else micros_of(source.at)
    named = hashlib.sha256(f"{source.server}\0{source.sha256}\0{whole}".encode())
    added, here, path = [], dict.fromkeys(numbers, 0), None
    with tempfile.TemporaryDirectory(prefix=_WRITING, dir=folder) as scratch:
        part = Path(scratch) / "part"
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with pq.ParquetWriter(part, SCHEMA, compression="zstd", use_dictionary=_WORDS, write_page_checksum=True) as to:
            for record, rows, contents in _blocks(source, whole):
                told = _told(source, record, rows, contents, whole)
                identities, states = hashes(told)
                new = known.lacks(identities, states, at)
                numbers["known"] += int((~new).sum())
                if not new.any():
                    continue
                told = told.filter(pa.array(new))
                to.write_table(told, row_group_size=_BLOCK_ROWS)
                added.append((identities[new], states[new]))
                named.update(identities[new].tobytes() + states[new].tobytes())
                here[f"{record}s"] += told.num_rows
                here["closed"] += told["body"].null_count
                here["redacted"] += pc.sum(told["redacted"]).as_py()
        if added:
            with part.open("rb") as written:
                os.fsync(written.fileno())
            stamp = "undated" if source.at is None else f"{source.at:%Y%m%dT%H%M%SZ}"
            path = _named(part, folder / f"{NAME}-{stamp}-{named.hexdigest()[:16]}.parquet")
    for identities, states in added:
        known.add(identities, states, at)
    if path is None:
        numbers["known"] += here["results"] + here["jobs"]
        return None
    for name, number in here.items():
        numbers[name] += number
    return path


def _named(part: Path, path: Path) -> Path | None:
    """Give a part its name, which follows from what is in it; None where another run has written the same meanwhile."""
    for number in count():
        target = path.with_stem(f"{path.stem}-{number}") if number else path
        if not target.exists():
            os.replace(part, target)
            return target
        try:
            open_part(target).close()
        except Unusable:
            continue  # damaged: it stays as it is
        return None
    return None


def _blocks(source: _Source, whole: bool) -> Iterator[tuple[str, pd.DataFrame, list[Content]]]:
    """The records of a snapshot with their contents, so many at a time as fit."""
    for record, rows in source.records.items():
        contents: list[Content] = []
        size = 0
        for place, offset in enumerate(rows["offset"].tolist(), start=1):
            contents.append(_content(source, offset, whole))
            size += contents[-1].size
            if len(contents) == _BLOCK_ROWS or size > _BLOCK_BYTES or place == len(rows):
                yield record, rows.iloc[place - len(contents) : place], contents
                contents, size = [], 0


def _content(source: _Source, offset: int, whole: bool) -> Content:
    try:
        return content_of(source.value(offset), whole=whole)
    except ValueUnreadable:
        return Content(None, None, 0)


def _told(source: _Source, record: str, rows: pd.DataFrame, contents: list[Content], whole: bool) -> pa.Table:
    """The rows of a block as the archive has them."""
    bodies, redacted = [content.body for content in contents], [content.opaque for content in contents]
    if not whole:
        bodies, left_out = without_secrets(bodies)
        redacted = [one or two for one, two in zip(redacted, left_out, strict=True)]
    same = {
        "record": record,
        "server": source.server,
        "seen_in": source.name,
        "seen_sha256": source.sha256,
        "seen_at": source.at,
        "kit": version("analysis"),
    }
    told = {
        **{name: rows[name] for name in rows if name in SCHEMA.names},
        **{name: [value] * len(rows) for name, value in same.items()},
        "digest": [content.digest for content in contents],
        "redacted": redacted,
        "body": bodies,
    }
    arrays = [_array(told.get(field.name), field.type, len(rows)) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    if pa.types.is_dictionary(kind):
        found = values.astype(object) if isinstance(values, pd.Series) else values
        return pa.array(found, kind.value_type, from_pandas=True).dictionary_encode().cast(kind)
    return pa.array(values, kind, from_pandas=True)


def _forget_abandoned(folder: Path) -> None:
    """What a run that was ended left half written, a day ago or more."""
    for left in folder.glob(f"{_WRITING}*"):
        if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)

"""Keeps the results and job records of a case as Parquet, so that their history outlasts their TTL.

In: a ``Case`` and the folder of an archive. Out: a new part for each snapshot that holds something new, whole or not
there; parts of before are read and never written. Values are redacted unless they are to be kept whole, and what would
have to be unpickled is not opened: its size and digest stand for it.
"""

from __future__ import annotations

import hashlib
import json
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

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.case import Case
from analysis.celery.archive import SCHEMA, UNREADABLE, open_part, unusable
from analysis.celery.decode import MAX_VALUE, load_json
from analysis.celery.serializers import COMPRESSED, unpack
from analysis.errors import Unusable
from analysis.evidence.rdb_values import Value, ValueUnreadable
from analysis.evidence.texts import decoded
from analysis.files import Ignored
from analysis.findings.words import count as counted
from analysis.frames import micros_of
from analysis.progress import Progress
from analysis.redact import MAY_HOLD_SECRETS, redact_value

NAME = "archive"
"""The folder of a case in which its archive lies, unless another is named."""

_BLOCK_ROWS = 8_192
_BLOCK_BYTES = 32 * 2**20
_WRITING = ".writing-"
_ABANDONED_SECONDS = 86_400
_UNDATED = np.iinfo(np.int64).min
_IDENTITY = ["server", "db", "key", "expires_at", "digest", "redacted", "seen_at"]

_WORDS = [field.name for field in SCHEMA if pa.types.is_dictionary(field.type)]

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Kept:
    """What a run added to an archive: ``files``, and how many ``results`` and ``jobs`` are in them; ``known`` records
    were there already. Of ``closed`` ones only size and digest are kept, from ``redacted`` ones secrets were left out.
    ``unread`` are the parts of before that could not be read.
    """

    files: tuple[Path, ...]
    results: int
    jobs: int
    known: int
    closed: int
    redacted: int
    unread: tuple[Ignored, ...]

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
        return {"files": [path.name for path in self.files], **numbers, "unread": list(map(str, self.unread))}


def keep(case: Case, folder: Path, *, whole: bool = False, progress: Progress | None = None) -> Kept:
    """Add to the archive in ``folder`` what the snapshots of a case, and the ends of its append-only files, hold of
    results and job records, and the archive does not.

    A record is known where the sighting before or after it in the archive has the same content and expiry; else it is
    new. ``whole``: keep values as they are; a record of which secrets were left out before is new then.

    Raises Unusable where the folder cannot be written.
    """
    progress = progress or Progress()
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True)
        _forget_abandoned(folder)
        known, unread = _known(folder, whole)
        files: list[Path] = []
        numbers = dict.fromkeys(("results", "jobs", "known", "closed", "redacted"), 0)
        for source in _sources(case):
            progress.say(f"keeping {source.name}") if source.many else None
            path = _add(source, folder, known, whole, numbers)
            files += [path] if path else []
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror or error}", file=os.fspath(folder)) from None
    return Kept(files=tuple(files), unread=unread, **numbers)


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


def _add(source: _Source, folder: Path, known: _Known, whole: bool, numbers: dict[str, int]) -> Path | None:
    """Write what is new of a snapshot; the part's path, or None where nothing was, or another run wrote the same."""
    at = _UNDATED if source.at is None else micros_of(source.at)
    named = hashlib.sha256(f"{source.server}\0{source.sha256}\0{whole}".encode())
    added, here, path = [], dict.fromkeys(numbers, 0), None
    with tempfile.TemporaryDirectory(prefix=_WRITING, dir=folder) as scratch:
        part = Path(scratch) / "part"
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with pq.ParquetWriter(part, SCHEMA, compression="zstd", use_dictionary=_WORDS, write_page_checksum=True) as to:
            for record, rows, contents in _blocks(source, whole):
                told = _told(source, record, rows, contents, whole)
                identities, states = _hashes(told)
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


class _Content(NamedTuple):
    """A value's digest, its content as JSON, as far as both can be had, and its ``size`` in bytes; ``opaque``: what is
    no text in it was left out.
    """

    digest: str | None
    body: str | None
    size: int
    opaque: bool = False


def _blocks(source: _Source, whole: bool) -> Iterator[tuple[str, pd.DataFrame, list[_Content]]]:
    """The records of a snapshot with their contents, so many at a time as fit."""
    for record, rows in source.records.items():
        contents: list[_Content] = []
        size = 0
        for place, offset in enumerate(rows["offset"].tolist(), start=1):
            contents.append(_content(source.value, offset, whole))
            size += contents[-1].size
            if len(contents) == _BLOCK_ROWS or size > _BLOCK_BYTES or place == len(rows):
                yield record, rows.iloc[place - len(contents) : place], contents
                contents, size = [], 0


def _told(source: _Source, record: str, rows: pd.DataFrame, contents: list[_Content], whole: bool) -> pa.Table:
    """The rows of a block as the archive has them."""
    bodies = [content.body for content in contents]
    redacted = [content.opaque for content in contents]
    if not whole:
        suspect = pc.match_substring_regex(pa.array(bodies, pa.large_string()), MAY_HOLD_SECRETS)
        for row in np.flatnonzero(pc.fill_null(suspect, False).to_numpy(zero_copy_only=False)).tolist():
            bodies[row], left_out = _without_secrets(str(bodies[row]))
            redacted[row] |= left_out
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


def _content(value_of: Callable[[int], Value], offset: int, whole: bool) -> _Content:
    try:
        value: Any = value_of(offset)
    except ValueUnreadable:
        return _Content(None, None, 0)
    if isinstance(value, bytes):
        return _Content(hashlib.sha256(value).hexdigest(), _json_of(value), len(value))
    if not all(isinstance(item, tuple) and isinstance(item[1], bytes) for item in value):
        return _Content(None, None, 0)
    # A hash has no order of its own: the server may write it in another one the next time.
    digest, size = hashlib.sha256(), 0
    for octets in (part for pair in sorted(value) for part in pair):
        digest.update(len(octets).to_bytes(8, "little") + octets)
        size += len(octets)
    if size > MAX_VALUE:
        return _Content(digest.hexdigest(), None, size)
    fields = {decoded(name): _shown(octets, whole) for name, octets in value}
    opaque = not whole and any(_text(octets) is None for _, octets in value)
    return _Content(digest.hexdigest(), json.dumps(fields, ensure_ascii=False), size, opaque)


def _shown(octets: bytes, whole: bool) -> str:
    """A field's value. What is no text may be compressed, or pickled, and hold what nothing here can look for."""
    if whole:
        return decoded(octets)
    found = _text(octets)
    return f"[{len(octets):,} bytes, not text]" if found is None else found


def _text(octets: bytes) -> str | None:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _json_of(value: bytes) -> str | None:
    """The content of a value as JSON; None where it is none, or is too large to be looked at."""
    if value.startswith(COMPRESSED):
        data, text = unpack(value).data, None
    elif len(value) > MAX_VALUE:
        return None
    else:
        (data, _), text = load_json(value), _text(value)
    try:
        return None if data is None else text or json.dumps(data, ensure_ascii=False)
    except (RecursionError, ValueError):
        return None


def _without_secrets(body: str) -> tuple[str, bool]:
    """The content without its secrets, and whether there were any."""
    data, _ = load_json(body.encode("utf-8", "surrogatepass"))
    shown = redact_value(data)
    return (body, False) if shown == data else (json.dumps(shown, ensure_ascii=False), True)


class _Known:
    """The sightings of an archive: of each record (its identity), in order of time, what it was (its state)."""

    def __init__(self) -> None:
        self._identities, self._states = np.empty(0, np.uint64), np.empty(0, np.uint64)
        self._times = np.empty(0, np.int64)

    def add(self, identities: Hashes, states: Hashes, times: NDArray[np.int64] | int) -> None:
        """Sightings more."""
        at = np.broadcast_to(np.asarray(times, np.int64), len(identities))
        self._identities = np.concatenate([self._identities, identities])
        self._states = np.concatenate([self._states, states])
        self._times = np.concatenate([self._times, at])
        order = np.lexsort((self._times, self._identities))
        for name in ("_identities", "_states", "_times"):
            setattr(self, name, getattr(self, name)[order])

    def lacks(self, identities: Hashes, states: Hashes, at: int) -> NDArray[np.bool_]:
        """Which records, seen at that moment, say something new: neither the sighting before nor the one after says
        the same.
        """
        first = np.searchsorted(self._identities, identities, "left")
        behind = np.searchsorted(self._identities, identities, "right")
        new = np.ones(len(identities), bool)
        once = np.flatnonzero(behind - first == 1)
        new[once] = self._states[first[once]] != states[once]
        for row in np.flatnonzero(behind - first > 1).tolist():
            times = self._times[first[row] : behind[row]]
            place = int(np.searchsorted(times, at, "right"))
            near = np.isin(times, [*times[:place][-1:], *times[place:][:1]])
            new[row] = states[row] not in self._states[first[row] : behind[row]][near]
        return new


def _known(folder: Path, whole: bool) -> tuple[_Known, tuple[Ignored, ...]]:
    """What the parts of before hold, and a line for each that cannot be read. Where all is to be kept ``whole``, rows
    without their secrets do not count.
    """
    known, unread, found = _Known(), [], []
    for path in sorted(folder.glob("*.parquet")):
        try:
            file = open_part(path)
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group, columns=_IDENTITY)
                if whole:
                    table = table.filter(pc.invert(pc.fill_null(table["redacted"], False)))
                times = pc.fill_null(table["seen_at"].cast(pa.int64()), _UNDATED).to_numpy()
                found.append((*_hashes(table), times))
        except Unusable as error:
            unread.append(Ignored(path.name, error.reason, True))
        except UNREADABLE as error:
            unread.append(Ignored(path.name, unusable(error).reason, True))
    if found:
        identities, states, times = (np.concatenate(column) for column in zip(*found, strict=True))
        known.add(identities, states, times)
    return known, tuple(unread)


def _hashes(table: pa.Table) -> tuple[Hashes, Hashes]:
    """The identity and the state of each row, as numbers."""
    texts = {name: pc.fill_null(table[name].cast(pa.large_string()), "") for name in ("server", "key", "digest")}
    numbers = {name: table[name].cast(pa.int64()).cast(pa.large_string()) for name in ("db", "expires_at")}
    parts = {**texts, **{name: pc.fill_null(column, "") for name, column in numbers.items()}}
    between = pa.scalar("\0", pa.large_string())
    identity = pc.binary_join_element_wise(parts["server"], parts["db"], parts["key"], between)
    state = pc.binary_join_element_wise(parts["digest"], parts["expires_at"], between)
    return _numbers(identity), _numbers(state)


def _numbers(texts: pa.ChunkedArray) -> Hashes:
    found: Hashes = pd.util.hash_array(texts.to_numpy(), categorize=False)
    return found


def _forget_abandoned(folder: Path) -> None:
    """What a run that was ended left half written, a day ago or more."""
    for left in folder.glob(f"{_WRITING}*"):
        if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)

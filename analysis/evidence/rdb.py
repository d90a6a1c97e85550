"""Redis and Valkey snapshots.

In: an RDB file of version 1 to 12, of Valkey 80, or later as far as its types are known. Out: ``Snapshot`` with the
frame ``keys``; values on demand. Knows Redis; not what Celery or an application keeps in it.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.cache import Cache
from analysis.errors import Unusable
from analysis.evidence.rdb_blocks import Walk, keys_frame
from analysis.evidence.rdb_reading import fingerprint, read_large, read_small
from analysis.evidence.rdb_values import Buffer, Value, decode_field_expiries, decode_string, decode_value
from analysis.kernels import COMPILED_FROM, Kernels, kernels_for
from analysis.progress import Progress

NEWEST = {"redis": 12, "valkey": 80}
"""The last RDB versions whose every type is known here (Redis 8.0, Valkey 9.1)."""

_MAGIC = re.compile(rb"REDIS(\d{4})|VALKEY(\d{3})")
_MAGIC_SIZE = 9
_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, in seconds since 1970."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A snapshot as far as it could be read.

    ``flavor`` is the writer: "valkey" by the magic, or by the aux field that Valkey 8 writes into version 11; else
    "redis". ``version`` is the RDB version. ``aux`` has the first field of each name, as text. ``taken_at`` is aux
    ``ctime``: the second in which the server began to save. ``keys`` is the frame ``keys``; family, prefix and task_id
    are missing.

    ``complete``: read to the end mark, nothing behind it, and the checksum holds where there is one. Else
    ``stopped_at`` is the byte that could not be read (the first of its entry) and ``reason`` says why; every key before
    it is there. A snapshot of a newer version has a ``reason`` even when complete. ``checksum``: "verified", "off"
    (written as 0), "absent" (before version 5), "wrong", or "not reached".
    """

    path: Path
    source: str
    server: str
    flavor: str
    version: int
    aux: dict[str, str]
    taken_at: pd.Timestamp | None
    keys: pd.DataFrame = field(repr=False)
    complete: bool
    stopped_at: int | None
    reason: str | None
    checksum: str
    size: int
    _buffer: Buffer = field(repr=False)
    _valkey: bool = field(repr=False)
    _kernels: Callable[[], Kernels] = field(repr=False)

    @property
    def kernels(self) -> Kernels:
        """The kernels that suit the size of the file."""
        return self._kernels()

    def octets(self, kernels: Kernels) -> Any:
        """The file's bytes as these kernels read them."""
        return kernels.source(self._buffer)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal; of a snapshot from the cache it is known already."""
        return hashlib.sha256(self._buffer).hexdigest()

    def let_go(self) -> None:
        """Give back the memory in which the system keeps what was read of the file; it is read again when needed."""
        if isinstance(self._buffer, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self._buffer.madvise(mmap.MADV_DONTNEED)

    def value(self, offset: int) -> Value:
        """The value of the key whose ``offset`` in the frame this is. Raises ValueUnreadable.

        bytes of a string; a list of bytes of a list or set, of (member, score) of a zset, of (field, value) of a hash,
        of (ID, list of (field, value)) of a stream.
        """
        return decode_value(self._buffer, self.size, int(offset), valkey=self._valkey)

    def name(self, offset: int) -> bytes:
        """The key at ``offset`` as it is, where the frame shows bytes that are not UTF-8 as ``\\xNN``."""
        return decode_string(self._buffer, self.size, int(offset) + 1)

    def type_byte(self, offset: int) -> int:
        """The type of the entry at ``offset``, by the number in the file."""
        return self._buffer[int(offset)]

    def is_entry(self, offset: int) -> bool:
        """Whether an entry begins at ``offset``."""
        offsets = self.keys["offset"].to_numpy(dtype=np.int64)
        place = int(np.searchsorted(offsets, offset))
        return place < len(offsets) and int(offsets[place]) == offset

    def field_expiries(self, offset: int) -> dict[bytes, int]:
        """The fields of a hash that expire on their own: field → milliseconds since 1970. Raises ValueUnreadable."""
        return decode_field_expiries(self._buffer, self.size, int(offset), valkey=self._valkey)


def read_rdb(
    path: Path,
    *,
    source: str | None = None,
    server: str = "",
    taken_at: pd.Timestamp | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> Snapshot:
    """Every key of a snapshot, in the file's order. The file is mapped, and values stay in it until they are asked for.

    ``taken_at`` dates a snapshot that has no ``ctime`` (RDB 2 to 6). ``expired`` says whether ``expires_at`` is at that
    time or before, and is missing where there is none. An expiry outside of the years 1 to 9999 is moved to their end.
    ``length`` is missing where a value's own header is broken, and of modules. ``encoding`` is what the file tells; the
    server may have said another word where that is a matter of its memory: a number that APPEND made is raw, a list
    that has shrunk stays a quicklist, and embstr ends at 44 bytes only up to Valkey 8.0 and Redis 8.0.

    The columns of a large file are kept in files, so that they take no memory of their own: in the ``cache``, where
    they are found the next time, else in the system's folder for temporary files.

    Raises Unusable where nothing at all can be read: no file, an empty one, no snapshot, no version.
    """
    buffer = _map(path)
    valkey, version = _magic(buffer, path)
    progress = progress or Progress()

    def kernels() -> Kernels:
        return kernels_for(len(buffer), cache.folder if cache else None, progress)

    def walk() -> Walk:
        return Walk(buffer, _MAGIC_SIZE, version=version, valkey=valkey, kernels=kernels())

    if len(buffer) < COMPILED_FROM:
        told, columns = read_small(walk(), progress)
    else:
        told, columns = read_large(walk, cache, fingerprint(path, buffer), progress)
    reason = told.reason
    if version > NEWEST["valkey" if valkey else "redis"]:
        newer = f"RDB version {version} is newer than this reader knows; read as far as it knows the types"
        reason = f"{reason} ({newer})" if reason else newer
    at = _ctime(told.aux)
    if at is None and taken_at is not None:
        at = taken_at.tz_convert("UTC").as_unit("us")
    name = path.name if source is None else source
    snapshot = Snapshot(
        path=path,
        source=name,
        server=server,
        flavor="valkey" if valkey or "valkey-ver" in told.aux else "redis",
        version=version,
        aux=told.aux,
        taken_at=at,
        keys=keys_frame(columns, name, server, at),
        complete=told.reason is None,
        stopped_at=told.stopped_at,
        reason=reason,
        checksum=told.checksum,
        size=len(buffer),
        _buffer=buffer,
        _valkey=valkey,
        _kernels=kernels,
    )
    if told.sha256:
        snapshot.__dict__["sha256"] = told.sha256
    return snapshot


def _map(path: Path) -> Buffer:
    try:
        if not path.is_file():
            raise Unusable("no such file" if not path.exists() else "not a file", file=str(path))
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise Unusable("is empty", file=str(path)) from None
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}", file=str(path)) from None


def _magic(buffer: Buffer, path: Path) -> tuple[bool, int]:
    """Whether the magic is Valkey's, and the version."""
    head = buffer[:_MAGIC_SIZE]
    said = _MAGIC.fullmatch(head)
    if said is None:
        if len(head) < _MAGIC_SIZE and (b"REDIS0000".startswith(head[:5]) or b"VALKEY000".startswith(head[:6])):
            raise Unusable("is cut inside the first 9 bytes, which say the version", file=str(path))
        raise Unusable("is not an RDB snapshot: it does not begin with REDIS or VALKEY and a version", file=str(path))
    version = int(said[1] or said[2])
    if version == 0:
        raise Unusable("RDB version 0 does not exist", file=str(path))
    return said[2] is not None, version


def _ctime(aux: dict[str, str]) -> pd.Timestamp | None:
    """Aux ``ctime``: seconds since 1970, when the server began to save."""
    said = aux.get("ctime", "")
    if not (said.isascii() and said.isdigit() and len(said) <= 12 and 0 < int(said) <= _LAST_SECOND):
        return None
    return pd.Timestamp(int(said), unit="s", tz="UTC").as_unit("us")

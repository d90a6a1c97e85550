"""Redis and Valkey snapshots.

In: an RDB file of version 1 to 12, of Valkey 80, or later as far as its types are known. Out: ``Snapshot`` with the
frame ``keys``; values on demand. Knows Redis; not what Celery or an application keeps in it.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis.errors import Unusable
from analysis.evidence.crc64 import crc64
from analysis.evidence.rdb_blocks import Walked, keys_frame, walk_buffer
from analysis.evidence.rdb_values import Buffer, Value, decode_field_expiries, decode_value

NEWEST = {"redis": 12, "valkey": 80}
"""The last RDB versions whose every type is known here (Redis 8.0, Valkey 9.1)."""

_MAGIC = re.compile(rb"REDIS(\d{4})|VALKEY(\d{3})")
_MAGIC_SIZE = 9
_CHECKSUM_SIZE = 8
_CHECKSUM_SINCE = 5
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

    def value(self, offset: int) -> Value:
        """The value of the key whose ``offset`` in the frame this is. Raises ValueUnreadable.

        bytes of a string; a list of bytes of a list or set, of (member, score) of a zset, of (field, value) of a hash,
        of (ID, list of (field, value)) of a stream.
        """
        return decode_value(self._buffer, self.size, int(offset), valkey=self._valkey)

    def field_expiries(self, offset: int) -> dict[bytes, int]:
        """The fields of a hash that expire on their own: field → milliseconds since 1970. Raises ValueUnreadable."""
        return decode_field_expiries(self._buffer, self.size, int(offset), valkey=self._valkey)


def read_rdb(
    path: Path, *, source: str | None = None, server: str = "", taken_at: pd.Timestamp | None = None
) -> Snapshot:
    """Every key of a snapshot, in the file's order. The file is mapped, and values stay in it until they are asked for.

    ``taken_at`` dates a snapshot that has no ``ctime`` (RDB 2 to 6). ``expired`` says whether ``expires_at`` is at that
    time or before, and is missing where there is none. An expiry outside of the years 1 to 9999 is moved to their end.
    ``length`` is missing where a value's own header is broken, and of modules. ``encoding`` is what the file tells; the
    server may have said another word where that is a matter of its memory: a number that APPEND made is raw, a list
    that has shrunk stays a quicklist, and embstr ends at 44 bytes only up to Valkey 8.0 and Redis 8.0.

    Raises Unusable where nothing at all can be read: no file, an empty one, no snapshot, no version.
    """
    buffer = _map(path)
    valkey, version = _magic(buffer, path)
    walked = walk_buffer(buffer, _MAGIC_SIZE, valkey=valkey)
    checksum, stopped_at, reason = _ending(buffer, walked, version)
    complete = reason is None
    if version > NEWEST["valkey" if valkey else "redis"]:
        newer = f"RDB version {version} is newer than this reader knows; read as far as it knows the types"
        reason = f"{reason} ({newer})" if reason else newer
    at = _ctime(walked.aux)
    if at is None and taken_at is not None:
        at = taken_at.tz_convert("UTC").as_unit("us")
    name = path.name if source is None else source
    return Snapshot(
        path=path,
        source=name,
        server=server,
        flavor="valkey" if valkey or "valkey-ver" in walked.aux else "redis",
        version=version,
        aux=walked.aux,
        taken_at=at,
        keys=keys_frame(walked, name, server, version, at),
        complete=complete,
        stopped_at=stopped_at,
        reason=reason,
        checksum=checksum,
        size=len(buffer),
        _buffer=buffer,
        _valkey=valkey,
    )


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


def _ending(buffer: Buffer, walked: Walked, version: int) -> tuple[str, int | None, str | None]:
    """What can be said of the end: checksum, stopped_at, reason."""
    if walked.reason:
        return "not reached", walked.position, walked.reason
    end, checksum = walked.position, "absent"
    if version >= _CHECKSUM_SINCE:
        stored = buffer[end : end + _CHECKSUM_SIZE]
        if len(stored) < _CHECKSUM_SIZE:
            return "not reached", end, "cut: the file ends inside its checksum"
        if not any(stored):
            checksum = "off"
        elif crc64(memoryview(buffer)[:end]) != int.from_bytes(stored, "little"):
            return "wrong", end, "damaged: the checksum does not fit, so what was read may be wrong"
        else:
            checksum = "verified"
        end += _CHECKSUM_SIZE
    if rest := len(buffer) - end:
        return checksum, end, f"{rest} bytes behind the snapshot's end, which are no part of it"
    return checksum, None, None


def _ctime(aux: dict[str, str]) -> pd.Timestamp | None:
    """Aux ``ctime``: seconds since 1970, when the server began to save."""
    said = aux.get("ctime", "")
    if not (said.isascii() and said.isdigit() and len(said) <= 12 and 0 < int(said) <= _LAST_SECOND):
        return None
    return pd.Timestamp(int(said), unit="s", tz="UTC").as_unit("us")

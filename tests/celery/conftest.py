"""Keys and values for the tests of analysis.celery: from plain Python data, or read from a live server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import pytest
import redis

from analysis.frames import frame

Values = Mapping[tuple[str, int], Any]
Keys = tuple[pd.DataFrame, Callable[[str, int], Any]]


class Stream(list[Any]):
    """Entries of a stream, so that they are not taken for a list."""


def type_of(value: Any) -> str:
    """The Redis type that a value stands for: pairs of bytes are a hash, of bytes and numbers a zset."""
    if isinstance(value, bytes):
        return "string"
    if isinstance(value, Stream):
        return "stream"
    if isinstance(value, set):
        return "set"
    first = value[0] if value else b""
    if isinstance(first, tuple):
        return "zset" if isinstance(first[1], float) else "hash"
    return "list"


def keys_of(values: Mapping[Any, Any], **columns: Any) -> Keys:
    """Keys and value_of from ``{key or (db, key): value}``; a value that is an exception is raised when it is read."""
    names = [name if isinstance(name, tuple) else (0, name) for name in values]
    held = list(values.values())
    rows = []
    for offset, ((db, name), value) in enumerate(zip(names, held, strict=True)):
        text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
        size = 0 if isinstance(value, Exception) else len(value)
        kind = columns.get("type") or ("string" if isinstance(value, Exception) else type_of(value))
        row = {"snapshot": "dump.rdb", "server": "", "db": db, "key": text, "type": kind, "length": size}
        rows.append(row | {"bytes": size, "expired": False, "offset": offset} | columns)

    def value_of(snapshot: str, offset: int) -> Any:
        assert snapshot == "dump.rdb"
        value = held[offset]
        if isinstance(value, Exception):
            raise value
        return sorted(value) if isinstance(value, set) else value

    return frame("keys", rows), value_of


@pytest.fixture
def made() -> Callable[..., Keys]:
    """Makes keys and value_of from a dict."""
    return keys_of


@pytest.fixture
def stream() -> type[Stream]:
    return Stream


def read_live(databases: Sequence[redis.Redis]) -> Keys:
    """All keys and values of a live server, from a client for each database, as the RDB reader would give them."""
    found: dict[tuple[int, bytes], Any] = {}
    expiry: list[int] = []
    for db, client in enumerate(databases):
        for key in sorted(client.scan_iter(count=1000)):
            kind = client.type(key)
            value: Any = None
            if kind == b"string":
                value = client.get(key)
            elif kind == b"list":
                value = client.lrange(key, 0, -1)
            elif kind == b"set":
                value = set(client.smembers(key))
            elif kind == b"hash":
                value = list(client.hgetall(key).items())
            elif kind == b"zset":
                value = client.zrange(key, 0, -1, withscores=True)
            if value is not None:
                found[db, key] = value
                expiry.append(client.pttl(key))
    keys, value_of = keys_of(found)
    now = pd.Timestamp.now("UTC")
    keys["expires_at"] = pd.Series(
        [now + pd.Timedelta(left, "ms") if left >= 0 else pd.NaT for left in expiry], dtype="datetime64[us, UTC]"
    )
    return keys, value_of


"""Keys and values for the tests of analysis.celery, from plain Python data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from analysis.frames import frame

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

"""The keys that a replay leaves, as a snapshot would show them.

In: a ``Replay`` that has run, and the base that it began with. Out: ``Replayed`` with the frame ``keys``; values on
demand. Does not know what the keys mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.evidence.rdb import Snapshot
from analysis.evidence.rdb_values import Value, ValueUnreadable
from analysis.evidence.replay import Replay
from analysis.evidence.replay_values import Based, Held, NotReplayed, plain_value, size_of
from analysis.evidence.texts import decoded
from analysis.frames import TIME, concat, frame, repeated

_LAST_MS = 253_402_300_799_999


@dataclass(frozen=True, eq=False)
class Replayed:
    """The state at the end of an append-only file, as a snapshot would show it.

    ``source`` names the file, or its manifest. ``keys`` is the frame ``keys`` without ``expired``, for the file itself
    has no time: ``keys_at``. ``offset`` is where the entry in the base, or the key's name in the command that made it,
    begins, counted in all parts one behind the other. Of a key that was replayed ``bytes`` is the size of its content,
    and ``encoding`` is missing. ``complete``: nothing before the end is missing or was not followed; ``reason`` says
    what was.
    """

    source: str
    server: str
    aux: dict[str, str]
    keys: pd.DataFrame = field(repr=False)
    complete: bool
    reason: str | None
    _held: dict[int, Held] = field(repr=False)
    _base: Snapshot | None = field(repr=False)
    _bytes_of: Callable[[Any], bytes] = field(repr=False)

    @property
    def base(self) -> Snapshot | None:
        """The snapshot that the file begins with: the keys that were there before its first command."""
        return self._base

    def value(self, offset: int) -> Value:
        """As ``rdb.Snapshot.value``. Raises ValueUnreadable."""
        held = self._held.get(int(offset))
        if held is not None:
            try:
                value: Value = plain_value(held, self._bytes_of)
            except NotReplayed as error:
                raise ValueUnreadable(int(offset), str(error)) from None
            return value
        if self._base is None:
            raise ValueUnreadable(int(offset), "not a place in the file")
        return self._base.value(int(offset))

    def keys_at(self, moment: pd.Timestamp | None) -> pd.DataFrame:
        """``keys`` with ``expired`` as of a moment; missing throughout where that is not known."""
        if moment is None:
            return self.keys
        return self.keys.assign(expired=(self.keys["expires_at"] <= moment).astype("boolean"))


def replayed(
    replay: Replay, base: Snapshot | None, *, source: str, server: str, complete: bool, reasons: list[str]
) -> Replayed:
    """The state of a replay: untouched keys of the base first, in its order, then those that commands made."""
    rows: list[int] = []
    renamed: dict[str, list[Any]] = {"db": [], "key": [], "expires": []}
    made: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    held: dict[int, Held] = {}
    for db in sorted(replay.dbs):
        for name, key in replay.dbs[db].items():
            if isinstance(key, Based):
                rows.append(key.row)
                for column, value in (("db", db), ("key", decoded(name)), ("expires", key.expires)):
                    renamed[column].append(value)
            else:
                held[key.at] = key
                for values, told in zip(made.values(), _described(db, name, key), strict=True):
                    values.append(told)
    parts = []
    if rows and base is not None:
        untouched = base.keys.take(rows).reset_index(drop=True)
        untouched["db"] = pd.array(renamed["db"], "Int64")
        untouched["key"] = pd.Series(renamed["key"], dtype="str")
        untouched["expires_at"] = _moments(renamed["expires"])
        untouched["snapshot"] = repeated(source, len(rows))
        untouched["expired"] = pd.array([None] * len(rows), "boolean")
        parts.append(untouched)
    if held:
        times = _moments(made.pop("expires"))
        same = {"server": repeated(server, len(held)), "snapshot": repeated(source, len(held))}
        parts.append(frame("keys", {**same, **made, "expires_at": times}))
    if replay.unknown:
        named = ", ".join(f"{name} {number}×" for name, number in sorted(replay.unknown.items())[:4])
        reasons = [*reasons, f"values are unknown where commands are not followed ({named})"]
    return Replayed(
        source,
        server,
        base.aux if base else {},
        concat("keys", parts),
        complete and not replay.unknown,
        "; ".join(reasons[:3]) or None,
        held,
        base,
        replay.bytes_of,
    )


_COLUMNS = ("db", "key", "type", "length", "bytes", "expires", "field_ttls", "offset")


def _described(db: int, name: bytes, key: Held) -> tuple[Any, ...]:
    length, size = size_of(key)
    timed = len(key.field_expiries) if key.field_expiries else None
    return db, decoded(name), key.type, length, size, key.expires, timed, key.at


def _moments(times: list[int | None]) -> pd.Series:
    """Milliseconds since 1970 as times, those out of the years that can be shown moved to their end."""
    within = [None if ms is None else min(max(ms, -_LAST_MS // 5), _LAST_MS) * 1000 for ms in times]
    return pd.to_datetime(pd.Series(within, dtype="Int64"), unit="us", utc=True).astype(TIME)

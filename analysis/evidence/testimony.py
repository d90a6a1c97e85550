"""What one witness of commands has to say, and the rows of it while they are read.

In: commands, one after the other. Out: ``Testimony``, with the frame ``commands``, built in parts so that Python's own
objects never hold more than one of them. Does not know any witness's language.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.evidence.commands import Told
from analysis.frames import TEXTS, concat, counts, frame, moments, repeated, text, words

UNKNOWN = int(np.iinfo(np.int64).min)
"""A number, or a time in µs, that is not known."""
_ROWS_AT_ONCE = 50_000
_KEYS_AT_ONCE = 500_000
_MOST_GAPS = 1_000


class Gap(NamedTuple):
    """Between these times the witness was not there, each missing where the source does not tell it."""

    begin: pd.Timestamp | None
    end: pd.Timestamp | None
    why: str


@dataclass(frozen=True)
class Testimony:
    """What one file says of commands.

    ``first_at`` and ``last_at`` are over all its entries, rows of ``commands`` or not; ``entries`` is how many there
    were. Where it is not whole, ``complete`` is False and ``reason`` says why; ``stopped_at`` is the line at which
    reading ended where that was before the end. ``gaps`` are the first 1,000 interruptions of the recording itself.
    """

    commands: pd.DataFrame
    first_at: pd.Timestamp | None
    last_at: pd.Timestamp | None
    entries: int
    complete: bool = True
    stopped_at: int | None = None
    reason: str | None = None
    gaps: tuple[Gap, ...] = ()


class CommandRows:
    """The commands of one source, column by column, in the order in which they are added."""

    def __init__(self, source: str, server: str, witness: str) -> None:
        self._same = {"source": source, "server": server, "witness": witness}
        self._parts: list[pd.DataFrame] = []
        self._begin()

    def _begin(self) -> None:
        # Lists of numbers and texts, which the collector of garbage need not look into.
        self._offset: list[int] = []
        self._at: list[int] = []
        self._db: list[int] = []
        self._verb: list[str] = []
        self._keys: list[str] = []
        self._ends: list[int] = [0]
        self._expires_at: list[int] = []
        self._ttl: list[int] = []
        self._detail: list[str | None] = []
        self._transaction: list[int] = []
        self._removed_by: list[str | None] = []
        self._or_by: list[str | None] = []
        self._client: list[str | None] = []
        self._payload_at: list[int] = []

    def add(
        self,
        offset: int,
        at: int,
        db: int,
        verb: str,
        keys: Iterable[str],
        told: Told,
        transaction: int = UNKNOWN,
        removed_by: str | None = None,
        or_by: str | None = None,
        client: str | None = None,
        payload_at: int = UNKNOWN,
    ) -> None:
        """A command; ``at`` is in µs since 1970, the others as in the frame."""
        if len(self._at) >= _ROWS_AT_ONCE or len(self._keys) >= _KEYS_AT_ONCE:
            self._flush()
        self._offset.append(offset)
        self._at.append(at)
        self._db.append(db)
        self._verb.append(verb)
        self._keys += keys
        self._ends.append(len(self._keys))
        expires_at, ttl, detail, _ = told
        self._expires_at.append(UNKNOWN if expires_at is None else expires_at * 1000)
        self._ttl.append(UNKNOWN if ttl is None else ttl)
        self._detail.append(detail)
        self._transaction.append(transaction)
        self._removed_by.append(removed_by)
        self._or_by.append(or_by)
        self._client.append(client)
        self._payload_at.append(payload_at)

    def amend(self, detail: str) -> None:
        """Add to the last command what only an entry after it tells."""
        self._detail[-1] = detail

    def finish(self) -> pd.DataFrame:
        """All of them, as the frame ``commands``."""
        self._flush()
        return concat("commands", self._parts)

    def _flush(self) -> None:
        if not self._at:
            return
        ends = pa.array(self._ends, pa.int64())
        keys = pa.LargeListArray.from_arrays(ends, pa.array(self._keys, pa.large_string()))
        columns = {
            **{name: repeated(word, len(self._at)) for name, word in self._same.items()},
            "offset": _numbers(self._offset),
            "not_before": moments(np.array(self._at, np.int64)),
            "not_after": moments(np.array(self._at, np.int64)),
            "db": _numbers(self._db),
            "verb": _words(self._verb),
            "keys": pd.Series(pd.array(keys, dtype=TEXTS), copy=False),
            "expires_at": moments(np.array(self._expires_at, np.int64)),
            "ttl": _numbers(self._ttl),
            "detail": text(pa.array(self._detail, pa.large_string())),
            "transaction": _numbers(self._transaction),
            "removed_by": _words(self._removed_by),
            "or_by": _words(self._or_by),
            "client": _words(self._client),
            "payload_at": _numbers(self._payload_at),
        }
        self._parts.append(frame("commands", columns))
        self._begin()


def _numbers(numbers: list[int]) -> pd.Series:
    return counts(np.array(numbers, np.int64), UNKNOWN)


def _words(given: list[str | None] | list[str]) -> pd.Series:
    places: dict[Any, int] = {}
    codes = [-1 if word is None else places.setdefault(word, len(places)) for word in given]
    return words(np.array(codes, np.int32), places)


def moment(micros: int | None) -> pd.Timestamp | None:
    """A time from µs since 1970; missing where it is not known."""
    return None if micros is None or micros == UNKNOWN else pd.Timestamp(micros, unit="us", tz="UTC").as_unit("us")


def gaps_of(found: Iterable[tuple[int | None, int | None, str]]) -> tuple[Gap, ...]:
    """The first of them, with their times in µs as moments."""
    return tuple(Gap(moment(begin), moment(end), why) for begin, end, why in list(found)[:_MOST_GAPS])

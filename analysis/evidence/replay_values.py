"""Values of keys while commands are replayed: what they are made of, and how they look from outside.

In: a decoded value of a snapshot, or pieces of a stream. Out: ``Held``. Knows Redis' types; not what a command does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from analysis.evidence.rdb_values import Pairs

Piece = tuple[int, int] | bytes
"""Bytes where they stand in the stream (place and size), or made by a command."""


class NotReplayed(ValueError):
    """A value that a command made in a way that is not followed here. ``str()`` is one line."""


class Held:
    """A key's value. ``type`` is Redis' word for it; ``value`` a Piece of a string, a deque of Pieces of a list, a dict
    field → Piece of a hash, a dict of the members of a set, a dict member → score of a zset, a dict ID → pairs of a
    stream; None where it is not known, and ``why`` says why. ``expires`` is in ms since 1970, or None. ``at`` is the
    place of the key's name in the command that made it.
    """

    __slots__ = ("at", "expires", "field_expiries", "type", "value", "why")

    def __init__(self, kind: str, value: Any, at: int, expires: int | None = None, why: str = "") -> None:
        self.type, self.value, self.at, self.expires, self.why = kind, value, at, expires, why
        self.field_expiries: dict[bytes, int] | None = None


@dataclass(frozen=True)
class Based:
    """A key as the base snapshot has it, which nothing has touched but its expiry: its ``row`` in the frame of that,
    and where its entry begins.
    """

    row: int
    at: int
    expires: int | None


Key = Held | Based


_LIST_TYPES, _SET_TYPES = (1, 10, 14, 18), (2, 11, 20)
_ZSET_TYPES, _STREAM_TYPES = (3, 5, 12, 17), (15, 19, 21)


def held_of(value: Any, code: int) -> tuple[Any, str]:
    """A decoded value of a snapshot as it is held here, and its type, by the type byte ``code``."""
    if isinstance(value, bytes):
        return value, "string"
    if code in _LIST_TYPES:
        return deque(value), "list"
    if code in _SET_TYPES:
        return dict.fromkeys(value), "set"
    if code in _STREAM_TYPES:
        return {stream_id(entry.encode()): pairs for entry, pairs in value}, "stream"
    return dict(value), "zset" if code in _ZSET_TYPES else "hash"


def size_of(held: Held) -> tuple[int | None, int | None]:
    """How many elements a value has, of a string its bytes; and the bytes of its content. None where not known."""
    value = held.value
    if value is None:
        return None, None
    if held.type == "string":
        return _size(value), _size(value)
    if held.type == "hash":
        return len(value), sum(len(field) + _size(piece) for field, piece in value.items())
    if held.type == "stream":
        return len(value), sum(len(f) + _size(piece) for pairs in value.values() for f, piece in pairs)
    return len(value), sum(_size(piece) for piece in value)


def _size(piece: Piece) -> int:
    return piece[1] if isinstance(piece, tuple) else len(piece)


def plain_value(held: Held, bytes_of: Callable[[Piece], bytes]) -> Any:
    """A value as a snapshot's would come (``rdb_values.Value``). Raises NotReplayed where it is not known."""
    if held.value is None:
        raise NotReplayed(held.why or "not known")
    match held.type:
        case "string":
            return bytes_of(held.value)
        case "list":
            return [bytes_of(piece) for piece in held.value]
        case "set":
            return list(held.value)
        case "zset":
            return [(member, held.value[member]) for member in in_order(held.value)]
        case "hash":
            return [(field, bytes_of(piece)) for field, piece in held.value.items()]
        case _:
            return [(f"{ms}-{number}", _pairs(pairs, bytes_of)) for (ms, number), pairs in held.value.items()]


def _pairs(pairs: Iterable[tuple[bytes, Piece]], bytes_of: Callable[[Piece], bytes]) -> Pairs:
    return [(field, bytes_of(piece)) for field, piece in pairs]


def in_order(scores: dict[bytes, float]) -> list[bytes]:
    return sorted(scores, key=lambda member: (scores[member], member))


def stream_id(text: bytes) -> tuple[int, int]:
    ms, _, number = text.partition(b"-")
    return whole(ms), whole(number or b"0")


def whole(text: bytes) -> int:
    """As string2ll reads it."""
    if len(text) > 20 or not (text.removeprefix(b"-")).isdigit():
        raise ValueError
    return int(text)

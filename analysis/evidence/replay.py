"""The state that a stream of commands leaves behind, and what each command found.

In: the keys of a base snapshot or none, and commands in their order. Out: the keys at the end, with their values; for
each command the expiry its key had, and the content that it took away. Does what Redis does with a command that it
loads (server's own ``t_*.c``); knows no time, so nothing expires but by the DEL that the server wrote for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from analysis.evidence.rdb_values import Pairs, ValueUnreadable, decode_value
from analysis.evidence.resp import Block, Stream
from analysis.evidence.resp_kernel import MANY, NOTE

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


class Replay:
    """Commands applied to keys, ``dbs``: database → name → key. ``load`` gives a key of the base whose value is to be
    changed, ``read`` the bytes of a Piece. ``unknown`` counts the commands by name that could not be followed,
    ``refused`` those that Redis would have refused. ``partial``: there were keys before that are not known, so what
    stands at the end of a list is not known either.
    """

    def __init__(
        self,
        dbs: dict[int, dict[bytes, Key]],
        load: Callable[[Based], Held],
        read: Callable[[int, int], bytes],
        *,
        partial: bool = False,
    ) -> None:
        self.dbs, self._load, self._read = dbs, load, read
        self.partial = partial
        self.unknown: dict[str, int] = {}
        self.refused = 0
        self._handlers: dict[int, Callable[[int, int], None] | None] = {}
        self._ats: list[int] = []
        self._sizes: list[int] = []
        self._here: dict[bytes, Key] = {}
        self._numbers: dict[bytes, int] = {}
        self._due: int | None = None
        self._took: int = -1
        self._verb = b""

    def run(
        self, stream: Stream, *, shift: int, until: int, db: int = 0
    ) -> Iterator[tuple[Block, list[int], list[int]]]:
        """Apply every command before ``until``: a block, and for each of its commands the expiry that the first key it
        removed or overwrote had (ms, -1 = none or not known), and where the content that it took away begins (-1 =
        none). ``shift`` is added to a place in this stream; ``db`` is the database at its start, -1 = not known.
        """
        self.stream, self.buffer, self.shift = stream, stream.buffer, shift
        self._select(db)
        self._handlers.clear()
        gaps = 0
        for block in stream.blocks():
            if len(stream.gaps) > gaps:
                self.known, gaps = False, len(stream.gaps)
            due, took = [-1] * len(block), [-1] * len(block)
            self._ats, self._sizes = block.places[:, 0].tolist(), block.places[:, 1].tolist()
            rows = zip(
                block.offsets.tolist(), block.names.tolist(), block.first.tolist(), block.count.tolist(), strict=True
            )
            for row, (offset, name, first, count) in enumerate(rows):
                if offset >= until:
                    yield block, due, took
                    return
                handler = self._handlers.get(name, _UNSEEN)
                if handler is _UNSEEN or name == MANY:
                    handler = self._handler(name, first)
                if handler is None:
                    continue
                try:
                    handler(first, count)
                except NotReplayed:
                    pass
                except (ValueError, IndexError, OverflowError, TypeError, AttributeError):
                    # A command with too few arguments, or on a key of another type: the server refused it.
                    self.refused += 1
                if self._due is not None:
                    due[row], self._due = self._due, None
                if self._took >= 0:
                    took[row], self._took = self._took, -1
            yield block, due, took

    def _handler(self, name: int, first: int) -> Callable[[int, int], None] | None:
        spelled = b"" if name == NOTE else self._argument(first)[:64].upper()
        found: Callable[[int, int], None] | None
        if name == NOTE or spelled in _WITHOUT_EFFECT:
            found = None
        elif handler := getattr(self, "_do_" + spelled.decode("latin-1").lower().replace("-", "_"), None):
            found = handler
        else:
            found = self._not_followed(spelled)
        if name != MANY:
            self._handlers[name] = found
        return found

    def _not_followed(self, spelled: bytes) -> Callable[[int, int], None]:
        """What a command does that is not known here: the keys it names by place hold something unknown then."""
        name = spelled.decode("utf-8", "backslashreplace")

        def handler(first: int, count: int) -> None:
            self.unknown[name] = self.unknown.get(name, 0) + 1
            place = _UNFOLLOWED.get(spelled)
            if place and count > place:
                key, held = self._argument(first + place), self._get(first + place)
                kind = held.type if held else _MADE_BY.get(spelled, "string")
                made = Held(kind, None, self._at(first + place), held.expires if held else None)
                made.why = f"changed by {name}, which is not followed"
                self._keys()[key] = made

        return handler

    # Arguments and keys

    def _argument(self, number: int) -> bytes:
        at = self._ats[number]
        return self.buffer[at : at + self._sizes[number]]

    def _at(self, number: int) -> int:
        return self._ats[number] + self.shift

    def _piece(self, number: int) -> Piece:
        return self._ats[number] + self.shift, self._sizes[number]

    def _arguments(self, first: int, count: int, start: int) -> list[bytes]:
        return [self._argument(number) for number in range(first + start, first + count)]

    def _int(self, number: int) -> int:
        return _whole(self._argument(number))

    def _keys(self) -> dict[bytes, Key]:
        if not self.known:
            raise IndexError
        return self._here

    def _select(self, db: int) -> None:
        self.known = db >= 0
        if self.known:
            self.db = db
            self._here = self._of(db)

    def _of(self, db: int) -> dict[bytes, Key]:
        found = self.dbs.get(db)
        if found is None:
            found = self.dbs[db] = {}
        return found

    def _get(self, number: int, kind: str = "") -> Held | None:
        """The value under the key that is argument ``number``, to be changed; None where there is none."""
        keys, name = self._keys(), self._argument(number)
        found = keys.get(name)
        if found is None:
            return None
        if isinstance(found, Based):
            found = self._load(found)
            keys[name] = found
        if kind and found.type != kind:
            raise TypeError
        if kind and found.value is None:
            raise NotReplayed(found.why)
        return found

    def _make(self, number: int, kind: str, empty: Callable[[], Any]) -> Held:
        """The value under the key that is argument ``number``, made empty where there is none."""
        keys, name = self._keys(), self._argument(number)
        held = keys.get(name)
        if held is None:
            held = keys[name] = Held(kind, empty(), self._at(number))
        elif isinstance(held, Based) or held.type != kind or held.value is None:
            # To be loaded, or refused.
            held = self._get(number, kind)
            assert held is not None
        return held

    def _drop(self, name: bytes) -> bool:
        """Remove a key, and note what it was."""
        found = self._keys().pop(name, None)
        if found is None:
            return False
        self._note(found)
        return True

    def _note(self, found: Key) -> None:
        if self._due is None and found.expires is not None:
            self._due = found.expires
        if self._took < 0:
            if isinstance(found, Based):
                self._took = found.at
            elif found.type == "string" and isinstance(found.value, tuple):
                self._took = found.value[0]

    def _gone_if_empty(self, number: int, held: Held) -> None:
        if not held.value:
            self._keys().pop(self._argument(number), None)

    def bytes_of(self, piece: Piece) -> bytes:
        return piece if isinstance(piece, bytes) else self._read(*piece)

    # Databases and names

    def _do_select(self, first: int, count: int) -> None:
        text = self._argument(first + 1)
        db = self._numbers.get(text)
        if db is None:
            db = self._numbers[text] = _whole(text)
        self._select(db)

    def _do_del(self, first: int, count: int) -> None:
        for name in self._arguments(first, count, 1):
            self._drop(name)

    _do_unlink = _do_getdel = _do_delex = _do_delifeq = _do_del

    def _do_flushdb(self, first: int, count: int) -> None:
        self._keys().clear()

    def _do_flushall(self, first: int, count: int) -> None:
        for keys in self.dbs.values():
            keys.clear()

    def _do_swapdb(self, first: int, count: int) -> None:
        one, two = self._int(first + 1), self._int(first + 2)
        self.dbs[one], self.dbs[two] = self._of(two), self._of(one)
        if self.known:
            self._select(self.db)

    def _do_rename(self, first: int, count: int) -> None:
        keys, name, other = self._keys(), self._argument(first + 1), self._argument(first + 2)
        if name not in keys:
            raise IndexError
        if name != other and other in keys:
            self._note(keys[other])
        keys[other] = keys.pop(name)

    def _do_renamenx(self, first: int, count: int) -> None:
        if self._argument(first + 2) not in self._keys():
            self._do_rename(first, count)

    def _do_move(self, first: int, count: int) -> None:
        name, other = self._argument(first + 1), self._of(self._int(first + 2))
        keys = self._keys()
        if name in keys and name not in other:
            other[name] = keys.pop(name)

    def _do_copy(self, first: int, count: int) -> None:
        options = [option.upper() for option in self._arguments(first, count, 3)]
        target = self._of(_whole(options[options.index(b"DB") + 1])) if b"DB" in options else self._keys()
        held, name = self._get(first + 1), self._argument(first + 2)
        if held is not None and (name not in target or b"REPLACE" in options):
            made = Held(held.type, _copied(held.value), self._at(first + 2), held.expires, held.why)
            made.field_expiries = dict(held.field_expiries) if held.field_expiries else None
            target[name] = made

    def _do_restore(self, first: int, count: int) -> None:
        """RESTORE key ttl payload […]: type, value, two bytes of version, eight of checksum (cluster.c)."""
        options = [option.upper() for option in self._arguments(first, count, 4)]
        payload, ttl = self._argument(first + 3), self._int(first + 2)
        entry = payload[:1] + b"\0" + payload[1:-10]
        why, value, kind = "", None, "string"
        try:
            # Valkey's own types begin at 22, which no Redis writes but in the candidates of 7.4.
            value, kind = held_of(decode_value(entry, len(entry), 0, valkey=payload[:1] == b"\x16"), payload[0])
        except ValueUnreadable as error:
            why = f"RESTORE of {error.reason}"
        self._drop(self._argument(first + 1))
        absolute = b"ABSTTL" in options and ttl > 0
        made = Held(kind, value, self._at(first + 1), ttl if absolute else None, why)
        self._keys()[self._argument(first + 1)] = made

    _do_restore_asking = _do_restore

    # Expiry. A time to live is relative in the backlog of 6.x: when it ends is not known then.

    def _expire(self, number: int, expires: int | None) -> None:
        keys, name = self._keys(), self._argument(number)
        found = keys.get(name)
        if found is None:
            return
        if found.expires is not None:
            self._due = found.expires
        if isinstance(found, Based):
            keys[name] = Based(found.row, found.at, expires)
        else:
            found.expires = expires

    def _do_pexpireat(self, first: int, count: int) -> None:
        self._expire(first + 1, self._int(first + 2))

    def _do_expireat(self, first: int, count: int) -> None:
        self._expire(first + 1, self._int(first + 2) * 1000)

    def _do_expire(self, first: int, count: int) -> None:
        self._int(first + 2)
        self._expire(first + 1, None)

    _do_pexpire = _do_expire

    def _do_persist(self, first: int, count: int) -> None:
        self._expire(first + 1, None)

    def _do_getex(self, first: int, count: int) -> None:
        options = [option.upper() for option in self._arguments(first, count, 2)]
        if options:
            self._expire(first + 1, _absolute(options))

    # Strings

    def _put(self, number: int, piece: Piece, expires: int | None = None) -> None:
        keys, name = self._keys(), self._argument(number)
        found = keys.get(name)
        if found is not None:
            self._note(found)
        keys[name] = Held("string", piece, self._at(number), expires)

    def _do_set(self, first: int, count: int) -> None:
        if count == 3:
            self._put(first + 1, self._piece(first + 2))
            return
        if count == 5 and self._argument(first + 3) == b"PXAT":
            self._put(first + 1, self._piece(first + 2), _whole(self._argument(first + 4)))
            return
        options = [option.upper() for option in self._arguments(first, count, 3)]
        there = self._argument(first + 1) in self._keys()
        if (b"NX" in options and there) or (b"XX" in options and not there):
            return
        if b"KEEPTTL" in options:
            found = self._keys().get(self._argument(first + 1))
            self._put(first + 1, self._piece(first + 2), found.expires if found else None)
        else:
            self._put(first + 1, self._piece(first + 2), _absolute(options))

    def _do_setex(self, first: int, count: int) -> None:
        self._put(first + 1, self._piece(first + 3))

    _do_psetex = _do_setex

    def _do_getset(self, first: int, count: int) -> None:
        self._put(first + 1, self._piece(first + 2))

    def _do_setnx(self, first: int, count: int) -> None:
        if self._argument(first + 1) not in self._keys():
            self._put(first + 1, self._piece(first + 2))

    def _do_mset(self, first: int, count: int) -> None:
        for number in range(first + 1, first + count - 1, 2):
            self._put(number, self._piece(number + 1))

    def _do_msetnx(self, first: int, count: int) -> None:
        if not any(self._argument(number) in self._keys() for number in range(first + 1, first + count - 1, 2)):
            self._do_mset(first, count)

    def _changed(self, number: int, change: Callable[[bytes], bytes]) -> None:
        """A string changed in place; its expiry stays."""
        held = self._make(number, "string", lambda: b"")
        held.value = change(self.bytes_of(held.value))

    def _do_append(self, first: int, count: int) -> None:
        self._changed(first + 1, lambda old: old + self._argument(first + 2))

    def _do_setrange(self, first: int, count: int) -> None:
        begin, piece = self._int(first + 2), self._argument(first + 3)
        if not piece or not 0 <= begin <= _LONGEST:
            return
        self._changed(first + 1, lambda old: old[:begin].ljust(begin, b"\0") + piece + old[begin + len(piece) :])

    def _do_setbit(self, first: int, count: int) -> None:
        bit, value = self._int(first + 2), self._int(first + 3)
        byte = bit >> 3
        if not 0 <= byte <= _LONGEST:
            raise IndexError

        def change(old: bytes) -> bytes:
            made = bytearray(old.ljust(byte + 1, b"\0"))
            mask = 128 >> (bit & 7)
            made[byte] = made[byte] | mask if value else made[byte] & ~mask
            return bytes(made)

        self._changed(first + 1, change)

    def _add(self, number: int, by: int) -> None:
        self._changed(number, lambda old: b"%d" % (_whole(old or b"0") + by))

    def _do_incr(self, first: int, count: int) -> None:
        self._add(first + 1, 1)

    def _do_decr(self, first: int, count: int) -> None:
        self._add(first + 1, -1)

    def _do_incrby(self, first: int, count: int) -> None:
        self._add(first + 1, self._int(first + 2))

    def _do_decrby(self, first: int, count: int) -> None:
        self._add(first + 1, -self._int(first + 2))

    # Lists

    def _push(self, first: int, count: int, *, left: bool, only: bool = False) -> None:
        if only and self._argument(first + 1) not in self._keys():
            return
        held = self._make(first + 1, "list", deque)
        add = held.value.appendleft if left else held.value.append
        for number in range(first + 2, first + count):
            add(self._piece(number))

    def _do_lpush(self, first: int, count: int) -> None:
        self._push(first, count, left=True)

    def _do_rpush(self, first: int, count: int) -> None:
        self._push(first, count, left=False)

    def _do_lpushx(self, first: int, count: int) -> None:
        self._push(first, count, left=True, only=True)

    def _do_rpushx(self, first: int, count: int) -> None:
        self._push(first, count, left=False, only=True)

    def _pop(self, first: int, count: int, *, left: bool) -> None:
        held = self._get(first + 1, "list")
        if held is None or self.partial:
            return
        for _ in range(min(self._int(first + 2) if count > 2 else 1, len(held.value))):
            piece = held.value.popleft() if left else held.value.pop()
            if self._took < 0 and isinstance(piece, tuple):
                self._took = piece[0]
        self._gone_if_empty(first + 1, held)

    def _do_lpop(self, first: int, count: int) -> None:
        self._pop(first, count, left=True)

    def _do_rpop(self, first: int, count: int) -> None:
        self._pop(first, count, left=False)

    def _shift(self, first: int, *, left: bool, to_left: bool) -> None:
        held = self._get(first + 1, "list")
        if held is None or self.partial:
            return
        piece = held.value.popleft() if left else held.value.pop()
        if isinstance(piece, tuple):
            self._took = piece[0]
        target = self._make(first + 2, "list", deque)
        if to_left:
            target.value.appendleft(piece)
        else:
            target.value.append(piece)
        self._gone_if_empty(first + 1, held)

    def _do_rpoplpush(self, first: int, count: int) -> None:
        self._shift(first, left=False, to_left=True)

    _do_brpoplpush = _do_rpoplpush

    def _do_lmove(self, first: int, count: int) -> None:
        left, to_left = (word.upper() == b"LEFT" for word in self._arguments(first, count, 3)[:2])
        self._shift(first, left=left, to_left=to_left)

    _do_blmove = _do_lmove

    def _do_lset(self, first: int, count: int) -> None:
        held = self._get(first + 1, "list")
        if held is not None:
            held.value[self._int(first + 2)] = self._piece(first + 3)

    def _do_ltrim(self, first: int, count: int) -> None:
        held = self._get(first + 1, "list")
        if held is None:
            return
        begin, end = _slice(self._int(first + 2), self._int(first + 3), len(held.value))
        held.value = deque(list(held.value)[begin:end])
        self._gone_if_empty(first + 1, held)

    def _do_lrem(self, first: int, count: int) -> None:
        held = self._get(first + 1, "list")
        if held is None:
            return
        number, wanted = self._int(first + 2), self._argument(first + 3)
        pieces = list(held.value)
        if number < 0:
            pieces.reverse()
        left = abs(number) or len(pieces)
        kept = []
        for piece in pieces:
            if left and self.bytes_of(piece) == wanted:
                left -= 1
                if self._took < 0 and isinstance(piece, tuple):
                    self._took = piece[0]
            else:
                kept.append(piece)
        held.value = deque(reversed(kept) if number < 0 else kept)
        self._gone_if_empty(first + 1, held)

    def _do_linsert(self, first: int, count: int) -> None:
        held, pivot = self._get(first + 1, "list"), self._argument(first + 3)
        if held is None:
            return
        for place, piece in enumerate(held.value):
            if self.bytes_of(piece) == pivot:
                held.value.insert(place + (self._argument(first + 2).upper() == b"AFTER"), self._piece(first + 4))
                return

    # Sets

    def _do_sadd(self, first: int, count: int) -> None:
        members = self._make(first + 1, "set", dict).value
        for member in self._arguments(first, count, 2):
            members[member] = None

    def _do_srem(self, first: int, count: int) -> None:
        held = self._get(first + 1, "set")
        if held is not None:
            for member in self._arguments(first, count, 2):
                held.value.pop(member, None)
            self._gone_if_empty(first + 1, held)

    def _do_smove(self, first: int, count: int) -> None:
        held, member = self._get(first + 1, "set"), self._argument(first + 3)
        if held is not None and member in held.value:
            del held.value[member]
            self._make(first + 2, "set", dict).value[member] = None
            self._gone_if_empty(first + 1, held)

    def _stored_set(
        self, first: int, count: int, combine: Callable[[list[dict[bytes, None]]], Iterable[bytes]]
    ) -> None:
        held = [self._get(number, "set") for number in range(first + 2, first + count)]
        found = dict.fromkeys(combine([one.value if one else {} for one in held]))
        self._drop(self._argument(first + 1))
        if found:
            self._keys()[self._argument(first + 1)] = Held("set", found, self._at(first + 1))

    def _do_sunionstore(self, first: int, count: int) -> None:
        self._stored_set(first, count, lambda sets: [member for one in sets for member in one])

    def _do_sinterstore(self, first: int, count: int) -> None:
        self._stored_set(first, count, lambda sets: [m for m in sets[0] if all(m in other for other in sets[1:])])

    def _do_sdiffstore(self, first: int, count: int) -> None:
        self._stored_set(first, count, lambda sets: [m for m in sets[0] if not any(m in other for other in sets[1:])])

    # Hashes

    def _do_hset(self, first: int, count: int) -> None:
        held = self._make(first + 1, "hash", dict)
        for number in range(first + 2, first + count - 1, 2):
            field = self._argument(number)
            held.value[field] = self._piece(number + 1)
            if held.field_expiries:
                held.field_expiries.pop(field, None)

    _do_hmset = _do_hset

    def _do_hsetnx(self, first: int, count: int) -> None:
        held = self._get(first + 1, "hash")
        if held is None or self._argument(first + 2) not in held.value:
            self._do_hset(first, count)

    def _do_hdel(self, first: int, count: int) -> None:
        held = self._get(first + 1, "hash")
        if held is None:
            return
        for field in self._arguments(first, count, 2):
            piece = held.value.pop(field, None)
            if self._took < 0 and isinstance(piece, tuple):
                self._took = piece[0]
            if held.field_expiries:
                held.field_expiries.pop(field, None)
        self._gone_if_empty(first + 1, held)

    def _do_hincrby(self, first: int, count: int) -> None:
        held, field = self._make(first + 1, "hash", dict), self._argument(first + 2)
        held.value[field] = b"%d" % (_whole(self.bytes_of(held.value.get(field, b"0"))) + self._int(first + 3))

    def _do_hpexpireat(self, first: int, count: int) -> None:
        """HPEXPIREAT key ms [NX|XX|GT|LT] FIELDS n field …: as all of its kin are written (t_hash.c)."""
        held = self._get(first + 1, "hash")
        options = self._arguments(first, count, 3)
        at = next(place for place, word in enumerate(options) if word.upper() == b"FIELDS")
        if held is not None:
            held.field_expiries = held.field_expiries or {}
            for field in options[at + 2 :]:
                if field in held.value:
                    held.field_expiries[field] = self._int(first + 2)

    def _do_hpersist(self, first: int, count: int) -> None:
        held = self._get(first + 1, "hash")
        if held is not None and held.field_expiries:
            for field in self._arguments(first, count, 4):
                held.field_expiries.pop(field, None)

    def _do_hsetex(self, first: int, count: int) -> None:
        """HSETEX key [FNX|FXX] [PXAT ms|KEEPTTL] FIELDS n field value …"""
        words = self._arguments(first, count, 2)
        at = next(place for place, word in enumerate(words) if word.upper() == b"FIELDS")
        options = [word.upper() for word in words[:at]]
        expires, held = _absolute(options), self._make(first + 1, "hash", dict)
        kept = dict(held.field_expiries or {}) if b"KEEPTTL" in options else {}
        held.field_expiries = dict(held.field_expiries or {})
        for number in range(first + 2 + at + 2, first + count - 1, 2):
            field = self._argument(number)
            held.value[field] = self._piece(number + 1)
            held.field_expiries.pop(field, None)
            if (due := kept.get(field, expires)) is not None:
                held.field_expiries[field] = due

    # Sorted sets

    def _do_zadd(self, first: int, count: int) -> None:
        words = self._arguments(first, count, 2)
        if count == 4:
            self._make(first + 1, "zset", dict).value[words[1]] = float(words[0])
            return
        options = set()
        while words and words[0].upper() in _ZADD_OPTIONS:
            options.add(words.pop(0).upper())
        scores = self._make(first + 1, "zset", dict).value
        for score, member in zip(words[::2], words[1::2], strict=True):
            old, new = scores.get(member), float(score)
            if (old is None and b"XX" in options) or (old is not None and b"NX" in options):
                continue
            if old is not None and b"INCR" in options:
                new += old
            if old is not None and ((b"GT" in options and new <= old) or (b"LT" in options and new >= old)):
                continue
            scores[member] = new

    def _do_zincrby(self, first: int, count: int) -> None:
        scores, member = self._make(first + 1, "zset", dict).value, self._argument(first + 3)
        scores[member] = scores.get(member, 0.0) + float(self._argument(first + 2))

    def _remove_members(self, first: int, chosen: Callable[[dict[bytes, float]], Iterable[bytes]]) -> None:
        held = self._get(first + 1, "zset")
        if held is not None:
            for member in list(chosen(held.value)):
                held.value.pop(member, None)
            self._gone_if_empty(first + 1, held)

    def _do_zrem(self, first: int, count: int) -> None:
        members = self._arguments(first, count, 2)
        self._remove_members(first, lambda scores: members)

    def _do_zpopmin(self, first: int, count: int) -> None:
        number = self._int(first + 2) if count > 2 else 1
        self._remove_members(first, lambda scores: _in_order(scores)[:number])

    def _do_zpopmax(self, first: int, count: int) -> None:
        number = self._int(first + 2) if count > 2 else 1
        self._remove_members(first, lambda scores: _in_order(scores)[::-1][:number])

    def _do_zremrangebyrank(self, first: int, count: int) -> None:
        one, two = self._int(first + 2), self._int(first + 3)
        self._remove_members(first, lambda scores: _in_order(scores)[slice(*_slice(one, two, len(scores)))])

    def _do_zremrangebyscore(self, first: int, count: int) -> None:
        low, above = _bound(self._argument(first + 2))
        high, below = _bound(self._argument(first + 3))
        self._remove_members(
            first,
            lambda scores: [
                member
                for member, score in scores.items()
                if (score > low or (score == low and not above)) and (score < high or (score == high and not below))
            ],
        )

    def _do_zremrangebylex(self, first: int, count: int) -> None:
        low, high = self._argument(first + 2), self._argument(first + 3)
        self._remove_members(first, lambda scores: [m for m in scores if _above(m, low) and _below(m, high)])

    # Streams: entries only; groups and what they hold pending are left out.

    def _do_xadd(self, first: int, count: int) -> None:
        words, at, trim = self._arguments(first, count, 2), 0, None
        while at < len(words) and (word := words[at].upper()) in _XADD_OPTIONS:
            at += 1
            if word in (b"MAXLEN", b"MINID"):
                at += words[at] in (b"=", b"~")
                trim = word, words[at]
            at += word in (b"MAXLEN", b"MINID", b"LIMIT")
        entries = self._make(first + 1, "stream", dict).value
        begin = first + 2 + at
        entries[_stream_id(words[at])] = [
            (self._argument(number), self._piece(number + 1)) for number in range(begin + 1, first + count - 1, 2)
        ]
        if trim:
            _trim(entries, *trim)

    def _do_xdel(self, first: int, count: int) -> None:
        held = self._get(first + 1, "stream")
        for entry in self._arguments(first, count, 2):
            if held is not None:
                held.value.pop(_stream_id(entry), None)

    def _do_xtrim(self, first: int, count: int) -> None:
        held = self._get(first + 1, "stream")
        words = self._arguments(first, count, 2)
        if held is not None:
            _trim(held.value, words[0].upper(), words[2] if words[1] in (b"=", b"~") else words[1])

    def _do_xgroup(self, first: int, count: int) -> None:
        if self._argument(first + 1).upper() == b"CREATE" and b"MKSTREAM" in [
            word.upper() for word in self._arguments(first, count, 5)
        ]:
            self._make(first + 2, "stream", dict)


def _unseen(first: int, count: int) -> None:
    """Stands for a name that was not met before."""


_UNSEEN: Callable[[int, int], None] | None = _unseen
_LONGEST = 2**29
_XADD_OPTIONS = frozenset(b"NOMKSTREAM MAXLEN MINID LIMIT KEEPREF DELREF ACKED".split())
_ZADD_OPTIONS = frozenset(b"NX XX GT LT CH INCR".split())
_WITHOUT_EFFECT = frozenset(
    b"MULTI EXEC DISCARD PING REPLCONF ASKING PUBLISH SPUBLISH SCRIPT XACK XACKDEL XCLAIM XAUTOCLAIM XSETID XREADGROUP"
    b" KEYS SCAN CONFIG WAIT FUNCTION CLIENT INFO".split()
)
# Commands that make of a key what is not worked out here: which of their arguments that key is, and its type.
_UNFOLLOWED = {
    **dict.fromkeys(
        b"BITFIELD PFADD PFMERGE INCRBYFLOAT HINCRBYFLOAT GEOADD SPOP HGETDEL HGETEX HEXPIRE HPEXPIRE".split(), 1
    ),
    **dict.fromkeys(b"ZUNIONSTORE ZINTERSTORE ZDIFFSTORE ZRANGESTORE GEOSEARCHSTORE HEXPIREAT XDELEX".split(), 1),
    b"BITOP": 2,
}
_MADE_BY = {
    **dict.fromkeys(b"GEOADD ZUNIONSTORE ZINTERSTORE ZDIFFSTORE ZRANGESTORE GEOSEARCHSTORE".split(), "zset"),
    **dict.fromkeys(b"HINCRBYFLOAT HGETDEL HGETEX HEXPIRE HPEXPIRE HEXPIREAT".split(), "hash"),
    b"SPOP": "set", b"XDELEX": "stream",
}  # fmt: skip


def _whole(text: bytes) -> int:
    """As string2ll reads it."""
    if len(text) > 20 or not (text.removeprefix(b"-")).isdigit():
        raise ValueError
    return int(text)


def _absolute(options: list[bytes]) -> int | None:
    """The expiry in ms that options of SET or GETEX write as a time; of a time to live its end is not known."""
    for word, unit in ((b"PXAT", 1), (b"EXAT", 1000)):
        if word in options:
            return _whole(options[options.index(word) + 1]) * unit
    return None


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, (deque, dict)) else value


def _slice(begin: int, end: int, length: int) -> tuple[int, int]:
    """Redis' inclusive ends, negative from the end, as Python's."""
    begin = max(begin + length, 0) if begin < 0 else begin
    end = end + length if end < 0 else end
    return begin, max(end + 1, begin)


def _in_order(scores: dict[bytes, float]) -> list[bytes]:
    return sorted(scores, key=lambda member: (scores[member], member))


def _bound(text: bytes) -> tuple[float, bool]:
    """A score and whether it is itself left out."""
    return float(text.removeprefix(b"(")), text.startswith(b"(")


def _above(member: bytes, bound: bytes) -> bool:
    if bound in (b"-", b"+"):
        return bound == b"-"
    return member > bound[1:] or (bound[:1] == b"[" and member == bound[1:])


def _below(member: bytes, bound: bytes) -> bool:
    if bound in (b"-", b"+"):
        return bound == b"+"
    return member < bound[1:] or (bound[:1] == b"[" and member == bound[1:])


def _stream_id(text: bytes) -> tuple[int, int]:
    ms, _, number = text.partition(b"-")
    return _whole(ms), _whole(number or b"0")


def _trim(entries: dict[tuple[int, int], Any], how: bytes, limit: bytes) -> None:
    kept = _stream_id(limit) if how == b"MINID" else None
    most = None if kept else _whole(limit)
    for entry in list(entries):
        if (kept is not None and entry >= kept) or (most is not None and len(entries) <= most):
            break
        del entries[entry]


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
        return {_stream_id(entry.encode()): pairs for entry, pairs in value}, "stream"
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
            return [(member, held.value[member]) for member in _in_order(held.value)]
        case "hash":
            return [(field, bytes_of(piece)) for field, piece in held.value.items()]
        case _:
            return [(f"{ms}-{number}", _pairs(pairs, bytes_of)) for (ms, number), pairs in held.value.items()]


def _pairs(pairs: Iterable[tuple[bytes, Piece]], bytes_of: Callable[[Piece], bytes]) -> Pairs:
    return [(field, bytes_of(piece)) for field, piece in pairs]

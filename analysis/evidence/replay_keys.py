"""Keys while commands are replayed: their names, their expiries, and the commands on whole keys and on strings.

In: the arguments of one command. Out: keys made, changed, moved and removed, and what they were before. Does what Redis
does (``db.c``, ``expire.c``, ``t_string.c``); does not go through a stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from analysis.evidence.rdb_values import ValueUnreadable, decode_value
from analysis.evidence.replay_values import Based, Held, Key, NotReplayed, Piece, held_of, size_of, whole

_LONGEST = 2**29
"""Redis' limit of a string (``proto-max-bulk-len``)."""
MOST_MADE = 2**28
"""Bytes that may be made beyond what the stream itself holds: a short command can ask for half a gigabyte."""
ELEMENT = 100
"""Bytes that an element of a list, a set or a hash takes beside its content."""


class Keys:
    """Keys of all databases, and the command that is being applied: its arguments, and what it found."""

    dbs: dict[int, dict[bytes, Key]]
    buffer: Any
    shift: int
    partial: bool

    def __init__(self, load: Callable[[Based], Held], read: Callable[[int, int], bytes]) -> None:
        self._load, self._read = load, read
        self._ats: list[int] = []
        self._sizes: list[int] = []
        self._here: dict[bytes, Key] = {}
        self._numbers: dict[bytes, int] = {}
        self._due: int | None = None
        self._took = -1
        self._made = 0

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
        return whole(self._argument(number))

    def _keys(self) -> dict[bytes, Key]:
        if not self.known:
            raise IndexError
        return self._here

    def _spent(self, size: int) -> str:
        """Take room for what a command makes; why not, where it is too much."""
        self._made += max(size, 0)
        if self._made <= MOST_MADE:
            return ""
        return f"commands made more than {MOST_MADE >> 20} MB out of little, which is not followed"

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
            db = self._numbers[text] = whole(text)
        self._select(db)

    def _do_del(self, first: int, count: int) -> None:
        for name in self._arguments(first, count, 1):
            self._drop(name)
        if count > 2:
            # Of several keys no one expiry and content is the command's.
            self._due, self._took = None, -1

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
        target = self._of(whole(options[options.index(b"DB") + 1])) if b"DB" in options else self._keys()
        held, name = self._get(first + 1), self._argument(first + 2)
        if held is not None and (name not in target or b"REPLACE" in options):
            why = self._spent(ELEMENT * len(held.value)) if isinstance(held.value, (deque, dict)) else held.why
            value = None if why else _copied(held.value)
            made = Held(held.type, value, self._at(first + 2), held.expires, why)
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
            length, size = size_of(Held(kind, value, 0))
            if why := self._spent((size or 0) + ELEMENT * (length or 0) * (kind != "string")):
                value = None
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
            self._expire(first + 1, absolute(options))

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
            self._put(first + 1, self._piece(first + 2), whole(self._argument(first + 4)))
            return
        options = [option.upper() for option in self._arguments(first, count, 3)]
        there = self._argument(first + 1) in self._keys()
        if (b"NX" in options and there) or (b"XX" in options and not there):
            return
        if b"KEEPTTL" in options:
            found = self._keys().get(self._argument(first + 1))
            self._put(first + 1, self._piece(first + 2), found.expires if found else None)
        else:
            self._put(first + 1, self._piece(first + 2), absolute(options))

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

    def _changed(self, number: int, change: Callable[[bytes], bytes], longest: int) -> None:
        """A string changed in place, which is then no longer than it was or than ``longest``; its expiry stays."""
        held = self._make(number, "string", lambda: b"")
        old, _ = size_of(held)
        if why := self._spent(max(old or 0, longest) if isinstance(held.value, tuple) else longest - (old or 0)):
            held.value, held.why = None, why
        else:
            held.value = change(self.bytes_of(held.value))

    def _do_append(self, first: int, count: int) -> None:
        held, added = self._get(first + 1, "string"), self._argument(first + 2)
        size = (size_of(held)[0] or 0) if held else 0
        self._changed(first + 1, lambda old: old + added, size + len(added))

    def _do_setrange(self, first: int, count: int) -> None:
        begin, piece = self._int(first + 2), self._argument(first + 3)
        if not piece or not 0 <= begin <= _LONGEST:
            return
        end = begin + len(piece)
        self._changed(first + 1, lambda old: old[:begin].ljust(begin, b"\0") + piece + old[end:], end)

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

        self._changed(first + 1, change, byte + 1)

    def _add(self, number: int, by: int) -> None:
        self._changed(number, lambda old: b"%d" % (whole(old or b"0") + by), 20)

    def _do_incr(self, first: int, count: int) -> None:
        self._add(first + 1, 1)

    def _do_decr(self, first: int, count: int) -> None:
        self._add(first + 1, -1)

    def _do_incrby(self, first: int, count: int) -> None:
        self._add(first + 1, self._int(first + 2))

    def _do_decrby(self, first: int, count: int) -> None:
        self._add(first + 1, -self._int(first + 2))


def absolute(options: list[bytes]) -> int | None:
    """The expiry in ms that options of SET or GETEX write as a time; of a time to live its end is not known."""
    for word, unit in ((b"PXAT", 1), (b"EXAT", 1000)):
        if word in options:
            return whole(options[options.index(word) + 1]) * unit
    return None


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, (deque, dict)) else value

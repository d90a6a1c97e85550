"""One value of an RDB snapshot, decoded.

In: a snapshot's bytes and the place of an entry. Out: the value as plain Python data, or ValueUnreadable with the
reason. Knows Redis' types; not what the bytes in them mean, and decodes no text.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

from analysis.errors import OneLine
from analysis.evidence import rdb_layout as rdb
from analysis.evidence.packed import (
    BAD,
    END,
    INTSET,
    LISTPACK,
    LZF_GAIN,
    NUMBER,
    UNCOUNTED,
    ZIPLIST,
    header_count,
    listpack_entry,
    lzf_expand,
    signed,
    ziplist_entry,
    zipmap_text,
)

Buffer = bytes | mmap.mmap
Pairs = list[tuple[bytes, bytes]]
Value = bytes | list[bytes] | list[tuple[bytes, float]] | Pairs | list[tuple[str, Pairs]]
"""string: bytes; list and set: elements; zset: (member, score); hash: (field, value); stream: (ID, pairs)."""

_LISTS = {rdb.LIST, rdb.SET}
_PACKED_LISTS = {rdb.LIST_ZIPLIST: ZIPLIST, rdb.SET_LISTPACK: LISTPACK}
_PACKED_HASHES = {rdb.HASH_ZIPLIST: ZIPLIST, rdb.HASH_LISTPACK: LISTPACK}
_PACKED_ZSETS = {rdb.ZSET_ZIPLIST: ZIPLIST, rdb.ZSET_LISTPACK: LISTPACK}
_STREAMS = {rdb.STREAM, rdb.STREAM_2, rdb.STREAM_3}
_TIMED = {rdb.HASH_METADATA, rdb.HASH_METADATA_RC, rdb.HASH_LISTPACK_EX, rdb.HASH_LISTPACK_EX_RC}
_SCORE_WORDS = {253: float("nan"), 254: float("inf"), 255: float("-inf")}
_DELETED, _SAME_FIELDS = 1, 2
_WORDS = {
    rdb.CUT: "the file ends inside it",
    rdb.BAD_LENGTH: "a length that cannot be",
}


class ValueUnreadable(OneLine, ValueError):
    """A value that cannot be decoded. ``offset`` is its entry's, ``reason`` says why; ``str()`` is one line of both."""

    def __init__(self, offset: int, reason: str) -> None:
        self.offset, self.reason = offset, reason
        super().__init__(f"value at offset {offset}: {reason}")


def decode_value(buffer: Buffer, end: int, offset: int, *, valkey: bool) -> Value:
    """The value of the entry whose type byte is at ``offset``; ``end`` is the number of bytes, ``valkey`` the magic's.

    Numbers that Redis packed come back as their text, as the server would send them. Raises ValueUnreadable for
    anything that is broken, of an unknown type, a module's, or over 512 MiB in one string when decompressed.
    """
    cursor = _Cursor(buffer, end, offset)
    code = cursor.begin()
    if code == rdb.STRING:
        return cursor.string()
    if code in _LISTS:
        return [cursor.string() for _ in range(cursor.length())]
    if code == rdb.HASH:
        return [(cursor.string(), cursor.string()) for _ in range(cursor.length())]
    if code in _PACKED_HASHES:
        return cursor.pairs(cursor.packed(_PACKED_HASHES[code]))
    if code == rdb.HASH_ZIPMAP:
        return list(cursor.zipmap())
    if code == rdb.HASH_2 if valkey else code in _TIMED:
        return [(field, value) for field, value, _ in _timed_fields(cursor, code, valkey)]
    if code in _PACKED_LISTS:
        return cursor.packed(_PACKED_LISTS[code])
    if code == rdb.SET_INTSET:
        return cursor.intset()
    if code in (rdb.QUICKLIST, rdb.QUICKLIST_2):
        return _quicklist(cursor, code)
    if code in (rdb.ZSET, rdb.ZSET_2):
        return [(cursor.string(), cursor.score(code)) for _ in range(cursor.length())]
    if code in _PACKED_ZSETS:
        return [(member, cursor.number(text)) for member, text in cursor.pairs(cursor.packed(_PACKED_ZSETS[code]))]
    if code in _STREAMS:
        return _stream(cursor)
    if code in (rdb.MODULE, rdb.MODULE_2):
        raise cursor.refusal("a module's value, which only the module can decode")
    raise cursor.refusal(f"unknown type {code}")


def decode_field_expiries(buffer: Buffer, end: int, offset: int, *, valkey: bool) -> dict[bytes, int]:
    """The fields of a hash that have a time of their own: milliseconds since 1970, as stored. Empty for all else.

    Raises ValueUnreadable as ``decode_value`` does.
    """
    cursor = _Cursor(buffer, end, offset)
    code = cursor.begin()
    if not (code == rdb.HASH_2 if valkey else code in _TIMED):
        return {}
    return {field: time for field, _, time in _timed_fields(cursor, code, valkey) if time is not None}


def decode_string(buffer: Buffer, end: int, at: int) -> bytes:
    """One encoded string, wherever it stands: a key, an aux field. Raises ValueUnreadable."""
    return _Cursor(buffer, end, at).string()


class _Cursor:
    """A place in the buffer that moves on as things are read; ``offset`` stays, for what has to be said of them."""

    def __init__(self, buffer: Buffer, end: int, offset: int) -> None:
        self.buffer, self.end, self.at, self.offset = buffer, end, offset, offset

    def refusal(self, reason: str) -> ValueUnreadable:
        return ValueUnreadable(self.offset, reason)

    def _moved(self, behind: int) -> None:
        if behind < 0:
            raise self.refusal(_WORDS[behind])
        self.at = behind

    def begin(self) -> int:
        """The type; the cursor is then behind the key."""
        if not 0 <= self.at < self.end:
            raise self.refusal("not a place in the file")
        self._moved(rdb.skip_strings(self.buffer, self.at + 1, self.end, 1))
        return self.buffer[self.offset]

    def length(self) -> int:
        value, behind = rdb.length_at(self.buffer, self.at, self.end)
        self._moved(behind)
        if value < 0:
            raise self.refusal(_WORDS[rdb.BAD_LENGTH])
        return value

    def take(self, size: int) -> bytes:
        if size > self.end - self.at:
            raise self.refusal(_WORDS[rdb.CUT])
        self.at += size
        return self.buffer[self.at - size : self.at]

    def milliseconds(self) -> int:
        return signed(self.take(8), 0, 8)

    def string(self) -> bytes:
        form, begin, size, length, behind = rdb.string_at(self.buffer, self.at, self.end)
        self._moved(behind)
        if form == rdb.RAW:
            return self.buffer[begin:behind]
        if form == rdb.INT:
            return b"%d" % signed(self.buffer, begin, size)
        # Before memory is taken: a length that is not to be believed.
        if length > LZF_GAIN * size:
            raise self.refusal(f"broken LZF: {length} bytes cannot come out of {size}")
        if length > rdb.MAX_STRING:
            raise self.refusal(f"larger than {rdb.MAX_STRING >> 20} MiB when decompressed: not decoded")
        text = bytearray(length)
        if lzf_expand(self.buffer, begin, behind, text, length) != (length, behind):
            raise self.refusal("broken LZF")
        return bytes(text)

    def packed(self, kind: int) -> list[bytes]:
        """The entries of a listpack or ziplist, numbers as text."""
        pack = self.string()
        said = header_count(pack, 0, len(pack), len(pack), kind)
        if said == BAD:
            raise self.refusal(f"broken {'listpack' if kind == LISTPACK else 'ziplist'}")
        next_entry, at = (listpack_entry, 6) if kind == LISTPACK else (ziplist_entry, 10)
        entries: list[bytes] = []
        end = len(pack)
        while at < end and pack[at] != END:
            form, first, last, at = next_entry(pack, at, end)
            if at == BAD:
                break
            entries.append(b"%d" % first if form == NUMBER else pack[first:last])
        if at != end - 1 or said not in (len(entries), UNCOUNTED):
            raise self.refusal(f"broken {'listpack' if kind == LISTPACK else 'ziplist'} at its entry {len(entries)}")
        return entries

    def pairs(self, entries: list[bytes]) -> Pairs:
        if len(entries) % 2:
            raise self.refusal("an odd number of entries where there are pairs")
        return list(zip(entries[::2], entries[1::2], strict=True))

    def zipmap(self) -> Iterator[tuple[bytes, bytes]]:
        pack = self.string()
        at, end = 1, len(pack)
        while at < end and pack[at] != END:
            field, field_end, at = zipmap_text(pack, at, end, False)
            value, value_end, at = zipmap_text(pack, at, end, True) if at != BAD else (0, 0, BAD)
            if at == BAD:
                break
            yield pack[field:field_end], pack[value:value_end]
        if at != end - 1:
            raise self.refusal("broken zipmap")

    def intset(self) -> list[bytes]:
        pack = self.string()
        count = header_count(pack, 0, len(pack), len(pack), INTSET)
        if count == BAD:
            raise self.refusal("broken intset")
        form = {2: "h", 4: "i", 8: "q"}[pack[0]]
        return [b"%d" % number for number in struct.unpack_from(f"<{count}{form}", pack, 8)]

    def score(self, code: int) -> float:
        if code == rdb.ZSET_2:
            return float(struct.unpack("<d", self.take(8))[0])
        size = self.take(1)[0]
        return _SCORE_WORDS[size] if size in _SCORE_WORDS else self.number(self.take(size))

    def number(self, text: bytes) -> float:
        try:
            return float(text)
        except ValueError:
            raise self.refusal("a score that is no number") from None


def _quicklist(cursor: _Cursor, code: int) -> list[bytes]:
    elements: list[bytes] = []
    for _ in range(cursor.length()):
        container = cursor.length() if code == rdb.QUICKLIST_2 else rdb.PACKED_NODE
        if container == rdb.PLAIN_NODE:
            elements.append(cursor.string())
        elif container == rdb.PACKED_NODE:
            elements += cursor.packed(LISTPACK if code == rdb.QUICKLIST_2 else ZIPLIST)
        else:
            raise cursor.refusal(f"a list node of unknown kind {container}")
    return elements


def _timed_fields(cursor: _Cursor, code: int, valkey: bool) -> Iterator[tuple[bytes, bytes, int | None]]:
    """Field, value and the field's own time in milliseconds, of every kind of hash that can have them."""
    if valkey:
        for _ in range(cursor.length()):
            field, value, time = cursor.string(), cursor.string(), cursor.milliseconds()
            yield field, value, None if time == -1 else time
        return
    # The earliest time of all its fields. It may be a time that is no longer there; the release candidates had none.
    earliest = cursor.milliseconds() if code in (rdb.HASH_METADATA, rdb.HASH_LISTPACK_EX) else 1
    if code in (rdb.HASH_METADATA, rdb.HASH_METADATA_RC):
        for _ in range(cursor.length()):
            later = cursor.length()
            yield cursor.string(), cursor.string(), earliest + later - 1 if later else None
        return
    entries = cursor.packed(LISTPACK)
    if len(entries) % 3:
        raise cursor.refusal("entries that are not field, value and time")
    for field, value, text in zip(entries[::3], entries[1::3], entries[2::3], strict=True):
        time = _whole(cursor, text)
        yield field, value, time or None


def _whole(cursor: _Cursor, text: bytes) -> int:
    """A number of 64 bits, as every packed number is."""
    if len(text) <= 20 and text.removeprefix(b"-").isdigit():
        return int(text)
    raise cursor.refusal("a text where a number has to be")


def _count(cursor: _Cursor, text: bytes) -> int:
    if (count := _whole(cursor, text)) < 0:
        raise cursor.refusal("a number of fields below 0")
    return count


def _stream(cursor: _Cursor) -> list[tuple[str, Pairs]]:
    """The entries that are not deleted (Redis t_stream.c). What follows them, IDs and groups, is not read."""
    entries: list[tuple[str, Pairs]] = []
    for _ in range(cursor.length()):
        key = cursor.string()
        if len(key) != 16:
            raise cursor.refusal("a stream's node without an ID")
        try:
            entries += _stream_node(cursor, key, cursor.packed(LISTPACK))
        except IndexError:
            raise cursor.refusal("a stream's node that ends inside an entry") from None
    return entries


def _stream_node(cursor: _Cursor, key: bytes, parts: list[bytes]) -> Iterator[tuple[str, Pairs]]:
    milliseconds, sequence = struct.unpack(">QQ", key)
    # In front: entries, deleted entries, number of fields, the fields, 0.
    behind = 3 + _count(cursor, parts[2])
    common, at = parts[3:behind], behind + 1
    while at < len(parts):
        flags = _whole(cursor, parts[at])
        later, further = _whole(cursor, parts[at + 1]), _whole(cursor, parts[at + 2])
        at += 3
        if flags & _SAME_FIELDS:
            values = parts[at : at + len(common)]
            pairs = list(zip(common, values, strict=False))
            at += len(common)
        else:
            count = _count(cursor, parts[at])
            pairs = cursor.pairs(parts[at + 1 : at + 1 + 2 * count])
            at += 1 + 2 * count
        # Behind an entry stands how many parts it has, to be read backwards.
        if at >= len(parts):
            raise IndexError
        at += 1
        if not flags & _DELETED:
            yield f"{(milliseconds + later) % 2**64}-{(sequence + further) % 2**64}", pairs

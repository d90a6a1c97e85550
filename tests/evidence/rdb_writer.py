"""RDB files by hand, of any version: what no server here writes any more, not yet, or never.

In: pieces that say what they are. Out: bytes. After Redis' and Valkey's rdb.c, listpack.c, ziplist.c, zipmap.c and
intset.c; it shares nothing with the reader.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

Element = bytes | int
_POLYNOMIAL = 0x95AC9329AC4BC9B5


def _table() -> list[int]:
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
        table.append(register)
    return table


_TABLE = _table()


def checksum(data: bytes) -> int:
    """CRC-64/Jones, a byte at a time."""
    register = 0
    for octet in data:
        register = _TABLE[(register ^ octet) & 255] ^ register >> 8
    return register


def length(number: int, width: int = 0) -> bytes:
    """A length, as short as it goes or in 1, 2, 5 or 9 bytes."""
    if width == 1 or (not width and number < 2**6):
        return bytes([number])
    if width == 2 or (not width and number < 2**14):
        return bytes([0x40 | number >> 8, number & 255])
    if width == 5 or (not width and number < 2**32):
        return b"\x80" + struct.pack(">I", number)
    return b"\x81" + struct.pack(">Q", number)


def string(text: bytes | str, width: int = 0) -> bytes:
    text = text.encode() if isinstance(text, str) else text
    return length(len(text), width) + text


def number(value: int) -> bytes:
    """A string that is a number of 8, 16 or 32 bits."""
    for code, form in (0xC0, "<b"), (0xC1, "<h"), (0xC2, "<i"):
        try:
            return bytes([code]) + struct.pack(form, value)
        except struct.error:
            continue
    raise ValueError(value)


def lzf(compressed: bytes, size: int) -> bytes:
    return b"\xc3" + length(len(compressed)) + length(size) + compressed


def lzf_literals(text: bytes) -> bytes:
    """LZF that does not compress."""
    return b"".join(bytes([len(part) - 1]) + part for part in (text[i : i + 32] for i in range(0, len(text), 32)))


def lzf_string(text: bytes) -> bytes:
    return lzf(lzf_literals(text), len(text))


def lzf_run(octet: bytes, times: int) -> tuple[bytes, int]:
    """One byte and ``times`` runs of 264 that copy it: (LZF, size)."""
    return b"\x00" + octet + b"\xe0\xff\x00" * times, 1 + 264 * times


def listpack(elements: Iterable[Element], count: int | None = None) -> bytes:
    """Integers in the narrowest form, texts in theirs. ``count`` is what the header is to say."""
    entries = []
    for element in elements:
        entry = _listpack_number(element) if isinstance(element, int) else _listpack_text(element)
        entries.append(entry + _listpack_back(len(entry)))
    body = b"".join(entries) + b"\xff"
    said = min(len(entries), 65535) if count is None else count
    return struct.pack("<IH", 6 + len(body), said) + body


def _listpack_back(size: int) -> bytes:
    """The length of an entry, behind it, seven bits a byte. 127 is the last in one byte, but 16382 in two."""
    digits = [size & 127]
    for limit in (128, 16383, 2097151, 268435455):
        if size >= limit:
            digits.append(size >> 7 * len(digits) & 127)
    return bytes([digits[-1], *(digit | 128 for digit in reversed(digits[:-1]))])


def _listpack_number(value: int) -> bytes:
    if 0 <= value < 128:
        return bytes([value])
    if -4096 <= value < 4096:
        return bytes([0xC0 | value >> 8 & 0x1F, value & 255])
    for code, width in (0xF1, 2), (0xF2, 3), (0xF3, 4), (0xF4, 8):
        if -(1 << 8 * width - 1) <= value < 1 << 8 * width - 1:
            return bytes([code]) + value.to_bytes(width, "little", signed=True)
    raise ValueError(value)


def _listpack_text(text: bytes) -> bytes:
    if len(text) < 64:
        return bytes([0x80 | len(text)]) + text
    if len(text) < 4096:
        return bytes([0xE0 | len(text) >> 8, len(text) & 255]) + text
    return b"\xf0" + struct.pack("<I", len(text)) + text


def ziplist(elements: Iterable[Element], count: int | None = None, wide: bool = False) -> bytes:
    """``wide``: the length of the entry before always in five bytes, as ziplists keep it after they have shrunk."""
    entries: list[bytes] = []
    for element in elements:
        before = len(entries[-1]) if entries else 0
        front = bytes([before]) if before < 254 and not wide else b"\xfe" + struct.pack("<I", before)
        entries.append(front + (_ziplist_number(element) if isinstance(element, int) else _ziplist_text(element)))
    body = b"".join(entries)
    tail = 10 + len(body) - (len(entries[-1]) if entries else 0)
    said = min(len(entries), 65535) if count is None else count
    return struct.pack("<IIH", 11 + len(body), tail, said) + body + b"\xff"


def _ziplist_number(value: int) -> bytes:
    if 0 <= value <= 12:
        return bytes([0xF1 + value])
    for code, width in (0xFE, 1), (0xC0, 2), (0xF0, 3), (0xD0, 4), (0xE0, 8):
        if -(1 << 8 * width - 1) <= value < 1 << 8 * width - 1:
            return bytes([code]) + value.to_bytes(width, "little", signed=True)
    raise ValueError(value)


def _ziplist_text(text: bytes) -> bytes:
    if len(text) < 64:
        return bytes([len(text)]) + text
    if len(text) < 16384:
        return bytes([0x40 | len(text) >> 8, len(text) & 255]) + text
    return b"\x80" + struct.pack(">I", len(text)) + text


def intset(numbers: Sequence[int], width: int) -> bytes:
    packed = b"".join(value.to_bytes(width, "little", signed=True) for value in numbers)
    return struct.pack("<II", width, len(numbers)) + packed


def zipmap(pairs: Sequence[tuple[bytes, bytes]], free: int = 0, count: int | None = None) -> bytes:
    """``free`` bytes behind each value."""

    def size(text: bytes) -> bytes:
        return bytes([len(text)]) if len(text) < 254 else b"\xfe" + struct.pack("<I", len(text))

    body = b"".join(
        size(field) + field + size(value) + bytes([free]) + value + b"\x00" * free for field, value in pairs
    )
    return bytes([min(len(pairs), 254) if count is None else count]) + body + b"\xff"


def stream_node(
    milliseconds: int,
    sequence: int,
    fields: Sequence[bytes],
    entries: Iterable[tuple[int, int, bool, Sequence[tuple[bytes, bytes]]]],
) -> bytes:
    """A node of a stream: its ID and its listpack. An entry is (ms later, sequence further, deleted, pairs); one that
    has the node's own fields is written without them."""
    entries = list(entries)
    parts: list[Element] = [sum(not gone for _, _, gone, _ in entries), sum(gone for _, _, gone, _ in entries)]
    parts += [len(fields), *fields, 0]
    for later, further, gone, pairs in entries:
        same = [field for field, _ in pairs] == list(fields)
        own: list[Element] = (
            [value for _, value in pairs] if same else [len(pairs), *(x for pair in pairs for x in pair)]
        )
        parts += [gone | same << 1, later, further, *own, len(own) + 3]
    return string(struct.pack(">QQ", milliseconds, sequence)) + string(listpack(parts))


def stream_id(milliseconds: int, sequence: int) -> bytes:
    return length(milliseconds) + length(sequence)


def stream_group(
    name: bytes, version: int, pending: Sequence[tuple[int, int]] = (), consumers: Iterable[tuple[bytes, int]] = ()
) -> bytes:
    """A consumer group; a consumer is (name, how many of what is pending are its own)."""
    out = string(name) + stream_id(5, 1) + (length(2**64 - 1) if version >= 2 else b"") + length(len(pending))
    for milliseconds, sequence in pending:
        out += struct.pack(">QQ", milliseconds, sequence) + struct.pack("<q", 1_700_000_000_000) + length(3)
    consumers = list(consumers)
    out += length(len(consumers))
    for consumer, own in consumers:
        out += string(consumer) + struct.pack("<q", 1_700_000_000_000)
        out += struct.pack("<q", -1) if version >= 3 else b""
        out += length(own) + b"".join(struct.pack(">QQ", *pending[place]) for place in range(own))
    return out


def stream(version: int, nodes: Sequence[bytes], entries: int, groups: Sequence[bytes] = ()) -> bytes:
    out = length(len(nodes)) + b"".join(nodes) + length(entries) + stream_id(2**64 - 1, 7)
    if version >= 2:
        out += stream_id(1, 1) + stream_id(0, 0) + length(entries + 2)
    return out + length(len(groups)) + b"".join(groups)


class Rdb:
    """A file being written. Every method gives the writer back; ``bytes()`` of it is what stands so far."""

    def __init__(self, version: int = 12, *, valkey: bool = False) -> None:
        self.version = version
        self._parts = [b"VALKEY%03d" % version if valkey else b"REDIS%04d" % version]

    def __bytes__(self) -> bytes:
        return b"".join(self._parts)

    def raw(self, *parts: bytes) -> Rdb:
        self._parts += parts
        return self

    def aux(self, name: str, value: bytes | int) -> Rdb:
        return self.raw(b"\xfa", string(name), number(value) if isinstance(value, int) else string(value))

    def select(self, db: int) -> Rdb:
        return self.raw(b"\xfe", length(db))

    def key(self, name: bytes | str, code: int, value: bytes, *, ms: int | None = None, s: int | None = None) -> Rdb:
        """An entry; ``ms`` and ``s`` are its expiry in either form."""
        if ms is not None:
            self.raw(b"\xfc", struct.pack("<q", ms))
        if s is not None:
            self.raw(b"\xfd", struct.pack("<i", s))
        return self.raw(bytes([code]), string(name), value)

    def text(self, name: bytes | str, value: bytes | str, *, ms: int | None = None, s: int | None = None) -> Rdb:
        return self.key(name, 0, string(value), ms=ms, s=s)

    def end(self, *, sum_of: int | None = None) -> bytes:
        """With the end mark, and the checksum from version 5 on; ``sum_of`` in place of the right one."""
        self.raw(b"\xff")
        if self.version >= 5:
            self.raw(struct.pack("<Q", checksum(bytes(self)) if sum_of is None else sum_of))
        return bytes(self)

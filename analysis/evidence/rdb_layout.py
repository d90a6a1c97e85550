"""How RDB snapshots lay out lengths, strings and values (Redis rdb.c, rdb.h; Valkey's own where it differs).

In: a buffer and where something begins in it. Out: where it ends, and how many elements it has. Does not know keys.
Kernels, as in ``packed``: where a place is returned, a negative number is a status.
"""

from __future__ import annotations

from analysis.evidence.packed import (
    BAD,
    HEADER,
    LISTPACK,
    LZF_GAIN,
    UNCOUNTED,
    ZIPLIST,
    Bytes,
    Room,
    count_entries,
    count_field_ttls,
    header_count,
    lzf_expand,
    signed,
)

# Statuses. CUT: what is there says it goes on behind the end. NEED_ROOM asks to be called again.
CUT, BAD_LENGTH, BAD_VALUE, NEED_ROOM = -1, -2, -3, -4

RAW, INT, LZF = 0, 1, 2
MISSING = -1
MAX_STRING = 512 * 2**20
"""Redis' own limit (proto-max-bulk-len). What claims to be larger when decompressed is not decompressed."""

STRING, LIST, SET, ZSET, HASH, ZSET_2, MODULE, MODULE_2 = range(8)
(
    HASH_ZIPMAP, LIST_ZIPLIST, SET_INTSET, ZSET_ZIPLIST, HASH_ZIPLIST, QUICKLIST, STREAM, HASH_LISTPACK, ZSET_LISTPACK,
    QUICKLIST_2, STREAM_2, SET_LISTPACK, STREAM_3,
    HASH_METADATA_RC, HASH_LISTPACK_EX_RC, HASH_METADATA, HASH_LISTPACK_EX,
) = range(9, 26)  # fmt: skip
HASH_2 = 22
"""Valkey's number for a hash whose fields have times; to Redis it is HASH_METADATA_RC (7.4 release candidates)."""
PLAIN_NODE, PACKED_NODE = 1, 2


def length_at(source: Bytes, at: int, end: int) -> tuple[int, int]:
    """A length and the place behind it, which is a status where there is none. From 2**63 on the length is negative."""
    if at >= end:
        return 0, CUT
    code = source[at]
    if code < 64:
        return 0 + code, at + 1
    if code < 128:
        if end - at < 2:
            return 0, CUT
        return (code & 63) * 256 + source[at + 1], at + 2
    width = 4 if code == 0x80 else 8
    if code > 0x81:
        return 0, BAD_LENGTH
    if end - at < 1 + width:
        return 0, CUT
    # Big-endian, and as two's complement: a stream writes -1 for "not known", modules write signed numbers.
    value = 0 + source[at + 1]
    if width == 8 and value >= 128:
        value -= 256
    for place in range(at + 2, at + 1 + width):
        value = value * 256 + source[place]
    return value, at + 1 + width


def string_at(source: Bytes, at: int, end: int) -> tuple[int, int, int, int, int]:
    """An encoded string: (form, begin, size, length, behind). ``length`` is that of the text where it is RAW or LZF."""
    if at >= end:
        return RAW, 0, 0, 0, CUT
    code = source[at]
    if code < 0xC0:
        size, begin = length_at(source, at, end)
        if begin < 0:
            return RAW, 0, 0, 0, begin
        if size < 0:
            return RAW, 0, 0, 0, BAD_LENGTH
        if size > end - begin:
            return RAW, 0, 0, 0, CUT
        return RAW, begin, size, size, begin + size
    if code <= 0xC2:
        size = 1 if code == 0xC0 else 2 if code == 0xC1 else 4
        if end - at < 1 + size:
            return RAW, 0, 0, 0, CUT
        return INT, at + 1, size, 0, at + 1 + size
    if code > 0xC3:
        return RAW, 0, 0, 0, BAD_LENGTH
    size, begin = length_at(source, at + 1, end)
    if begin < 0:
        return RAW, 0, 0, 0, begin
    length, begin = length_at(source, begin, end)
    if begin < 0:
        return RAW, 0, 0, 0, begin
    if size < 0 or length < 0:
        return RAW, 0, 0, 0, BAD_LENGTH
    if size > end - begin:
        return RAW, 0, 0, 0, CUT
    return LZF, begin, size, length, begin + size


def digits_at(source: Bytes, at: int, size: int) -> int:
    """Of a number of 8, 16 or 32 bits, how many characters its text has."""
    value = signed(source, at, size)
    digits = 1
    if value < 0:
        digits = 2
        value = -value
    while value >= 10:
        value //= 10
        digits += 1
    return digits


def is_integer(source: Bytes, at: int, size: int) -> bool:
    """Whether a text is a number of 64 bits just as Redis writes one (util.c, string2ll), and so is held as one."""
    end = at + size
    minus = 1 if size > 0 and source[at] == 45 else 0
    at += minus
    if at >= end or end - at > 19:
        return False
    if source[at] == 48:
        return size == 1
    # The last digit alone can leave 64 bits, so it is compared and not added.
    value = 0
    while at < end - 1:
        if source[at] < 48 or source[at] > 57:
            return False
        value = value * 10 + (source[at] - 48)
        at += 1
    if source[at] < 48 or source[at] > 57:
        return False
    most = 922337203685477580
    return value < most or (value == most and source[at] - 48 <= 7 + minus)


def skip_strings(source: Bytes, at: int, end: int, count: int) -> int:
    """The place behind ``count`` strings, or a status."""
    while count > 0:
        if at >= end:
            return CUT
        code = source[at]
        if code < 64:
            at += 1 + code
        else:
            at = string_at(source, at, end)[4]
            if at < 0:
                return at
        count -= 1
    return at if at <= end else CUT


def skip_lengths(source: Bytes, at: int, end: int, count: int) -> int:
    """The place behind ``count`` lengths, or a status."""
    while count > 0:
        at = length_at(source, at, end)[1]
        if at < 0:
            return at
        count -= 1
    return at


def skip_packed(source: Bytes, at: int, end: int, kind: int, room: Room) -> tuple[int, int]:
    """Behind a string that holds a container: (behind, entries); entries are MISSING where it is broken or too large.

    (NEED_ROOM, bytes) asks to be called again with more ``room`` to decompress in.
    """
    form, begin, size, length, behind = string_at(source, at, end)
    if behind < 0:
        return behind, 0
    if form == RAW:
        count = header_count(source, begin, size, size, kind)
        if count == UNCOUNTED:
            count = count_entries(source, begin, behind, kind)
        return behind, count
    if form == INT or length > LZF_GAIN * size or length > MAX_STRING:
        return behind, MISSING
    there = min(HEADER, length)
    if lzf_expand(source, begin, behind, room, there)[0] < there:
        return behind, MISSING
    count = header_count(room, 0, there, length, kind)
    if count != UNCOUNTED:
        return behind, count
    if length > len(room):
        return NEED_ROOM, length
    made, left = lzf_expand(source, begin, behind, room, length)
    if made != length or left != behind:
        return behind, MISSING
    return behind, count_entries(room, 0, length, kind)


def skip_timed_pack(source: Bytes, at: int, end: int, room: Room) -> tuple[int, int, int]:
    """Behind a listpack of field, value and time: (behind, fields, fields that have a time), as ``skip_packed``."""
    behind, count = skip_packed(source, at, end, LISTPACK, room)
    if behind < 0 or count < 0:
        return behind, count, MISSING
    form, begin, size, length, behind = string_at(source, at, end)
    if form == RAW:
        timed = count_field_ttls(source, begin, behind)
    elif length > len(room):
        return NEED_ROOM, length, MISSING
    elif lzf_expand(source, begin, behind, room, length)[0] != length:
        timed = BAD
    else:
        timed = count_field_ttls(room, 0, length)
    return behind, count // 3 if count % 3 == 0 else MISSING, timed


def skip_list_nodes(source: Bytes, at: int, end: int, code: int, room: Room) -> tuple[int, int, int]:
    """Behind a quicklist: (behind, elements, whether it is one packed node and no more)."""
    nodes, at = length_at(source, at, end)
    if at < 0:
        return at, 0, 0
    if nodes < 0:
        return BAD_LENGTH, 0, 0
    total = 0
    container = PACKED_NODE
    for _ in range(nodes):
        if code == QUICKLIST_2:
            container, at = length_at(source, at, end)
            if at < 0:
                return at, 0, 0
        if container == PLAIN_NODE:
            at = skip_strings(source, at, end, 1)
            count = 1
        elif container == PACKED_NODE:
            at, count = skip_packed(source, at, end, LISTPACK if code == QUICKLIST_2 else ZIPLIST, room)
        else:
            return BAD_VALUE, 0, 0
        if at < 0:
            return at, count, 0
        total = MISSING if total < 0 or count < 0 else total + count
    return at, total, 1 if nodes == 1 and container == PACKED_NODE else 0


def skip_timed_hash(source: Bytes, at: int, end: int, code: int, valkey: bool) -> tuple[int, int, int]:
    """Behind a hash whose fields may have times of their own: (behind, fields, fields that have one)."""
    count, at = length_at(source, at + 8 if code == HASH_METADATA else at, end)
    if at < 0:
        return at, 0, 0
    if count < 0:
        return BAD_LENGTH, 0, 0
    timed = 0
    for _ in range(count):
        if valkey:
            at = skip_strings(source, at, end, 2)
            if at < 0:
                return at, 0, 0
            if end - at < 8:
                return CUT, 0, 0
            time = signed(source, at, 8) + 1
            at += 8
        else:
            time, at = length_at(source, at, end)
            if at < 0:
                return at, 0, 0
            at = skip_strings(source, at, end, 2)
            if at < 0:
                return at, 0, 0
        if time != 0:
            timed += 1
    return at, count, timed


def skip_stream(source: Bytes, at: int, end: int, code: int) -> tuple[int, int]:
    """Behind a stream with its consumer groups (Redis rdb.c, rdbSaveObject): (behind, entries)."""
    nodes, at = length_at(source, at, end)
    if at < 0:
        return at, 0
    if nodes < 0 or nodes > end - at:
        return BAD_LENGTH if nodes < 0 else CUT, 0
    at = skip_strings(source, at, end, 2 * nodes)
    if at < 0:
        return at, 0
    entries, at = length_at(source, at, end)
    if at < 0:
        return at, 0
    # Last ID; then first ID, highest deleted ID and the number of entries ever added.
    at = skip_lengths(source, at, end, 2 if code == STREAM else 7)
    if at < 0:
        return at, 0
    groups, at = length_at(source, at, end)
    if at >= 0 and groups < 0:
        return BAD_LENGTH, 0
    while at >= 0 and groups > 0:
        at = skip_group(source, at, end, code)
        groups -= 1
    return at, entries if entries >= 0 else MISSING


def skip_group(source: Bytes, at: int, end: int, code: int) -> int:
    """Behind a consumer group: name, last ID, entries read, what is pending, and each consumer's part of that."""
    at = skip_strings(source, at, end, 1)
    if at < 0:
        return at
    at = skip_lengths(source, at, end, 2 if code == STREAM else 3)
    if at < 0:
        return at
    pending, at = length_at(source, at, end)
    if at < 0:
        return at
    if pending < 0:
        return BAD_LENGTH
    for _ in range(pending):
        # ID, time of delivery, deliveries.
        at = length_at(source, at + 24, end)[1]
        if at < 0:
            return at
    consumers, at = length_at(source, at, end)
    if at < 0:
        return at
    if consumers < 0:
        return BAD_LENGTH
    for _ in range(consumers):
        at = skip_strings(source, at, end, 1)
        if at < 0:
            return at
        # Seen, and active.
        pending, at = length_at(source, at + (16 if code == STREAM_3 else 8), end)
        if at < 0:
            return at
        if pending < 0:
            return BAD_LENGTH
        if pending > (end - at) // 16:
            return CUT
        at += 16 * pending
    return at


def skip_module(source: Bytes, at: int, end: int) -> int:
    """The place behind a module's data (after its ID): parts that each say what they are, up to an end mark."""
    while True:
        part, at = length_at(source, at, end)
        if at < 0 or part == 0:
            return at
        if part == 1 or part == 2:
            at = length_at(source, at, end)[1]
        elif part == 3 or part == 4:
            at = at + 4 * (part - 2) if end - at >= 4 * (part - 2) else CUT
        elif part == 5:
            at = skip_strings(source, at, end, 1)
        else:
            return BAD_VALUE
        if at < 0:
            return at

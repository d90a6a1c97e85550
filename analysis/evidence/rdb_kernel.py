"""The walker of RDB snapshots: finds every key of a file and passes over its value.

In: the bytes of a file and where to go on. Out: rows of numbers (places, lengths, times) in a block that the caller
made, one for each key and each aux field. Knows how a file is laid out, not what is in it. Kernels, as in ``packed``.
"""

from __future__ import annotations

from analysis.evidence.packed import INTSET, LISTPACK, ZIPLIST, ZIPMAP, Bytes, Room, signed
from analysis.evidence.rdb_layout import (
    BAD_LENGTH,
    CUT,
    HASH,
    HASH_2,
    HASH_LISTPACK,
    HASH_LISTPACK_EX,
    HASH_LISTPACK_EX_RC,
    HASH_METADATA,
    HASH_METADATA_RC,
    HASH_ZIPLIST,
    HASH_ZIPMAP,
    INT,
    LIST,
    LIST_ZIPLIST,
    MISSING,
    MODULE,
    MODULE_2,
    NEED_ROOM,
    QUICKLIST,
    QUICKLIST_2,
    RAW,
    SET,
    SET_INTSET,
    SET_LISTPACK,
    STREAM,
    STREAM_2,
    STREAM_3,
    STRING,
    ZSET,
    ZSET_2,
    ZSET_LISTPACK,
    ZSET_ZIPLIST,
    digits_at,
    is_integer,
    length_at,
    skip_lengths,
    skip_list_nodes,
    skip_module,
    skip_packed,
    skip_stream,
    skip_strings,
    skip_timed_hash,
    skip_timed_pack,
    string_at,
)

# Columns of a row. KEY_AT to KEY_END are the key's bytes where KEY_FORM is RAW, else the string as encoded.
# FORM: of a string, 1 where the server would hold it as a number; of a list, where it is a single packed node.
DB, OFFSET, TYPE, KEY_AT, KEY_END, KEY_FORM, VALUE_AT, VALUE_END = range(8)
LENGTH, FORM, FIELD_TTLS, EXPIRE, HAS_EXPIRE, IDLE, FREQ, WIDTH = range(8, 16)
# What the walk remembers from call to call: where it goes on, the database, and what has been said of the key to come.
# POSITION is in the end behind the end mark, or the first byte of what could not be read; then DETAIL is that byte, or
# the room that is needed.
POSITION, CURRENT_DB, NEXT_EXPIRE, NEXT_HAS_EXPIRE, NEXT_IDLE, NEXT_FREQ, VALKEY, DETAIL, STATES = range(9)

# How a call ended, beside the statuses of ``rdb_layout``. After FULL and NEED_ROOM it is called again.
DONE, FULL = 0, 1
NO_END, UNKNOWN, OPAQUE = -5, -6, -7

(
    SLOT_IMPORT, SLOT_INFO, FUNCTION, FUNCTION_RC, MODULE_AUX, KEY_IDLE, KEY_FREQ, AUX, RESIZEDB,
    EXPIRETIME_MS, EXPIRETIME, SELECTDB, EOF,
) = range(243, 256)  # fmt: skip


def walk(source: Bytes, end: int, state: Room, out: Room, room: Room) -> tuple[int, int]:
    """Read entries until ``out`` is full, the end mark, or what cannot be read: (status, rows).

    It goes on at ``state[POSITION]``. ``out`` is a flat block of 64-bit numbers, WIDTH to a row, which the caller has
    set to 0; ``room``, HEADER bytes or more, is where containers are decompressed to be counted. A LENGTH that cannot
    be told is MISSING, as are IDLE, FREQ and FIELD_TTLS where there are none. Rows stay good whatever the status says.
    """
    at, db = state[POSITION], state[CURRENT_DB]
    expire, has_expire = state[NEXT_EXPIRE], state[NEXT_HAS_EXPIRE]
    idle, freq = state[NEXT_IDLE], state[NEXT_FREQ]
    valkey = state[VALKEY] != 0
    last = len(out) - WIDTH
    row = 0
    status, code = DONE, 0
    wanted = 0
    while True:
        start = at
        if at >= end:
            status = NO_END
            break
        code = 0 + source[at]
        at += 1
        if code <= HASH_LISTPACK_EX or code == AUX:
            if row > last:
                status = FULL
                break
            # Most keys and values are short strings: read here, without a call.
            size = 0 + source[at] if at < end else 64
            if size < 64:
                key_at, key_form = at + 1, RAW
                key_end = at = key_at + size
            else:
                key_form, key_at, size, _, behind = string_at(source, at, end)
                if behind < 0:
                    status = behind
                    break
                if key_form != RAW:
                    key_at, size = at, behind - at
                key_end, at = key_at + size, behind
            value_at = at
            if at >= end:
                status = CUT
                break
            form, timed = 0, MISSING
            if code == STRING or code == AUX:
                length = 0 + source[at]
                if length < 64:
                    at += 1 + length
                    if at > end:
                        status = CUT
                        break
                    kind, begin = RAW, value_at + 1
                else:
                    kind, begin, size, length, at = string_at(source, at, end)
                    if at < 0:
                        status = at
                        break
                    if kind == INT:
                        form, length = 1, digits_at(source, begin, size)
                if kind == RAW and 0 < length <= 20 and source[begin] < 58 and is_integer(source, begin, length):
                    form = 1
            else:
                at, length, form, timed = skip_value(source, at, end, code, valkey, room)
                if at < 0:
                    status, wanted = at, length
                    break
            out[row + DB] = db
            out[row + OFFSET] = start
            out[row + TYPE] = code
            out[row + KEY_AT] = key_at
            out[row + KEY_END] = key_end
            out[row + VALUE_AT] = value_at
            out[row + VALUE_END] = at
            out[row + LENGTH] = length
            out[row + FORM] = form
            out[row + FIELD_TTLS] = timed
            out[row + KEY_FORM] = key_form
            out[row + IDLE] = idle
            out[row + FREQ] = freq
            if code != AUX:
                if has_expire:
                    out[row + EXPIRE] = expire
                    out[row + HAS_EXPIRE] = 1
                expire = has_expire = 0
                idle = freq = MISSING
            row += WIDTH
        elif code == EXPIRETIME_MS:
            if end - at < 8:
                status = CUT
                break
            expire, has_expire = signed(source, at, 8), 1
            at += 8
        elif code == EOF:
            break
        else:
            if code == SELECTDB:
                db, at = length_at(source, at, end)
            elif code == EXPIRETIME:
                if end - at < 4:
                    at = CUT
                else:
                    expire, has_expire = 1000 * signed(source, at, 4), 1
                    at += 4
            elif code == KEY_IDLE:
                idle, at = length_at(source, at, end)
            elif code == KEY_FREQ:
                if at >= end:
                    at = CUT
                else:
                    freq = 0 + source[at]
                    at += 1
            else:
                at = skip_opcode(source, at, end, code, valkey)
            if db < 0 or idle < MISSING:
                at = BAD_LENGTH
            if at < 0:
                status = at
                break
    state[DETAIL] = wanted if status == NEED_ROOM else code
    state[POSITION] = at if status == DONE else start
    state[CURRENT_DB], state[NEXT_IDLE], state[NEXT_FREQ] = db, idle, freq
    state[NEXT_EXPIRE], state[NEXT_HAS_EXPIRE] = expire, has_expire
    return status, row // WIDTH


def skip_opcode(source: Bytes, at: int, end: int, code: int, valkey: bool) -> int:
    """The place behind an entry that says nothing of keys, or a status."""
    if code == RESIZEDB:
        return skip_lengths(source, at, end, 2)
    if code == FUNCTION:
        return skip_strings(source, at, end, 1)
    if code == MODULE_AUX:
        at = skip_lengths(source, at, end, 1)
        return skip_module(source, at, end) if at >= 0 else at
    if code == SLOT_INFO:
        return skip_lengths(source, at, end, 3)
    # To Redis 8.6 the same number is KEY_META.
    if code == SLOT_IMPORT and valkey:
        at = skip_strings(source, at, end, 1)
        if at < 0:
            return at
        ranges, at = length_at(source, at, end)
        if at < 0:
            return at
        if ranges < 0:
            return BAD_LENGTH
        if ranges > end - at:
            return CUT
        return skip_lengths(source, at, end, 2 * ranges)
    return UNKNOWN


def skip_value(source: Bytes, at: int, end: int, code: int, valkey: bool, room: Room) -> tuple[int, int, int, int]:
    """Behind a value that is no string: (behind, length, FORM, FIELD_TTLS); with NEED_ROOM the length it needs."""
    length, form, timed = 0, 0, MISSING
    if code == LIST or code == SET or code == HASH or code == ZSET or code == ZSET_2:
        length, at = length_at(source, at, end)
        if at < 0:
            return at, 0, 0, MISSING
        if length < 0:
            return BAD_LENGTH, 0, 0, MISSING
        # Each element takes a byte at least. Asked before the number is doubled, which could overflow.
        if length > end - at:
            return CUT, 0, 0, MISSING
        if code == ZSET or code == ZSET_2:
            at = skip_scores(source, at, end, length, code)
        else:
            at = skip_strings(source, at, end, 2 * length if code == HASH else length)
    elif code == SET_INTSET:
        at, length = skip_packed(source, at, end, INTSET, room)
    elif code == HASH_ZIPMAP:
        at, length = skip_packed(source, at, end, ZIPMAP, room)
    elif code == SET_LISTPACK:
        at, length = skip_packed(source, at, end, LISTPACK, room)
    elif code == LIST_ZIPLIST:
        at, length = skip_packed(source, at, end, ZIPLIST, room)
    elif code == HASH_LISTPACK or code == ZSET_LISTPACK or code == HASH_ZIPLIST or code == ZSET_ZIPLIST:
        packed = ZIPLIST if code == HASH_ZIPLIST or code == ZSET_ZIPLIST else LISTPACK
        at, length = skip_packed(source, at, end, packed, room)
        # Field and value, or member and score: an odd number of them is broken.
        if at >= 0:
            length = length // 2 if length % 2 == 0 else MISSING
    elif code == QUICKLIST or code == QUICKLIST_2:
        at, length, form = skip_list_nodes(source, at, end, code, room)
    elif code == STREAM or code == STREAM_2 or code == STREAM_3:
        at, length = skip_stream(source, at, end, code)
    elif code == MODULE_2:
        at, length = skip_lengths(source, at, end, 1), MISSING
        if at >= 0:
            at = skip_module(source, at, end)
    elif code == MODULE:
        at = OPAQUE
    elif valkey and code == HASH_2:
        at, length, timed = skip_timed_hash(source, at, end, code, True)
    elif not valkey and (code == HASH_METADATA or code == HASH_METADATA_RC):
        at, length, timed = skip_timed_hash(source, at, end, code, False)
    elif not valkey and (code == HASH_LISTPACK_EX or code == HASH_LISTPACK_EX_RC):
        # The release candidates had no earliest time in front.
        if code == HASH_LISTPACK_EX:
            at = at + 8 if end - at >= 8 else CUT
        if at >= 0:
            at, length, timed = skip_timed_pack(source, at, end, room)
    else:
        at = UNKNOWN
    return at, length, form, timed


def skip_scores(source: Bytes, at: int, end: int, count: int, code: int) -> int:
    """Behind ``count`` members with scores of 8 bytes, or as text behind its length (from 253 on there is no text)."""
    for _ in range(count):
        at = skip_strings(source, at, end, 1)
        if at < 0:
            return at
        size = 8
        if code == ZSET:
            if at >= end:
                return CUT
            size = 1 if source[at] >= 253 else 1 + source[at]
        if size > end - at:
            return CUT
        at += size
    return at

"""Task metadata as Celery stores it, cut by position: the fields that the frame ``tasks`` needs, without building the
rest.

In: strings of a snapshot. Out: numbers, codes of words, and text. A value that is not plainly what Celery's own JSON
looks like is left to ``json.loads``: nothing is taken from a text that is not JSON from end to end. Kernels, as in
``packed``.
"""

from __future__ import annotations

from analysis.evidence.packed import (
    LZF_GAIN,
    Bytes,
    Room,
    copy,
    copy_over,
    first_byte,
    lzf_expand,
    place,
    same,
    word_at,
)
from analysis.evidence.rdb_layout import LZF, RAW, STRING, string_at

# Columns of a row. Codes are places in a table of words, -1 = none; PARENT and GROUP are where each ends in the texts.
FITS, SIZE, DONE, RETRIES, STATUS, NAME, WORKER, QUEUE, PARENT, GROUP, WIDTH = range(11)
MISSING = -1
NO_TIME = -(2**63)

# Of a table of words: how many, bytes used; then of each where it ends; then the places found by hash.
COUNT, USED, ENDS = 0, 1, 2
MOST_WORDS = 512
SLOTS = 2048
TABLE = ENDS + MOST_WORDS + SLOTS
WORD_BYTES = 64 * 1024
LONGEST_WORD = 250
LONGEST_STATUS = 64
LONGEST_ID = 1000
TABLES = 4

BAD = -1
_DEEPEST = 60
_LONGEST_NUMBER = 4000
_OPEN, _CLOSE, _LIST, _UNLIST, _QUOTE, _BACKSLASH, _COMMA, _COLON = 123, 125, 91, 93, 34, 92, 44, 58

# The fields, by the bit with which they are noted as seen.
(
    F_STATUS, F_NAME, F_WORKER, F_QUEUE, F_DONE, F_RETRIES, F_PARENT, F_GROUP, F_CHILDREN, F_TASK_ID,
    F_OTHER,
) = range(11)  # fmt: skip


def slice_results(
    source: Bytes, end: int, offsets: Room, id_sizes: Room, first: int, last: int, room: Room, out: Room, texts: Room,
    tables: Room, words: Room,
) -> int:  # fmt: skip
    """Cut the results at ``offsets[first:last]``; how many rows could be written before ``texts`` was full.

    Row r of ``out`` is that of ``offsets[first + r]``; FITS is 1 where it holds all that the frame needs. ``id_sizes``
    are the lengths of the task IDs, with which the keys end. ``room`` is where values are decompressed; what is larger
    does not fit. ``tables`` and ``words`` hold the words met so far, TABLE numbers and WORD_BYTES bytes for each of
    status, name, worker and queue.
    """
    made = 0
    for row in range(last - first):
        if made + 2 * LONGEST_ID > len(texts):
            return row
        to = row * WIDTH
        for column in range(WIDTH):
            out[place(to + column)] = MISSING
        out[place(to + FITS)], out[place(to + DONE)] = 0, NO_TIME
        out[place(to + PARENT)] = out[place(to + GROUP)] = made
        at = offsets[place(first + row)]
        if at < 0 or at >= end or source[place(at)] != STRING:
            continue
        key_form, key_at, key_size, _, behind = string_at(source, at + 1, end)
        if behind < 0 or key_form != RAW:
            continue
        form, begin, size, length, behind = string_at(source, behind, end)
        if behind < 0 or length > len(room):
            continue
        if form == RAW:
            copy_over(room, 0, source, begin, length)
        elif (
            form != LZF
            or length > LZF_GAIN * size
            or lzf_expand(source, begin, behind, room, length) != (length, behind)
        ):
            continue
        out[place(to + SIZE)] = length
        ends = slice_meta(
            room, length, out, to, texts, made, tables, words, source, key_at + key_size, id_sizes[place(first + row)]
        )
        if ends >= 0:
            out[place(to + FITS)] = 1
            made = ends
        else:
            out[place(to + PARENT)] = out[place(to + GROUP)] = made
    return last - first


def slice_meta(
    text: Room, end: int, out: Room, to: int, texts: Room, made: int, tables: Room, words: Room, key: Bytes,
    key_end: int, id_size: int,
) -> int:  # fmt: skip
    """Cut one object of metadata: where the texts then end, or BAD where it does not fit."""
    if end < 2 or text[0] != _OPEN:
        return BAD
    seen = 0
    at = skip_space(text, 1, end)
    parent = parent_end = group = group_end = 0
    while True:
        if at >= end or text[place(at)] != _QUOTE:
            return BAD
        name_end = plain_text(text, at + 1, end)
        if name_end < 0:
            return BAD
        field = field_of(text, at + 1, name_end)
        at = skip_space(text, name_end + 1, end)
        if at >= end or text[place(at)] != _COLON:
            return BAD
        at = skip_space(text, at + 1, end)
        if at >= end:
            return BAD
        if field == F_OTHER:
            at = skip_json(text, at, end)
            if at < 0:
                return BAD
        else:
            # Of a field that is there twice json.loads keeps the last.
            if seen >> field & 1:
                return BAD
            seen |= 1 << field
            begin = at
            is_text = text[place(at)] == _QUOTE
            if is_text:
                begin = at + 1
                finish = plain_text(text, begin, end)
                if finish <= begin:
                    return BAD
                at = finish + 1
            elif is_null(text, at, end):
                at += 4
            elif field == F_RETRIES:
                value, at = count_at(text, at, end)
                if at < 0:
                    return BAD
                out[place(to + RETRIES)] = value
                begin = at
            elif field == F_CHILDREN and text[place(at)] == _LIST:
                at = skip_space(text, at + 1, end)
                if at >= end or text[place(at)] != _UNLIST:
                    return BAD
                at += 1
                begin = at
            else:
                return BAD
            if is_text:
                size = finish - begin
                if field <= F_QUEUE:
                    if size > (LONGEST_STATUS if field == F_STATUS else LONGEST_WORD):
                        return BAD
                    code = word_of(text, begin, finish, tables, words, field)
                    if code < 0:
                        return BAD
                    out[place(to + STATUS + field)] = code
                elif field == F_DONE:
                    moment = moment_at(text, begin, finish)
                    if moment == NO_TIME:
                        return BAD
                    out[place(to + DONE)] = moment
                elif field == F_PARENT or field == F_GROUP:
                    if size > LONGEST_ID:
                        return BAD
                    if field == F_PARENT:
                        parent, parent_end = begin, finish
                    else:
                        group, group_end = begin, finish
                elif field == F_TASK_ID:
                    if size != id_size or size > key_end or not same(text, begin, key, key_end - size, size):
                        return BAD
                else:
                    return BAD
        at = skip_space(text, at, end)
        if at >= end:
            return BAD
        if text[place(at)] == _CLOSE:
            break
        if text[place(at)] != _COMMA:
            return BAD
        at = skip_space(text, at + 1, end)
    if skip_space(text, at + 1, end) != end or out[place(to + STATUS)] < 0:
        return BAD
    copy(texts, made, text, parent, parent_end - parent)
    made += parent_end - parent
    out[place(to + PARENT)] = made
    copy(texts, made, text, group, group_end - group)
    made += group_end - group
    out[place(to + GROUP)] = made
    return made


def field_of(text: Room, at: int, end: int) -> int:
    """Which field of metadata ``text[at:end]`` names."""
    size = end - at
    if size == 6:
        if spells(text, at, b"status", 6):
            return F_STATUS
        if spells(text, at, b"worker", 6):
            return F_WORKER
    elif size == 9:
        if spells(text, at, b"date_done", 9):
            return F_DONE
        if spells(text, at, b"parent_id", 9):
            return F_PARENT
    elif size == 8:
        if spells(text, at, b"children", 8):
            return F_CHILDREN
        if spells(text, at, b"group_id", 8):
            return F_GROUP
    elif size == 7:
        if spells(text, at, b"retries", 7):
            return F_RETRIES
        if spells(text, at, b"task_id", 7):
            return F_TASK_ID
    elif size == 4:
        if spells(text, at, b"name", 4):
            return F_NAME
    elif size == 5:
        if spells(text, at, b"queue", 5):
            return F_QUEUE
    return F_OTHER


def spells(text: Room, at: int, word: bytes, size: int) -> bool:
    for step in range(size):
        if text[place(at + step)] != word[step]:
            return False
    return True


def is_null(text: Room, at: int, end: int) -> bool:
    return end - at >= 4 and spells(text, at, b"null", 4)


def skip_space(text: Room, at: int, end: int) -> int:
    while at < end and (
        text[place(at)] == 32 or text[place(at)] == 10 or text[place(at)] == 13 or text[place(at)] == 9
    ):
        at += 1
    return at


def run_end(text: Room, at: int, end: int) -> int:
    """The first place that is a control character, a quote or backslash, or above 127; ``end`` where there is none."""
    while end - at >= 8:
        octets = word_at(text, at)
        quotes = octets ^ place(0x2222222222222222)
        slashes = octets ^ place(0x5C5C5C5C5C5C5C5C)
        # The lowest of these bits is that of the first such byte; those above it may be of a carry.
        found = (
            octets
            | (octets - place(0x2020202020202020)) & ~octets
            | (quotes - place(0x0101010101010101)) & ~quotes
            | (slashes - place(0x0101010101010101)) & ~slashes
        ) & place(0x8080808080808080)
        if found != place(0):
            return at + first_byte(found)
        at += 8
    while at < end:
        octet = text[place(at)]
        if octet < 32 or octet > 127 or octet == _QUOTE or octet == _BACKSLASH:
            return at
        at += 1
    return end


def plain_text(text: Room, at: int, end: int) -> int:
    """Where a text ends that is ASCII and has no escape, at its closing quote; BAD for every other."""
    at = run_end(text, at, end)
    return at if at < end and text[place(at)] == _QUOTE else BAD


def skip_text(text: Room, at: int, end: int) -> int:
    """Behind the closing quote of a text that is ASCII, escapes and all; BAD where it is not, or has no end."""
    while True:
        at = run_end(text, at, end)
        if at >= end:
            return BAD
        octet = text[place(at)]
        at += 1
        if octet == _QUOTE:
            return at
        if octet != _BACKSLASH or at >= end:
            return BAD
        kind = text[place(at)]
        at += 1
        if kind == 117:
            if end - at < 4:
                return BAD
            for step in range(4):
                digit = text[place(at + step)]
                if not (48 <= digit <= 57 or 65 <= digit <= 70 or 97 <= digit <= 102):
                    return BAD
            at += 4
        elif not (
            kind == 34
            or kind == 92
            or kind == 47
            or kind == 98
            or kind == 102
            or kind == 110
            or kind == 114
            or kind == 116
        ):
            return BAD


def skip_number(text: Room, at: int, end: int) -> int:
    """Behind a number as JSON writes it (RFC 8259); BAD where it is none, or longer than Python would read."""
    begin = at
    if at < end and text[place(at)] == 45:
        at += 1
    if at >= end or text[place(at)] < 48 or text[place(at)] > 57:
        return BAD
    if text[place(at)] == 48:
        at += 1
    else:
        at = skip_digits(text, at, end)
    if at < end and text[place(at)] == 46:
        at += 1
        if skip_digits(text, at, end) == at:
            return BAD
        at = skip_digits(text, at, end)
    if at < end and (text[place(at)] == 101 or text[place(at)] == 69):
        at += 1
        if at < end and (text[place(at)] == 43 or text[place(at)] == 45):
            at += 1
        if skip_digits(text, at, end) == at:
            return BAD
        at = skip_digits(text, at, end)
    return at if at - begin < _LONGEST_NUMBER else BAD


def skip_digits(text: Room, at: int, end: int) -> int:
    while at < end and 48 <= text[place(at)] <= 57:
        at += 1
    return at


def skip_json(text: Room, at: int, end: int) -> int:
    """Behind one value of any kind; BAD where it is no JSON, or nested more deeply than metadata ever is."""
    depth, objects = 0, 0
    while True:
        if at >= end:
            return BAD
        octet = text[place(at)]
        if octet == _OPEN or octet == _LIST:
            if depth == _DEEPEST:
                return BAD
            depth += 1
            objects = objects * 2 + (1 if octet == _OPEN else 0)
            at = skip_space(text, at + 1, end)
            if at >= end:
                return BAD
            if text[place(at)] != (_CLOSE if octet == _OPEN else _UNLIST):
                if octet == _OPEN:
                    at = skip_name(text, at, end)
                    if at < 0:
                        return BAD
                continue
            at += 1
            depth -= 1
            objects //= 2
        elif octet == _QUOTE:
            at = skip_text(text, at + 1, end)
        elif octet == 45 or 48 <= octet <= 57:
            at = skip_number(text, at, end)
        elif octet == 116 and end - at >= 4 and spells(text, at, b"true", 4):
            at += 4
        elif octet == 102 and end - at >= 5 and spells(text, at, b"false", 5):
            at += 5
        elif octet == 110 and is_null(text, at, end):
            at += 4
        else:
            return BAD
        if at < 0:
            return BAD
        while depth > 0:
            at = skip_space(text, at, end)
            if at >= end:
                return BAD
            octet = text[place(at)]
            at += 1
            if octet == _COMMA:
                at = skip_space(text, at, end)
                if objects % 2 == 1:
                    at = skip_name(text, at, end)
                    if at < 0:
                        return BAD
                break
            if octet != (_CLOSE if objects % 2 == 1 else _UNLIST):
                return BAD
            depth -= 1
            objects //= 2
        if depth == 0:
            return at


def skip_name(text: Room, at: int, end: int) -> int:
    """Behind a name, its colon and the space around it: at the value. BAD where there is none."""
    if at >= end or text[place(at)] != _QUOTE:
        return BAD
    at = skip_text(text, at + 1, end)
    if at < 0:
        return BAD
    at = skip_space(text, at, end)
    if at >= end or text[place(at)] != _COLON:
        return BAD
    return skip_space(text, at + 1, end)


def count_at(text: Room, at: int, end: int) -> tuple[int, int]:
    """A whole number from 0 on, of at most 18 digits, and the place behind it; BAD for every other number."""
    value = 0
    begin = at
    while at < end and 48 <= text[place(at)] <= 57 and at - begin < 18:
        value = value * 10 + (text[place(at)] - 48)
        at += 1
    if at == begin or (at - begin > 1 and text[place(begin)] == 48):
        return 0, BAD
    if at < end and (
        48 <= text[place(at)] <= 57 or text[place(at)] == 46 or text[place(at)] == 69 or text[place(at)] == 101
    ):
        return 0, BAD
    return value, at


def moment_at(text: Room, at: int, end: int) -> int:
    """Microseconds since 1970 of ``2026-11-23T14:09:12[.123456][+00:00|Z]``; NO_TIME for every other text."""
    size = end - at
    if size < 19 or text[place(at + 4)] != 45 or text[place(at + 7)] != 45 or text[place(at + 10)] != 84:
        return NO_TIME
    if text[place(at + 13)] != _COLON or text[place(at + 16)] != _COLON:
        return NO_TIME
    year, month, day = digits(text, at, 4), digits(text, at + 5, 2), digits(text, at + 8, 2)
    hour, minute, second = digits(text, at + 11, 2), digits(text, at + 14, 2), digits(text, at + 17, 2)
    if (
        year < 2
        or year > 9998
        or month < 1
        or month > 12
        or day < 1
        or hour < 0
        or hour > 23
        or minute < 0
        or minute > 59
    ):
        return NO_TIME
    if second < 0 or second > 59 or day > days_of(year, month):
        return NO_TIME
    micros = 0
    at += 19
    if at < end and text[place(at)] == 46:
        if end - at < 7:
            return NO_TIME
        micros = digits(text, at + 1, 6)
        if micros < 0:
            return NO_TIME
        at += 7
    if end - at == 6:
        if not spells(text, at, b"+00:00", 6):
            return NO_TIME
    elif end - at == 1:
        if text[place(at)] != 90:
            return NO_TIME
    elif end != at:
        return NO_TIME
    # Days since 1970 in the Gregorian calendar, the year begun in March.
    shifted = year - 1 if month < 3 else year
    era_year = shifted % 400
    day_of_year = (153 * (month + (9 if month < 3 else -3)) + 2) // 5 + day - 1
    days = shifted // 400 * 146097 + era_year * 365 + era_year // 4 - era_year // 100 + day_of_year - 719468
    return ((days * 24 + hour) * 60 + minute) * 60 * 1000000 + second * 1000000 + micros


def digits(text: Room, at: int, count: int) -> int:
    """A number of so many digits, or BAD."""
    value = 0
    for step in range(count):
        digit = 0 + text[place(at + step)]
        if digit < 48 or digit > 57:
            return BAD
        value = value * 10 + digit - 48
    return value


def days_of(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


def word_of(text: Room, at: int, end: int, tables: Room, words: Room, which: int) -> int:
    """The place of a word in table ``which``, where it is put if it is new; BAD where there is no room for more."""
    table, base = which * TABLE, which * WORD_BYTES
    size = end - at
    slot = size
    if size >= 8:
        # Names that are alike differ mostly in their ends.
        mixed = (word_at(text, at) ^ word_at(text, end - 8) >> place(3)) % place(1000003)
        slot += int(mixed)
    else:
        for step in range(at, end):
            slot = slot * 31 + text[place(step)]
    slot = slot % SLOTS
    while True:
        place_of = table + ENDS + MOST_WORDS + slot
        code = tables[place(place_of)] - 1
        if code < 0:
            break
        begin = tables[place(table + ENDS + code - 1)] if code > 0 else 0
        if tables[place(table + ENDS + code)] - begin == size and same(text, at, words, base + begin, size):
            return code
        slot = (slot + 1) % SLOTS
    code = tables[place(table + COUNT)]
    used = tables[place(table + USED)]
    if code == MOST_WORDS or used + size > WORD_BYTES:
        return BAD
    copy(words, base + used, text, at, size)
    tables[place(table + USED)] = used + size
    tables[place(table + ENDS + code)] = used + size
    tables[place(table + COUNT)] = code + 1
    tables[place(place_of)] = code + 1
    return code

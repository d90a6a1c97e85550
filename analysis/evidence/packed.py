"""Redis' compact containers, walked in place: LZF, listpack, ziplist, intset and zipmap.

In: a buffer and where the container stands in it. Out: numbers and places, never objects. Does not know snapshots.

Kernels: plain functions over anything that gives small integers when indexed (bytes, a map, a uint8 array), so that one
source runs as plain Python and compiles with numba (``kernels``). They return a status and never raise, and check every
place before they read it. Places and lengths are signed 64 bit; sums of bytes start from a signed number, since two
uint8 would make numba's uint64. Of the first functions here, which move bytes, each build has its own: slices are fast
in Python, eight bytes at a step when compiled (``analysis.kernels``).
"""

from __future__ import annotations

import mmap
from collections.abc import MutableSequence, Sequence

Bytes = Sequence[int] | mmap.mmap
Room = MutableSequence[int]

BAD = -1
"""In place of a count or of the next place: the container is not what it should be."""
UNCOUNTED = -2
"""In place of a count: the header does not say it, the entries have to be walked."""

LISTPACK, ZIPLIST, INTSET, ZIPMAP = 0, 1, 2, 3
HEADER = 10
"""Bytes of a container that hold its count, whatever its kind."""
TEXT, NUMBER = 0, 1
END = 255
"""Last byte of a listpack, ziplist and zipmap."""

LZF_GAIN = 88
"""LZF's largest run is 264 bytes from 3 (liblzf, lzf_d.c): what claims more than 88 bytes for one is no LZF."""


def place(number: int) -> int:
    """A number as an index. Compiled it is an unsigned one, which spares the look at whether it counts from the end."""
    return number


def copy(target: Room, to: int, source: Bytes, at: int, size: int) -> None:
    """``size`` bytes from ``source`` into ``target``. The caller has checked that they are there, and that they fit."""
    target[to : to + size] = source[at : at + size]


def copy_over(target: Room, to: int, source: Bytes, at: int, size: int) -> None:
    """As ``copy``; behind what is copied, up to eight bytes of ``target`` may be lost."""
    target[to : to + size] = source[at : at + size]


def lzf_expand(source: Bytes, at: int, end: int, target: Room, limit: int) -> tuple[int, int]:
    """Decompress ``source[at:end]`` until ``limit`` bytes are in ``target``: (bytes made, where the source was left).

    Of a string of ``limit`` bytes it is sound where exactly ``limit`` were made and the source was used up. More than
    ``limit`` says that the last run would have gone on (nothing is written there); BAD that the bytes are no LZF. What
    ``target`` holds behind what was made may be lost.
    """
    made = 0
    while at < end and made < limit:
        control = source[at]
        at += 1
        if control < 32:
            run = control + 1
            if run > end - at:
                return BAD, at
            step = run if run <= limit - made else limit - made
            target[made : made + step] = source[at : at + step]
            at += run
            made += run
            continue
        run = control >> 5
        if run == 7:
            if at >= end:
                return BAD, at
            run += source[at]
            at += 1
        run += 2
        if at >= end:
            return BAD, at
        back = (control & 31) * 256 + source[at] + 1
        at += 1
        if back > made:
            return BAD, at
        over = run - (limit - made) if run > limit - made else 0
        run -= over
        # A run may reach into what it writes itself: what is there is copied, and then twice as much is there.
        while run > 0:
            step = back if back < run else run
            target[made : made + step] = target[made - back : made - back + step]
            made += step
            run -= step
            back += step
        made += over
    return made, at


def word_at(source: Bytes, at: int) -> int:
    """Eight bytes as a little-endian number. The caller has checked that they are there."""
    return int.from_bytes(source[at : at + 8], "little")


def same(one: Bytes, at: int, two: Bytes, to: int, size: int) -> bool:
    """Whether ``size`` bytes of each are the same. The caller has checked that they are there."""
    return one[at : at + size] == two[to : to + size]


def first_byte(word: int) -> int:
    """Of a word that is not 0, how many of its low bytes are."""
    return ((word & -word).bit_length() - 1) >> 3


def signed(source: Bytes, at: int, width: int) -> int:
    """Little-endian two's complement of 1 to 8 bytes. The caller has checked that they are there."""
    last = at + width - 1
    value = 0 + source[last]
    if value >= 128:
        value -= 256
    while last > at:
        last -= 1
        value = value * 256 + source[last]
    return value


def unsigned(source: Bytes, at: int, width: int) -> int:
    """Little-endian number of 1 to 4 bytes. The caller has checked that they are there."""
    value = 0
    last = at + width
    while last > at:
        last -= 1
        value = value * 256 + source[last]
    return value


def listpack_entry(source: Bytes, at: int, end: int) -> tuple[int, int, int, int]:
    """An entry (Redis listpack.c): (TEXT, begin, end, next) or (NUMBER, value, 0, next); of none, next is BAD."""
    if end - at < 2:
        return TEXT, 0, 0, BAD
    kind, first, last = TEXT, 0, 0
    code = source[at]
    if code < 0x80:
        kind, first, size = NUMBER, code & 0x7F, 1
    elif code < 0xC0:
        first = at + 1
        size = 1 + (code & 0x3F)
    elif code < 0xE0:
        kind, first, size = NUMBER, (code & 0x1F) * 256 + source[at + 1], 2
        if first >= 4096:
            first -= 8192
    elif code < 0xF0:
        first = at + 2
        size = 2 + (code & 0x0F) * 256 + source[at + 1]
    elif code == 0xF0:
        if end - at < 5:
            return TEXT, 0, 0, BAD
        first = at + 5
        size = 5 + unsigned(source, at + 1, 4)
    elif code <= 0xF4:
        width = 8 if code == 0xF4 else code - 0xEF
        if end - at < 1 + width:
            return TEXT, 0, 0, BAD
        kind, first, size = NUMBER, signed(source, at + 1, width), 1 + width
    else:
        return TEXT, 0, 0, BAD
    # Behind an entry stands its length, seven bits a byte, to be read backwards.
    behind = 1
    if size > 127:
        behind = 2 if size < 16383 else 3 if size < 2097151 else 4 if size < 268435455 else 5
    if size + behind > end - at:
        return TEXT, 0, 0, BAD
    if kind == TEXT:
        last = at + size
    return kind, first, last, at + size + behind


def ziplist_entry(source: Bytes, at: int, end: int) -> tuple[int, int, int, int]:
    """One entry (Redis ziplist.c), answered as ``listpack_entry`` does."""
    # In front of an entry stands the length of the one before it.
    at += 5 if at < end and source[at] == 254 else 1
    if at >= end:
        return TEXT, 0, 0, BAD
    code = source[at]
    kind, first, size = TEXT, 0, 0
    if code < 0x40:
        first, size = at + 1, code & 0x3F
    elif code < 0x80:
        if end - at < 2:
            return TEXT, 0, 0, BAD
        first, size = at + 2, (code & 0x3F) * 256 + source[at + 1]
    elif code < 0xC0:
        if end - at < 5:
            return TEXT, 0, 0, BAD
        # The only big-endian number in it.
        size = ((source[at + 1] * 256 + source[at + 2]) * 256 + source[at + 3]) * 256 + source[at + 4]
        first = at + 5
    elif 0xF1 <= code <= 0xFD:
        return NUMBER, (code & 0x0F) - 1, 0, at + 1
    else:
        width = BAD
        if code == 0xC0:
            width = 2
        elif code == 0xD0:
            width = 4
        elif code == 0xE0:
            width = 8
        elif code == 0xF0:
            width = 3
        elif code == 0xFE:
            width = 1
        if width == BAD or end - at < 1 + width:
            return TEXT, 0, 0, BAD
        return NUMBER, signed(source, at + 1, width), 0, at + 1 + width
    if size > end - first:
        return TEXT, 0, 0, BAD
    return kind, first, first + size, first + size


def zipmap_text(source: Bytes, at: int, end: int, is_value: bool) -> tuple[int, int, int]:
    """A zipmap's field or value (Redis zipmap.c): (begin, end, next). Free bytes behind a value are passed over."""
    if at >= end or source[at] == END:
        return 0, 0, BAD
    size = 0 + source[at]
    at += 1
    if size == 254:
        if end - at < 4:
            return 0, 0, BAD
        size = unsigned(source, at, 4)
        at += 4
    free = 0
    if is_value:
        if at >= end:
            return 0, 0, BAD
        free = 0 + source[at]
        at += 1
    if size + free > end - at:
        return 0, 0, BAD
    return at, at + size, at + size + free


def header_count(source: Bytes, at: int, there: int, size: int, kind: int) -> int:
    """Entries of a container of ``size`` bytes as its header says it; ``there`` bytes of it are to be had at ``at``.

    UNCOUNTED where the header leaves it open (65535 entries and more; of a zipmap 254). BAD where the header
    contradicts the size. Of pairs, each half is an entry; of a zipmap the pairs are counted.
    """
    if kind == LISTPACK:
        if there < 6 or unsigned(source, at, 4) != size:
            return BAD
        count = unsigned(source, at + 4, 2)
        if count == 65535:
            return UNCOUNTED
        return count if 2 * count <= size - 7 else BAD
    if kind == ZIPLIST:
        if there < 10 or unsigned(source, at, 4) != size:
            return BAD
        count = unsigned(source, at + 8, 2)
        if count == 65535:
            return UNCOUNTED
        return count if 2 * count <= size - 11 else BAD
    if kind == INTSET:
        if there < 8:
            return BAD
        width = unsigned(source, at, 4)
        if width != 2 and width != 4 and width != 8:
            return BAD
        count = unsigned(source, at + 4, 4)
        return count if count * width == size - 8 else BAD
    if there < 1:
        return BAD
    count = 0 + source[at]
    if count >= 254:
        return UNCOUNTED
    return count if 3 * count <= size - 2 else BAD


def count_entries(source: Bytes, at: int, end: int, kind: int) -> int:
    """Entries of ``source[at:end]``, in the units of ``header_count``, by walking them; BAD where that fails."""
    count = 0
    if kind == LISTPACK:
        at += 6
    elif kind == ZIPLIST:
        at += 10
    else:
        at += 1
    while at < end and source[at] != END:
        if kind == LISTPACK:
            at = listpack_entry(source, at, end)[3]
        elif kind == ZIPLIST:
            at = ziplist_entry(source, at, end)[3]
        else:
            at = zipmap_text(source, at, end, False)[2]
            if at != BAD:
                at = zipmap_text(source, at, end, True)[2]
        if at == BAD:
            return BAD
        count += 1
    return count if at < end else BAD


def count_field_ttls(source: Bytes, at: int, end: int) -> int:
    """Of a listpack of field, value, absolute time (Redis t_hash.c, listpackex): the times that are not 0."""
    count = 0
    part = 0
    at += 6
    while at < end and source[at] != END:
        kind, first, _, at = listpack_entry(source, at, end)
        if at == BAD:
            return BAD
        part += 1
        if part == 3:
            if kind != NUMBER:
                return BAD
            if first != 0:
                count += 1
            part = 0
    return count if at < end and part == 0 else BAD

"""Kernels over the walker's rows: the names of keys, one behind the other.

In: a snapshot's bytes and a block of rows of ``rdb_kernel``. Out: text and where each name in it ends. Kernels, as in
``packed``.
"""

from __future__ import annotations

from analysis.evidence.packed import LZF_GAIN, Bytes, Room, copy_over, lzf_expand, place, signed
from analysis.evidence.rdb_kernel import KEY_AT, KEY_END, KEY_FORM, WIDTH
from analysis.evidence.rdb_layout import BAD_VALUE, LZF, MAX_STRING, NEED_ROOM, RAW, digits_at, string_at


def gather_names(source: Bytes, rows: Room, count: int, texts: Room, ends: Room) -> tuple[int, int, int]:
    """Write the names of ``count`` rows into ``texts``, and where each ends into ``ends``: (status, rows done, detail).

    With NEED_ROOM, ``detail`` is how many bytes ``texts`` must have, and it is called again from the start; with
    BAD_VALUE the next row's name is compressed, and broken. Else the status is 0 and ``detail`` the bytes made.
    """
    made = 0
    for row in range(count):
        at = rows[place(row * WIDTH + KEY_AT)]
        end = rows[place(row * WIDTH + KEY_END)]
        if rows[place(row * WIDTH + KEY_FORM)] == RAW:
            size = end - at
            if size > len(texts) - made:
                return NEED_ROOM, row, made + size
            copy_over(texts, made, source, at, size)
        else:
            form, begin, packed, size, behind = string_at(source, at, end)
            if form == LZF:
                if size > LZF_GAIN * packed or size > MAX_STRING:
                    return BAD_VALUE, row, made
                if size > len(texts) - made:
                    return NEED_ROOM, row, made + size
                if not expand_into(source, begin, behind, texts, made, size):
                    return BAD_VALUE, row, made
            else:
                size = digits_at(source, begin, packed)
                if size > len(texts) - made:
                    return NEED_ROOM, row, made + size
                write_digits(signed(source, begin, packed), texts, made, size)
        made += size
        ends[place(row)] = made
    return 0, count, made


def expand_into(source: Bytes, at: int, end: int, target: Room, to: int, size: int) -> bool:
    """Whether ``source[at:end]`` is LZF of exactly ``size`` bytes, which then stand in ``target`` from ``to`` on."""
    return lzf_expand(source, at, end, target[to : to + size], size) == (size, end)


def write_digits(value: int, target: Room, to: int, size: int) -> None:
    """A number as text of ``size`` characters (``digits_at``)."""
    if value < 0:
        target[place(to)] = 45
        value = -value
    last = to + size
    while True:
        last -= 1
        target[place(last)] = 48 + value % 10
        value //= 10
        if value == 0:
            return

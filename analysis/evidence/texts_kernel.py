"""Kernels over texts as Arrow holds them: bytes one behind the other, and the places between them.

In: bytes and places. Out: chosen texts, what stands behind a marker, numbers by which equal texts meet. Kernels, as in
``packed``.
"""

from __future__ import annotations

from analysis.evidence.packed import Bytes, Room, copy_over, place, same, word_at

_MIX = 0x9E3779B97F4A7C15
_ALL = 0xFFFFFFFFFFFFFFFF


def take_texts(octets: Bytes, bounds: Room, rows: Room, out: Room, ends: Room) -> int:
    """Copy the texts of ``rows`` into ``out``, which has the room, with a 0 and where each ends in ``ends``.

    Of a row below 0 nothing is copied.
    """
    made = 0
    ends[0] = 0
    for row in range(len(rows)):
        if rows[place(row)] < 0:
            ends[place(row + 1)] = made
            continue
        at = bounds[place(rows[place(row)])]
        size = bounds[place(rows[place(row)] + 1)] - at
        copy_over(out, made, octets, at, size)
        made += size
        ends[place(row + 1)] = made
    return made


def split_texts(octets: Bytes, bounds: Room, rows: Room, marker: Bytes, out: Room, ends: Room, begins: Room) -> int:
    """As ``take_texts``, what stands behind the first ``marker``; ``begins``: how many bytes stand before, -1 = it is
    not in the text, of which nothing is then copied.
    """
    made = 0
    ends[0] = 0
    size = len(marker)
    first = marker[0]
    for row in range(len(rows)):
        begin = bounds[place(rows[place(row)])]
        end = bounds[place(rows[place(row)] + 1)]
        at = begin
        while at <= end - size and (octets[place(at)] != first or not same(octets, at, marker, 0, size)):
            at += 1
        if at <= end - size:
            begins[place(row)] = at - begin
            at += size
            copy_over(out, made, octets, at, end - at)
            made += end - at
        else:
            begins[place(row)] = -1
        ends[place(row + 1)] = made
    return made


def hash_texts(octets: Bytes, bounds: Room, seeds: Room, out: Room) -> int:
    """32 bits for each text with its seed: how many. Equal ones with equal seeds are equal."""
    for row in range(len(seeds)):
        at, end = bounds[place(row)], bounds[place(row + 1)]
        mixed = place(seeds[place(row)]) ^ place(end - at) * place(_MIX) & place(_ALL)
        while end - at >= 8:
            mixed = (mixed ^ word_at(octets, at)) * place(_MIX) & place(_ALL)
            mixed ^= mixed >> place(29)
            at += 8
        while at < end:
            mixed = (mixed ^ place(octets[place(at)])) * place(_MIX) & place(_ALL)
            mixed ^= mixed >> place(29)
            at += 1
        out[place(row)] = mixed >> place(32)
    return len(seeds)

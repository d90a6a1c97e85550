"""The checksum of RDB files, eight bytes at a step: the kernel that ``crc64`` has for the compiled build.

In: bytes, a register, tables. Out: the register. Knows nothing of what the bytes mean. Kernels, as in ``packed``; in
Python ``crc64`` is much faster.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.evidence.packed import Bytes, place, word_at

STEP = 16
"""Bytes at a step, and tables of 256 words each that are needed for it."""


def crc64_on(source: Bytes, at: int, end: int, register: int, tables: Sequence[int]) -> int:
    """The register after ``source[at:end]``; ``tables`` are those of ``crc64.step_tables``, one behind the other.

    Table t has what an octet does to the register when t zero bytes follow it.
    """
    word = place(register)
    while end - at >= STEP:
        word = stepped(word_at(source, at) ^ word, word_at(source, at + 8), tables)
        at += STEP
    while at < end:
        word = tables[place((word ^ place(source[place(at)])) & place(255))] ^ (word >> place(8))
        at += 1
    return word


def crc64_of_two(source: Bytes, at: int, half: int, register: int, tables: Sequence[int]) -> tuple[int, int]:
    """The registers after ``source[at : at + half]``, and, begun at 0, after the next ``half`` bytes; a multiple of
    STEP.

    A step waits for the one before it: two that do not wait for each other are done in little more time than one.
    """
    one, two = place(register), place(0)
    end = at + half
    while at < end:
        one = stepped(word_at(source, at) ^ one, word_at(source, at + 8), tables)
        two = stepped(word_at(source, at + half) ^ two, word_at(source, at + half + 8), tables)
        at += STEP
    return one, two


def stepped(low: int, high: int, tables: Sequence[int]) -> int:
    """The register after two words, into the first of which the register before has been folded."""
    octet = place(255)
    return (
        tables[place(15 * 256) + (low & octet)]
        ^ tables[place(14 * 256) + (low >> place(8) & octet)]
        ^ tables[place(13 * 256) + (low >> place(16) & octet)]
        ^ tables[place(12 * 256) + (low >> place(24) & octet)]
        ^ tables[place(11 * 256) + (low >> place(32) & octet)]
        ^ tables[place(10 * 256) + (low >> place(40) & octet)]
        ^ tables[place(9 * 256) + (low >> place(48) & octet)]
        ^ tables[place(8 * 256) + (low >> place(56))]
        ^ tables[place(7 * 256) + (high & octet)]
        ^ tables[place(6 * 256) + (high >> place(8) & octet)]
        ^ tables[place(5 * 256) + (high >> place(16) & octet)]
        ^ tables[place(4 * 256) + (high >> place(24) & octet)]
        ^ tables[place(3 * 256) + (high >> place(32) & octet)]
        ^ tables[place(2 * 256) + (high >> place(40) & octet)]
        ^ tables[place(1 * 256) + (high >> place(48) & octet)]
        ^ tables[high >> place(56)]
    )

"""The checksum of RDB files, eight bytes at a step: the kernel that ``crc64`` has for the compiled build.

In: bytes, a register, tables. Out: the register. Knows nothing of what the bytes mean. Kernels, as in ``packed``; in
Python ``crc64`` is much faster.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.evidence.packed import Bytes, place

STEP = 16
"""Bytes at a step, and tables of 256 words each that are needed for it."""


def crc64_on(source: Bytes, at: int, end: int, register: int, tables: Sequence[int]) -> int:
    """The register after ``source[at:end]``; ``tables`` are those of ``crc64.step_tables``, one behind the other.

    Table t has what an octet does to the register when t zero bytes follow it.
    """
    word = place(register)
    octet = place(255)
    while end - at >= STEP:
        low, high = place(0), place(0)
        for byte in range(8):
            low |= place(source[place(at + byte)]) << place(8 * byte)
            high |= place(source[place(at + 8 + byte)]) << place(8 * byte)
        low ^= word
        word = (
            tables[15 * 256 + (low & octet)]
            ^ tables[14 * 256 + (low >> place(8) & octet)]
            ^ tables[13 * 256 + (low >> place(16) & octet)]
            ^ tables[12 * 256 + (low >> place(24) & octet)]
            ^ tables[11 * 256 + (low >> place(32) & octet)]
            ^ tables[10 * 256 + (low >> place(40) & octet)]
            ^ tables[9 * 256 + (low >> place(48) & octet)]
            ^ tables[8 * 256 + (low >> place(56))]
            ^ tables[7 * 256 + (high & octet)]
            ^ tables[6 * 256 + (high >> place(8) & octet)]
            ^ tables[5 * 256 + (high >> place(16) & octet)]
            ^ tables[4 * 256 + (high >> place(24) & octet)]
            ^ tables[3 * 256 + (high >> place(32) & octet)]
            ^ tables[2 * 256 + (high >> place(40) & octet)]
            ^ tables[1 * 256 + (high >> place(48) & octet)]
            ^ tables[high >> place(56)]
        )
        at += STEP
    while at < end:
        word = tables[(word ^ place(source[place(at)])) & octet] ^ (word >> place(8))
        at += 1
    return word

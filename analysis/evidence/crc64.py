"""The checksum of RDB snapshots: CRC-64 with Jones' polynomial, as Redis computes it (crc64.c).

In: bytes. Out: the checksum. Knows nothing of what the bytes mean.

A CRC is linear, so a block is folded by numpy instead of being read byte by byte. Let S be what eight zero bytes do to
the register: words w0 … wn leave S^(n+1)(w0) ⊕ … ⊕ S(wn). One table of S^half moves the first half of a block onto the
second, where XOR adds them; half of the half follows, until one word is left.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.evidence.crc64_kernel import STEP, crc64_of_two, crc64_on
from analysis.kernels import Kernels

_POLYNOMIAL = 0x95AC9329AC4BC9B5
"""0xad93d23594c935a9 in the register's order of bits, which is reversed."""
_BLOCK = 8 * 2**14
"""Bytes folded at once: they and the tables stay in the processor's cache."""

Words = NDArray[np.uint64]


class Register:
    """The checksum of a buffer's beginning, as far as it has been taken."""

    def __init__(self, buffer: Any, kernels: Kernels) -> None:
        self._buffer, self._kernels = buffer, kernels
        self._taken, self._word = 0, np.uint64(0)

    def take(self, begin: int, end: int) -> None:
        """Go on from ``begin``, up to where all was taken, to ``end``."""
        if not self._kernels.compiled:
            return
        assert begin == self._taken
        source, tables = self._kernels.source(self._buffer), step_tables()
        half = (end - begin) // 2 // STEP * STEP
        one, two = self._kernels(crc64_of_two)(source, begin, half, self._word, tables)
        word = np.uint64(after_zeros(one, half) ^ two)
        self._word = np.uint64(self._kernels(crc64_on)(source, begin + 2 * half, end, word, tables))
        self._taken = end

    def up_to(self, end: int) -> int:
        """The checksum of the first ``end`` bytes."""
        if not self._kernels.compiled:
            return crc64(memoryview(self._buffer)[:end])
        if end < self._taken:
            self._taken, self._word = 0, np.uint64(0)
        self.take(self._taken, end)
        return int(self._word)


def crc64(data: bytes | memoryview) -> int:
    """CRC-64/Jones, reflected, starting from 0; of ``b"123456789"`` it is 0xE9C6D914C4B8D9CA."""
    size = len(data)
    head = size % _BLOCK
    register = np.zeros(1, "<u8")
    if head:
        # Zeros in front change nothing as long as the register is 0, so the first block is filled up to a power of two.
        words = np.zeros(1 << ((head + 7) // 8 - 1).bit_length(), "<u8")
        words.view(np.uint8)[-head:] = np.frombuffer(data, np.uint8, head)
        register = _fold(words)
    for start in range(head, size, _BLOCK):
        words = np.frombuffer(data, "<u8", _BLOCK // 8, start).copy()
        words[:1] ^= register
        register = _fold(words)
    return int(register[0])


def _fold(words: Words) -> Words:
    """The register, one word, after a block of words, as many as a power of two."""
    while (half := len(words) // 2) > 0:
        words = _advance(words[:half], _tables(half.bit_length() - 1)) ^ words[half:]
    return _advance(words, _tables(0))


def _advance(words: Words, tables: Words) -> Words:
    octets = words.view(np.uint8).reshape(-1, 8)
    # An octet is always an index of the table; "clip" spares the check.
    moved: Words = tables[0].take(octets[:, 0], mode="clip")
    for place in range(1, 8):
        moved ^= tables[place].take(octets[:, place], mode="clip")
    return moved


@cache
def _tables(power: int) -> Words:
    """S^(2^power) as eight tables of 256 words, one for each octet of a word."""
    bits = np.left_shift(np.uint64(1), np.arange(64, dtype="<u8"))
    if power == 0:
        images = bits
        for _ in range(64):
            images = (images >> np.uint64(1)) ^ np.where(images & np.uint64(1), np.uint64(_POLYNOMIAL), np.uint64(0))
    else:
        images = _advance(_advance(bits, _tables(power - 1)), _tables(power - 1))
    images = images.reshape(8, 8)
    tables = np.zeros((8, 256), "<u8")
    for bit in range(8):
        tables[:, (np.arange(256) >> bit) & 1 == 1] ^= images[:, bit : bit + 1]
    return tables


def after_zeros(word: int, size: int) -> int:
    """The register after so many zero bytes, a multiple of 8: what was taken before them, moved in front of others."""
    register = np.array([word], "<u8")
    power, words = 0, size // 8
    while words >> power:
        if words >> power & 1:
            register = _advance(register, _tables(power))
        power += 1
    return int(register[0])


@cache
def step_tables() -> Words:
    """For ``crc64_kernel``: STEP tables of 256 words, of what an octet does with 0, 1, … zero bytes behind it."""
    tables = np.zeros((STEP, 256), np.uint64)
    tables[0] = _tables(0)[7]
    for step in range(1, STEP):
        before = tables[step - 1]
        tables[step] = tables[0][(before & np.uint64(255)).astype(np.intp)] ^ (before >> np.uint64(8))
    return tables.reshape(-1)

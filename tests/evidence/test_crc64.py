"""The checksum, against one computed a byte at a time."""

from __future__ import annotations

import random

import pytest

from analysis.evidence.crc64 import crc64
from tests.evidence.rdb_writer import checksum


def test_checksum_of_redis_own_test() -> None:
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA


@pytest.mark.parametrize(
    "size", [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 4096, 5000, 131_071, 131_072, 131_073, 300_001]
)
def test_checksum_is_that_of_a_byte_at_a_time(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert crc64(data) == checksum(data) == crc64(memoryview(data))


def test_checksum_sees_zeros_behind_and_one_changed_bit() -> None:
    data = bytearray(random.Random(1).randbytes(200_000))
    before = crc64(bytes(data))
    assert crc64(bytes(data) + b"\x00") != before
    data[100_000] ^= 1
    assert crc64(bytes(data)) != before

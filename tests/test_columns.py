"""Columns in files are those in memory, whatever the blocks; and a damaged file is refused, not believed."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.columns import Columns, FileColumns, MemoryColumns, open_columns, order_of, row_numbers, scratch

NAMES = ["celery-task-meta-1", "", "ä\u202e", "日本", "😀" * 50, "a\0b", "x" * 3000]


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.large_string())


def numbers(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def many(seed: int, count: int) -> Columns:
    """A block of random rows; a third of the texts is missing."""
    chance = np.random.default_rng(seed)
    words = chance.choice(NAMES, count).tolist()
    return {
        "n": chance.integers(-(2**62), 2**62, count),
        "t": pa.array(words, pa.large_string(), mask=chance.random(count) < 0.3),
    }


BLOCKS: dict[str, list[Columns]] = {
    "one": [{"n": numbers(1, -(2**63), 2**63 - 1), "t": texts("a", "b", "c")}],
    "no_rows": [{"n": numbers(), "t": texts()}],
    "empty_among_others": [
        {"n": numbers(), "t": texts()},
        {"n": numbers(1), "t": texts("a")},
        {"n": numbers(), "t": texts()},
        {"n": numbers(2, 3), "t": texts("b", "")},
    ],
    "nulls": [
        {"n": numbers(1, 2, 3), "t": texts(None, "a", None)},
        {"n": numbers(4, 5), "t": texts("b", "c")},
        {"n": numbers(6), "t": texts(None)},
    ],
    "only_empty_texts": [{"n": numbers(1, 2), "t": texts("", "")}, {"n": numbers(3), "t": texts("")}],
    "all_missing_in_one": [
        {"n": numbers(1, 2), "t": pa.nulls(2, pa.large_string())},
        {"n": numbers(3), "t": texts("a")},
    ],
    "not_ascii": [{"n": np.arange(len(NAMES)), "t": texts(*NAMES)}, {"n": numbers(9), "t": texts("ß")}],
    "sliced": [
        {"n": np.arange(10)[3:6], "t": texts(*NAMES)[2:5]},
        {"n": np.arange(10)[8:8], "t": texts(*NAMES)[4:4]},
        {"n": np.arange(10)[9:], "t": texts(*NAMES)[6:]},
    ],
    # An offset of no whole byte, so that the bits of what is given have to be moved.
    "sliced_with_nulls": [
        {"n": np.arange(5), "t": texts("a", None, "ä", "b", None, "c", None, None, "d", "e", None)[3:8]},
        {"n": np.arange(2), "t": texts(None, "a", "b", None)[1:3]},
    ],
    "every_second_of_a_table": [
        {"n": np.arange(24).reshape(6, 4)[:, 1], "t": texts("a", "b", "c", "d", "e", "f")},
        {"n": np.arange(24).reshape(6, 4)[::2, 3], "t": texts("g", "h", "i")},
    ],
    "thousands": [many(1, 5000), many(2, 1), many(3, 16_384), many(4, 0), many(5, 777)],
    "narrow_and_other": [
        {
            "n": np.array([1, -1], np.int8),
            "t": texts("a", "b"),
            "word": np.array([2**64 - 1, 0], np.uint64),
            "is": np.array([True, False]),
            "half": np.array([0.5, np.inf]),
        }
    ]
    * 3,
}


def listed(column: Any) -> list[Any]:
    """A column as Python's own."""
    return list(column.tolist())


def same(one: Columns, two: Columns) -> None:
    assert sorted(one) == sorted(two)
    for name in one:
        column: Any = one[name]
        other: Any = two[name]
        if isinstance(column, pa.Array):
            other.validate(full=True)
            assert other.type == column.type == pa.large_string()
            assert other.null_count == column.null_count
            assert other.to_pylist() == column.to_pylist()
        else:
            assert isinstance(other, np.ndarray) and other.dtype == column.dtype
            np.testing.assert_array_equal(other, column)


def in_files(folder: Path, blocks: list[Columns]) -> Columns:
    columns = FileColumns(folder)
    for block in blocks:
        columns.append(block)
    return columns.finish()


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_columns_are_the_same_in_files_and_in_memory(blocks: list[Columns], tmp_path: Path) -> None:
    in_memory = MemoryColumns()
    for block in blocks:
        in_memory.append(block)
    whole = in_memory.finish()
    # Against plain lists too, for both could be wrong in the same way.
    for name, column in whole.items():
        assert listed(column) == [one for block in blocks for one in listed(block[name])]
    same(whole, in_files(tmp_path, blocks))
    same(whole, open_columns(tmp_path))


def test_columns_without_a_block_are_none(tmp_path: Path) -> None:
    assert MemoryColumns().finish() == in_files(tmp_path, []) == open_columns(tmp_path) == {}


def test_block_can_be_used_again_once_it_is_appended(tmp_path: Path) -> None:
    block = numbers(1, 2)
    columns = FileColumns(tmp_path)
    columns.append({"n": block})
    block[:] = 7, 8
    columns.append({"n": block})
    assert listed(columns.finish()["n"]) == [1, 2, 7, 8]


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        in_files(tmp_path, BLOCKS["one"])
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["n.npy", "t.text.npy", "t.bounds.npy", "t.given.npy"], 0o600)


def test_columns_in_files_are_read_by_numpy_alone(tmp_path: Path) -> None:
    in_files(tmp_path, BLOCKS["nulls"])
    assert np.load(tmp_path / "n.npy").tolist() == [1, 2, 3, 4, 5, 6]
    assert np.load(tmp_path / "t.text.npy").tobytes() == b"abc"


def test_mapped_columns_outlive_their_files(tmp_path: Path) -> None:
    columns = in_files(tmp_path, BLOCKS["thousands"])
    for path in list(tmp_path.iterdir()):
        path.unlink()
    in_memory = MemoryColumns()
    for block in BLOCKS["thousands"]:
        in_memory.append(block)
    same(in_memory.finish(), columns)


def test_columns_given_up_are_no_columns(tmp_path: Path) -> None:
    columns = FileColumns(tmp_path)
    columns.append(BLOCKS["one"][0])
    columns.close()
    with pytest.raises((ValueError, OSError)):
        open_columns(tmp_path)


def cut(name: str, octets: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / f"{name}.npy"
        os.truncate(path, path.stat().st_size - octets)

    return damage


def grow(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / f"{name}.npy").open("ab") as file:
            file.write(bytes(8))

    return damage


def emptied(folder: Path) -> None:
    os.truncate(folder / "n.npy", 0)


def lost(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{name}.npy").unlink()


def header(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Other bytes at their place in the header of ``n.npy``, whose size stays."""

    def damage(folder: Path) -> None:
        path = folder / "n.npy"
        data = path.read_bytes()
        assert data[:128].count(old) == 1 and len(old) == len(new)
        path.write_bytes(data[:128].replace(old, new) + data[128:])

    return damage


def shorter_text(folder: Path) -> None:
    """A text whose own file is whole, but of other bytes than its bounds say."""
    np.save(folder / "t.text.npy", np.frombuffer(b"ab", np.uint8))


def fewer_given(folder: Path) -> None:
    np.save(folder / "t.given.npy", np.array([True, True]))


DAMAGES = {
    "a number is cut": cut("n", 1),
    "a row is cut": cut("n", 8),
    "a number is cut inside its header": cut("n", 3 * 8 + 20),
    "a number is empty": emptied,
    "more than the header says": grow("n"),
    "the texts are cut": cut("t.text", 1),
    "the bounds are cut": cut("t.bounds", 8),
    "what is given is cut": cut("t.given", 1),
    "the texts are lost": lost("t.text"),
    "the bounds are lost": lost("t.bounds"),
    "what is given is lost": lost("t.given"),
    "fewer texts than bounds": shorter_text,
    "fewer given than bounds": fewer_given,
    "the header says more rows": header(b"(3,)", b"(4,)"),
    "the header says fewer rows": header(b"(3,)", b"(2,)"),
    "the header says wider numbers": header(b"'<i8'", b"'|S9'"),
    "the header says two axes": header(b"(3,)} ", b"(3,1)}"),
    "the header is not closed": header(b"(3,)}", b"(3,) "),
    "the header is no words": header(b"'descr'", b"\xff" * 7),
    "another version of the format": header(b"NUMPY\x01", b"NUMPY\x03"),
    "another magic": header(b"NUMPY", b"numpy"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_columns_are_refused(damage: Callable[[Path], None], tmp_path: Path) -> None:
    in_files(tmp_path, BLOCKS["one"])
    damage(tmp_path)
    with pytest.raises((ValueError, OSError)):
        open_columns(tmp_path)


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file may grow beyond ``size``: as on a full disk, a write stops short and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_an_error_and_no_shorter_column(tmp_path: Path) -> None:
    columns = FileColumns(tmp_path)
    with small_files(10_000):
        columns.append({"n": np.arange(1000)})
        with pytest.raises(OSError):
            columns.append({"n": np.arange(1000)})
    columns.close()


def is_mapped(array: np.ndarray[Any, Any]) -> bool:
    base: Any = array
    while base is not None and not isinstance(base, mmap):
        base = getattr(base, "base", None)
    return base is not None


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64, np.bool_], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("count", [0, 1, 1000, 2**20, 2**20 + 1])
def test_scratch_is_room_to_write_in(count: int, dtype: Any) -> None:
    room = scratch(count, dtype)
    assert (room.shape, room.dtype) == ((count,), np.dtype(dtype))
    written = (np.arange(count) % 2).astype(dtype)
    room[:] = written
    np.testing.assert_array_equal(room, written)


def test_large_scratch_takes_no_memory_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not is_mapped(scratch(1000, np.int64))
    assert is_mapped(scratch(2**18, np.int64))
    assert list(tmp_path.iterdir()) == []


def test_large_scratch_is_in_memory_where_files_are_limited() -> None:
    with small_files(2**20):
        assert not is_mapped(scratch(2**18, np.int64))


def test_large_scratch_is_in_memory_where_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    room = scratch(2**18, np.int64)
    assert not is_mapped(room) and (room.shape, room.dtype) == ((2**18,), np.dtype(np.int64))
    room[:] = 7
    assert room.sum() == 7 * 2**18


def test_large_scratch_is_in_memory_where_room_cannot_be_taken_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")  # macOS has none
    assert not is_mapped(scratch(2**18, np.int64))


def test_rows_are_sorted_by_head_over_all_blocks(tmp_path: Path) -> None:
    heads = np.random.default_rng(1).integers(0, 2**32, 200_000, np.uint64)
    # Few different ones as well, for equal heads keep the order of the file; and the ends of what a head can be.
    heads[::3] %= np.uint64(5)
    heads[17], heads[9_000] = 2**32 - 1, 0
    blocks = [heads[:4000], heads[4000:4000], heads[4000:4001], heads[4001:]]
    order = order_of(iter(blocks), len(heads))
    assert order.dtype == np.uint64 and is_mapped(order)
    np.testing.assert_array_equal(order >> np.uint64(32), np.sort(heads))
    numbered = row_numbers(order)
    assert numbered.dtype == np.int64
    np.testing.assert_array_equal(numbered, np.argsort(heads, kind="stable"))
    np.testing.assert_array_equal(row_numbers(order[500:600]), numbered[500:600])


@pytest.mark.parametrize("blocks", [[], [np.empty(0, np.uint64)]], ids=["no_block", "an_empty_block"])
def test_no_rows_are_in_order(blocks: list[Any]) -> None:
    order = order_of(blocks, 0)
    assert len(order) == 0 and row_numbers(order).tolist() == []


def test_more_rows_than_can_be_numbered_are_refused() -> None:
    with pytest.raises(ValueError, match="rows"):
        order_of([], 2**32)

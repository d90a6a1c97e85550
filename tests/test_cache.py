"""The cache: entries whole or not there, private and limited; and snapshots that it gives as the file would."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.cache import Cache, open_cache
from analysis.columns import Columns, FileColumns
from analysis.errors import Unusable
from analysis.evidence.rdb import Snapshot, read_rdb
from analysis.evidence.rdb_blocks import Walk
from analysis.progress import Progress
from tests.evidence import rdb_writer as w
from tests.evidence.rdb_writer import Rdb

META = {"aux": {"redis-ver": "7.2.4", "ä": "日本"}, "stopped_at": None, "size": 2**40}
FILES = ["meta.json", "n.npy", "t.text.npy", "t.bounds.npy", "t.given.npy"]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(tmp_path / "cache")


def entries(cache: Cache) -> Path:
    return cache.folder / "snapshots"


def left_in(cache: Cache) -> list[str]:
    """What there is in the cache, entries and what is being written, by name."""
    return sorted(path.name for path in entries(cache).iterdir()) if entries(cache).exists() else []


def block(start: int = 0, rows: int = 3) -> Columns:
    return {
        "n": np.arange(start, start + rows),
        "t": pa.array(
            [None if number == start else f"ä{number}" for number in range(start, start + rows)], pa.large_string()
        ),
    }


def keep(cache: Cache, name: str, *, start: int = 0, rows: int = 3, meta: dict[str, Any] = META) -> None:
    with cache.writing() as folder:
        columns = FileColumns(folder)
        columns.append(block(start, rows))
        columns.finish()
        cache.keep(folder, name, meta)


def listed(entry: Any, name: str) -> list[Any]:
    """A column of an entry, as Python's own."""
    return list(entry.columns[name].tolist())


def used_at(cache: Cache, name: str, at: float) -> None:
    """Say when an entry was used last; the clock of a file system may be too coarse to tell entries apart."""
    os.utime(entries(cache) / name / "meta.json", (at, at))


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_entry_is_found_once_it_is_kept(cache: Cache) -> None:
    assert cache.find("one") is None
    with cache.writing() as folder:
        columns = FileColumns(folder)
        columns.append(block())
        columns.finish()
        assert cache.find("one") is None
        cache.keep(folder, "one", META)
        assert not folder.exists()
    entry = cache.find("one")
    assert entry is not None and entry.meta == META
    assert listed(entry, "n") == [0, 1, 2]
    assert listed(entry, "t") == [None, "ä1", "ä2"]
    assert cache.find("two") is None and left_in(cache) == ["one"]


def test_entry_is_found_by_another_run(cache: Cache, tmp_path: Path) -> None:
    keep(cache, "one")
    entry = open_cache(tmp_path / "cache").find("one")
    assert entry is not None and entry.meta == META


def test_entry_takes_the_place_of_one_of_the_same_name(cache: Cache) -> None:
    keep(cache, "one")
    before = cache.find("one")
    keep(cache, "one", start=10, meta={"other": 1})
    after = cache.find("one")
    assert before is not None and after is not None
    assert (after.meta, listed(after, "n")) == ({"other": 1}, [10, 11, 12])
    # Whoever reads the one of before goes on with it.
    assert listed(before, "n") == [0, 1, 2] and left_in(cache) == ["one"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["cut", "removed", "emptied"])
def test_entry_that_is_not_whole_is_not_found(cache: Cache, file: str, damage: str) -> None:
    keep(cache, "one")
    path = entries(cache) / "one" / file
    if damage == "removed":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 1 if damage == "cut" else 0)
    assert cache.find("one") is None
    keep(cache, "one")
    assert cache.find("one") is not None


@pytest.mark.parametrize("said", [b"no JSON", b"{'n': 1}", b"\xff\xfe", b"{" * 3])
def test_entry_whose_meta_is_no_json_is_not_found(cache: Cache, said: bytes) -> None:
    keep(cache, "one")
    (entries(cache) / "one" / "meta.json").write_bytes(said)
    assert cache.find("one") is None


@pytest.mark.parametrize("raised", [None, KeyboardInterrupt, OSError, MemoryError])
def test_folder_that_is_not_kept_leaves_nothing(cache: Cache, raised: type[BaseException] | None) -> None:
    def write() -> None:
        with cache.writing() as folder:
            assert list(folder.iterdir()) == []
            columns = FileColumns(folder)
            columns.append(block())
            columns.finish()
            if raised:
                raise raised

    if raised:
        with pytest.raises(raised):
            write()
    else:
        write()
    assert left_in(cache) == []


@pytest.mark.parametrize("mask", [0o022, 0o000], ids=oct)
def test_all_that_is_kept_is_for_its_owner_only(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        cache = open_cache(tmp_path / "cache")
        with cache.writing() as folder:
            columns = FileColumns(folder)
            columns.append(block())
            columns.finish()
            found = [folder, *folder.iterdir()]
            assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o700, 0o600}
            cache.keep(folder, "one", META)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (cache.folder, *cache.folder.rglob("*"))}
    assert {path.name for path in modes} == {cache.folder.name, "snapshots", "one", *FILES}
    assert modes == {path: 0o700 if path.is_dir() else 0o600 for path in modes}


def limit(cache: Cache, entries_of_it: float, like: str) -> None:
    """Let the cache hold so many entries as large as the entry ``like``."""
    size = sum(path.stat().st_size for path in (entries(cache) / like).iterdir())
    cache.limit = int(size * entries_of_it)


def test_least_recently_used_make_room(cache: Cache) -> None:
    for age, name in enumerate(["b", "d", "a", "c"]):
        keep(cache, name, rows=1000)
        used_at(cache, name, time.time() - 1000 + age)
    limit(cache, 3.5, "a")
    keep(cache, "e", rows=1000)
    assert left_in(cache) == ["a", "c", "e"]


def test_to_be_found_is_to_be_used(cache: Cache) -> None:
    for age, name in enumerate(["a", "b", "c"]):
        keep(cache, name, rows=1000)
        used_at(cache, name, time.time() - 1000 + age)
    limit(cache, 3.5, "a")
    assert cache.find("a") is not None
    keep(cache, "d", rows=1000)
    assert left_in(cache) == ["a", "c", "d"]


def test_nothing_makes_room_within_the_limit(cache: Cache) -> None:
    keep(cache, "a", rows=1000)
    limit(cache, 3.5, "a")
    keep(cache, "b", rows=1000)
    keep(cache, "c", rows=1000)
    assert left_in(cache) == ["a", "b", "c"]


@pytest.mark.parametrize("others", [0, 2])
def test_what_alone_is_larger_than_the_limit_is_not_kept(cache: Cache, others: int) -> None:
    for number in range(others):
        keep(cache, f"old{number}")
    cache.limit = 100
    keep(cache, "new")
    assert left_in(cache) == []


def test_newest_stays_though_the_others_were_used_later(cache: Cache) -> None:
    keep(cache, "a", rows=1000)
    used_at(cache, "a", time.time() + 1000)  # a clock that was put back
    limit(cache, 1.5, "a")
    keep(cache, "b", rows=1000)
    assert left_in(cache) == ["b"]


def test_columns_in_use_outlive_their_entry(cache: Cache) -> None:
    keep(cache, "a", rows=50_000)
    entry = cache.find("a")
    assert entry is not None
    limit(cache, 1.5, "a")
    keep(cache, "b", rows=50_000)
    assert left_in(cache) == ["b"]
    assert listed(entry, "n") == list(range(50_000))
    assert listed(entry, "t")[49_999] == "ä49999"


def test_room_is_made_beside_what_is_being_written(cache: Cache) -> None:
    cache.limit = 2000
    with cache.writing() as folder:
        (folder / "half").write_bytes(bytes(10_000))
        keep(cache, "a")
        assert (folder / "half").exists() and cache.find("a") is not None


def test_file_that_is_no_entry_costs_nothing(cache: Cache) -> None:
    keep(cache, "a")
    # As a file manager leaves it.
    (entries(cache) / ".DS_Store").write_bytes(b"")
    keep(cache, "b")
    assert cache.find("a") is not None and cache.find("b") is not None


@pytest.mark.parametrize("said", ["20G", "-1", "much", "٣"])
def test_limit_that_is_no_number_of_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("ANALYSIS_CACHE_BYTES", said)
    with pytest.raises(Unusable, match="ANALYSIS_CACHE_BYTES: must be a whole number of bytes"):
        open_cache(tmp_path)


def test_limit_is_the_stated_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYSIS_CACHE_BYTES", "12345")
    assert open_cache(tmp_path).limit == 12345


def test_abandoned_folders_are_removed_after_a_day(cache: Cache) -> None:
    keep(cache, "entry")
    old, young = entries(cache) / ".writing-old", entries(cache) / ".writing-young"
    for folder, hours in ((old, 25), (young, 23)):
        folder.mkdir()
        (folder / "half.npy").write_bytes(b"half")
        then = time.time() - hours * 3600
        os.utime(folder, (then, then))
    used_at(cache, "entry", time.time() - 30 * 86_400)
    with cache.writing():
        assert not old.exists() and (young / "half.npy").exists()
    assert left_in(cache) == [".writing-young", "entry"]


def test_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYSIS_CACHE", str(tmp_path / "named"))
    assert open_cache().folder.is_relative_to(tmp_path / "named")
    assert open_cache(tmp_path / "given").folder.is_relative_to(tmp_path / "given")


def test_without_a_name_it_is_the_user_s_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANALYSIS_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert open_cache().folder.is_relative_to(tmp_path)


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for named in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Unusable, match="file.*cannot be written"):
            open_cache(named)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kept").write_bytes(b"")
    with pytest.raises(Unusable, match="cannot be written"):
        open_cache(tmp_path / "cache")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o500)
    with pytest.raises(Unusable, match="cannot be written"):
        open_cache(folder)
    folder.chmod(0o700)
    open_cache(folder).folder.chmod(0o500)
    with pytest.raises(Unusable, match="cannot be written"):
        open_cache(folder)


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702], ids=oct)
def test_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    kept = open_cache(tmp_path / "cache").folder
    kept.chmod(mode)
    with pytest.raises(Unusable, match="others can write"):
        open_cache(tmp_path / "cache")
    kept.chmod(0o700)
    open_cache(tmp_path / "cache")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(open_cache(tmp_path / "cache").folder, 65_534, 65_534)
    with pytest.raises(Unusable, match="no cache of this user's own"):
        open_cache(tmp_path / "cache")


# Snapshots, read through the cache.

FILLING = "x" * 100_000
"""On either side of a file's middle: its ends of 64 kB are looked at each time, and this keeps them apart from it."""


def snapshot(*, checksum: bool = True) -> bytes:
    """A snapshot of all that a frame can hold: names of odd bytes, expiries, several databases, a middle."""
    rdb = Rdb(11).aux("redis-ver", b"7.2.4").aux("ctime", 1_700_000_000).aux("odd", b"\xff\x00").select(0)
    for number in range(50):
        rdb.text(f"early-{number}", "v", ms=1_600_000_000_000 + number)
    rdb.text("ä\u202e", "日本").text(b"\xff\xfe", b"\x00").text("", "").text("gone", "v", s=1_500_000_000)
    rdb.key("hash", 16, w.string(w.listpack([b"field", b"value"]))).select(3)
    rdb.text("filling", FILLING).text("middle", "v").text("more", FILLING)
    for number in range(50):
        rdb.text(f"late-{number}", "v")
    return rdb.end() if checksum else rdb.end(sum_of=0)


@pytest.fixture
def as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every snapshot count as a large one."""
    monkeypatch.setattr("analysis.evidence.rdb.COMPILED_FROM", 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "case").mkdir()
    path = tmp_path / "case" / "dump.rdb"
    path.write_bytes(snapshot())
    return path


def same(one: Snapshot, two: Snapshot) -> None:
    pd.testing.assert_frame_equal(one.keys, two.keys)
    for name in "aux checksum complete stopped_at reason taken_at flavor version size sha256".split():
        assert getattr(one, name) == getattr(two, name), name


@contextmanager
def no_walk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever reads the file's keys fails."""

    def walked(self: Walk) -> Iterator[Columns]:
        raise AssertionError("the file was walked through")

    with monkeypatch.context() as patched:
        patched.setattr(Walk, "blocks", walked)
        yield


class Lines(Progress):
    """What is said, and how much was read."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.read = 0

    def advance(self, size: int) -> None:
        self.read += size

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.usefixtures("as_large")
def test_snapshot_is_read_once(path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    small = read_small(path, monkeypatch)
    first = read_rdb(path, cache=cache)
    with no_walk(monkeypatch):
        second = read_rdb(path, cache=cache)
    same(small, first)
    same(first, second)
    assert len(second.keys) == 108 and second.complete and second.checksum == "verified"
    assert second.aux == {"redis-ver": "7.2.4", "ctime": "1700000000", "odd": "\\xff\x00"}
    assert second.value(second.keys["offset"].iloc[-2]) == b"v" == first.value(first.keys["offset"].iloc[-2])
    assert len(left_in(cache)) == 1


def read_small(path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """As a small file is read, without a cache or a file."""
    with monkeypatch.context() as patched:
        patched.setattr("analysis.evidence.rdb.COMPILED_FROM", 2**40)
        return read_rdb(path)


def test_small_snapshot_is_not_kept(path: Path, cache: Cache) -> None:
    read_rdb(path, cache=cache)
    assert left_in(cache) == []


@pytest.mark.usefixtures("as_large")
def test_name_and_server_are_not_the_cache_s(path: Path, cache: Cache) -> None:
    read_rdb(path, cache=cache, source="one.rdb", server="one")
    other = read_rdb(path, cache=cache, source="two.rdb", server="two")
    assert (other.source, other.server) == ("two.rdb", "two")
    assert set(other.keys["snapshot"]) == {"two.rdb"} and set(other.keys["server"]) == {"two"}


@pytest.mark.usefixtures("as_large")
def test_hash_is_that_of_the_whole_file(path: Path, cache: Cache) -> None:
    data = snapshot() + b"behind the end"
    path.write_bytes(data)
    for _ in range(2):
        assert read_rdb(path, cache=cache).sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.usefixtures("as_large")
def test_hash_of_a_kept_snapshot_is_known(path: Path, cache: Cache) -> None:
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    read_rdb(path, cache=cache)
    kept = read_rdb(path, cache=cache)
    # The file is mapped, so a hash that was computed only now would be another one.
    with path.open("r+b") as file:
        file.seek(len(snapshot()) // 2)
        file.write(b"!")
    assert kept.sha256 == wanted


@pytest.mark.usefixtures("as_large")
def test_no_rows_are_kept_too(path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(Rdb(11).aux("redis-ver", b"7.2.4").end())
    first = read_rdb(path, cache=cache)
    with no_walk(monkeypatch):
        second = read_rdb(path, cache=cache)
    same(first, second)
    assert len(second.keys) == 0 and second.complete


@pytest.mark.usefixtures("as_large")
@pytest.mark.parametrize(
    ("old", "new", "moved"),
    [
        (b"early-0", b"EARLY-0", 0),
        (b"late-49", b"LATE-49", 0),
        # In the middle only the time tells; that is what the time of a file is for.
        (b"middle", b"MIDDLE", 1),
    ],
    ids=["first_64_kB", "last_64_kB", "elsewhere_and_its_time"],
)
def test_file_changed_in_place_is_read_anew(path: Path, cache: Cache, old: bytes, new: bytes, moved: int) -> None:
    data = snapshot(checksum=False)
    path.write_bytes(data)
    before = path.stat()
    assert old.decode() in set(read_rdb(path, cache=cache).keys["key"])
    with path.open("r+b") as file:
        file.write(data.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + moved))
    after = path.stat()
    assert (after.st_size, after.st_ino, after.st_mtime_ns) == (
        before.st_size,
        before.st_ino,
        before.st_mtime_ns + moved,
    )
    again = read_rdb(path, cache=cache)
    assert new.decode() in set(again.keys["key"]) and old.decode() not in set(again.keys["key"])
    assert again.sha256 == hashlib.sha256(data.replace(old, new)).hexdigest()
    assert len(left_in(cache)) == 2


@pytest.mark.usefixtures("as_large")
def test_another_file_of_the_same_ends_and_time_is_read_itself(path: Path, cache: Cache, tmp_path: Path) -> None:
    data = snapshot(checksum=False)
    path.write_bytes(data)
    read_rdb(path, cache=cache)
    other = tmp_path / "case" / "other.rdb"
    other.write_bytes(data.replace(b"middle", b"MIDDLE"))
    found = path.stat()
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert read_rdb(other, cache=cache).sha256 == hashlib.sha256(other.read_bytes()).hexdigest()


def damaged(how: str) -> bytes:
    data = snapshot()
    if how == "cut_inside_a_value":
        return data[:150_000]
    if how == "cut_inside_its_checksum":
        return data[:-3]
    if how == "unknown_type":
        return data.replace(b"\x00\x06late-7", b"\x63\x06late-7")
    if how == "wrong_checksum":
        return data.replace(b"late-7", b"LATE-7")
    if how == "aux_only":
        return data[:40]
    return data + b"behind"


HOW = ["cut_inside_a_value", "cut_inside_its_checksum", "unknown_type", "wrong_checksum", "aux_only", "bytes_behind"]


@pytest.mark.usefixtures("as_large")
@pytest.mark.parametrize("how", HOW)
def test_incomplete_snapshot_is_kept_with_what_is_wrong(
    path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    assert damaged(how) != snapshot()
    path.write_bytes(damaged(how))
    small = read_small(path, monkeypatch)
    first = read_rdb(path, cache=cache)
    with no_walk(monkeypatch):
        second = read_rdb(path, cache=cache)
    same(small, first)
    same(first, second)
    assert not second.complete and second.reason and second.stopped_at is not None


@pytest.mark.usefixtures("as_large")
def test_newer_version_is_said_of_a_kept_snapshot_too(path: Path, cache: Cache) -> None:
    path.write_bytes(Rdb(99).text("k", "v").end())
    for _ in range(2):
        found = read_rdb(path, cache=cache)
        assert found.complete and "RDB version 99 is newer" in str(found.reason)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.usefixtures("as_large")
@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "removed"])
@pytest.mark.parametrize(
    "file",
    ["meta.json", "offset.npy", "expires_at.npy", "key.text.npy", "key.bounds.npy", "key.given.npy"],
)
def test_damaged_entry_is_read_anew_and_replaced(
    path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], file: str
) -> None:
    # Not the first reading to compare with: its columns are the files that are damaged.
    small = read_small(path, monkeypatch)
    read_rdb(path, cache=cache)
    [entry] = entries(cache).iterdir()
    damage(entry / file)
    same(small, read_rdb(path, cache=cache))
    with no_walk(monkeypatch):
        same(small, read_rdb(path, cache=cache))
    assert left_in(cache) == [entry.name]


def full(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("as_large")
@pytest.mark.parametrize("failing", ["analysis.columns.FileColumns._write", "analysis.columns._header", "os.fsync"])
def test_full_disk_is_said_and_read_into_memory(
    path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    said = Lines()
    with monkeypatch.context() as patched:
        patched.setattr(failing, full)
        found = read_rdb(path, cache=cache, progress=said)
    same(read_small(path, monkeypatch), found)
    [line] = said.lines
    assert "No space left on device" in line and "memory" in line
    assert left_in(cache) == []
    assert len(read_rdb(path, cache=cache).keys) == 108 and len(left_in(cache)) == 1


@pytest.mark.usefixtures("as_large")
def test_full_disk_costs_no_snapshot_without_a_cache(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Lines()
    with monkeypatch.context() as patched:
        patched.setattr(FileColumns, "_write", full)
        found = read_rdb(path, progress=said)
    same(read_small(path, monkeypatch), found)
    [line] = said.lines
    assert "No space left on device" in line


@pytest.mark.usefixtures("as_large")
def test_nothing_is_said_where_nothing_is_wrong(path: Path, cache: Cache) -> None:
    said = Lines()
    read_rdb(path, cache=cache, progress=said)
    assert (said.lines, said.read) == ([], path.stat().st_size)


class Looks(Progress):
    """What is in a folder while a file is read; ``stop`` raises there, as Ctrl-C does."""

    def __init__(self, folder: Path, *, stop: bool = False) -> None:
        self.folder, self.stop = folder, stop
        self.seen: set[str] = set()

    def advance(self, size: int) -> None:
        self.seen |= {path.name for path in self.folder.iterdir()}
        if self.stop:
            raise KeyboardInterrupt


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, empty."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.usefixtures("as_large")
def test_without_a_cache_the_folder_of_the_columns_is_gone(
    path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(temporary)
    found = read_rdb(path, progress=looks)
    assert len(looks.seen) == 1, "the columns are in no file"
    assert list(temporary.iterdir()) == []
    same(read_small(path, monkeypatch), found)


@pytest.mark.usefixtures("as_large")
def test_reading_that_is_stopped_leaves_nothing(path: Path, temporary: Path, cache: Cache) -> None:
    with pytest.raises(KeyboardInterrupt):
        read_rdb(path, progress=Looks(temporary, stop=True))
    assert list(temporary.iterdir()) == []
    entries(cache).mkdir()
    looks = Looks(entries(cache), stop=True)
    with pytest.raises(KeyboardInterrupt):
        read_rdb(path, cache=cache, progress=looks)
    assert looks.seen and left_in(cache) == []


@pytest.mark.usefixtures("as_large")
def test_kept_columns_are_no_secret_s_second_home(path: Path, cache: Cache) -> None:
    path.write_bytes(Rdb(11).text("celery-task-meta-1", "hunter2").end())
    read_rdb(path, cache=cache)
    kept = b"".join(file.read_bytes() for file in entries(cache).rglob("*") if file.is_file())
    # Names of keys are kept, values are not: those stay in the evidence.
    assert b"celery-task-meta-1" in kept and b"hunter2" not in kept


@pytest.mark.usefixtures("as_large")
def test_what_is_kept_names_no_path(path: Path, cache: Cache) -> None:
    read_rdb(path, cache=cache)
    [entry] = entries(cache).iterdir()
    assert json.loads((entry / "meta.json").read_text(encoding="utf-8"))
    assert b"dump.rdb" not in b"".join(file.read_bytes() for file in entry.iterdir())

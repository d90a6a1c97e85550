"""What became of each key between two snapshots: told from what was read, and never from what was not."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import kernels
from analysis.evidence.changes import changes_between
from analysis.evidence.rdb import Snapshot, read_rdb
from analysis.frames import FRAMES
from tests.conftest import StartRedis
from tests.evidence import rdb_writer as w
from tests.evidence.rdb_writer import Rdb

TAKEN = 1_700_000_000
MS = TAKEN * 1000


@pytest.fixture(params=["plain", "compiled"])
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(kernels.SWITCH, request.param)
    return str(request.param)


@pytest.fixture
def pair(tmp_path: Path, build: str) -> Any:
    """``pair(before, after)`` reads two snapshots from the bytes of their files."""

    def made(before: bytes, after: bytes) -> tuple[Snapshot, Snapshot]:
        paths = [tmp_path / "before.rdb", tmp_path / "after.rdb"]
        for path, data in zip(paths, (before, after), strict=True):
            path.write_bytes(data)
        return read_rdb(paths[0]), read_rdb(paths[1])

    return made


def rdb(version: int = 11) -> Rdb:
    return Rdb(version).aux("ctime", TAKEN).select(0)


def told(pair: tuple[Snapshot, Snapshot]) -> dict[Any, str]:
    found = changes_between(*pair)
    assert [column.name for column in FRAMES["changes"]] == list(found.columns)
    return {(row.db, row.key): row.change for row in found.itertuples()}


def test_each_key_is_told_by_what_became_of_it(pair: Any) -> None:
    before = rdb().text("same", "1", ms=MS).text("other", "1").text("kept longer", "1", ms=MS).text("gone", "1")
    before.text("due", "1", ms=MS - 1).text("early", "1", ms=MS + 1000).text("endless", "1", ms=MS).text("db", "1")
    after = rdb().text("new", "1").text("other", "2").text("same", "1", ms=MS).text("kept longer", "1", ms=MS + 5)
    after.text("endless", "1").select(3).text("db", "1")
    both = pair(before.end(), after.end())
    assert told(both) == {
        (0, "other"): "value",
        (0, "kept longer"): "ttl",
        (0, "gone"): "gone",
        (0, "due"): "gone",
        (0, "early"): "gone",
        (0, "endless"): "ttl",
        (0, "db"): "gone",
        (0, "new"): "appeared",
        (3, "db"): "appeared",
    }
    found = changes_between(*both).set_index(["db", "key"])
    assert found.loc[(0, ["gone", "due", "early"]), "due"].tolist() == [False, True, False]
    assert found["due"].notna().sum() == 4
    longer = found.loc[(0, "kept longer")]
    assert (longer["expires_after"] - longer["expires_before"]) == pd.Timedelta(milliseconds=5)
    assert (longer["value_changed"], longer["ttl_changed"]) == (False, True)
    assert found.loc[(0, "new"), ["value_changed", "ttl_changed", "offset_before"]].isna().all()
    assert both[0].value(found.loc[(0, "other"), "offset_before"]) == b"1"
    assert both[1].value(found.loc[(0, "other"), "offset_after"]) == b"2"


def test_rows_stand_in_the_order_of_the_files(pair: Any) -> None:
    names = [f"key-{number * 7919 % 100}" for number in range(100)]
    before, after = rdb(), rdb()
    for name in names[:60]:
        before.text(name, "1")
    for name in names[60:]:
        after.text(name, "1")
    found = changes_between(*pair(before.end(), after.end()))
    assert found["key"].tolist() == names


PAIRS = [(b"a", b"1"), (b"b", b"22"), (b"c", b"3")]
FLAT: list[Any] = [part for pair in PAIRS for part in pair]


def plain(*texts: bytes, count: int) -> bytes:
    return w.length(count) + b"".join(map(w.string, texts))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((0, w.string(b"x" * 100)), (0, w.lzf_string(b"x" * 100))),
        ((0, w.string(b"12")), (0, w.number(12))),
        ((16, w.string(w.listpack(FLAT))), (4, plain(*FLAT, count=3))),
        ((16, w.string(w.listpack(FLAT))), (16, w.string(w.listpack(FLAT[4:] + FLAT[:4])))),
        ((2, plain(b"a", b"b", count=2)), (2, plain(b"b", b"a", count=2))),
        ((11, w.string(w.intset([1, 2], 2))), (20, w.string(w.listpack([2, 1])))),
        ((5, w.length(1) + w.string(b"m") + struct.pack("<d", 2.0)), (17, w.string(w.listpack([b"m", 2])))),
        ((1, plain(b"a", b"b", count=2)), (18, w.length(1) + w.length(2) + w.string(w.listpack([b"a", b"b"])))),
    ],
)
def test_another_encoding_or_order_is_no_change(pair: Any, one: tuple[int, bytes], two: tuple[int, bytes]) -> None:
    assert told(pair(rdb().key("k", *one).end(), rdb().key("k", *two).end())) == {}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((0, w.string(b"x" * 100)), (0, w.lzf_string(b"x" * 99 + b"y"))),
        ((16, w.string(w.listpack(FLAT))), (16, w.string(w.listpack([*FLAT[:5], b"4"])))),
        ((1, plain(b"a", b"b", count=2)), (1, plain(b"b", b"a", count=2))),
        ((1, plain(b"a", b"b", count=2)), (2, plain(b"a", b"b", count=2))),
        ((2, plain(b"a", count=1)), (2, plain(b"a", b"b", count=2))),
    ],
)
def test_another_value_of_any_type_is_a_change(pair: Any, one: tuple[int, bytes], two: tuple[int, bytes]) -> None:
    assert told(pair(rdb().key("k", *one).end(), rdb().key("k", *two).end())) == {(0, "k"): "value"}


def test_a_value_that_cannot_be_read_may_have_changed(pair: Any) -> None:
    both = pair(rdb().key("k", 16, w.string(b"no listpack")).end(), rdb().key("k", 16, w.string(b"no listpick")).end())
    row = changes_between(*both).iloc[0]
    assert row["change"] == "value" and pd.isna(row["value_changed"])


def test_what_was_not_read_is_neither_gone_nor_new(pair: Any) -> None:
    whole = rdb().text("a", "1").text("b", "1").text("c", "1").end()
    part = bytes(rdb().text("a", "2").text("d", "1"))
    assert told(pair(whole, part)) == {(0, "a"): "value", (0, "d"): "appeared"}
    assert told(pair(part, whole)) == {(0, "a"): "value", (0, "d"): "gone"}


def test_names_that_are_not_utf8_are_told_apart(pair: Any) -> None:
    one = rdb().text(b"\xff", "1").text(b"\xfe", "1").text("é", "1").end()
    assert told(pair(one, rdb().text(b"\xff", "1").text("é", "1").end())) == {(0, "\\xfe"): "gone"}


def test_without_a_time_what_is_gone_may_have_been_due(pair: Any) -> None:
    found = changes_between(*pair(Rdb(6).select(0).text("a", "1", s=10**9).end(), Rdb(6).select(0).end()))
    assert found["change"].tolist() == ["gone"] and found["due"].isna().all()


def test_many_keys_in_several_parts(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.evidence.changes._ROWS", 64)
    before, after = rdb(), rdb()
    for number in range(3000):
        if number % 10:
            before.text(f"celery-task-meta-{number}", "1")
        if number % 7:
            after.text(f"celery-task-meta-{number}", str(number % 3))
    found = changes_between(*pair(before.end(), after.end()))
    counted = found["change"].value_counts().to_dict()
    expected = {"gone": 0, "appeared": 0, "value": 0}
    for number in range(3000):
        if number % 10 and not number % 7:
            expected["gone"] += 1
        elif not number % 10 and number % 7:
            expected["appeared"] += 1
        elif number % 10 and number % 7 and number % 3 != 1:
            expected["value"] += 1
    assert counted == expected


def test_what_a_real_server_did_between_two_saves(start_redis: StartRedis, tmp_path: Path, build: str) -> None:
    server = start_redis()
    client = server.client()
    for number in range(200):
        client.set(f"celery-task-meta-{number}", f"result {number}", ex=1000)
        client.hset(f"job:{number}", mapping={"status": "running", "n": number})
    before = tmp_path / "before.rdb"
    before.write_bytes(server.save().read_bytes())
    client.delete("celery-task-meta-7", "job:9")
    client.persist("celery-task-meta-8")
    client.hset("job:3", "status", "done")
    client.rename("job:4", "moved")
    # From one listpack to a table and back in meaning: another encoding, the same content.
    client.config_set("hash-max-listpack-entries" if server.version >= (7, 0) else "hash-max-ziplist-entries", 1)
    client.hset("job:5", "extra", 1)
    client.hdel("job:5", "extra")
    assert told((read_rdb(before), read_rdb(server.save()))) == {
        (0, "celery-task-meta-7"): "gone",
        (0, "celery-task-meta-8"): "ttl",
        (0, "job:9"): "gone",
        (0, "job:3"): "value",
        (0, "job:4"): "gone",
        (0, "moved"): "appeared",
    }

"""Snapshots of every version and layout, also those that no server here writes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.errors import Unusable
from analysis.evidence.rdb import read_rdb
from analysis.evidence.rdb_values import ValueUnreadable
from analysis.frames import FRAMES
from tests.evidence import rdb_writer as w
from tests.evidence.conftest import Read
from tests.evidence.rdb_layouts import EARLIEST, FIELDS, LAYOUTS, LONG, MANY, MS, TIMED, TIMED_HASHES, VALKEY_HASH
from tests.evidence.rdb_writer import Rdb


@pytest.mark.parametrize(
    ("version", "code", "stored", "kind", "encoding", "value"), [x[1:] for x in LAYOUTS], ids=[x[0] for x in LAYOUTS]
)
def test_every_layout_is_read(
    read: Read, version: int, code: int, stored: bytes, kind: str, encoding: str, value: Any
) -> None:
    snapshot = read(Rdb(version).select(3).key("k", code, stored).text("after", "v").end())
    assert (snapshot.complete, snapshot.reason) == (True, None)
    assert snapshot.keys["key"].tolist() == ["k", "after"]
    row = snapshot.keys.iloc[0]
    assert (row.db, row.type, row.encoding) == (3, kind, encoding)
    assert (row.length, row.bytes) == (len(value), len(stored))
    assert snapshot.value(row.offset) == value
    assert pd.isna(row.field_ttls) and snapshot.field_expiries(row.offset) == {}


def test_old_zset_has_its_scores_as_text(read: Read) -> None:
    texts = {
        b"nan": b"\xfd",
        b"high": b"\xfe",
        b"low": b"\xff",
        b"half": b"\x030.5",
        b"far": b"\x17-1.2345678901234567e+30",
    }
    stored = w.length(len(texts)) + b"".join(w.string(member) + score for member, score in texts.items())
    snapshot = read(Rdb(2).key("z", 3, stored).text("after", "v").end())
    row = snapshot.keys.iloc[0]
    assert (row.type, row.encoding, row.length, len(snapshot.keys)) == ("zset", "skiplist", 5, 2)
    assert repr(snapshot.value(row.offset)) == repr(
        [
            (b"nan", float("nan")),
            (b"high", float("inf")),
            (b"low", float("-inf")),
            (b"half", 0.5),
            (b"far", -1.2345678901234567e30),
        ]
    )


@pytest.mark.parametrize(
    ("valkey", "version", "code", "stored", "encoding"), [x[1:] for x in TIMED_HASHES], ids=[x[0] for x in TIMED_HASHES]
)
def test_fields_with_their_own_time(
    read: Read, valkey: bool, version: int, code: int, stored: bytes, encoding: str
) -> None:
    snapshot = read(Rdb(version, valkey=valkey).key("h", code, stored).text("after", "v").end())
    assert snapshot.complete and snapshot.flavor == ("valkey" if valkey else "redis")
    row = snapshot.keys.iloc[0]
    assert (row.type, row.encoding, row.length, row.field_ttls) == ("hash", encoding, 3, 2)
    assert snapshot.value(row.offset) == FIELDS
    assert snapshot.field_expiries(row.offset) == TIMED
    assert row.expires_at is pd.NaT


def test_persisted_fields_leave_a_stale_time(read: Read) -> None:
    packed = w.listpack([b"f", b"v", 0])
    snapshot = read(Rdb(12).key("h", 25, EARLIEST + w.string(packed)).end())
    row = snapshot.keys.iloc[0]
    assert (row.encoding, row.field_ttls, snapshot.field_expiries(row.offset)) == ("listpackex", 0, {})


@pytest.mark.parametrize("code", [22, 24], ids=["22", "24"])
def test_same_number_means_other_things_to_redis_and_valkey(read: Read, code: int) -> None:
    as_redis = read(Rdb(12).key("h", code, VALKEY_HASH).text("after", "v").end())
    assert not as_redis.complete
    as_valkey = read(Rdb(80, valkey=True).key("h", code, VALKEY_HASH).text("after", "v").end())
    assert as_valkey.complete == (code == 22)


def test_module_values_are_passed_over(read: Read) -> None:
    parts = w.length(1) + w.length(2**64 - 1) + w.length(2) + w.length(7) + w.length(3) + b"\x00\x00\x80\x3f"
    parts += w.length(4) + b"\x00" * 8 + w.length(5) + w.lzf_string(LONG) + w.length(0)
    module = w.length(2**63 + 5) + parts
    snapshot = read(
        Rdb(9).raw(b"\xf7", module).key("m", 7, module, ms=MS).text("after", "v").raw(b"\xf7", module).end()
    )
    assert snapshot.complete and snapshot.keys["key"].tolist() == ["m", "after"]
    row = snapshot.keys.iloc[0]
    assert (row.type, row.bytes) == ("module", len(module)) and pd.isna(row.length)
    with pytest.raises(ValueUnreadable, match="module"):
        snapshot.value(row.offset)


def test_opcodes_that_say_nothing_of_keys_are_passed_over(read: Read) -> None:
    writer = Rdb(12).aux("redis-ver", b"8.0.6").raw(b"\xf5", w.string(b"#!lua name=x\n")).select(0)
    writer.raw(b"\xfb", w.length(2), w.length(0), b"\xf4", w.length(12), w.length(1), w.length(0)).text("a", "1")
    snapshot = read(writer.raw(b"\xf4", w.length(16383), w.length(1), w.length(0)).text("b", "2").end())
    assert snapshot.complete and snapshot.keys["key"].tolist() == ["a", "b"]


def test_slot_import_is_valkeys_alone(read: Read) -> None:
    entry = b"\xf3" + w.string(b"job") + w.length(2) + w.length(0) + w.length(100) + w.length(300) + w.length(16383)
    as_valkey = read(Rdb(80, valkey=True).raw(entry).text("a", "1").end())
    assert as_valkey.complete and len(as_valkey.keys) == 1
    as_redis = read(Rdb(12).text("before", "1").raw(entry).text("a", "1").end())
    assert not as_redis.complete and as_redis.keys["key"].tolist() == ["before"]
    assert as_redis.reason is not None and "unknown opcode 243" in as_redis.reason


def test_aux_fields_may_stand_anywhere_and_repeat(read: Read) -> None:
    writer = Rdb(11).aux("valkey-ver", b"8.1.1").aux("ctime", 1_700_000_000).select(0)
    writer.raw(b"\xfc", struct.pack("<q", MS)).aux("slot-info", b"1,1,0").raw(b"\x00", w.string(b"a"), w.string(b"1"))
    snapshot = read(writer.aux("slot-info", b"2,1,0").text("b", "2").end())
    assert snapshot.complete and snapshot.keys["key"].tolist() == ["a", "b"]
    assert snapshot.aux == {"valkey-ver": "8.1.1", "ctime": "1700000000", "slot-info": "1,1,0"}
    assert snapshot.flavor == "valkey" and snapshot.taken_at == pd.Timestamp(1_700_000_000, unit="s", tz="UTC")
    # What was said of the key before the field still holds for it, and for no other.
    assert snapshot.keys["expires_at"].tolist() == [pd.Timestamp(MS, unit="ms", tz="UTC"), pd.NaT]


def test_keys_may_be_compressed_numbers_or_no_text(read: Read) -> None:
    long = b"prefix:" + b"k" * 100
    writer = Rdb(9)
    for name in w.lzf_string(long), w.number(-5), w.string(b"\x00\xff\xed\xa0\x80"), w.string("ключ"), w.string(b""):
        writer.raw(b"\x00", name, w.string(b"v"))
    snapshot = read(writer.end())
    assert snapshot.complete
    assert snapshot.keys["key"].tolist() == [long.decode(), "-5", "\x00\\xff\\xed\\xa0\\x80", "ключ", ""]
    assert [snapshot.value(offset) for offset in snapshot.keys["offset"]] == [b"v"] * 5


def test_databases_idle_and_freq(read: Read) -> None:
    writer = Rdb(9).select(0).raw(b"\xf8", w.length(70_000)).text("idle", "1").text("plain", "2")
    writer.select(15).raw(b"\xf9\xff").text("often", "3").select(2**31)
    snapshot = read(writer.text("far", "4").end())
    assert snapshot.keys["db"].tolist() == [0, 0, 15, 2**31]
    assert snapshot.keys["idle"].tolist() == [70_000, pd.NA, pd.NA, pd.NA]
    assert snapshot.keys["freq"].tolist() == [pd.NA, pd.NA, 255, pd.NA]


TAKEN = pd.Timestamp("2023-11-14T22:13:20Z")


def test_expired_keys_stay_and_are_marked(read: Read) -> None:
    at = 1_700_000_000
    writer = Rdb(9).aux("ctime", at).text("past", "1", ms=at * 1000 - 1).text("now", "1", ms=at * 1000)
    writer.text("later", "1", ms=at * 1000 + 1).text("old form", "1", s=at - 1).text("forever", "1")
    snapshot = read(writer.end())
    assert snapshot.taken_at == TAKEN
    assert snapshot.keys["expired"].tolist() == [True, True, False, True, False]
    assert snapshot.keys["expires_at"].iloc[3] == TAKEN - pd.Timedelta(seconds=1)


@pytest.mark.parametrize("ctime", [None, b"soon", b"-5", b"0", b"99999999999999999999", b"1" * 5000])
def test_snapshot_without_its_time_is_dated_by_hand_or_not_at_all(read: Read, ctime: bytes | None) -> None:
    writer = Rdb(6) if ctime is None else Rdb(6).aux("ctime", ctime)
    data = writer.text("past", "1", ms=1000).text("forever", "1").end()
    undated = read(data)
    assert undated.taken_at is None and undated.keys["expired"].isna().all()
    dated = read(data, taken_at=TAKEN.tz_convert("America/New_York"))
    assert dated.taken_at == TAKEN and str(dated.taken_at.tz) == "UTC"
    assert dated.keys["expired"].tolist() == [True, False]


def test_its_own_time_wins_over_the_one_given(read: Read) -> None:
    snapshot = read(Rdb(9).aux("ctime", 1_700_000_000).end(), taken_at=TAKEN + pd.Timedelta(days=1))
    assert snapshot.taken_at == TAKEN


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (-(2**63), "0001-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (0, "1970-01-01T00:00:00Z"),
        (253402300799999, "9999-12-31T23:59:59.999Z"),
        (2**63 - 1, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_absurd_expiries_are_kept_within_what_a_date_can_be(read: Read, ms: int, said: str) -> None:
    snapshot = read(Rdb(9).aux("ctime", 1_700_000_000).text("k", "v", ms=ms).text("after", "v").end())
    assert snapshot.complete
    row = snapshot.keys.iloc[0]
    assert row.expires_at == pd.Timestamp(said) and row.expires_at.to_pydatetime().year == pd.Timestamp(said).year
    assert row.expired == (row.expires_at <= TAKEN)


@pytest.mark.parametrize("seconds", [-(2**31), -1, 2**31 - 1])
def test_expiries_in_seconds_have_a_sign(read: Read, seconds: int) -> None:
    row = read(Rdb(2).text("k", "v", s=seconds).end()).keys.iloc[0]
    assert row.expires_at == pd.Timestamp(seconds, unit="s", tz="UTC")


@pytest.mark.parametrize("version", range(1, 13))
def test_every_version_reads(read: Read, version: int) -> None:
    snapshot = read(Rdb(version).text("k", "v").end())
    assert (snapshot.version, snapshot.complete, snapshot.reason) == (version, True, None)
    assert snapshot.checksum == ("verified" if version >= 5 else "absent")
    assert snapshot.value(snapshot.keys["offset"].iloc[0]) == b"v"


def test_a_checksum_of_zero_is_one_that_was_turned_off(read: Read) -> None:
    snapshot = read(Rdb(9).text("k", "v").end(sum_of=0))
    assert (snapshot.checksum, snapshot.complete) == ("off", True)


@pytest.mark.parametrize(("version", "valkey"), [(13, False), (99, False), (81, True)])
def test_a_newer_version_is_read_as_far_as_its_types_are_known_and_said(read: Read, version: int, valkey: bool) -> None:
    snapshot = read(Rdb(version, valkey=valkey).text("k", "v").end())
    assert snapshot.complete and snapshot.keys["key"].tolist() == ["k"]
    assert snapshot.reason is not None and str(version) in snapshot.reason
    stopped = read(Rdb(version, valkey=valkey).text("k", "v").key("new", 26, b"").end())
    assert not stopped.complete and stopped.keys["key"].tolist() == ["k"]
    assert stopped.reason is not None and "unknown type 26" in stopped.reason and str(version) in stopped.reason


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"REDIS", "cut"),
        (b"VALKEY0", "cut"),
        (b"REDIS0000\xff", "version 0"),
        (b"REDIS00x1\xff", "not an RDB"),
        (b"VALKEY08x\xff", "not an RDB"),
        (b"PK\x03\x04 and more", "not an RDB"),
        (b"*1\r\n$8\r\nFLUSHALL\r\n", "not an RDB"),
        (b"RED", "cut"),
        (b"REX", "not an RDB"),
    ],
)
def test_what_is_no_snapshot_is_refused_in_one_line(read: Read, data: bytes, said: str) -> None:
    with pytest.raises(Unusable, match=said) as refused:
        read(data)
    assert "dump.rdb" in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable):
        read_rdb(tmp_path)
    with pytest.raises(Unusable):
        read_rdb(tmp_path / "absent.rdb")


def test_frame_obeys_the_schema_with_and_without_rows(read: Read) -> None:
    schema = {column.name: column.dtype for column in FRAMES["keys"]}
    for data in Rdb(9).end(), Rdb(9).text("k", "v", ms=MS).end():
        keys = read(data, source="servers/a/dump.rdb", server="a").keys
        assert {name: str(dtype) for name, dtype in keys.dtypes.items()} == schema
        assert keys.index.equals(pd.RangeIndex(len(keys)))
        assert set(keys["snapshot"]) <= {"servers/a/dump.rdb"} and set(keys["server"]) <= {"a"}
        assert keys[["family", "prefix", "task_id", "idle", "freq", "field_ttls"]].isna().all(axis=None)


def test_more_keys_than_one_block_holds(read: Read) -> None:
    writer = Rdb(9).aux("ctime", 1_700_000_000).select(7)
    for place in range(40_000):
        writer.text(b"k%d" % place, b"%d" % place, ms=place if place % 2 else None)
        if place == 20_000:
            writer.key("many", 16, w.lzf_string(w.listpack(MANY))).aux("between", b"here")
    snapshot = read(writer.end())
    assert snapshot.complete and snapshot.aux["between"] == "here"
    keys = snapshot.keys.loc[snapshot.keys["key"] != "many"]
    assert keys["key"].tolist() == [f"k{place}" for place in range(40_000)]
    assert keys["db"].eq(7).all() and keys["encoding"].eq("int").all()
    assert keys["expires_at"].isna().tolist() == [place % 2 == 0 for place in range(40_000)]
    for place in (0, 16_383, 16_384, 39_999):
        assert snapshot.value(keys["offset"].iloc[place]) == b"%d" % place
    assert snapshot.keys.loc[snapshot.keys["key"] == "many", "length"].tolist() == [len(MANY) // 2]

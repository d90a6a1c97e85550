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
from tests.evidence.rdb_writer import Rdb

WIDE = b"x" * 70
LONG = b"y" * 5000
INTEGERS = [0, 12, 13, -1, 127, -128, 128, 4095, -4096, 4096, 32767, -32768, 8388607, -8388608, 2**31 - 1, -(2**31)]
INTEGERS += [2**31, 2**63 - 1, -(2**63)]
ELEMENTS: list[bytes | int] = [b"", b"a", WIDE, LONG, b"z" * 20_000, *INTEGERS, b"tail"]
TEXTS = [element if isinstance(element, bytes) else b"%d" % element for element in ELEMENTS]
PAIRS = [(b"f%d" % place, text) for place, text in enumerate(TEXTS)]
FLAT: list[bytes | int] = [part for place, element in enumerate(ELEMENTS) for part in (b"f%d" % place, element)]
SCORES = [(b"low", float("-inf")), (b"half", 0.5), (b"one", 1.0), (b"high", float("inf"))]
SCORED: list[bytes | int] = [b"low", b"-inf", b"half", b"0.5", b"one", 1, b"high", b"inf"]
MANY = [b"%d" % place for place in range(70_000)]
MEMBERS = list(range(-3, 4))


def plain(*texts: bytes, count: int) -> bytes:
    return w.length(count) + b"".join(map(w.string, texts))


def doubles(pairs: list[tuple[bytes, float]]) -> bytes:
    return w.length(len(pairs)) + b"".join(w.string(member) + struct.pack("<d", score) for member, score in pairs)


NODE_1 = w.stream_node(
    1000,
    0,
    [b"a", b"b"],
    [
        (0, 1, False, [(b"a", b"1"), (b"b", b"2")]),
        (1, 0, True, [(b"a", b"3"), (b"b", b"4")]),
        (5, -1, False, [(b"c", WIDE)]),
    ],
)
NODE_2 = w.stream_node(2**64 - 2, 9, [b"q"], [(1, 0, False, [(b"q", b"last")])])
ENTRIES = [
    ("1000-1", [(b"a", b"1"), (b"b", b"2")]),
    (f"1005-{2**64 - 1}", [(b"c", WIDE)]),
    (f"{2**64 - 1}-9", [(b"q", b"last")]),
]


def groups(version: int) -> list[bytes]:
    pending = [(1000, 1), (1005, 2)]
    return [
        w.stream_group(b"empty", version),
        w.stream_group(b"busy", version, pending, [(b"me", 2), (b"idle", 0)]),
    ]


LAYOUTS: list[tuple[str, int, int, bytes, str, str, Any]] = [
    # name, RDB version, type, value as written, type and encoding as told, value as read
    ("raw string", 2, 0, w.string(WIDE), "string", "raw", WIDE),
    ("short string", 2, 0, w.string(b"v"), "string", "embstr", b"v"),
    ("string of 44 bytes", 2, 0, w.string(b"v" * 44), "string", "embstr", b"v" * 44),
    ("string of 45 bytes", 2, 0, w.string(b"v" * 45), "string", "raw", b"v" * 45),
    ("empty string", 2, 0, w.string(b""), "string", "embstr", b""),
    ("string with a length in 2 bytes", 2, 0, w.string(b"v", 2), "string", "embstr", b"v"),
    ("string with a length in 5 bytes", 2, 0, w.string(b"v", 5), "string", "embstr", b"v"),
    ("string with a length in 9 bytes", 9, 0, w.string(b"v", 9), "string", "embstr", b"v"),
    ("number of 8 bits", 2, 0, w.number(-128), "string", "int", b"-128"),
    ("number of 16 bits", 2, 0, w.number(-32768), "string", "int", b"-32768"),
    ("number of 32 bits", 2, 0, w.number(2**31 - 1), "string", "int", b"2147483647"),
    ("number as text", 2, 0, w.string(b"-9223372036854775808"), "string", "int", b"-9223372036854775808"),
    ("too large for a number", 2, 0, w.string(b"9223372036854775808"), "string", "embstr", b"9223372036854775808"),
    ("no number: minus zero", 2, 0, w.string(b"-0"), "string", "embstr", b"-0"),
    ("no number: minus", 2, 0, w.string(b"-"), "string", "embstr", b"-"),
    ("no number: leading zero", 2, 0, w.string(b"007"), "string", "embstr", b"007"),
    ("compressed string", 2, 0, w.lzf_string(LONG), "string", "raw", LONG),
    ("compressed run", 2, 0, w.lzf(*w.lzf_run(b"r", 5)), "string", "raw", b"r" * 1321),
    ("list", 2, 1, plain(*TEXTS, count=len(TEXTS)), "list", "linkedlist", TEXTS),
    ("set", 2, 2, plain(*TEXTS, count=len(TEXTS)), "set", "hashtable", TEXTS),
    ("hash", 2, 4, plain(*[x for p in PAIRS for x in p], count=len(PAIRS)), "hash", "hashtable", PAIRS),
    ("zset of doubles", 8, 5, doubles(SCORES), "zset", "skiplist", SCORES),
    ("zipmap", 2, 9, w.string(w.zipmap(PAIRS)), "hash", "zipmap", PAIRS),
    ("zipmap with free bytes", 2, 9, w.string(w.zipmap(PAIRS, free=3)), "hash", "zipmap", PAIRS),
    ("zipmap not counted", 2, 9, w.string(w.zipmap(PAIRS, free=1, count=254)), "hash", "zipmap", PAIRS),
    ("zipmap, empty", 2, 9, w.string(w.zipmap([])), "hash", "zipmap", []),
    ("list ziplist", 2, 10, w.string(w.ziplist(ELEMENTS)), "list", "ziplist", TEXTS),
    ("list ziplist, wide", 2, 10, w.string(w.ziplist(ELEMENTS, wide=True)), "list", "ziplist", TEXTS),
    ("list ziplist, compressed", 2, 10, w.lzf_string(w.ziplist(ELEMENTS)), "list", "ziplist", TEXTS),
    ("list ziplist, many", 2, 10, w.string(w.ziplist(MANY)), "list", "ziplist", MANY),
    ("intset of 16 bits", 2, 11, w.string(w.intset(MEMBERS, 2)), "set", "intset", [b"%d" % m for m in MEMBERS]),
    ("intset of 32 bits", 2, 11, w.string(w.intset([-70_000, 1], 4)), "set", "intset", [b"-70000", b"1"]),
    ("intset of 64 bits", 2, 11, w.lzf_string(w.intset([-(2**63), 1], 8)), "set", "intset", [b"%d" % -(2**63), b"1"]),
    ("zset ziplist", 2, 12, w.string(w.ziplist(SCORED)), "zset", "ziplist", SCORES),
    ("hash ziplist", 4, 13, w.string(w.ziplist(FLAT)), "hash", "ziplist", PAIRS),
    ("quicklist", 7, 14, plain(w.ziplist(ELEMENTS), w.ziplist([1]), count=2), "list", "quicklist", [*TEXTS, b"1"]),
    ("quicklist, one node", 7, 14, plain(w.ziplist([1]), count=1), "list", "quicklist", [b"1"]),
    ("stream", 9, 15, w.stream(1, [NODE_1, NODE_2], 3, groups(1)), "stream", "stream", ENTRIES),
    ("stream, second form", 10, 19, w.stream(2, [NODE_1, NODE_2], 3, groups(2)), "stream", "stream", ENTRIES),
    ("stream, third form", 11, 21, w.stream(3, [NODE_1, NODE_2], 3, groups(3)), "stream", "stream", ENTRIES),
    ("stream, empty", 11, 21, w.stream(3, [], 0), "stream", "stream", []),
    ("hash listpack", 10, 16, w.string(w.listpack(FLAT)), "hash", "listpack", PAIRS),
    ("hash listpack, many", 10, 16, w.lzf_string(w.listpack(MANY)), "hash", "listpack", list(zip(MANY[::2], MANY[1::2], strict=True))),
    ("zset listpack", 10, 17, w.string(w.listpack(SCORED)), "zset", "listpack", SCORES),
    ("set listpack", 11, 20, w.string(w.listpack(ELEMENTS)), "set", "listpack", TEXTS),
    (
        "second quicklist", 10, 18,
        w.length(3) + w.length(2) + w.string(w.listpack(ELEMENTS)) + w.length(1) + w.string(LONG)
        + w.length(2) + w.lzf_string(w.listpack([5])),
        "list", "quicklist", [*TEXTS, LONG, b"5"],
    ),
    ("second quicklist, one node", 10, 18, w.length(1) + w.length(2) + w.string(w.listpack([5])), "list", "quicklist", [b"5"]),
    ("listpack list", 11, 18, w.length(1) + w.length(2) + w.string(w.listpack([5])), "list", "listpack", [b"5"]),
    ("one plain node", 11, 18, w.length(1) + w.length(1) + w.string(LONG), "list", "quicklist", [LONG]),
]  # fmt: skip


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


FIELDS = [(b"f", b"v"), (b"g", b"w"), (b"h", b"x")]
MS = 1_800_000_000_000
TIMED = {b"f": MS, b"h": MS + 70_000}


def relative(base: int) -> bytes:
    return w.length(3) + b"".join(
        w.length(TIMED[field] - base + 1 if field in TIMED else 0) + w.string(field) + w.string(text)
        for field, text in FIELDS
    )


PACKED_TIMES = w.listpack([part for field, text in FIELDS for part in (field, text, TIMED.get(field, 0))])
EARLIEST = struct.pack("<q", MS)
VALKEY_HASH = w.length(3) + b"".join(
    w.string(field) + w.string(text) + struct.pack("<q", TIMED.get(field, -1)) for field, text in FIELDS
)
TIMED_HASHES = [
    # name, of Valkey, version, type, value, encoding
    ("metadata", False, 12, 24, EARLIEST + relative(MS), "hashtable"),
    ("metadata, release candidate", False, 12, 22, relative(1), "hashtable"),
    ("listpackex", False, 12, 25, EARLIEST + w.string(PACKED_TIMES), "listpackex"),
    ("listpackex, compressed", False, 12, 25, EARLIEST + w.lzf_string(PACKED_TIMES), "listpackex"),
    ("listpackex, release candidate", False, 12, 23, w.string(PACKED_TIMES), "listpackex"),
    ("Valkey", True, 80, 22, VALKEY_HASH, "hashtable"),
]


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

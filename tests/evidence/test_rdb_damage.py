"""Cut, damaged and hostile snapshots: what stands before the damage is kept, the rest is said, nothing is raised."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.errors import Unusable
from analysis.evidence.rdb import Snapshot, read_rdb
from analysis.evidence.rdb_values import ValueUnreadable
from tests.evidence import rdb_writer as w
from tests.evidence.conftest import Read
from tests.evidence.edits import EDITS, Edit, edited
from tests.evidence.rdb_layouts import LAYOUTS, MANY, PAIRS, TIMED_HASHES
from tests.evidence.rdb_writer import Rdb

HUGE = [2**63, 2**64 - 1, 2**63 - 1, 2**62, 2**48, 2**32]


def short(stored: bytes) -> bool:
    return len(stored) < 45


def every_type() -> bytes:
    """A small file with a key of every type whose value is small, and every opcode."""
    writer = Rdb(12).aux("redis-ver", b"8.0.6").aux("ctime", 1_700_000_000).raw(b"\xf5", w.string(b"#!lua name=x\n"))
    writer.select(0).raw(b"\xfb", w.length(20), w.length(1), b"\xf4", w.length(1), w.length(20), w.length(1))
    for place, (name, _, code, stored, *_) in enumerate(LAYOUTS):
        if short(stored):
            writer.raw(b"\xf8", w.length(300)).key(name, code, stored, ms=10**12 + place)
    for name, valkey, _, code, stored, _ in TIMED_HASHES:
        if not valkey:
            writer.raw(b"\xf9\x07").key(name, code, stored, s=10**9)
    writer.raw(b"\xf7", w.length(5), w.length(2), w.length(1), w.length(0))
    writer.key("module", 7, w.length(5) + w.length(5) + w.string(b"part") + w.length(0))
    return writer.end()


def values(snapshot: Snapshot) -> list[Any]:
    """Each value, or None where it says that it cannot be read."""
    read: list[Any] = []
    for offset in snapshot.keys["offset"]:
        try:
            read.append(snapshot.value(offset))
            snapshot.field_expiries(offset)
        except ValueUnreadable as error:
            assert error.offset == offset and error.reason and str(offset) in str(error)
            read.append(None)
    return read


def test_cut_file_keeps_every_key_before_the_cut(read: Read) -> None:
    data = every_type()
    whole = read(data)
    assert whole.complete and len(whole.keys) > 25 and len(data) < 2000
    # Where an entry ends, counted without the reader: its value is the last thing of it.
    names = [name.encode() for name in whole.keys["key"]]
    ends = [
        int(o) + 1 + len(w.string(n)) + int(b)
        for o, n, b in zip(whole.keys["offset"], names, whole.keys["bytes"], strict=True)
    ]
    for cut in range(9, len(data)):
        snapshot = read(data[:cut])
        kept = sum(end <= cut for end in ends)
        assert snapshot.keys["key"].tolist() == whole.keys["key"].tolist()[:kept]
        assert not snapshot.complete and snapshot.checksum == "not reached"
        assert snapshot.stopped_at is not None and (ends[kept - 1] if kept else 9) <= snapshot.stopped_at <= cut
        assert snapshot.reason is not None and snapshot.reason.startswith("cut")
        if 0 < kept < len(names):
            assert snapshot.value(snapshot.keys["offset"].iloc[-1]) == whole.value(snapshot.keys["offset"].iloc[-1])


def test_cut_inside_the_magic_is_refused(read: Read) -> None:
    for cut in range(9):
        with pytest.raises(Unusable):
            read(every_type()[:cut])


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x80])
def test_flipped_bytes_are_noticed_and_cost_no_exception(read: Read, mask: int) -> None:
    data = every_type()
    whole = read(data).keys
    for place in range(9 + mask % 3, len(data) - 8, 3):
        snapshot = read(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
        assert not snapshot.complete and snapshot.reason and snapshot.stopped_at is not None
        # What ends before the damage is as it was.
        before = int((whole["offset"] < place).sum()) - 1
        assert snapshot.keys["key"].tolist()[: max(0, before)] == whole["key"].tolist()[: max(0, before)]
        values(snapshot)


def test_wrong_checksum_keeps_the_rows_and_is_said(read: Read) -> None:
    data = Rdb(9).text("a", "1").text("b", "2").end(sum_of=12345)
    snapshot = read(data)
    assert (snapshot.complete, snapshot.checksum, snapshot.stopped_at) == (False, "wrong", len(data) - 8)
    assert snapshot.reason is not None and "checksum" in snapshot.reason
    assert values(snapshot) == [b"1", b"2"]


@pytest.mark.parametrize("version", [4, 9])
def test_bytes_behind_the_end_are_said(read: Read, version: int) -> None:
    data = Rdb(version).text("a", "1").end()
    snapshot = read(data + b"*1\r\n$8\r\nFLUSHALL\r\n")
    assert (snapshot.complete, snapshot.stopped_at) == (False, len(data))
    assert snapshot.reason is not None and "18 bytes" in snapshot.reason
    assert snapshot.checksum == ("verified" if version == 9 else "absent")
    assert values(snapshot) == [b"1"]


@pytest.mark.parametrize("code", [8, 26, 77, 200, 242, 243, 246])
def test_unknown_types_and_opcodes_are_refused_with_their_place(read: Read, code: int) -> None:
    head = Rdb(12).text("a", "1")
    place = len(bytes(head))
    snapshot = read(head.raw(bytes([code]), w.string(b"k"), w.string(b"v")).text("never", "seen").end())
    assert snapshot.keys["key"].tolist() == ["a"]
    assert (snapshot.complete, snapshot.stopped_at) == (False, place)
    assert snapshot.reason is not None and str(code) in snapshot.reason and "unknown" in snapshot.reason


def test_old_module_values_are_refused_with_their_place(read: Read) -> None:
    head = Rdb(8).text("a", "1")
    place = len(bytes(head))
    snapshot = read(head.key("m", 6, b"\x01\x02").end())
    assert snapshot.keys["key"].tolist() == ["a"] and snapshot.stopped_at == place
    assert snapshot.reason is not None and "module" in snapshot.reason


COUNTED = {
    "string": 0, "list": 1, "set": 2, "zset": 3, "hash": 4, "doubles": 5, "zipmap": 9, "ziplist": 10, "intset": 11,
    "quicklist": 14, "stream": 15, "listpack": 16, "second quicklist": 18, "second stream": 19, "set listpack": 20,
    "third stream": 21, "timed, candidate": 22, "timed pack, candidate": 23, "timed": 24, "timed pack": 25, "module": 7,
}  # fmt: skip


@pytest.mark.parametrize("code", COUNTED.values(), ids=COUNTED.keys())
def test_hostile_lengths_end_the_walk_and_take_no_memory(read: Read, code: int) -> None:
    tracemalloc.start()
    for claim in HUGE[1:4]:
        for prefix in b"", w.length(1), w.length(1) + w.length(2), b"\x00" * 8:
            for valkey in False, True:
                writer = Rdb(80 if valkey else 12, valkey=valkey).text("a", "1")
                snapshot = read(writer.key("k", code, prefix + w.length(claim) + b"\x01" * 64).text("b", "2").end())
                assert snapshot.keys["key"].tolist()[:1] == ["a"]
                values(snapshot)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 2**20


@pytest.mark.parametrize("claim", HUGE)
def test_hostile_lengths_of_names_and_opcodes(read: Read, claim: int) -> None:
    huge = w.length(claim)
    for entry in (
        b"\x00" + huge, b"\xfa" + huge, b"\xfe" + huge, b"\xfb" + huge + huge, b"\xf8" + huge,
        b"\xf7" + huge + w.length(5) + huge,
        b"\xf5" + huge, b"\xf4" + huge, b"\xf3" + w.string(b"j") + huge + huge, b"\x00" + b"\xc3" + huge + huge,
        b"\x00" + b"\xc3" + w.length(1) + huge + b"a",
    ):  # fmt: skip
        for valkey in False, True:
            snapshot = read(Rdb(80 if valkey else 12, valkey=valkey).text("a", "1").raw(entry, b"\x01" * 40).end())
            assert snapshot.keys["key"].tolist()[:1] == ["a"]
            assert not snapshot.complete and snapshot.reason
            values(snapshot)


BOMBS = {
    "claims the most": w.lzf(b"\x00a" + b"\xe0\xff\x00", 2**62),
    "claims what could be held": w.lzf(b"\x00a" + b"\xe0\xff\x00", 2**30),
    "claims a little too much": w.lzf(b"\x00a" + b"\xe0\xff\x00", 266),
    "claims too little": w.lzf(b"\x00a" + b"\xe0\xff\x00", 264),
    "copies what is not there": w.lzf(b"\x00a" + b"\xe0\xff\x01", 265),
    "ends inside a run": w.lzf(b"\x00a" + b"\xe0\xff", 265),
    "ends inside a literal": w.lzf(b"\x1fa", 32),
    "is empty": w.lzf(b"", 0),
    "is empty and claims": w.lzf(b"", 1),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_lzf_gives_no_more_than_it_can_and_breaks_one_value_only(read: Read, bomb: bytes) -> None:
    tracemalloc.start()
    for code in (0, 9, 10, 11, 12, 13, 16, 17, 20, 23):
        snapshot = read(Rdb(12).key("k", code, bomb).text("after", "v").end())
        assert snapshot.complete and snapshot.keys["key"].tolist() == ["k", "after"]
        read_back = values(snapshot)
        assert read_back[1] == b"v"
        assert read_back[0] is None or (bomb is BOMBS["is empty"] and code == 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_broken_name_ends_the_walk(read: Read) -> None:
    head = Rdb(9).text("a", "1")
    place = len(bytes(head))
    snapshot = read(head.raw(b"\x00", BOMBS["claims the most"], w.string(b"v")).text("b", "2").end())
    assert snapshot.keys["key"].tolist() == ["a"] and snapshot.stopped_at == place and not snapshot.complete


BROKEN = {
    "listpack, wrong size": (16, w.string(w.listpack([b"f", b"v"])[:-1])),
    "listpack, too many claimed": (20, w.string(w.listpack([b"f", b"v"], count=3000))),
    "listpack, one too few claimed": (20, w.string(w.listpack([b"f", b"v"], count=1))),
    "listpack, odd": (16, w.string(w.listpack([b"f"]))),
    "listpack of three, odd": (23, w.string(w.listpack([b"f", b"v"]))),
    "listpack of three, no time": (23, w.string(w.listpack([b"f", b"v", b"soon"]))),
    "ziplist, odd": (13, w.string(w.ziplist([b"f"]))),
    "ziplist, too many claimed": (10, w.string(w.ziplist([b"f", b"v"], count=9))),
    "ziplist as listpack": (16, w.string(w.ziplist([b"f", b"v"]))),
    "intset of odd width": (11, w.string(struct.pack("<II", 3, 1) + b"abc")),
    "intset, too few": (11, w.string(struct.pack("<II", 2, 9) + b"ab")),
    "number as listpack": (16, w.number(5)),
    "empty listpack": (16, w.string(b"")),
    "zipmap without an end": (9, w.string(w.zipmap(PAIRS[:2])[:-1])),
    "zipmap of a field alone": (9, w.string(b"\x01\x01f\xff")),
    "score that is no number": (17, w.string(w.listpack([b"m", b"much"]))),
    "old score that is no number": (3, w.length(1) + w.string(b"m") + b"\x04much"),
    "stream node without an ID": (15, w.length(1) + w.string(b"id") + w.string(w.listpack([])) + b"\x00" * 4),
    "stream node without a head": (15, w.length(1) + w.string(b"i" * 16) + w.string(w.listpack([1])) + b"\x00" * 4),
    "stream of -5 fields": (15, w.length(1) + w.string(b"i" * 16) + w.string(w.listpack([1, 0, -5, 0])) + b"\x00" * 4),
    "stream entry of -5 fields": (
        15, w.length(1) + w.string(b"i" * 16) + w.string(w.listpack([1, 0, 0, 0, 0, 0, 0, -5, 1])) + b"\x00" * 4,
    ),
    "stream entry that is cut": (
        15, w.length(1) + w.string(b"i" * 16) + w.string(w.listpack([1, 0, 1, b"f", 0, 2, 0, 0])) + b"\x00" * 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "stored"), BROKEN.values(), ids=BROKEN.keys())
def test_one_broken_value_costs_one_value(read: Read, code: int, stored: bytes) -> None:
    snapshot = read(Rdb(12).key("k", code, stored).text("after", "v").end())
    assert snapshot.complete and snapshot.keys["key"].tolist() == ["k", "after"]
    assert values(snapshot) == [None, b"v"]


HEADS = (
    "listpack, wrong size", "listpack, too many claimed", "listpack, odd", "listpack of three, odd", "ziplist, odd",
    "ziplist, too many claimed", "ziplist as listpack", "intset of odd width", "intset, too few", "number as listpack",
    "empty listpack",
)  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_a_length_that_a_broken_header_gives_is_missing(read: Read, name: str) -> None:
    code, stored = BROKEN[name]
    row = read(Rdb(12).key("k", code, stored).end()).keys.iloc[0]
    assert pd.isna(row.length) and (pd.isna(row.field_ttls) or row.field_ttls >= 0)


def test_list_node_of_an_unknown_kind_ends_the_walk(read: Read) -> None:
    snapshot = read(Rdb(12).text("a", "1").key("k", 18, w.length(1) + w.length(3) + w.string(b"x")).end())
    assert snapshot.keys["key"].tolist() == ["a"] and not snapshot.complete
    assert snapshot.reason is not None and "damaged" in snapshot.reason


@pytest.mark.parametrize("offset", [-1, 0, 3, 9, 10**12, 2**63])
def test_a_value_where_no_entry_begins_is_unreadable(read: Read, offset: int) -> None:
    snapshot = read(Rdb(9).text("a", "1").end())
    if offset == 9:
        assert snapshot.value(offset) == b"1"
        return
    with pytest.raises(ValueUnreadable):
        snapshot.value(offset)


SEEDS = [every_type(), Rdb(10).key("many", 16, w.lzf_string(w.listpack(MANY[:400]))).text("a", "1", ms=5).end()]
SEEDS += [
    Rdb(80, valkey=True).key(name, code, stored).end() for name, valkey, _, code, stored, _ in TIMED_HASHES if valkey
]
CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
SEEDS += [path.read_bytes() for path in sorted(CORPUS.glob("*/hash_field_ttl.rdb"))]


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.sampled_from(SEEDS), edits=EDITS)
def test_no_edit_of_a_snapshot_raises(tmp_path_factory: pytest.TempPathFactory, seed: bytes, edits: list[Edit]) -> None:
    data = edited(seed, edits)
    path = tmp_path_factory.getbasetemp() / "edited.rdb"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    try:
        snapshot = read_rdb(path)
    except Unusable:
        assert len(data) < 9
        return
    assert snapshot.complete == (snapshot.reason is None) and snapshot.complete == (snapshot.stopped_at is None)
    assert snapshot.keys["offset"].is_monotonic_increasing
    assert (snapshot.keys["bytes"] >= 0).all() and snapshot.keys["bytes"].sum() <= len(data)
    values(snapshot)


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    version=st.sampled_from([b"REDIS0002", b"REDIS0012", b"VALKEY080"]),
    codes=st.lists(st.sampled_from([*range(26), *range(243, 256)])),
    octets=st.binary(max_size=300),
)
def test_no_bytes_behind_the_magic_raise(
    tmp_path_factory: pytest.TempPathFactory, version: bytes, codes: list[int], octets: bytes
) -> None:
    parts = [bytes([code]) + octets[place : place + 20] for place, code in enumerate(codes)]
    path = tmp_path_factory.getbasetemp() / "made.rdb"
    path.unlink(missing_ok=True)
    path.write_bytes(version + b"".join(parts) + octets)
    values(read_rdb(path))

"""What a real server saves reads as what it answers: every type, on both sides of every change of encoding."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from analysis.evidence.rdb import Snapshot, read_rdb
from tests.conftest import StartRedis
from tests.servers import RedisServer

AT = 2_000_000_000_000
SIZES = (1, 2, 30, 129, 513, 3000)
TEXTS = [
    b"",
    b"0",
    b"-1",
    b"4095",
    b"65536",
    b"9223372036854775807",
    b"x" * 65,
    b"y" * 5000,
    bytes(range(256)),
    "ключ".encode(),
]


@pytest.fixture(scope="module")
def server(start_redis_for_module: StartRedis) -> Iterator[RedisServer]:
    server = start_redis_for_module()
    yield server


@pytest.fixture(scope="module")
def client(server: RedisServer) -> Any:
    client: Any = server.client(db=3)
    chance = random.Random(7)
    many = [b"m%d" % place if place % 3 else b"%d" % (place * 997 - 5000) for place in range(max(SIZES))]
    with client.pipeline(transaction=False) as pipe:
        for place, text in enumerate([*TEXTS, chance.randbytes(20_000), b"compress me " * 1000]):
            pipe.set(f"string:{place}", text, pxat=AT + place if place % 2 else None)
            pipe.set(text or b"empty", b"the name is it")
        for size in SIZES:
            pipe.rpush(f"list:{size}", *many[:size])
            pipe.sadd(f"set:{size}", *many[:size])
            pipe.sadd(f"numbers:{size}", *range(-size, size), 2 ** (size % 62))
            pipe.hset(f"hash:{size}", mapping={name: name[::-1] for name in many[:size]})
            pipe.zadd(f"zset:{size}", {name: chance.uniform(-1e9, 1e9) for name in many[:size]})
            for place in range(size):
                fields = {b"a": many[place]} if place % 5 else {b"a": b"1", b"b": many[place]}
                pipe.xadd(f"stream:{size}", fields, id=f"{1000 + place}-{place % 2 + 1}")
            pipe.xdel(f"stream:{size}", "1001-2", "1007-2")
        for text in TEXTS:
            pipe.rpush("list:texts", text)
            pipe.hset("hash:texts", text, text)
            pipe.zadd("zset:texts", {text: len(text) / 7})
        pipe.zadd("zset:ends", {"low": "-inf", "high": "inf", "zero": 0, "whole": 3})
        pipe.xgroup_create("stream:30", "group", id="0")
        pipe.xreadgroup("group", "reader", {"stream:30": ">"}, count=9)
        pipe.xgroup_createconsumer("stream:30", "group", "idle")
        pipe.expire("list:30", 10**8)
        pipe.execute()
    server.client(db=0).set("elsewhere", "1")
    return client


@pytest.fixture(scope="module", params=["yes", "no"], ids=["compressed", "not compressed"])
def snapshot(request: pytest.FixtureRequest, server: RedisServer, client: Any) -> Snapshot:
    client.config_set("rdbcompression", request.param)
    path = server.save()
    kept = path.with_name(f"{request.param}.rdb")
    kept.write_bytes(path.read_bytes())
    return read_rdb(kept)


def test_snapshot_is_whole_and_dated(snapshot: Snapshot, server: RedisServer) -> None:
    assert (snapshot.complete, snapshot.reason, snapshot.checksum) == (True, None, "verified")
    assert snapshot.aux["redis-ver"] == ".".join(map(str, server.version))
    assert snapshot.taken_at is not None and abs(pd.Timestamp.now("UTC") - snapshot.taken_at) < pd.Timedelta(minutes=5)


def test_keys_types_and_expiries_are_the_servers(snapshot: Snapshot, client: Any) -> None:
    names = {name.decode("utf-8", "backslashreplace"): name for name in client.keys()}
    keys = snapshot.keys
    assert keys.loc[keys["db"] == 0, "key"].tolist() == ["elsewhere"]
    keys = keys.loc[keys["db"] == 3]
    assert sorted(keys["key"]) == sorted(names)
    for row in keys.itertuples():
        name = names[row.key]
        assert row.type == client.type(name).decode()
        assert row.encoding == client.object("encoding", name).decode(), row.key
        left = client.pttl(name)
        assert (left == -1) == (row.expires_at is pd.NaT)
    expiries = keys.set_index("key")["expires_at"]
    assert expiries["string:1"] == pd.Timestamp(AT + 1, unit="ms", tz="UTC")
    assert expiries["string:9"] == pd.Timestamp(AT + 9, unit="ms", tz="UTC")


def answer(client: Any, kind: str, name: bytes) -> Any:
    match kind:
        case "string":
            return client.get(name)
        case "list":
            return client.lrange(name, 0, -1)
        case "set":
            return sorted(client.smembers(name))
        case "hash":
            return client.hgetall(name)
        case "zset":
            return sorted(client.zrange(name, 0, -1, withscores=True))
    entries = client.execute_command("XRANGE", name, "-", "+")
    return [(entry.decode(), dict(pairs)) for entry, pairs in entries]


def test_values_are_the_servers(snapshot: Snapshot, client: Any) -> None:
    names = {name.decode("utf-8", "backslashreplace"): name for name in client.keys()}
    for row in snapshot.keys.loc[snapshot.keys["db"] == 3].itertuples():
        value: Any = snapshot.value(row.offset)
        assert row.length == len(value)
        if row.type in ("set", "zset"):
            value = sorted(value)
        elif row.type == "hash":
            value = dict(value)
        elif row.type == "stream":
            value = [(entry, dict(pairs)) for entry, pairs in value]
        assert value == answer(client, row.type, names[row.key]), row.key


@pytest.mark.parametrize(("policy", "column"), [("allkeys-lru", "idle"), ("allkeys-lfu", "freq")])
def test_idle_and_freq_are_saved_under_their_policy(start_redis: StartRedis, policy: str, column: str) -> None:
    server = start_redis(maxmemory="100mb", maxmemory_policy=policy)
    client = server.client()
    client.set("k", "v")
    said = client.object("idletime" if column == "idle" else "freq", "k")
    row = read_rdb(server.save()).keys.iloc[0]
    assert row[column] - said in (0, 1)
    assert pd.isna(row["freq" if column == "idle" else "idle"])

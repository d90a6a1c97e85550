"""The replay of commands does what the server did: its keys, types, values and expiries are those of a snapshot."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import redis

from analysis.evidence.aof import CommandFile, open_parts, read_append_only
from analysis.evidence.aof_manifest import INCREMENT, PartName, read_manifest
from analysis.evidence.rdb import Snapshot, read_rdb
from analysis.evidence.rdb_values import ValueUnreadable
from tests.servers import RedisServer

KEYS = {
    kind: [f"{kind}{number}" for number in range(4)]
    for kind in ("string", "number", "list", "set", "zset", "hash", "stream", "bits")
}
WORDS = ["a", "b", "c", "dd", "eee", "\x00\xff", "42", "-7", "x" * 70]

Do = Callable[[redis.Redis, random.Random], Any]


def _one(kind: str) -> Callable[[random.Random], str]:
    return lambda chance: chance.choice(KEYS[kind])


def _score(chance: random.Random) -> float:
    return chance.choice([0, 1, -1.5, 2.25, 3, 10, 1e17])


def _commands() -> list[Do]:
    """Commands of every kind that a server writes down, on few keys, so that they meet one another."""
    s, n, li, se, z, h, st, b = map(_one, KEYS)
    some = lambda c: c.sample(WORDS, c.randint(1, 4))  # noqa: E731
    anything = lambda c: c.choice([key for keys in KEYS.values() for key in keys])  # noqa: E731
    return [
        lambda r, c: r.set(s(c), c.choice(WORDS)),
        lambda r, c: r.set(s(c), c.choice(WORDS), ex=c.randint(1000, 9000), nx=c.random() < 0.3),
        lambda r, c: r.set(s(c), c.choice(WORDS), keepttl=True),
        lambda r, c: r.execute_command("SETEX", s(c), c.randint(1000, 9000), c.choice(WORDS)),
        lambda r, c: r.execute_command("GETSET", s(c), c.choice(WORDS)),
        lambda r, c: r.append(s(c), c.choice(WORDS)),
        lambda r, c: r.setrange(s(c), c.randint(0, 20), c.choice(WORDS)),
        lambda r, c: r.mset({s(c): c.choice(WORDS), KEYS["string"][0]: "m"}),
        lambda r, c: r.execute_command("GETEX", s(c), *c.choice((["PERSIST"], ["EX", "5000"], []))),
        lambda r, c: r.getdel(s(c)),
        lambda r, c: r.incrby(n(c), c.randint(-9, 9)),
        lambda r, c: r.decr(n(c)),
        lambda r, c: r.incrbyfloat(n(c), 0) if c.random() < 0.1 else r.incr(n(c)),
        lambda r, c: r.setbit(b(c), c.randint(0, 200), c.randint(0, 1)),
        lambda r, c: r.lpush(li(c), *some(c)),
        lambda r, c: r.rpush(li(c), *some(c)),
        lambda r, c: r.rpushx(li(c), *some(c)),
        lambda r, c: r.lpop(li(c), c.choice((None, 2))),
        lambda r, c: r.rpop(li(c)),
        lambda r, c: r.brpop([li(c)], timeout=0.01),
        lambda r, c: r.lrem(li(c), c.choice((-1, 0, 1)), c.choice(WORDS)),
        lambda r, c: r.ltrim(li(c), c.randint(-3, 1), c.randint(-2, 5)),
        lambda r, c: r.lset(li(c), 0, c.choice(WORDS)),
        lambda r, c: r.linsert(li(c), c.choice(("BEFORE", "AFTER")), "a", c.choice(WORDS)),
        lambda r, c: r.rpoplpush(li(c), li(c)),
        lambda r, c: r.lmove(li(c), li(c), c.choice(("LEFT", "RIGHT")), c.choice(("LEFT", "RIGHT"))),
        lambda r, c: r.sadd(se(c), *some(c)),
        lambda r, c: r.srem(se(c), *some(c)),
        lambda r, c: r.spop(se(c)),
        lambda r, c: r.smove(se(c), se(c), c.choice(WORDS)),
        lambda r, c: r.sunionstore(se(c), [se(c), se(c)]),
        lambda r, c: r.sinterstore(se(c), [se(c), se(c)]),
        lambda r, c: r.sdiffstore(se(c), [se(c), se(c)]),
        lambda r, c: r.zadd(z(c), {word: _score(c) for word in some(c)}),
        lambda r, c: r.zadd(z(c), {c.choice(WORDS): _score(c)}, nx=True),
        lambda r, c: r.zadd(z(c), {c.choice(WORDS): _score(c)}, gt=True),
        lambda r, c: r.zincrby(z(c), 1.5, c.choice(WORDS)),
        lambda r, c: r.zrem(z(c), *some(c)),
        lambda r, c: r.zpopmin(z(c)),
        lambda r, c: r.zpopmax(z(c), 2),
        lambda r, c: r.zremrangebyscore(z(c), "(0", 2),
        lambda r, c: r.zremrangebyrank(z(c), 0, c.randint(-3, 1)),
        lambda r, c: r.hset(h(c), mapping={word: c.choice(WORDS) for word in some(c)}),
        lambda r, c: r.hsetnx(h(c), c.choice(WORDS), "nx"),
        lambda r, c: r.hdel(h(c), *some(c)),
        lambda r, c: r.hincrby(h(c), "count", c.randint(-5, 5)),
        lambda r, c: r.xadd(st(c), {word: "v" for word in some(c)}, maxlen=c.choice((None, 5)), approximate=False),
        lambda r, c: r.xtrim(st(c), maxlen=3, approximate=False),
        lambda r, c: r.expire(anything(c), c.randint(1000, 9000)),
        lambda r, c: r.pexpireat(anything(c), 4_000_000_000_000 + c.randint(0, 999)),
        lambda r, c: r.persist(anything(c)),
        lambda r, c: r.expire(anything(c), -1) if c.random() < 0.2 else None,
        lambda r, c: r.delete(anything(c), anything(c)) if c.random() < 0.4 else None,
        lambda r, c: r.unlink(anything(c)) if c.random() < 0.4 else None,
        lambda r, c: r.rename(anything(c), anything(c)) if c.random() < 0.2 else None,
        lambda r, c: r.copy(anything(c), anything(c), replace=True) if c.random() < 0.2 else None,
        lambda r, c: r.move(anything(c), c.randint(0, 3)) if c.random() < 0.3 else None,
        lambda r, c: r.swapdb(0, c.randint(1, 3)) if c.random() < 0.1 else None,
        lambda r, c: r.execute_command("FLUSHDB") if c.random() < 0.02 else None,
        lambda r, c: r.eval("redis.call('set', KEYS[1], 'lua'); redis.call('del', KEYS[2])", 2, s(c), s(c)),
        lambda r, c: r.pipeline(transaction=True).set(s(c), "t").expire(s(c), 500).execute(),
        lambda r, c: _restored(r, anything(c), anything(c)) if c.random() < 0.3 else None,
    ]


def _restored(client: redis.Redis, source: str, target: str) -> None:
    payload = client.dump(source)
    if payload is not None:
        client.restore(target, 0, payload, replace=True)


def _state(file: CommandFile) -> dict[tuple[int, str], Any]:
    assert file.state is not None and file.state.complete, file.state
    return {
        (row.db, row.key): (row.type, row.expires_at, row.length, _plain(row.type, file.state.value(row.offset)))
        for row in file.state.keys.itertuples()
    }


def _of_snapshot(snapshot: Snapshot) -> dict[tuple[int, str], Any]:
    return {
        (row.db, row.key): (row.type, row.expires_at, row.length, _plain(row.type, snapshot.value(row.offset)))
        for row in snapshot.keys.itertuples()
    }


def _plain(kind: str, value: Any) -> Any:
    """Sets and hashes have no order."""
    return sorted(value) if kind in ("set", "hash", "zset") else value


def _read(server: RedisServer) -> CommandFile:
    if server.version >= (7, 0):
        manifest = server.dir / "appendonlydir" / "appendonly.aof.manifest"
        named, _ = read_manifest(manifest)
        given = [(part, manifest.parent / part.name, part.name) for part in named]
    else:
        given = [(PartName("appendonly.aof", 0, INCREMENT), server.dir / "appendonly.aof", "appendonly.aof")]
    parts, failed = open_parts(given)
    assert not failed
    return read_append_only(parts, source="the file")


def _same(one: dict[tuple[int, str], Any], two: dict[tuple[int, str], Any]) -> None:
    assert one.keys() == two.keys()
    for key, (kind, expires, length, value) in one.items():
        other = two[key]
        assert (kind, length, value) == (other[0], other[2], other[3]), key
        assert (pd.isna(expires) and pd.isna(other[1])) or expires == other[1], key


@pytest.mark.parametrize("seed", range(3))
def test_the_state_is_that_of_the_server(start_redis, tmp_path, seed):
    server = start_redis(appendonly="yes", appendfsync="always", save='""')
    chance, doing = random.Random(seed), _commands()
    clients = [server.client(db) for db in range(4)]
    for number in range(3_000):
        client = clients[min(int(chance.expovariate(1.2)), 3)]
        try:
            chance.choice(doing)(client, chance)
        except redis.ResponseError:
            pass  # on a key of another type, or of none
        if number == 1_500 and seed != 2:
            # The second half is written on a snapshot of the first.
            client.execute_command("BGREWRITEAOF")
            _wait(lambda: server.info()["aof_rewrite_in_progress"] == 0 and not server.info()["aof_rewrite_scheduled"])
    snapshot = read_rdb(server.save())
    file = _read(server)
    assert all(part.complete for part in file.parts)
    _same(_state(file), _of_snapshot(snapshot))


def _wait(done: Callable[[], bool]) -> None:
    import time

    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_not_followed_is_unknown_and_said(start_redis):
    server = start_redis(appendonly="yes", appendfsync="always")
    client = server.client()
    client.pfadd("visitors", "a", "b")
    client.execute_command("BITFIELD", "bits", "SET", "u8", "0", "200")
    client.set("kept", "1")
    file = _read(server)
    assert file.state is not None and not file.state.complete
    assert "PFADD 1×" in str(file.state.reason) and "BITFIELD 1×" in str(file.state.reason)
    rows = {row.key: row for row in file.state.keys.itertuples()}
    assert rows["bits"].type == "string" and file.state.value(rows["kept"].offset) == b"1"
    with pytest.raises(ValueUnreadable, match="PFADD"):
        file.state.value(rows["visitors"].offset)


def test_the_expiry_before_and_what_was_taken_are_noted(start_redis):
    server = start_redis(appendonly="yes", appendfsync="always")
    client = server.client()
    client.set("k", "first", px=5_000_000)
    client.pexpire("k", 90_000)
    client.set("k", "second")
    client.lpush("queue", "one", "two")
    client.brpop(["queue"])
    client.hset("unacked", "tag", "payload")
    client.hdel("unacked", "tag")
    file = _read(server)
    rows = file.commands
    verbs = rows["verb"].str.upper().tolist()
    assert verbs == ["SET", "PEXPIREAT", "SET", "LPUSH", "RPOP", "HSET", "HDEL"]
    assert rows["due_at"].tolist()[1] == rows["expires_at"].tolist()[0]
    assert rows["due_at"].tolist()[2] == rows["expires_at"].tolist()[1]
    assert [file.content(place) for place in rows["payload_at"].iloc[[4, 6]]] == [b"one", b"payload"]

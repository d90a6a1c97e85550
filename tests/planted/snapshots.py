"""A simulated system's snapshot, as an RDB file.

In: a ``World``, a time. Out: bytes. The checksum is off, as with ``rdbchecksum no``.
"""

from __future__ import annotations

import struct

import numpy as np

from tests.evidence import rdb_writer as w
from tests.planted import values
from tests.planted.system import NEVER, SECOND, Dice
from tests.planted.work import World

_STRING, _ZSET, _LIST, _HASH, _SET = 0, 5, 18, 16, 2
_PACKED = 2


def snapshot(world: World, at: int, dice: Dice, *, aof_base: bool = False) -> bytes:
    """What the server holds at ``at``, in no order of time, as a hash table has none."""
    system = world.system
    out = w.Rdb(11).aux("valkey-ver" if system.valkey else "redis-ver", b"8.0.2" if system.valkey else b"7.2.5")
    out.aux("redis-bits", 64).aux("ctime", at // SECOND).aux("used-mem", 2_000_000 + 700 * len(world.lives))
    out.aux("aof-base", int(aof_base))
    held = np.flatnonzero(world.alive(at))
    dice.shuffle(held)
    lives = world.lives.iloc[held]
    expires = world.expiries(at)[held]
    idle = (at - _used(world, held, at, dice)) // SECOND
    entries: dict[int, list[bytes]] = {}
    rows = zip(*(lives[name].tolist() for name in _COLUMNS), expires.tolist(), idle.tolist(), strict=True)
    for db, family, key, task_id, name, begun, written, status, expiry, age in rows:
        front = b"\xfc" + struct.pack("<q", expiry // 1000) if expiry < NEVER else b""
        if system.lru:
            front += b"\xf8" + w.length(max(age, 0))
        code, value = _value(world, family, key, task_id, name, status, begun, written, at)
        entries.setdefault(db, []).append(front + bytes([code]) + w.string(key) + value)
    if system.broker_here:
        entries.setdefault(system.databases["broker"], []).extend(_broker(world, at))
    for db in sorted(entries):
        out.select(db).raw(*entries[db])
    return out.end(sum_of=0)


_COLUMNS = "db family key task_id name begun written status".split()


def _used(world: World, held: np.ndarray, at: int, dice: Dice) -> np.ndarray:
    """When each key was used last: written, renewed, or read some time after."""
    lives = world.lives.iloc[held]
    used = np.where(lives["written"] <= at, lives["written"], lives["begun"]).astype(np.int64)
    read = used + dice.exponential(world.system.retention / 10, len(held)).astype(np.int64)
    used = np.where((dice.random(len(held)) < 0.5) & (read <= at), read, used)
    last = np.zeros(len(world.lives), np.int64)
    before = world.renewals.loc[world.renewals["at"] <= at]
    last[before["life"].to_numpy(np.int64)] = before["at"].to_numpy(np.int64)
    latest: np.ndarray = np.maximum(used, last[held])
    return latest


def _value(
    world: World, family: str, key: str, task_id: str, name: str, status: str, begun: int, written: int, at: int
) -> tuple[int, bytes]:
    if family == "result":
        now = status if written <= at else world.system.unfinished
        return _STRING, w.string(values.result(task_id, name, now, written, world.system.extended))
    if family == "job":
        fields = values.job(task_id, name, status if written <= at else "queued", begun)
        return _HASH, w.string(w.listpack([part for field in fields for part in field]))
    if family == "chord":
        return _ZSET, w.length(1) + w.string("1") + struct.pack("<d", 1.0)
    return _STRING, w.string(values.plain(key))


def _broker(world: World, at: int) -> list[bytes]:
    """Queues that have something in them, what workers hold, and the bindings, which stay."""
    tasks, kinds, found = world.tasks, world.system.kinds, []
    waiting = tasks.loc[(tasks["sent"] <= at) & (tasks["received"] > at)]
    for queue in sorted({kind.queue for kind in kinds}):
        found.append(
            bytes([_SET])
            + w.string(f"_kombu.binding.{queue}")
            + w.length(1)
            + w.string(queue + "\x06\x16\x06\x16" + queue)
        )
        here = waiting.loc[[kinds[kind].queue == queue for kind in waiting["kind"]]]
        bodies = [values.message(row.task_id, kinds[row.kind].name, queue) for row in here.itertuples()]
        if bodies:
            node = w.length(_PACKED) + w.string(w.listpack(bodies[::-1]))
            found.append(bytes([_LIST]) + w.string(queue) + w.length(1) + node)
    held = tasks.loc[(tasks["received"] <= at) & (tasks["started"] > at)]
    if len(held):
        hashed, scored = [w.length(len(held))], [w.length(len(held))]
        for row in held.itertuples():
            kind = kinds[row.kind]
            tag = row.task_id[::-1]
            hashed += [w.string(tag), w.string(values.reserved(row.task_id, kind.name, kind.queue))]
            scored += [w.string(tag), struct.pack("<d", row.received / SECOND)]
        found.append(bytes([4]) + w.string("unacked") + b"".join(hashed))
        found.append(bytes([_ZSET]) + w.string("unacked_index") + b"".join(scored))
    return found

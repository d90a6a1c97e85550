"""What goes on in a simulated system, as its append-only file, MONITOR and the keyspace notifications tell it.

In: a ``World``, from when to when. Out: bytes of a file. Each witness sees what it sees on a real server: the
append-only file all writes, expiries and evictions as the server writes them; MONITOR what clients send; notifications
the events of keys, without a client, and nothing of a flush (facts/signals.md, 2.3 and 7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from tests.planted import values
from tests.planted.system import NEVER, SECOND
from tests.planted.work import World

Parts = tuple[bytes | str | int, ...]
EVICT, FLUSHES = "evict", ("FLUSHDB", "FLUSHALL")
"""Verbs of a life's end that are no client's delete: taken by the server; by an order of the ``World``."""


def within(world: World, since: int, until: int) -> Iterator[tuple[int, int, str, int, list[Parts]]]:
    """What is done between two moments, not in order: (at, db, by whom, client, commands). ``by``: client, expiry,
    eviction or script; commands of one entry belong together.
    """
    yield from _writes(world, since, until)
    yield from _renewals(world, since, until)
    yield from _removals(world, since, until)
    if world.system.broker_here:
        yield from _broker(world, since, until)
    for at, db, verb in world.orders:
        if since < at <= until:
            yield at, db, "client", 66, [(verb,)]


def _writes(world: World, since: int, until: int) -> Iterator[tuple[int, int, str, int, list[Parts]]]:
    lives, system = world.lives, world.system
    told = lives.loc[
        ((lives["begun"] > since) & (lives["begun"] <= until))
        | ((lives["written"] > since) & (lives["written"] <= until))
    ]
    for row in told.itertuples():
        stages = [(row.begun, row.first_expires, False)] if row.begun < row.written else []
        for at, expires, last in [*stages, (row.written, row.expires, True)]:
            if not since < at <= until or row.gone < at:
                continue
            if row.family == "result":
                now = row.status if last else system.unfinished
                body = values.result(row.task_id, row.name, now, row.written, system.extended)
                commands: list[Parts] = [("SET", row.key, body, "PXAT", expires // 1000)]
            elif row.family == "job":
                commands = _job(row, last, expires, world)
            elif row.family == "chord":
                commands = [("ZADD", row.key, 1, "1"), ("PEXPIREAT", row.key, expires // 1000)]
            else:
                commands = [("SET", row.key, values.plain(row.key), "PXAT", expires // 1000)]
            yield at, row.db, "client", 1 + row.Index % 8, commands


def _job(row, last: bool, expires: int, world: World) -> list[Parts]:
    jobs = world.system.jobs
    fields = dict(values.job(row.task_id, row.name, row.status if last else "queued", row.begun))
    if last and row.begun < row.written:
        commands: list[Parts] = [("HSET", row.key, b"status", fields[b"status"])]
        again = jobs is not None and jobs.refreshed
    else:
        commands, again = [("HSET", row.key, *(part for pair in fields.items() for part in pair))], True
    return commands + [("PEXPIREAT", row.key, expires // 1000)] * (again and expires < NEVER)


def _renewals(world: World, since: int, until: int) -> Iterator[tuple[int, int, str, int, list[Parts]]]:
    told = world.renewals.loc[(world.renewals["at"] > since) & (world.renewals["at"] <= until)]
    named = world.lives.iloc[told["life"].to_numpy(np.int64)]
    for at, expires, db, key, gone in zip(
        told["at"].tolist(), told["expires"].tolist(), named["db"], named["key"], named["gone"], strict=True
    ):
        if gone > at:
            yield at, db, "client", 21, [("PEXPIREAT", key, expires // 1000)]


def _removals(world: World, since: int, until: int) -> Iterator[tuple[int, int, str, int, list[Parts]]]:
    lives = world.lives.loc[(world.lives["gone"] > since) & (world.lives["gone"] <= until)]
    expired = lives.loc[lives["gone"] < lives["removed"]]
    for at, db, key in zip(expired["gone"].tolist(), expired["db"], expired["key"], strict=True):
        yield at, db, "expiry", 0, [("DEL", key)]
    removed = lives.loc[(lives["gone"] == lives["removed"]) & ~lives["verb"].isin(FLUSHES)]
    for (at, db, verb, client, at_once), rows in removed.groupby(
        ["removed", "db", "verb", "client", "at_once"], sort=False
    ):
        keys = rows["key"].tolist()
        if verb == EVICT:
            for key in keys:
                yield at, db, "eviction", 0, [("DEL", key)]
        elif at_once > 1:
            yield at, db, "client", client, [(verb, *keys)]
        else:
            for key in keys:
                yield at, db, "script" if verb == "del" else "client", client, [(verb, key)]


def _broker(world: World, since: int, until: int) -> Iterator[tuple[int, int, str, int, list[Parts]]]:
    kinds, db = world.system.kinds, world.system.databases["broker"]
    tasks = world.tasks.loc[(world.tasks["sent"] <= until) & (world.tasks["started"] > since)]
    for row in tasks.itertuples():
        kind, tag, client = kinds[row.kind], row.task_id[::-1], 1 + row.Index % 8
        if row.sent > since:
            yield (
                row.sent,
                db,
                "client",
                20,
                [("LPUSH", kind.queue, values.message(row.task_id, kind.name, kind.queue))],
            )
        if since < row.received <= until:
            held = values.reserved(row.task_id, kind.name, kind.queue)
            yield row.received, db, "client", client, [("RPOP", kind.queue)]
            added: list[Parts] = [("ZADD", "unacked_index", row.received / SECOND, tag), ("HSET", "unacked", tag, held)]
            yield row.received + 100, db, "client", client, added
        if since < row.started <= until:
            yield row.started, db, "client", client, [("ZREM", "unacked_index", tag), ("HDEL", "unacked", tag)]


def append_only(world: World, since: int, until: int, *, stamps: bool) -> bytes:
    """The increment behind a base of ``since``; ``stamps``: with ``aof-timestamp-enabled``."""
    told = sorted(within(world, since, until), key=lambda one: one[0])
    out, db, second = [], None, None
    for at, where, by, _, commands in told:
        if stamps and at // SECOND != second:
            second = at // SECOND
            out.append(b"#TS:%d\r\n" % second)
        if where != db:
            db = where
            out.append(_resp(("SELECT", db)))
        if by in ("expiry", "eviction") and world.system.valkey:
            commands = [("UNLINK", *parts[1:]) for parts in commands]
        some = len(commands) > 1
        out += (
            [b"*1\r\n$5\r\nMULTI\r\n"] * some + [_resp(parts) for parts in commands] + [b"*1\r\n$4\r\nEXEC\r\n"] * some
        )
    return b"".join(out)


def _resp(parts: Parts) -> bytes:
    texts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)


def monitored(world: World, since: int, until: int) -> str:
    """What ``redis-cli MONITOR`` prints."""
    told = sorted(
        (one for one in within(world, since, until) if one[2] in ("client", "script")), key=lambda one: one[0]
    )
    out = ["OK\n"]
    for at, db, by, client, commands in told:
        host = f"10.0.0.{client}:{40_000 + client * 7}"
        if by == "script":
            key = _quoted(commands[0][1])
            out.append(f'{_unix(at)} [{db} {host}] "EVALSHA" "c2f6b2a1" "1" {key} "8d9a"\n')
            out.append(f'{_unix(at + 3)} [{db} lua] "del" {key}\n')
            continue
        for place, parts in enumerate(commands):
            said = " ".join(_quoted(part) for part in _sent(parts, at))
            out.append(f"{_unix(at + place)} [{db} {host}] {said}\n")
    return "".join(out)


def _sent(parts: Parts, at: int) -> Parts:
    """A command as the client sent it, with a time to live for the time that the server makes of it."""
    match parts:
        case ("SET", key, body, "PXAT", int(expires)):
            return ("SETEX", key, round(expires / 1000 - at / SECOND), body)
        case ("PEXPIREAT", key, int(expires)):
            return ("EXPIRE", key, round(expires / 1000 - at / SECOND))
        case ("RPOP", key):
            return ("BRPOP", key, 1)
    return parts


def _unix(at: int) -> str:
    return f"{at // SECOND}.{at % SECOND:06}"


def _quoted(part: bytes | str | int) -> str:
    text = part.decode() if isinstance(part, bytes) else str(part)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def notified(world: World, since: int, until: int) -> str:
    """Keyspace notifications of classes g, x and e, as a recorder writes them."""
    told = sorted(within(world, since, until), key=lambda one: one[0])
    waiting = world.tasks.loc[(world.tasks["sent"] <= since) & (world.tasks["received"] > since)]
    length: Counter[str] = Counter(world.system.kinds[kind].queue for kind in waiting["kind"])
    length["unacked"] = int(((world.tasks["received"] <= since) & (world.tasks["started"] > since)).sum())
    out = []
    for at, db, by, _, commands in told:
        for parts in commands:
            for event, key in _events(by, parts, length):
                out.append(f'{values.stamp(at)}Z "pmessage","__keyevent@*__:*","__keyevent@{db}__:{event}","{key}"\n')
    return "".join(out)


def _events(by: str, parts: Parts, length: Counter[str]) -> list[tuple[str, str]]:
    verb, names = str(parts[0]), [str(part) for part in parts[1:2]]
    if verb in ("DEL", "UNLINK", "del"):
        word = {"expiry": "expired", "eviction": "evicted"}.get(by, "del")
        return [(word, str(key)) for key in parts[1:]]
    if verb == "PEXPIREAT" or (verb == "SET" and "PXAT" in parts[3:]):
        return [("expire", names[0])]
    if verb == "LPUSH" or (verb == "HSET" and names == ["unacked"]):
        length[names[0]] += 1
    elif verb in ("RPOP", "HDEL"):
        length[names[0]] -= 1
        # A list or hash whose last element is taken is deleted.
        if length[names[0]] == 0:
            return [("del", name) for name in ([*names, "unacked_index"] if verb == "HDEL" else names)]
    return []

"""Results that were stored and then removed: by time, by memory, by name, by pattern, by their own caller.

In: a stage. Out: the truth. Each builder acts on a real server between ``before`` and ``after``.
"""

from __future__ import annotations

import time
from typing import Any

from tests.incidents.bench import META, Stage
from tests.incidents.catalogue import incident
from tests.incidents.plan import Needs
from tests.incidents.truth import Accepted, Truth

# What takes one key away, and leaves nothing where nobody writes it down.
QUIET = (
    "unknown", "deleted_by_client", "forgotten", "bulk_deleted", "ttl_shortened", "renamed_or_moved", "evicted",
)  # fmt: skip
# No witness at all: the expert may lean, not know.
BLIND = 0.7


def quiet(*first: str, most: float = BLIND) -> Accepted:
    """Everything that leaves no trace where nothing is left, ``first`` (the truth) before."""
    return Accepted([*first, *(cause for cause in QUIET if cause not in first)], most=most)


def finished(stage: Stage, **options: Any) -> str:
    """A task that ran and whose result was stored, among others."""
    stage.noise()
    stage.some_others()
    (task,) = stage.run(**options)
    stage.others += stage.run(stage.random.randint(0, 3))
    return task


@incident("natural_expiry", "keys", Needs(seen_by=("aof", "keyspace", "info_pair"), poor=("blind", "counted")))
def natural_expiry(stage: Stage) -> Truth:
    stage.expires = stage.random.choice((2, 3, 4))
    stage.open()
    task = finished(stage)
    stage.before()
    stored = time.monotonic()
    younger = stage.random.random() < 0.5
    time.sleep(stage.expires - 0.5)
    if younger:
        stage.run(2)
    stage.no_more_keys(lambda: time.monotonic() - stored > stage.expires + 0.3 and not _exists(stage, task))
    stage.after()
    stated = stage.plan.any("expires", "source")
    told = stated or (younger and stage.plan.has("rdb")) or stage.plan.has("aof")
    return stage.truth(
        task,
        f"Gone after its result_expires of {stage.expires} s (stated: {stated}, younger results there: {younger}).",
        Accepted(["natural_expiry"], 0.85) if told else quiet("natural_expiry", most=0.95),
        counted=Accepted(["natural_expiry"], 0.6) if told else quiet("natural_expiry", most=0.9),
        blind=Accepted(["natural_expiry", "unknown"], most=0.99) if told else quiet("natural_expiry", most=0.8),
    )


def _exists(stage: Stage, task: str) -> bool:
    return bool(stage.db().exists(stage.meta(task)))


@incident("ttl_shortened", "keys", Needs(avoid=("shorten_others",)))
def ttl_shortened(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    how = stage.pick(("EXPIRE 2", "EXPIRE 0", "SETEX 2", "PEXPIRE 1500", "EXPIRE -1"))
    client, key = stage.db(), stage.meta(task)
    if how.startswith("SETEX"):
        client.setex(key, 2, client.get(key) or b"")
    else:
        command, seconds = how.split()
        client.execute_command(command, key, seconds)
    stage.no_more_keys(lambda: not client.exists(key))
    time.sleep(0.1)
    stage.after()
    at_once = how in ("EXPIRE 0", "EXPIRE -1")
    alike = ("ttl_shortened", "deleted_by_client", "forgotten")
    # EXPIRE with no time to live is written to the append-only file as a DEL: only MONITOR shows what was sent.
    told = not at_once or stage.plan.has("monitor") or stage.slowlog_shows("EXPIRE")
    return stage.truth(
        task,
        f"{how} of the result alone, long before its {stage.expires} s were over.",
        Accepted(["ttl_shortened"], 0.85) if told else Accepted([*alike, "unknown"], most=0.95),
        counted=quiet("ttl_shortened", most=0.92),
        blind=quiet("ttl_shortened"),
    )


@incident(
    "evicted",
    "keys",
    Needs(seen_by=("info_pair", "keyspace"), always=("worker_log", "info", "rdb", "rdb_pair"), avoid=("old_eviction",)),
)
def evicted(stage: Stage) -> Truth:
    how = stage.pick(("volatile-ttl", "queue", "allkeys-lru", "volatile-lru"))
    policy = "allkeys-lru" if how == "queue" else how
    if stage.expires > 86400:
        stage.expires = 86400
    stage.open(config={"maxmemory": "4mb", "maxmemory_policy": policy})
    if how == "queue":
        return _evicted_queue(stage)
    task = finished(stage)
    stage.before()
    _fill_until_gone(stage, stage.results, stage.meta(task))
    stage.after()
    return stage.truth(
        task,
        f"maxmemory 4 MB, {policy}: cache pages pushed the result out; evicted_keys grew.",
        Accepted(["evicted"], 0.75),
        counted=Accepted(["evicted", "unknown"], most=0.99),
        blind=quiet("evicted"),
    )


def _evicted_queue(stage: Stage) -> Truth:
    """A whole waiting queue is one key."""
    finished(stage)
    waiting = stage.random.choice(("reports", "nightly", "mail"))
    tasks = [stage.publish(queue=waiting) for _ in range(stage.random.randint(4, 20))]
    stage.before()
    _fill_until_gone(stage, stage.broker, waiting)
    stage.after()
    open_to = ["evicted", "unknown", "queue_purged", "deleted_by_client", "lost_in_pop", "queue_expired"]
    if not stage.plan.has("rdb_pair"):
        open_to.append("never_published")
    status = ("absent", "unknown")
    return stage.truth(
        stage.random.choice(tasks),
        f"maxmemory 4 MB, allkeys-lru: the list {waiting} with {len(tasks)} waiting tasks was evicted at once.",
        Accepted(["evicted"], 0.6, record="message"),
        counted=Accepted(open_to[:4], most=0.99, record="message", status=status),
        blind=Accepted(open_to, most=BLIND, record="message", status=status),
    )


def _fill_until_gone(stage: Stage, db: int, key: str) -> None:
    """Cache pages, until the server has no room for ``key``."""
    cache, there = stage.db(stage.main), stage.db(db)
    # Redis counts idle time in seconds: what was just used is as good as new.
    time.sleep(1.1)
    for batch in range(400):
        with cache.pipeline(transaction=False) as pipe:
            for number in range(40):
                pipe.setex(f"cache:feed:{batch}:{number}", 7 * 86400, "x" * 1500)
            pipe.execute()
        if not there.exists(key):
            return
    raise RuntimeError("nothing was evicted")


_LUA = "for _, key in ipairs(KEYS) do redis.call('del', key) end return #KEYS"


@incident("deleted_by_client", "keys")
def deleted_by_client(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    how = stage.pick(("del of two", "UNLINK", "GETDEL", "Lua", "DEL"))
    client, key = stage.db(), stage.meta(task)
    if how == "del of two" and stage.others:
        client.execute_command("del", key, stage.meta(stage.random.choice(stage.others)))
    elif how == "UNLINK":
        client.unlink(key)
    elif how == "GETDEL":
        client.getdel(key)
    elif how == "Lua":
        client.eval(_LUA, 1, key)
    else:
        how = "DEL"
        client.delete(key)
    stage.after()
    # One DEL in capitals is what Celery's forget() sends too; so is GETDEL, in the append-only file.
    alike = how == "DEL" or (how == "GETDEL" and not stage.plan.has("monitor") and not stage.slowlog_shows("GETDEL"))
    return stage.truth(
        task,
        f"{how} of the result by a client, long before its time.",
        Accepted(["deleted_by_client", "forgotten"], most=0.96) if alike else Accepted(["deleted_by_client"], 0.8),
        counted=quiet("deleted_by_client", most=0.95),
        blind=quiet("deleted_by_client"),
    )


@incident("bulk_deleted", "keys", Needs(avoid=("bulk_sessions",)))
def bulk_deleted(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.others += stage.run(stage.random.randint(5, 12))
    stage.before()
    how = stage.pick(("KEYS and DEL", "SCAN and DEL each", "SCAN and UNLINK in batches"))
    client, pattern = stage.db(), f"{stage.prefix}{META}*"
    if how == "KEYS and DEL":
        client.delete(*client.keys(pattern))
    elif how == "SCAN and DEL each":
        for key in client.scan_iter(match=pattern, count=100):
            client.delete(key)
    else:
        found = list(client.scan_iter(match=pattern, count=50))
        for start in range(0, len(found), 8):
            client.unlink(*found[start : start + 8])
    later = stage.random.random() < 0.5
    if later:
        stage.run(2)
    stage.after()
    also_flush = ("db_flushed", "db_swapped", "restart_data_loss", "server_flushed")
    return stage.truth(
        task,
        f"{how}: all results of the database within one burst.",
        Accepted(["bulk_deleted"], 0.8),
        counted=Accepted([*quiet("bulk_deleted").causes, "db_flushed"], most=0.97),
        blind=Accepted([*quiet("bulk_deleted").causes, *also_flush], most=0.8),
    )


_COLLECT = '''\
"""Fetch finished results and give them free: run by the front end once a customer has seen the answer."""
import sys

from celery.result import AsyncResult

from {package}.celery_app import app

for task_id in sys.argv[1:]:
    result = AsyncResult(task_id, app=app)
    print(result.get(timeout=5))
    result.forget()
'''


@incident("forgotten", "keys", Needs(seen_by=("aof", "monitor")))
def forgotten(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    package = stage.application.package
    stage.script(f"{package}/collect.py", _COLLECT.format(package=package), task)
    stage.after()
    most = 0.99 if stage.plan.any("source", "monitor") else 0.96
    return stage.truth(
        task,
        "The caller fetched the result and called forget(): one DEL in capitals.",
        Accepted(["forgotten", "deleted_by_client"], most=most),
        counted=quiet("forgotten", most=0.97 if stage.plan.has("source") else 0.92),
        blind=quiet("forgotten", most=0.9 if stage.plan.has("source") else BLIND),
    )

"""What else there is of a simulated system: logs of workers and of the application, INFO, CONFIG GET, case.toml.

In: a ``World``, from when to when. Out: text of a file.
"""

from __future__ import annotations

import json

import numpy as np

from tests.planted.system import DAY, NEVER, SECOND, Dice
from tests.planted.values import clock
from tests.planted.work import World


def worker_log(world: World, since: int, until: int, dice: Dice) -> str:
    """What the workers say at INFO, of all tasks, those that store nothing too."""
    tasks = world.tasks.loc[(world.tasks["received"] <= until) & (world.tasks["done"] + 10_000 > since)]
    processes = dice.integers(1, world.system.processes + 1, len(tasks)).tolist()
    lines: list[tuple[int, str]] = []

    def say(at: int, who: str, text: str, level: str = "INFO") -> None:
        if since <= at <= until:
            lines.append((at, f"[{clock(at)}: {level}/{who}] {text}\n"))

    for row, process in zip(tasks.itertuples(), processes, strict=True):
        task, child = f"{world.system.kinds[row.kind].name}[{row.task_id}]", f"ForkPoolWorker-{process}"
        say(row.received, "MainProcess", f"Task {task} received")
        if row.retried:
            say(row.started + 20_000, child, f"Task {task} retry: Retry in 10s: ConnectionError('reset')")
            say(row.done - 9_000, "MainProcess", f"Task {task} received")
        seconds = (row.done - row.started) / SECOND
        if row.status == "SUCCESS":
            say(row.done + 4_000, child, f"Task {task} succeeded in {seconds}s: None")
        else:
            trace = (
                'Traceback (most recent call last):\n  File "/app/tasks.py", line 41, in run\nValueError: no such order'
            )
            say(
                row.done + 4_000, child, f"Task {task} raised unexpected: ValueError('no such order')\n{trace}", "ERROR"
            )
    lines.sort(key=lambda line: line[0])
    return "".join(text for _, text in lines)


def application_log(world: World, since: int, until: int) -> str:
    """What the application's purge says, and its health checks."""
    lines = [
        (at, f"app.health GET /health 200 in {at % 9} ms") for at in range(since // SECOND * SECOND, until, DAY // 96)
    ]
    jobs = world.system.jobs
    if jobs is not None and jobs.logged:
        kept = f"{jobs.keep // SECOND} s" if jobs.keep < NEVER else ""
        lines += [
            (at + 200_000, f"app.cleanup purged {count} job records older than {kept}") for at, count in world.purges
        ]
    return "".join(f"{clock(at)} INFO {text}\n" for at, text in sorted(lines) if since <= at <= until)


def info(world: World, at: int) -> str:
    """INFO without the statistics of single commands, as ``redis-cli INFO`` prints it."""
    system, lives = world.system, world.lives
    gone = lives.loc[(lives["gone"] <= at) & (lives["gone"] > system.begin)]
    evicted = int(gone["verb"].eq("evict").mul(gone["gone"].eq(gone["removed"])).sum())
    expired = int((gone["gone"] < gone["removed"]).sum())
    held, expires = world.alive(at), world.expiries(at)
    used = 2_000_000 + 700 * int(held.sum())
    most = max(used, 4_000_000) if system.lru else 0
    name = "valkey_version:8.0.2\r\nredis_version:7.2.4" if system.valkey else "redis_version:7.2.5"
    lines = [
        "# Server", name, "redis_mode:standalone", "run_id:" + "5e" * 20, f"server_time_usec:{at}",
        f"uptime_in_seconds:{(at - system.begin) // SECOND}", "# Clients", "connected_clients:17",
        "# Memory", f"used_memory:{used}", f"maxmemory:{most}",
        f"maxmemory_policy:{'allkeys-lru' if system.lru else 'noeviction'}", "# Persistence", "loading:0",
        f"rdb_last_save_time:{at // SECOND - 60}", "aof_enabled:0", "# Stats",
        f"total_commands_processed:{9 * len(lives)}", f"expired_keys:{expired}", f"evicted_keys:{evicted}",
        "keyspace_hits:4711", "keyspace_misses:815", "# Replication", "role:master", "connected_slaves:0", "# Keyspace",
    ]  # fmt: skip
    for db in sorted(set(lives.loc[held, "db"])):
        here = held & lives["db"].eq(db).to_numpy()
        lines.append(f"db{db}:keys={here.sum()},expires={(here & (expires < NEVER)).sum()},avg_ttl=0")
    return "\r\n".join(lines) + "\r\n"


def config(world: World) -> str:
    """The settings that bear on what is removed."""
    system = world.system
    lazy = "yes" if system.valkey else "no"
    return json.dumps(
        {
            "maxmemory": "4000000" if system.lru else "0",
            "maxmemory-policy": "allkeys-lru" if system.lru else "noeviction",
            "lazyfree-lazy-expire": lazy,
            "lazyfree-lazy-eviction": lazy,
            "lazyfree-lazy-user-del": lazy,
            "notify-keyspace-events": "",
            "appendonly": "no",
            "save": "3600 1 300 100 60 10000",
        }
    )


def case_toml(world: World) -> str:
    """What a person would state: databases, retention, and how job records are kept."""
    system = world.system
    lines = ["[databases]", *(f"{name} = {number}" for name, number in system.databases.items())]
    lines += ["[celery]", f"result_expires = {system.retention // SECOND}"]
    if system.jobs is not None:
        kept = min(system.jobs.ttl, system.jobs.keep)
        lines += ["[jobs]", 'key = "job:{id}"', f"expires = {kept // SECOND if kept < NEVER else 0}"]
    return "\n".join(lines) + "\n"


def stamped(at: int) -> str:
    """A time as it stands in the name of a file."""
    return str(np.datetime64(at // SECOND, "s")).replace("-", "").replace(":", "") + "Z"

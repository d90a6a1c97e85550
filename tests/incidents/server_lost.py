"""The server lost more than one record: flushed, swapped, restarted, restored, overwritten by another.

In: a stage. Out: the truth.
"""

from __future__ import annotations

import redis

from tests.incidents.bench import Stage
from tests.incidents.catalogue import incident
from tests.incidents.keys_gone import QUIET, finished
from tests.incidents.network import Link
from tests.incidents.plan import Needs
from tests.incidents.truth import Accepted, Truth

# An empty database, and nobody who saw why.
EMPTIED = ("unknown", "db_flushed", "server_flushed", "restart_data_loss", "db_swapped", "stale_snapshot_restored",
           "replaced_by_resync", *QUIET[1:])  # fmt: skip


def emptied(*first: str, most: float = 0.75) -> Accepted:
    return Accepted([*first, *(cause for cause in EMPTIED if cause not in first)], most=most)


@incident("db_flushed", "server", Needs(seen_by=("aof", "monitor", "info_pair")))
def db_flushed(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    how = stage.pick(("FLUSHDB", "FLUSHDB ASYNC", "flushdb"))
    stage.db().execute_command(*how.split())
    if stage.random.random() < 0.5:
        stage.run(2)
    stage.after()
    return stage.truth(
        task,
        f"{how} in database {stage.results} after the result was stored.",
        Accepted(["db_flushed"], 0.85),
        counted=Accepted(["db_flushed", "unknown", "bulk_deleted"]),
        blind=emptied("db_flushed"),
    )


@incident("server_flushed", "server", Needs(seen_by=("aof", "monitor", "info_pair")))
def server_flushed(stage: Stage) -> Truth:
    saves = stage.random.random() < 0.4
    stage.open(config={"save": ["3600 1", "300 100"]} if saves else {})
    task = finished(stage)
    stage.before()
    how = stage.pick(("FLUSHALL", "FLUSHALL ASYNC", "flushall"))
    stage.db(stage.main).execute_command(*how.split())
    if stage.random.random() < 0.4:
        stage.run(1)
    stage.after()
    return stage.truth(
        task,
        f"{how} after the result was stored{' (save points: dump.rdb overwritten)' if saves else ''}.",
        Accepted(["server_flushed"], 0.85),
        counted=Accepted(["server_flushed", "unknown"], most=0.99),
        blind=emptied("server_flushed", most=0.9 if saves else 0.75),
    )


def _forget_snapshot(stage: Stage) -> None:
    """A container without a volume: what was saved does not outlive it."""
    (stage.server.dir / "dump.rdb").unlink(missing_ok=True)


def _come_back(stage: Stage) -> None:
    stage.server.start()
    for collector in stage.collectors:
        collector.watch_again()


@incident(
    "restart_data_loss",
    "server",
    Needs(seen_by=("redis_log", "info_pair"), always=("info", "worker_log"), never=("aof", "stamped")),
)
def restart_data_loss(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    _forget_snapshot(stage)
    how = stage.pick(("kill -9", "SHUTDOWN NOSAVE"))
    if how == "kill -9":
        stage.server.kill()
    else:
        stage.server.shutdown()
    _forget_snapshot(stage)
    _come_back(stage)
    if stage.random.random() < 0.6:
        stage.noise()
    stage.after()
    restarts = ("restart_data_loss", "unknown", "stale_snapshot_restored", "replaced_by_resync")
    return stage.truth(
        task,
        f"{how} without persistence, and a start with nothing.",
        Accepted(["restart_data_loss"], 0.8),
        counted=Accepted(restarts, most=0.99),
        # The worker's log tells that the connection broke.
        blind=emptied("restart_data_loss", most=0.92),
    )


@incident("db_swapped", "server", Needs(seen_by=("aof", "monitor", "info_pair")))
def db_swapped(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    other = next(number for number in (15, 14) if number not in (stage.main, stage.broker, stage.results))
    if stage.random.random() < 0.5:
        stage.db(other).set("report:nightly", "done")
    stage.db(stage.main).swapdb(stage.results, other)
    stage.after()
    either = ("present", "absent")
    elsewhere = ("db_swapped", "wrong_database", "renamed_or_moved", "present", "unknown")
    # Where nobody said in which database it was looked for, it is simply there.
    most = 0.97 if stage.plan.has("databases") else 1.0
    left = (*elsewhere, *emptied().causes[1:])
    return stage.truth(
        task,
        f"SWAPDB {stage.results} {other}: the result lies in database {other} now.",
        Accepted(["db_swapped"], 0.75, status=either),
        counted=Accepted(elsewhere, most=max(most, 0.99), status=either),
        blind=Accepted(tuple(dict.fromkeys(left)), most=most, status=either),
    )


@incident(
    "stale_snapshot_restored",
    "server",
    Needs(seen_by=("redis_log",), always=("redis_log", "info", "rdb", "worker_log"), never=("aof", "stamped")),
)
def stale_snapshot_restored(stage: Stage) -> Truth:
    stage.open()
    stage.noise()
    stage.some_others()
    stage.server.save()
    saved = (stage.server.dir / "dump.rdb").read_bytes()
    (task,) = stage.run()
    stage.run(2)
    stage.before()
    stage.server.kill()
    # The backup of the night is put back, whatever was saved since.
    (stage.server.dir / "dump.rdb").write_bytes(saved)
    _come_back(stage)
    stage.after()
    restarts = ("stale_snapshot_restored", "restart_data_loss", "unknown", "replaced_by_resync")
    return stage.truth(
        task,
        "A crash, and a start with a snapshot from before the task: older results are there, newer ones are not.",
        Accepted(["stale_snapshot_restored"], 0.65),
        counted=Accepted(restarts, most=0.99),
        blind=emptied("stale_snapshot_restored", most=0.92),
    )


@incident(
    "replaced_by_resync",
    "server",
    Needs(seen_by=("redis_log",), always=("redis_log", "info", "worker_log"), poor=("blind", "counted")),
)
def replaced_by_resync(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    other = stage.start_server("other", watched=False)
    if stage.random.random() < 0.6:
        other.client(stage.main).set("tenant:name", "staging")
    client = stage.db(stage.main)
    client.replicaof("127.0.0.1", other.port)
    stage.no_more_keys(lambda: client.info("replication").get("master_link_status") == "up")
    if promoted := stage.random.random() < 0.6:
        client.replicaof("NO", "ONE")
    stage.after()
    left = emptied("replaced_by_resync", most=0.97)
    return stage.truth(
        task,
        f"REPLICAOF another server: its data replaced everything{'; promoted again afterwards' if promoted else ''}.",
        Accepted(["replaced_by_resync"], 0.7),
        counted=left,
        blind=emptied("replaced_by_resync", most=0.8),
    )


@incident(
    "failover_lost_writes",
    "server",
    Needs(
        seen_by=("aof",),
        always=("redis_log", "info", "rdb", "worker_log"),
        never=("monitor", "info_pair", "rdb_pair"),
        avoid=("old_restart", "others_expire"),
    ),
)
def failover_lost_writes(stage: Stage) -> Truth:
    stage.environment = "redis-b"
    stage.server = stage.start_server("redis-a", "servers/redis-a")
    stage.write_application()
    link = Link(stage.server.port)
    try:
        replica = stage.start_server("redis-b", "servers/redis-b", replicaof=f"127.0.0.1 {link.port}")
        client = replica.client()
        stage.no_more_keys(lambda: client.info("replication").get("master_link_status") == "up")
        stage.start_worker()
        stage.noise()
        stage.some_others()
        stage.no_more_keys(lambda: _offset(client) == _offset(stage.db()))
        link.cut()
        (task,) = stage.run()
        stage.run(1)
        stage.worker.kill()
        stage.server.kill()
        client.replicaof("NO", "ONE")
    finally:
        link.cut()
    first, second = stage.collectors
    old_known = stage.plan.sight == "seen"
    if not old_known:
        stage.collectors.remove(first)
    stage.server = replica
    stage.after()
    left = ("failover_lost_writes", "unknown", "replaced_by_resync", "stale_snapshot_restored", "restart_data_loss",
            "result_never_stored", "wrong_node", *QUIET[1:])  # fmt: skip
    return stage.truth(
        task,
        "The link to the replica was cut, the master stored the result and died; the replica was promoted.",
        Accepted(["failover_lost_writes"], 0.5),
        counted=Accepted(left, most=0.95),
        blind=Accepted(left, most=0.8),
    )


def _offset(client: redis.Redis) -> int:
    said = client.info("replication")
    return int(said["slave_repl_offset" if said["role"] == "slave" else "master_repl_offset"])

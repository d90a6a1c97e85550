"""Messages that were taken, and whose task came to nothing: killed workers, purged queues, refused results.

In: a stage. Out: the truth.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.incidents.bench import Stage
from tests.incidents.catalogue import incident
from tests.incidents.keys_gone import finished
from tests.incidents.plan import Needs
from tests.incidents.truth import Accepted, Truth

# Nothing at all is known of a task: whatever may have befallen it.
NO_TRACE = ("unknown", "never_published", "queued", "queue_purged", "lost_in_pop", "worker_killed", "running",
            "reserved", "revoked", "discarded", "unroutable", "result_never_stored", "result_ignored",
            "natural_expiry", "deleted_by_client", "forgotten", "evicted", "wrong_id", "consumed")  # fmt: skip


def no_trace(*first: str, most: float = 0.7) -> Accepted:
    rest = [cause for cause in NO_TRACE if cause not in first]
    return Accepted([*first, *rest], most=most, status=("unknown", "absent"))


@incident(
    "worker_killed",
    "messages",
    Needs(always=("worker_log", "rdb"), blind=("rdb",), poor=("counted", "blind")),
)
def worker_killed(stage: Stage) -> Truth:
    # The pool of processes: in a solo worker the acknowledgement waits for the task, and the message stays `unacked`.
    pool = "prefork"
    stage.open(pool=pool)
    finished(stage)
    task = stage.publish(seconds=60)
    stage.wait_log(f"[{task}] received")
    # Early acknowledgement: the message leaves `unacked` before the task runs.
    stage.no_more_keys(lambda: not stage.db(stage.broker).exists("unacked"))
    stage.before()
    stage.worker.kill()
    replaced = stage.plan.sight == "seen"
    if replaced:
        # The same node name starts anew: the one that had the task is no more.
        stage.start_worker(pool=pool, args=[f"--hostname={stage.worker.name}"])
        stage.run(2)
    stage.after()
    alive = ("worker_killed", "running", "unknown")
    blind = no_trace("worker_killed")
    return stage.truth(
        task,
        "The worker was killed with the task running; its message had been acknowledged. The log ends at 'received'.",
        Accepted(["worker_killed"], 0.75),
        counted=Accepted(alive, most=0.9, status=("absent", "in_flight", "unknown")),
        blind=Accepted(blind.causes, most=0.7, status=("absent", "in_flight", "unknown")),
    )


BOTH = ("message", "result")


@incident(
    "lost_in_pop",
    "messages",
    Needs(seen_by=("aof",), always=("aof", "worker_log", "rdb"), blind=("rdb", "worker_log")),
)
def lost_in_pop(stage: Stage) -> Truth:
    stage.open()
    finished(stage)
    time.sleep(0.3)
    stage.before()
    # The server answers the waiting BRPOP of a process that will not read it any more.
    stage.freeze(stage.worker)
    task = stage.publish()
    left = stage.db(stage.broker).llen(stage.queue)
    stage.worker.kill()
    if left:
        raise RuntimeError("the worker was not waiting just then")
    stage.start_worker(args=[f"--hostname={stage.worker.name}"])
    stage.run(2)
    stage.after()
    rest = no_trace("lost_in_pop")
    return stage.truth(
        task,
        "AOF: LPUSH and RPOP of the message, and never an entry in `unacked`: the worker died between the two.",
        Accepted(["lost_in_pop"], 0.7, record=BOTH),
        counted=Accepted(rest.causes, most=0.8, record=BOTH, status=rest.status),
        blind=Accepted(rest.causes, most=0.7, record=BOTH, status=rest.status),
    )


@incident(
    "queue_purged",
    "messages",
    Needs(seen_by=("aof", "monitor"), always=("worker_log", "rdb"), avoid=("purge_other_queue",)),
)
def queue_purged(stage: Stage) -> Truth:
    stage.open()
    finished(stage)
    queue = stage.random.choice((stage.queue, "reports", "nightly"))
    if queue == stage.queue:
        stage.worker.stop()
    tasks = [stage.publish(queue=queue) for _ in range(stage.random.randint(2, 15))]
    stage.before()
    command = [sys.executable, "-m", "celery", "-A", stage.application.module.stem, "purge", "-f", "-Q", queue]
    environment = {**os.environ, **stage.urls(), "PYTHONPATH": str(stage.application.root)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    stage.after()
    # In the append-only file a purge is one DEL of the list: what a client's DEL is too.
    most = 1.0 if stage.plan.any("monitor", "info_pair") else 0.99
    accepted = ["queue_purged"] if stage.plan.has("monitor") else ["queue_purged", "deleted_by_client"]
    rest = no_trace("queue_purged")
    return stage.truth(
        stage.random.choice(tasks),
        f"celery purge -Q {queue} while {len(tasks)} tasks waited there.",
        Accepted(accepted, 0.5, most, record=BOTH),
        counted=Accepted(rest.causes, most=0.95, record=BOTH, status=rest.status),
        blind=Accepted(rest.causes, most=0.8, record=BOTH, status=rest.status),
    )


@incident(
    "result_never_stored",
    "messages",
    Needs(seen_by=("worker_log",), always=("worker_log", "rdb"), blind=("rdb",)),
)
def result_never_stored(stage: Stage) -> Truth:
    how = stage.pick(("OOM", "READONLY"))
    stage.open(pool="prefork", config={"maxmemory_policy": "noeviction"})
    finished(stage)
    stage.before()
    task = stage.publish(seconds=1)
    stage.wait_log(f"[{task}] received")
    stage.no_more_keys(lambda: not stage.db(stage.broker).exists("unacked"))
    client = stage.db(stage.main)
    if how == "OOM":
        client.config_set("maxmemory", "1mb" if int(client.info("memory")["used_memory"]) > 1_300_000 else "500kb")
        stage.wait_log("Exception raised outside body")
        time.sleep(0.5)
        client.config_set("maxmemory", "0")
    else:
        client.replicaof("127.0.0.1", "1")
        stage.wait_log("Exception raised outside body")
        time.sleep(1.0)
        client.replicaof("NO", "ONE")
    if stage.db().exists(stage.meta(task)):
        raise RuntimeError("it was stored after all")
    stage.after()
    rest = no_trace("result_never_stored")
    return stage.truth(
        task,
        f"{how}: the server refused to store the result; the message had been acknowledged.",
        Accepted(["result_never_stored"], 0.65),
        counted=Accepted(rest.causes, most=0.97, status=(*rest.status, "in_flight")),
        blind=Accepted(rest.causes, most=0.7, status=(*rest.status, "in_flight")),
    )

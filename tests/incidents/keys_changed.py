"""Records that were changed where they lay, or removed by rules of their own: overwritten, renamed, purged, unreadable.

In: a stage. Out: the truth.
"""

from __future__ import annotations

import json
import time

from celery import chord, signature
from kombu.entity import Exchange, Queue

from tests.incidents.bench import Stage
from tests.incidents.catalogue import incident
from tests.incidents.keys_gone import BLIND, QUIET, finished
from tests.incidents.messages_lost import no_trace
from tests.incidents.plan import Needs
from tests.incidents.truth import Accepted, Truth

EITHER = ("present", "absent")


@incident("overwritten", "keys", Needs(always=("worker_log", "rdb")))
def overwritten(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    client, key = stage.db(), stage.meta(task)
    how = stage.pick(("a status", "a word", "another result"))
    if how == "a word":
        client.set(key, "reset by support")
    else:
        meta = json.loads(client.get(key) or b"{}")
        meta |= {"status": "PENDING", "result": None} if how == "a status" else {"result": {"manual": True}}
        client.setex(key, stage.expires, json.dumps(meta))
    stage.after()
    open_to = ("overwritten", "present", "unknown", "undecodable")
    return stage.truth(
        task,
        f"Another client SET {how} over the stored result.",
        Accepted(["overwritten"], 0.7, status=EITHER),
        counted=Accepted(open_to, status=EITHER),
        blind=Accepted(open_to, status=EITHER),
    )


@incident("renamed_or_moved", "keys", Needs(avoid=("rename_others",)))
def renamed_or_moved(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    how = stage.pick(("RENAME", "MOVE", "COPY and DEL"))
    client, key = stage.db(), stage.meta(task)
    target = next(number for number in (14, 13) if number not in (stage.main, stage.broker, stage.results))
    if how == "RENAME":
        client.rename(key, f"archive:{key}")
    elif how == "MOVE":
        client.move(key, target)
    else:
        client.copy(key, f"keep:{task}", destination_db=str(target))
        client.delete(key)
    stage.after()
    open_to = ("renamed_or_moved", "wrong_database", "wrong_prefix", "present", *QUIET)
    left = Accepted(tuple(dict.fromkeys(open_to)), most=0.97 if stage.plan.has("databases") else 1.0, status=EITHER)
    return stage.truth(
        task,
        f"{how} of the result's key.",
        Accepted(["renamed_or_moved"], 0.75, status=EITHER),
        counted=left,
        blind=left,
    )


_PURGE = '''\
"""Remove finished job records, so that the dashboard stays small. Run from cron."""
import os
import sys
import time
from datetime import datetime, timezone

import redis

KEEP_SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 7 * 86400
client = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0"), decode_responses=True)


def say(text):
    print(f"{{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}} INFO purge_jobs: {{text}}", flush=True)


old = []
kept = 0
for key in client.scan_iter(match="{prefix}*", count=200):
    job = client.hgetall(key)
    ended = job.get("finished_at")
    if job.get("status") != "completed" or not ended:
        kept += 1
        continue
    age = (datetime.now(timezone.utc) - datetime.fromisoformat(ended)).total_seconds()
    if age > KEEP_SECONDS:
        old.append(key)
    else:
        kept += 1
{act}
say(f"removed {{len(old)}} job records, kept {{kept}}")
'''
_ACTS = (
    "for key in old:\n    client.delete(key)",
    "if old:\n    client.delete(*old)",
    'for key in old:\n    client.delete(key)\n    say(f"removed {{key}}")'.replace("{{", "{").replace("}}", "}"),
)


@incident(
    "purged_by_cleanup",
    "jobs",
    Needs(always=("worker_log", "source", "rdb"), blind=("rdb",), poor=("blind", "counted", "blind")),
)
def purged_by_cleanup(stage: Stage) -> Truth:
    stage.jobs_key = stage.random.choice(("job:", "jobs:record:", "export-job:"))
    stage.stated["jobs"] = True
    stage.open()
    task = finished(stage)
    time.sleep(1.2)
    stage.before()
    stage.run(2)
    purge = _PURGE.format(prefix=stage.jobs_key, act=stage.pick(_ACTS))
    logged = stage.plan.sight == "seen"
    stage.script("scripts/purge_jobs.py", purge, "1", log="cron.log" if logged else "")
    stage.after()
    rest = ("deleted_by_client", "bulk_deleted", "forgotten", "unknown", "natural_expiry", "ttl_shortened", "evicted")
    poor = Accepted(["purged_by_cleanup", *rest], most=0.97 if stage.plan.has("source") else 0.8, record="job")
    result = Accepted(["present"], 0.8, status=["present"])
    return stage.truth(
        task,
        "The application's own cleanup removed the finished job record; its log says so, the result is there.",
        Accepted(["purged_by_cleanup"], 0.5, record="job"),
        counted=poor,
        blind=poor,
        also=[result] if stage.plan.any("rdb", "aof") else [],
    )


@incident("undecodable", "keys", Needs(seen_by=("rdb", "aof"), blind=("worker_log",), poor=("blind",)))
def undecodable(stage: Stage) -> Truth:
    stage.stated["celery"] = {"result_serializer": "json"} if stage.random.random() < 0.5 else {}
    stage.open()
    finished(stage)
    # A deployment with another serializer, which is rolled back afterwards.
    path, old = f"{stage.application.package}/celery_app.py", 'backend=os.environ["RESULT_URL"],'
    new = old + ' result_serializer="pickle",'
    stage.worker.stop()
    stage.application.replace(path, old, new)
    second = stage.start_worker()
    stage.application.replace(path, new, old)
    stage.before()
    (task,) = stage.run()
    second.stop()
    stage.start_worker()
    stage.run(2)
    stage.after()
    there = stage.plan.any("rdb", "aof") or stage.plan.rewritten
    known = Accepted(["undecodable"], 0.6, status=["present"])
    left = Accepted(("undecodable", "present", "unknown"), most=0.95, status=("present", "unknown"))
    return stage.truth(
        task,
        "One worker stored a pickle where everybody else stores and reads JSON.",
        known,
        blind=known if there else left,
    )


@incident(
    "expired_on_load",
    "server",
    Needs(seen_by=("redis_log",), always=("redis_log", "worker_log", "info"), never=("aof", "stamped", "monitor"),
          avoid=("old_restart",)),
)  # fmt: skip
def expired_on_load(stage: Stage) -> Truth:
    stage.expires = stage.random.choice((3, 4))
    stage.open()
    task = finished(stage)
    stage.before()
    stage.worker.kill()
    left = stage.db().pttl(stage.meta(task)) / 1000
    if left < 0.3:
        raise RuntimeError("too slow: it expired before the shutdown")
    stage.server.shutdown(save=True)
    time.sleep(left + 0.5)
    stage.server.start()
    for collector in stage.collectors:
        collector.watch_again()
    stage.after()
    stated = stage.plan.any("expires", "source")
    timed = ("expired_on_load", "natural_expiry", "unknown")
    lost = ("restart_data_loss", "stale_snapshot_restored")
    return stage.truth(
        task,
        f"An orderly shutdown; result_expires ({stage.expires} s, stated: {stated}) passed before the next start, "
        "which dropped the result while loading.",
        Accepted(["expired_on_load"], 0.5) if stated else Accepted((*timed, *lost), most=0.97),
        counted=Accepted((*timed, *lost), most=0.97),
        blind=Accepted((*timed, *lost, *QUIET[1:]), most=0.97 if stated else 0.9),
    )


@incident(
    "chord_state_expired",
    "messages",
    Needs(seen_by=("aof", "monitor"), always=("worker_log", "rdb"), avoid=("old_flush",)),
)
def chord_state_expired(stage: Stage) -> Truth:
    stage.expires = 2
    stage.open(pool="prefork", concurrency=2)
    stage.noise()
    stage.some_others(1, 3)
    stage.before()
    quick, slow, body = (task.name for task in stage.random.choices(stage.application.tasks[1:], k=3))
    parts = [
        signature(quick, args=["a"], app=stage.celery, queue=stage.queue),
        signature(slow, args=["b"], kwargs={"seconds": 4}, app=stage.celery, queue=stage.queue),
    ]
    last = signature(body, args=["sum"], app=stage.celery, queue=stage.queue, immutable=True)
    whole = chord(parts, app=stage.celery)(last)
    stage.record_job(whole.id, body)
    stage.wait_log(f"[{whole.parent.results[1].id}] succeeded")
    time.sleep(1.0)
    if stage.worker.wait_for(f"[{whole.id}] received", 0.1):
        raise RuntimeError("the body ran")
    stage.after()
    both = ("message", "result")
    rest = no_trace("chord_state_expired")
    return stage.truth(
        whole.id,
        "result_expires 2 s, one part took 4 s: the chord's count had expired, and the body was never sent.",
        Accepted(["chord_state_expired"], 0.6, record=both),
        counted=Accepted(rest.causes, most=0.9, record=both, status=rest.status),
        blind=Accepted(rest.causes, most=BLIND, record=both, status=rest.status),
    )


@incident(
    "queue_expired", "messages", Needs(seen_by=("aof", "monitor"), always=("worker_log", "rdb"), avoid=("old_flush",))
)
def queue_expired(stage: Stage) -> Truth:
    stage.open()
    finished(stage)
    name = stage.random.choice(("replies.tmp", "bursts", "live-updates"))
    queue = Queue(name, Exchange(name), routing_key=name, expires=1.5)
    tasks = [stage.publish(queue=queue) for _ in range(stage.random.randint(1, 6))]
    stage.before()
    client = stage.db(stage.broker)
    stage.no_more_keys(lambda: not client.exists(name))
    time.sleep(0.2)
    stage.after()
    both = ("message", "result")
    rest = no_trace("queue_expired", most=0.9)
    status = (*rest.status, "in_flight")
    return stage.truth(
        stage.random.choice(tasks),
        f"The queue {name} is declared with x-expires 1.5 s; nobody consumed from it in time.",
        Accepted(["queue_expired"], 0.7, record=both),
        counted=Accepted(rest.causes, most=0.97, record=both, status=status),
        blind=Accepted(rest.causes, most=0.9, record=both, status=status),
    )

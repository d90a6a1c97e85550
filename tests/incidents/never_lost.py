"""Records that are not lost: they are there, elsewhere, on their way, or were never to be stored.

In: a stage. Out: the truth.
"""

from __future__ import annotations

from typing import Any

from celery import group, signature

from tests.incidents.bench import Stage
from tests.incidents.catalogue import incident
from tests.incidents.keys_gone import QUIET, finished
from tests.incidents.messages_lost import NO_TRACE
from tests.incidents.plan import Needs
from tests.incidents.truth import Accepted, Truth

ANY_STATUS = ("unknown", "absent", "in_flight", "present")


@incident(
    "present",
    "never_lost",
    Needs(seen_by=("rdb", "aof"), never=("rewritten",), blind=("worker_log",), poor=("blind",)),
)
def present(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    stage.run(1)
    stage.after()
    # A server's file that was rewritten still holds what is there.
    there = stage.plan.any("rdb", "aof") or stage.plan.rewritten
    return stage.truth(
        task,
        "Stored, not expired, and there.",
        Accepted(["present"], 0.9, status=["present"]),
        blind=Accepted(["present"], 0.9, status=["present"])
        if there
        else Accepted(["present", "unknown"], most=0.95, status=("present", "unknown")),
    )


@incident(
    "queued",
    "never_lost",
    Needs(seen_by=("rdb", "aof"), blind=("worker_log",), poor=("blind",), avoid=("old_flush",)),
)
def queued(stage: Stage) -> Truth:
    how = stage.pick(("priority", "no consumer", "stopped"))
    stage.open()
    finished(stage)
    queue = stage.queue
    options: dict[str, Any] = {}
    if how == "no consumer":
        queue = stage.random.choice(("reports", "gpu", "mail"))
        options["queue"] = queue
    else:
        stage.worker.stop()
        if how == "priority":
            options["priority"] = stage.random.choice((3, 5, 7, 9))
    waiting = [stage.publish(**options) for _ in range(stage.random.randint(1, 5))]
    task = stage.random.choice(waiting)
    stage.before()
    stage.after()
    there = stage.plan.any("rdb", "aof") or stage.plan.rewritten
    known = Accepted(["queued"], 0.9, status=["in_flight"], record="message")
    return stage.truth(
        task,
        f"The message waits in {queue} ({how}).",
        known,
        blind=known if there else Accepted(("queued", *NO_TRACE), most=0.7, status=ANY_STATUS, record="message"),
        also=[Accepted(["queued"], 0.8, status=["in_flight"])] if there else [],
    )


@incident(
    "reserved",
    "never_lost",
    Needs(seen_by=("rdb",), always=("worker_log", "rdb"), blind=("worker_log",), poor=("blind",)),
)
def reserved(stage: Stage) -> Truth:
    how = stage.pick(("prefetched", "eta", "late ack, killed"))
    stage.open(pool="solo" if how == "late ack, killed" else "prefork")
    finished(stage)
    if how == "eta":
        task = stage.publish(countdown=stage.random.choice((600, 3600)))
    else:
        busy = stage.publish(seconds=60)
        stage.wait_log(f"[{busy}] received")
        task = busy if how == "late ack, killed" else stage.publish()
    stage.wait_log(f"[{task}] received")
    stage.no_more_keys(lambda: stage.db(stage.broker).hlen("unacked") == 1)
    if how == "late ack, killed":
        # A solo worker acknowledges when the task has ended: what it ran when it died is still there.
        stage.worker.kill()
    stage.before()
    stage.after()
    there = stage.plan.any("rdb", "aof") or stage.plan.rewritten
    known = Accepted(["reserved"], 0.7, status=["in_flight"], record="message")
    left = Accepted(
        ("reserved", "running", "worker_killed", "unknown", "queued"), most=0.95, status=ANY_STATUS, record="message"
    )
    return stage.truth(
        task,
        f"The message is held in `unacked` ({how}).",
        known,
        blind=known if there else left,
        also=[Accepted(["reserved", "running"], 0.5, status=["in_flight"])] if there else [],
    )


@incident(
    "running",
    "never_lost",
    Needs(seen_by=("worker_log",), always=("worker_log", "rdb"), blind=("rdb",), poor=("blind",)),
)
def running(stage: Stage) -> Truth:
    tracked = stage.pick((False, True))
    if tracked:
        stage.settings["task_track_started"] = True
    stage.open(pool="prefork", concurrency=2)
    finished(stage)
    task = stage.publish(seconds=60)
    stage.wait_log(f"[{task}] received")
    stage.no_more_keys(lambda: not stage.db(stage.broker).exists("unacked"))
    stage.before()
    stage.run(2)
    stage.after()
    # With task_track_started a record that says STARTED lies where the result will.
    held = tracked and stage.plan.any("rdb", "aof")
    known = Accepted(["running", "present"] if held else ["running"], 0.5, status=["in_flight", "present"][: 1 + held])
    left = Accepted(("running", *NO_TRACE, "present"), most=0.7, status=ANY_STATUS)
    return stage.truth(
        task,
        "Taken and not ended; its worker goes on with other tasks.",
        known,
        blind=Accepted(("running", "worker_killed", "present", "unknown"), most=1.0, status=ANY_STATUS)
        if tracked
        else left,
    )


@incident(
    "result_ignored",
    "never_lost",
    Needs(seen_by=("aof", "monitor"), always=("worker_log", "source", "rdb"), blind=("rdb", "worker_log")),
)
def result_ignored(stage: Stage) -> Truth:
    how = stage.pick(("decorator", "header", "setting"))
    if how == "decorator":
        stage.task_options = "ignore_result=True"
    elif how == "setting":
        stage.settings["task_ignore_result"] = True
    stage.open()
    finished(stage)
    options = {"ignore_result": True} if how == "header" else {}
    stage.before()
    (task,) = stage.run(task=stage.application.tasks[0], **options)
    stage.after()
    told = how == "header" or stage.plan.has("source")
    left = Accepted(("result_ignored", "unknown", "natural_expiry", *quiet_causes()), most=0.99 if told else 0.85)
    return stage.truth(
        task,
        f"ignore_result by {how}: it ran, and nothing was to be stored.",
        Accepted(["result_ignored"], 0.75),
        counted=left,
        blind=left,
    )


def quiet_causes() -> tuple[str, ...]:
    return tuple(cause for cause in QUIET if cause != "unknown")


@incident(
    "rpc_backend",
    "never_lost",
    Needs(seen_by=("worker_log",), always=("worker_log", "rdb"), blind=(), poor=("blind", "blind")),
)
def rpc_backend(stage: Stage) -> Truth:
    stage.prefix = ""
    stage.backend = "rpc://"
    # The worker's banner names its result backend.
    stage.banner = True
    stage.open()
    task = finished(stage)
    stage.before()
    stage.after()
    rest = Accepted(("rpc_backend", "present", *NO_TRACE), most=0.99 if stage.plan.any("rdb", "aof") else 0.7,
                    status=ANY_STATUS)  # fmt: skip
    return stage.truth(
        task,
        "The worker's results go to rpc://: a reply list that only the caller reads.",
        Accepted(["rpc_backend"], 0.6, status=EITHER),
        blind=rest,
    )


EITHER = ("present", "absent")


@incident(
    "wrong_database",
    "never_lost",
    Needs(
        seen_by=("rdb", "aof"),
        always=("databases", "worker_log"),
        blind=("databases", "worker_log"),
        poor=("blind",),
    ),
)
def wrong_database(stage: Stage) -> Truth:
    stage.open()
    task = finished(stage)
    stage.before()
    free = [number for number in range(16) if number not in (stage.main, stage.broker, stage.results)]
    others = [number for number in (stage.main, stage.broker) if number != stage.results]
    stated = stage.random.choice(others or free) if stage.random.random() < 0.4 else stage.random.choice(free)
    stage.stated["databases"] = {"results": stated}
    stage.after()
    there = stage.plan.any("rdb", "aof") or stage.plan.rewritten
    known = Accepted(["wrong_database"], 0.75, status=EITHER)
    left = Accepted(("wrong_database", "present", "unknown"), most=0.97, status=ANY_STATUS)
    return stage.truth(
        task,
        f"The result is in database {stage.results}; it was looked for in {stated}.",
        known,
        blind=known if there else left,
    )


@incident(
    "wrong_prefix",
    "never_lost",
    Needs(seen_by=("rdb", "aof"), always=("databases",), blind=("databases", "worker_log"), poor=("blind",)),
)
def wrong_prefix(stage: Stage) -> Truth:
    stage.prefix = stage.random.choice(("", "acme:", "prod_", "v2."))
    stage.open()
    task = finished(stage)
    stage.before()
    stated = stage.random.choice([prefix for prefix in ("", "app1_", "prod_", "live:") if prefix != stage.prefix])
    stage.stated["celery"] = {"key_prefix": stated}
    stage.after()
    there = stage.plan.any("rdb", "aof") or stage.plan.rewritten
    known = Accepted(["wrong_prefix"], 0.75, status=EITHER)
    left = Accepted(("wrong_prefix", "present", "unknown"), most=0.95, status=ANY_STATUS)
    return stage.truth(
        task,
        f"The result's key has the prefix {stage.prefix!r}; it was looked for with {stated!r}.",
        known,
        blind=known if there else left,
    )


@incident(
    "wrong_node",
    "never_lost",
    Needs(
        seen_by=("rdb",), always=("rdb", "worker_log", "databases"), blind=("rdb", "worker_log"), poor=("blind",),
        avoid=("old_restart",),
    ),
)  # fmt: skip
def wrong_node(stage: Stage) -> Truth:
    looked, held = stage.random.choice((("production", "staging"), ("cache-1", "cache-2"), ("primary", "replica")))
    stage.environment = looked
    empty = stage.start_server(looked, f"servers/{looked}")
    known = stage.plan.sight == "seen"
    stage.server = stage.start_server(held, f"servers/{held}", watched=known)
    empty.client(stage.main).hset("session:1", mapping={"user": 7})
    for number in range(stage.random.randint(0, 9)):
        empty.client(stage.main).setex(f"cache:page:{number}", 600, "x" * 40)
    stage.write_application()
    stage.start_worker()
    task = finished(stage)
    stage.before()
    stage.after()
    left = Accepted(("wrong_node", *NO_TRACE, "db_flushed", "server_flushed", "restart_data_loss", "bulk_deleted",
                     "renamed_or_moved", "ttl_shortened"), most=0.8, status=ANY_STATUS)  # fmt: skip
    return stage.truth(
        task,
        f"The result is on {held}; it was looked for on {looked}.",
        Accepted(["wrong_node"], 0.75, status=EITHER),
        blind=left,
    )


@incident(
    "wrong_id",
    "never_lost",
    Needs(seen_by=("aof", "worker_log"), always=("rdb", "worker_log"), blind=(), poor=("blind",)),
)
def wrong_id(stage: Stage) -> Truth:
    how = stage.pick(("slip", "group"))
    stage.open()
    right = finished(stage)
    if how == "slip":
        at = stage.random.randint(0, 7)
        digits = "0123456789abcdef"
        place = stage.random.choice([at, 35 - at])
        swapped = digits[(digits.index(right[place]) + stage.random.randint(1, 15)) % 16]
        asked = right[:place] + swapped + right[place + 1 :]
    else:
        asked = _group(stage)
    stage.before()
    stage.after()
    # Records of a group's parts name the group; workers' logs name the parts only.
    told = (
        stage.plan.any("rdb", "aof", "monitor")
        or stage.plan.rewritten
        or (how == "slip" and stage.plan.has("worker_log"))
    )
    records = ("result", "message")
    rest = Accepted(("wrong_id", *NO_TRACE), most=1.0 if told else 0.7, status=ANY_STATUS, record=records)
    return stage.truth(
        asked,
        f"No task has this ID: {how} ({right if how == 'slip' else 'its parts ran'}).",
        Accepted(["wrong_id"], 0.6, status=("absent", "unknown"), record=records) if told else rest,
        blind=rest,
    )


def _group(stage: Stage) -> str:
    """A group of tasks that ran; its ID, which is not saved."""
    names = stage.random.choices([task.name for task in stage.application.tasks[1:]], k=3)
    parts = [signature(name, args=[f"G-{n}"], app=stage.celery, queue=stage.queue) for n, name in enumerate(names)]
    whole = group(parts, app=stage.celery).apply_async()
    ids, asked = [str(one.id) for one in whole.results], str(whole.id)
    for one in ids:
        stage.wait_log(f"[{one}] succeeded")
    return asked

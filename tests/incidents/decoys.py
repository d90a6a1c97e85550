"""What happens beside a loss and has nothing to do with it: what a hasty reader takes for the cause.

In: a stage. Out: acts laid around the loss, on a real server. Knows nothing of the cause.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from kombu.entity import Queue

from tests.incidents.bench import META, Stage

Decoy = Callable[[Stage], None]


def lay(stage: Stage, avoid: tuple[str, ...]) -> None:
    """Choose some decoys: ``stage.early`` runs them before the task, ``before`` those beside the loss."""
    early = {name: act for name, act in EARLY.items() if name not in avoid}
    beside = {name: act for name, act in BESIDE.items() if name not in avoid}
    chosen = stage.random.sample(sorted(early), min(len(early), stage.random.randint(1, 2)))
    stage.earlier = [early[name] for name in chosen]
    others = stage.random.sample(sorted(beside), min(len(beside), stage.random.randint(1, 3)))
    stage.besides = [beside[name] for name in others]
    stage.decoys = chosen + others


def _spare(stage: Stage) -> int:
    """A database that the application does not use."""
    return next(number for number in (5, 7, 9, 12) if number not in (stage.main, stage.broker, stage.results))


def _fill(stage: Stage, db: int, prefix: str, count: int, seconds: int | None = None) -> list[str]:
    keys = [f"{prefix}{stage.random.randint(10**5, 10**6)}:{number}" for number in range(count)]
    with stage.db(db).pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.set(key, "x" * stage.random.randint(20, 200), ex=seconds)
        pipe.execute()
    return keys


def old_eviction(stage: Stage) -> None:
    """A cache outgrew its memory once, long before the task; since then there has been room."""
    client = stage.db(_spare(stage))
    _fill(stage, _spare(stage), "thumb:", 300, 3600)
    client.config_set("maxmemory-policy", "volatile-random")
    client.config_set("maxmemory", str(int(client.info("memory")["used_memory"]) - 20_000))
    client.config_set("maxmemory", "0")
    client.config_set("maxmemory-policy", "noeviction")
    stage.db(_spare(stage)).delete("thumb:index")


def old_flush(stage: Stage) -> None:
    _fill(stage, _spare(stage), "cache:old:", 40)
    stage.db(_spare(stage)).flushdb()


def old_restart(stage: Stage) -> None:
    """An orderly restart before the task was ever sent."""
    stage.server.shutdown(save=True)
    stage.server.start()
    for collector in stage.collectors:
        collector.watch_again()


def flush_other_database(stage: Stage) -> None:
    _fill(stage, _spare(stage), "view:", 30)
    stage.db(_spare(stage)).flushdb()


def delete_others(stage: Stage) -> None:
    """Somebody deletes keys of the application, by hand."""
    keys = _fill(stage, stage.main, "draft:", 6)
    client = stage.db(stage.main)
    for key in keys[:4]:
        client.execute_command(stage.random.choice(("del", "DEL", "UNLINK")), key)


def delete_older_result(stage: Stage) -> None:
    """Another task's result is deleted by its caller."""
    if stage.others:
        stage.db().delete(f"{stage.prefix}{META}{stage.others.pop()}")


def bulk_sessions(stage: Stage) -> None:
    keys = _fill(stage, stage.main, "session:old:", 25)
    client = stage.db(stage.main)
    client.keys("session:old:*")
    client.delete(*keys)


def others_expire(stage: Stage) -> None:
    _fill(stage, stage.main, "otp:", 12, 1)
    time.sleep(1.2)
    stage.db(stage.main).exists("otp:none")


def shorten_others(stage: Stage) -> None:
    keys = _fill(stage, stage.main, "basket:", 5)
    client = stage.db(stage.main)
    for key in keys:
        client.expire(key, 1)


def rename_others(stage: Stage) -> None:
    (key,) = _fill(stage, stage.main, "report:draft:", 1)
    stage.db(stage.main).rename(key, key.replace("draft", "final"))


def purge_other_queue(stage: Stage) -> None:
    """``celery purge -Q`` of a queue with which the task has nothing to do."""
    for _ in range(3):
        stage.celery.send_task("maintenance.sweep", queue="maintenance")
    with stage.celery.connection_for_write() as connection:
        Queue("maintenance")(connection.default_channel).purge()


EARLY: dict[str, Decoy] = {
    "old_eviction": old_eviction,
    "old_flush": old_flush,
    "old_restart": old_restart,
}
BESIDE: dict[str, Decoy] = {
    "flush_other_database": flush_other_database,
    "delete_others": delete_others,
    "delete_older_result": delete_older_result,
    "bulk_sessions": bulk_sessions,
    "others_expire": others_expire,
    "shorten_others": shorten_others,
    "rename_others": rename_others,
    "purge_other_queue": purge_other_queue,
}

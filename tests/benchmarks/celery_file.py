"""A snapshot as a busy Celery application leaves it, of any number of keys, written by a real Redis server.

In: a server, a number of keys, a path. Out: the file. Of a million keys 800,000 are results of 300 to 1,500 bytes with
a TTL, 100,000 job hashes, 100,000 job strings; queues, bindings and what workers hold are among the jobs' share.
"""

from __future__ import annotations

import json
import random
import shutil
import uuid
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.servers import RedisBinary, RedisServer

# Far ahead, so that no key expires while the file is made.
NOON = datetime(2040, 11, 23, 12, tzinfo=UTC)
DAY = 86_400
BATCH = 5_000
WORDS = "invoice order customer shipped pending address total report monthly retry amount currency note item".split()
TASKS = [f"app.tasks.{verb}_{noun}" for verb in ("send", "build", "index") for noun in ("mail", "report", "order", "x")]
WORKERS = [f"celery@worker-{number}.example.net" for number in range(12)]
QUEUES = ("celery", "mail", "reports")


def make(binary: RedisBinary, folder: Path, keys: int, path: Path, seed: int = 7) -> Path:
    """Fill a server started in ``folder``, have it save, and move its file to ``path``."""
    folder.mkdir(parents=True, exist_ok=True)
    server = RedisServer(binary, folder, {})
    server.start()
    try:
        fill(server, keys, random.Random(seed))
        server.client(socket_timeout=600).save()
        shutil.move(folder / "dump.rdb", path)
    finally:
        server.kill()
    return path


def fill(server: RedisServer, keys: int, chance: random.Random) -> None:
    results = keys * 8 // 10
    with server.client(db=1).pipeline(transaction=False) as broker:
        fixed = _broker(broker, chance)
        broker.execute()
    with server.client(db=0).pipeline(transaction=False) as pipe:
        for number in range(keys - fixed):
            if number < results:
                task_id, done, meta = result(chance)
                pipe.set(f"celery-task-meta-{task_id}", meta, pxat=int((done + timedelta(days=1)).timestamp() * 1000))
            elif number % 2:
                pipe.hset(f"job:{_uuid(chance)}", mapping=_job(chance))
            else:
                pipe.set(f"report-job:{_uuid(chance)}", json.dumps(_job(chance)))
            if number % BATCH == BATCH - 1:
                pipe.execute()
        pipe.execute()


def result(chance: random.Random) -> tuple[str, datetime, str]:
    """A task's ID, when it was done, and what Celery 5.7 stores with ``result_extended`` (celery/backends/base.py)."""
    task_id = _uuid(chance)
    done = NOON - timedelta(seconds=chance.random() * DAY)
    failed = chance.random() < 0.03
    meta = {
        "status": "FAILURE" if failed else "SUCCESS",
        "result": {"exc_type": "ValueError", "exc_message": ["no such order"], "exc_module": "builtins"}
        if failed
        else {"text": _text(chance, chance.randint(0, 1000)), "count": chance.randint(0, 10**6)},
        "traceback": "Traceback (most recent call last):\n  " + _text(chance, 300) if failed else None,
        "children": [],
        "date_done": done.isoformat(),
        "parent_id": None,
        "name": chance.choice(TASKS),
        "args": [chance.randint(1, 10**9)],
        "kwargs": {},
        "worker": chance.choice(WORKERS),
        "retries": 0,
        "queue": chance.choice(QUEUES),
        "task_id": task_id,
    }
    return task_id, done, json.dumps(meta)


def _broker(pipe: Any, chance: random.Random) -> int:
    """Queues, bindings and the unacked tables; how many keys that made."""
    for queue in QUEUES:
        pipe.sadd(f"_kombu.binding.{queue}", f"{queue}\x06\x16\x06\x16{queue}")
        pipe.rpush(queue, *(_message(chance, queue)[1] for _ in range(200)))
    for _ in range(50):
        tag, message = _message(chance, "celery")
        pipe.hset("unacked", tag, json.dumps([json.loads(message), "", "celery"]))
        pipe.zadd("unacked_index", {tag: NOON.timestamp()})
    return 2 * len(QUEUES) + 2


def _message(chance: random.Random, queue: str) -> tuple[str, str]:
    task_id, tag = _uuid(chance), _uuid(chance)
    headers = {"lang": "py", "task": chance.choice(TASKS), "id": task_id, "root_id": task_id, "retries": 0}
    properties = {
        "correlation_id": task_id,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": tag,
    }
    message = {"body": "W1sxXSwge30sIHt9XQ==", "content-encoding": "utf-8", "content-type": "application/json"}
    return tag, json.dumps({**message, "headers": headers, "properties": properties})


def _job(chance: random.Random) -> dict[Any, Any]:
    created = NOON - timedelta(seconds=chance.random() * 30 * DAY)
    status = chance.choice(("completed", "failed", "running"))
    return {"status": status, "created_at": created.isoformat(), "owner": "a"}


def _uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _text(chance: random.Random, length: int) -> str:
    return " ".join(_words(chance, length))


def _words(chance: random.Random, length: int) -> Iterator[str]:
    while length > 0:
        # Names, and figures that do not compress: of what applications return, the larger part.
        word = chance.choice(WORDS) if chance.random() < 0.7 else b64encode(chance.randbytes(12)).decode()
        length -= len(word) + 1
        yield word

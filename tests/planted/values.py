"""What the keys of a simulated system hold, as bytes.

In: a life, and whether its task is done yet. Out: fields and bodies as Celery, kombu and the application write them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np

_FILLER = "order customer shipped pending total amount currency note item invoice " * 4


def stamp(at: int) -> str:
    """A time as Python's ``isoformat`` writes it, UTC."""
    return f"{_minute(at // 60_000_000)}:{at // 1_000_000 % 60:02}.{at % 1_000_000:06}"


@lru_cache(100_000)
def _minute(number: int) -> str:
    return str(np.datetime64(number, "m"))


def clock(at: int) -> str:
    """A time as Python's ``logging`` writes it."""
    return f"{_minute(at // 60_000_000).replace('T', ' ')}:{at // 1_000_000 % 60:02},{at // 1000 % 1000:03}"


def result(task_id: str, name: str, status: str, done: int, extended: bool) -> bytes:
    """A stored result (celery/backends/base.py, ``_get_result_meta``); its date_done lies just before the write."""
    number = int(task_id[:6], 16)
    body: dict[str, Any] = {
        "status": status,
        "result": {"total": number, "note": _FILLER[: number % 200]} if status == "SUCCESS" else None,
        "traceback": "Traceback (most recent call last):\n" if status == "FAILURE" else None,
        "children": [],
        "date_done": stamp(done - 250) + "+00:00" if status not in ("STARTED", "RETRY") else None,
        "task_id": task_id,
    }
    if status == "FAILURE":
        body["result"] = {"exc_type": "ValueError", "exc_message": ["no such order"], "exc_module": "builtins"}
    if extended:
        body |= {
            "name": name,
            "args": [number],
            "kwargs": {},
            "worker": "celery@worker-1",
            "retries": 0,
            "queue": "celery",
        }
    return json.dumps(body).encode()


def job(task_id: str, name: str, status: str, begun: int) -> list[tuple[bytes, bytes]]:
    """The fields of a job record."""
    return [
        (b"job_id", task_id.encode()),
        (b"task", name.encode()),
        (b"status", status.encode()),
        (b"created_at", stamp(begun).encode() + b"Z"),
    ]


def plain(key: str) -> bytes:
    """What a cache, a session or a lock holds."""
    return (_FILLER[: 20 + sum(key.encode()) % 150]).encode()


def message(task_id: str, name: str, queue: str) -> bytes:
    """A broker message (kombu/transport/virtual/base.py)."""
    return json.dumps(
        {
            "body": "W1sxXSwge30sIHsiY2FsbGJhY2tzIjogbnVsbH1d",
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py", "task": name, "id": task_id, "root_id": task_id, "parent_id": None, "group": None,
                "retries": 0, "eta": None, "expires": None, "origin": "gen1@web-1", "ignore_result": False,
            },
            "properties": {
                "correlation_id": task_id, "reply_to": "5b1f6c1e-0000-3000-8000-000000000001", "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue}, "priority": 0, "body_encoding": "base64",
                "delivery_tag": task_id[::-1],
            },
        }
    ).encode()  # fmt: skip


def reserved(task_id: str, name: str, queue: str) -> bytes:
    """What a worker keeps of a message it has taken (kombu/transport/redis.py, ``QoS.append``)."""
    return json.dumps([json.loads(message(task_id, name, queue)), "", queue]).encode()

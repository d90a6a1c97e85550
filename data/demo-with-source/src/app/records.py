"""Job records: a hash ``job:<id>`` for each job, in a database of its own.

Its ID is also that of the Celery task that works the job. Records have no expiry; ``purge`` removes those of finished
jobs. What a task returned is kept by Celery, elsewhere and for a time of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from redis import Redis

PREFIX = "job:"


class Status(StrEnum):
    queued = "queued"
    running = "running"
    completed = "completed"
    failed = "failed"


FINISHED = (Status.completed, Status.failed)


def connect(url: str, client_name: str) -> Redis:
    """A client that speaks text and can be told apart in CLIENT LIST."""
    return Redis.from_url(url, client_name=client_name, decode_responses=True)


def create(store: Redis, job_id: str, **fields: Any) -> bool:
    """Write a record; False where there is one of this ID already."""
    with store.pipeline(transaction=True) as transaction:
        for name, value in {"id": job_id, "status": Status.queued, "created_at": _now(), **fields}.items():
            transaction.hsetnx(_key(job_id), name, value)
        return bool(transaction.execute()[0])


def read(store: Redis, job_id: str) -> dict[str, str] | None:
    return _fields(store, _key(job_id)) or None


def started(store: Redis, job_id: str) -> None:
    update(store, job_id, status=Status.running, started_at=_now())


def finished(store: Redis, job_id: str, status: Status, **fields: Any) -> None:
    update(store, job_id, status=status, finished_at=_now(), **fields)


def update(store: Redis, job_id: str, **fields: Any) -> None:
    store.hset(_key(job_id), mapping=dict[Any, Any](fields))


def every(store: Redis) -> Iterator[dict[str, str]]:
    """All records, in no order; one that is purged meanwhile is left out."""
    for key in store.scan_iter(match=f"{PREFIX}*", count=500):
        if record := _fields(store, key):
            yield record


def purge(store: Redis, *, older_than: int, statuses: Collection[str] = FINISHED, dry_run: bool = False) -> list[str]:
    """Delete the records of jobs that finished ``older_than`` seconds ago or earlier, with one of ``statuses``.

    Gives the IDs. A job that has not finished keeps its record, whatever is asked for. Results are not touched.
    """
    cutoff = datetime.now(UTC) - timedelta(seconds=older_than)
    purged = []
    for key in store.scan_iter(match=f"{PREFIX}*", count=500):
        status, finished_at = cast("list[str | None]", store.hmget(key, "status", "finished_at"))
        if status not in statuses or not finished_at or datetime.fromisoformat(finished_at) > cutoff:
            continue
        if not dry_run:
            store.delete(key)
        purged.append(key.removeprefix(PREFIX))
    return purged


def _fields(store: Redis, key: str) -> dict[str, str]:
    # redis-py's types allow for clients that answer bytes; ``connect`` makes none.
    return cast("dict[str, str]", store.hgetall(key))


def _key(job_id: str) -> str:
    return f"{PREFIX}{job_id}"


def _now() -> str:
    return datetime.now(UTC).isoformat()

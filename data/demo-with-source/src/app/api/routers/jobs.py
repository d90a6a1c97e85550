"""Jobs: create, read, list, purge."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from kombu.exceptions import OperationalError
from redis import Redis

from app import records
from app.records import Status
from app.schemas import Job, NewJob, Purged
from app.tasks import celery_app, run_job

log = logging.getLogger(__name__)
router = APIRouter(prefix="/api/jobs", tags=["jobs"])


def get_store(request: Request) -> Redis:
    store: Redis = request.app.state.store
    return store


Store = Annotated[Redis, Depends(get_store)]


@router.post("", status_code=HTTPStatus.ACCEPTED)
def create_job(new: NewJob, store: Store) -> Job:
    job_id = str(new.id)
    if not records.create(store, job_id, **new.model_dump(mode="json", exclude={"id"})):
        raise HTTPException(HTTPStatus.CONFLICT, "a job of this ID exists already")
    try:
        run_job.apply_async(args=[job_id], task_id=job_id)
    except OperationalError:
        records.finished(store, job_id, Status.failed, error="could not be queued")
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "the job could not be queued") from None
    log.info("POST /api/jobs 202 job=%s", job_id)
    return _job(store, job_id)


@router.get("")
def list_jobs(
    store: Store, status: Status | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[Job]:
    """The newest first, without results."""
    jobs = [Job.model_validate(record) for record in records.every(store)]
    jobs = [job for job in jobs if status in (None, job.status)]
    return sorted(jobs, key=lambda job: job.created_at, reverse=True)[:limit]


@router.get("/{job_id}")
def read_job(job_id: UUID, store: Store) -> Job:
    return _job(store, str(job_id))


@router.post("/purge")
def purge_jobs(
    store: Store,
    older_than: Annotated[int, Query(ge=0, description="seconds since the job finished")],
    status: Annotated[tuple[Status, ...], Query()] = records.FINISHED,
) -> Purged:
    """Delete the records of finished jobs. Their results stay until they expire."""
    deleted = len(records.purge(store, older_than=older_than, statuses=status))
    log.info("POST /api/jobs/purge 200 deleted=%d older_than=%d status=%s", deleted, older_than, ",".join(status))
    return Purged(deleted=deleted)


def _job(store: Redis, job_id: str) -> Job:
    record = records.read(store, job_id)
    if record is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such job")
    job = Job.model_validate(record)
    if job.status == Status.completed and (task := celery_app.AsyncResult(job_id)).successful():
        job.result = task.result
    return job

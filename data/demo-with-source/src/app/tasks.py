"""Celery: the application and its one task."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from celery import Celery
from celery.utils.log import get_task_logger
from redis import Redis

from app import records
from app.config import settings
from app.loop import optimize
from app.model import ContextExceeded, SeededModel

log = get_task_logger(__name__)

celery_app = Celery("studio", broker=settings().broker_url, backend=settings().results_url)
celery_app.conf.update(
    result_expires=settings().result_expires,
    result_extended=True,
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    task_track_started=True,
    broker_connection_retry_on_startup=True,
    timezone="UTC",
)


@cache
def _store() -> Redis:
    return records.connect(settings().jobs_url, client_name="studio-worker")


@celery_app.task
def run_job(job_id: str) -> dict[str, Any]:
    """Work the job whose record is ``job:<job_id>``, and keep the record up to date meanwhile.

    A job that cannot be worked for its own fault is recorded as failed and returned as such; anything else that goes
    wrong is recorded too, and raised.
    """
    store, began = _store(), time.monotonic()
    job = records.read(store, job_id)
    if job is None:
        raise LookupError(f"job {job_id} has no record")
    records.started(store, job_id)

    def progress(iterations: int, tokens: int) -> None:
        records.update(store, job_id, iterations=iterations, total_tokens=tokens)

    try:
        model = SeededModel(job["prompt"], seconds=settings().model_seconds, context=settings().model_context)
        outcome = optimize(
            job["prompt"],
            model,
            max_iterations=int(job["max_iterations"]),
            threshold=float(job["threshold"]),
            progress=progress,
        )
    except ContextExceeded as error:
        log.warning("job=%s failed: %s", job_id, error)
        records.finished(store, job_id, records.Status.failed, error=str(error))
        return {"job_id": job_id, "error": str(error)}
    except Exception as error:
        records.finished(store, job_id, records.Status.failed, error=repr(error))
        raise
    records.finished(store, job_id, records.Status.completed, stop_reason=outcome.stop_reason)
    return {
        "job_id": job_id,
        "processing_time": round(time.monotonic() - began, 2),
        "iterations": outcome.iterations,
        "total_tokens": outcome.total_tokens,
        "stop_reason": outcome.stop_reason,
        "converged": outcome.converged,
        "final_score": round(outcome.final_score, 3),
        "text": outcome.text,
    }

"""What goes over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel, Field

from app.records import Status


class NewJob(BaseModel):
    """A client that gives the ID may safely send a job twice."""

    id: UUID = Field(default_factory=uuid4)
    prompt: str = Field(min_length=1, max_length=100_000)
    max_iterations: int = Field(default=5, ge=1, le=100)
    threshold: float = Field(default=0.8, ge=0, le=1)


class Job(BaseModel):
    """A job's record; ``result`` is what its task returned, once it has ended and until Celery lets it expire."""

    id: UUID
    status: Status
    prompt: str
    max_iterations: int
    threshold: float
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    iterations: int = 0
    total_tokens: int = 0
    stop_reason: str | None = None
    error: str | None = None
    result: dict[str, Any] | None = None


class Purged(BaseModel):
    deleted: int

"""Configuration, from the environment alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Job records, the broker and the results each have a database of their own."""

    jobs_url: str = "redis://localhost:6379/0"
    broker_url: str = "redis://localhost:6379/1"
    results_url: str = "redis://localhost:6379/2"
    result_expires: int = 86400
    """Seconds for which Celery keeps a result. Job records have no expiry: they stay until they are purged."""
    model_seconds: float = 0.0
    model_context: int = 8192
    log_dir: Path | None = None
    """Where ``app.log`` and ``access.log`` go; without it both go to standard error."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        log_dir = environment.get("LOG_DIR")
        return cls(
            jobs_url=environment.get("JOBS_REDIS_URL", cls.jobs_url),
            broker_url=environment.get("CELERY_BROKER_URL", cls.broker_url),
            results_url=environment.get("CELERY_RESULT_BACKEND", cls.results_url),
            result_expires=int(environment.get("CELERY_RESULT_EXPIRES", cls.result_expires)),
            model_seconds=float(environment.get("MODEL_SECONDS", cls.model_seconds)),
            model_context=int(environment.get("MODEL_CONTEXT", cls.model_context)),
            log_dir=Path(log_dir) if log_dir else None,
        )


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings.from_environment()

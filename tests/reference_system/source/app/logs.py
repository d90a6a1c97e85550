"""Logging: one line an event, UTC, ``key=value`` for what a machine may want to read."""

from __future__ import annotations

import logging
import logging.config
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class UtcFormatter(logging.Formatter):
    """Times as ``2025-07-24T02:05:00.000Z``, whatever the zone of the machine."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        at = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        return f"{at.isoformat(timespec='milliseconds')}Z"


def configure(log_dir: Path | None) -> None:
    """Send everything to ``app.log`` and requests to ``access.log`` in ``log_dir``, or all of it to standard error."""

    def handler(name: str) -> dict[str, Any]:
        if log_dir is None:
            return {"class": "logging.StreamHandler", "formatter": "line"}
        return {"class": "logging.FileHandler", "formatter": "line", "filename": str(log_dir / name)}

    line = {"()": UtcFormatter, "format": "%(asctime)s %(levelname)s %(name)s %(message)s"}
    own = {"handlers": [], "propagate": True}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": line},
            "handlers": {"app": handler("app.log"), "access": handler("access.log")},
            "root": {"level": "INFO", "handlers": ["app"]},
            "loggers": {
                "uvicorn": own,
                "uvicorn.error": own,
                "uvicorn.access": {"handlers": ["access"], "propagate": False},
            },
        }
    )

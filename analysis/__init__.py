"""Forensic notebooks for Celery on Redis: when a task, its result or its job record is missing, what happened to it.

``open_case(path)`` reads the evidence into frames, ``investigate(case, task_id)`` weighs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.case import Case, open_case
    from analysis.errors import Unusable
    from analysis.investigation import (
        Investigation,
        find_bulk,
        find_overview,
        find_survival,
        find_ttl,
        investigate,
        look_into,
    )
    from analysis.report.schema import describe

__all__ = [
    "Case",
    "Investigation",
    "Unusable",
    "describe",
    "find_bulk",
    "find_overview",
    "find_survival",
    "find_ttl",
    "investigate",
    "look_into",
    "open_case",
]
_ROOMS = {"Case": "case", "open_case": "case", "Unusable": "errors", "describe": "report.schema"}


def __getattr__(name: str) -> Any:
    """What is offered is imported when it is first asked for: a reader of one snapshot does not wait for all of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'investigation')}"), name)


def __dir__() -> list[str]:
    return __all__
